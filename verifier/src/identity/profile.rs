//! The LDevID certificate profile (IEEE 802.1AR-2018 §8, TCG TPM 2.0 Keys for
//! Device Identity and Attestation), and what an owner may set in it.
//! `docs/ldevid-profile.md` is its page for readers.

use holdfast_proto::binding::Ueid;

use super::{IdentityError, certificate as x509, der, oid};

/// How long an LDevID lives unless the owner says otherwise: a day, so that a
/// gateway which stops attesting soon holds nothing.
pub const DEFAULT_VALIDITY_SECONDS: i64 = 24 * 3600;
/// Shortest lifetime: below it, an exchange and its renewal overlap.
pub const MIN_VALIDITY_SECONDS: i64 = 60;
/// Longest lifetime. An LDevID is renewed in hours, not years.
pub const MAX_VALIDITY_SECONDS: i64 = 7 * 24 * 3600;
/// notBefore lies this far back, for relying parties whose clock is behind.
pub const BACKDATE_SECONDS: i64 = 5 * 60;

/// ub-serial-number and ub-common-name (RFC 5280 appendix A.1).
pub(super) const MAX_NAME_CHARS: usize = 64;

/// What an owner may choose about LDevIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    validity_seconds: i64,
    spiffe_trust_domain: Option<String>,
}

impl Profile {
    /// `validity_seconds` counts from issuance; a SPIFFE ID
    /// `spiffe://<domain>/gateway/<gateway id>` is added where a trust domain
    /// is given.
    ///
    /// # Errors
    /// [`IdentityError::BadValidity`] outside [`MIN_VALIDITY_SECONDS`] to
    /// [`MAX_VALIDITY_SECONDS`]; [`IdentityError::BadTrustDomain`] for a name
    /// that SPIFFE-ID §2.1 does not allow.
    pub fn new(
        validity_seconds: i64,
        spiffe_trust_domain: Option<&str>,
    ) -> Result<Self, IdentityError> {
        if !(MIN_VALIDITY_SECONDS..=MAX_VALIDITY_SECONDS).contains(&validity_seconds) {
            return Err(IdentityError::BadValidity(validity_seconds));
        }
        let spiffe_trust_domain = spiffe_trust_domain.map(parse_trust_domain).transpose()?;
        Ok(Self {
            validity_seconds,
            spiffe_trust_domain,
        })
    }

    /// One day, no SPIFFE ID.
    #[must_use]
    pub fn standard() -> Self {
        Self {
            validity_seconds: DEFAULT_VALIDITY_SECONDS,
            spiffe_trust_domain: None,
        }
    }

    /// Lifetime from issuance, in seconds.
    #[must_use]
    pub fn validity_seconds(&self) -> i64 {
        self.validity_seconds
    }

    /// The SPIFFE ID of a gateway, where there is a trust domain.
    #[must_use]
    pub fn spiffe_id(&self, gateway: &Ueid) -> Option<String> {
        self.spiffe_trust_domain
            .as_ref()
            .map(|domain| format!("spiffe://{domain}/gateway/{gateway}"))
    }

    /// The extensions of an LDevID, in the order that they are written.
    pub(super) fn extensions(
        &self,
        gateway: &Ueid,
        hardware_serial: &str,
        authority_key_id: &[u8],
    ) -> Vec<Vec<u8>> {
        let mut names = vec![x509::hardware_module_name(hardware_serial.as_bytes())];
        names.extend(self.spiffe_id(gateway).map(|id| x509::uri(&id)));
        vec![
            x509::authority_key_identifier(authority_key_id),
            x509::key_usage(x509::DIGITAL_SIGNATURE),
            x509::extended_key_usage(oid::CLIENT_AUTH),
            x509::certificate_policies(&[oid::VERIFIED_TPM_RESIDENCY, oid::VERIFIED_TPM_FIXED]),
            x509::subject_alt_name(&names),
        ]
    }
}

/// SPIFFE-ID §2.1: lower-case letters, digits, dot, dash, underscore, at most
/// 255 bytes.
fn parse_trust_domain(text: &str) -> Result<String, IdentityError> {
    let allowed =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    if text.is_empty() || text.len() > 255 || !text.chars().all(allowed) {
        return Err(IdentityError::BadTrustDomain(
            text.escape_debug().to_string(),
        ));
    }
    Ok(text.to_owned())
}

/// Subject serialNumber: the SHA-256 part of the gateway id in lower hex.
/// The id's type octet is left out, as 66 characters would pass
/// ub-serial-number (64).
#[must_use]
pub fn subject_serial_number(gateway: &Ueid) -> String {
    gateway.to_string().chars().skip(2).collect()
}

/// Subject commonName: for people, the first 64 bits of the serial number.
pub(super) fn common_name(gateway: &Ueid) -> String {
    let short: String = subject_serial_number(gateway).chars().take(16).collect();
    format!("gateway-{short}")
}

/// DER subject: serialNumber (PrintableString), then commonName.
pub(super) fn subject(gateway: &Ueid) -> Vec<u8> {
    x509::name(&[
        (
            oid::SERIAL_NUMBER,
            der::printable_string(&subject_serial_number(gateway)),
        ),
        (oid::COMMON_NAME, der::utf8_string(&common_name(gateway))),
    ])
}
