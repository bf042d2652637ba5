//! Paths: dates, issuers, constraints, revocation, imports (ADVERSARY A06).

use super::{
    pki::{
        BASIC_CONSTRAINTS, CaKey, ECDSA_SHA256, KEY_USAGE, NAME_CONSTRAINTS, NOW, Spec, Vendor,
        basic_constraints, ca_spec, chain, cn, der, ecc_ek, ek, extension, integer, key_usage, oid,
        seq,
    },
    *,
};
use crate::time::UnixTime;

/// Endorses with an issuing CA that `change` spoiled.
fn issuing_with(change: impl FnOnce(Spec) -> Spec) -> Result<EndorsedEk, EndorsementError> {
    let vendor = Vendor::new();
    let issuing = change(ca_spec(Vendor::ROOT, Vendor::ISSUING, &vendor.issuing_key));
    let leaf = vendor.spec(&ecc_ek()).sign(&vendor.issuing_key);
    let certificates = [leaf, issuing.sign(&vendor.root_key)];
    vendor
        .anchors()
        .endorse(&chain(&certificates), ek(&ecc_ek()), NOW)
}

#[test]
fn adv_a06_dates() {
    let vendor = Vendor::new();
    let certificates = chain(&vendor.certify(&ecc_ek()));
    let at = |seconds| {
        vendor.anchors().endorse(
            &certificates,
            ek(&ecc_ek()),
            UnixTime::from_seconds(seconds),
        )
    };
    // 2024-01-01 and 2034-01-01: both ends are within (RFC 5280 §4.1.2.5).
    let (start, end) = (1_704_067_200, 2_019_686_400);
    let _ = at(start).unwrap();
    let _ = at(end).unwrap();
    refused!(
        at(start - 1),
        EndorsementError::NotYetValid { not_before } if not_before.seconds() == start
    );
    refused!(at(end + 1), EndorsementError::Expired { not_after } if not_after.seconds() == end);
    refused!(at(-1), EndorsementError::NotYetValid { .. });

    let not_after = "250101000000Z";
    refused!(
        issuing_with(|s| Spec { not_after, ..s }),
        EndorsementError::Expired { .. }
    );
}

#[test]
fn adv_a06_missing_intermediate_is_named() {
    let vendor = Vendor::new();
    let leaf = vendor.spec(&ecc_ek()).sign(&vendor.issuing_key);
    refused!(
        vendor.anchors().endorse(&chain(std::slice::from_ref(&leaf)), ek(&ecc_ek()), NOW),
        EndorsementError::UnknownIssuer(missing) if missing.issuer == "CN=Vendor EK CA"
    );
    // Imported by the owner, it helps.
    let anchors = Anchors::new(vec![vendor.root.clone()], vec![vendor.issuing.clone()]).unwrap();
    let _ = anchors
        .endorse(&chain(&[leaf]), ek(&ecc_ek()), NOW)
        .unwrap();
}

#[test]
fn adv_a06_unknown_root_is_named() {
    let vendor = Vendor::new();
    let certificates = chain(&vendor.certify(&ecc_ek()));
    let none = Anchors::new(Vec::new(), Vec::new()).unwrap();
    refused!(
        none.endorse(&certificates, ek(&ecc_ek()), NOW),
        EndorsementError::UnknownIssuer(missing) if missing.issuer == "CN=Vendor Root"
    );
    // A root that comes with the evidence is nobody's anchor.
    let with_root = [vendor.certify(&ecc_ek()), vec![vendor.root.clone()]].concat();
    refused!(
        none.endorse(&chain(&with_root), ek(&ecc_ek()), NOW),
        EndorsementError::UnknownIssuer(missing) if missing.issuer == "CN=Vendor Root"
    );
}

#[test]
fn adv_a06_wrong_issuer() {
    // Same names, other keys.
    let (vendor, impostor) = (Vendor::new(), Vendor::new());
    let leaf = vendor.spec(&ecc_ek()).sign(&impostor.issuing_key);
    refused!(
        vendor
            .anchors()
            .endorse(&chain(&vendor.chain(leaf)), ek(&ecc_ek()), NOW),
        EndorsementError::BadSignature
    );
    let certificates = impostor.certify(&ecc_ek());
    refused!(
        vendor
            .anchors()
            .endorse(&chain(&certificates), ek(&ecc_ek()), NOW),
        EndorsementError::BadSignature
    );
}

#[test]
fn adv_a06_issuer_that_is_no_ca() {
    let bad = [
        (BASIC_CONSTRAINTS, Some(basic_constraints(false, None))),
        (BASIC_CONSTRAINTS, None),
        // keyUsage without keyCertSign.
        (KEY_USAGE, Some(key_usage(0x80))),
    ];
    for (id, with) in bad {
        refused!(
            issuing_with(|s| s.replace(id, with)),
            EndorsementError::IssuerNotCa
        );
    }
}

