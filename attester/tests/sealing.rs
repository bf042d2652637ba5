//! Sealing on a live swtpm: the nested PolicyAuthorize, and what must not open.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic here is a failed test"
)]

mod support;

use std::path::PathBuf;

use holdfast_attester::enrolment::{Enrolment, KeyChoice};
use holdfast_attester::sealing::{
    Binding, OwnApprovals, Policy, SealError, SecretName, seal, take_in, unseal,
};
use holdfast_attester::state::{Enrolled, Server, StateDir, StateView};
use holdfast_attester::tpm::{ApprovedState, EkChoice, PinnedEk, Tpm, TpmError, Unlock};
use holdfast_proto::sealing::{
    Approval, Approvals, ApprovalsError, Authority, DEFAULT_LATCH_PCR, Purpose, Signatures,
    object_policy, pcr_digest, policy_key, policy_ref, signed_bytes,
};
use holdfast_proto::tpm::templates::EkTemplate;
use holdfast_proto::tpm::{
    EccCurve, HashAlg, PcrSelection, PcrSet, Public, policy_authorize, policy_pcr,
};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use support::interposer::Interposer;
use support::{Swtpm, extend_command};
use tempfile::TempDir;
use zeroize::Zeroizing;

const SECRET: &[u8] = b"the disk key, which nobody else may see";
const CREATE: u32 = 0x153;
const UNSEAL: u32 = 0x15E;
const START_AUTH_SESSION: u32 = 0x176;

/// A policy key in software.
struct PolicyKey(EcdsaKeyPair);

impl PolicyKey {
    fn new() -> Self {
        let rng = SystemRandom::new();
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref(), &rng);
        Self(key.unwrap())
    }

    fn public(&self) -> Public {
        let point = self.0.public_key().as_ref();
        policy_key(
            &point[1..33].try_into().unwrap(),
            &point[33..].try_into().unwrap(),
        )
    }

    fn signatures(&self, class: &str, policy: impl Fn(&[u8; 32]) -> [u8; 32]) -> Signatures {
        let sign = |purpose| {
            let reference = policy_ref(class, purpose);
            let message = signed_bytes(&policy(&reference), &reference);
            let signature = self.0.sign(&SystemRandom::new(), &message).unwrap();
            <[u8; 64]>::try_from(signature.as_ref()).unwrap()
        };
        Signatures {
            secret: sign(Purpose::Secret),
            ldevid: sign(Purpose::LdevidKey),
        }
    }
}

/// The owner's side, in software.
struct Owner {
    root: PolicyKey,
    online: PolicyKey,
}

impl Owner {
    fn new() -> Self {
        Self {
            root: PolicyKey::new(),
            online: PolicyKey::new(),
        }
    }

    fn authority(&self, class: &str, states: &[(PcrSelection, [u8; 32])]) -> Authority {
        let name = self.online.public().name();
        Authority {
            key: self.online.public(),
            delegations: self.root.signatures(class, |r| policy_authorize(&name, r)),
            approvals: states
                .iter()
                .map(|(selection, digest)| Approval {
                    selection: *selection,
                    pcr_digest: *digest,
                    signatures: self
                        .online
                        .signatures(class, |_| policy_pcr(selection, digest)),
                })
                .collect(),
        }
    }

    fn approvals(&self, class: &str, states: &[(PcrSelection, [u8; 32])]) -> Approvals {
        Approvals {
            class: class.to_owned(),
            root: self.root.public(),
            authorities: vec![self.authority(class, states)],
        }
    }
}

/// An enrolled gateway; what the Verifier would have said is made up, but for
/// the keys and the policy root.
struct Gateway {
    swtpm: Swtpm,
    dir: TempDir,
}

