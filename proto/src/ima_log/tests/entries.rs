//! What an entry is, and what is none.

use super::*;
use crate::ima_log::{
    BootAggregate, DigestKind, Field, ImaLogError, MAX_DATA, MAX_LINE, MAX_NAME, Template,
};

fn refused(log: &[u8]) -> (u64, &'static str, Cause) {
    let error = ImaLog::new(log).entries().find_map(Result::err).unwrap();
    (error.entry, error.field, error.cause)
}

#[test]
fn every_template_in_both_formats() {
    for draft in all_templates() {
        for alg in HashAlg::ALL {
            let (binary, line) = (draft.binary(alg), draft.line(alg));
            let read = |log: &[u8], format| {
                let log = ImaLog::new(log);
                assert_eq!(log.format(), format, "{draft:?}");
                let entries: Result<Vec<_>, ImaLogError> = log.entries().collect();
                let entries = entries.unwrap();
                assert_eq!(entries.len(), 1);
                let entry = &entries[0];
                assert_eq!(entry.template().to_string(), draft.template);
                assert_eq!(entry.template_hash(alg), draft.hash(alg), "{draft:?}");
                assert!(entry.is_as_logged());
                assert!(!entry.is_violation());
                let fields: Vec<_> = entry.fields().map(|(_, field)| field.to_vec()).collect();
                assert_eq!(fields, draft.fields);
                let in_place = draft.template != "n-ng|d-ng";
                assert_eq!(entry.name().is_some(), in_place);
                assert_eq!(entry.file_digest().is_some(), in_place);
            };
            read(&binary, Format::Binary(alg));
            read(&line, Format::Ascii);
            // The last line of a log may lack its newline.
            read(&line[..line.len() - 1], Format::Ascii);
        }
    }
}

#[test]
fn what_fields_hold() {
    let log: Vec<u8> = all_templates()
        .iter()
        .flat_map(|draft| draft.binary(HashAlg::Sha1))
        .collect();
    let entries: Vec<_> = ImaLog::new(&log).entries().map(Result::unwrap).collect();
    let verity = entries[5].file_digest().unwrap();
    assert_eq!(
        (verity.kind, verity.algorithm),
        (DigestKind::Verity, "sha256")
    );
    let signature = entries[3].signature().unwrap();
    assert_eq!(
        (signature.hash(), signature.key_id),
        (Some(HashAlg::Sha256), [1, 2, 3, 4])
    );
    assert_eq!(signature.bytes, [0xaa]);
    assert!(entries[4].signature().is_none());
    assert_eq!(entries[6].buffer(), Some(b"one".as_slice()));
    assert_eq!(
        entries[9].field(Field::Mode),
        Some(0o100_755u16.to_le_bytes().as_slice())
    );
    assert_eq!(entries[1].field(Field::Mode), None);
    let offsets: Vec<_> = entries
        .iter()
        .map(|entry| (entry.index(), entry.offset()))
        .collect();
    assert_eq!(offsets[0], (0, 0));
    let first = u64::try_from(all_templates()[0].binary(HashAlg::Sha1).len()).unwrap();
    assert_eq!(offsets[1], (1, first));
}

/// A13: no digest covers a template's name. A buffer that the attacker chose
/// (a kexec command line, an xattr) is called the entry's digest and name; the
/// real ones are called signatures.
#[test]
fn adv_a13_a_buffer_is_no_digest_and_no_name() {
    let (good, evil) = (
        HashAlg::Sha256.digest(&[b"good"]),
        HashAlg::Sha256.digest(&[b"evil"]),
    );
    let (good, evil) = (d_ng(good), d_ng(evil));
    let path = n_ng("/usr/bin/one");
    let fields = [
        (evil.as_slice(), ""),
        (path.as_slice(), ""),
        (good.as_slice(), ""),
        (path.as_slice(), ""),
    ];
    let honest = Draft::new("d-ng|n-ng|buf|buf", &fields);
    for (relabelled, has_digest, has_name) in [
        ("d-ng|n-ng|buf|buf", true, true),
        ("buf|n-ng|d-ng|buf", false, true),
        ("sig|sig|d-ng|n-ng", false, false),
        ("d-ng|sig|sig|n-ng", true, false),
    ] {
        let draft = Draft {
            template: relabelled,
            ..honest.clone()
        };
        let log = draft.binary(HashAlg::Sha256);
        let entry = ImaLog::new(&log).entries().next().unwrap().unwrap();
        assert!(entry.is_as_logged(), "as the kernel hashed it");
        assert_eq!(entry.file_digest().is_some(), has_digest, "{relabelled}");
        assert!(
            entry
                .file_digest()
                .is_none_or(|found| evil.ends_with(found.bytes))
        );
        assert_eq!(entry.name().is_some(), has_name, "{relabelled}");
    }
}

