//! What a log replays to.

use super::*;
use crate::boot_log::{DataProof, Format, Padding, PcrMap};
use crate::tpm::Digest;

#[test]
fn known_answers_of_a_separator() {
    let bytes = log(&[Draft::separator(3)]);
    let log = BootLog::parse(&bytes).unwrap();
    let pcr3 = |bank| log.replay(bank).get(3).unwrap().to_string();
    assert_eq!(
        pcr3(HashAlg::Sha1),
        "b2a83b0ebf2f8374299a5b2bdfc31ea955ad7236"
    );
    assert_eq!(
        pcr3(SHA256),
        "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969"
    );
    assert_eq!(log.replay(SHA256).len(), 1);
    assert!(log.replay(SHA256).get(4).is_none());
    assert!(log.replay(HashAlg::Sha384).is_empty());
}

#[test]
fn pcr0_starts_from_the_locality() {
    let first = |events: &[Draft]| {
        let bytes = log(events);
        *BootLog::parse(&bytes)
            .unwrap()
            .replay(SHA256)
            .get(0)
            .unwrap()
    };
    let from = |last: u8, events: &[&[u8]]| {
        let mut start = [0; 32];
        start[31] = last;
        let start = Digest::from_bytes(SHA256, &start).unwrap();
        events.iter().fold(start, |pcr, data| {
            SHA256.digest(&[pcr.as_bytes(), SHA256.digest(&[data]).as_bytes()])
        })
    };
    let locality = |locality: u8| {
        Draft::no_action(0, &[b"StartupLocality\0".as_slice(), &[locality]].concat())
    };
    let version = Draft::covered(0, EventType::EV_S_CRTM_VERSION, b"v1");
    let hcrtm = Draft::covered(0, EventType::EV_EFI_HCRTM_EVENT, b"HCRTM");
    let one = std::slice::from_ref(&version);
    assert_eq!(first(one), from(0, &[b"v1"]));
    assert_eq!(first(&[locality(3), version.clone()]), from(3, &[b"v1"]));
    assert_eq!(first(&[locality(4), version.clone()]), from(4, &[b"v1"]));
    assert_eq!(
        first(&[hcrtm.clone(), version.clone()]),
        from(4, &[b"HCRTM", b"v1"])
    );
    // Forged ones are not followed, and told.
    let late = [version.clone(), locality(3)];
    assert_eq!(first(&late), from(0, &[b"v1"]));
    assert!(codes(&late).contains(&"locality-misplaced"));
    let wild = [locality(2), version.clone()];
    assert_eq!(first(&wild), from(0, &[b"v1"]));
    assert!(codes(&wild).contains(&"locality-invalid"));
    let twice = [locality(0), locality(3), version.clone()];
    assert_eq!(first(&twice), from(0, &[b"v1"]));
    assert!(codes(&twice).contains(&"locality-repeated"));
    let elsewhere = [
        Draft {
            pcr: 1,
            ..locality(3)
        },
        version.clone(),
    ];
    assert_eq!(first(&elsewhere), from(0, &[b"v1"]));
    assert!(codes(&elsewhere).contains(&"locality-misplaced"));
    let against = [locality(3), hcrtm.clone()];
    assert_eq!(first(&against), from(4, &[b"HCRTM"]));
    assert!(codes(&against).contains(&"locality-against-hcrtm"));
    let misplaced = [version, hcrtm];
    assert_eq!(first(&misplaced), from(0, &[b"v1", b"HCRTM"]));
    assert!(codes(&misplaced).contains(&"hcrtm-misplaced"));
}

#[test]
fn reset_values() {
    let map = PcrMap::at_reset(SHA256);
    assert_eq!(map.value(16).unwrap().as_bytes(), [0; 32]);
    assert_eq!(map.value(17).unwrap().as_bytes(), [0xff; 32]);
    assert_eq!(map.value(23).unwrap().as_bytes(), [0; 32]);
    assert!(map.value(24).is_none());
}

#[test]
fn sha1_only() {
    let bytes = [
        sha1_event(0, EventType::EV_NO_ACTION, b"Spec ID Event00\0"),
        sha1_event(4, EventType::EV_SEPARATOR, &[0; 4]),
    ]
    .concat();
    let log = BootLog::parse(&bytes).unwrap();
    assert_eq!(log.format(), Format::Sha1);
    assert_eq!(log.banks().collect::<Vec<_>>(), [HashAlg::Sha1]);
    let pcr4 = log.replay(HashAlg::Sha1).get(4).unwrap().to_string();
    assert_eq!(pcr4, "b2a83b0ebf2f8374299a5b2bdfc31ea955ad7236");
    // Never filled: these are a truncated event.
    let filled = [bytes, vec![0; 8]].concat();
    assert!(matches!(
        refused(&filled),
        (2, "TCG_PCR_EVENT.digest", Cause::Truncated { .. })
    ));
}

#[test]
fn filling_after_the_last_event() {
    let bytes = log(&[Draft::separator(1)]);
    for byte in [0x00, 0xff] {
        let filled = [bytes.clone(), vec![byte; 1000]].concat();
        let log = BootLog::parse(&filled).unwrap();
        assert_eq!(log.padding(), Some(Padding { byte, len: 1000 }));
        assert_eq!(log.events().len(), 2);
    }
    let mixed = [bytes, vec![0xff; 100], vec![0; 100]].concat();
    assert_eq!(
        refused(&mixed),
        (2, "pcrIndex", Cause::Unsupported(0xffff_ffff))
    );
}

#[test]
fn unknown_algorithms_are_skipped_and_told() {
    let mut separator = Draft::separator(2);
    separator.digests.insert(1, (0x0012, vec![0x33; 32]));
    let algorithms = [(0x0004, 20), (0x0012, 32), (0x000B, 32)];
    let bytes = [spec_id(&algorithms), separator.encode()].concat();
    let log = BootLog::parse(&bytes).unwrap();
    assert_eq!(log.banks().collect::<Vec<_>>(), BANKS);
    let event = log.event(1).unwrap();
    assert_eq!(
        event.digests().nth(1),
        Some((0x0012, [0x33; 32].as_slice()))
    );
    assert_eq!(event.data_proof(SHA256), DataProof::Proven);
    assert_eq!(event.data_proof(HashAlg::Sha512), DataProof::NoDigest);
    assert!(
        log.findings(SHA256)
            .contains(&Finding::UnknownAlgorithm { id: 0x0012 })
    );
}

#[test]
fn kept_values_come_back() {
    let bytes = log(&boot());
    let map = BootLog::parse(&bytes).unwrap().replay(SHA256);
    let kept: Vec<_> = map.iter().map(|(pcr, value)| (pcr, *value)).collect();
    let back = PcrMap::restore(SHA256, kept.clone()).unwrap();
    assert!(back.iter().eq(map.iter()));
    assert_eq!(back.value(23), map.value(23));
    assert!(PcrMap::restore(HashAlg::Sha1, kept).is_none());
    assert!(PcrMap::restore(SHA256, [(24, *map.value(0).unwrap())]).is_none());
}
