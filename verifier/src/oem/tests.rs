//! The OEM's desk with TPMs in memory: the good run, and the same with one
//! thing changed. Every refusal is the exact variant.

use std::path::PathBuf;

use holdfast_proto::{
    devid_challenge::{DevidAnswer, DevidChallenge},
    idevid_csr::{CsrError, IdevidCsr, SignedIdevidCsr},
    tpm::{
        Attest, Attested, HashAlg, ObjectAttributes, Public, Signature,
        devid::{DevidKey, DevidTemplate, DevidUnique},
        templates::AkAlg,
    },
};
use ring::rand::SystemRandom;
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::*;
use crate::{
    endorsement::{
        Anchors, EndorsementError,
        devid::tests::public,
        tests::pki::{NOW, Vendor},
    },
    identity::{DevidSubjectError, pem},
    time::UnixTime,
    verification::{
        KeyFault, VerificationError,
        tests::soft_tpm::{SigningKey, SoftTpm},
    },
};

/// A device in the factory: a TPM in memory with an EK certificate.
struct Device {
    tpm: SoftTpm,
    idevid_key: SigningKey,
    idevid: Public,
    ek_certificate: Vec<u8>,
    serial: &'static str,
}

impl Device {
    fn new(vendor: &Vendor) -> Self {
        Self::of(
            vendor,
            AkAlg::EcdsaP256,
            AkAlg::EcdsaP256,
            DevidTemplate::H2,
        )
    }

    fn of(vendor: &Vendor, iak: AkAlg, idevid: AkAlg, template: DevidTemplate) -> Self {
        let mut tpm = SoftTpm::new(iak);
        let area = |key, unique| Public {
            unique,
            ..template.public(key, DevidUnique::LabelInX)
        };
        tpm.ak_public = area(DevidKey::Iak, tpm.ak.unique());
        let idevid_key = SigningKey::new(idevid);
        let [leaf, ..] = vendor
            .certify(&tpm.ek_public)
            .try_into()
            .unwrap_or_else(|chain: Vec<Vec<u8>>| [chain.first().unwrap().clone(), Vec::new()]);
        Self {
            idevid: area(DevidKey::Idevid, idevid_key.unique()),
            idevid_key,
            ek_certificate: leaf,
            tpm,
            serial: "GW-0001",
        }
    }

    fn csr(&self) -> IdevidCsr {
        let certified = self.tpm.certify_primary(&[7; 32], self.idevid.name());
        IdevidCsr {
            hash: HashAlg::Sha256,
            product_model: b"GW-100".to_vec(),
            product_serial: self.serial.as_bytes().to_vec(),
            ca_data: Vec::new(),
            boot_event_log: Vec::new(),
            ek_certificate: self.ek_certificate.clone(),
            attest_public: self.tpm.ak_public.encode_tpm2b(),
            attest_creation_ticket: Vec::new(),
            attest_certify_info: Vec::new(),
            attest_certify_signature: Vec::new(),
            signing_public: self.idevid.encode(),
            signing_certify_info: certified.attest,
            signing_certify_signature: certified.signature,
        }
    }

    fn sign(&self, csr: IdevidCsr) -> Vec<u8> {
        let signature = self.idevid_key.sign(&csr.encode()).encode();
        SignedIdevidCsr::new(csr, signature).encode()
    }

    fn request(&self) -> Vec<u8> {
        self.sign(self.csr())
    }

    /// A request with one thing changed, and signed all the same.
    fn changed(&self, change: impl FnOnce(&mut IdevidCsr)) -> Vec<u8> {
        let mut csr = self.csr();
        change(&mut csr);
        self.sign(csr)
    }

    fn answer(&self, challenge: &DevidChallenge) -> Option<Vec<u8>> {
        let secret = self
            .tpm
            .activate(&challenge.id_object, &challenge.encrypted_secret)?;
        let answer = DevidAnswer {
            csr_sha256: challenge.csr_sha256,
            secret: Zeroizing::new(secret.try_into().ok()?),
        };
        Some(answer.encode().as_bytes().to_vec())
    }
}

/// Root and intermediate, as an OEM imports them: requests bring the leaf alone.
fn anchors(vendor: &Vendor) -> Anchors {
    Anchors::new(vec![vendor.root.clone()], vec![vendor.issuing.clone()]).unwrap()
}

fn check(request: &[u8], vendor: &Vendor) -> Result<CheckedCsr, CsrRefusal> {
    CheckedCsr::check(request, &anchors(vendor), NOW)
}

