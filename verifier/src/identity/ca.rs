//! The owner's certification authorities, made once by `init`: a root that
//! stays offline by design, the issuing CA for LDevIDs, and a separate server
//! CA, so that a gateway never takes a peer's LDevID for the Verifier.
//!
//! Everything is made in memory; the shell writes the files.

use std::{fmt, net::IpAddr, sync::Arc};

use ring::rand::SecureRandom;
use zeroize::Zeroizing;

use super::{
    IdentityError, RevocationReason,
    ca_certificate::CaCertificate,
    ca_public::CaPublic,
    certificate::{self as x509, Template},
    crl::{CrlContents, CrlEntry},
    der,
    issuing::IssuingCa,
    lint::CaFacts,
    oid, pem,
    profile::{BACKDATE_SECONDS, MAX_NAME_CHARS},
    signer::{CaSigner as _, FileSigner, ResultKey, generate_pkcs8},
};
use crate::time::UnixTime;

const DAY: i64 = 24 * 3600;
/// Root and server CA: twenty years, the life of a plant.
const ROOT_SECONDS: i64 = 20 * 365 * DAY;
/// Issuing CA: five years.
const ISSUING_SECONDS: i64 = 5 * 365 * DAY;
/// TLS server certificate: one year.
const SERVER_SECONDS: i64 = 365 * DAY;

/// A PKCS#8 private key (RFC 5958), wiped when dropped, redacted in Debug.
pub struct SecretKey(Zeroizing<Vec<u8>>);

impl SecretKey {
    /// A new P-256 key.
    ///
    /// # Errors
    /// [`IdentityError::NoRandomness`].
    pub fn generate(rng: &dyn SecureRandom) -> Result<Self, IdentityError> {
        generate_pkcs8(rng).map(Self)
    }

    /// PKCS#8 DER.
    #[must_use]
    pub fn expose_der(&self) -> &[u8] {
        &self.0
    }

    /// PKCS#8 PEM, for a file of mode 0600.
    #[must_use]
    pub fn expose_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(pem::encode("PRIVATE KEY", &self.0))
    }

    pub(super) fn signer(&self) -> Result<FileSigner, IdentityError> {
        FileSigner::from_pkcs8(&self.0)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey([redacted])")
    }
}

/// A certificate and its private key.
#[derive(Debug)]
pub struct KeyedCertificate {
    /// DER certificate.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: SecretKey,
}

impl KeyedCertificate {
    /// The certificate in PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        pem::encode("CERTIFICATE", &self.certificate)
    }
}

/// A name in the server certificate, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerName {
    /// DNS name, lower case (RFC 1123 §2.1).
    Dns(String),
    /// IP address.
    Ip(IpAddr),
}

