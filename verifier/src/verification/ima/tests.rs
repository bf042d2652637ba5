//! The replay, from boot and in pieces; each attack with its exact error.

use holdfast_proto::{
    boot_log::Cause,
    ima_log::ImaLogError,
    tpm::{PcrSelection, PcrSet},
};
use proptest::prelude::*;

use super::*;

const BOOT: u32 = 7;
const BANK: HashAlg = HashAlg::Sha256;

fn len32(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap().to_le_bytes()
}

/// A record of `binary_runtime_measurements`.
pub(crate) fn record(pcr: u32, template: &str, fields: &[&[u8]], violation: bool) -> Vec<u8> {
    let data: Vec<u8> = fields
        .iter()
        .flat_map(|field| [&len32(field.len()), *field].concat())
        .collect();
    let digest = HashAlg::Sha1.digest(&[&data]);
    let logged = if violation {
        &[0; 20]
    } else {
        digest.as_bytes()
    };
    [
        &pcr.to_le_bytes(),
        logged,
        &len32(template.len()),
        template.as_bytes(),
        &len32(data.len()),
        &data,
    ]
    .concat()
}

fn file(name: &str) -> Vec<u8> {
    let digest = HashAlg::Sha256.digest(&[name.as_bytes()]);
    let digest = [b"sha256:\0", digest.as_bytes()].concat();
    let name = [name.as_bytes(), b"\0"].concat();
    record(IMA_PCR, "ima-ng", &[&digest, &name], false)
}

fn aggregate(over: &[Vec<u8>]) -> Vec<u8> {
    let parts: Vec<&[u8]> = over.iter().map(Vec::as_slice).collect();
    let digest = [b"sha256:\0", HashAlg::Sha256.digest(&parts).as_bytes()].concat();
    record(IMA_PCR, "ima-ng", &[&digest, b"boot_aggregate\0"], false)
}

fn violation() -> Vec<u8> {
    let digest = [b"sha256:\0".as_slice(), &[0; 20]].concat();
    record(IMA_PCR, "ima-ng", &[&digest, b"/var/log/x\0"], true)
}

/// Values of PCRs 0 to 9.
fn boot_pcrs() -> Vec<Vec<u8>> {
    (0_u8..10).map(|pcr| vec![pcr; 32]).collect()
}

fn log() -> Vec<Vec<u8>> {
    vec![
        aggregate(&boot_pcrs()),
        file("/sbin/init"),
        violation(),
        file("/usr/bin/a"),
        file("/usr/bin/b"),
    ]
}

fn ended(records: &[Vec<u8>], extend: Extend) -> Digest {
    let bytes = records.concat();
    let mut replay = Replay::from_boot(BANK, extend);
    for entry in ImaLog::new(&bytes).entries() {
        replay.push(&entry.unwrap());
    }
    *replay.pcrs().value(IMA_PCR).unwrap()
}

/// A log with a good boot aggregate and these records after it, replayed to a
/// quote of it; beside the value of PCR 10.
pub(crate) fn replayed_log(records: &[Vec<u8>]) -> (ReplayedIma, Digest) {
    let records = [&[aggregate(&boot_pcrs())], records].concat();
    let pcrs = quoted(&records);
    (from_boot(&records, &pcrs), ended(&records, Extend::Native))
}

/// What a quote covers after `records`: PCRs 0 to 9, and 10 unless told not.
fn quoted_as(pcr_10: Option<Digest>, first: u32) -> PcrValues {
    let mut values: Vec<(u32, Vec<u8>)> = (first..)
        .zip(boot_pcrs().split_off(first as usize))
        .collect();
    values.extend(pcr_10.map(|value| (IMA_PCR, value.as_bytes().to_vec())));
    let pcrs = PcrSet::from_indices(values.iter().map(|(pcr, _)| *pcr)).unwrap();
    PcrValues::new(PcrSelection { hash: BANK, pcrs }, values)
}

fn quoted(records: &[Vec<u8>]) -> PcrValues {
    quoted_as(Some(ended(records, Extend::Native)), 0)
}

fn sent(offset: u64, records: &[Vec<u8>]) -> Option<SentIma> {
    let content = Bytes::from(records.concat());
    Some(SentIma { offset, content })
}

/// An error, to be compared.
fn shown(error: &VerificationError) -> String {
    format!("{error:?}")
}

