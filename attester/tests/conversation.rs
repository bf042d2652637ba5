//! Enrolment, recovery and re-attestation over real TLS, against a stand-in
//! for the Verifier that checks every binding.
#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

mod support;

use std::path::PathBuf;

use holdfast_attester::AttesterError;
use holdfast_attester::attestation::exchange as attestation;
use holdfast_attester::client::{ClientError, Trust, connect};
use holdfast_attester::enrolment::exchange::{Outcome, Plan, enrol};
use holdfast_attester::enrolment::{KeyChoice, Road};
use holdfast_attester::state::{StateDir, StateError};
use holdfast_attester::tpm::{EkChoice, TpmError};
use holdfast_proto::grpc::v1::boot_log::Log;
use holdfast_proto::tpm::templates::{AkAlg, EkTemplate};
use support::Swtpm;
use support::verifier::{Verifier, ca, sha256};
use tempfile::TempDir;

const CHOICE: KeyChoice = KeyChoice {
    ek: EkChoice::EccP256,
    ak: AkAlg::EcdsaP256,
};

struct Gateway {
    swtpm: Swtpm,
    dir: TempDir,
}

impl Gateway {
    fn new() -> Self {
        Self {
            swtpm: Swtpm::start(),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn state_path(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    async fn enrol(&self, plan: &Plan) -> Result<Outcome, AttesterError> {
        let state = StateDir::open(&self.state_path()).unwrap();
        enrol(&self.swtpm.open(), &state, plan, &mut |_| ()).await
    }

    async fn attest(
        &self,
        renew: bool,
        boot_log: &str,
    ) -> Result<attestation::Outcome, AttesterError> {
        let state = StateDir::open(&self.state_path()).unwrap();
        let plan = attestation::Plan {
            renew,
            boot_log: boot_log.into(),
            ima_log: "/nonexistent".into(),
            evidence_dir: None,
            ear_jwt: true,
        };
        attestation::attest(&self.swtpm.open(), &state, &plan, &mut |_| ()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_enrols_attests_and_renews() {
    let (gateway, verifier) = (Gateway::new(), Verifier::start().await);
    let log = gateway.dir.path().join("log");
    std::fs::write(&log, b"a boot log").unwrap();
    let mut plan = verifier.plan(CHOICE);
    plan.boot_log = log.clone();
    plan.evidence_dir = Some(gateway.dir.path().join("evidence"));
    let outcome = gateway.enrol(&plan).await.unwrap();
    let Outcome::Granted(enrolled, verdict) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(verdict.ear_jwt, "e.a.r");
    assert_eq!(enrolled.ldevid_chain.len(), 2);
    // Challenge and Enroll went over one connection.
    assert_eq!(verifier.script.lock().unwrap().connections, 1);
    for file in [
        "ak.pub",
        "quote.attest",
        "quote.sig",
        "pcrs.json",
        "claims.cose",
        "boot.log",
        "nonce.hex",
    ] {
        assert!(
            gateway.dir.path().join("evidence").join(file).exists(),
            "{file}"
        );
    }
    for file in [
        "state.json",
        "ldevid.pem",
        "ldevid.pub",
        "ldevid.priv",
        "server-ca.pem",
        "ear.jwt",
    ] {
        assert!(gateway.state_path().join(file).exists(), "{file}");
    }

    // Mutual TLS with the key in the TPM; the log travels by its digest now.
    let outcome = gateway.attest(false, log.to_str().unwrap()).await.unwrap();
    assert!(matches!(outcome, attestation::Outcome::Affirmed(_, None)));
    {
        let script = verifier.script.lock().unwrap();
        assert_eq!(script.client.as_ref(), enrolled.ldevid_chain.first());
        assert_eq!(script.connections, 2);
        let sent = script.attests[0]
            .evidence
            .as_ref()
            .unwrap()
            .boot_log
            .as_ref()
            .unwrap();
        assert_eq!(sent.log, Some(Log::Sha256(sha256(b"a boot log"))));
    }

    let outcome = gateway.attest(true, "/nonexistent").await.unwrap();
    let attestation::Outcome::Affirmed(_, Some(renewed)) = outcome else {
        panic!("{outcome:?}")
    };
    assert_ne!(renewed.ldevid_chain, enrolled.ldevid_chain);
    assert_eq!(renewed.keys, enrolled.keys);
    let state = StateDir::open(&gateway.state_path()).unwrap();
    assert_eq!(state.enrolled().unwrap().as_ref(), Some(&*renewed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_the_verifier_lost_is_sent_whole() {
    let (gateway, verifier) = (Gateway::new(), Verifier::start().await);
    let log = gateway.dir.path().join("log");
    std::fs::write(&log, b"a boot log").unwrap();
    let mut plan = verifier.plan(CHOICE);
    plan.boot_log = log.clone();
    gateway.enrol(&plan).await.unwrap();
    verifier.script.lock().unwrap().lost_log = true;
    let outcome = gateway.attest(false, log.to_str().unwrap()).await.unwrap();
    assert!(matches!(outcome, attestation::Outcome::Affirmed(_, None)));
    let script = verifier.script.lock().unwrap();
    let sent: Vec<&Log> = script
        .attests
        .iter()
        .map(|request| request.evidence.as_ref().unwrap())
        .map(|evidence| evidence.boot_log.as_ref().unwrap().log.as_ref().unwrap())
        .collect();
    let whole = Log::Content(b"a boot log".to_vec());
    assert_eq!(sent, [&Log::Sha256(sha256(b"a boot log")), &whole]);
}

#[tokio::test(flavor = "multi_thread")]
async fn recovery_keeps_the_gateway_and_changes_the_keys() {
    let (gateway, verifier) = (Gateway::new(), Verifier::start().await);
    let Outcome::Granted(before, _) = gateway.enrol(&verifier.plan(CHOICE)).await.unwrap() else {
        panic!()
    };
    let plan = Plan::recovery(&before, "/nonexistent".into());
    let Outcome::Granted(after, _) = gateway.enrol(&plan).await.unwrap() else {
        panic!()
    };
    assert_eq!(before.gateway_id, after.gateway_id);
    assert_ne!(before.keys.ak, after.keys.ak);
    assert_ne!(before.keys.ldevid, after.keys.ldevid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_had_by_the_same_bytes() {
    let (gateway, verifier) = (Gateway::new(), Verifier::start().await);
    verifier.script.lock().unwrap().lose_answers = 1;
    let outcome = gateway.enrol(&verifier.plan(CHOICE)).await.unwrap();
    assert!(matches!(outcome, Outcome::Granted(..)));
    let script = verifier.script.lock().unwrap();
    assert_eq!(script.granted.len(), 1, "granted once");
    assert_eq!(script.enrolls.len(), 2);
    assert_eq!(script.enrolls[0], script.enrolls[1]);
    assert_eq!(script.connections, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_request_is_begun_anew() {
    let (gateway, verifier) = (Gateway::new(), Verifier::start().await);
    verifier.script.lock().unwrap().lose_requests = 1;
    let outcome = gateway.enrol(&verifier.plan(CHOICE)).await.unwrap();
    assert!(matches!(outcome, Outcome::Granted(..)));
    let script = verifier.script.lock().unwrap();
    // Lost; repeated and refused, for it is bound to the lost connection; anew.
    assert_eq!((script.enrolls.len(), script.granted.len()), (3, 1));
    assert_eq!(script.enrolls[0], script.enrolls[1]);
    assert_ne!(script.enrolls[1], script.enrolls[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_killed_before_the_answer_is_resumed() {
    let (gateway, verifier) = (Gateway::new(), Verifier::start().await);
    let Outcome::Granted(enrolled, _) = gateway.enrol(&verifier.plan(CHOICE)).await.unwrap() else {
        panic!()
    };
    // As kill -9 between Enroll and its answer leaves it: pending, no state.
    let request = verifier.script.lock().unwrap().enrolls[0].clone();
    std::fs::remove_file(gateway.state_path().join("state.json")).unwrap();
    let plan = verifier.plan(CHOICE);
    let pending = holdfast_attester::state::Pending {
        server: plan.server.clone(),
        purpose: plan.purpose,
        class: plan.class.clone(),
        policy_root_name: plan.policy_root_name.clone(),
        keys: enrolled.keys.clone(),
        request,
    };
    let state = StateDir::open(&gateway.state_path()).unwrap();
    state.set_pending(&pending).unwrap();
    drop(state);
    let Outcome::Granted(again, _) = gateway.enrol(&plan).await.unwrap() else {
        panic!()
    };
    assert_eq!(again, enrolled);
    let script = verifier.script.lock().unwrap();
    assert_eq!((script.enrolls.len(), script.granted.len()), (2, 1));
}

/// The answer to what was begun with other keys is not taken for this one, nor
/// given up in silence.
#[tokio::test(flavor = "multi_thread")]
async fn an_unanswered_enrolment_with_other_keys_is_not_resumed() {
    let (gateway, verifier) = (Gateway::new(), Verifier::start().await);
    let begun = verifier.plan(CHOICE);
    let Outcome::Granted(enrolled, _) = gateway.enrol(&begun).await.unwrap() else {
        panic!()
    };
    let request = verifier.script.lock().unwrap().enrolls[0].clone();
    std::fs::remove_file(gateway.state_path().join("state.json")).unwrap();
    let pending = holdfast_attester::state::Pending {
        server: begun.server.clone(),
        purpose: begun.purpose,
        class: begun.class.clone(),
        policy_root_name: begun.policy_root_name.clone(),
        keys: enrolled.keys.clone(),
        request,
    };
    let put = || {
        let state = StateDir::open(&gateway.state_path()).unwrap();
        state.set_pending(&pending).unwrap();
    };
    put();
    let mut others = [begun.clone(), begun.clone(), begun.clone()];
    others[0].choice.ek = EkChoice::Rsa2048;
    others[1].choice.ak = AkAlg::RsaPss2048;
    others[2].road = Road::Iak;
    for (other, asked) in others
        .iter()
        .zip(["--ek", "--ak rsapss-2048", "--identity iak"])
    {
        let error = gateway.enrol(other).await.unwrap_err();
        let AttesterError::OtherChoices { begun, asked: said } = &error else {
            panic!("{asked}: {error}")
        };
        assert!(begun.contains("--identity ek --ek "), "{begun}");
        assert!(said.contains(asked), "{said}");
        assert!(error.next_step().contains("--replace"));
        let state = StateDir::open(&gateway.state_path()).unwrap();
        assert_eq!(state.pending().unwrap().as_ref(), Some(&pending), "{asked}");
    }
    // Where that is said, it is given up.
    let mut other = pending.clone();
    other.keys.ek_template = EkTemplate::L1.public();
    let state = StateDir::open(&gateway.state_path()).unwrap();
    state.set_pending(&other).unwrap();
    drop(state);
    let mut replacing = begun.clone();
    replacing.replace = true;
    let Outcome::Granted(anew, _) = gateway.enrol(&replacing).await.unwrap() else {
        panic!()
    };
    assert_ne!(anew.keys.ldevid, enrolled.keys.ldevid);
    // What it was begun with, or what leaves it open, has its answer.
    std::fs::remove_file(gateway.state_path().join("state.json")).unwrap();
    put();
    let mut open = begun.clone();
    open.choice.ek = EkChoice::Auto;
    let Outcome::Granted(again, _) = gateway.enrol(&open).await.unwrap() else {
        panic!()
    };
    assert_eq!(again, enrolled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_enrolment_that_was_never_seen_gives_way() {
    let (gateway, verifier) = (Gateway::new(), Verifier::start().await);
    let Outcome::Granted(enrolled, _) = gateway.enrol(&verifier.plan(CHOICE)).await.unwrap() else {
        panic!()
    };
    let plan = verifier.plan(CHOICE);
    let request = {
        let mut script = verifier.script.lock().unwrap();
        script.granted.clear();
        script.enrolls[0].clone()
    };
    let state = StateDir::open(&gateway.state_path()).unwrap();
    state
        .set_pending(&holdfast_attester::state::Pending {
            server: plan.server.clone(),
            purpose: plan.purpose,
            class: plan.class.clone(),
            policy_root_name: plan.policy_root_name.clone(),
            keys: holdfast_attester::state::Keys {
                srk_name: enrolled.keys.srk_name.clone(),
                ..enrolled.keys.clone()
            },
            request,
        })
        .unwrap();
    drop(state);
    std::fs::remove_file(gateway.state_path().join("state.json")).unwrap();
    let Outcome::Granted(again, _) = gateway.enrol(&plan).await.unwrap() else {
        panic!()
    };
    assert_ne!(again.keys.ldevid, enrolled.keys.ldevid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_leaves_nothing_half_enrolled() {
    let (gateway, verifier) = (Gateway::new(), Verifier::start().await);
    verifier.script.lock().unwrap().refuse = true;
    let Outcome::Refused(verdict) = gateway.enrol(&verifier.plan(CHOICE)).await.unwrap() else {
        panic!()
    };
    assert_eq!(verdict.reasons[0].code, "pcr-mismatch");
    // The peer's terminal escape is inert.
    assert_eq!(verdict.reasons[0].detail, "PCR 4\u{FFFD}[31m");
    let state = StateDir::open(&gateway.state_path()).unwrap();
    assert_eq!(state.pending().unwrap(), None);
    assert!(matches!(
        state.require_enrolled(),
        Err(StateError::NotEnrolled(_))
    ));
    drop(state);
    verifier.script.lock().unwrap().refuse = false;
    assert!(matches!(
        gateway.enrol(&verifier.plan(CHOICE)).await,
        Ok(Outcome::Granted(..))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_refused_in_words() {
    let (gateway, verifier) = (Gateway::new(), Verifier::start().await);
    let mut plan = verifier.plan(CHOICE);
    plan.join_token = vec![0; 32].into();
    let error = gateway.enrol(&plan).await.unwrap_err();
    assert!(matches!(
        &error,
        AttesterError::Client(ClientError::Refused {
            call: "RequestChallenge",
            ..
        })
    ));
    assert_eq!(
        error.to_string(),
        "RequestChallenge: not admitted\u{FFFD}[31m (PermissionDenied)"
    );
    assert!(error.next_step().contains("token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_key_is_not_taken() {
    let (gateway, verifier) = (Gateway::new(), Verifier::start().await);
    verifier.script.lock().unwrap().wrong_key = true;
    let error = gateway.enrol(&verifier.plan(CHOICE)).await.unwrap_err();
    assert!(
        matches!(error, AttesterError::Client(ClientError::BadAnswer { .. })),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn adv_a28_another_server_is_not_spoken_to() {
    let verifier = Verifier::start().await;
    let address = &verifier.server.address;
    let trust = |name: &str, ca_der: &[u8]| Trust {
        server_name: name.to_owned(),
        ca_der: ca_der.to_vec(),
    };
    let pinned = &verifier.server.ca_der;
    connect(address, &trust("verifier.test", pinned), None)
        .await
        .unwrap();
    let error = connect(address, &trust("other.test", pinned), None)
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Untrusted { .. }), "{error}");
    let error = connect(address, &trust("verifier.test", &ca().der), None)
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Untrusted { .. }), "{error}");
    let error = connect("127.0.0.1:1", &trust("verifier.test", pinned), None)
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }) && error.is_passing());
    // A server without TLS.
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain_address = plain.local_addr().unwrap().to_string();
    let serve = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let (mut socket, _) = plain.accept().await.unwrap();
        socket
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        socket
    });
    let error = connect(&plain_address, &trust("verifier.test", pinned), None)
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Handshake { .. }), "{error}");
    drop(serve.await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_its_own_exporter_and_no_successor() {
    let verifier = Verifier::start().await;
    let trust = Trust {
        server_name: verifier.server.name.clone(),
        ca_der: verifier.server.ca_der.clone(),
    };
    let first = connect(&verifier.server.address, &trust, None)
        .await
        .unwrap();
    let second = connect(&verifier.server.address, &trust, None)
        .await
        .unwrap();
    assert_ne!(first.exporter, second.exporter);
    verifier.script.lock().unwrap().lose_requests = 1;
    let request = holdfast_proto::grpc::v1::EnrollRequest::default();
    first
        .enrollment()
        .enroll(request.clone())
        .await
        .unwrap_err();
    // The connection broke; a further call fails instead of finding another.
    let error = first.enrollment().enroll(request).await.unwrap_err();
    assert!(std::error::Error::source(&error).is_some(), "{error:?}");
    // The server may come to know of the second only after its client does.
    for _ in 0..500 {
        if verifier.script.lock().unwrap().connections >= 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(verifier.script.lock().unwrap().connections, 2);
    assert_eq!(verifier.script.lock().unwrap().enrolls.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn adv_a19_an_identity_of_another_ca_is_refused() {
    let (gateway, verifier) = (Gateway::new(), Verifier::start().await);
    let Outcome::Granted(mut enrolled, _) = gateway.enrol(&verifier.plan(CHOICE)).await.unwrap()
    else {
        panic!()
    };
    let other = Verifier::start().await;
    enrolled.server = other.server.clone();
    let state = StateDir::open(&gateway.state_path()).unwrap();
    state.promote(&enrolled).unwrap();
    drop(state);
    let error = gateway.attest(false, "/nonexistent").await.unwrap_err();
    let AttesterError::Client(error) = error else {
        panic!("{error}")
    };
    assert!(error.is_identity_refused(), "{error:?}");
    assert!(error.next_step().contains("recover"));
}

#[tokio::test(flavor = "multi_thread")]
async fn adv_a23_a_copied_state_directory_is_worthless() {
    let (gateway, verifier) = (Gateway::new(), Verifier::start().await);
    assert!(matches!(
        gateway.enrol(&verifier.plan(CHOICE)).await,
        Ok(Outcome::Granted(..))
    ));
    let thief = Gateway::new();
    copy_dir(&gateway.state_path(), &thief.state_path());
    // No storage root on the thief's TPM …
    let error = thief.attest(false, "/nonexistent").await.unwrap_err();
    assert!(
        matches!(&error, AttesterError::Tpm(TpmError::OtherStorageRoot { found, .. }) if found == "absent"),
        "{error}"
    );
    // … or one of its own …
    let tpm = thief.swtpm.open();
    tpm.storage_root(None).unwrap();
    // … under which the key does not load, pin or no pin.
    let state = StateDir::open(&thief.state_path()).unwrap();
    let key = state.require_enrolled().unwrap().keys.ldevid;
    drop(state);
    assert!(matches!(
        tpm.sign(&key, [0; 32]),
        Err(TpmError::KeyOfAnotherTpm { .. })
    ));
    drop(tpm);
    let error = thief.attest(false, "/nonexistent").await.unwrap_err();
    assert!(
        matches!(
            &error,
            AttesterError::Tpm(TpmError::OtherStorageRoot { .. })
        ),
        "{error}"
    );
    assert!(error.next_step().contains("only with the TPM that made it"));
    // The gateway itself is untouched.
    assert!(gateway.attest(false, "/nonexistent").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cleared_tpm_is_recognised() {
    let (gateway, verifier) = (Gateway::new(), Verifier::start().await);
    assert!(matches!(
        gateway.enrol(&verifier.plan(CHOICE)).await,
        Ok(Outcome::Granted(..))
    ));
    let mut context = gateway.swtpm.context();
    context.execute_with_session(
        Some(tss_esapi::interface_types::session_handles::AuthSession::Password),
        |context| {
            context
                .clear(tss_esapi::handles::AuthHandle::Lockout)
                .unwrap()
        },
    );
    drop(context);
    let error = gateway.attest(false, "/nonexistent").await.unwrap_err();
    assert!(
        matches!(
            &error,
            AttesterError::Tpm(TpmError::OtherStorageRoot { .. })
        ),
        "{error}"
    );
    assert!(error.to_string().contains("cleared"));
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    StateDir::open(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
