//! The lint: is a prepared certificate what the profile promises? As boulder
//! does it, the to-be-signed part is signed with a throw-away key and the
//! whole certificate is read back, by decoders that share no code with the
//! encoder, before the CA's key is touched.

use holdfast_proto::binding::Ueid;
use picky_asn1::wrapper::{Asn1SequenceOf, ObjectIdentifierAsn1, OctetStringAsn1};
use picky_asn1_x509::{
    Certificate, DirectoryString, Extension, ExtensionView, GeneralName, KeyUsage, Name, PublicKey,
    SubjectPublicKeyInfo, validity::Time,
};
use ring::rand::SecureRandom;
use rustls_pki_types::{CertificateDer, Der, SignatureVerificationAlgorithm, TrustAnchor};
use serde::Deserialize;
use time::{Date, Month};
use webpki::{EndEntityCert, ring::ECDSA_P256_SHA256};

use super::{
    IdentityError,
    certificate::{self as x509, SERIAL_OCTETS},
    der, oid,
    profile::{
        BACKDATE_SECONDS, MAX_NAME_CHARS, MAX_VALIDITY_SECONDS, common_name, subject_serial_number,
    },
    signer::{CaSigner as _, FileSigner, generate_pkcs8},
};
use crate::{endorsement::ShownCertificate, time::UnixTime};

/// The rule that a prepared certificate breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LintError {
    /// A decoder does not read it.
    #[error("it does not decode: {0}")]
    Unreadable(String),
    /// Positive, 64 to 128 bits (802.1AR §8.2; RFC 5280 §4.1.2.2).
    #[error("serial number of {0} octets, or not positive")]
    SerialNumber(usize),
    /// RFC 5280 §4.1.2.3: ecdsa-with-SHA256.
    #[error("the signature algorithm is not ecdsa-with-SHA256")]
    SignatureAlgorithm,
    /// RFC 5280 §4.1.2.4.
    #[error("the issuer is not the CA's subject")]
    Issuer,
    /// Other times than asked for, too long, or not within the CA's.
    #[error("validity {not_before} to {not_after}")]
    Validity {
        /// As read back.
        not_before: UnixTime,
        /// As read back.
        not_after: UnixTime,
    },
    /// 802.1AR §8.6: serialNumber of the gateway, then the common name.
    #[error("the subject is not the gateway's")]
    Subject,
    /// The key is not, byte for byte, the one in the grant.
    #[error("the subject key is not the granted one")]
    SubjectKey,
    /// Not P-256, P-384, or RSA of at least 2048 bits.
    #[error("the subject key is of a kind that is not issued to")]
    WeakKey,
    /// An extension that the profile does not have.
    #[error("extension {0} is not in the profile")]
    UnexpectedExtension(String),
    /// RFC 5280 §4.2.
    #[error("extension {0} occurs twice")]
    DuplicateExtension(String),
    /// An extension that the profile has.
    #[error("extension {0} is missing")]
    MissingExtension(String),
    /// Critical where it must not be, or the reverse.
    #[error("extension {0} has the wrong criticality")]
    Criticality(String),
    /// digitalSignature and nothing else.
    #[error("keyUsage is not exactly digitalSignature")]
    KeyUsage,
    /// clientAuth and nothing else.
    #[error("extKeyUsage is not exactly clientAuth")]
    ExtendedKeyUsage,
    /// The two TCG residency policies, without qualifiers.
    #[error("certificatePolicies are not the TCG residency policies")]
    Policies,
    /// HardwareModuleName of the TPM, then the SPIFFE ID where there is one.
    #[error("subjectAltName is not the gateway's")]
    SubjectAltName,
    /// keyIdentifier of the CA, and nothing else.
    #[error("authorityKeyIdentifier is not the CA's")]
    AuthorityKeyIdentifier,
    /// rustls-webpki builds no path for TLS client authentication.
    #[error("no path to the CA: {0}")]
    Path(String),
    /// It verifies after its end.
    #[error("the certificate outlives its notAfter")]
    Outlives,
}