macro_rules! refused {
    ($outcome:expr, $pattern:pat $(if $guard:expr)?) => {
        match $outcome {
            Err($pattern) $(if $guard)? => {}
            other => panic!("{other:?}"),
        }
    };
}

fn without(all: ObjectAttributes, one: ObjectAttributes) -> ObjectAttributes {
    ObjectAttributes::from_bits(all.bits() & !one.bits())
}

/// An OEM's directory on disk.
struct Factory {
    _folder: TempDir,
    dir: PathBuf,
    vendor: Vendor,
    desk: Desk,
}

impl Factory {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("oem");
        let vendor = Vendor::new();
        let file = [&vendor.root, &vendor.issuing]
            .map(|der| pem::encode("CERTIFICATE", der))
            .concat();
        NewDesk {
            organization: "Acme",
            vendors: &[file.into_bytes()],
            passphrase: None,
            root_dir: None,
        }
        .make(&dir, NOW, &SystemRandom::new())
        .unwrap();
        let desk = Desk::open(&dir).unwrap();
        Self {
            _folder: folder,
            dir,
            vendor,
            desk,
        }
    }

    fn challenge(&self, request: &[u8]) -> Result<DevidChallenge, DeskError> {
        self.desk
            .challenge(request, NOW, &SystemRandom::new())
            .map(|(_, challenge)| challenge)
    }

    fn issue(&self, request: &[u8], answer: &[u8]) -> Result<LedgerEntry, DeskError> {
        self.issue_at(request, answer, false, NOW)
    }

    fn issue_at(
        &self,
        request: &[u8],
        answer: &[u8],
        replace: bool,
        now: UnixTime,
    ) -> Result<LedgerEntry, DeskError> {
        let rng = SystemRandom::new();
        self.desk.issue(request, answer, replace, None, now, &rng)
    }

    /// The whole road.
    fn serve(&self, device: &Device, replace: bool) -> Result<LedgerEntry, DeskError> {
        let request = device.request();
        let answer = device.answer(&self.challenge(&request)?).unwrap();
        self.issue_at(&request, &answer, replace, NOW)
    }
}

#[test]
fn a_device_that_answers_gets_both_certificates_on_record() {
    let factory = Factory::new();
    let device = Device::new(&factory.vendor);
    let entry = factory.serve(&device, false).unwrap();
    assert_eq!(entry.serial, "GW-0001");
    assert_eq!(entry.model, "GW-100");
    let ledger = factory.desk.ledger().unwrap();
    assert_eq!(ledger.entries(), std::slice::from_ref(&entry));
    assert!(!format!("{entry:?}").is_empty());
}

#[test]
fn each_kind_of_key_is_served() {
    for (iak, idevid, template) in [
        (AkAlg::EcdsaP256, AkAlg::EcdsaP256, DevidTemplate::H2),
        (AkAlg::EcdsaP384, AkAlg::EcdsaP384, DevidTemplate::H3),
        (AkAlg::RsaPss2048, AkAlg::RsaPss2048, DevidTemplate::H1),
        (AkAlg::Rsa2048, AkAlg::Rsa2048, DevidTemplate::H1Ssa),
    ] {
        let vendor = Vendor::new();
        let device = Device::of(&vendor, iak, idevid, template);
        if matches!(template, DevidTemplate::H1 | DevidTemplate::H1Ssa) {
            // IAK and IDevID are one key in memory: no TPM does that, and the
            // checks do not care.
            assert_eq!(device.idevid.unique, device.tpm.ak_public.unique);
        }
        let checked = check(&device.request(), &vendor);
        assert!(checked.is_ok(), "{template:?}: {checked:?}");
    }
}

#[test]
fn form_digest_and_names_are_checked() {
    let vendor = Vendor::new();
    let device = Device::new(&vendor);
    let mut request = device.request();
    let at = request.len() / 2;
    request[at] ^= 1;
    refused!(check(&request, &vendor), CsrRefusal::Form(CsrError::Digest));
    refused!(
        check(b"nothing", &vendor),
        CsrRefusal::Form(CsrError::Version { .. })
    );
    for serial in [
        &b""[..],
        b"GW_1",
        b"GW\n1",
        b" GW1",
        b"GW\xD0\x90",
        &[b'A'; 65],
    ] {
        let request = device.changed(|csr| csr.product_serial = serial.to_vec());
        refused!(
            check(&request, &vendor),
            CsrRefusal::Subject(DevidSubjectError::Serial(_))
        );
    }
    for model in [&b""[..], b"GW\x1b[2J", &[b'A'; 65]] {
        let request = device.changed(|csr| csr.product_model = model.to_vec());
        refused!(
            check(&request, &vendor),
            CsrRefusal::Subject(DevidSubjectError::Model(_))
        );
    }
}