impl ServerName {
    /// An IP address, or else a DNS name without wildcards.
    ///
    /// # Errors
    /// [`IdentityError::BadServerName`].
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        let bad = || IdentityError::BadServerName(text.escape_debug().to_string());
        let checked = rustls_pki_types::DnsName::try_from(text).map_err(|_| bad())?;
        Ok(Self::Dns(checked.as_ref().to_ascii_lowercase()))
    }

    fn general_name(&self) -> Vec<u8> {
        match self {
            Self::Dns(name) => x509::dns_name(name),
            Self::Ip(address) => x509::ip_address(*address),
        }
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

/// A CA that can make other certificates.
#[derive(Debug)]
pub struct Authority {
    facts: CaFacts,
    signer: Arc<FileSigner>,
}

impl Authority {
    /// A CA from its DER certificate and PKCS#8 key: the root kept elsewhere.
    ///
    /// # Errors
    /// [`IdentityError::BadCaCertificate`], [`IdentityError::BadKey`],
    /// [`IdentityError::KeyMismatch`].
    pub fn open(certificate: &[u8], signer: FileSigner) -> Result<Self, IdentityError> {
        let facts = CaFacts::parse(certificate)?;
        if facts.public.as_ref() != Some(signer.public()) {
            return Err(IdentityError::KeyMismatch);
        }
        Ok(Self {
            facts,
            signer: Arc::new(signer),
        })
    }

    /// The CA's certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.facts.der
    }

    /// The CRL of this CA over CAs below it: these are revoked, and no others.
    /// Its number is the time; DER.
    ///
    /// # Errors
    /// [`IdentityError::NotBelow`] and what else [`CaCertificate::below`]
    /// refuses; [`IdentityError::TimeOutOfRange`], [`IdentityError::BadCrl`].
    pub fn revoke_cas(
        &self,
        cas: &[CaCertificate],
        now: UnixTime,
        next_update: UnixTime,
    ) -> Result<Vec<u8>, IdentityError> {
        let root = CaCertificate::parse(self.certificate())?;
        let entry = |ca: &CaCertificate| {
            ca.below(&root, now)?;
            Ok::<_, IdentityError>(CrlEntry {
                serial: ca.serial().to_vec(),
                revoked_at: now,
                reason: RevocationReason::Unspecified,
            })
        };
        let entries = cas.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        CrlContents {
            number: now.seconds().unsigned_abs(),
            this_update: now,
            next_update,
            distribution_point: &[],
            entries: &entries,
        }
        .sign(&IssuingCa::open(
            self.certificate(),
            Arc::<FileSigner>::clone(&self.signer),
        )?)
    }

    /// A self-signed CA with `path_len` CAs allowed below it.
    ///
    /// # Errors
    /// Randomness, names or times that cannot be written.
    pub fn new_root(
        organization: &str,
        role: &str,
        path_len: u8,
        now: UnixTime,
        rng: &dyn SecureRandom,
    ) -> Result<(Self, KeyedCertificate), IdentityError> {
        let key = SecretKey::generate(rng)?;
        let signer = key.signer()?;
        let key_id = signer.public().key_identifier();
        let subject = ca_name(organization, role, &key_id)?;
        let template = Template {
            serial: &x509::random_serial(rng)?,
            issuer: &subject,
            not_before: now.plus(-BACKDATE_SECONDS),
            not_after: now.plus(ROOT_SECONDS),
            subject: &subject,
            spki: &signer.public().spki(),
            extensions: &ca_extensions(path_len, &key_id, &key_id),
        };
        let certificate = x509::sign(&template.to_be_signed(signer.public())?, &signer)?;
        let authority = Self::open(&certificate, signer)?;
        Ok((authority, KeyedCertificate { certificate, key }))
    }

    /// A CA below this one that may sign end entities only (pathLen 0).
    ///
    /// # Errors
    /// As [`Authority::new_root`]; [`IdentityError::CaNotValid`].
    pub fn issue_ca(
        &self,
        organization: &str,
        role: &str,
        now: UnixTime,
        rng: &dyn SecureRandom,
    ) -> Result<KeyedCertificate, IdentityError> {
        let key = SecretKey::generate(rng)?;
        let certificate = self.certify_ca(key.signer()?.public(), organization, role, now, rng)?;
        Ok(KeyedCertificate { certificate, key })
    }

    /// The same, for a key that lives elsewhere; whoever asks has shown that
    /// it is theirs.
    ///
    /// # Errors
    /// As [`Authority::issue_ca`].
    pub fn certify_ca(
        &self,
        public: &CaPublic,
        organization: &str,
        role: &str,
        now: UnixTime,
        rng: &dyn SecureRandom,
    ) -> Result<Vec<u8>, IdentityError> {
        let key_id = public.key_identifier();
        let subject = ca_name(organization, role, &key_id)?;
        let extensions = ca_extensions(0, &key_id, &self.facts.key_identifier);
        self.issue(&subject, public, &extensions, ISSUING_SECONDS, now, rng)
    }

    /// A TLS server certificate for `names`.
    ///
    /// # Errors
    /// [`IdentityError::NoServerName`]; as [`Authority::issue_ca`].
    pub fn issue_server(
        &self,
        names: &[ServerName],
        now: UnixTime,
        rng: &dyn SecureRandom,
    ) -> Result<KeyedCertificate, IdentityError> {
        let first = names.first().ok_or(IdentityError::NoServerName)?;
        let key = SecretKey::generate(rng)?;
        let signer = key.signer()?;
        let key_id = signer.public().key_identifier();
        // The names that count are in subjectAltName; a longer one is cut here.
        let shown: String = first.to_string().chars().take(MAX_NAME_CHARS).collect();
        let subject = x509::name(&[(oid::COMMON_NAME, der::utf8_string(&shown))]);
        let general_names: Vec<Vec<u8>> = names.iter().map(ServerName::general_name).collect();
        let extensions = [
            x509::authority_key_identifier(&self.facts.key_identifier),
            x509::subject_key_identifier(&key_id),
            x509::key_usage(x509::DIGITAL_SIGNATURE),
            x509::extended_key_usage(oid::SERVER_AUTH),
            x509::subject_alt_name(&general_names),
        ];
        let certificate = self.issue(
            &subject,
            signer.public(),
            &extensions,
            SERVER_SECONDS,
            now,
            rng,
        )?;
        Ok(KeyedCertificate { certificate, key })
    }

    pub(super) fn issue(
        &self,
        subject: &[u8],
        subject_key: &CaPublic,
        extensions: &[Vec<u8>],
        seconds: i64,
        now: UnixTime,
        rng: &dyn SecureRandom,
    ) -> Result<Vec<u8>, IdentityError> {
        let CaFacts {
            not_before,
            not_after,
            ..
        } = self.facts;
        if now < not_before || now >= not_after {
            return Err(IdentityError::CaNotValid {
                not_before,
                not_after,
                now,
            });
        }
        let template = Template {
            serial: &x509::random_serial(rng)?,
            issuer: &self.facts.subject,
            not_before: now.plus(-BACKDATE_SECONDS).max(not_before),
            not_after: now.plus(seconds).min(not_after),
            subject,
            spki: &subject_key.spki(),
            extensions,
        };
        let to_be_signed = template.to_be_signed(self.signer.public())?;
        Ok(x509::sign(&to_be_signed, self.signer.as_ref())?)
    }
}