#[test]
fn adv_a06_path_length_constraint() {
    let vendor = Vendor::new();
    let root = ca_spec(Vendor::ROOT, Vendor::ROOT, &vendor.root_key)
        .replace(BASIC_CONSTRAINTS, Some(basic_constraints(true, Some(0))));
    let anchors = |root: Spec| Anchors::new(vec![root.sign(&vendor.root_key)], Vec::new()).unwrap();
    // webpki takes no constraint from an anchor, so put one below it.
    let middle_key = CaKey::new();
    let middle = ca_spec(Vendor::ROOT, "Vendor Middle", &middle_key)
        .replace(BASIC_CONSTRAINTS, Some(basic_constraints(true, Some(0))))
        .sign(&vendor.root_key);
    let issuing = ca_spec("Vendor Middle", Vendor::ISSUING, &vendor.issuing_key).sign(&middle_key);
    let leaf = vendor.spec(&ecc_ek()).sign(&vendor.issuing_key);
    refused!(
        anchors(root).endorse(&chain(&[leaf, issuing, middle]), ek(&ecc_ek()), NOW),
        EndorsementError::PathLength
    );
}

#[test]
fn adv_a06_path_too_long() {
    let vendor = Vendor::new();
    let mut certificates = Vec::new();
    let mut above: Option<CaKey> = None;
    // Root → CA 0 → … → CA 6 → leaf.
    for depth in 0..7 {
        let key = CaKey::new();
        let (issuer, signer) = match &above {
            None => (Vendor::ROOT.to_owned(), &vendor.root_key),
            Some(key) => (format!("CA {}", depth - 1), key),
        };
        certificates.push(ca_spec(&issuer, &format!("CA {depth}"), &key).sign(signer));
        above = Some(key);
    }
    let leaf = Spec {
        issuer: cn("CA 6"),
        ..vendor.spec(&ecc_ek())
    }
    .sign(&above.unwrap());
    certificates.push(leaf);
    certificates.reverse();
    refused!(
        vendor
            .anchors()
            .endorse(&chain(&certificates), ek(&ecc_ek()), NOW),
        EndorsementError::PathTooLong
    );
}

#[test]
fn adv_a06_loop_of_issuers_ends() {
    let vendor = Vendor::new();
    let (one, two) = (CaKey::new(), CaKey::new());
    let leaf = Spec {
        issuer: cn("One"),
        ..vendor.spec(&ecc_ek())
    }
    .sign(&one);
    let certificates = [
        leaf,
        ca_spec("Two", "One", &one).sign(&two),
        ca_spec("One", "Two", &two).sign(&one),
    ];
    refused!(
        vendor
            .anchors()
            .endorse(&chain(&certificates), ek(&ecc_ek()), NOW),
        EndorsementError::UnknownIssuer(_) | EndorsementError::PathTooLong
    );
}

#[test]
fn adv_a06_name_constraint() {
    // Permitted: only directory names under CN=Elsewhere.
    let base = seq(&[&der(0xA4, &[&cn("Elsewhere")])]);
    let value = seq(&[&der(0xA0, &[&base])]);
    refused!(
        issuing_with(|mut s| {
            s.extensions.push(extension(NAME_CONSTRAINTS, true, &value));
            s
        }),
        EndorsementError::NameConstraint
    );
}

#[test]
fn adv_a06_unknown_critical_extension_above() {
    refused!(
        issuing_with(|mut s| {
            s.extensions.push(extension(&[0x55, 0x1D, 0x24], true, &seq(&[])));
            s
        }),
        EndorsementError::CriticalExtension { at: 1, oid } if oid == "2.5.29.36"
    );
}

#[test]
fn adv_a06_weak_signature_above() {
    let signature_oid = vec![0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x01];
    refused!(
        issuing_with(|s| Spec { signature_oid, ..s }),
        EndorsementError::WeakSignature {
            at: 1,
            alg: WeakAlg::Sha1
        }
    );
}

/// What a CRL says.
pub(crate) struct CrlSpec {
    pub(crate) issuer: String,
    pub(crate) signature_oid: Vec<u8>,
    pub(crate) this_update: &'static str,
    pub(crate) next_update: Option<&'static str>,
    pub(crate) serial: u8,
    /// Extensions of the one entry.
    pub(crate) of_entry: Vec<Vec<u8>>,
    pub(crate) extensions: Vec<Vec<u8>>,
}

impl CrlSpec {
    /// A good one (RFC 5280 §5): of 2025-01-01, due again on 2026-07-01.
    pub(crate) fn new(issuer: &str, serial: u8) -> Self {
        let aki = seq(&[&der(0x80, &[&[1; 20]])]);
        Self {
            issuer: issuer.to_owned(),
            signature_oid: ECDSA_SHA256.to_vec(),
            this_update: "250101000000Z",
            next_update: Some("260701000000Z"),
            serial,
            of_entry: Vec::new(),
            extensions: vec![
                extension(&[0x55, 0x1D, 0x14], false, &integer(&[1])),
                extension(&[0x55, 0x1D, 0x23], false, &aki),
            ],
        }
    }

