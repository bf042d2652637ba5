//! What signs for the owner: the issuing CA in use, and those before it, which
//! issue nothing more and still answer for what they issued (CRL, OCSP).

use std::{fmt, sync::Arc};

use super::{
    IdentityError, ca_public::CaPublic, certificate as x509, lint::CaFacts, signer::CaSigner,
};
use crate::time::UnixTime;

/// Issuing CAs at once: one in use and those whose certificates have not
/// ended yet. LDevIDs live a week at most, so that more than a few is a fault.
pub const MAX_ISSUING_CAS: usize = 8;

/// An issuing CA: its certificate, and the key that belongs to it.
#[derive(Debug)]
pub struct IssuingCa {
    facts: CaFacts,
    signer: Arc<dyn CaSigner>,
    void_since: Option<UnixTime>,
}

impl IssuingCa {
    /// `certificate` is DER. The key is checked against it here, once.
    ///
    /// # Errors
    /// [`IdentityError::BadCaCertificate`] where it cannot issue,
    /// [`IdentityError::KeyMismatch`] where the signer's key is another.
    pub fn open(certificate: &[u8], signer: Arc<dyn CaSigner>) -> Result<Self, IdentityError> {
        let facts = CaFacts::parse(certificate)?;
        if facts.public.as_ref() != Some(signer.public()) {
            return Err(IdentityError::KeyMismatch);
        }
        Ok(Self {
            facts,
            signer,
            void_since: None,
        })
    }

    /// Void from some time on: what it issued is not all on record, so that
    /// whatever is not counts as revoked.
    #[must_use]
    pub fn void_since(mut self, at: Option<UnixTime>) -> Self {
        self.void_since = at;
        self
    }

    /// Since when it is void, if it is.
    #[must_use]
    pub const fn voided(&self) -> Option<UnixTime> {
        self.void_since
    }

    /// The certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.facts.der
    }

    /// Its subject: a DER `Name`.
    #[must_use]
    pub fn subject(&self) -> &[u8] {
        &self.facts.subject
    }

    /// subjectKeyIdentifier of the certificate, and authorityKeyIdentifier of
    /// what it signs: 20 octets in what `init` and `ca` make.
    #[must_use]
    pub fn key_identifier(&self) -> &[u8] {
        &self.facts.key_identifier
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> &CaPublic {
        self.signer.public()
    }

    /// Start of its validity.
    #[must_use]
    pub fn not_before(&self) -> UnixTime {
        self.facts.not_before
    }

    /// End of its validity, inclusive.
    #[must_use]
    pub fn not_after(&self) -> UnixTime {
        self.facts.not_after
    }

    pub(super) fn facts(&self) -> &CaFacts {
        &self.facts
    }

    /// Signs, and verifies the signature under the certificate's key before it
    /// is handed out, wherever the key lives. Blocks as [`CaSigner::sign`].
    ///
    /// `to_be_signed` is the DER of a TBSCertificate, TBSCertList or OCSP
    /// ResponseData that names [`CaPublic::signature_algorithm`] where it names
    /// one; the answer is a DER `Ecdsa-Sig-Value`.
    ///
    /// # Errors
    /// [`IdentityError::Sign`], [`IdentityError::BadSignature`].
    pub fn sign(&self, to_be_signed: &[u8]) -> Result<Vec<u8>, IdentityError> {
        let signature = self.signer.sign(to_be_signed)?;
        self.public().verify(to_be_signed, &signature)?;
        Ok(signature)
    }

    /// Signs and assembles `SEQUENCE { tbs, algorithm, signature }`
    /// (RFC 5280 §4.1.1, §5.1.1): a certificate or CRL.
    ///
    /// # Errors
    /// As [`IssuingCa::sign`].
    pub fn signed(&self, to_be_signed: &[u8]) -> Result<Vec<u8>, IdentityError> {
        let signature = self.sign(to_be_signed)?;
        Ok(x509::assemble(to_be_signed, self.public(), &signature))
    }
}

/// All issuing CAs that the service holds, the one in use first.
#[derive(Clone)]
pub struct IssuingCas {
    current: Arc<IssuingCa>,
    previous: Vec<Arc<IssuingCa>>,
}

impl IssuingCas {
    /// One, and none before it.
    #[must_use]
    pub fn only(current: IssuingCa) -> Self {
        Self {
            current: Arc::new(current),
            previous: Vec::new(),
        }
    }

    /// With those before it, the latest first.
    ///
    /// # Errors
    /// [`IdentityError::IssuingCas`] where two share a key, or there are more
    /// than [`MAX_ISSUING_CAS`].
    pub fn new(current: IssuingCa, previous: Vec<IssuingCa>) -> Result<Self, IdentityError> {
        let cas = Self {
            current: Arc::new(current),
            previous: previous.into_iter().map(Arc::new).collect(),
        };
        let mut keys: Vec<&[u8]> = cas.all().map(|ca| ca.key_identifier()).collect();
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        if keys.len() != count || count > MAX_ISSUING_CAS {
            return Err(IdentityError::IssuingCas(count));
        }
        Ok(cas)
    }

    /// The one that issues.
    #[must_use]
    pub fn current(&self) -> &Arc<IssuingCa> {
        &self.current
    }

    /// Current first, then the latest of those before it.
    pub fn all(&self) -> impl Iterator<Item = &Arc<IssuingCa>> {
        std::iter::once(&self.current).chain(&self.previous)
    }

    /// By the key identifier that a certificate's authorityKeyIdentifier and
    /// the record of it have.
    #[must_use]
    pub fn by_key_identifier(&self, id: &[u8]) -> Option<&Arc<IssuingCa>> {
        self.all().find(|ca| ca.key_identifier() == id)
    }
}

impl fmt::Debug for IssuingCas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.all().map(|ca| hex::encode(ca.key_identifier())))
            .finish()
    }
}