/// The issuing CA as its certificate states it.
#[derive(Debug)]
pub(super) struct CaFacts {
    pub(super) der: Vec<u8>,
    /// DER `Name`.
    pub(super) subject: Vec<u8>,
    /// DER SubjectPublicKeyInfo.
    pub(super) spki: Vec<u8>,
    pub(super) key_identifier: Vec<u8>,
    pub(super) not_before: UnixTime,
    pub(super) not_after: UnixTime,
}

impl CaFacts {
    /// Only a certificate that may sign certificates, and names its key.
    pub(super) fn parse(der: &[u8]) -> Result<Self, IdentityError> {
        let bad = IdentityError::BadCaCertificate;
        if !ShownCertificate::is_safe_to_decode(der) {
            return Err(bad("it does not decode"));
        }
        let certificate: Certificate =
            picky_asn1_der::from_bytes(der).map_err(|_| bad("it does not decode"))?;
        // webpki refuses trailing bytes, which picky does not see, and hands
        // out the subject as it is written.
        let whole = CertificateDer::from(der);
        let anchor =
            webpki::anchor_from_trusted_cert(&whole).map_err(|_| bad("it does not decode"))?;
        let constraints = certificate
            .basic_constraints()
            .ok_or(bad("no basicConstraints"))?;
        if constraints.ca() != Some(true) {
            return Err(bad("basicConstraints does not say CA"));
        }
        let may_sign = certificate.extensions().iter().any(|extension| {
            matches!(extension.extn_value(), ExtensionView::KeyUsage(usage) if usage.key_cert_sign())
        });
        if !may_sign {
            return Err(bad("keyUsage does not allow keyCertSign"));
        }
        let key_identifier = certificate
            .subject_key_identifier()
            .ok_or(bad("no subjectKeyIdentifier"))?
            .to_vec();
        let validity = &certificate.tbs_certificate.validity;
        let time = |time| unix_time(time).ok_or(bad("validity does not decode"));
        Ok(Self {
            subject: der::sequence(&[anchor.subject.as_ref()]),
            spki: der::sequence(&[anchor.subject_public_key_info.as_ref()]),
            key_identifier,
            not_before: time(&validity.not_before)?,
            not_after: time(&validity.not_after)?,
            der: der.to_vec(),
        })
    }
}

/// What the certificate must say.
#[derive(Clone, Debug)]
pub(super) struct Expectation {
    pub(super) gateway: Ueid,
    pub(super) hardware_serial: String,
    pub(super) spiffe_id: Option<String>,
    /// DER SubjectPublicKeyInfo, from the grant.
    pub(super) subject_spki: Vec<u8>,
    pub(super) now: UnixTime,
    pub(super) not_before: UnixTime,
    pub(super) not_after: UnixTime,
}

/// Signs `to_be_signed` with a throw-away key and reads the result back.
pub(super) fn lint(
    to_be_signed: &[u8],
    ca: &CaFacts,
    expected: &Expectation,
    rng: &dyn SecureRandom,
) -> Result<(), IdentityError> {
    let throw_away = FileSigner::from_pkcs8(&generate_pkcs8(rng)?)?;
    let der = x509::sign(to_be_signed, &throw_away)?;
    let certificate: Certificate = picky_asn1_der::from_bytes(&der)
        .map_err(|error| LintError::Unreadable(error.to_string()))?;
    fields(&certificate, ca, expected)?;
    subject_key(&certificate, expected)?;
    extensions(&certificate, ca, expected)?;
    path(&der, throw_away.public_point(), ca, expected)?;
    Ok(())
}

