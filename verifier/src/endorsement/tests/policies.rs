//! Critical certificatePolicies, as ST and Intel have them (RFC 5280
//! §4.2.1.4): processed here, since webpki does not.

use super::{
    path::crl,
    pki::{
        BASIC_CONSTRAINTS, CaKey, EKU, KEY_USAGE, NAME_CONSTRAINTS, NOW, Spec, Vendor,
        basic_constraints, ca_spec, chain, cn, der, ecc_ek, ek, extension, key_usage, oid, seq,
    },
    *,
};

/// With critical policies.
fn st_like(mut spec: Spec) -> Spec {
    let policies = seq(&[&seq(&[&oid(&[0x55, 0x1D, 0x20, 0x00])])]);
    spec.extensions
        .push(extension(&[0x55, 0x1D, 0x20], true, &policies));
    spec
}

/// Root → "Middle" → issuing CA → EK certificate; each as it should be changed.
struct Chain {
    vendor: Vendor,
    middle: Vec<u8>,
    issuing: Vec<u8>,
    leaf: Vec<u8>,
}

fn three(
    middle: impl FnOnce(Spec) -> Spec,
    issuing: impl FnOnce(Spec) -> Spec,
    leaf: impl FnOnce(Spec) -> Spec,
) -> Chain {
    let vendor = Vendor::new();
    let middle_key = CaKey::new();
    Chain {
        middle: middle(ca_spec(Vendor::ROOT, "Middle", &middle_key)).sign(&vendor.root_key),
        issuing: issuing(ca_spec("Middle", Vendor::ISSUING, &vendor.issuing_key)).sign(&middle_key),
        leaf: leaf(vendor.spec(&ecc_ek())).sign(&vendor.issuing_key),
        vendor,
    }
}

impl Chain {
    /// With both issuers in the TPM's NV.
    fn endorse(&self) -> Result<EndorsedEk, EndorsementError> {
        let sent = [self.leaf.clone(), self.issuing.clone(), self.middle.clone()];
        self.vendor
            .anchors()
            .endorse(&chain(&sent), ek(&ecc_ek()), NOW)
    }
}

fn subjects(endorsed: &EndorsedEk) -> Vec<&str> {
    let path = &endorsed.facts().path;
    path.iter().map(|c| c.subject.as_str()).collect()
}

#[test]
fn critical_policies_are_processed_wherever_they_are() {
    type Change = fn(Spec) -> Spec;
    let same: Change = |s| s;
    let full = ["", "CN=Vendor EK CA", "CN=Middle", "CN=Vendor Root"];
    for (middle, issuing, leaf) in [
        (st_like as Change, same, same),
        (same, st_like as Change, same),
        (same, same, st_like as Change),
        (st_like, st_like, st_like),
    ] {
        let endorsed = three(middle, issuing, leaf).endorse().unwrap();
        assert_eq!(subjects(&endorsed), full);
    }
}

#[test]
fn imported_and_sent_issuers_make_one_path() {
    let chain_of = three(st_like, |s| s, |s| s);
    let root = chain_of.vendor.root.clone();
    let anchors = Anchors::new(vec![root], vec![chain_of.middle.clone()]).unwrap();
    let sent = [chain_of.leaf.clone(), chain_of.issuing.clone()];
    let endorsed = anchors.endorse(&chain(&sent), ek(&ecc_ek()), NOW).unwrap();
    assert_eq!(subjects(&endorsed).len(), 4);
}

#[test]
fn it_does_not_help_without_a_root() {
    let chain_of = three(st_like, st_like, |s| s);
    let other = Vendor::new();
    let sent = [
        chain_of.leaf.clone(),
        chain_of.issuing.clone(),
        chain_of.middle.clone(),
    ];
    // A root of that name and another key; none at all.
    let none = Anchors::new(Vec::new(), Vec::new()).unwrap();
    for anchors in [other.anchors(), none] {
        refused!(
            anchors.endorse(&chain(&sent), ek(&ecc_ek()), NOW),
            EndorsementError::UnknownIssuer(missing) if missing.issuer == "CN=Vendor Root"
        );
    }
}

