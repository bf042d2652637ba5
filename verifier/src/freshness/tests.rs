//! ADVERSARY A02 and A04.

use holdfast_proto::tpm::{HashAlg, Name, PcrSelection, PcrSet};
use proptest::prelude::*;
use ring::rand::SystemRandom;

use super::*;
use crate::{
    digest::sha256,
    endorsement::{DevidDigests, OemName},
    time::UnixTime,
};

const NOW: UnixTime = UnixTime::from_seconds(1_780_272_000);
const KEY: [u8; 32] = [7; 32];
const SECRET: &[u8] = b"thirty-two bytes, as it were ...";

fn name(of: &str) -> Name {
    let digest = HashAlg::Sha256.digest(&[of.as_bytes()]);
    Name::parse(&[&[0, 0x0B], digest.as_bytes()].concat()).unwrap()
}

fn challenge(sealer: &ChallengeSealer) -> Challenge {
    Challenge {
        gateway: format!("01{}", "ab".repeat(32)).parse().unwrap(),
        ak: name("ak"),
        ldevid: name("ldevid"),
        nonce: [3; 32],
        selection: PcrSelection {
            hash: HashAlg::Sha256,
            pcrs: PcrSet::from_indices([0, 7, 23]).unwrap(),
        },
        policy_id: [4; 32],
        issued: NOW,
        expires: sealer.expiry(NOW),
    }
}

fn enrolment(sealer: &ChallengeSealer) -> EnrolmentState {
    EnrolmentState {
        purpose: EnrolmentPurpose::Enrol,
        ek: name("ek"),
        presented: Presented::EkChain([5; 32]),
        secret_sha256: sha256(&[SECRET]),
        further: Vec::new(),
        admission: Admission {
            basis: AdmissionBasis::JoinToken("jt-1".into()),
            class: Class::parse("default").unwrap(),
        },
        challenge: challenge(sealer),
    }
}

fn sealed(sealer: &ChallengeSealer) -> Vec<u8> {
    sealer
        .seal(&enrolment(sealer), &SystemRandom::new())
        .unwrap()
}

fn open(
    sealer: &ChallengeSealer,
    token: &[u8],
    now: UnixTime,
) -> Result<FreshChallenge<EnrolmentState>, FreshnessError> {
    sealer.open_enrolment(token, EnrolmentPurpose::Enrol, now)
}

#[test]
fn what_is_sealed_comes_back() {
    let sealer = ChallengeSealer::new(KEY);
    let rng = SystemRandom::new();
    for basis in [
        AdmissionBasis::JoinToken("x".repeat(64)),
        AdmissionBasis::OnRecord,
    ] {
        for purpose in [EnrolmentPurpose::Enrol, EnrolmentPurpose::Recover] {
            let class = Class::parse(&"c".repeat(64)).unwrap();
            let admission = Admission {
                basis: basis.clone(),
                class,
            };
            let state = EnrolmentState {
                purpose,
                admission,
                ..enrolment(&sealer)
            };
            let token = sealer.seal(&state, &rng).unwrap();
            let fresh = sealer.open_enrolment(&token, purpose, NOW).unwrap();
            assert_eq!(fresh.state(), &state);
            assert_eq!(fresh.token_id().as_bytes(), &sha256(&[&token]));
        }
    }
    let state = AttestationState {
        challenge: challenge(&sealer),
    };
    let token = sealer.seal(&state, &rng).unwrap();
    assert_eq!(
        sealer.open_attestation(&token, NOW).unwrap().state(),
        &state
    );
}

#[test]
fn tokens_show_nothing_and_never_repeat() {
    let sealer = ChallengeSealer::new(KEY);
    let (one, two) = (sealed(&sealer), sealed(&sealer));
    assert_ne!(one[10..], two[10..]);
    let nonce = [3_u8; 32];
    assert!(!one.windows(32).any(|w| w == nonce));
    assert!(!format!("{sealer:?}").contains("7, 7, 7"));
}

#[test]
fn adv_a02_of_another_key() {
    let other = ChallengeSealer::new([8; 32]);
    let token = sealed(&ChallengeSealer::new(KEY));
    assert_eq!(
        open(&other, &token, NOW).unwrap_err(),
        FreshnessError::UnknownKey
    );
    // The key id is only a label: pasting ours on does not help.
    let mut relabelled = sealed(&other);
    relabelled[2..10].copy_from_slice(&token[2..10]);
    let sealer = ChallengeSealer::new(KEY);
    assert_eq!(
        open(&sealer, &relabelled, NOW).unwrap_err(),
        FreshnessError::Forged
    );
}

