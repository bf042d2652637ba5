//! What holds for every log.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::ima_log::Entry;

fn use_all(log: &[u8]) {
    let mut replay = Replay::from_boot(HashAlg::Sha256, Extend::Native);
    for entry in ImaLog::new(log).entries().map_while(Result::ok) {
        let _ = (
            entry.is_as_logged(),
            entry.signature().is_some(),
            format!("{entry:?}"),
        );
        let _ = entry.name().map(|name| name.to_string());
        assert_eq!(entry.fields().count(), entry.template().fields().len());
        assert!(entry.file_digest().is_some() || !has_digest(&entry));
        replay.push(&entry);
    }
}

fn has_digest(entry: &Entry<'_>) -> bool {
    use crate::ima_log::Field;
    entry
        .template()
        .fields()
        .first()
        .is_some_and(|field| matches!(field, Field::Digest | Field::DigestNg | Field::DigestNgV2))
}

fn drafts() -> impl Strategy<Value = Vec<Draft>> {
    vec(
        any::<Index>().prop_map(|index| index.get(&all_templates()).clone()),
        1..12,
    )
}

fn pcr10(log: &[u8], bank: HashAlg) -> Option<Digest> {
    let mut replay = Replay::from_boot(bank, Extend::Native);
    for entry in ImaLog::new(log).entries() {
        replay.push(&entry.ok()?);
    }
    replay.pcrs().value(10).copied()
}

proptest! {
    #[test]
    fn no_input_panics(bytes in vec(any::<u8>(), 0..512), text in "\\PC{0,200}") {
        use_all(&bytes);
        use_all(text.as_bytes());
        use_all(&[b"10 ".as_slice(), "00".repeat(20).as_bytes(), b" ima-sig ", &bytes].concat());
    }

    #[test]
    fn no_changed_log_panics(
        drafts in drafts(),
        ascii in any::<bool>(),
        changes in vec((any::<Index>(), any::<u8>()), 0..8),
    ) {
        let encode = |draft: &Draft| match ascii {
            true => draft.line(HashAlg::Sha1),
            false => draft.binary(HashAlg::Sha1),
        };
        let mut log: Vec<u8> = drafts.iter().flat_map(encode).collect();
        for (at, byte) in changes {
            let at = at.index(log.len());
            log[at] = byte;
        }
        use_all(&log);
    }

    /// Any bit of template data is in the replay, or breaks the log.
    #[test]
    fn a_flipped_bit_of_data_changes_the_replay(drafts in drafts(), which in any::<Index>(), at in any::<Index>(), bit in 0u32..8) {
        let encoded: Vec<_> = drafts.iter().map(|draft| draft.binary(HashAlg::Sha1)).collect();
        let which = which.index(drafts.len());
        let data = drafts[which].data().len();
        let start = encoded[which].len() - data;
        let mut changed = encoded.clone();
        changed[which][start + at.index(data)] ^= 1 << bit;
        let before = pcr10(&encoded.concat(), HashAlg::Sha256);
        prop_assert!(before.is_some());
        prop_assert_ne!(before, pcr10(&changed.concat(), HashAlg::Sha256));
    }

    /// The logged digest is not what is extended; but it tells.
    #[test]
    fn a_changed_template_digest_is_told(draft in any::<Index>(), at in 0usize..20, bit in 0u32..8) {
        let draft = draft.get(&all_templates()).clone();
        let mut log = draft.binary(HashAlg::Sha1);
        log[4 + at] ^= 1 << bit;
        let entry = ImaLog::new(&log).entries().next().unwrap().unwrap();
        prop_assert!(!entry.is_as_logged());
    }

    /// Both formats of one log replay alike, in every bank.
    #[test]
    fn formats_agree(drafts in drafts()) {
        let binary: Vec<u8> = drafts.iter().flat_map(|draft| draft.binary(HashAlg::Sha1)).collect();
        let ascii: Vec<u8> = drafts.iter().flat_map(|draft| draft.line(HashAlg::Sha1)).collect();
        for bank in HashAlg::ALL {
            let value = pcr10(&binary, bank);
            prop_assert!(value.is_some());
            prop_assert_eq!(value, pcr10(&ascii, bank));
        }
    }
}
