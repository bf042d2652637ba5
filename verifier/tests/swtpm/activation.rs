//! MakeCredential: `tpm2_activatecredential` must find our secret.

use std::{fs, path::Path};

use holdfast_proto::tpm::{HashAlg, ObjectAttributes, Public, templates::EkTemplate};
use holdfast_verifier::{
    endorsement::EkPublic,
    verification::{Credential, make_credential},
};
use ring::rand::SystemRandom;

use crate::live::{Tpm, as_ek, create_ek};

/// As `tpm2_activatecredential -i` takes it: u32 magic, u32 version 1, 2B
/// credential, 2B secret.
fn write_credential(path: &Path, credential: &Credential) {
    let mut file = 0xBADC_C0DE_u32.to_be_bytes().to_vec();
    file.extend(1_u32.to_be_bytes());
    for part in [&credential.id_object, &credential.encrypted_secret] {
        file.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
        file.extend(part);
    }
    fs::write(path, file).unwrap();
}

fn create_ak(tpm: &Tpm, name: &str) -> Public {
    tpm.run(&format!(
        "tpm2_createprimary -C e -G ecc256:ecdsa-sha256:null -c {name}.ctx -a \
         fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign --unique-data {name}.u"
    ))
    .unwrap();
    tpm.run(&format!("tpm2_readpublic -c {name}.ctx -o {name}.pub"))
        .unwrap();
    tpm.run("tpm2_flushcontext -t").unwrap();
    Public::parse_tpm2b(&fs::read(tpm.path(&format!("{name}.pub"))).unwrap()).unwrap()
}

/// `unique` for tpm2_createprimary: 2B x, 2B y, little-endian sizes, so that
/// two AKs differ.
fn write_unique(tpm: &Tpm, name: &str) {
    let mut unique = vec![32, 0];
    unique.extend(name.bytes().cycle().take(32));
    unique.extend([32, 0]);
    unique.extend([0; 32]);
    fs::write(tpm.path(&format!("{name}.u")), unique).unwrap();
}

/// TPM2_ActivateCredential.
fn activate(tpm: &Tpm, template: EkTemplate, ak: &str) -> Result<Vec<u8>, String> {
    let outcome = as_ek(
        tpm,
        template,
        &format!("tpm2_activatecredential -c {ak}.ctx -C ek.ctx -i cred -o secret"),
    );
    tpm.run("tpm2_flushcontext -t")?;
    outcome.map(|()| fs::read(tpm.path("secret")).unwrap())
}

/// An AK that is not this TPM's, loaded by its public area alone: what activation
/// says of an AK rests on the TPM's refusal, with an auth value and with a policy
/// that anybody can show. An AK with a policy the verifier does not take.
#[test]
fn adv_a08_a_tpm_does_not_activate_for_a_programs_ak() {
    let (tpm, elsewhere) = (Tpm::start(), Tpm::start());
    let template = EkTemplate::L2;
    let ek = EkPublic::parse(&create_ek(&tpm, template).encode()).unwrap();
    write_unique(&elsewhere, "ak");
    let ak = create_ak(&elsewhere, "ak");
    // PolicyCommandCode(TPM2_ActivateCredential).
    let policy = HashAlg::Sha256.digest(&[&[0; 32], &[0, 0, 1, 0x6C], &[0, 0, 1, 0x47]]);
    let with_policy = Public {
        attributes: ak.attributes | ObjectAttributes::ADMIN_WITH_POLICY,
        auth_policy: policy.as_bytes().to_vec(),
        ..ak.clone()
    };
    let shown = "tpm2_startauthsession --policy-session -S shown";
    let steps = [shown, "tpm2_policycommandcode -S shown 0x147"];
    for (area, auth, steps) in [
        (ak, "", &[][..]),
        (with_policy, " -p session:shown", &steps[..]),
    ] {
        fs::write(tpm.path("program.pub"), area.encode_tpm2b()).unwrap();
        tpm.run("tpm2_loadexternal -C e -u program.pub -c program.ctx")
            .unwrap();
        tpm.run("tpm2_flushcontext -t").unwrap();
        let credential =
            make_credential(&ek, &area.name(), &[0xA7; 32], &SystemRandom::new()).unwrap();
        write_credential(&tpm.path("cred"), &credential);
        for step in steps {
            tpm.run(step).unwrap();
        }
        let activate = "tpm2_activatecredential -c program.ctx -C ek.ctx -i cred -o secret";
        let refusal = as_ek(&tpm, template, &format!("{activate}{auth}")).unwrap_err();
        // TPM_RC_AUTH_UNAVAILABLE
        assert!(refusal.contains("0x12F"), "{refusal}");
        tpm.run("tpm2_flushcontext -t").unwrap();
    }
}

fn live(template: EkTemplate) {
    let tpm = Tpm::start();
    let public = create_ek(&tpm, template);
    assert_eq!(EkTemplate::matching(&public), Some(template), "{public:?}");
    let ek = EkPublic::parse(&public.encode()).unwrap();
    write_unique(&tpm, "ak");
    write_unique(&tpm, "other");
    let ak = create_ak(&tpm, "ak");
    let other = create_ak(&tpm, "other");
    assert_ne!(ak.name(), other.name());

    let secret = [0xA7; 32];
    for _ in 0..3 {
        let credential = make_credential(&ek, &ak.name(), &secret, &SystemRandom::new()).unwrap();
        write_credential(&tpm.path("cred"), &credential);
        assert_eq!(activate(&tpm, template, "ak").unwrap(), secret);
    }
    // For another AK the same TPM gives nothing (A03).
    let refusal = activate(&tpm, template, "other").unwrap_err();
    assert!(refusal.contains("integrity"), "{refusal}");
    // One bit of the blob (A04).
    let mut spoiled = make_credential(&ek, &ak.name(), &secret, &SystemRandom::new()).unwrap();
    *spoiled.id_object.last_mut().unwrap() ^= 1;
    write_credential(&tpm.path("cred"), &spoiled);
    activate(&tpm, template, "ak").unwrap_err();
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
