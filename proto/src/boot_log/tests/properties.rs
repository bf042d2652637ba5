//! What holds for every log.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::boot_log::DataProof;

fn drafts() -> impl Strategy<Value = Vec<Draft>> {
    let event_type = prop_oneof![
        (0u32..0x14).prop_map(EventType),
        (0x8000_0000u32..0x8000_0012).prop_map(EventType),
        (0x8000_00e0u32..0x8000_00e5).prop_map(EventType),
    ];
    let of_boot = any::<Index>().prop_map(|index| index.get(&boot()).clone());
    let wild = (0u32..24, event_type, vec(any::<u8>(), 0..64), any::<bool>()).prop_map(
        |(pcr, event_type, data, covered)| {
            let measured = if covered { data.as_slice() } else { b"else" };
            Draft::of(pcr, event_type, measured, &data)
        },
    );
    vec(prop_oneof![of_boot, wild], 1..24)
}

fn use_all(log: &BootLog<'_>) {
    for bank in HashAlg::ALL {
        let _ = log.replay(bank);
        for fact in log.facts(bank) {
            let _ = format!("{fact:?}");
        }
        for finding in log.findings(bank) {
            let _ = finding.to_string();
        }
    }
}

proptest! {
    #[test]
    fn no_input_panics(bytes in vec(any::<u8>(), 0..512)) {
        if let Ok(log) = BootLog::parse(&bytes) {
            use_all(&log);
        }
        let bytes = [spec_id(&BOTH), bytes].concat();
        if let Ok(log) = BootLog::parse(&bytes) {
            use_all(&log);
        }
    }

    #[test]
    fn no_changed_log_panics(
        events in drafts(),
        changes in vec((any::<Index>(), any::<u8>()), 0..8),
    ) {
        let mut bytes = log(&events);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(log) = BootLog::parse(&bytes) {
            use_all(&log);
        }
    }

    /// Any bit of a digest, and any of a PCR index, is in the replay.
    #[test]
    fn a_flipped_bit_changes_the_replay(events in drafts(), which in any::<Index>(), bit in 0usize..256) {
        let bytes = log(&events);
        let before = BootLog::parse(&bytes).unwrap().replay(SHA256);
        let mut events = events;
        let event = which.index(events.len());
        let draft = &mut events[event];
        draft.digests[1].1[bit / 8] ^= 1 << (bit % 8);
        let extended = draft.event_type != EventType::EV_NO_ACTION;
        let bytes = log(&events);
        let after = BootLog::parse(&bytes).unwrap().replay(SHA256);
        prop_assert_eq!(before != after, extended);
    }

    /// A bit of event data that is in the digest takes the proof away.
    #[test]
    fn a_flipped_bit_of_data_is_not_proven(events in drafts(), which in any::<Index>(), at in any::<Index>(), bit in 0u32..8) {
        let mut events = events;
        let event = which.index(events.len());
        let draft = &mut events[event];
        prop_assume!(!draft.data.is_empty());
        let at = at.index(draft.data.len());
        draft.data[at] ^= 1 << bit;
        let bytes = log(&events);
        let log = BootLog::parse(&bytes).unwrap();
        let changed = log.event(event + 1).unwrap();
        prop_assert_eq!(changed.data_proof(SHA256), DataProof::NotProven);
    }

    /// Two events of a PCR that change places change the replay.
    #[test]
    fn order_is_in_the_replay(first in vec(any::<u8>(), 1..8), second in vec(any::<u8>(), 1..8)) {
        prop_assume!(first != second);
        let draft = |data: &[u8]| Draft::covered(4, EventType::EV_ACTION, data);
        let replay = |events: &[Draft]| {
            let bytes = log(events);
            BootLog::parse(&bytes).unwrap().replay(SHA256)
        };
        let (first, second) = (draft(&first), draft(&second));
        prop_assert_ne!(
            replay(&[first.clone(), second.clone()]),
            replay(&[second, first])
        );
    }
}