/// Template, attributes and policy are exactly the standard's.
#[test]
fn both_areas_are_exactly_a_template() {
    let vendor = Vendor::new();
    let mut device = Device::new(&vendor);
    type Change = fn(&mut Public);
    let changes: [Change; 5] = [
        |p| p.attributes = without(p.attributes, ObjectAttributes::FIXED_TPM),
        |p| p.attributes = without(p.attributes, ObjectAttributes::SENSITIVE_DATA_ORIGIN),
        |p| p.attributes = p.attributes.union(ObjectAttributes::DECRYPT),
        |p| p.auth_policy = vec![0; 32],
        |p| p.auth_policy = Vec::new(),
    ];
    for change in changes {
        let good = device.tpm.ak_public.clone();
        change(&mut device.tpm.ak_public);
        refused!(check(&device.request(), &vendor), CsrRefusal::NotATemplate);
        device.tpm.ak_public = good;

        let good = device.idevid.clone();
        change(&mut device.idevid);
        refused!(
            check(&device.request(), &vendor),
            CsrRefusal::Key(VerificationError::IdevidKey(KeyFault::Template))
        );
        device.idevid = good;
    }
    // An IAK that is not restricted is an IDevID, and the other way round.
    let (iak, idevid) = (device.tpm.ak_public.clone(), device.idevid.clone());
    device.tpm.ak_public = public(DevidKey::Idevid, iak.unique);
    refused!(check(&device.request(), &vendor), CsrRefusal::NotATemplate);
    device.tpm.ak_public = public(DevidKey::Iak, device.tpm.ak.unique());
    device.idevid = public(DevidKey::Iak, idevid.unique);
    refused!(
        check(&device.request(), &vendor),
        CsrRefusal::Key(VerificationError::IdevidKey(KeyFault::Template))
    );
    let request = device.changed(|csr| csr.attest_public = vec![0, 0x23]);
    refused!(
        check(&request, &vendor),
        CsrRefusal::Area {
            of: DevidKey::Iak,
            ..
        }
    );
}

#[test]
fn the_request_is_signed_by_its_idevid_key() {
    let vendor = Vendor::new();
    let device = Device::new(&vendor);
    let other = SigningKey::new(AkAlg::EcdsaP256);
    let csr = device.csr();
    let signed = |signature: Vec<u8>| SignedIdevidCsr::new(device.csr(), signature).encode();
    refused!(
        check(&signed(other.sign(&csr.encode()).encode()), &vendor),
        CsrRefusal::Signature(_)
    );
    // By the IAK, as the flow without an IDevID has it.
    refused!(
        check(&signed(device.tpm.ak.sign(&csr.encode()).encode()), &vendor),
        CsrRefusal::Signature(_)
    );
    refused!(
        check(&signed(vec![1, 2, 3]), &vendor),
        CsrRefusal::SignatureForm(_)
    );
}

#[test]
fn the_iak_certifies_the_idevid_key() {
    let vendor = Vendor::new();
    let device = Device::new(&vendor);
    let spoilt = |spoil: &dyn Fn(&mut Attest)| {
        device.changed(|csr| {
            let mut attest = Attest::parse(&csr.signing_certify_info).unwrap();
            spoil(&mut attest);
            csr.signing_certify_info = attest.encode();
            csr.signing_certify_signature = device.tpm.ak.sign(&attest.encode()).encode();
        })
    };
    let rename = |new: &Public| {
        spoilt(&|attest| {
            if let Attested::Certify { name, .. } = &mut attest.attested {
                *name = new.name();
            }
        })
    };
    refused!(
        check(&rename(&device.tpm.ak_public), &vendor),
        CsrRefusal::Key(VerificationError::CertifyName)
    );
    // A child of some other key is none of the endorsement hierarchy's own.
    let elsewhere = spoilt(&|attest| {
        if let Attested::Certify {
            name,
            qualified_name,
        } = &mut attest.attested
        {
            *qualified_name = name.clone();
        }
    });
    refused!(
        check(&elsewhere, &vendor),
        CsrRefusal::Key(VerificationError::CertifyQualifiedName)
    );
    let signer = spoilt(&|attest| attest.qualified_signer = device.idevid.name().as_bytes().into());
    refused!(
        check(&signer, &vendor),
        CsrRefusal::Key(VerificationError::SignersDiffer)
    );
    let quote = spoilt(&|attest| {
        attest.attested = Attested::Quote {
            selection: Vec::new(),
            pcr_digest: Vec::new(),
        };
    });
    refused!(
        check(&quote, &vendor),
        CsrRefusal::Key(VerificationError::NotACertify)
    );
    let forged = device.changed(|csr| {
        csr.signing_certify_signature = device.idevid_key.sign(&csr.signing_certify_info).encode();
    });
    refused!(
        check(&forged, &vendor),
        CsrRefusal::Key(VerificationError::CertifySignature(_))
    );
}