    pub(crate) fn sign(&self, key: &CaKey) -> Vec<u8> {
        let time = |t: &str| der(0x17, &[t.as_bytes()]);
        let list = |parts: &[Vec<u8>]| seq(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let of_entry = match self.of_entry.as_slice() {
            [] => Vec::new(),
            extensions => list(extensions),
        };
        let entry = seq(&[&integer(&[self.serial]), &time("250101000000Z"), &of_entry]);
        let algorithm = seq(&[&oid(&self.signature_oid)]);
        let tbs = seq(&[
            &integer(&[1]),
            &algorithm,
            &cn(&self.issuer),
            &time(self.this_update),
            &self.next_update.map(time).unwrap_or_default(),
            &seq(&[&entry]),
            &der(0xA0, &[&list(&self.extensions)]),
        ]);
        let signature = key.sign(&tbs);
        seq(&[&tbs, &algorithm, &der(0x03, &[&[0], &signature])])
    }
}

/// A good CRL of `issuer` that revokes one serial number.
pub(crate) fn crl(issuer: &str, key: &CaKey, serial: u8) -> Vec<u8> {
    CrlSpec::new(issuer, serial).sign(key)
}

pub(crate) fn issuing_anchors(vendor: &Vendor) -> Anchors {
    Anchors::new(vec![vendor.root.clone()], vec![vendor.issuing.clone()]).unwrap()
}

#[test]
fn adv_a06_revoked() {
    let vendor = Vendor::new();
    let certificates = chain(&vendor.certify(&ecc_ek()));
    let anchors = |serial| {
        let crl = crl(Vendor::ISSUING, &vendor.issuing_key, serial);
        issuing_anchors(&vendor).with_crls(&[crl]).unwrap()
    };
    refused!(
        anchors(0x2A).endorse(&certificates, ek(&ecc_ek()), NOW),
        EndorsementError::Revoked { issuer, serial }
            if issuer == "CN=Vendor EK CA" && serial == "2a"
    );
    // Another serial, and CAs without a CRL: nothing is revoked.
    let _ = anchors(0x2B)
        .endorse(&certificates, ek(&ecc_ek()), NOW)
        .unwrap();
    refused!(
        vendor.anchors().with_crls(&[vec![1]]),
        EndorsementError::Crl { at: 0, .. }
    );
}

#[test]
fn adv_a06_crl_of_another_key() {
    // It would let anyone who knows the CA's name revoke.
    let (vendor, impostor) = (Vendor::new(), CaKey::new());
    let forged = crl(Vendor::ISSUING, &impostor, 0x2A);
    refused!(
        issuing_anchors(&vendor).with_crls(&[forged]),
        EndorsementError::Crl {
            at: 0,
            source: CrlError::Signature(_)
        }
    );
    // Nor a CRL of a CA that nobody imported.
    let unknown = crl("Elsewhere", &impostor, 0x2A);
    refused!(
        issuing_anchors(&vendor).with_crls(&[unknown]),
        EndorsementError::Crl {
            at: 0,
            source: CrlError::UnknownIssuer(_)
        }
    );
}

#[test]
fn what_may_be_imported() {
    let vendor = Vendor::new();
    let facts = CertificateFacts::parse(&vendor.root, &Leniencies::default()).unwrap();
    assert!(facts.root);
    assert_eq!(facts.subject, "CN=Vendor Root");
    assert_eq!(facts.not_after.to_string(), "2035-01-01T00:00:00Z");
    assert!(
        !CertificateFacts::parse(&vendor.issuing, &Leniencies::default())
            .unwrap()
            .root
    );

    let leaf = vendor.spec(&ecc_ek()).sign(&vendor.issuing_key);
    refused!(
        CertificateFacts::parse(&leaf, &Leniencies::default()),
        EndorsementError::IssuerNotCa
    );
    refused!(
        Anchors::new(vec![vendor.root.clone(), leaf.clone()], Vec::new()),
        EndorsementError::Import { at: 1, .. }
    );
    refused!(
        Anchors::new(Vec::new(), vec![leaf]),
        EndorsementError::Import { at: 0, .. }
    );
    refused!(
        CertificateFacts::parse(
            &vec![0; EkChain::MAX_CERTIFICATE_LEN + 1],
            &Leniencies::default()
        ),
        EndorsementError::TooLong { .. }
    );
    // A root's own signature is not what trust rests on.
    let signature_oid = vec![0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x01];
    let old = ca_spec(Vendor::ROOT, Vendor::ROOT, &vendor.root_key);
    CertificateFacts::parse(
        &Spec {
            signature_oid,
            ..old
        }
        .sign(&vendor.root_key),
        &Leniencies::default(),
    )
    .unwrap();
}
