use ring::rand::SystemRandom;

use super::{
    super::{IdentityError, Ldevid, LdevidOnFile, LintError},
    *,
};
use crate::inspect::{InspectError, Verdict, ldevid as inspect};

fn issued() -> (Initial, Ldevid) {
    let initial = initial();
    let issuer = issuer(&initial, Profile::new(3600, Some("water.example")).unwrap());
    let expected = expectation(&issuer);
    let ldevid = Issuer::write(issuer.cas().current(), expected, &SystemRandom::new())
        .unwrap()
        .sign()
        .unwrap();
    (initial, ldevid)
}

#[test]
fn an_issued_ldevid_reads_back_and_is_affirmed_by_its_ca() {
    let (initial, ldevid) = issued();
    let found = LdevidOnFile::read(&ldevid.chain[0], Some(&ldevid.chain[1])).unwrap();
    assert_eq!(found.gateway_id, gateway());
    assert_eq!(found.hardware_serial, "IFX:00aa11:7bcd");
    assert_eq!(found.not_after, ldevid.not_after);

    let judge = |file: &[u8], issuer: Option<&[u8]>, at| {
        let report = inspect::inspect(file, issuer, at).unwrap();
        (report.verdict, report.reason.unwrap_or_default())
    };
    let pem = ldevid.chain_pem();
    assert_eq!(judge(pem.as_bytes(), None, NOW).0, Verdict::Affirming);
    let leaf = &ldevid.chain[0];
    assert_eq!(judge(leaf, None, NOW).0, Verdict::Unverified);
    let issuing = initial.issuing.certificate_pem();
    assert_eq!(
        judge(leaf, Some(issuing.as_bytes()), NOW).0,
        Verdict::Affirming
    );
    let (verdict, reason) = judge(pem.as_bytes(), None, NOW.plus(3601));
    assert_eq!(verdict, Verdict::Refused);
    assert!(reason.contains("expired"), "{reason}");
    let (verdict, reason) = judge(pem.as_bytes(), None, NOW.plus(-3600));
    assert_eq!(verdict, Verdict::Refused);
    assert!(reason.contains("not valid before"), "{reason}");

    let json = serde_json::to_value(inspect::inspect(pem.as_bytes(), None, NOW).unwrap()).unwrap();
    assert_eq!(json["ldevid"]["gateway_id"], gateway().to_string());
    let spiffe = format!("spiffe://water.example/gateway/{}", gateway());
    assert_eq!(json["ldevid"]["spiffe_id"], spiffe);
    assert_eq!(json["serial"], ldevid.serial_hex);
}

#[test]
fn another_ca_is_not_its_issuer() {
    let (_, ldevid) = issued();
    let (stranger, _) = issued();
    let other = &stranger.issuing.certificate;
    let refusal = LdevidOnFile::read(&ldevid.chain[0], Some(other)).unwrap_err();
    let wanted = LintError::Issuer;
    assert_eq!(refusal, IdentityError::Lint(wanted));
    let own = &stranger.server.certificate;
    assert!(matches!(
        inspect::inspect(&ldevid.chain[0], Some(own), NOW),
        Err(InspectError::Certificate(_))
    ));
}

#[test]
fn certificates_of_other_profiles_are_refused() {
    let (initial, _) = issued();
    for other in [
        &initial.root.certificate,
        &initial.issuing.certificate,
        &initial.server.certificate,
    ] {
        assert!(matches!(
            LdevidOnFile::read(other, None),
            Err(IdentityError::Lint(_))
        ));
    }
}

#[test]
fn no_bit_can_change_and_no_change_panics() {
    let (_, ldevid) = issued();
    let [leaf, ca] = [&ldevid.chain[0], &ldevid.chain[1]];
    for bit in 0..leaf.len() * 8 {
        let mut changed = leaf.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(LdevidOnFile::read(&changed, Some(ca)).is_err(), "bit {bit}");
        let _ = LdevidOnFile::read(&changed, None);
        let mut changed = ca.clone();
        if let Some(byte) = changed.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
            let _ = LdevidOnFile::read(leaf, Some(&changed));
        }
    }
    for len in 0..leaf.len() {
        assert!(LdevidOnFile::read(&leaf[..len], None).is_err());
    }
}

/// The certificate and its CA, issued once for all cases.
fn sample() -> &'static [Vec<u8>; 2] {
    static SAMPLE: std::sync::OnceLock<[Vec<u8>; 2]> = std::sync::OnceLock::new();
    SAMPLE.get_or_init(|| {
        let (_, ldevid) = issued();
        [ldevid.chain[0].clone(), ldevid.chain[1].clone()]
    })
}

proptest::proptest! {
    /// The lint's decoder was made for what we write; it is given no more than
    /// it can bear.
    #[test]
    fn hostile_certificates_do_not_panic(
        edits in proptest::collection::vec((0..1000_usize, 0..3_u8, proptest::num::u8::ANY), 1..6)
    ) {
        let [leaf, ca] = sample();
        for (which, der) in [leaf, ca].into_iter().enumerate() {
            let mut changed = der.clone();
            for (at, kind, byte) in &edits {
                let at = at % changed.len();
                match kind {
                    0 => changed[at] = *byte,
                    1 => changed.insert(at, *byte),
                    _ => drop(changed.remove(at)),
                }
            }
            let found = match which {
                0 => LdevidOnFile::read(&changed, Some(ca)),
                _ => LdevidOnFile::read(leaf, Some(&changed)),
            };
            // The edits may cancel out.
            if which == 0 && changed != *leaf {
                proptest::prop_assert!(found.is_err());
            }
            let _ = LdevidOnFile::read(&changed, None);
        }
    }
}
