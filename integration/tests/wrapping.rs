//! What the verifier wraps for a TPM, and the attester imports, on a live swtpm.

use anyhow::{Context, Result, ensure};
use holdfast_attester::tpm::{
    EkChoice, EndorsementKey, ImportedObject, ImportedUse, PinnedEk, Tpm, TpmError,
};
use holdfast_integration::Gateway;
use holdfast_proto::binding::gateway_id;
use holdfast_proto::grpc::v1;
use holdfast_proto::tpm::{Attest, HashAlg, PcrSelection, PcrSet, Signature};
use holdfast_verifier::endorsement::{EkKnownBy, EkLink};
use holdfast_verifier::heartbeat::{Epoch, HeartbeatKey, MasterKey};
use holdfast_verifier::wrapping::{WrapRecipient, wrap_heartbeat_key, wrap_secret};
use ring::rand::SystemRandom;

const SECRET: &[u8] = b"thirty bytes for this TPM only";

fn recipient(ek: &EndorsementKey) -> Result<WrapRecipient> {
    Ok(WrapRecipient::on_record(
        &ek.public.encode(),
        EkKnownBy::Fingerprint,
        EkLink::Certification,
        &gateway_id(&ek.public)?,
    )?)
}

fn pinned(ek: &EndorsementKey) -> Result<PinnedEk> {
    Ok(PinnedEk {
        template: ek.template.clone(),
        ueid: gateway_id(&ek.public)?,
    })
}

fn secret(ek: &EndorsementKey) -> Result<v1::WrappedObject> {
    Ok(wrap_secret(&recipient(ek)?, SECRET, &SystemRandom::new())?.into())
}

fn heartbeat_key(ek: &EndorsementKey) -> Result<(HeartbeatKey, v1::WrappedObject)> {
    let key = MasterKey::new(&[1; 32]).derive(
        &gateway_id(&ek.public)?,
        &ek.public.name(),
        &Epoch::from_bytes([2; 16]),
    );
    let object = wrap_heartbeat_key(&recipient(ek)?, &key, &SystemRandom::new())?;
    Ok((key, object.into()))
}

fn nothing_left(tpm: &Tpm) -> Result<()> {
    let facts = tpm.facts()?;
    ensure!(
        (facts.free_transient, facts.free_sessions) == (Some(3), Some(3)),
        "{facts:?}"
    );
    Ok(())
}

#[test]
fn each_kind_of_ek_takes_secrets_and_heartbeat_keys() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let gateway = Gateway::boot(dir.path(), |_| {})?;
    let tpm = gateway.tpm();
    let selection = PcrSelection {
        hash: HashAlg::Sha256,
        pcrs: PcrSet::from_indices([0, 7])?,
    };
    for choice in [
        EkChoice::Rsa2048,
        EkChoice::EccP256,
        EkChoice::EccP384,
        EkChoice::Rsa3072,
    ] {
        let ek = tpm.endorsement_key(choice)?;
        let pin = pinned(&ek)?;
        let object = tpm.import(&pin, ImportedUse::Secret, &secret(&ek)?)?;
        ensure!(tpm.open_delivered(&pin, &object)?.as_slice() == SECRET);

        let (key, wrapped) = heartbeat_key(&ek)?;
        let object = tpm.import(&pin, ImportedUse::HeartbeatKey, &wrapped)?;
        ensure!(object.name() == key.public().name());
        let beat = tpm.beat(&pin, &object, &selection, [5; 32])?;
        let attest = Attest::parse(&beat.attest)?;
        ensure!(attest.extra_data == [5; 32]);
        ensure!(matches!(
            Signature::parse(&beat.signature)?,
            Signature::Hmac { .. }
        ));
        // As it was kept on disk.
        let kept = ImportedObject::parse(
            &object.blob().encode_public(),
            &object.blob().encode_private(),
        )?;
        tpm.forget(&object)?;
        tpm.beat(&pin, &kept, &selection, [6; 32])?;
        tpm.forget(&kept)?;
    }
    nothing_left(tpm)
}

#[test]
fn adv_a16_what_is_wrapped_for_one_tpm_is_worthless_to_another() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let gateway = Gateway::boot(&dir.path().join("one"), |_| {})?;
    let other = Gateway::boot(&dir.path().join("two"), |_| {})?;
    for choice in [EkChoice::EccP256, EkChoice::Rsa2048] {
        let ek = gateway.tpm().endorsement_key(choice)?;
        let other_ek = other.tpm().endorsement_key(choice)?;
        let wrapped = secret(&ek)?;
        let import = |tpm: &Tpm, pin: &PinnedEk, object: &v1::WrappedObject| {
            tpm.import(pin, ImportedUse::Secret, object)
        };
        let refusal = import(other.tpm(), &pinned(&other_ek)?, &wrapped)
            .err()
            .context("another TPM took it")?;
        ensure!(
            matches!(refusal, TpmError::KeyOfAnotherTpm { .. }),
            "{refusal:?}"
        );
        // A bus that says to be the other EK.
        let refusal = import(other.tpm(), &pinned(&ek)?, &wrapped).err();
        ensure!(
            matches!(refusal, Some(TpmError::OtherEndorsementKey { .. })),
            "{refusal:?}"
        );
        // The blob that came out of TPM2_Import.
        let pin = pinned(&ek)?;
        let object = import(gateway.tpm(), &pin, &wrapped)?;
        let stolen = other
            .tpm()
            .open_delivered(&pinned(&other_ek)?, &object)
            .err();
        ensure!(
            matches!(stolen, Some(TpmError::KeyOfAnotherTpm { .. })),
            "{stolen:?}"
        );
        ensure!(gateway.tpm().open_delivered(&pin, &object)?.as_slice() == SECRET);
    }
    nothing_left(gateway.tpm())?;
    nothing_left(other.tpm())
}

#[test]
fn each_part_of_a_wrapped_object_counts() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let gateway = Gateway::boot(dir.path(), |_| {})?;
    let tpm = gateway.tpm();
    for choice in [EkChoice::EccP256, EkChoice::Rsa2048] {
        let ek = tpm.endorsement_key(choice)?;
        let pin = pinned(&ek)?;
        let good = secret(&ek)?;
        for part in 0..4 {
            let mut bad = good.clone();
            let field = match part {
                0 => &mut bad.public,
                1 | 2 => &mut bad.duplicate,
                _ => &mut bad.encrypted_seed,
            };
            let at = if part == 1 { 5 } else { field.len() - 1 };
            field[at] ^= 1;
            let refusal = tpm.import(&pin, ImportedUse::Secret, &bad).err();
            ensure!(
                matches!(refusal, Some(TpmError::KeyOfAnotherTpm { .. })),
                "{part}: {refusal:?}"
            );
        }
        for (usage, object) in [
            (ImportedUse::HeartbeatKey, good.clone()),
            (ImportedUse::Secret, heartbeat_key(&ek)?.1),
        ] {
            let refusal = tpm.import(&pin, usage, &object).err();
            ensure!(
                matches!(refusal, Some(TpmError::NotAsExpected { .. })),
                "{refusal:?}"
            );
        }
        for len in [0, 3, 2000] {
            let mut bad = good.clone();
            bad.duplicate.resize(len, 0);
            ensure!(tpm.import(&pin, ImportedUse::Secret, &bad).is_err());
            let mut bad = good.clone();
            bad.encrypted_seed.resize(len, 0);
            ensure!(tpm.import(&pin, ImportedUse::Secret, &bad).is_err());
        }
        tpm.import(&pin, ImportedUse::Secret, &good)?;
    }
    nothing_left(tpm)
}
