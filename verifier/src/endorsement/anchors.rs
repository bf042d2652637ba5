//! Trust anchors, and the one way to an [`EndorsedEk`].

use std::fmt;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath, anchor_from_trusted_cert,
    ring as algs,
};

use super::{
    certificate::{Certificate, SubjectKey, display_name},
    chain::EkChain,
    ek::EkPublic,
    error::EndorsementError,
    facts::TpmFacts,
    oid,
};
use crate::{digest::sha256, time::UnixTime};

/// Signature algorithms taken in a path. No SHA-1, no MD5, no RSA under 2048.
static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    algs::ECDSA_P256_SHA256,
    algs::ECDSA_P256_SHA384,
    algs::ECDSA_P384_SHA256,
    algs::ECDSA_P384_SHA384,
    algs::RSA_PKCS1_2048_8192_SHA256,
    algs::RSA_PKCS1_2048_8192_SHA384,
    algs::RSA_PKCS1_2048_8192_SHA512,
    algs::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
    algs::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
    algs::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    algs::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    algs::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    algs::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

/// keyUsage bits in the first octet (RFC 5280 §4.2.1.3).
const KEY_ENCIPHERMENT: u8 = 0x20;
const KEY_AGREEMENT: u8 = 0x08;

/// Vendor roots, intermediates and CRLs that the owner imported.
pub struct Anchors {
    roots: Vec<TrustAnchor<'static>>,
    intermediates: Vec<CertificateDer<'static>>,
    crls: Vec<CertRevocationList<'static>>,
}

impl fmt::Debug for Anchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Anchors")
            .field("roots", &self.roots.len())
            .field("intermediates", &self.intermediates.len())
            .field("crls", &self.crls.len())
            .finish()
    }
}

impl Anchors {
    /// From DER certificates. Roots are trusted because the owner says so, and
    /// need not be self-signed: webpki processes no critical
    /// certificatePolicies (2.5.29.32), which ST's and Intel's intermediates
    /// have, so that such a one serves only as an anchor of its own.
    /// Intermediates only help to find a path.
    ///
    /// # Errors
    /// [`EndorsementError::Import`] names the certificate that cannot serve.
    pub fn new(roots: Vec<Vec<u8>>, intermediates: Vec<Vec<u8>>) -> Result<Self, EndorsementError> {
        let anchors = roots.iter().enumerate().map(|(at, root)| {
            anchor(root).map_err(|source| EndorsementError::Import {
                at,
                source: Box::new(source),
            })
        });
        let intermediates = intermediates.into_iter().enumerate().map(|(at, der)| {
            CertificateFacts::parse(&der)
                .map(|_| CertificateDer::from(der))
                .map_err(|source| EndorsementError::Import {
                    at,
                    source: Box::new(source),
                })
        });
        Ok(Self {
            roots: anchors.collect::<Result<_, _>>()?,
            intermediates: intermediates.collect::<Result<_, _>>()?,
            crls: Vec::new(),
        })
    }

