//! The IAK road with certificates by hand: the good pair, and the same with one
//! thing changed. Every refusal is the exact variant.

macro_rules! refused {
    ($result:expr, $pattern:pat $(if $guard:expr)?) => {
        match $result.map(|_| ()) {
            Err($pattern) $(if $guard)? => {}
            other => panic!("{other:?} is not {}", stringify!($pattern)),
        }
    };
}

mod leaf;
mod negative;
mod rules;

use std::collections::BTreeMap;

use holdfast_proto::tpm::{
    Public, Unique,
    devid::{DevidKey, DevidTemplate, DevidUnique},
};

use super::*;
use crate::{
    endorsement::{
        Anchors, Denied, DeniedIssuer, EndorsementError, FindingCode, FirmwareFloor, ListedEk,
        Rules, TpmFacts,
        tests::pki::{
            self, CaKey, ECDSA_SHA256, EKU, KEY_USAGE, NOW, SAN, Spec, ca_spec, cn, der, ecc_ek,
            ek, extension, key_usage, oid, seq,
        },
    },
    verification::tests::soft_tpm::SigningKey,
};
use holdfast_proto::tpm::templates::AkAlg;

const SERIAL: &str = "GW-0001";
const OEM: &str = "acme";

/// An OEM: root → issuing CA → IDevIDs and IAKs.
pub(crate) struct Oem {
    name: &'static str,
    root: Vec<u8>,
    issuing_key: CaKey,
    issuing: Vec<u8>,
}

impl Oem {
    pub(crate) fn new(name: &'static str) -> Self {
        let (root_key, issuing_key) = (CaKey::new(), CaKey::new());
        Self {
            name,
            root: ca_spec("OEM Root", "OEM Root", &root_key).sign(&root_key),
            issuing: ca_spec("OEM Root", "OEM CA", &issuing_key).sign(&root_key),
            issuing_key,
        }
    }

    pub(crate) fn anchors(&self) -> OemAnchors {
        trusting(&[self])
    }

    /// A good certificate, not yet signed.
    pub(crate) fn spec(&self, key: DevidKey, public: &Public) -> Spec {
        let purposes = match key {
            DevidKey::Idevid => Vec::new(),
            DevidKey::Iak => vec![eku(&[0x67, 0x81, 0x05, 0x08, 0x03])],
        };
        Spec {
            issuer: cn("OEM CA"),
            subject: subject(&[SERIAL]),
            not_before: "240101000000Z",
            not_after: "340101000000Z",
            spki: public.to_spki_der().unwrap(),
            extensions: [
                vec![
                    key_usage(0x80),
                    hardware_module_name(b"HFST:00:01"),
                    extension(
                        &[0x55, 0x1D, 0x23],
                        false,
                        &seq(&[&der(0x80, &[&[0xAB; 20]])]),
                    ),
                ],
                purposes,
            ]
            .concat(),
            signature_oid: ECDSA_SHA256.to_vec(),
            serial: 0x2B,
            serial_padding: Default::default(),
        }
    }

    pub(crate) fn chain(&self, spec: &Spec) -> Vec<Vec<u8>> {
        vec![spec.sign(&self.issuing_key), self.issuing.clone()]
    }

    pub(crate) fn certify(&self, key: DevidKey, public: &Public) -> Vec<Vec<u8>> {
        self.chain(&self.spec(key, public))
    }
}

fn trusting(oems: &[&Oem]) -> OemAnchors {
    let anchors = oems.iter().map(|oem| {
        (
            OemName::parse(oem.name).unwrap(),
            OemCas::new(vec![oem.root.clone()], Vec::new()).unwrap(),
        )
    });
    OemAnchors::new(anchors.collect::<BTreeMap<_, _>>())
}