#[test]
fn tokens_of_a_key_that_was_replaced_open_until_its_overlap_ends() {
    let token = sealed(&ChallengeSealer::new(KEY));
    let until = NOW.plus(60);
    let next = || ChallengeSealer::new([8; 32]).with_previous(KEY, until);
    let _ = open(&next(), &token, NOW.plus(59)).unwrap();
    assert_eq!(
        open(&next(), &token, until).unwrap_err(),
        FreshnessError::UnknownKey
    );
    // Nothing is sealed under it any more.
    assert_eq!(sealed(&next())[2..10], ChallengeSealer::key_id(&[8; 32]));
    let mut forged = sealed(&next());
    forged[2..10].copy_from_slice(&token[2..10]);
    assert_eq!(
        open(&next(), &forged, NOW).unwrap_err(),
        FreshnessError::Forged
    );
}

#[test]
fn adv_a02_of_another_purpose() {
    let sealer = ChallengeSealer::new(KEY);
    let enrol = sealed(&sealer);
    let attest = AttestationState {
        challenge: challenge(&sealer),
    };
    let attest = sealer.seal(&attest, &SystemRandom::new()).unwrap();
    let recover = |token| {
        sealer
            .open_enrolment(token, EnrolmentPurpose::Recover, NOW)
            .unwrap_err()
    };

    assert_eq!(recover(&enrol), FreshnessError::Purpose);
    assert_eq!(recover(&attest), FreshnessError::Purpose);
    assert_eq!(
        open(&sealer, &attest, NOW).unwrap_err(),
        FreshnessError::Purpose
    );
    assert_eq!(
        sealer.open_attestation(&enrol, NOW).unwrap_err(),
        FreshnessError::Purpose
    );
    // The purpose octet is in the key derivation, not only compared.
    let mut relabelled = enrol.clone();
    relabelled[1] = 2;
    assert_eq!(recover(&relabelled), FreshnessError::Forged);
}

#[test]
fn adv_a02_expired_and_from_the_future() {
    let sealer = ChallengeSealer::new(KEY);
    let token = sealed(&sealer);
    let expires = sealer.expiry(NOW);
    assert_eq!(expires, NOW.plus(300));
    let _ = open(&sealer, &token, expires.plus(-1)).unwrap();
    assert_eq!(
        open(&sealer, &token, expires).unwrap_err(),
        FreshnessError::Expired(expires)
    );
    let _ = open(&sealer, &token, NOW.plus(-5)).unwrap();
    assert_eq!(
        open(&sealer, &token, NOW.plus(-6)).unwrap_err(),
        FreshnessError::FromTheFuture(NOW)
    );
    let brief = ChallengeSealer::new(KEY).with_lifetime(0);
    assert_eq!(brief.expiry(NOW), NOW.plus(1));
}

#[test]
fn adv_a02_length_and_version() {
    let sealer = ChallengeSealer::new(KEY);
    let token = sealed(&sealer);
    for len in [0, 1, 41, 57] {
        assert_eq!(
            open(&sealer, &token[..len], NOW).unwrap_err(),
            FreshnessError::Length(len)
        );
    }
    assert_eq!(
        open(&sealer, &vec![1; 2049], NOW).unwrap_err(),
        FreshnessError::Length(2049)
    );
    assert_eq!(
        open(&sealer, &token[..58], NOW).unwrap_err(),
        FreshnessError::Forged
    );
    let mut version = token;
    version[0] = 1;
    assert_eq!(
        open(&sealer, &version, NOW).unwrap_err(),
        FreshnessError::Version(1)
    );
}

#[test]
fn adv_a03_keys_swapped_between_the_calls() {
    let sealer = ChallengeSealer::new(KEY);
    let fresh = open(&sealer, &sealed(&sealer), NOW).unwrap();
    let chain = Presented::EkChain([5; 32]);
    let (ek, ak, ldevid) = (name("ek"), name("ak"), name("ldevid"));
    let other = name("other");
    fresh
        .expect_keys(&ek, &chain, std::iter::empty(), &ak, &ldevid)
        .unwrap();
    assert_eq!(
        fresh.expect_keys(&other, &chain, std::iter::empty(), &ak, &ldevid),
        Err(FreshnessError::OtherEk(other.clone()))
    );
    assert_eq!(
        fresh.expect_keys(
            &ek,
            &Presented::EkChain([6; 32]),
            std::iter::empty(),
            &ak,
            &ldevid
        ),
        Err(FreshnessError::OtherEkChain)
    );
    assert_eq!(
        fresh.expect_keys(&ek, &chain, std::iter::empty(), &other, &ldevid),
        Err(FreshnessError::OtherAk(other.clone()))
    );
    assert_eq!(
        fresh.expect_keys(&ek, &chain, std::iter::empty(), &ak, &other),
        Err(FreshnessError::OtherLdevid(other.clone()))
    );
}

