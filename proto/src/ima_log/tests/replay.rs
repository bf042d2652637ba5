//! From entries to PCR 10, in parts, and to a quote in the middle.

use super::*;
use crate::ima_log::{Gap, Match};

fn boot(bank: HashAlg) -> Replay {
    Replay::from_boot(bank, Extend::Native)
}

fn pcr10(replay: &Replay) -> Digest {
    *replay.pcrs().value(10).unwrap()
}

fn replayed(log: &[u8], mut replay: Replay) -> Replay {
    for entry in ImaLog::new(log).entries() {
        replay.push(&entry.unwrap());
    }
    replay
}

fn logs() -> Vec<Vec<u8>> {
    let entry = |n: u32| Draft::file(&format!("/usr/bin/{n}"), &n.to_le_bytes());
    (0..20).map(|n| entry(n).binary(HashAlg::Sha1)).collect()
}

#[test]
fn known_answers_of_one_entry() {
    let draft = Draft::file("/etc/test", b"");
    assert_eq!(draft.data().len(), 58);
    for log in [draft.binary(HashAlg::Sha1), draft.line(HashAlg::Sha1)] {
        let entry = ImaLog::new(&log).entries().next().unwrap().unwrap();
        assert_eq!(
            entry.template_hash(HashAlg::Sha1).to_string(),
            "121a4a1ff443368aae74466017cf787fe9ad904d"
        );
        assert_eq!(
            entry.template_hash(HashAlg::Sha256).to_string(),
            "bc6b20922de5f06831172d40746878bd8a9e8f2bfc3ca41aacb6eba1fe96d66f"
        );
        assert_eq!(
            pcr10(&replayed(&log, boot(HashAlg::Sha256))).to_string(),
            "f6bf6521df2ec9fc461e1a765477d32781b627c3a97817b91e95cf68db0911f3"
        );
    }
}

#[test]
fn known_answer_of_a_violation() {
    let draft = Draft {
        violation: true,
        ..Draft::file("/etc/test", b"")
    };
    for log in [draft.binary(HashAlg::Sha1), draft.line(HashAlg::Sha256)] {
        let replay = replayed(&log, boot(HashAlg::Sha256));
        assert_eq!(
            pcr10(&replay).to_string(),
            "bba91ca85dc914b2ec3efb9e16e7267bf9193b14350d20fba8a8b406730ae30a"
        );
        assert_eq!(replay.violations(), 1);
    }
}

/// Kernels leave room for a SHA-1 digest in a violation, whatever the algorithm.
#[test]
fn a_violation_with_a_short_digest() {
    let mut draft = Draft::new(
        "ima-ng",
        &[
            (
                &[b"sha256:\0".as_slice(), &[0; 20]].concat(),
                &format!("sha256:{}", "00".repeat(20)),
            ),
            (b"/x\0", "/x"),
        ],
    );
    draft.violation = true;
    let log = [draft.binary(HashAlg::Sha1), draft.binary(HashAlg::Sha1)].concat();
    assert_eq!(replayed(&log, boot(HashAlg::Sha1)).violations(), 2);
}

#[test]
fn old_kernels_pad_sha1() {
    let draft = Draft::file("/etc/test", b"");
    let violation = Draft {
        violation: true,
        ..draft.clone()
    };
    let log = [draft.binary(HashAlg::Sha1), violation.binary(HashAlg::Sha1)].concat();
    let replay = Replay::from_boot(HashAlg::Sha256, Extend::Sha1Padded);
    let padded = |sha1: &[u8]| [sha1, &[0; 12]].concat();
    let first = padded(draft.hash(HashAlg::Sha1).as_bytes());
    let first = HashAlg::Sha256.digest(&[&[0; 32], &first]);
    let second = HashAlg::Sha256.digest(&[first.as_bytes(), &padded(&[0xff; 20])]);
    assert_eq!(pcr10(&replayed(&log, replay)), second);
}