pub(super) fn fields(
    certificate: &Certificate,
    ca: &CaFacts,
    expected: &Expectation,
) -> Result<(), LintError> {
    let tbs = &certificate.tbs_certificate;
    // Version: the decoder takes extensions in version 3 only, and the profile
    // has some.
    let serial = tbs.serial_number.as_signed_bytes_be();
    let octets = tbs.serial_number.as_unsigned_bytes_be().len();
    if serial.first().is_none_or(|&byte| byte >= 0x80) || !(8..=SERIAL_OCTETS).contains(&octets) {
        return Err(LintError::SerialNumber(octets));
    }
    let algorithm = oid::dotted(oid::ECDSA_WITH_SHA256);
    let is_ours = |found: &picky_asn1_x509::AlgorithmIdentifier| {
        let found: String = found.oid().into();
        found == algorithm
    };
    if !is_ours(&tbs.signature) || !is_ours(&certificate.signature_algorithm) {
        return Err(LintError::SignatureAlgorithm);
    }
    let ca_subject: Name = picky_asn1_der::from_bytes(&ca.subject)
        .map_err(|error| LintError::Unreadable(error.to_string()))?;
    if tbs.issuer != ca_subject {
        return Err(LintError::Issuer);
    }
    let time = |time| unix_time(time).ok_or_else(|| LintError::Unreadable("validity".to_owned()));
    let (not_before, not_after) = (
        time(&tbs.validity.not_before)?,
        time(&tbs.validity.not_after)?,
    );
    let longest = not_before.plus(MAX_VALIDITY_SECONDS.saturating_add(BACKDATE_SECONDS));
    let as_asked = not_before == expected.not_before && not_after == expected.not_after;
    let in_order = not_before <= expected.now && expected.now < not_after && not_after <= longest;
    if !as_asked || !in_order || not_before < ca.not_before || not_after > ca.not_after {
        return Err(LintError::Validity {
            not_before,
            not_after,
        });
    }
    if subject_of(&tbs.subject)
        != Some((
            subject_serial_number(&expected.gateway),
            common_name(&expected.gateway),
        ))
    {
        return Err(LintError::Subject);
    }
    Ok(())
}

/// (serialNumber, commonName) of a name that has just these two, each alone
/// in its RDN and within its upper bound.
pub(super) fn subject_of(name: &Name) -> Option<(String, String)> {
    use picky_asn1_x509::AttributeTypeAndValueParameters as Value;
    let [serial, common] = name.0.0.as_slice() else {
        return None;
    };
    let ([serial], [common]) = (serial.0.as_slice(), common.0.as_slice()) else {
        return None;
    };
    let Value::SerialNumber(DirectoryString::PrintableString(serial)) = &serial.value else {
        return None;
    };
    let Value::CommonName(DirectoryString::Utf8String(common)) = &common.value else {
        return None;
    };
    let serial = String::from_utf8(serial.as_bytes().to_vec()).ok()?;
    let fits = |text: &str| (1..=MAX_NAME_CHARS).contains(&text.chars().count());
    (fits(&serial) && fits(common)).then(|| (serial, common.clone()))
}

pub(super) fn subject_key(
    certificate: &Certificate,
    expected: &Expectation,
) -> Result<(), LintError> {
    let info = &certificate.tbs_certificate.subject_public_key_info;
    let granted: SubjectPublicKeyInfo = picky_asn1_der::from_bytes(&expected.subject_spki)
        .map_err(|error| LintError::Unreadable(error.to_string()))?;
    if *info != granted {
        return Err(LintError::SubjectKey);
    }
    // Uncompressed point: 0x04, x, y. RSA: 256 octets are 2048 bits; the
    // modulus has no leading zeros and an LDevID's exponent is the TPM's.
    let fits = match &info.subject_public_key {
        PublicKey::Ec(point) => {
            let point = point.0.payload_view();
            point.first() == Some(&4) && matches!(point.len(), 65 | 97)
        }
        PublicKey::Rsa(key) => {
            let exponent = key.public_exponent.as_unsigned_bytes_be();
            key.modulus.as_unsigned_bytes_be().len() >= 256 && exponent == [1, 0, 1]
        }
        _ => false,
    };
    if fits {
        Ok(())
    } else {
        Err(LintError::WeakKey)
    }
}