/// What RFC 5280 §6.1 asks of an issuer, one broken at a time, in an issuer
/// with critical policies and above one.
#[test]
fn adv_a06_issuers_with_policies_keep_the_rules() {
    let client_auth = seq(&[&oid(&[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02])]);
    let constraint = seq(&[&der(0xA0, &[&seq(&[&der(0xA4, &[&cn("Elsewhere")])])])]);
    let mapped = seq(&[]);
    type Break<'a> = Box<dyn Fn(Spec) -> Spec + 'a>;
    let breaks: Vec<Break<'_>> = vec![
        Box::new(|s| s.replace(BASIC_CONSTRAINTS, Some(basic_constraints(false, None)))),
        Box::new(|s| s.replace(BASIC_CONSTRAINTS, None)),
        Box::new(|s| s.replace(KEY_USAGE, Some(key_usage(0x80)))),
        Box::new(|s| s.replace(EKU, Some(extension(EKU, false, &client_auth)))),
        Box::new(|s| {
            s.replace(
                NAME_CONSTRAINTS,
                Some(extension(NAME_CONSTRAINTS, true, &constraint)),
            )
        }),
        Box::new(|s| Spec {
            issuer: cn("Somebody"),
            ..s
        }),
        // policyConstraints.
        Box::new(|mut s| {
            s.extensions
                .push(extension(&[0x55, 0x1D, 0x24], true, &mapped));
            s
        }),
    ];
    for (at, spoil) in breaks.iter().enumerate() {
        assert!(
            three(|s| spoil(st_like(s)), |s| s, |s| s)
                .endorse()
                .is_err(),
            "{at}"
        );
        assert!(three(spoil, st_like, |s| s).endorse().is_err(), "{at}");
    }
    assert!(three(st_like, st_like, |s| s).endorse().is_ok());
}

#[test]
fn adv_a06_dates_of_issuers_with_policies() {
    refused!(
        three(
            |s| Spec {
                not_after: "250101000000Z",
                ..st_like(s)
            },
            |s| s,
            |s| s
        )
        .endorse(),
        EndorsementError::Expired { .. }
    );
    refused!(
        three(
            |s| Spec {
                not_before: "300101000000Z",
                ..st_like(s)
            },
            |s| s,
            |s| s
        )
        .endorse(),
        EndorsementError::NotYetValid { .. }
    );
}

#[test]
fn adv_a06_path_length_above_and_below_policies() {
    let limit = |n| {
        move |s: Spec| st_like(s.replace(BASIC_CONSTRAINTS, Some(basic_constraints(true, Some(n)))))
    };
    // One issuer stands below Middle.
    assert!(three(limit(1), |s| s, |s| s).endorse().is_ok());
    refused!(
        three(limit(0), |s| s, |s| s).endorse(),
        EndorsementError::PathLength
    );
    assert!(three(limit(0), st_like, |s| s).endorse().is_err());
    assert!(three(limit(0), |s| s, st_like).endorse().is_err());
    assert!(three(limit(1), st_like, st_like).endorse().is_ok());
}

#[test]
fn adv_a06_revoked_issuer_with_policies() {
    let chain_of = three(
        |s| Spec {
            serial: 0x33,
            ..st_like(s)
        },
        |s| s,
        |s| s,
    );
    let crl = crl(Vendor::ROOT, &chain_of.vendor.root_key, 0x33);
    let anchors = chain_of.vendor.anchors().with_crls(&[crl]).unwrap();
    let sent = [
        chain_of.leaf.clone(),
        chain_of.issuing.clone(),
        chain_of.middle.clone(),
    ];
    refused!(
        anchors.endorse(&chain(&sent), ek(&ecc_ek()), NOW),
        EndorsementError::Revoked { issuer, serial }
            if issuer == "CN=Vendor Root" && serial == "33"
    );
}

/// Every certificate is the issuer of every other: signatures are bounded.
#[test]
fn adv_a06_a_thicket_of_issuers_ends() {
    let vendor = Vendor::new();
    let keys: Vec<CaKey> = (0..7).map(|_| CaKey::new()).collect();
    let mut sent = vec![
        Spec {
            issuer: cn("Thicket"),
            ..st_like(vendor.spec(&ecc_ek()))
        }
        .sign(&keys[0]),
    ];
    for (at, key) in keys.iter().enumerate() {
        let spec = st_like(ca_spec("Thicket", "Thicket", key));
        sent.push(spec.sign(&keys[(at + 1) % keys.len()]));
    }
    refused!(
        vendor.anchors().endorse(&chain(&sent), ek(&ecc_ek()), NOW),
        EndorsementError::UnknownIssuer(_)
    );
}