#[test]
fn a_log_ahead_of_its_quote_matches_up_to_it() {
    let log = logs().concat();
    for upto in 0..=20 {
        let prefix = logs()[..upto].concat();
        let quoted = pcr10(&replayed(&prefix, boot(HashAlg::Sha256)));
        let mut seen = 0;
        let outcome = boot(HashAlg::Sha256).until(ImaLog::new(&log), 10, &quoted, |_| seen += 1);
        let Match::Reached { replay, at_end } = outcome.unwrap() else {
            panic!("{upto}");
        };
        assert_eq!((seen, at_end), (upto, upto == 20));
        assert_eq!(replay.offset(), u64::try_from(prefix.len()).unwrap());
    }
}

#[test]
fn a_log_goes_on_where_it_ended() {
    let (first, second) = (logs()[..12].concat(), logs()[12..].concat());
    let whole = replayed(&logs().concat(), boot(HashAlg::Sha256));
    let kept = replayed(&first, boot(HashAlg::Sha256));
    // What a store keeps is enough.
    let kept = Replay::resume(
        kept.extend(),
        kept.pcrs().clone(),
        kept.offset(),
        kept.entries(),
        kept.violations(),
    );
    let log = kept.follow(kept.offset(), &second).unwrap();
    assert_eq!(log.entries().next().unwrap().unwrap().index(), 12);
    let outcome = kept.clone().until(log, 10, &pcr10(&whole), |_| ()).unwrap();
    assert_eq!(
        outcome,
        Match::Reached {
            replay: whole.clone(),
            at_end: true
        }
    );

    // Nothing new, and a quote of just that.
    let none = kept.follow(kept.offset(), &[]).unwrap();
    let outcome = kept
        .clone()
        .until(none, 10, &pcr10(&kept), |_| panic!())
        .unwrap();
    assert_eq!(
        outcome,
        Match::Reached {
            replay: kept.clone(),
            at_end: true
        }
    );

    // An offset that lies, whichever way.
    for offset in [0, kept.offset() - 1, kept.offset() + 1, u64::MAX] {
        let gap = kept.follow(offset, &second).unwrap_err();
        assert_eq!(
            gap,
            Gap {
                offset,
                expected: kept.offset()
            }
        );
    }
    // The same entries again; and entries left out.
    let again = kept.follow(kept.offset(), &first).unwrap();
    let outcome = kept
        .clone()
        .until(again, 10, &pcr10(&whole), |_| ())
        .unwrap();
    assert!(matches!(outcome, Match::Missed(_)));
    let shorter = logs()[13..].concat();
    let log = kept.follow(kept.offset(), &shorter).unwrap();
    let outcome = kept.clone().until(log, 10, &pcr10(&whole), |_| ()).unwrap();
    assert!(matches!(outcome, Match::Missed(_)));
    // After a reboot the log starts anew: missed from here, reached from boot.
    let rebooted = logs()[5..9].concat();
    let quoted = pcr10(&replayed(&rebooted, boot(HashAlg::Sha256)));
    let log = kept.follow(kept.offset(), &rebooted).unwrap();
    assert!(matches!(
        kept.clone().until(log, 10, &quoted, |_| ()),
        Ok(Match::Missed(_))
    ));
    let anew = boot(HashAlg::Sha256).until(ImaLog::new(&rebooted), 10, &quoted, |_| ());
    assert!(matches!(anew, Ok(Match::Reached { at_end: true, .. })));
}

#[test]
fn an_error_before_the_match_is_one_and_after_it_is_not_met() {
    let log = [logs()[..3].concat(), vec![0xee; 40]].concat();
    let upto = |entries: usize| pcr10(&replayed(&logs()[..entries].concat(), boot(HashAlg::Sha1)));
    let until = |quoted| boot(HashAlg::Sha1).until(ImaLog::new(&log), 10, &quoted, |_| ());
    assert!(matches!(
        until(upto(3)),
        Ok(Match::Reached { at_end: false, .. })
    ));
    assert_eq!(until(upto(4)).unwrap_err().entry, 3);
}

#[test]
fn a_hundred_thousand_entries() {
    let mut log = Vec::new();
    for n in 0u32..100_000 {
        log.extend(Draft::file(&format!("/{n}"), b"").binary(HashAlg::Sha1));
    }
    let replay = replayed(&log, boot(HashAlg::Sha256));
    assert_eq!(replay.entries(), 100_000);
    assert_eq!(replay.offset(), u64::try_from(log.len()).unwrap());
}
