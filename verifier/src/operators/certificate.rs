//! Operators' certificates: who and which role, by one URI in subjectAltName,
//! under the CA that the owner keeps for operators and for nothing else.
//!
//! `urn:holdfast:operator:<role>:<name>`: an LDevID has no such name, is of
//! another CA, and that CA is in no trust store of this door.

use std::fmt;

use picky_asn1_x509::{Certificate, ExtensionView, GeneralName};
use rustls_pki_types::{
    CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, pem::PemObject as _,
};
use webpki::{
    EndEntityCert, KeyUsage,
    ring::{
        ECDSA_P256_SHA256, ECDSA_P384_SHA384, ED25519, RSA_PKCS1_2048_8192_SHA256,
        RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    },
};

use super::role::{Role, UnknownRole};
use crate::{digest::sha256, endorsement::ShownCertificate, time::UnixTime};

/// What stands before role and name.
const URN: &str = "urn:holdfast:operator:";
/// A name is for the audit log: short, and of characters that need no escape.
pub const OPERATOR_NAME_MAX: usize = 64;
/// Certificates of people come from whatever PKI the owner has.
const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    ECDSA_P256_SHA256,
    ECDSA_P384_SHA384,
    ED25519,
    RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512,
];

/// Why a certificate gives nobody a role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// The file with the CA is no PEM of certificates.
    #[error("no CA certificate for operators: {0}")]
    NoCa(String),
    /// Not DER of a certificate.
    #[error("not a certificate: {0}")]
    Unreadable(String),
    /// Not of the operators' CA, not for clients (RFC 5280 §4.2.1.12), not yet
    /// or no longer valid.
    #[error("not a client certificate of the operators' CA: {0}")]
    Path(String),
    /// Not exactly one name that says who and which role.
    #[error("subjectAltName must hold one URI {URN}ROLE:NAME, and not {found} of them")]
    Names {
        /// How many it has.
        found: usize,
    },
    /// The URI names no role.
    #[error("the operator's URI: {0}")]
    Role(#[from] UnknownRole),
    /// The URI names nobody, or in characters that are not taken.
    #[error("{0:?} is no operator's name: use 1 to {OPERATOR_NAME_MAX} of a-z 0-9 . _ -")]
    Name(String),
}

/// A name as it may be in a certificate and in the audit log.
///
/// # Errors
/// [`OperatorError::Name`].
pub fn operator_name(text: &str) -> Result<&str, OperatorError> {
    let allowed =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    if text.is_empty() || text.len() > OPERATOR_NAME_MAX || !text.chars().all(allowed) {
        return Err(OperatorError::Name(text.to_owned()));
    }
    Ok(text)
}

/// The URI that says who and which role.
///
/// # Errors
/// [`OperatorError::Name`].
pub fn operator_uri(role: Role, name: &str) -> Result<String, OperatorError> {
    Ok(format!("{URN}{role}:{}", operator_name(name)?))
}

/// The CA (or CAs) whose certificates operators have.
#[derive(Clone)]
pub struct OperatorsCa(Vec<CertificateDer<'static>>);

impl fmt::Debug for OperatorsCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorsCa({} certificates)", self.0.len())
    }
}

impl OperatorsCa {
    /// From PEM: each certificate in it is trusted by itself.
    ///
    /// # Errors
    /// [`OperatorError::NoCa`].
    pub fn from_pem(pem: &str) -> Result<Self, OperatorError> {
        let no_ca = |e: String| OperatorError::NoCa(e);
        let found = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| no_ca(e.to_string()))?;
        if found.is_empty() {
            return Err(no_ca("no certificate in the file".to_owned()));
        }
        for der in &found {
            webpki::anchor_from_trusted_cert(der).map_err(|e| no_ca(e.to_string()))?;
        }
        Ok(Self(found))
    }

    /// The certificates, for TLS.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0
    }

    /// Reads a client certificate of this CA that is valid at `now`.
    ///
    /// # Errors
    /// [`OperatorError`] names the rule that it breaks.
    pub fn read(&self, der: &[u8], now: UnixTime) -> Result<OperatorCertificate, OperatorError> {
        // Strict DER and sizes first: the decoders below are lenient.
        let shown = ShownCertificate::parse(der).map_err(unreadable)?;
        if !ShownCertificate::is_safe_to_decode(der) {
            return Err(unreadable("malformed BIT STRING"));
        }
        let whole = CertificateDer::from(der);
        let anchors: Vec<TrustAnchor<'_>> = self
            .0
            .iter()
            .filter_map(|ca| webpki::anchor_from_trusted_cert(ca).ok())
            .collect();
        EndEntityCert::try_from(&whole)
            .map_err(unreadable)?
            .verify_for_usage(
                ALGORITHMS,
                &anchors,
                &[],
                now.to_pki(),
                KeyUsage::client_auth(),
                None,
                None,
            )
            .map_err(|e| OperatorError::Path(e.to_string()))?;
        let certificate: Certificate = picky_asn1_der::from_bytes(der).map_err(unreadable)?;
        let (role, name) = role_and_name(&certificate)?;
        Ok(OperatorCertificate {
            sha256: sha256(&[der]),
            // Without the octet that keeps the INTEGER positive.
            serial: match shown.serial.strip_prefix("00") {
                Some(rest) if !rest.is_empty() => rest.to_owned(),
                _ => shown.serial,
            },
            name,
            role,
            not_before: shown.not_before,
            not_after: shown.not_after,
        })
    }
}

fn unreadable(error: impl fmt::Display) -> OperatorError {
    OperatorError::Unreadable(error.to_string())
}