fn replayed(evidence: Result<ImaEvidence, VerificationError>) -> ReplayedIma {
    match evidence {
        Ok(ImaEvidence::Replayed(log)) => *log,
        other => panic!("{other:?}"),
    }
}

fn from_boot(records: &[Vec<u8>], pcrs: &PcrValues) -> ReplayedIma {
    replayed(replay(sent(0, records), None, pcrs, BOOT))
}

/// The place after the first `count` entries.
fn place(count: usize) -> ImaPlace {
    let records = &log()[..count];
    from_boot(records, &quoted(records)).place
}

#[test]
fn a_log_from_boot_is_replayed_and_told() {
    let log = log();
    let whole = from_boot(&log, &quoted(&log));
    assert!(whole.is_from_boot());
    assert_eq!(whole.entries().count(), 5);
    let place = whole.place();
    assert_eq!(place.entries(), 5);
    assert_eq!(place.bytes(), log.concat().len() as u64);
    assert_eq!(place.reset_count(), BOOT);
    assert_eq!(place.extend(), Extend::Native);
    assert_eq!(
        place.boot_aggregate(),
        Some(BootAggregate::Matches { last_pcr: 9 })
    );
}

#[test]
fn the_state_survives_the_store() {
    for count in 1..=5 {
        let place = place(count);
        let text = serde_json::to_string(&place).unwrap();
        assert_eq!(serde_json::from_str::<ImaPlace>(&text).unwrap(), place);
    }
    let text = serde_json::to_string(&place(2)).unwrap();
    for (from, to) in [
        ("sha256", "sha257"),
        ("\"10\"", "\"24\""),
        ("\"entries\"", "\"entrees\""),
        ("matches9", "matches8"),
    ] {
        assert!(text.contains(from), "{text}");
        assert!(serde_json::from_str::<ImaPlace>(&text.replace(from, to)).is_err());
    }
}

/// ADVERSARY A13: the log is ahead of the quote. What was quoted counts, and
/// what was not comes again.
#[test]
fn adv_a13_the_matching_prefix_is_taken() {
    let log = log();
    for quoted_entries in 1..=5 {
        let at_quote = quoted(&log[..quoted_entries]);
        let prefix = from_boot(&log, &at_quote);
        assert_eq!(prefix.entries().count(), quoted_entries);
        assert_eq!(prefix.place(), &place(quoted_entries));
        // Cut in the middle of what is ahead.
        let mut bytes = log.concat();
        bytes.pop();
        if quoted_entries < 5 {
            let cut = from_boot(&[bytes], &at_quote);
            assert_eq!(cut.place(), prefix.place());
        }
    }
}

#[test]
fn a_kernel_that_pads_sha1_is_told_apart() {
    let log = log();
    let pcrs = quoted_as(Some(ended(&log, Extend::Sha1Padded)), 0);
    let whole = from_boot(&log, &pcrs);
    assert_eq!(whole.place().extend(), Extend::Sha1Padded);
    assert_eq!(whole.entries().count(), 5);
}