/// The IAK road: each part of what was presented, and the road itself.
#[test]
fn adv_a03_what_stands_behind_the_keys_swapped_between_the_calls() {
    let sealer = ChallengeSealer::new(KEY);
    let digests = DevidDigests {
        iak_chain_sha256: [1; 32],
        idevid_chain_sha256: [2; 32],
        idevid: name("idevid"),
    };
    let state = EnrolmentState {
        presented: Presented::Devid(digests.clone()),
        ..enrolment(&sealer)
    };
    let token = sealer.seal(&state, &SystemRandom::new()).unwrap();
    let fresh = open(&sealer, &token, NOW).unwrap();
    assert_eq!(*fresh.state(), state);
    let (ek, ak, ldevid) = (name("ek"), name("ak"), name("ldevid"));
    let expect =
        |presented: &Presented| fresh.expect_keys(&ek, presented, std::iter::empty(), &ak, &ldevid);
    let changed = |change: fn(&mut DevidDigests)| {
        let mut other = digests.clone();
        change(&mut other);
        expect(&Presented::Devid(other))
    };
    assert_eq!(changed(|_| ()), Ok(()));
    assert_eq!(
        changed(|d| d.iak_chain_sha256 = [9; 32]),
        Err(FreshnessError::OtherIakChain)
    );
    assert_eq!(
        changed(|d| d.idevid_chain_sha256 = [9; 32]),
        Err(FreshnessError::OtherIdevidChain)
    );
    assert_eq!(
        changed(|d| d.idevid = name("other")),
        Err(FreshnessError::OtherIdevid(name("other")))
    );
    assert_eq!(
        expect(&Presented::EkChain([1; 32])),
        Err(FreshnessError::OtherRoad)
    );
}

#[test]
fn an_admission_by_serial_number_comes_back_as_it_was() {
    let sealer = ChallengeSealer::new(KEY);
    let mut state = enrolment(&sealer);
    state.admission.basis = AdmissionBasis::OemSerial {
        oem: OemName::parse(&"o".repeat(64)).unwrap(),
        serial: "s".repeat(64),
    };
    state.admission.class = Class::parse(&"c".repeat(64)).unwrap();
    let token = sealer.seal(&state, &SystemRandom::new()).unwrap();
    assert_eq!(*open(&sealer, &token, NOW).unwrap().state(), state);
}

#[test]
fn adv_a04_wrong_secrets() {
    let sealer = ChallengeSealer::new(KEY);
    let token = sealed(&sealer);
    let answer = |secret: &[u8]| {
        open(&sealer, &token, NOW)
            .unwrap()
            .answer(secret, &[])
            .map(|_| ())
    };
    assert_eq!(answer(SECRET), Ok(()));
    let wrong: [&[u8]; 5] = [
        b"",
        &SECRET[..31],
        &[SECRET, b"0"].concat(),
        &[0; 32],
        &sha256(&[SECRET]),
    ];
    for secret in wrong {
        assert_eq!(answer(secret), Err(FreshnessError::WrongSecret));
    }
    // A secret of another challenge.
    let state = EnrolmentState {
        secret_sha256: [9; 32],
        ..enrolment(&sealer)
    };
    let other = sealer.seal(&state, &SystemRandom::new()).unwrap();
    let reused = open(&sealer, &other, NOW)
        .unwrap()
        .answer(SECRET, &[])
        .map(|_| ());
    assert_eq!(reused, Err(FreshnessError::WrongSecret));
}

fn further(n: u8) -> ChallengedEk {
    ChallengedEk {
        ek: name(&format!("ek {n}")),
        chain_sha256: [n; 32],
        secret_sha256: sha256(&[&[n; 32]]),
    }
}

