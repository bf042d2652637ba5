//! Attacks that a review of the gateway's side tried, each with what stops it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic here is a failed test"
)]

mod support;

use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use holdfast_attester::AttesterError;
use holdfast_attester::client::ClientError;
use holdfast_attester::enrolment::KeyChoice;
use holdfast_attester::enrolment::exchange::enrol;
use holdfast_attester::state::{StateDir, StateError};
use holdfast_attester::tpm::{
    AttestationKey, DEFAULT_SRK_HANDLE, EkChoice, TctiName, Tpm, TpmError,
};
use holdfast_proto::tpm::templates::{AkAlg, EkTemplate};
use support::interposer::Interposer;
use support::verifier::{JOIN_TOKEN, Verifier};
use support::{Swtpm, make_credential, raw_command};

const NV_DEFINED_ONLY: u32 = 0x01C0_0101;
const READ_PUBLIC: u32 = 0x173;
const START_AUTH_SESSION: u32 = 0x176;
const ACTIVATE_CREDENTIAL: u32 = 0x147;
const RH_NULL: u32 = 0x4000_0007;

/// The interposer answers TPM2_ReadPublic with a storage key of its own, once:
/// for the read that libtss2 remembers the key by, not for the one whose Name
/// is compared with the pin.
#[test]
fn cve_c27_a_root_swapped_for_one_read_is_seen() {
    let (swtpm, attackers) = (Swtpm::start(), Swtpm::start());
    let pin = swtpm.open().storage_root(None).unwrap().name;
    attackers.open().storage_root(None).unwrap();
    let forged = attackers.ask_raw(&raw_command(READ_PUBLIC, &DEFAULT_SRK_HANDLE.to_be_bytes()));
    let bus = Interposer::before(&swtpm);
    let tpm = Tpm::open(&bus.tcti()).unwrap();
    bus.script().forge = Some((READ_PUBLIC, forged));
    let error = tpm.storage_root(Some(&pin)).unwrap_err();
    assert!(matches!(error, TpmError::ResponseAltered { .. }), "{error}");
    // Left alone, all goes well.
    drop(tpm);
    let tpm = Tpm::open(&bus.tcti()).unwrap();
    tpm.storage_root(Some(&pin)).unwrap();
    tpm.create_ldevid().unwrap();
}

/// What is secret on the bus is the Verifier's answer to be activated, and the
/// endorsement auth value's HMAC: they go in a session salted to the EK, whose
/// certificate the Verifier checked, and not to a storage root that is known
/// by an unauthenticated read alone.
#[test]
fn cve_c27_activation_is_salted_to_the_endorsement_key() {
    for choice in [EkChoice::EccP256, EkChoice::EccP384, EkChoice::Rsa2048] {
        let (swtpm, maker) = (Swtpm::start(), Swtpm::start());
        let bus = Interposer::before(&swtpm);
        let tpm = Tpm::open(&bus.tcti()).unwrap();
        tpm.storage_root(None).unwrap();
        let ak = AttestationKey {
            alg: AkAlg::EcdsaP256,
            unique: [3; 32],
        };
        let name = tpm.attestation_key(&ak).unwrap().name();
        let ek = tpm.endorsement_key(choice).unwrap();
        let (blob, secret) = make_credential(&maker, &ek.public, &name, [9; 32]);
        tpm.activate_credential(&ek.template, &ak, &blob, &secret)
            .unwrap();
        let script = bus.script();
        let activation = script
            .commands
            .iter()
            .position(|c| code(c) == ACTIVATE_CREDENTIAL)
            .unwrap();
        let salted_to = script.commands[..activation]
            .iter()
            .rev()
            .filter(|c| code(c) == START_AUTH_SESSION)
            .map(|c| word(c, 10))
            .find(|key| *key != RH_NULL);
        assert_eq!(
            salted_to.map(|key| key >> 24),
            Some(0x80),
            "{choice:?}: a transient key, not {DEFAULT_SRK_HANDLE:#x}"
        );
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn code(command: &[u8]) -> u32 {
    word(command, 6)
}

/// Something accepts the connection and never says a word: swtpm while another
/// program has it, or a wedged resource manager.
#[test]
fn a_tpm_that_never_answers_is_given_up() {
    let (commands, control) = support::listen_pair();
    let port = commands.local_addr().unwrap().port();
    for listener in [commands, control] {
        std::thread::spawn(move || silent(&listener));
    }
    let tcti = TctiName::Swtpm {
        host: "127.0.0.1".into(),
        port,
    };
    let began = Instant::now();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _ = sender.send(Tpm::open(&tcti).map(drop));
    });
    let outcome = receiver
        .recv_timeout(Duration::from_secs(30))
        .expect("the wait is bounded");
    assert!(
        matches!(outcome, Err(TpmError::NoAnswer { .. })),
        "{outcome:?} after {:?}",
        began.elapsed()
    );
}