/// The extensions of the profile, and whether each is critical.
const PROFILE: [(&[u32], bool); 5] = [
    (oid::AUTHORITY_KEY_IDENTIFIER, false),
    (oid::KEY_USAGE, true),
    (oid::EXTENDED_KEY_USAGE, false),
    (oid::CERTIFICATE_POLICIES, false),
    (oid::SUBJECT_ALT_NAME, false),
];

pub(super) fn extensions(
    certificate: &Certificate,
    ca: &CaFacts,
    expected: &Expectation,
) -> Result<(), LintError> {
    let found = certificate.extensions();
    let id = |extension: &Extension| -> String { (&extension.extn_id().0).into() };
    for (position, extension) in found.iter().enumerate() {
        let name = id(extension);
        if found
            .iter()
            .take(position)
            .any(|earlier| id(earlier) == name)
        {
            return Err(LintError::DuplicateExtension(name));
        }
        let Some((_, critical)) = PROFILE.iter().find(|(arcs, _)| oid::dotted(arcs) == name) else {
            return Err(LintError::UnexpectedExtension(name));
        };
        if extension.critical() != *critical {
            return Err(LintError::Criticality(name));
        }
        content(extension, ca, expected)?;
    }
    for (arcs, _) in PROFILE {
        let name = oid::dotted(arcs);
        if !found.iter().any(|extension| id(extension) == name) {
            return Err(LintError::MissingExtension(name));
        }
    }
    Ok(())
}

fn content(extension: &Extension, ca: &CaFacts, expected: &Expectation) -> Result<(), LintError> {
    match extension.extn_value() {
        ExtensionView::KeyUsage(usage) => {
            let mut only = KeyUsage::new(1);
            only.set_digital_signature(true);
            if *usage != only {
                return Err(LintError::KeyUsage);
            }
        }
        ExtensionView::ExtendedKeyUsage(usage) => {
            let purposes: Vec<String> = usage.iter().map(|purpose| (&purpose.0).into()).collect();
            if purposes != [oid::dotted(oid::CLIENT_AUTH)] {
                return Err(LintError::ExtendedKeyUsage);
            }
        }
        ExtensionView::AuthorityKeyIdentifier(id) => {
            let bare =
                id.authority_cert_issuer().is_none() && id.authority_cert_serial_number().is_none();
            if !bare || id.key_identifier() != Some(ca.key_identifier.as_slice()) {
                return Err(LintError::AuthorityKeyIdentifier);
            }
        }
        ExtensionView::SubjectAltName(names) => subject_alt_name(&names.0, expected)?,
        ExtensionView::Generic(value) => policies(&value.0)?,
        _ => {
            return Err(LintError::UnexpectedExtension(
                (&extension.extn_id().0).into(),
            ));
        }
    }
    Ok(())
}

/// certificatePolicies is the only extension of the profile that picky hands
/// out undecoded.
fn policies(value: &[u8]) -> Result<(), LintError> {
    type Policies = Asn1SequenceOf<Asn1SequenceOf<ObjectIdentifierAsn1>>;
    let policies: Policies = picky_asn1_der::from_bytes(value).map_err(|_| LintError::Policies)?;
    let found: Vec<Vec<String>> = policies
        .0
        .iter()
        .map(|info| info.0.iter().map(|part| (&part.0).into()).collect())
        .collect();
    let wanted =
        [oid::VERIFIED_TPM_RESIDENCY, oid::VERIFIED_TPM_FIXED].map(|arcs| vec![oid::dotted(arcs)]);
    if found == wanted {
        Ok(())
    } else {
        Err(LintError::Policies)
    }
}

/// HardwareModuleName (RFC 4108 §5), to be read.
#[derive(Deserialize)]
struct HardwareModuleName {
    hw_type: ObjectIdentifierAsn1,
    hw_serial_num: OctetStringAsn1,
}

fn subject_alt_name(names: &[GeneralName], expected: &Expectation) -> Result<(), LintError> {
    let wanted = (expected.hardware_serial.clone(), expected.spiffe_id.clone());
    if device_names(names) == Some(wanted) {
        Ok(())
    } else {
        Err(LintError::SubjectAltName)
    }
}