pub(super) fn ca_extensions(
    path_len: u8,
    subject_key_id: &[u8],
    authority_key_id: &[u8],
) -> [Vec<u8>; 4] {
    [
        x509::authority_key_identifier(authority_key_id),
        x509::subject_key_identifier(subject_key_id),
        x509::key_usage(x509::CERT_AND_CRL_SIGN),
        x509::ca_constraints(path_len),
    ]
}

/// O, then a CN that ends in the first 32 bits of the key identifier: two CAs
/// of one owner never share a name, so that path building cannot mix them up.
pub(super) fn ca_name(
    organization: &str,
    role: &str,
    key_id: &[u8],
) -> Result<Vec<u8>, IdentityError> {
    let length = organization.chars().count();
    if !(1..=MAX_NAME_CHARS).contains(&length) || organization.chars().any(char::is_control) {
        return Err(IdentityError::BadOrganization(
            organization.escape_debug().to_string(),
        ));
    }
    let tag = hex::encode(key_id.get(..4).unwrap_or(key_id));
    Ok(x509::name(&[
        (oid::ORGANIZATION, der::utf8_string(organization)),
        (
            oid::COMMON_NAME,
            der::utf8_string(&format!("Holdfast {role} {tag}")),
        ),
    ]))
}

/// What `init` wants.
#[derive(Clone, Debug)]
pub struct CaSettings {
    /// Organisation name in the CAs' subjects.
    pub organization: String,
    /// Names of the TLS server, at least one.
    pub server_names: Vec<ServerName>,
}

/// What `init` gets: five keys, four certificates.
#[derive(Debug)]
pub struct Initial {
    /// Root CA for LDevIDs (pathLen 1).
    pub root: KeyedCertificate,
    /// Issuing CA for LDevIDs (pathLen 0), under the root.
    pub issuing: KeyedCertificate,
    /// Self-signed CA of the TLS server (pathLen 0).
    pub server_ca: KeyedCertificate,
    /// TLS server.
    pub server: KeyedCertificate,
    /// Key that signs attestation results.
    pub result_key: SecretKey,
    /// Its public half, PEM SubjectPublicKeyInfo.
    pub result_public_pem: String,
}

/// Makes everything that a new Verifier needs.
///
/// # Errors
/// Randomness, or names that cannot be written.
pub fn ca_init(
    settings: &CaSettings,
    now: UnixTime,
    rng: &dyn SecureRandom,
) -> Result<Initial, IdentityError> {
    let organization = settings.organization.as_str();
    let (root_ca, root) = Authority::new_root(organization, "Root CA", 1, now, rng)?;
    let issuing = root_ca.issue_ca(organization, "Issuing CA", now, rng)?;
    let (server_authority, server_ca) =
        Authority::new_root(organization, "Server CA", 0, now, rng)?;
    let server = server_authority.issue_server(&settings.server_names, now, rng)?;
    let result_key = SecretKey::generate(rng)?;
    let result_public_pem = ResultKey::from_pkcs8(result_key.expose_der())?.public_pem();
    Ok(Initial {
        root,
        issuing,
        server_ca,
        server,
        result_key,
        result_public_pem,
    })
}
