//! What is not a log.

use super::*;
use crate::boot_log::{MAX_ALGORITHMS, MAX_EVENT_SIZE, MAX_EVENTS, MAX_UNKNOWN_DIGEST, NO_PCR};

#[test]
fn cve_c19_every_malformed_log_is_refused_with_its_place() {
    let good = log(&[Draft::separator(1)]);
    let spec = spec_id(&BOTH).len();
    for len in 0..good.len() {
        // A log may end after any whole event.
        assert_eq!(BootLog::parse(&good[..len]).is_ok(), len == spec, "{len}");
    }
    assert_eq!(
        BootLog::parse(&[]).unwrap_err().to_string(),
        "event 0, pcrIndex at byte 0: input ends 4 byte(s) early"
    );
    let error = BootLog::parse(&good[..good.len() - 1]).unwrap_err();
    assert_eq!((error.event, error.offset), (1, good.len() - 4));

    let with = |change: &dyn Fn(&mut Draft)| {
        let mut draft = Draft::separator(1);
        change(&mut draft);
        refused(&log(&[draft]))
    };
    const ALG: &str = "TPMT_HA.hashAlg";
    assert_eq!(
        with(&|draft| draft.pcr = 24),
        (1, "pcrIndex", Cause::Unsupported(24))
    );
    assert_eq!(with(&|draft| draft.pcr = NO_PCR).1, "pcrIndex");
    assert_eq!(
        with(&|draft| draft.digests[1].0 = 0x000C),
        (1, ALG, Cause::Unsupported(0x000C))
    );
    let repeated = |draft: &mut Draft| draft.digests[1] = draft.digests[0].clone();
    assert_eq!(with(&repeated), (1, ALG, Cause::Repeated(4)));
    let third = |draft: &mut Draft| draft.digests.push((0x000B, vec![0; 32]));
    let cause = Cause::OverLimit { value: 3, max: 2 };
    assert_eq!(with(&third), (1, "TPML_DIGEST_VALUES.count", cause));

    // A 4 GiB event costs nothing.
    let mut huge = log(&[Draft::separator(1)]);
    let at = huge.len() - 8;
    huge[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let cause = Cause::OverLimit {
        value: 0xffff_ffff,
        max: MAX_EVENT_SIZE,
    };
    assert_eq!(refused(&huge), (1, "TCG_PCR_EVENT2.eventSize", cause));
}

#[test]
fn every_malformed_header_is_refused() {
    const SIZE: &str = "TCG_EfiSpecIdEventAlgorithmSize.digestSize";
    const COUNT: &str = "TCG_EfiSpecIDEvent.numberOfAlgorithms";
    let wrong = Cause::WrongLength {
        len: 32,
        expected: 20,
    };
    assert_eq!(refused(&spec_id(&[(4, 32)])), (0, SIZE, wrong));
    assert_eq!(
        refused(&spec_id(&[(0x12, 0)])),
        (0, SIZE, Cause::Unsupported(0))
    );
    let over = Cause::OverLimit {
        value: 129,
        max: MAX_UNKNOWN_DIGEST,
    };
    assert_eq!(refused(&spec_id(&[(0x12, 129)])), (0, SIZE, over));
    let twice = refused(&spec_id(&[(4, 20), (4, 20)]));
    let field = "TCG_EfiSpecIdEventAlgorithmSize.algorithmId";
    assert_eq!(twice, (0, field, Cause::Repeated(4)));
    assert_eq!(refused(&spec_id(&[])), (0, COUNT, Cause::Unsupported(0)));
    let nine: Vec<_> = (0x20..0x29).map(|id| (id, 32)).collect();
    let over = Cause::OverLimit {
        value: 9,
        max: MAX_ALGORITHMS,
    };
    assert_eq!(refused(&spec_id(&nine)), (0, COUNT, over));

    let mut trailing = b"Spec ID Event03\0".to_vec();
    trailing.extend([0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 4, 0, 20, 0, 0, 9]);
    let trailing = sha1_event(0, EventType::EV_NO_ACTION, &trailing);
    assert_eq!(
        refused(&trailing),
        (0, "TCG_EfiSpecIDEvent", Cause::TrailingBytes(1))
    );
}

#[test]
fn cve_c19_many_events() {
    let events: Vec<_> = (0..5000).map(|n| Draft::separator(n % 24)).collect();
    let bytes = log(&events);
    let parsed = BootLog::parse(&bytes).unwrap();
    assert_eq!(parsed.events().len(), 5001);
    assert_eq!(parsed.replay(SHA256).len(), 24);

    let empty = Draft {
        pcr: 0,
        event_type: EventType::EV_NO_ACTION,
        digests: Vec::new(),
        data: Vec::new(),
    };
    let bytes = log(&vec![empty; MAX_EVENTS]);
    let cause = Cause::OverLimit {
        value: MAX_EVENTS + 1,
        max: MAX_EVENTS,
    };
    assert_eq!(refused(&bytes), (MAX_EVENTS, "event count", cause));
}