/// As many further EKs as there can be, with the longest of everything else.
#[test]
fn further_eks_come_back_as_they_were() {
    let sealer = ChallengeSealer::new(KEY);
    let mut state = enrolment(&sealer);
    let long = |n: u8| Name::parse(&[&[0, 0x0D][..], &[n; 64]].concat()).unwrap();
    state.further = (1..=5)
        .map(|n| ChallengedEk {
            ek: long(n),
            ..further(n)
        })
        .collect();
    state.presented = Presented::Devid(DevidDigests {
        iak_chain_sha256: [1; 32],
        idevid_chain_sha256: [2; 32],
        idevid: long(6),
    });
    state.admission.basis = AdmissionBasis::OemSerial {
        oem: OemName::parse(&"o".repeat(64)).unwrap(),
        serial: "s".repeat(64),
    };
    state.admission.class = Class::parse(&"c".repeat(64)).unwrap();
    let token = sealer.seal(&state, &SystemRandom::new()).unwrap();
    assert_eq!(*open(&sealer, &token, NOW).unwrap().state(), state);
}

#[test]
fn adv_a18_every_further_ek_is_the_one_that_was_challenged_and_answers() {
    let sealer = ChallengeSealer::new(KEY);
    let state = EnrolmentState {
        further: vec![further(1), further(2)],
        ..enrolment(&sealer)
    };
    let token = sealer.seal(&state, &SystemRandom::new()).unwrap();
    let expect = |shown: &[ChallengedEk]| {
        let fresh = open(&sealer, &token, NOW).unwrap();
        let shown = shown.iter().map(|ek| (&ek.ek, ek.chain_sha256));
        fresh.expect_keys(
            &name("ek"),
            &Presented::EkChain([5; 32]),
            shown,
            &name("ak"),
            &name("ldevid"),
        )
    };
    assert_eq!(expect(&[further(1), further(2)]), Ok(()));
    let other_chain = ChallengedEk {
        chain_sha256: [9; 32],
        ..further(2)
    };
    for shown in [
        vec![],
        vec![further(1)],
        vec![further(2), further(1)],
        vec![further(1), further(3)],
        vec![further(1), other_chain],
        vec![further(1), further(2), further(3)],
    ] {
        assert_eq!(expect(&shown), Err(FreshnessError::OtherFurtherEks));
    }

    let answer = |secret: &[u8], further: &[Vec<u8>]| {
        let fresh = open(&sealer, &token, NOW).unwrap();
        fresh.answer(secret, further).map(|_| ())
    };
    let (one, two) = (vec![1; 32], vec![2; 32]);
    assert_eq!(answer(SECRET, &[one.clone(), two.clone()]), Ok(()));
    for further in [
        vec![],
        vec![one.clone()],
        vec![two.clone(), one.clone()],
        vec![one.clone(), one.clone()],
        vec![one.clone(), SECRET.to_vec()],
        vec![one.clone(), two.clone(), two.clone()],
    ] {
        assert_eq!(answer(SECRET, &further), Err(FreshnessError::WrongSecret));
    }
    // And the first, where the others are right.
    assert_eq!(
        answer(&one, &[one.clone(), two]),
        Err(FreshnessError::WrongSecret)
    );
}

#[test]
fn classes_are_inert() {
    for good in ["a", "0", "edge-gw.v2_x", &"a".repeat(64)] {
        assert_eq!(Class::parse(good).unwrap().as_str(), good);
    }
    for bad in [
        "",
        "A",
        ".",
        "-a",
        "../x",
        "a b",
        "a\n",
        "ä",
        "a/b",
        &"a".repeat(65),
    ] {
        assert_eq!(Class::parse(bad), Err(FreshnessError::NotAClass), "{bad:?}");
    }
}

#[test]
fn admission_ids_have_bounds() {
    let sealer = ChallengeSealer::new(KEY);
    for id in [String::new(), "x".repeat(65)] {
        let len = id.len();
        let mut state = enrolment(&sealer);
        state.admission.basis = AdmissionBasis::JoinToken(id);
        assert_eq!(
            sealer.seal(&state, &SystemRandom::new()),
            Err(FreshnessError::AdmissionId(len))
        );
    }
}

proptest! {
    #[test]
    fn adv_a02_no_altered_token_opens(at in 0_usize..600, bit in 0_u8..8) {
        let sealer = ChallengeSealer::new(KEY);
        let mut token = sealed(&sealer);
        let at = at % token.len();
        token[at] ^= 1 << bit;
        prop_assert!(open(&sealer, &token, NOW).is_err());
    }

    #[test]
    fn adv_a02_no_truncated_token_opens(len in 0_usize..600) {
        let sealer = ChallengeSealer::new(KEY);
        let token = sealed(&sealer);
        let len = len % token.len();
        prop_assert!(open(&sealer, &token[..len], NOW).is_err());
    }

    #[test]
    fn adv_a02_arbitrary_bytes_never_open(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(open(&ChallengeSealer::new(KEY), &bytes, NOW).is_err());
    }
}