/// A13: what is kept of an entry is bounded, also where its algorithm is not
/// known.
#[test]
fn adv_a13_the_digest_of_an_unknown_algorithm_is_bounded() {
    let of = |len: usize| {
        let digest = [b"wp512:\0".as_slice(), &vec![7; len]].concat();
        let path = n_ng("/usr/bin/one");
        Draft::new("ima-ng", &[(&digest, ""), (&path, "")]).binary(HashAlg::Sha1)
    };
    let log = of(64);
    let entry = ImaLog::new(&log).entries().next().unwrap().unwrap();
    assert_eq!(entry.file_digest().unwrap().bytes.len(), 64);
    let cause = Cause::OverLimit { value: 65, max: 64 };
    assert_eq!(refused(&of(65)), (0, "d-ng", cause));
}

#[test]
fn templates_by_name() {
    assert_eq!(Template::from_name("ima-sig").unwrap().fields().len(), 3);
    assert_eq!(
        Template::from_name("d-ng|n-ng|sig").unwrap().to_string(),
        "d-ng|n-ng|sig"
    );
    for unknown in ["", "ima-", "not-ima", "d-ng|", "|", "d-ng|what"] {
        assert!(Template::from_name(unknown).is_none(), "{unknown}");
    }
    let most = ["sig"; 15].join("|");
    assert!(Template::from_name(&most).is_some());
    assert!(Template::from_name(&format!("{most}|sig")).is_none());
}

#[test]
fn a_changed_entry_is_not_as_logged() {
    let mut binary = Draft::file("/etc/test", b"").binary(HashAlg::Sha1);
    let last = binary.len() - 2;
    binary[last] ^= 1;
    let entry = ImaLog::new(&binary).entries().next().unwrap().unwrap();
    assert!(!entry.is_as_logged());
}

#[test]
fn every_malformed_binary_entry_is_refused() {
    let good = Draft::file("/etc/test", b"").binary(HashAlg::Sha1);
    for len in 1..good.len() {
        assert!(
            ImaLog::new(&good[..len])
                .entries()
                .any(|entry| entry.is_err()),
            "{len}"
        );
    }
    let two = [good.clone(), good[..7].to_vec()].concat();
    assert_eq!(
        refused(&two),
        (1, "template digest", Cause::Truncated { missing: 17 })
    );
    let error = ImaLog::new(&two).entries().find_map(Result::err).unwrap();
    assert_eq!(error.offset, u64::try_from(good.len()).unwrap() + 4);

    let with = |at: usize, bytes: &[u8]| {
        let mut log = good.clone();
        log[at..at + bytes.len()].copy_from_slice(bytes);
        refused(&log)
    };
    assert_eq!(with(0, &[24]), (0, "pcr", Cause::Unsupported(24)));
    assert_eq!(with(24, &u32::MAX.to_le_bytes()).1, "template name length");
    assert_eq!(with(28, b"imo"), (0, "template name", Cause::NotAllowed));
    let over = Cause::OverLimit {
        value: 0xffff_ffff,
        max: MAX_DATA,
    };
    assert_eq!(
        with(34, &u32::MAX.to_le_bytes()),
        (0, "template data length", over)
    );
    // Field lengths that do not add up; an algorithm that is none; NULs.
    assert_eq!(with(38, &[0xff]).1, "d-ng");
    assert_eq!(
        with(38, &[39]).2,
        Cause::WrongLength {
            len: 31,
            expected: 32
        }
    );
    assert_eq!(with(42, b"SHA256").2, Cause::NotAllowed);
    assert_eq!(with(48, b";").2, Cause::NotText);
    assert_eq!(with(86, &[0]), (0, "n-ng", Cause::NotText));
    let last = good.len() - 1;
    assert_eq!(with(last, b"x"), (0, "n-ng", Cause::NotText));

    let long = Draft::file(&"x".repeat(MAX_NAME + 1), b"").binary(HashAlg::Sha1);
    let over = Cause::OverLimit {
        value: MAX_NAME + 1,
        max: MAX_NAME,
    };
    assert_eq!(refused(&long), (0, "n-ng", over));
}