/// (hwSerialNum, URI) of names that are one HardwareModuleName of a TPM 2.0
/// and then at most one URI.
pub(super) fn device_names(names: &[GeneralName]) -> Option<(String, Option<String>)> {
    let (module, rest) = names.split_first()?;
    let GeneralName::OtherName(module) = module else {
        return None;
    };
    let kind: String = (&module.type_id.0).into();
    let value: HardwareModuleName = picky_asn1_der::from_bytes(&module.value.0.0).ok()?;
    let hw_type: String = (&value.hw_type.0).into();
    if kind != oid::dotted(oid::HARDWARE_MODULE_NAME) || hw_type != oid::dotted(oid::TPM_2_0) {
        return None;
    }
    let serial = String::from_utf8(value.hw_serial_num.0).ok()?;
    let uri = match rest {
        [] => None,
        [GeneralName::Uri(uri)] => Some(String::from_utf8(uri.as_bytes().to_vec()).ok()?),
        _ => return None,
    };
    Some((serial, uri))
}

/// webpki, as rustls will use it: a path from the leaf to a CA of the same
/// name whose key is the throw-away one, now and not after the end.
fn path(der: &[u8], point: &[u8], ca: &CaFacts, expected: &Expectation) -> Result<(), LintError> {
    let spki = x509::p256_spki_content(point);
    path_to_key(der, Some(spki), ca, expected)
}

/// The same, to the CA itself.
pub(super) fn path_to_ca(
    der: &[u8],
    ca: &CaFacts,
    expected: &Expectation,
) -> Result<(), LintError> {
    path_to_key(der, None, ca, expected)
}

/// `spki` is the content of the key to verify with; none stands for the CA's.
fn path_to_key(
    der: &[u8],
    spki: Option<Vec<u8>>,
    ca: &CaFacts,
    expected: &Expectation,
) -> Result<(), LintError> {
    let der = CertificateDer::from(der);
    let leaf =
        EndEntityCert::try_from(&der).map_err(|error| LintError::Unreadable(error.to_string()))?;
    if leaf.subject_public_key_info().as_ref() != expected.subject_spki {
        return Err(LintError::SubjectKey);
    }
    let ca_der = CertificateDer::from(ca.der.as_slice());
    let real = webpki::anchor_from_trusted_cert(&ca_der)
        .map_err(|error| LintError::Path(error.to_string()))?;
    let anchor = TrustAnchor {
        subject: real.subject,
        subject_public_key_info: match &spki {
            Some(spki) => Der::from(spki.as_slice()),
            None => real.subject_public_key_info,
        },
        name_constraints: real.name_constraints,
    };
    let algorithms: [&dyn SignatureVerificationAlgorithm; 1] = [ECDSA_P256_SHA256];
    let verify = |at: UnixTime| {
        leaf.verify_for_usage(
            &algorithms,
            std::slice::from_ref(&anchor),
            &[],
            at.to_pki(),
            webpki::KeyUsage::client_auth(),
            None,
            None,
        )
        .map(|_| ())
    };
    verify(expected.now).map_err(|error| LintError::Path(error.to_string()))?;
    match verify(expected.not_after.plus(1)) {
        Err(webpki::Error::CertExpired { .. }) => Ok(()),
        _ => Err(LintError::Outlives),
    }
}

fn unix_time(time: &Time) -> Option<UnixTime> {
    let (year, month, day, clock) = match time {
        Time::Utc(at) => (
            at.year(),
            at.month(),
            at.day(),
            (at.hour(), at.minute(), at.second()),
        ),
        Time::Generalized(at) => (
            at.year(),
            at.month(),
            at.day(),
            (at.hour(), at.minute(), at.second()),
        ),
    };
    let date = Date::from_calendar_date(i32::from(year), Month::try_from(month).ok()?, day).ok()?;
    let at = date.with_hms(clock.0, clock.1, clock.2).ok()?.assume_utc();
    Some(UnixTime::from_seconds(at.unix_timestamp()))
}