    /// With DER CRLs of the imported CAs. A certificate on one is refused; one
    /// whose CA has no CRL here is not, and a stale CRL still counts.
    ///
    /// # Errors
    /// [`EndorsementError::Crl`] names the CRL that does not parse.
    pub fn with_crls(mut self, crls: &[Vec<u8>]) -> Result<Self, EndorsementError> {
        let parsed = crls.iter().enumerate().map(|(at, der)| {
            OwnedCertRevocationList::from_der(der)
                .map(CertRevocationList::from)
                .map_err(|source| EndorsementError::Crl { at, source })
        });
        self.crls = parsed.collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// Whether `ek` is the key of an EK certificate that chains to an imported
    /// root at the time `at` (EK Credential Profile §3.2, RFC 5280 §6).
    ///
    /// # Errors
    /// [`EndorsementError`] names the certificate and the rule that it broke.
    pub fn endorse(
        &self,
        chain: &EkChain,
        ek: EkPublic,
        at: UnixTime,
    ) -> Result<EndorsedEk, EndorsementError> {
        let leaf = Certificate::parse(chain.leaf(), 0)?;
        expect_ek_certificate(&leaf, &ek)?;
        for (position, der) in chain.intermediates().iter().enumerate() {
            let position = position.saturating_add(1);
            Certificate::parse(der, position)?.expect_strong(position)?;
        }
        let facts = TpmFacts::read(&leaf, chain.leaf(), &ek)?;
        self.verify_path(chain, at)?;
        Ok(EndorsedEk { ek, facts })
    }

    fn verify_path(&self, chain: &EkChain, at: UnixTime) -> Result<(), EndorsementError> {
        let known = chain.intermediates().iter().chain(&self.intermediates);
        let candidates: Vec<CertificateDer<'_>> = known
            .map(|der| CertificateDer::from(der.as_ref()))
            .collect();
        let crls: Vec<&CertRevocationList<'_>> = self.crls.iter().collect();
        // No CRL at all is an error to the builder: then nothing is revoked.
        let revocation = RevocationOptionsBuilder::new(&crls).ok().map(|options| {
            options
                .with_status_policy(UnknownStatusPolicy::Allow)
                .with_expiration_policy(ExpirationPolicy::Ignore)
                .build()
        });
        let leaf = EndEntityCert::try_from(chain.leaf())?;
        leaf.verify_for_usage(
            ALGORITHMS,
            &self.roots,
            &candidates,
            at.to_pki(),
            KeyUsage::required_if_present(oid::EK_CERTIFICATE),
            revocation,
            Some(&expect_issuers),
        )
        .map(|_| ())
        .map_err(|error| match error {
            webpki::Error::UnknownIssuer => EndorsementError::UnknownIssuer {
                issuer: missing_issuer(chain.leaf(), &candidates),
            },
            other => other.into(),
        })
    }
}

/// What an EK certificate must be, whoever issued it.
fn expect_ek_certificate(leaf: &Certificate<'_>, ek: &EkPublic) -> Result<(), EndorsementError> {
    if !ek.is_key(&leaf.key) {
        return Err(EndorsementError::OtherKey);
    }
    leaf.expect_strong(0)?;
    if leaf.is_self_issued() {
        return Err(EndorsementError::SelfSigned);
    }
    if leaf.is_ca() {
        return Err(EndorsementError::LeafIsCa);
    }
    let (bit, name) = match leaf.key {
        SubjectKey::Rsa { .. } => (KEY_ENCIPHERMENT, "keyEncipherment"),
        SubjectKey::Ec { .. } | SubjectKey::Other { .. } => (KEY_AGREEMENT, "keyAgreement"),
    };
    if leaf.key_usage() & bit == 0 {
        return Err(EndorsementError::KeyUsage(name));
    }
    if !leaf.has_extended_key_usage(oid::EK_CERTIFICATE) {
        return Err(EndorsementError::ExtendedKeyUsage);
    }
    Ok(())
}

/// Every issuer between leaf and root may issue. Called for each path that
/// webpki finds, so that a worse path does not hide a good one.
fn expect_issuers(path: &VerifiedPath<'_>) -> Result<(), webpki::Error> {
    let may_issue = |der: &[u8]| Certificate::parse(der, 0).is_ok_and(|c| c.may_issue());
    if path
        .intermediate_certificates()
        .all(|c| may_issue(&c.der()))
    {
        Ok(())
    } else {
        Err(webpki::Error::EndEntityUsedAsCa)
    }
}

/// Follows issuers by name from the leaf and says which one is missing: the
/// owner's next step is to import it.
fn missing_issuer(leaf: &CertificateDer<'_>, candidates: &[CertificateDer<'_>]) -> String {
    let parsed: Vec<Certificate<'_>> = candidates
        .iter()
        .filter_map(|der| Certificate::parse(der, 0).ok())
        .collect();
    let Ok(leaf) = Certificate::parse(leaf, 0) else {
        return String::new();
    };
    let mut issuer = leaf.issuer;
    // Each step uses up a certificate, so that a loop of issuers ends.
    for _ in 0..parsed.len() {
        match parsed
            .iter()
            .find(|c| c.subject == issuer && !c.is_self_issued())
        {
            Some(next) => issuer = next.issuer,
            None => break,
        }
    }
    display_name(issuer)
}

fn anchor(der: &[u8]) -> Result<TrustAnchor<'static>, EndorsementError> {
    ca(der)?.expect_anchor(0)?;
    Ok(anchor_from_trusted_cert(&CertificateDer::from(der))?.to_owned())
}

fn ca(der: &[u8]) -> Result<Certificate<'_>, EndorsementError> {
    if der.len() > EkChain::MAX_CERTIFICATE_LEN {
        return Err(EndorsementError::TooLong {
            at: 0,
            len: der.len(),
        });
    }
    let certificate = Certificate::parse(der, 0)?;
    if certificate.may_issue() {
        Ok(certificate)
    } else {
        Err(EndorsementError::IssuerNotCa)
    }
}

/// A CA certificate that may be imported: strong key, CA, known extensions.
/// For the shell: to tell roots from intermediates and to list them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CertificateFacts {
    /// SHA-256 of the DER.
    pub sha256: [u8; 32],
    /// Subject, for people; inert.
    pub subject: String,
    /// Issuer and subject are one: a root. Else an intermediate.
    pub self_signed: bool,
    /// When it ends.
    pub not_after: UnixTime,
}

impl CertificateFacts {
    /// From DER.
    ///
    /// # Errors
    /// Where it is malformed, no CA's, weak, or has unknown critical
    /// extensions. A root's own signature proves nothing and may be weak; an
    /// intermediate's may not.
    pub fn parse(der: &[u8]) -> Result<Self, EndorsementError> {
        let certificate = ca(der)?;
        let self_signed = certificate.is_self_issued();
        if self_signed {
            certificate.expect_anchor(0)?;
        } else {
            certificate.expect_strong(0)?;
        }
        Ok(Self {
            sha256: sha256(&[der]),
            subject: display_name(certificate.subject),
            self_signed,
            not_after: certificate.not_after,
        })
    }
}

/// An endorsement key whose certificate chains to an imported vendor root (EK
/// Credential Profile 2.x §3). Only [`Anchors::endorse`] makes one.
#[derive(Debug)]
#[must_use]
pub struct EndorsedEk {
    ek: EkPublic,
    facts: TpmFacts,
}

impl EndorsedEk {
    /// The EK.
    #[must_use]
    pub fn ek(&self) -> &EkPublic {
        &self.ek
    }

    /// What its certificate says of the TPM.
    #[must_use]
    pub fn facts(&self) -> &TpmFacts {
        &self.facts
    }
}
