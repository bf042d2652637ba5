//! The lint: is a prepared certificate what the profile promises? As boulder
//! does it, the to-be-signed part is signed with a throw-away key and the
//! whole certificate is read back, by decoders that share no code with the
//! encoder, before the CA's key is touched.

mod ca_facts;
mod device_names;
mod error;
mod extensions;
mod path;

use holdfast_proto::binding::Ueid;
use picky_asn1_x509::{
    Certificate, DirectoryString, Name, PublicKey, SubjectPublicKeyInfo, validity::Time,
};
use ring::rand::SecureRandom;
use time::{Date, Month};

pub use self::error::LintError;
use self::path::path_to_key;
pub(super) use self::{
    ca_facts::CaFacts,
    device_names::device_names,
    extensions::{extensions, residency_policies, revocation_urls},
    path::path_to_ca,
};
use super::{
    IdentityError,
    ca_public::{CaCurve, CaPublic},
    certificate::{self as x509, SERIAL_OCTETS},
    oid,
    profile::{
        Additions, BACKDATE_SECONDS, MAX_NAME_CHARS, MAX_VALIDITY_SECONDS, common_name,
        subject_serial_number,
    },
    published::{CrlPart, RevocationUrls},
    signer::{CaSigner as _, FileSigner, generate_pkcs8_on},
};
use crate::time::UnixTime;

/// What the certificate must say.
#[derive(Clone, Debug)]
pub(super) struct Expectation {
    pub(super) gateway: Ueid,
    pub(super) hardware_serial: String,
    pub(super) spiffe_id: Option<String>,
    /// What the profile of its class adds.
    pub(super) additions: Additions,
    /// The CRL that answers for it, and the URLs in it.
    pub(super) crl_part: CrlPart,
    pub(super) revocation: Option<RevocationUrls>,
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
    let curve = ca.public.as_ref().map_or(CaCurve::P256, CaPublic::curve);
    let throw_away = FileSigner::from_pkcs8(&generate_pkcs8_on(curve, rng)?)?;
    let der = x509::sign(to_be_signed, &throw_away)?;
    let certificate: Certificate = picky_asn1_der::from_bytes(&der)
        .map_err(|error| LintError::Unreadable(error.to_string()))?;
    fields(&certificate, ca, expected)?;
    subject_key(&certificate, expected)?;
    extensions(&certificate, ca, expected)?;
    path_to_key(&der, Some(throw_away.public().spki_content()), ca, expected)?;
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
    let curves = match &ca.public {
        Some(public) => vec![public.curve()],
        None => vec![CaCurve::P256, CaCurve::P384],
    };
    let is_of = |curve: &CaCurve, found: &picky_asn1_x509::AlgorithmIdentifier| {
        let found: String = found.oid().into();
        found == oid::dotted(curve.signature_oid())
    };
    if !curves
        .iter()
        .any(|curve| is_of(curve, &tbs.signature) && is_of(curve, &certificate.signature_algorithm))
    {
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

pub(super) fn unix_time(time: &Time) -> Option<UnixTime> {
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
