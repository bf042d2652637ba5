use holdfast_proto::{
    binding::Ueid,
    tpm::{Digest, HashAlg, Name, PcrSet},
};

use super::*;
use crate::heartbeat::{Epoch, MasterKey};

const NONCE: [u8; 32] = [7; 32];

fn selection() -> PcrSelection {
    PcrSelection {
        hash: HashAlg::Sha256,
        pcrs: PcrSet::from_indices([0, 4, 7]).unwrap(),
    }
}

fn key(epoch: u8) -> HeartbeatKey {
    let id = Ueid::parse(&[&[1][..], &[9; 32]].concat()).unwrap();
    let ak = Name::parse(&[&[0x00, 0x0b][..], &[8; 32]].concat()).unwrap();
    MasterKey::new(&[3; 32]).derive(&id, &ak, &Epoch::from_bytes([epoch; 16]))
}

fn affirmed() -> Affirmed {
    Affirmed {
        pcr_digest: [5; 32],
        clock: ClockInfo {
            clock: 1000,
            reset_count: 4,
            restart_count: 1,
            safe: true,
        },
        firmware_version: 11,
    }
}

fn pulse() -> Pulse {
    Pulse::begin(&key(1), NONCE, &affirmed())
}

/// What the TPM would attest as beat `counter`, at that clock.
fn attest(counter: u32, clock: u64) -> Attest {
    Attest {
        qualified_signer: vec![0, 0x0b, 1],
        extra_data: beat_extra_data(&NONCE, counter).to_vec(),
        clock_info: ClockInfo {
            clock,
            ..affirmed().clock
        },
        firmware_version: 11,
        attested: Attested::Quote {
            selection: vec![selection()],
            pcr_digest: vec![5; 32],
        },
    }
}

fn signed(counter: u32, attest: &Attest, by: &HeartbeatKey) -> v1::BeatQuote {
    let attest = attest.encode();
    let hmac_key = hmac::Key::new(hmac::HMAC_SHA256, by.sensitive().1);
    let code = hmac::sign(&hmac_key, &crate::digest::sha256(&[&attest]));
    let digest = Digest::from_bytes(HashAlg::Sha256, code.as_ref()).unwrap();
    v1::BeatQuote {
        counter,
        attest,
        signature: Signature::Hmac { digest }.encode(),
    }
}

fn beat(counter: u32, clock: u64) -> v1::BeatQuote {
    signed(counter, &attest(counter, clock), &key(1))
}

#[test]
fn the_same_state_and_a_clock_that_goes_on_is_trusted() {
    let mut pulse = pulse();
    for (counter, clock) in [(1, 1000), (2, 1001), (3, 5000)] {
        let beat = pulse.verify(&beat(counter, clock), &selection()).unwrap();
        assert_eq!((beat.counter(), beat.finding()), (counter, None));
        assert_eq!(beat.clock().clock, clock);
    }
}

#[test]
fn adv_a16_a_beat_counts_once_in_its_turn_and_in_its_stream() {
    let mut pulse = pulse();
    let first = beat(1, 1001);
    let _ = pulse.verify(&first, &selection()).unwrap();
    for again in [first.clone(), beat(3, 1002), beat(0, 1002)] {
        assert_eq!(
            pulse.verify(&again, &selection()),
            Err(BeatError::Counter {
                got: again.counter,
                wanted: 2
            })
        );
    }
    // Its number changed outside of the quote.
    let mut renumbered = first;
    renumbered.counter = 2;
    assert_eq!(
        pulse.verify(&renumbered, &selection()),
        Err(BeatError::Binding)
    );
    // Another stream of the same gateway, with the same key.
    let mut other = Pulse::begin(&key(1), [8; 32], &affirmed());
    assert_eq!(
        other.verify(&beat(1, 1001), &selection()),
        Err(BeatError::Binding)
    );
    // And the stream stands where it was.
    let _ = pulse.verify(&beat(2, 1002), &selection()).unwrap();
}

#[test]
fn adv_a16_another_key_is_refused() {
    let mut pulse = pulse();
    let foreign = signed(1, &attest(1, 1001), &key(2));
    assert_eq!(
        pulse.verify(&foreign, &selection()),
        Err(BeatError::Signature)
    );
    let mut altered = beat(1, 1001);
    *altered.attest.last_mut().unwrap() ^= 1;
    assert_eq!(
        pulse.verify(&altered, &selection()),
        Err(BeatError::Signature)
    );
}

#[test]
fn what_is_no_beat_is_named() {
    let mut pulse = pulse();
    let mut with = |change: fn(&mut Attest)| {
        let mut attest = attest(1, 1001);
        change(&mut attest);
        pulse.verify(&signed(1, &attest, &key(1)), &selection())
    };
    let other = |indices: &[u32]| PcrSelection {
        pcrs: PcrSet::from_indices(indices.iter().copied()).unwrap(),
        ..selection()
    };
    let selections = [
        vec![],
        vec![other(&[0, 4])],
        vec![other(&[0, 4, 7, 8])],
        vec![selection(), selection()],
    ];
    for quoted in selections {
        let mut attest = attest(1, 1001);
        attest.attested = Attested::Quote {
            selection: quoted,
            pcr_digest: vec![5; 32],
        };
        let frame = signed(1, &attest, &key(1));
        assert!(matches!(
            self::pulse().verify(&frame, &selection()),
            Err(BeatError::Selection { .. })
        ));
    }
    assert_eq!(
        with(|a| a.attested = Attested::Certify {
            name: Name::parse(&[&[0x00, 0x0b][..], &[8; 32]].concat()).unwrap(),
            qualified_name: Name::parse(&[&[0x00, 0x0b][..], &[8; 32]].concat()).unwrap(),
        }),
        Err(BeatError::NotAQuote)
    );
    let mut ecdsa = beat(1, 1001);
    ecdsa.signature = Signature::Ecdsa {
        hash: HashAlg::Sha256,
        r: vec![1; 32],
        s: vec![1; 32],
    }
    .encode();
    assert_eq!(
        pulse.verify(&ecdsa, &selection()),
        Err(BeatError::NotAnHmac)
    );
    let mut long = beat(1, 1001);
    long.attest.push(0);
    assert!(matches!(
        pulse.verify(&long, &selection()),
        Err(BeatError::Malformed { what: "attest", .. })
    ));
}