#[test]
fn every_malformed_line_is_refused() {
    let good = Draft::file("/etc/test", b"").line(HashAlg::Sha1);
    let with = |change: &dyn Fn(String) -> String| {
        refused(change(String::from_utf8(good.clone()).unwrap()).as_bytes())
    };
    assert_eq!(
        with(&|line| line.replace("10 ", "24 ")),
        (0, "pcr", Cause::Unsupported(24))
    );
    assert_eq!(with(&|line| line.replace("10 ", "+1 ")).1, "pcr");
    assert_eq!(
        with(&|line| line.replace("ima-ng", "ima-xx")).1,
        "template name"
    );
    assert_eq!(
        with(&|line| line.replace("sha256:e3", "sha256:E3")),
        (0, "d-ng", Cause::NotText)
    );
    assert_eq!(with(&|line| line.replace("sha256:", "sha384:")).1, "d-ng");
    assert_eq!(with(&|line| line.replace("sha256:", "")).1, "d-ng");
    assert_eq!(with(&|line| line.replace(" /etc/test", "")).1, "d-ng");
    assert_eq!(
        with(&|line| line.replace("/etc", "/e\0c")),
        (0, "n-ng", Cause::NotText)
    );
    assert_eq!(
        with(&|line| line + "\n"),
        (1, "pcr", Cause::Truncated { missing: 1 })
    );
    assert_eq!(with(&|line| line.replace("ima-ng", "ima-sig")).1, "sig");
    // A path with a newline is two lines, the second of which is no entry.
    assert_eq!(with(&|line| line.replace("/etc", "/e\nc")).0, 1);
    let over = Cause::OverLimit {
        value: MAX_LINE + 2,
        max: MAX_LINE,
    };
    let endless = [b"10 ".to_vec(), vec![b'0'; MAX_LINE - 1]].concat();
    assert_eq!(refused(&endless), (0, "line", over));
}

#[test]
fn paths_are_shown_inert() {
    let line = Draft::file("/tmp/\u{1b}[2J\u{202e}x", b"").line(HashAlg::Sha1);
    let entry = ImaLog::new(&line).entries().next().unwrap().unwrap();
    assert_eq!(
        entry.name().unwrap().to_string(),
        "/tmp/\\u{1b}[2J\\u{202e}x"
    );
}

#[test]
fn boot_aggregates() {
    let pcr = |n: u32| HashAlg::Sha256.digest(&[&n.to_le_bytes()]);
    let over = |last: u32| {
        let values: Vec<_> = (0..=last).map(pcr).collect();
        let values: Vec<_> = values.iter().map(Digest::as_bytes).collect();
        let digest = HashAlg::Sha256.digest(&values);
        Draft::new("ima-ng", &[(&d_ng(digest), ""), (b"boot_aggregate\0", "")])
    };
    let verdict = |draft: &Draft, bank, quoted: &dyn Fn(u32) -> Option<Digest>| {
        let binary = draft.binary(HashAlg::Sha1);
        let entry = ImaLog::new(&binary).entries().next().unwrap().unwrap();
        BootAggregate::of(&entry, bank, quoted)
    };
    let sha256 = HashAlg::Sha256;
    let all = |n| Some(pcr(n));
    assert_eq!(
        verdict(&over(9), sha256, &all),
        BootAggregate::Matches { last_pcr: 9 }
    );
    assert_eq!(
        verdict(&over(7), sha256, &all),
        BootAggregate::Matches { last_pcr: 7 }
    );
    assert_eq!(verdict(&over(8), sha256, &all), BootAggregate::Differs);
    let seven = |n| (n < 8).then(|| pcr(n));
    assert_eq!(
        verdict(&over(7), sha256, &seven),
        BootAggregate::Matches { last_pcr: 7 }
    );
    assert_eq!(
        verdict(&over(9), sha256, &seven),
        BootAggregate::PcrUnknown(8)
    );
    assert_eq!(
        verdict(&over(9), HashAlg::Sha384, &all),
        BootAggregate::OtherBank
    );
    let forged = |n| Some(pcr(if n == 4 { 5 } else { n }));
    assert_eq!(verdict(&over(9), sha256, &forged), BootAggregate::Differs);
    assert_eq!(
        verdict(&Draft::file("/init", b""), sha256, &all),
        BootAggregate::Absent
    );
}

/// The template's name is in no digest: the same data replays under each.
#[test]
fn a_signature_called_a_buffer_is_none() {
    let mut signed = all_templates()[3].clone();
    signed.template = "ima-buf";
    let log = signed.binary(HashAlg::Sha1);
    let entry = ImaLog::new(&log).entries().next().unwrap().unwrap();
    assert!(entry.is_as_logged());
    assert_eq!(entry.buffer(), None);
}