#[test]
fn the_ek_certificate_leads_to_a_vendor_of_the_oems() {
    let vendor = Vendor::new();
    let device = Device::new(&vendor);
    refused!(
        check(&device.request(), &Vendor::new()),
        CsrRefusal::Ek(EndorsementError::UnknownIssuer(_) | EndorsementError::BadSignature)
    );
    let none = device.changed(|csr| csr.ek_certificate = Vec::new());
    refused!(check(&none, &vendor), CsrRefusal::Ek(_));
    let mut expired = vendor.spec(&device.tpm.ek_public);
    expired.not_after = "240201000000Z";
    let expired = expired.sign(&vendor.issuing_key);
    let request = device.changed(|csr| csr.ek_certificate = expired);
    refused!(
        check(&request, &vendor),
        CsrRefusal::Ek(EndorsementError::Expired { .. })
    );
    // A certificate of the OEM's own is no EK's.
    let mut wrong = vendor.spec(&device.tpm.ek_public);
    wrong.spki = vendor.issuing_key.spki();
    let usage = wrong.replace(crate::endorsement::tests::pki::EKU, None);
    let request = device.changed(|csr| csr.ek_certificate = usage.sign(&vendor.issuing_key));
    refused!(check(&request, &vendor), CsrRefusal::Ek(_));
}

/// A05 at the factory: keys of one TPM with the EK certificate of another. The
/// request looks sound; neither TPM finds the secret.
#[test]
fn adv_a05_a_request_of_one_tpm_with_the_ek_of_another_is_never_answered() {
    let factory = Factory::new();
    let (a, b) = (Device::new(&factory.vendor), Device::new(&factory.vendor));
    let request = a.changed(|csr| csr.ek_certificate = b.ek_certificate.clone());
    let challenge = factory.challenge(&request).unwrap();
    assert!(a.answer(&challenge).is_none(), "A has not B's EK");
    assert!(b.answer(&challenge).is_none(), "B has not A's IAK");
    let guess = DevidAnswer {
        csr_sha256: challenge.csr_sha256,
        secret: Zeroizing::new([0; 32]),
    };
    refused!(
        factory.issue(&request, guess.encode().as_bytes()),
        DeskError::Refused(CsrRefusal::WrongSecret)
    );
    assert!(factory.desk.ledger().unwrap().entries().is_empty());
}

#[test]
fn a_wrong_late_or_foreign_answer_gets_nothing_and_a_right_one_still_does() {
    let factory = Factory::new();
    let device = Device::new(&factory.vendor);
    let request = device.request();
    refused!(
        factory.issue(
            &request,
            device
                .answer(&factory.challenge(&device.request()).unwrap())
                .unwrap()
                .as_slice()
        ),
        DeskError::NoChallenge(_)
    );
    let first = device
        .answer(&factory.challenge(&request).unwrap())
        .unwrap();
    // A new challenge for the same request: the old one counts no more.
    let second = device
        .answer(&factory.challenge(&request).unwrap())
        .unwrap();
    refused!(
        factory.issue(&request, &first),
        DeskError::Refused(CsrRefusal::WrongSecret)
    );
    let late = NOW.plus(CHALLENGE_SECONDS);
    refused!(
        factory.issue_at(&request, &second, false, late),
        DeskError::Refused(CsrRefusal::Late { .. })
    );
    let mut foreign = DevidAnswer::parse(&second).unwrap();
    foreign.csr_sha256 = [9; 32];
    refused!(
        factory.issue(&request, foreign.encode().as_bytes()),
        DeskError::Refused(CsrRefusal::OtherRequest { .. })
    );
    refused!(factory.issue(&request, b"{}"), DeskError::Answer(_));
    factory.issue(&request, &second).unwrap();
}

