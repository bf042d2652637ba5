//! TPM2_Import: `tpm2_import` and `tpm2_load` must take our objects, use them as
//! they are meant, and refuse them in any other form.

use std::{fs, process::Command};

use holdfast_proto::{
    binding::gateway_id,
    grpc::v1,
    tpm::{Attest, Attested, Hierarchy, Name, Public, Signature, templates::EkTemplate},
};
use holdfast_verifier::{
    endorsement::{EkKnownBy, EkLink},
    heartbeat::{Epoch, MasterKey},
    wrapping::{WrapRecipient, wrap_heartbeat_key, wrap_secret},
};
use ring::rand::SystemRandom;

use crate::live::{Tpm, as_ek, create_ek};

const SECRET: &[u8] = b"a secret that no bus and no disk ever sees";

fn recipient(ek: &Public) -> WrapRecipient {
    let (known_by, link) = (EkKnownBy::Fingerprint, EkLink::Certification);
    WrapRecipient::on_record(&ek.encode(), known_by, link, &gateway_id(ek).unwrap()).unwrap()
}

/// The files as tpm2_import takes them: sized buffers, all three.
fn write(tpm: &Tpm, object: &v1::WrappedObject) {
    for (name, bytes) in [
        ("obj.pub", &object.public),
        ("obj.dup", &object.duplicate),
        ("obj.seed", &object.encrypted_seed),
    ] {
        let mut file = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
        file.extend(bytes);
        fs::write(tpm.path(name), file).unwrap();
    }
}

/// TPM2_Import and TPM2_Load; the loaded object's context is `obj.ctx`.
fn import(tpm: &Tpm, template: EkTemplate, object: &v1::WrappedObject) -> Result<(), String> {
    write(tpm, object);
    let outcome = as_ek(
        tpm,
        template,
        "tpm2_import -C ek.ctx -u obj.pub -i obj.dup -s obj.seed -r obj.priv",
    )
    .and_then(|()| {
        tpm.run("tpm2_flushcontext -t")?;
        as_ek(
            tpm,
            template,
            "tpm2_load -C ek.ctx -u obj.pub -r obj.priv -c obj.ctx",
        )
    });
    tpm.run("tpm2_flushcontext -t")?;
    outcome
}

/// HMAC-SHA256 by another implementation than ours.
fn openssl_hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("message");
    fs::write(&file, message).unwrap();
    let output = Command::new("openssl")
        .args(["dgst", "-sha256", "-mac", "HMAC", "-binary", "-macopt"])
        .arg(format!("hexkey:{}", hex::encode(key)))
        .arg(&file)
        .output()
        .expect("openssl: apt-get install openssl");
    assert!(output.status.success());
    output.stdout
}

fn live(template: EkTemplate) {
    let tpm = Tpm::start();
    let ek = create_ek(&tpm, template);
    let recipient = recipient(&ek);
    let rng = SystemRandom::new();

    let secret: v1::WrappedObject = wrap_secret(&recipient, SECRET, &rng).unwrap().into();
    import(&tpm, template, &secret).unwrap();
    tpm.run("tpm2_unseal -c obj.ctx -o out").unwrap();
    assert_eq!(fs::read(tpm.path("out")).unwrap(), SECRET);
    cannot_leave(&tpm);

    // Every part counts.
    type Spoil = fn(&mut v1::WrappedObject);
    let spoilt: [(&str, Spoil); 6] = [
        ("attributes", |o| o.public[5] ^= 0x40),
        ("unique", |o| *o.public.last_mut().unwrap() ^= 1),
        ("integrity", |o| o.duplicate[2] ^= 1),
        ("sensitive", |o| *o.duplicate.last_mut().unwrap() ^= 1),
        ("seed", |o| *o.encrypted_seed.last_mut().unwrap() ^= 1),
        ("shorter", |o| o.duplicate.truncate(o.duplicate.len() - 1)),
    ];
    for (part, spoil) in spoilt {
        let mut object = secret.clone();
        spoil(&mut object);
        import(&tpm, template, &object).expect_err(part);
    }
    // Another TPM of the same make.
    let other = Tpm::start();
    create_ek(&other, template);
    import(&other, template, &secret).unwrap_err();
    // And the good one still.
    import(&tpm, template, &secret).unwrap();

    beats(&tpm, template, &ek, &recipient);
}

