//! The TPM's side of the conversation, by a stand-in that says what it is told
//! to: what is no answer is no key, no signature, and no panic. A real
//! (software) TPM is in `integration/tests/identity/ca_devices.rs`.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
};

use super::*;
use crate::{
    config::CaTpmConfig,
    custody::tpm::TpmKey,
    identity::{CaPublic, CaSigner as _},
};

/// Answers each command with the next of `answers`, then hangs up.
fn stand_in(answers: Vec<Vec<u8>>) -> CaTpmConfig {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for answer in answers {
            let mut header = [0; 10];
            if stream.read_exact(&mut header).is_err() {
                return;
            }
            let size = u32::from_be_bytes([header[2], header[3], header[4], header[5]]);
            let mut rest = vec![0; usize::try_from(size).unwrap() - 10];
            stream.read_exact(&mut rest).unwrap();
            stream.write_all(&answer).unwrap();
        }
    });
    CaTpmConfig {
        device: format!("swtpm:127.0.0.1:{port}"),
        ..CaTpmConfig::default()
    }
}

fn public() -> CaPublic {
    let dir = Dir::new();
    let key = FileSigner::from_pkcs8(dir.initial.issuing.key.expose_der()).unwrap();
    key.public().clone()
}

fn refused(answers: Vec<Vec<u8>>) -> DeviceError {
    let config = stand_in(answers);
    let mut key = TpmKey::new(config, 0x8101_0010, "000b".repeat(9), public());
    key.sign(&[7; 32]).unwrap_err()
}

/// TPM_ST_NO_SESSIONS, size, code, parameters.
fn answer(code: u32, parameters: &[u8]) -> Vec<u8> {
    let size = u32::try_from(10 + parameters.len()).unwrap();
    [
        &[0x80, 0x01][..],
        &size.to_be_bytes(),
        &code.to_be_bytes(),
        parameters,
    ]
    .concat()
}

#[test]
fn what_is_no_answer_is_no_signature() {
    let unreachable = |answers| matches!(refused(answers), DeviceError::Unreachable(_));
    // Nothing; a size below the header's; one beyond every answer; one that
    // lies; parameters that end early.
    assert!(unreachable(Vec::new()));
    assert!(unreachable(vec![vec![0x80, 1, 0, 0, 0, 9, 0, 0, 0, 0]]));
    assert!(unreachable(vec![vec![0x80, 1, 0, 1, 0, 0, 0, 0, 0, 0]]));
    assert!(unreachable(vec![answer(0, &[])]));
    assert!(unreachable(vec![answer(0, &[0, 9, 1])]));
    // A public area that is none.
    assert!(matches!(
        refused(vec![answer(0, &[0, 2, 0, 0x23])]),
        DeviceError::Refused(_)
    ));
    // TPM_RC_HANDLE: nothing is at the handle.
    assert!(matches!(
        refused(vec![answer(0x18b, &[])]),
        DeviceError::NoKey(_)
    ));
    assert_eq!(
        refused(vec![answer(0x101, &[])]),
        DeviceError::Refused("TPM2_ReadPublic answers 0x101".to_owned())
    );
    // TPM_RC_RETRY is asked again.
    assert!(matches!(
        refused(vec![answer(0x922, &[]), answer(0x18b, &[])]),
        DeviceError::NoKey(_)
    ));
}

#[test]
fn a_key_of_another_name_is_a_substitute() {
    use holdfast_proto::tpm::{
        AsymScheme, EccCurve, HashAlg, ObjectAttributes, Parameters, Public, Symmetric, Unique,
    };
    let public = Public {
        name_alg: HashAlg::Sha256,
        attributes: ObjectAttributes::SIGN,
        auth_policy: Vec::new(),
        parameters: Parameters::Ecc {
            symmetric: Symmetric::Null,
            scheme: AsymScheme::Ecdsa(HashAlg::Sha256),
            curve: EccCurve::P256,
        },
        unique: Unique::Ecc {
            x: vec![1; 32],
            y: vec![2; 32],
        },
    };
    let found = hex::encode(public.name().as_bytes());
    let expected = "000b".repeat(9);
    assert_eq!(
        refused(vec![answer(0, &public.encode_tpm2b())]),
        DeviceError::Substituted { expected, found }
    );
}

#[test]
fn a_device_is_named_by_kind_and_place() {
    for bad in [
        "",
        "/dev/tpm0",
        "device:tpm0",
        "swtpm:host",
        "swtpm:h:x",
        "tabrmd:",
    ] {
        let config = CaTpmConfig {
            device: bad.to_owned(),
            ..CaTpmConfig::default()
        };
        let mut key = TpmKey::new(config, 0x8101_0010, String::new(), public());
        let DeviceError::Unreachable(why) = key.sign(&[7; 32]).unwrap_err() else {
            panic!("{bad}")
        };
        assert!(why.contains("names no TPM"), "{bad}: {why}");
    }
    let config = CaTpmConfig {
        device: "device:/nonexistent/tpm".to_owned(),
        ..CaTpmConfig::default()
    };
    let mut key = TpmKey::new(config, 0x8101_0010, String::new(), public());
    let DeviceError::Unreachable(why) = key.sign(&[7; 32]).unwrap_err() else {
        panic!()
    };
    assert!(why.contains("/nonexistent/tpm"), "{why}");
}