#[test]
fn adv_a17_what_is_not_as_affirmed_is_found() {
    let found = |change: fn(&mut Attest)| {
        let mut attest = attest(1, 1001);
        change(&mut attest);
        let frame = signed(1, &attest, &key(1));
        pulse().verify(&frame, &selection()).unwrap().finding()
    };
    let drift: fn(&mut Attest) = |a| {
        a.attested = Attested::Quote {
            selection: vec![selection()],
            pcr_digest: vec![6; 32],
        };
    };
    for (change, finding) in [
        (drift, Finding::PcrDrift),
        (|a| a.clock_info.clock = 999, Finding::Rollback),
        (|a| a.clock_info.reset_count = 3, Finding::Rollback),
        // A reboot: the clock may have fallen.
        (
            |a| {
                a.clock_info.reset_count = 5;
                a.clock_info.clock = 3;
            },
            Finding::Reset,
        ),
        (|a| a.clock_info.restart_count = 2, Finding::Restarted),
        (|a| a.firmware_version = 12, Finding::Firmware),
    ] as [(fn(&mut Attest), Finding); 6]
    {
        assert_eq!(found(change), Some(finding));
    }
    // Within the stream, too.
    let mut pulse = pulse();
    let _ = pulse.verify(&beat(1, 5000), &selection()).unwrap();
    let fallen = pulse.verify(&beat(2, 4999), &selection()).unwrap();
    assert_eq!(fallen.finding(), Some(Finding::Rollback));
}

/// The seeds of the fuzz target `beat_frame`: each reaches another check, and
/// three what follows the last. With `WRITE_SEEDS` set they are written anew;
/// else they must be what is written now.
#[test]
fn the_fuzz_seeds_reach_every_check() {
    use prost::Message as _;
    let quote = |pcr_digest: u8, pcrs: &[u32]| Attested::Quote {
        selection: vec![PcrSelection {
            pcrs: PcrSet::from_indices(pcrs.iter().copied()).unwrap(),
            ..selection()
        }],
        pcr_digest: vec![pcr_digest; 32],
    };
    let with = |change: &dyn Fn(&mut Attest)| {
        let mut attest = attest(1, 1001);
        change(&mut attest);
        signed(1, &attest, &key(1))
    };
    let name = || Name::parse(&[&[0x00, 0x0b][..], &[8; 32]].concat()).unwrap();
    let mut ecdsa = beat(1, 1001);
    ecdsa.signature = Signature::Ecdsa {
        hash: HashAlg::Sha256,
        r: vec![1; 32],
        s: vec![1; 32],
    }
    .encode();
    let mut short = beat(1, 1001);
    short.attest.truncate(100);
    let seeds = [
        ("genuine", beat(1, 1001), Ok(None)),
        (
            "drift",
            with(&|a| a.attested = quote(6, &[0, 4, 7])),
            Ok(Some(Finding::PcrDrift)),
        ),
        (
            "rollback",
            with(&|a| a.clock_info.clock = 999),
            Ok(Some(Finding::Rollback)),
        ),
        (
            "foreign",
            signed(1, &attest(1, 1001), &key(2)),
            Err("by this gateway's"),
        ),
        (
            "other_pcrs",
            with(&|a| a.attested = quote(5, &[0, 4])),
            Err("over"),
        ),
        (
            "other_stream",
            with(&|a| a.extra_data = vec![1; 32]),
            Err("bound"),
        ),
        (
            "certify",
            with(&|a| {
                a.attested = Attested::Certify {
                    name: name(),
                    qualified_name: name(),
                }
            }),
            Err("no quote"),
        ),
        ("ecdsa", ecdsa, Err("no HMAC")),
        ("short", short, Err("attest")),
        ("second", beat(2, 1001), Err("is next")),
    ];
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/beat_frame");
    let folder = std::path::Path::new(folder);
    for (name, frame, expected) in seeds {
        let verified = pulse().verify(&frame, &selection());
        match expected {
            Ok(finding) => assert_eq!(verified.unwrap().finding(), finding, "{name}"),
            Err(words) => {
                let error = verified.unwrap_err().to_string();
                assert!(error.contains(words), "{name}: {error}");
            }
        }
        let frame = Some(v1::beat_request::Frame::Beat(frame));
        let bytes = v1::BeatRequest { frame }.encode_to_vec();
        let path = folder.join(name);
        if std::env::var_os("WRITE_SEEDS").is_some() {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{}", path.display());
    }
}

/// ARCHITECTURE: at most 128 bytes a gateway.
#[test]
fn a_gateway_takes_little_memory() {
    assert!(size_of::<Pulse>() <= 128, "{}", size_of::<Pulse>());
}

#[test]
fn a_frame_is_small() {
    use prost::Message as _;
    let mut attest = attest(u32::MAX, u64::MAX);
    attest.qualified_signer = vec![0xff; 34];
    let frame = v1::BeatRequest {
        frame: Some(v1::beat_request::Frame::Beat(signed(
            u32::MAX,
            &attest,
            &key(1),
        ))),
    };
    assert!(frame.encoded_len() <= FRAME_MAX, "{}", frame.encoded_len());
}