/// The heartbeat key quotes, and does nothing else.
fn beats(tpm: &Tpm, template: EkTemplate, ek: &Public, recipient: &WrapRecipient) {
    let epoch = Epoch::from_bytes([3; 16]);
    let (id, ak) = (gateway_id(ek).unwrap(), ek.name());
    let key = MasterKey::new(&[9; 32]).derive(&id, &ak, &epoch);
    let object = wrap_heartbeat_key(recipient, &key, &SystemRandom::new()).unwrap();
    import(tpm, template, &object.into()).unwrap();
    tpm.run("tpm2_quote -c obj.ctx -l sha256:0,1,7 -q abcd -m attest -s sig -g sha256")
        .unwrap();
    let bytes = fs::read(tpm.path("attest")).unwrap();
    let attest = Attest::parse(&bytes).unwrap();
    assert_eq!(attest.extra_data, [0xAB, 0xCD]);
    assert!(matches!(attest.attested, Attested::Quote { .. }));
    // Its parent is the EK, a primary of the endorsement hierarchy.
    let place = Name::qualified_primary(Hierarchy::Endorsement, &ek.name());
    assert_eq!(
        attest.qualified_signer,
        Name::qualified(place.as_bytes(), &key.public().name()).as_bytes()
    );
    // HMAC-SHA256(key, SHA-256(attest)), with the key by OpenSSL's HKDF.
    let Signature::Hmac { digest, .. } =
        Signature::parse(&fs::read(tpm.path("sig")).unwrap()).unwrap()
    else {
        panic!("not an HMAC");
    };
    let info = [id.as_bytes().as_slice(), ak.as_bytes(), epoch.as_bytes()].concat();
    let mac_key = openssl_hkdf(&[9; 32], &info);
    let hashed = ring::digest::digest(&ring::digest::SHA256, &bytes);
    assert_eq!(
        digest.as_bytes(),
        openssl_hmac(&mac_key, hashed.as_ref()),
        "{template:?}"
    );
    fs::write(tpm.path("message"), b"message").unwrap();
    let refusal = tpm.run("tpm2_hmac -c obj.ctx -g sha256 -o mac message");
    refusal.expect_err("TPM2_HMAC");
    fs::write(tpm.path("raw"), [7; 32]).unwrap();
    tpm.run("tpm2_sign -c obj.ctx -g sha256 -d -o rawsig raw")
        .expect_err("a digest of our own");
    cannot_leave(tpm);
}

/// TPM2_Duplicate, by auth value and by the policy that it wants.
fn cannot_leave(tpm: &Tpm) {
    tpm.run("tpm2_duplicate -C null -c obj.ctx -G null -r d -s s")
        .expect_err("by auth value");
    tpm.run("tpm2_flushcontext -t").unwrap();
    tpm.run("tpm2_startauthsession --policy-session -S dup.ctx")
        .unwrap();
    tpm.run("tpm2_policycommandcode -S dup.ctx TPM2_CC_Duplicate")
        .unwrap();
    let refusal = tpm
        .run("tpm2_duplicate -C null -c obj.ctx -G null -p session:dup.ctx -r d -s s")
        .expect_err("by policy");
    assert!(
        refusal.contains("policy") || refusal.contains("auth"),
        "{refusal}"
    );
    tpm.run("tpm2_flushcontext dup.ctx").unwrap();
}

/// The first half of the key material: RFC 5869 by OpenSSL.
fn openssl_hkdf(secret: &[u8], info: &[u8]) -> Vec<u8> {
    let output = Command::new("openssl")
        .args(["kdf", "-keylen", "32", "-binary"])
        .args(["-kdfopt", "digest:SHA256"])
        .args(["-kdfopt", &format!("hexkey:{}", hex::encode(secret))])
        .args(["-kdfopt", "salt:holdfast-heartbeat-key-v1"])
        .args(["-kdfopt", &format!("hexinfo:{}", hex::encode(info))])
        .arg("HKDF")
        .output()
        .expect("openssl: apt-get install openssl");
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[test]
fn rsa_2048_low_range() {
    live(EkTemplate::L1);
}

#[test]
fn rsa_2048_high_range() {
    live(EkTemplate::H1);
}

#[test]
fn rsa_3072() {
    live(EkTemplate::H6);
}

#[test]
fn p256_low_range() {
    live(EkTemplate::L2);
}

#[test]
fn p256_high_range() {
    live(EkTemplate::H2);
}

#[test]
fn p384() {
    live(EkTemplate::H3);
}