/// The same request and answer again: after a crash the same certificates,
/// and never new ones; the request alone gets nothing without its TPM.
#[test]
fn adv_a01_a_replayed_request_gets_what_is_on_record_or_nothing() {
    let factory = Factory::new();
    let device = Device::new(&factory.vendor);
    let request = device.request();
    let answer = device
        .answer(&factory.challenge(&request).unwrap())
        .unwrap();
    let entry = factory.issue(&request, &answer).unwrap();
    assert_eq!(factory.issue(&request, &answer).unwrap(), entry);
    assert_eq!(factory.desk.ledger().unwrap().entries().len(), 1);
    // The request by somebody without the TPM: the old answer is to the old
    // challenge.
    let challenge = factory.challenge(&request).unwrap();
    let mut guess = DevidAnswer::parse(&answer).unwrap();
    guess.secret[0] ^= 1;
    assert_eq!(challenge.csr_sha256, guess.csr_sha256);
    refused!(
        factory.issue(&request, guess.encode().as_bytes()),
        DeskError::Refused(CsrRefusal::WrongSecret)
    );
}

#[test]
fn one_product_has_one_set_of_keys_unless_replaced() {
    let factory = Factory::new();
    let first = Device::new(&factory.vendor);
    factory.serve(&first, false).unwrap();
    // The same keys once more: a certificate was lost.
    factory.serve(&first, false).unwrap();

    let second = Device::new(&factory.vendor);
    refused!(
        factory.serve(&second, false),
        DeskError::Ledger(LedgerError::OtherKeys { .. })
    );
    let mut renamed = Device::new(&factory.vendor);
    renamed.tpm = first.tpm;
    renamed.ek_certificate = first.ek_certificate.clone();
    renamed.serial = "GW-0002";
    refused!(
        factory.serve(&renamed, false),
        DeskError::Ledger(LedgerError::OtherProduct { what: "IAK", .. })
    );
    // Another IAK of the same TPM, by another template or convention.
    renamed.tpm.ak = SigningKey::new(AkAlg::EcdsaP256);
    renamed.tpm.ak_public = public(DevidKey::Iak, renamed.tpm.ak.unique());
    refused!(
        factory.serve(&renamed, false),
        DeskError::Ledger(LedgerError::OtherProduct {
            what: "TPM (EK)",
            ..
        })
    );
    let replaced = factory.serve(&second, true).unwrap();
    assert!(replaced.replace);
    // From now on the second is GW-0001.
    factory.serve(&second, false).unwrap();
    assert_eq!(factory.desk.ledger().unwrap().entries().len(), 4);
}

#[test]
fn a_ledger_cut_off_in_its_last_line_goes_on_and_a_damaged_one_stops_all() {
    use std::io::Write as _;
    let factory = Factory::new();
    factory.serve(&Device::new(&factory.vendor), false).unwrap();
    let path = factory.dir.join("ledger.jsonl");
    let good = std::fs::read(&path).unwrap();
    let append = |bytes: &[u8]| {
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(bytes)
            .unwrap();
    };
    append(&good[..good.len() / 2]);
    let mut other = Device::new(&factory.vendor);
    other.serial = "GW-0002";
    factory.serve(&other, false).unwrap();
    assert_eq!(factory.desk.ledger().unwrap().entries().len(), 2);
    append(b"{}\n");
    other.serial = "GW-0003";
    refused!(
        factory.serve(&other, false),
        DeskError::Ledger(LedgerError::Damaged { line: 3, .. })
    );
}

#[test]
fn the_directory_is_one_process_alone_and_its_keys_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let factory = Factory::new();
    refused!(Desk::open(&factory.dir), DeskError::Home(_));
    let dir = factory.dir.clone();
    drop(factory.desk);
    let key = dir.join("oem-device-ca.key.pem");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused!(Desk::open(&dir), DeskError::Home(_));
}

#[test]
fn signatures_of_another_scheme_are_refused() {
    let vendor = Vendor::new();
    let device = Device::new(&vendor);
    let csr = device.csr();
    let Signature::Ecdsa { r, s, .. } = device.idevid_key.sign(&csr.encode()) else {
        unreachable!("an EC key")
    };
    let wrong = Signature::Ecdsa {
        hash: HashAlg::Sha384,
        r,
        s,
    };
    refused!(
        check(&SignedIdevidCsr::new(csr, wrong.encode()).encode(), &vendor),
        CsrRefusal::Signature(_)
    );
}
