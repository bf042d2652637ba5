//! What is issued is checked by others: OpenSSL and GnuTLS. What the lint
//! refuses is made from a good certificate with one thing changed.

mod ca;
mod class_profiles;
mod issuing;
mod ldevid;
mod lint;
mod on_file;
mod oracle;
mod revocation;

use std::sync::Arc;

use holdfast_proto::binding::Ueid;
use ring::rand::SystemRandom;

use super::{
    CaSettings, Initial, Issuer, IssuingCa, IssuingCas, Profile, ServerName, ca_init,
    issuer::validity,
    lint::Expectation,
    signer::{CaSigner as _, FileSigner, generate_pkcs8},
};
use crate::time::UnixTime;

/// 2026-11-24T08:00:00Z
const NOW: UnixTime = UnixTime::from_seconds(1_795_507_200);

fn initial() -> Initial {
    initial_at(NOW)
}

fn initial_at(now: UnixTime) -> Initial {
    let settings = CaSettings {
        organization: "Wasserwerk Süd".into(),
        server_names: vec![
            ServerName::parse("verifier.example").unwrap(),
            ServerName::parse("127.0.0.1").unwrap(),
        ],
    };
    ca_init(&settings, now, &SystemRandom::new()).unwrap()
}

fn signer(initial: &Initial) -> FileSigner {
    FileSigner::from_pkcs8_pem(&initial.issuing.key.expose_pem()).unwrap()
}

fn issuer(initial: &Initial, profile: Profile) -> Issuer {
    let ca = IssuingCa::open(&initial.issuing.certificate, Arc::new(signer(initial))).unwrap();
    Issuer::new(IssuingCas::only(ca), profile)
}

fn gateway() -> Ueid {
    let mut bytes = [0xA5; 33];
    bytes[0] = 1;
    Ueid::parse(&bytes).unwrap()
}

fn p256_subject() -> Vec<u8> {
    let key = FileSigner::from_pkcs8(&generate_pkcs8(&SystemRandom::new()).unwrap()).unwrap();
    key.public().spki()
}

/// What `Issuer::prepare` expects of a certificate for a good grant.
fn expectation(issuer: &Issuer) -> Expectation {
    expectation_at(issuer, NOW)
}

fn expectation_at(issuer: &Issuer, now: UnixTime) -> Expectation {
    let (not_before, not_after) =
        validity(issuer.profile(""), issuer.cas().current(), now).unwrap();
    Expectation {
        gateway: gateway(),
        hardware_serial: "IFX:00aa11:7bcd".into(),
        spiffe_id: issuer.profile("").spiffe_id(&gateway()),
        additions: issuer
            .profile("")
            .additions(&gateway(), "default", "IFX:00aa11:7bcd")
            .unwrap(),
        crl_part: super::CrlPart::FULL,
        revocation: None,
        subject_spki: p256_subject(),
        now,
        not_before,
        not_after,
    }
}