/// A subject with these serial numbers.
fn subject(serials: &[&str]) -> Vec<u8> {
    let mut rdns = vec![pki::attribute(&[0x55, 0x04, 0x03], "A gateway")];
    rdns.extend(
        serials
            .iter()
            .map(|serial| pki::attribute(&[0x55, 0x04, 0x05], serial)),
    );
    seq(&rdns.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn eku(purpose: &[u8]) -> Vec<u8> {
    purposes(&[purpose])
}

fn purposes(purposes: &[&[u8]]) -> Vec<u8> {
    let purposes: Vec<_> = purposes.iter().map(|purpose| oid(purpose)).collect();
    let purposes: Vec<_> = purposes.iter().map(Vec::as_slice).collect();
    extension(EKU, false, &seq(&purposes))
}

const POLICIES: &[u8] = &[0x55, 0x1D, 0x20];
const AIK: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x03];
const CLIENT_AUTH: &[u8] = &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
/// verifiedTPMResidency, verifiedTPMFixed and verifiedTPMRestricted.
const RESIDENT: &[u8] = &[0x67, 0x81, 0x05, 0x0B, 0x01, 0x01];
const FIXED: &[u8] = &[0x67, 0x81, 0x05, 0x0B, 0x01, 0x02];
const RESTRICTED: &[u8] = &[0x67, 0x81, 0x05, 0x0B, 0x01, 0x03];

/// verifiedTPMResidency, with a qualifier, and these.
fn policies(more: &[&[u8]]) -> Vec<u8> {
    let cps = seq(&[
        &oid(&[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x02, 0x01]),
        &der(0x16, &[b"https://oem.example/cps"]),
    ]);
    let mut list = vec![seq(&[&oid(RESIDENT), &seq(&[&cps])])];
    list.extend(more.iter().map(|policy| seq(&[&oid(policy)])));
    let list: Vec<_> = list.iter().map(Vec::as_slice).collect();
    extension(POLICIES, false, &seq(&list))
}

/// otherName with hwType TPM 2.0.
fn hardware_module_name(serial: &[u8]) -> Vec<u8> {
    let value = seq(&[&oid(&[0x67, 0x81, 0x05, 0x01, 0x02]), &der(0x04, &[serial])]);
    other_name(&value)
}

fn other_name(value: &[u8]) -> Vec<u8> {
    let id = oid(&[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x08, 0x04]);
    extension(
        SAN,
        false,
        &seq(&[&der(0xA0, &[&id, &der(0xA0, &[value])])]),
    )
}

/// A key of this role on P-256.
pub(crate) fn public(key: DevidKey, unique: Unique) -> Public {
    Public {
        unique,
        ..DevidTemplate::H2.public(key, DevidUnique::LabelInX)
    }
}

/// A device: public areas, and what its OEM certified.
struct Device {
    oem: Oem,
    iak: Public,
    idevid: Public,
    iak_spec: Spec,
    idevid_spec: Spec,
    rules: Rules,
}

impl Device {
    fn new() -> Self {
        let oem = Oem::new(OEM);
        let key = |of| public(of, SigningKey::new(AkAlg::EcdsaP256).unique());
        let (iak, idevid) = (key(DevidKey::Iak), key(DevidKey::Idevid));
        Self {
            iak_spec: oem.spec(DevidKey::Iak, &iak),
            idevid_spec: oem.spec(DevidKey::Idevid, &idevid),
            oem,
            iak,
            idevid,
            rules: Rules::default(),
        }
    }

    fn claim(&self) -> Result<ClaimedDevid, DevidError> {
        ClaimedDevid::parse(
            &self.iak.encode(),
            &self.oem.chain(&self.iak_spec),
            &self.idevid.encode(),
            &self.oem.chain(&self.idevid_spec),
        )
    }

    fn endorse_by(&self, anchors: &OemAnchors) -> Result<EndorsedIak, DevidError> {
        anchors.endorse(self.claim()?, ek(&ecc_ek()), &self.rules, NOW)
    }

    fn endorse(&self) -> Result<EndorsedIak, DevidError> {
        self.endorse_by(&self.oem.anchors())
    }
}

/// Changes one thing of a good device, and expects this.
fn changed(change: impl FnOnce(&mut Device)) -> Result<EndorsedIak, DevidError> {
    let mut device = Device::new();
    let _ = device.endorse().unwrap();
    change(&mut device);
    device.endorse()
}

#[test]
fn a_good_pair_is_endorsed_and_says_whose_it_is() {
    let device = Device::new();
    let endorsed = device.endorse().unwrap();
    let facts = endorsed.facts().devid.clone().unwrap();
    assert_eq!((facts.oem.as_str(), facts.serial.as_str()), (OEM, SERIAL));
    assert_eq!(facts.hardware_type, "2.23.133.1.2");
    assert_eq!(facts.hardware_serial, "HFST:00:01");
    assert_eq!(facts.iak_template, "H-2");
    assert_eq!(endorsed.iak().public(), &device.iak);
    assert_eq!(
        *endorsed.gateway_id(),
        holdfast_proto::binding::gateway_id(&device.iak).unwrap()
    );
    let json = serde_json::to_string(endorsed.facts()).unwrap();
    assert_eq!(
        serde_json::from_str::<TpmFacts>(&json).unwrap(),
        *endorsed.facts()
    );
}

#[test]
fn what_makers_leave_out_may_be_missing() {
    // swtpm and HPE write no purpose; the policy says the same.
    let _ = changed(|d| {
        d.iak_spec = d.iak_spec.clone().replace(EKU, None);
        d.iak_spec.extensions.push(policies(&[RESTRICTED]));
    })
    .unwrap();
    let _ = changed(|d| d.idevid_spec.extensions.push(policies(&[FIXED]))).unwrap();
    let endorsed = changed(|d| {
        d.iak_spec = d.iak_spec.clone().replace(SAN, None);
        d.idevid_spec = d.idevid_spec.clone().replace(SAN, None);
    });
    let facts = endorsed.unwrap().facts().devid.clone().unwrap();
    assert_eq!(
        (facts.hardware_type, facts.hardware_serial),
        Default::default()
    );
    let _ = changed(|d| {
        let client_auth = eku(&[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02]);
        d.idevid_spec.extensions.push(client_auth);
    })
    .unwrap();
}

/// An IAK that is not restricted would sign a forged quote; one that may be
/// exported is not this device's alone.
#[test]
fn adv_a07_an_area_that_is_no_template_is_refused() {
    use holdfast_proto::tpm::ObjectAttributes as Attr;
    for bit in [
        Attr::RESTRICTED,
        Attr::FIXED_TPM,
        Attr::SENSITIVE_DATA_ORIGIN,
    ] {
        refused!(
            changed(|d| d.iak.attributes = Attr::from_bits(d.iak.attributes.bits() & !bit.bits())),
            DevidError::NotATemplate { of: DevidKey::Iak }
        );
    }
    refused!(
        changed(|d| d.iak.auth_policy = vec![0; 32]),
        DevidError::NotATemplate { of: DevidKey::Iak }
    );
    refused!(
        changed(|d| d.idevid.attributes = d.iak.attributes),
        DevidError::NotATemplate {
            of: DevidKey::Idevid
        }
    );
}

#[test]
fn adv_a05_a_certificate_for_another_key_is_refused() {
    let other = || SigningKey::new(AkAlg::EcdsaP256).unique();
    refused!(
        changed(|d| d.iak.unique = other()),
        DevidError::OtherKey { of: DevidKey::Iak }
    );
    refused!(
        changed(|d| d.idevid.unique = other()),
        DevidError::OtherKey {
            of: DevidKey::Idevid
        }
    );
}

#[test]
fn an_idevid_of_another_product_is_refused() {
    refused!(
        changed(|d| d.idevid_spec.subject = subject(&["GW-0002"])),
        DevidError::OtherDevice { iak, idevid } if iak == SERIAL && idevid == "GW-0002"
    );
}

/// The same names, and another key: only the signature tells OEMs apart.
#[test]
fn an_iak_of_an_oem_that_is_not_trusted_is_refused() {
    let device = Device::new();
    let other = Oem::new("other");
    refused!(
        device.endorse_by(&other.anchors()),
        DevidError::Certificate {
            of: DevidKey::Iak,
            source: EndorsementError::BadSignature
        }
    );
    refused!(device.endorse_by(&OemAnchors::default()), DevidError::NoOem);
    let endorsed = device
        .endorse_by(&trusting(&[&other, &device.oem]))
        .unwrap();
    assert_eq!(endorsed.oem().as_str(), OEM);
}

#[test]
fn an_idevid_of_another_oem_is_refused_though_both_are_trusted() {
    let device = Device::new();
    let other = Oem::new("other");
    let claimed = ClaimedDevid::parse(
        &device.iak.encode(),
        &device.oem.chain(&device.iak_spec),
        &device.idevid.encode(),
        &other.certify(DevidKey::Idevid, &device.idevid),
    );
    let both = trusting(&[&device.oem, &other]);
    refused!(
        both.endorse(claimed.unwrap(), ek(&ecc_ek()), &Rules::default(), NOW),
        DevidError::OtherOem { iak, .. } if iak.as_str() == OEM
    );
}

#[test]
fn a_tpm_vendors_root_endorses_no_iak() {
    let device = Device::new();
    let vendor = pki::Vendor::new();
    let cas = OemCas::new(vec![vendor.root.clone()], Vec::new()).unwrap();
    let oems = BTreeMap::from([(OemName::parse(OEM).unwrap(), cas)]);
    refused!(
        device.endorse_by(&OemAnchors::new(oems)),
        DevidError::Certificate {
            source: EndorsementError::UnknownIssuer(_),
            ..
        }
    );
}

#[test]
fn names_of_oems_are_inert() {
    for good in ["acme", "0", "a.b_c-d"] {
        assert_eq!(OemName::parse(good).unwrap().as_str(), good);
    }
    for bad in ["", "Acme", "-a", "a b", "\u{430}cme", &"a".repeat(65)] {
        refused!(OemName::parse(bad), DevidError::NotAnOemName);
    }
}

/// The corpus' IAK and IDevID (Keylime's test data after HPE's profile) chain
/// to their CA and to no other. As DevIDs they are refused, each for what it
/// lacks: they say serverAuth, and their subjects have no serial number.
#[test]
fn corpus_idevid_and_iak_chain_to_their_ca_and_to_no_other() {
    use rustls_pki_types::{CertificateDer, pem::PemObject as _};
    const SERVER_AUTH: &[u8] = &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
    let Some(dir) = crate::verification::tests::corpus::corpus("idevid/keylime__keylime") else {
        return;
    };
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
    let cas: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(&read("iak_idevid_chain.pem"))
        .map(|der| der.unwrap().to_vec())
        .collect();
    let anchors = OemCas::new(cas, Vec::new()).unwrap();
    let vendor = OemCas::new(vec![pki::Vendor::new().root], Vec::new()).unwrap();
    // 2025-01-01: both end in May 2026.
    let then = crate::time::UnixTime::from_seconds(1_735_689_600);
    for (name, of) in [("iak.der", DevidKey::Iak), ("idevid.der", DevidKey::Idevid)] {
        let der = read(name);
        let chain = path::DevidChain::parse(std::slice::from_ref(&der)).unwrap();
        anchors.verify(&chain, SERVER_AUTH, then).unwrap();
        refused!(
            vendor.verify(&chain, SERVER_AUTH, then),
            EndorsementError::UnknownIssuer(_)
        );
        refused!(
            anchors.verify(&chain, SERVER_AUTH, NOW),
            EndorsementError::Expired { .. }
        );
        let leaf = crate::endorsement::certificate::Certificate::parse(&der, 0).unwrap();
        refused!(
            DevidNames::read(&leaf, of),
            DevidError::SerialNumber { of: got } if got == of
        );
    }
}

/// Of the root, and of a CA below it that is in no import but comes along.
#[test]
fn a_withdrawn_ca_endorses_nobody_and_its_gateways_stand_no_more() {
    use crate::endorsement::{CertificateFacts, FindingCode, Leniencies};
    let device = Device::new();
    let facts = device.endorse().unwrap().facts().clone();
    let paths = facts.devid.as_ref().unwrap();
    assert_eq!((paths.iak_path.len(), paths.idevid_path.len()), (3, 3));
    let key = |der: &[u8]| {
        let facts = CertificateFacts::parse(der, &Leniencies::default());
        facts.unwrap().key_sha256
    };
    let without = |keys: &[[u8; 32]]| {
        let cas = OemCas::new(vec![device.oem.root.clone()], Vec::new()).unwrap();
        let cas = cas.without(keys.iter().copied().collect());
        OemAnchors::new(BTreeMap::from([(OemName::parse(OEM).unwrap(), cas)]))
    };
    let codes = |oems: &OemAnchors, facts: &TpmFacts| -> Vec<FindingCode> {
        oems.findings(facts).iter().map(|f| f.code).collect()
    };
    let good = without(&[[7; 32]]);
    let _ = device.endorse_by(&good).unwrap();
    assert_eq!(codes(&good, &facts), []);
    for der in [&device.oem.root, &device.oem.issuing] {
        let oems = without(&[key(der)]);
        assert!(device.endorse_by(&oems).is_err());
        assert_eq!(codes(&oems, &facts), [FindingCode::OemWithdrawn]);
    }
    assert_eq!(
        codes(&OemAnchors::default(), &facts),
        [FindingCode::OemWithdrawn]
    );
    // Another OEM of that name: its root is not the one of the record.
    assert_eq!(
        codes(&Oem::new(OEM).anchors(), &facts),
        [FindingCode::OemWithdrawn]
    );
    // Of an old record the path is not known: good until something is withdrawn.
    let mut old = facts.clone();
    let devid = old.devid.as_mut().unwrap();
    (devid.iak_path, devid.idevid_path) = (Vec::new(), Vec::new());
    assert_eq!(codes(&device.oem.anchors(), &old), []);
    assert_eq!(codes(&good, &old), [FindingCode::OemWithdrawn]);
    old.devid = None;
    assert_eq!(codes(&OemAnchors::default(), &old), []);
}
