//! A24: somebody sits on the bus between this program and its TPM, reads all
//! and changes what it likes. The same place shows what happens when the TPM
//! says no, and when PCRs change at the wrong moment.
#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

mod support;

use holdfast_attester::evidence::{Challenge, Platform, collect};
use holdfast_attester::state::Keys;
use holdfast_attester::tpm::{
    AttestationKey, AuthValue, EkChoice, PinnedEk, Settings, Tpm, TpmError,
};
use holdfast_proto::binding::gateway_id;
use holdfast_proto::claims::Purpose;
use holdfast_proto::tpm::templates::{AkAlg, EkTemplate};
use holdfast_proto::tpm::{HashAlg, PcrSelection, PcrSet};
use support::interposer::Interposer;
use support::{Swtpm, make_credential};
use zeroize::Zeroizing;

const CREATE_PRIMARY: u32 = 0x131;
const ACTIVATE_CREDENTIAL: u32 = 0x147;
const CERTIFY: u32 = 0x148;
const QUOTE: u32 = 0x158;

fn ak() -> AttestationKey {
    AttestationKey {
        alg: AkAlg::EcdsaP256,
        unique: [3; 32],
    }
}

#[test]
fn adv_a24_no_secret_is_in_clear_on_the_bus() {
    use std::os::unix::fs::PermissionsExt;
    const AUTH: &[u8] = b"endorsement-auth";
    let (swtpm, maker) = (Swtpm::start(), Swtpm::start());
    swtpm.context().execute_with_session(
        Some(tss_esapi::interface_types::session_handles::AuthSession::Password),
        |context| {
            let handle = tss_esapi::handles::AuthHandle::Endorsement;
            context
                .hierarchy_change_auth(handle, AUTH.try_into().unwrap())
                .unwrap();
        },
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("auth");
    std::fs::write(&file, AUTH).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let settings = Settings {
        endorsement_auth: Some(AuthValue::from_file(&file).unwrap()),
        ..Settings::default()
    };
    let bus = Interposer::before(&swtpm);
    let tpm = Tpm::open_with(&bus.tcti(), settings).unwrap();
    tpm.storage_root(None).unwrap();
    let ak = AttestationKey {
        alg: AkAlg::EcdsaP256,
        unique: [3; 32],
    };
    let name = tpm.attestation_key(&ak).unwrap().name();
    let secret = *b"the Verifier's activation secret";
    for choice in [EkChoice::EccP256, EkChoice::EccP384] {
        let ek = tpm.endorsement_key(choice).unwrap();
        let (blob, encrypted) = make_credential(&maker, &ek.public, &name, secret);
        let got = tpm
            .activate_credential(&ek.template, &ak, &blob, &encrypted)
            .unwrap();
        assert_eq!(got.as_slice(), secret);
    }
    assert!(bus.saw(name.as_bytes().get(2..).unwrap()), "the tap works");
    assert!(!bus.saw(&secret));
    assert!(!bus.saw(AUTH));
}

#[test]
fn adv_a24_altered_answers_are_detected() {
    let (swtpm, maker) = (Swtpm::start(), Swtpm::start());
    let bus = Interposer::before(&swtpm);
    let ak = AttestationKey {
        alg: AkAlg::EcdsaP256,
        unique: [3; 32],
    };
    for command in [ACTIVATE_CREDENTIAL, CERTIFY] {
        let tpm = Tpm::open(&bus.tcti()).unwrap();
        let name = tpm.attestation_key(&ak).unwrap().name();
        let key = tpm.create_ldevid().unwrap();
        let ek = tpm.endorsement_key(EkChoice::EccP256).unwrap();
        let (blob, encrypted) = make_credential(&maker, &ek.public, &name, [1; 32]);
        let both = |tpm: &Tpm| {
            tpm.activate_credential(&ek.template, &ak, &blob, &encrypted)?;
            tpm.certify(&key, &ak, [1; 32])
        };
        bus.script().alter = Some(command);
        let error = both(&tpm).unwrap_err();
        assert!(matches!(error, TpmError::ResponseAltered { .. }), "{error}");
        // Nothing more is said over that connection.
        bus.script().alter = None;
        let sent = tpm.command_count();
        assert!(matches!(both(&tpm), Err(TpmError::ResponseAltered { .. })));
        assert_eq!(tpm.command_count(), sent);
        drop(tpm);
        // Left alone, all goes well over a new one.
        let tpm = Tpm::open(&bus.tcti()).unwrap();
        both(&tpm).unwrap();
    }
}

/// A session for secrets is salted to the very EK that is pinned: one that was
/// salted to another key of the same template, be it of a made-up answer, is not
/// gone on with. Here the seed, and with it the EK, changes in between.
#[test]
fn adv_a24_a_session_salted_to_another_ek_is_not_gone_on_with() {
    const CONTEXT_LOAD: u32 = 0x161;
    const START_AUTH_SESSION: u32 = 0x176;
    let swtpm = Swtpm::start();
    let bus = Interposer::before(&swtpm);
    let tpm = Tpm::open(&bus.tcti()).unwrap();
    tpm.storage_root(None).unwrap();
    let before = tpm.endorsement_key(EkChoice::EccP256).unwrap();
    tpm.prepare_activation(&before.template).unwrap();
    // TPM2_ChangeEPS by TPM_RH_PLATFORM with an empty password.
    let platform = [0x40, 0, 0, 0x0C, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];
    let mut change = support::raw_command(0x124, &platform);
    change[1] = 0x02; // TPM_ST_SESSIONS
    bus.script().first = Some((CONTEXT_LOAD, change));
    let ek = tpm.endorsement_key(EkChoice::EccP256).unwrap();
    assert_ne!(ek.public, before.public);
    assert_eq!(bus.script().first, None);
    let pin = PinnedEk {
        template: ek.template,
        ueid: gateway_id(&ek.public).unwrap(),
    };
    let sessions = bus.count(START_AUTH_SESSION);
    let secret = Zeroizing::new(b"sealed".to_vec());
    tpm.seal(&pin, [1; 32], secret).unwrap();
    assert!(bus.count(START_AUTH_SESSION) > sessions);
}

#[test]
fn what_the_tpm_says_is_told_apart() {
    type Expected = fn(&TpmError) -> bool;
    let swtpm = Swtpm::start();
    let bus = Interposer::before(&swtpm);
    let cases: [(u32, Expected); 7] = [
        (0x100, |e| matches!(e, TpmError::NotInitialised { .. })),
        (0x101, |e| matches!(e, TpmError::FailureMode { .. })),
        (0x921, |e| matches!(e, TpmError::LockedOut { .. })),
        (0x902, |e| matches!(e, TpmError::NoFreeSlot { .. })),
        (0x185, |e| matches!(e, TpmError::HierarchyDisabled { .. })),
        (0x2C2, |e| {
            matches!(e, TpmError::Command { code: 0x2C2, .. })
        }),
        (0x2C7, |e| matches!(e, TpmError::Unsupported { .. })),
    ];
    for (code, expected) in cases {
        let tpm = Tpm::open(&bus.tcti()).unwrap();
        tpm.storage_root(None).unwrap();
        bus.script().refuse = Some((CREATE_PRIMARY, code, 1));
        let error = tpm.attestation_key(ak()).unwrap_err();
        assert!(expected(&error), "{code:#x}: {error:?}");
        assert!(!error.next_step().is_empty());
        // Once is no reason never to ask again.
        tpm.attestation_key(ak()).unwrap();
    }
}

#[test]
fn a_tpm_that_says_later_is_asked_again() {
    let swtpm = Swtpm::start();
    let bus = Interposer::before(&swtpm);
    let tpm = Tpm::open(&bus.tcti()).unwrap();
    let pcrs = PcrSet::from_indices([0]).unwrap();
    let selection = PcrSelection {
        hash: HashAlg::Sha256,
        pcrs,
    };
    for retry in [0x922, 0x908, 0x90A] {
        bus.script().refuse = Some((QUOTE, retry, 9));
        tpm.quote(ak(), &selection, [1; 32]).unwrap();
        assert_eq!(bus.script().refuse, None, "all nine were met");
    }
}

#[test]
fn pcrs_that_change_before_the_quote_are_read_again() {
    let swtpm = Swtpm::start();
    let bus = Interposer::before(&swtpm);
    let tpm = Tpm::open(&bus.tcti()).unwrap();
    let root = tpm.storage_root(None).unwrap();
    let ak = ak();
    let keys = Keys {
        srk_handle: root.handle,
        srk_name: root.name,
        ek_template: EkTemplate::L2.public(),
        ek_ueid: None,
        ak_name: tpm.attestation_key(&ak).unwrap().name(),
        ak: ak.into(),
        ldevid: tpm.create_ldevid().unwrap(),
    };
    let pcrs = PcrSet::from_indices([0, 9, 14]).unwrap();
    let challenge = Challenge {
        nonce: [1; 32],
        selection: PcrSelection {
            hash: HashAlg::Sha256,
            pcrs,
        },
        exporter: [2; 32],
        purpose: Purpose::Attest,
        known_boot_log: None,
        known_ima: None,
    };
    let id = format!("01{}", "ab".repeat(32)).parse().unwrap();
    let platform = Platform::default();
    let before = bus.count(QUOTE);
    bus.script().first = Some((QUOTE, support::extend_command(9, [7; 32])));
    let evidence = collect(&tpm, &keys, &id, &challenge, None, &platform).unwrap();
    assert_eq!(bus.count(QUOTE) - before, 2);
    let extended = HashAlg::Sha256.digest(&[&[0; 32], &[7; 32]]);
    let value = &evidence
        .pcr_values
        .iter()
        .find(|pcr| pcr.index == 9)
        .unwrap()
        .value;
    assert_eq!(value, extended.as_bytes());
}