/// ADVERSARY A13: edited, truncated, reordered, malformed, text.
#[test]
fn adv_a13_a_log_from_boot_that_is_not_what_was_measured() {
    let log = log();
    let pcrs = quoted(&log);
    let refuse = |records: &[Vec<u8>]| replay(sent(0, records), None, &pcrs, BOOT).unwrap_err();
    let missed = shown(&VerificationError::ImaMissed);
    let missed_by = |records: &[Vec<u8>]| shown(&refuse(records));
    assert_eq!(missed_by(&log[..4]), missed);
    assert_eq!(missed_by(&[]), missed);
    let mut swapped = log.clone();
    swapped.swap(3, 4);
    assert_eq!(missed_by(&swapped), missed);
    let mut edited = log.clone();
    let end = edited[3].len() - 2;
    edited[3][end] ^= 1;
    assert_eq!(missed_by(&edited), missed);
    // A violation hidden by its content, and an entry made a violation.
    let mut hidden = log.clone();
    hidden[2][4..24].fill(7);
    assert_eq!(missed_by(&hidden), missed);
    let mut made = log.clone();
    made[1][4..24].fill(0);
    assert_eq!(missed_by(&made), missed);
    // PCR 10 moved to where no quote looks.
    let mut moved = log.clone();
    moved[4][..4].copy_from_slice(&11_u32.to_le_bytes());
    assert_eq!(missed_by(&moved), missed);

    let malformed = |records: &[Vec<u8>]| match refuse(records) {
        VerificationError::ImaLog(ImaLogError { entry, field, .. }) => (entry, field),
        other => panic!("{other:?}"),
    };
    let template = record(IMA_PCR, "ima-xx", &[b"x"], false);
    let unknown = [log[0].clone(), template];
    assert_eq!(malformed(&unknown), (1, "template name"));
    let nul = record(IMA_PCR, "ima-ng", &[b"sha256:\0x", b"/a\0b\0"], false);
    assert_eq!(malformed(&[log[0].clone(), nul]).0, 1);
    let mut cut = log.concat();
    cut.pop();
    let error = refuse(&[cut]);
    assert!(
        matches!(
            error,
            VerificationError::ImaLog(ImaLogError {
                entry: 4,
                cause: Cause::Truncated { missing: 1 },
                ..
            })
        ),
        "{error:?}"
    );
    let text = vec![b"10 0000 ima-ng sha256:00 /a\n".to_vec()];
    assert!(matches!(refuse(&text), VerificationError::ImaFormat));
}

/// ADVERSARY A13: a digest that is logged beside other content counts for
/// nothing; the replay goes by the content.
#[test]
fn adv_a13_the_logged_digest_is_not_what_counts() {
    let mut log = log();
    let pcrs = quoted(&log);
    log[3][4] ^= 1;
    let whole = from_boot(&log, &pcrs);
    let odd: Vec<u64> = whole
        .entries()
        .filter(|entry| !entry.is_as_logged())
        .map(|entry| entry.index())
        .collect();
    assert_eq!(odd, [3]);
}

/// ADVERSARY A13: every lie in the incremental protocol is told from a log
/// that does not exist, and asks for the whole.
#[test]
fn adv_a13_offset_lies_and_other_boots_ask_for_the_whole() {
    let log = log();
    let pcrs = quoted(&log);
    let known = place(3);
    let go_on = |offset, records: &[Vec<u8>], known, boot| {
        replay(sent(offset, records), known, &pcrs, boot)
    };
    let good = replayed(go_on(3, &log[3..], Some(&known), BOOT));
    assert!(!good.is_from_boot());
    let resync = |entry| shown(&VerificationError::ImaResync { entry });
    let refuse = |offset, records: &[Vec<u8>], known, boot| {
        shown(&go_on(offset, records, known, boot).unwrap_err())
    };
    for offset in [1, 2, 4, 5, u64::MAX] {
        assert_eq!(
            refuse(offset, &log[3..], Some(&known), BOOT),
            resync(offset)
        );
    }
    // Nothing known; a reboot; a gap; an overlap; the whole under an offset.
    assert_eq!(refuse(3, &log[3..], None, BOOT), resync(3));
    assert_eq!(refuse(3, &log[3..], Some(&known), BOOT + 1), resync(3));
    assert_eq!(refuse(3, &log[4..], Some(&known), BOOT), resync(3));
    assert_eq!(refuse(3, &log[2..], Some(&known), BOOT), resync(3));
    assert_eq!(refuse(3, &log, Some(&known), BOOT), resync(3));
    assert_eq!(refuse(3, &[], Some(&known), BOOT), resync(3));
    // A restart in the middle: what stands there now is no entry.
    let mut shifted = log[3..].concat();
    shifted.remove(0);
    assert_eq!(refuse(3, &[shifted], Some(&known), BOOT), resync(3));
    let text = vec![b"10 0000 ima-ng\n".to_vec()];
    assert_eq!(refuse(3, &text, Some(&known), BOOT), resync(3));
    // The whole is always welcome.
    assert!(go_on(0, &log, Some(&known), BOOT).is_ok());
}

#[test]
fn an_unchanged_gateway_sends_nothing_new() {
    let log = log();
    let known = place(5);
    let same = replayed(replay(sent(5, &[]), Some(&known), &quoted(&log), BOOT));
    assert_eq!(same.entries().count(), 0);
    assert_eq!(same.place(), &known);
}