fn silent(listener: &TcpListener) {
    let held: Vec<_> = listener.incoming().collect();
    drop(held);
}

/// A slip of the pen in `--boot-log` does not look like a machine without one.
#[test]
fn a_boot_log_that_was_named_and_is_not_there_is_told() {
    let swtpm = Swtpm::start();
    swtpm.certify_ek(EkTemplate::L2);
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_holdfast-attester"))
        .args(["--tcti", &swtpm.tcti().to_string(), "--state-dir"])
        .arg(dir.path().join("state"))
        .args([
            "evidence",
            "--boot-log",
            "/sys/kernal/log",
            "--evidence-dir",
        ])
        .arg(dir.path().join("evidence"))
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(words.contains("no boot log at /sys/kernal/log"), "{words}");
    assert_eq!(output.status.code(), Some(0));
}

/// `doctor | head -1`: the reader went away. That is no reason to panic in the
/// middle of an enrolment.
#[test]
fn output_that_nobody_reads_is_no_panic() {
    let swtpm = Swtpm::start();
    swtpm.certify_ek(EkTemplate::L2);
    let dir = tempfile::tempdir().unwrap();
    for json in [&[][..], &["--json"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_holdfast-attester"))
            .args(["--tcti", &swtpm.tcti().to_string(), "--state-dir"])
            .arg(dir.path().join("state"))
            .arg("doctor")
            .args(json)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!words.contains("panicked"), "{words}");
        assert_eq!(output.status.code(), Some(0), "{words}");
    }
}

#[test]
fn adv_a25_a_link_is_a_link_with_a_slash_behind_it_too() {
    let parent = tempfile::tempdir().unwrap();
    let (real, link) = (parent.path().join("real"), parent.path().join("link"));
    drop(StateDir::open(&real).unwrap());
    symlink(&real, &link).unwrap();
    for end in ["", "/", "//", "/.", "/./"] {
        let path = format!("{}{end}", link.display());
        let outcome = StateDir::open(path.as_ref());
        assert!(matches!(outcome, Err(StateError::Symlink(_))), "{path:?}");
    }
    drop(StateDir::open(format!("{}/", real.display()).as_ref()).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_token_is_not_in_debug_output() {
    let verifier = Verifier::start().await;
    let plan = verifier.plan(KeyChoice::default());
    let shown = format!("{plan:?}").replace(' ', "");
    let token: Vec<String> = JOIN_TOKEN.iter().map(ToString::to_string).collect();
    assert!(!shown.contains(&token.join(",")), "{shown}");
    assert!(shown.contains("verifier.test"), "the rest is there");
}

/// A grant that holds our key's bytes, and is no certificate, does not take the
/// place of an LDevID.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_certificate_is_not_taken_for_one() {
    let (swtpm, verifier) = (Swtpm::start(), Verifier::start().await);
    swtpm.certify_ek(EkTemplate::L2);
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(&dir.path().join("state")).unwrap();
    let tpm = swtpm.open();
    verifier.script.lock().unwrap().no_certificate = true;
    let plan = verifier.plan(KeyChoice::default());
    let error = enrol(&tpm, &state, &plan, &mut |_| ()).await.unwrap_err();
    assert!(
        matches!(error, AttesterError::Client(ClientError::BadAnswer { .. })),
        "{error}"
    );
    assert_eq!(state.enrolled().unwrap(), None);
}

/// An index that a vendor defined and never filled is no certificate, and no
/// reason to fail.
#[test]
fn an_nv_index_without_content_is_passed_over() {
    let swtpm = Swtpm::start();
    swtpm.certify_ek(EkTemplate::L2);
    swtpm.define_nv(NV_DEFINED_ONLY, 64);
    let tpm = swtpm.open();
    let ek = tpm.endorsement_key(EkChoice::Auto).unwrap();
    assert_eq!(ek.certificate_chain.len(), 1);
    assert_eq!(tpm.ek_certificates().unwrap().leaves.len(), 1);
}