impl Gateway {
    fn enrolled(owner: &Owner) -> Self {
        let swtpm = Swtpm::start();
        swtpm.certify_ek(EkTemplate::L2);
        let gateway = Self {
            swtpm,
            dir: tempfile::tempdir().unwrap(),
        };
        let tpm = gateway.swtpm.open();
        let choice = KeyChoice {
            ek: EkChoice::EccP256,
            ..KeyChoice::default()
        };
        let enrolment = Enrolment::new(&tpm, choice, None).unwrap();
        let enrolled = Enrolled {
            server: Server {
                address: "verifier.test:1".to_owned(),
                name: "verifier.test".to_owned(),
                ca_der: vec![0x30, 0],
            },
            gateway_id: *enrolment.gateway_id(),
            class: "edge".to_owned(),
            policy_root_name: owner.root.public().name(),
            keys: enrolment.keys().clone(),
            ldevid_chain: vec![vec![0x30, 0]],
            renew_after: 1,
            not_after: 2,
        };
        gateway.state().promote(&enrolled).unwrap();
        gateway
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn state(&self) -> StateDir {
        StateDir::open(&self.path()).unwrap()
    }

    fn view(&self) -> StateView {
        StateView::open(&self.path()).unwrap()
    }

    fn record(&self) -> Enrolled {
        self.view().require_enrolled().unwrap()
    }

    fn seal(&self, policy: Policy) -> Binding {
        seal(
            &self.swtpm.open(),
            &self.state(),
            &name(),
            policy,
            false,
            SECRET,
        )
        .unwrap()
    }

    fn unseal(&self, latch: Option<u32>) -> Result<Zeroizing<Vec<u8>>, SealError> {
        unseal(&self.swtpm.open(), &self.view(), &name(), latch)
    }

    /// The state that the TPM is in, over the PCRs that count here.
    fn present(&self) -> (PcrSelection, [u8; 32]) {
        gateway_present(&self.swtpm.open())
    }

    fn take_in(&self, approvals: &Approvals) -> Result<(), SealError> {
        take_in(&self.state(), &self.record(), approvals.to_message())
    }

    fn extend(&self, pcr: u32, what: u8) {
        self.swtpm.send_raw(&[extend_command(pcr, [what; 32])]);
    }

    fn ek(&self) -> PinnedEk {
        self.record().pinned_ek().unwrap()
    }
}

fn name() -> SecretName {
    "disk-key".parse().unwrap()
}

fn selection(pcrs: &[u32]) -> PcrSelection {
    PcrSelection {
        hash: HashAlg::Sha256,
        pcrs: PcrSet::from_indices(pcrs.iter().copied()).unwrap(),
    }
}

fn current() -> Policy {
    Policy::Current {
        selection: selection(&[0, 4, 7]),
        latch: Some(DEFAULT_LATCH_PCR),
    }
}

fn opens(outcome: Result<Zeroizing<Vec<u8>>, SealError>) {
    assert_eq!(outcome.unwrap().as_slice(), SECRET);
}

#[test]
fn adv_a23_sealed_to_the_current_state_opens_in_it_alone() {
    let mut gateway = Gateway::enrolled(&Owner::new());
    gateway.seal(current());
    opens(gateway.unseal(None));
    gateway.extend(4, 1);
    let error = gateway.unseal(None).unwrap_err();
    assert!(matches!(error, SealError::OtherState { .. }), "{error}");
    // Not for want of asking the TPM: it refuses by itself.
    let digest = [0; 32];
    let policy = policy_pcr(&selection(&[7]), &digest);
    let tpm = gateway.swtpm.open();
    let sealed = tpm
        .seal(&gateway.ek(), policy, Zeroizing::new(vec![1; 32]))
        .unwrap();
    let error = tpm
        .unseal(&gateway.ek(), &sealed, &Unlock::Pcrs(selection(&[7])))
        .unwrap_err();
    assert!(
        matches!(
            error,
            TpmError::PolicyRefused {
                command: "TPM2_Unseal",
                code: 0x9D
            }
        ),
        "{error}"
    );
    drop(tpm);
    gateway.swtpm.restart();
    opens(gateway.unseal(None));
}

/// Sealed before the update; the new state is approved; nothing is sealed anew.
#[test]
fn an_update_needs_an_approval_and_nothing_else() {
    let owner = Owner::new();
    let mut gateway = Gateway::enrolled(&owner);
    gateway.seal(Policy::Approved);
    let error = gateway.unseal(None).unwrap_err();
    assert!(matches!(error, SealError::NoApprovals { .. }), "{error}");
    let before = gateway.present();
    gateway
        .take_in(&owner.approvals("edge", &[before]))
        .unwrap();
    opens(gateway.unseal(None));

    gateway.swtpm.restart();
    gateway.extend(4, 2);
    let error = gateway.unseal(None).unwrap_err();
    assert!(
        matches!(error, SealError::NotApproved { count: 1, .. }),
        "{error}"
    );
    let after = gateway.present();
    gateway
        .take_in(&owner.approvals("edge", &[after, before]))
        .unwrap();
    opens(gateway.unseal(None));

    // The old state is still approved: an approval cannot be withdrawn.
    gateway.swtpm.restart();
    opens(gateway.unseal(None));
}

#[test]
fn a_new_policy_key_needs_the_roots_word_and_no_new_seal() {
    let mut owner = Owner::new();
    let gateway = Gateway::enrolled(&owner);
    gateway.seal(Policy::Approved);
    let state = gateway.present();
    gateway.take_in(&owner.approvals("edge", &[state])).unwrap();
    opens(gateway.unseal(None));
    owner.online = PolicyKey::new();
    gateway.take_in(&owner.approvals("edge", &[state])).unwrap();
    opens(gateway.unseal(None));
}

/// Each of these is refused by the attester, and by the TPM where the attester
/// is passed by.
#[test]
fn adv_a23_what_the_owner_did_not_approve_opens_nothing() {
    let (owner, stranger) = (Owner::new(), Owner::new());
    let gateway = Gateway::enrolled(&owner);
    gateway.seal(Policy::Approved);
    let state = gateway.present();
    let good = owner.approvals("edge", &[state]);

    let other_class = owner.approvals("core", &[state]);
    let error = gateway.take_in(&other_class).unwrap_err();
    assert!(matches!(error, SealError::OtherClass { .. }), "{error}");

    let other_root = stranger.approvals("edge", &[state]);
    let error = gateway.take_in(&other_root).unwrap_err();
    assert!(matches!(error, SealError::OtherRoot { .. }), "{error}");

    // An online key that the root did not approve.
    let mut undelegated = good.clone();
    undelegated.authorities[0] = stranger.authority("edge", &[state]);
    let error = gateway.take_in(&undelegated).unwrap_err();
    let delegation = ApprovalsError::Signature("delegation");
    assert!(
        matches!(&error, SealError::Approvals(e) if *e == delegation),
        "{error}"
    );

    // A state that the online key did not approve.
    let mut unapproved = good.clone();
    let forged = stranger
        .online
        .signatures("edge", |_| policy_pcr(&state.0, &state.1));
    unapproved.authorities[0].approvals[0].signatures = forged;
    let error = gateway.take_in(&unapproved).unwrap_err();
    let approval = ApprovalsError::Signature("approval");
    assert!(
        matches!(&error, SealError::Approvals(e) if *e == approval),
        "{error}"
    );

    // Nothing of it was kept.
    let error = gateway.unseal(None).unwrap_err();
    assert!(matches!(error, SealError::NoApprovals { .. }), "{error}");

    let tpm = gateway.swtpm.open();
    let root = owner.root.public().name();
    let policy = object_policy(&root, "edge", Purpose::Secret);
    let sealed = tpm
        .seal(&gateway.ek(), policy, Zeroizing::new(vec![1; 32]))
        .unwrap();
    let ask = |approvals: &Approvals, class: &str, purpose: Purpose| {
        let authority = &approvals.authorities[0];
        let approval = &authority.approvals[0];
        let unlock = ApprovedState {
            selection: approval.selection,
            pcr_digest: approval.pcr_digest,
            policy_ref: policy_ref(class, purpose),
            key: authority.key.clone(),
            approval: *approval.signatures.of(purpose),
            root: approvals.root.clone(),
            delegation: *authority.delegations.of(purpose),
        };
        tpm.unseal(&gateway.ek(), &sealed, &Unlock::Approved(Box::new(unlock)))
    };
    let by_policy = |outcome: Result<_, TpmError>, at: &str| match outcome.unwrap_err() {
        TpmError::PolicyRefused { command, .. } => assert_eq!(command, at),
        other => panic!("{other}"),
    };
    ask(&good, "edge", Purpose::Secret).unwrap();
    // Every signature holds, but it is for another object.
    by_policy(ask(&other_class, "core", Purpose::Secret), "TPM2_Unseal");
    by_policy(ask(&good, "edge", Purpose::LdevidKey), "TPM2_Unseal");
    by_policy(ask(&other_root, "edge", Purpose::Secret), "TPM2_Unseal");
    // A signature that is for something else.
    by_policy(
        ask(&other_class, "edge", Purpose::Secret),
        "TPM2_VerifySignature",
    );
    by_policy(
        ask(&undelegated, "edge", Purpose::Secret),
        "TPM2_VerifySignature",
    );
    by_policy(
        ask(&unapproved, "edge", Purpose::Secret),
        "TPM2_VerifySignature",
    );
    // Another state than the approved one.
    let elsewhere = owner.approvals("edge", &[(state.0, [1; 32])]);
    by_policy(ask(&elsewhere, "edge", Purpose::Secret), "TPM2_PolicyPCR");
    ask(&good, "edge", Purpose::Secret).unwrap();
}

#[test]
fn adv_a29_once_latched_it_comes_out_no_more_until_the_next_boot() {
    let owner = Owner::new();
    for policy in [current(), Policy::Approved] {
        let mut gateway = Gateway::enrolled(&owner);
        gateway
            .take_in(&owner.approvals("edge", &[gateway.present()]))
            .unwrap();
        gateway.seal(policy);
        let error = gateway.unseal(Some(14)).unwrap_err();
        assert!(
            matches!(error, SealError::LatchOutsidePolicy { pcr: 14, .. }),
            "{error}"
        );
        let error = gateway.unseal(Some(16)).unwrap_err();
        assert!(matches!(error, SealError::ResettablePcr(16)), "{error}");
        opens(gateway.unseal(None));
        opens(gateway.unseal(Some(DEFAULT_LATCH_PCR)));
        let error = gateway.unseal(None).unwrap_err();
        match policy {
            Policy::Approved => {
                assert!(matches!(error, SealError::NotApproved { .. }), "{error}");
            }
            Policy::Current { .. } => {
                assert!(matches!(error, SealError::OtherState { .. }), "{error}");
            }
        }
        gateway.swtpm.restart();
        opens(gateway.unseal(None));
    }
}

/// Sealing after the latch binds to the state before it.
#[test]
fn what_is_sealed_after_a_latch_opens_at_the_next_boot() {
    let mut gateway = Gateway::enrolled(&Owner::new());
    gateway
        .swtpm
        .open()
        .latch(HashAlg::Sha256, DEFAULT_LATCH_PCR)
        .unwrap();
    gateway.seal(current());
    let error = gateway.unseal(None).unwrap_err();
    assert!(matches!(error, SealError::OtherState { .. }), "{error}");
    gateway.swtpm.restart();
    opens(gateway.unseal(None));
}

#[test]
fn adv_a23_a_copied_state_directory_gives_no_secret() {
    let owner = Owner::new();
    let (gateway, thief) = (Gateway::enrolled(&owner), Gateway::enrolled(&owner));
    gateway.seal(current());
    opens(gateway.unseal(None));
    let error = unseal(&thief.swtpm.open(), &gateway.view(), &name(), None).unwrap_err();
    assert!(
        matches!(error, SealError::Tpm(TpmError::OtherStorageRoot { .. })),
        "{error}"
    );
    // The thief edits the pins away: the object itself is of another TPM.
    let sealed = std::fs::read(gateway.path().join("sealed-disk-key.json")).unwrap();
    let stolen = thief.path().join("sealed-disk-key.json");
    std::fs::write(&stolen, sealed).unwrap();
    std::fs::set_permissions(&stolen, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let error = thief.unseal(None).unwrap_err();
    assert!(
        matches!(error, SealError::Tpm(TpmError::KeyOfAnotherTpm { .. })),
        "{error}"
    );
}

#[test]
fn adv_a24_no_sealed_secret_is_in_clear_on_the_bus() {
    let owner = Owner::new();
    let gateway = Gateway::enrolled(&owner);
    let key = *b"what the TPM seals, 32 bytes of!";
    let policy = policy_pcr(&selection(&[7]), &pcr_digest([[0; 32].as_slice()]));
    let bus = Interposer::before(&gateway.swtpm);
    {
        let tpm = Tpm::open(&bus.tcti()).unwrap();
        let sealed = tpm
            .seal(&gateway.ek(), policy, Zeroizing::new(key.to_vec()))
            .unwrap();
        let got = tpm
            .unseal(&gateway.ek(), &sealed, &Unlock::Pcrs(selection(&[7])))
            .unwrap();
        assert_eq!(got.as_slice(), key);
        seal(&tpm, &gateway.state(), &name(), current(), false, SECRET).unwrap();
        opens(unseal(&tpm, &gateway.view(), &name(), None));
        assert!(bus.saw(&policy), "the tap works");
    }
    assert!(!bus.saw(&key));
    assert!(!bus.saw(SECRET));
    // Both times the session was salted to a key that was just made, the EK,
    // and not to what is said to be at the storage root's handle (C27).
    let script = bus.script();
    for code in [CREATE, UNSEAL] {
        let at = script.codes.iter().position(|seen| *seen == code).unwrap();
        let start = script.commands[..at]
            .iter()
            .rfind(|c| word(c, 6) == START_AUTH_SESSION && word(c, 10) >> 24 != 0x40)
            .unwrap();
        assert_eq!(word(start, 10) >> 24, 0x80, "{code:#x}");
    }
}

#[test]
fn adv_a24_an_altered_answer_gives_no_secret() {
    let gateway = Gateway::enrolled(&Owner::new());
    gateway.seal(current());
    let bus = Interposer::before(&gateway.swtpm);
    for code in [UNSEAL, CREATE] {
        bus.script().alter = Some(code);
        let tpm = Tpm::open(&bus.tcti()).unwrap();
        let outcome = match code {
            CREATE => seal(&tpm, &gateway.state(), &name(), current(), true, SECRET).map(drop),
            _ => unseal(&tpm, &gateway.view(), &name(), None).map(drop),
        };
        let error = outcome.unwrap_err();
        assert!(
            matches!(error, SealError::Tpm(TpmError::ResponseAltered { .. })),
            "{code:#x}: {error}"
        );
    }
    bus.script().alter = None;
    opens(gateway.unseal(None));
}

/// Somebody on the bus answers CreatePrimary with a key of their own, to read
/// the session's salt.
#[test]
fn cve_c27_a_made_up_ek_gets_no_secret() {
    let gateway = Gateway::enrolled(&Owner::new());
    let mut ek = gateway.ek();
    ek.ueid = Gateway::enrolled(&Owner::new()).ek().ueid;
    let tpm = gateway.swtpm.open();
    let error = tpm
        .seal(&ek, [0; 32], Zeroizing::new(vec![1; 32]))
        .unwrap_err();
    assert!(
        matches!(error, TpmError::OtherEndorsementKey { .. }),
        "{error}"
    );
}

#[test]
fn lengths_names_and_replacing() {
    let gateway = Gateway::enrolled(&Owner::new());
    let (tpm, state) = (gateway.swtpm.open(), gateway.state());
    let attempt = |secret: &[u8], replace| seal(&tpm, &state, &name(), current(), replace, secret);
    for bad in [0, 64 * 1024 + 1] {
        let error = attempt(&vec![1; bad], false).unwrap_err();
        assert!(
            matches!(error, SealError::Length { len, .. } if len == bad),
            "{error}"
        );
    }
    attempt(&vec![7; 64 * 1024], false).unwrap();
    let error = attempt(SECRET, false).unwrap_err();
    assert!(matches!(error, SealError::Exists(_)), "{error}");
    attempt(SECRET, true).unwrap();
    drop(tpm);
    opens(gateway.unseal(None));
    let other = "other".parse().unwrap();
    let error = unseal(&gateway.swtpm.open(), &gateway.view(), &other, None).unwrap_err();
    assert!(matches!(error, SealError::Absent(_)), "{error}");
    let own = OwnApprovals::on_file(&gateway.view(), &gateway.record());
    assert!(matches!(own, Err(SealError::NoApprovals { .. })));
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// `--bind-to-boot`: the LDevID key signs in approved boot states alone, is
/// certified all the same, and goes on after an update that was approved.
#[test]
fn adv_a23_a_bound_ldevid_key_signs_in_approved_states_alone() {
    let owner = Owner::new();
    let gateway = Gateway::enrolled(&owner);
    let tpm = gateway.swtpm.open();
    tpm.storage_root(Some(&gateway.record().keys.srk_name))
        .unwrap();
    let policy = object_policy(&owner.root.public().name(), "edge", Purpose::LdevidKey);
    let key = tpm.create_bound_ldevid(policy).unwrap();
    assert!(key.is_bound());
    let record = gateway.record();
    tpm.certify(&key, record.keys.ak.clone(), [7; 32]).unwrap();

    let states = |class: &str, present, purpose| {
        let approvals = owner.approvals(class, &[present]);
        let own = OwnApprovals::check_for(approvals, &owner.root.public().name(), class);
        own.unwrap().states(purpose)
    };
    let digest = [9; 32];
    let golden = gateway_present(&tpm);
    let not_approved = |outcome, n| match outcome {
        Err(TpmError::BootNotApproved { count }) => assert_eq!(count, n),
        other => panic!("{other:?}"),
    };
    let policy_refused = |outcome| match outcome {
        Err(TpmError::PolicyRefused { .. }) => {}
        other => panic!("{other:?}"),
    };
    not_approved(tpm.sign(&key, digest), 0);
    let bound = key
        .clone()
        .approved_for(states("edge", golden, Purpose::LdevidKey));
    let signature = tpm.sign(&bound, digest).unwrap();
    assert!(signature.ecdsa_fixed(EccCurve::P256).is_ok());

    // Approvals for another class, and for secrets: the TPM itself refuses.
    for (class, purpose) in [("other", Purpose::LdevidKey), ("edge", Purpose::Secret)] {
        let foreign = key.clone().approved_for(states(class, golden, purpose));
        policy_refused(tpm.sign(&foreign, digest));
    }
    // A state that is made to look like the present one, without a signature.
    let mut forged = states("edge", golden, Purpose::LdevidKey);
    drop(tpm);
    gateway.extend(4, 1);
    let tpm = gateway.swtpm.open();
    tpm.storage_root(Some(&record.keys.srk_name)).unwrap();
    not_approved(tpm.sign(&bound, digest), 1);
    let updated = gateway_present(&tpm);
    forged[0].pcr_digest = updated.1;
    policy_refused(tpm.sign(&key.clone().approved_for(forged), digest));

    // The update is approved: the same key signs again.
    let both = owner.approvals("edge", &[updated, golden]);
    let own = OwnApprovals::check_for(both, &owner.root.public().name(), "edge").unwrap();
    let bound = key.approved_for(own.states(Purpose::LdevidKey));
    tpm.sign(&bound, digest).unwrap();
}

/// As [`Gateway::present`], over a connection that is open.
fn gateway_present(tpm: &Tpm) -> (PcrSelection, [u8; 32]) {
    let selection = selection(&[0, 4, 7, DEFAULT_LATCH_PCR]);
    let values = tpm.read_pcrs(&selection).unwrap();
    (selection, pcr_digest(values.values().map(Vec::as_slice)))
}