/// ADVERSARY A13: the log is of another boot, or cannot be told to be of this.
#[test]
fn adv_a13_boot_aggregate() {
    let aggregate_of = |first: Vec<u8>, first_pcr| {
        let records = [first, file("/sbin/init")];
        let pcrs = quoted_as(Some(ended(&records, Extend::Native)), first_pcr);
        from_boot(&records, &pcrs).place().boot_aggregate()
    };
    let to_7 = aggregate(&boot_pcrs()[..8]);
    assert_eq!(
        aggregate_of(to_7.clone(), 0),
        Some(BootAggregate::Matches { last_pcr: 7 })
    );
    // No quoted value holds what these say: a violation, which extends all
    // ones, and an entry of another PCR.
    let mut violation = to_7.clone();
    violation[4..24].fill(0);
    assert_eq!(aggregate_of(violation, 0), None);
    let mut elsewhere = to_7;
    elsewhere[..4].copy_from_slice(&11_u32.to_le_bytes());
    assert_eq!(aggregate_of(elsewhere, 0), None);
    let mut other = boot_pcrs();
    other[4][0] ^= 1;
    assert_eq!(
        aggregate_of(aggregate(&other), 0),
        Some(BootAggregate::Differs)
    );
    assert_eq!(
        aggregate_of(aggregate(&boot_pcrs()), 2),
        Some(BootAggregate::PcrUnknown(0))
    );
    assert_eq!(aggregate_of(file("/a"), 0), Some(BootAggregate::Absent));
}

#[test]
fn only_a_quoted_pcr_10_proves_a_log() {
    let unquoted = quoted_as(None, 0);
    let outcome = |sent| replay(sent, None, &unquoted, BOOT);
    assert!(matches!(outcome(None), Ok(ImaEvidence::NotQuoted)));
    assert!(matches!(
        outcome(sent(0, &log())),
        Err(VerificationError::ImaNotQuoted)
    ));
    let none = replay(None, Some(&place(3)), &quoted(&log()), BOOT);
    assert!(matches!(none, Ok(ImaEvidence::Absent)));
}

#[test]
fn the_limits_are_exact_and_less_for_strangers() {
    let of = |len| {
        SentIma::parse(&v1::ImaLog {
            offset: 0,
            content: Bytes::from(vec![0; len]),
        })
    };
    assert!(of(IMA_LOG_MAX).is_ok());
    assert!(matches!(
        of(IMA_LOG_MAX + 1),
        Err(VerificationError::TooLong { .. })
    ));
    assert!(of(IMA_LOG_AT_ENROLMENT_MAX).unwrap().expect_short().is_ok());
    assert!(matches!(
        of(IMA_LOG_AT_ENROLMENT_MAX + 1).unwrap().expect_short(),
        Err(VerificationError::TooLong { .. })
    ));
}

proptest! {
    /// Whatever the pieces that a log comes in, and however far ahead of each
    /// quote: the state in the end is that of the whole, and every entry is
    /// seen exactly once.
    #[test]
    fn split_anywhere_is_the_whole(
        names in prop::collection::vec("[a-z]{1,8}", 1..24),
        cuts in prop::collection::vec((1_usize..6, 0_usize..3), 1..12),
    ) {
        let mut records = vec![aggregate(&boot_pcrs())];
        records.extend(names.iter().enumerate().map(|(at, name)| match at % 5 {
            4 => violation(),
            _ => file(&format!("/{name}{at}")),
        }));
        let whole = from_boot(&records, &quoted(&records));
        let (mut known, mut at, mut seen) = (None::<ImaPlace>, 0, Vec::new());
        for (step, ahead) in cuts.into_iter().chain([(records.len(), 0)]) {
            let to = (at + step).min(records.len());
            let end = (to + ahead).min(records.len());
            let pcrs = quoted(&records[..to]);
            let piece = replayed(replay(
                sent(at as u64, &records[at..end]),
                known.as_ref(),
                &pcrs,
                BOOT,
            ));
            seen.extend(piece.entries().map(|entry| (entry.index(), entry.offset())));
            let text = serde_json::to_string(piece.place()).unwrap();
            known = Some(serde_json::from_str(&text).unwrap());
            at = to;
        }
        prop_assert_eq!(&known.unwrap(), whole.place());
        let expected: Vec<_> = whole.entries().map(|e| (e.index(), e.offset())).collect();
        prop_assert_eq!(seen, expected);
    }
}