fn role_and_name(certificate: &Certificate) -> Result<(Role, String), OperatorError> {
    let uris: Vec<String> = certificate
        .extensions()
        .iter()
        .filter_map(|extension| match extension.extn_value() {
            ExtensionView::SubjectAltName(names) => Some(names.0.clone()),
            _ => None,
        })
        .flatten()
        .filter_map(|name| match name {
            GeneralName::Uri(uri) => String::from_utf8(uri.as_bytes().to_vec()).ok(),
            _ => None,
        })
        .filter_map(|uri| uri.strip_prefix(URN).map(str::to_owned))
        .collect();
    let [uri] = uris.as_slice() else {
        return Err(OperatorError::Names { found: uris.len() });
    };
    let (role, name) = uri
        .split_once(':')
        .ok_or_else(|| OperatorError::Name(String::new()))?;
    Ok((role.parse()?, operator_name(name)?.to_owned()))
}

/// A certificate that gives its holder a role, once it is on record. Only
/// [`OperatorsCa::read`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorCertificate {
    sha256: [u8; 32],
    serial: String,
    name: String,
    role: Role,
    not_before: UnixTime,
    not_after: UnixTime,
}

impl OperatorCertificate {
    /// SHA-256 of the DER.
    #[must_use]
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// Serial number, lower-case hex.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Whose it is.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What that one may do.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Start of validity.
    #[must_use]
    pub fn not_before(&self) -> UnixTime {
        self.not_before
    }

    /// End of validity.
    #[must_use]
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;
    use crate::identity::{Authority, KeyedCertificate};

    const NOW: UnixTime = UnixTime::from_seconds(1_700_000_000);

    fn ca(role: &str) -> (Authority, OperatorsCa) {
        let (authority, keyed) =
            Authority::new_root("Test", role, 0, NOW, &SystemRandom::new()).unwrap();
        let ca = OperatorsCa::from_pem(&keyed.certificate_pem()).unwrap();
        (authority, ca)
    }

    fn issue(authority: &Authority, uris: &[&str]) -> KeyedCertificate {
        authority
            .issue_client("someone", uris, 30, NOW, &SystemRandom::new())
            .unwrap()
    }

    #[test]
    fn who_and_which_role() {
        let (authority, ca) = ca("Operator CA");
        for role in Role::ALL {
            let uri = operator_uri(role, "alice").unwrap();
            let keyed = issue(&authority, &[&uri]);
            let read = ca.read(&keyed.certificate, NOW).unwrap();
            assert_eq!((read.role(), read.name()), (role, "alice"));
            assert_eq!(read.sha256(), &sha256(&[&keyed.certificate]));
            assert_eq!(read.serial().len(), 32);
            assert_eq!(read.not_after(), NOW.plus(30 * 86_400));
        }
    }

    #[test]
    fn adv_a19_another_cas_certificate_is_nobodys() {
        let (other, _) = ca("Operator CA");
        let (_, ca) = ca("Operator CA");
        let keyed = issue(&other, &["urn:holdfast:operator:admin:mallory"]);
        assert!(matches!(
            ca.read(&keyed.certificate, NOW),
            Err(OperatorError::Path(_))
        ));
    }

    #[test]
    fn adv_a19_an_expired_and_a_servers_certificate_are_nobodys() {
        let (authority, ca) = ca("Operator CA");
        let keyed = issue(&authority, &["urn:holdfast:operator:admin:alice"]);
        for at in [NOW.plus(31 * 86_400), NOW.plus(-86_400)] {
            assert!(matches!(
                ca.read(&keyed.certificate, at),
                Err(OperatorError::Path(_))
            ));
        }
        let server = authority
            .issue_server(
                &[crate::identity::ServerName::parse("a.test").unwrap()],
                NOW,
                &SystemRandom::new(),
            )
            .unwrap();
        assert!(matches!(
            ca.read(&server.certificate, NOW),
            Err(OperatorError::Path(_))
        ));
    }

    #[test]
    fn adv_a19_a_certificate_without_one_role_is_nobodys() {
        let (authority, ca) = ca("Operator CA");
        let read = |uris: &[&str]| ca.read(&issue(&authority, uris).certificate, NOW);
        for (uris, found) in [
            (vec!["spiffe://example.org/gateway/01"], 0),
            (
                vec![
                    "urn:holdfast:operator:viewer:a",
                    "urn:holdfast:operator:admin:a",
                ],
                2,
            ),
            (vec!["URN:holdfast:operator:admin:a"], 0),
        ] {
            assert_eq!(read(&uris), Err(OperatorError::Names { found }));
        }
        assert!(matches!(
            read(&["urn:holdfast:operator:root:a"]),
            Err(OperatorError::Role(_))
        ));
        for name in ["", "a b", "Alice", "a/b", "a:b", "\u{430}"] {
            // U+0430 looks like an "a"; it is no IA5String either.
            if !name.is_ascii() {
                assert!(operator_name(name).is_err());
                continue;
            }
            assert_eq!(
                read(&[&format!("urn:holdfast:operator:admin:{name}")]),
                Err(OperatorError::Name(name.to_owned()))
            );
        }
    }

    #[test]
    fn bytes_that_are_no_certificate_are_refused() {
        let (authority, ca) = ca("Operator CA");
        let good = issue(&authority, &["urn:holdfast:operator:admin:a"]).certificate;
        for bad in [
            &[][..],
            &[0x30, 0x80],
            &good[1..],
            &[&good[..], &[0]].concat(),
        ] {
            assert!(matches!(
                ca.read(bad, NOW),
                Err(OperatorError::Unreadable(_))
            ));
        }
        assert!(OperatorsCa::from_pem("").is_err());
    }
}
