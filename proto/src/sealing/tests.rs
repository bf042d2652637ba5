use super::*;
use crate::tpm::{PcrSelection, PcrSet, policy_pcr};

fn root() -> Public {
    policy_key(&[0x11; 32], &[0x22; 32])
}

fn approvals() -> Approvals {
    let signatures = Signatures {
        secret: [1; 64],
        ldevid: [2; 64],
    };
    Approvals {
        class: "edge".to_owned(),
        root: root(),
        authorities: vec![Authority {
            key: policy_key(&[3; 32], &[4; 32]),
            delegations: signatures.clone(),
            approvals: vec![Approval {
                selection: PcrSelection {
                    hash: HashAlg::Sha256,
                    pcrs: PcrSet::from_indices([0, 7, 15]).unwrap(),
                },
                pcr_digest: [5; 32],
                signatures,
            }],
        }],
    }
}

/// The digests byte by byte, from Part 3 §23.7 and §23.16; that a TPM computes
/// the same is shown in attester/tests/sealing.rs.
#[test]
fn digests_are_as_written() {
    let hash = |parts: &[&[u8]]| {
        let digest = HashAlg::Sha256.digest(parts);
        <[u8; 32]>::try_from(digest.as_bytes()).unwrap()
    };
    let selection = PcrSelection {
        hash: HashAlg::Sha256,
        pcrs: PcrSet::from_indices([0, 7, 15]).unwrap(),
    };
    let list = [0, 0, 0, 1, 0, 0x0B, 3, 0x81, 0x80, 0];
    let expected = hash(&[&[0; 32], &[0, 0, 0x01, 0x7F], &list, &[9; 32]]);
    assert_eq!(policy_pcr(&selection, &[9; 32]), expected);
    let reference = hash(&[b"holdfast-seal-v1edgesecret"]);
    assert_eq!(policy_ref("edge", Purpose::Secret), reference);
    let named = hash(&[&[0; 32], &[0, 0, 0x01, 0x6A], root().name().as_bytes()]);
    assert_eq!(
        object_policy(&root().name(), "edge", Purpose::Secret),
        hash(&[&named, &reference])
    );
}

#[test]
fn classes_and_purposes_do_not_meet() {
    let of = |class, purpose| policy_ref(class, purpose);
    assert_ne!(of("a", Purpose::Secret), of("b", Purpose::Secret));
    assert_ne!(of("a", Purpose::Secret), of("a", Purpose::LdevidKey));
    let (one, other) = (Purpose::Secret.name(), Purpose::LdevidKey.name());
    assert!(!one.ends_with(other) && !other.ends_with(one));
}

#[test]
fn approvals_come_back_as_they_were() {
    let approvals = approvals();
    let text = approvals.to_text();
    assert_eq!(Approvals::from_text(&text), Ok(approvals.clone()));
    assert_eq!(
        Approvals::from_text(text.trim_end().trim_start_matches("holdfast")),
        Err(ApprovalsError::Prefix)
    );
    assert_eq!(
        Approvals::from_text(&format!("{TEXT_PREFIX}!")),
        Err(ApprovalsError::Damaged)
    );
    let long = format!("{TEXT_PREFIX}{}", "A".repeat(33 * 1024));
    assert!(matches!(
        Approvals::from_text(&long),
        Err(ApprovalsError::TooLong(_))
    ));
}

#[test]
fn fields_outside_their_range_are_refused() {
    type Change = fn(&mut crate::grpc::v1::SealApprovals);
    let changes: [(&str, Change); 8] = [
        ("class", |m| m.class.clear()),
        ("class", |m| m.class = "c".repeat(65)),
        ("authorities", |m| {
            m.authorities = vec![m.authorities[0].clone(); MAX_AUTHORITIES + 1];
        }),
        ("approvals", |m| {
            let one = m.authorities[0].approvals[0].clone();
            m.authorities[0].approvals = vec![one; MAX_APPROVALS + 1];
        }),
        ("pcr_digest", |m| {
            m.authorities[0].approvals[0].pcr_digest.pop();
        }),
        ("pcr_indices", |m| {
            let selection = &mut m.authorities[0].approvals[0].pcr_selection;
            selection.as_mut().unwrap().pcr_indices.clear();
        }),
        ("secret_delegation", |m| {
            m.authorities[0].secret_delegation.pop();
        }),
        ("public", |m| {
            let mut other = root();
            other.attributes = other.attributes | ObjectAttributes::NO_DA;
            m.root_public = other.encode();
        }),
    ];
    for (field, change) in changes {
        let mut message = approvals().to_message();
        change(&mut message);
        assert_eq!(
            Approvals::from_message(message),
            Err(ApprovalsError::OutOfRange(field)),
        );
    }
}

#[test]
fn every_signature_is_checked() {
    let approvals = approvals();
    let counted = std::cell::Cell::new(0);
    approvals
        .verify(|_, _, _| {
            counted.set(counted.get() + 1);
            true
        })
        .unwrap();
    assert_eq!(
        counted.get(),
        4,
        "two purposes, a delegation and an approval"
    );
    for wrong in 0..4 {
        counted.set(0);
        let outcome = approvals.verify(|_, _, _| {
            counted.set(counted.get() + 1);
            counted.get() != wrong + 1
        });
        let which = ["delegation", "approval"][wrong % 2];
        assert_eq!(outcome, Err(ApprovalsError::Signature(which)));
    }
}
