//! The issuing CA at work: prepare, lint, sign.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use holdfast_proto::binding::Ueid;
use ring::rand::SecureRandom;

use super::{
    IdentityError,
    certificate::{self as x509, Template},
    issuing::{IssuingCa, IssuingCas},
    lint::{self, Expectation},
    pem,
    profile::{BACKDATE_SECONDS, Profile, Profiles, extensions, subject},
    published::{CrlPart, CrlParts, PublicUrl, RevocationUrls},
};
use crate::{appraisal::IssuanceGrant, swap::Swap, time::UnixTime};

/// The issuing CAs, and the profiles that the one in use follows.
#[derive(Debug)]
pub struct Issuer {
    cas: Swap<IssuingCas>,
    profiles: Profiles,
    /// Where relying parties ask about LDevIDs, if they can.
    public_url: Option<PublicUrl>,
    /// Where they asked before, by LDevIDs that are still in force.
    former_urls: Vec<PublicUrl>,
    /// [`CrlParts`], as a count.
    crl_parts: AtomicU16,
}

impl Issuer {
    /// From the CAs that the service holds.
    #[must_use]
    pub fn new(cas: IssuingCas, profiles: impl Into<Profiles>) -> Self {
        Self {
            cas: Swap::new(cas),
            profiles: profiles.into(),
            public_url: None,
            former_urls: Vec::new(),
            crl_parts: AtomicU16::new(CrlParts::ONE.count()),
        }
    }

    /// With URLs below `public_url` in every LDevID: its CRL, OCSP, and the
    /// issuing CA's certificate.
    #[must_use]
    pub fn with_public_url(mut self, public_url: Option<PublicUrl>) -> Self {
        self.public_url = public_url;
        self
    }

    /// With base URLs of before that LDevIDs in force may name: CRLs name these
    /// too, and they are answered.
    #[must_use]
    pub fn with_former_urls(mut self, former: Vec<PublicUrl>) -> Self {
        self.former_urls = former;
        self
    }

    /// Every base URL that LDevIDs in force may name, the present one first.
    pub fn public_urls(&self) -> impl Iterator<Item = &PublicUrl> {
        self.public_url.iter().chain(&self.former_urls)
    }

    /// Base of the URLs in LDevIDs.
    #[must_use]
    pub fn public_url(&self) -> Option<&PublicUrl> {
        self.public_url.as_ref()
    }

    /// Among how many CRLs new LDevIDs are divided.
    #[must_use]
    pub fn crl_parts(&self) -> CrlParts {
        // Set from a CrlParts only.
        CrlParts::from_count(self.crl_parts.load(Ordering::Relaxed)).unwrap_or(CrlParts::ONE)
    }

    /// Divides those that are issued from now on among so many.
    pub fn divide(&self, parts: CrlParts) {
        self.crl_parts.store(parts.count(), Ordering::Relaxed);
    }

    /// All issuing CAs, the one in use first: those of before still sign their
    /// CRLs and OCSP answers.
    #[must_use]
    pub fn cas(&self) -> Arc<IssuingCas> {
        self.cas.get()
    }

    /// Takes other CAs into use, from one certificate to the next.
    pub fn replace_cas(&self, cas: IssuingCas) {
        self.cas.replace(cas);
    }

    /// The profile in force for a class.
    #[must_use]
    pub fn profile(&self, class: &str) -> &Profile {
        self.profiles.of(class)
    }

    /// Spends the grant: writes the LDevID's to-be-signed part, signs it with
    /// a throw-away key, and lints that certificate. Only what passes can be
    /// signed with the CA's key.
    ///
    /// # Errors
    /// [`IdentityError::CaNotValid`], or [`IdentityError::Lint`] with the rule
    /// that the prepared certificate breaks.
    pub fn prepare(
        &self,
        grant: IssuanceGrant,
        now: UnixTime,
        rng: &dyn SecureRandom,
    ) -> Result<LintedCertificate, IdentityError> {
        let cas = self.cas();
        let ca = cas.current();
        Self::write(ca, self.expect(ca, &grant, now, rng)?, rng)
    }

    pub(super) fn write(
        ca: &Arc<IssuingCa>,
        expected: Expectation,
        rng: &dyn SecureRandom,
    ) -> Result<LintedCertificate, IdentityError> {
        let facts = ca.facts();
        let serial = x509::random_serial(rng)?;
        let extensions = extensions(&expected, &facts.key_identifier);
        let to_be_signed = Template {
            serial: &serial,
            issuer: &facts.subject,
            not_before: expected.not_before,
            not_after: expected.not_after,
            subject: &subject(&expected.gateway),
            spki: &expected.subject_spki,
            extensions: &extensions,
        }
        .to_be_signed(ca.public())?;
        lint::lint(&to_be_signed, facts, &expected, rng)?;
        Ok(LintedCertificate {
            to_be_signed,
            serial,
            expected,
            ca: Arc::clone(ca),
        })
    }

    /// The CRL that is to answer for the next LDevID, and the URLs in it.
    pub(super) fn published(
        &self,
        ca: &IssuingCa,
        rng: &dyn SecureRandom,
    ) -> Result<(CrlPart, Option<RevocationUrls>), IdentityError> {
        let mut random = [0];
        rng.fill(&mut random)
            .map_err(|ring::error::Unspecified| IdentityError::NoRandomness)?;
        let [random] = random;
        let part = CrlPart::of(self.crl_parts(), random);
        let urls = |url: &PublicUrl| url.urls(ca.key_identifier(), part);
        Ok((part, self.public_url.as_ref().map(urls)))
    }

    /// What the certificate for this grant must say.
    fn expect(
        &self,
        ca: &IssuingCa,
        grant: &IssuanceGrant,
        now: UnixTime,
        rng: &dyn SecureRandom,
    ) -> Result<Expectation, IdentityError> {
        let profile = self.profile(grant.class());
        let (not_before, not_after) = validity(profile, ca, now)?;
        let (gateway, serial) = (grant.gateway_id(), grant.hardware_serial());
        let (crl_part, revocation) = self.published(ca, rng)?;
        Ok(Expectation {
            gateway: *grant.gateway_id(),
            hardware_serial: grant.hardware_serial().to_owned(),
            spiffe_id: profile.spiffe_id(gateway),
            additions: profile.additions(gateway, grant.class(), serial)?,
            subject_spki: grant.ldevid_spki().to_vec(),
            crl_part,
            revocation,
            now,
            not_before,
            not_after,
        })
    }
}

/// Bounded by the CA's own validity, so that a path never ends before its
/// leaf.
pub(super) fn validity(
    profile: &Profile,
    ca: &IssuingCa,
    now: UnixTime,
) -> Result<(UnixTime, UnixTime), IdentityError> {
    let (not_before, not_after) = (ca.not_before(), ca.not_after());
    if now < not_before || now >= not_after {
        return Err(IdentityError::CaNotValid {
            not_before,
            not_after,
            now,
        });
    }
    let until = now.plus(profile.validity_seconds());
    Ok((
        now.plus(-BACKDATE_SECONDS).max(not_before),
        until.min(not_after),
    ))
}

/// A certificate that passed every check and lacks only the CA's signature.
/// Only [`Issuer::prepare`] makes one; signing consumes it.
#[must_use = "a linted certificate is an identity that was granted; sign it or say why not"]
pub struct LintedCertificate {
    to_be_signed: Vec<u8>,
    serial: [u8; x509::SERIAL_OCTETS],
    expected: Expectation,
    ca: Arc<IssuingCa>,
}

impl LintedCertificate {
    /// Signs with the CA's key, and checks the signature before it leaves.
    /// Blocks as [`super::CaSigner::sign`] does.
    ///
    /// # Errors
    /// [`IdentityError::Sign`], [`IdentityError::BadSignature`].
    pub fn sign(self) -> Result<Ldevid, IdentityError> {
        let leaf = self.ca.signed(&self.to_be_signed)?;
        Ok(Ldevid {
            sha256: crate::digest::sha256(&[&leaf]),
            chain: vec![leaf, self.ca.certificate().to_vec()],
            issuer_key_id: self.ca.key_identifier().to_vec(),
            serial_hex: hex::encode(self.serial),
            crl_part: self.expected.crl_part,
            gateway_id: self.expected.gateway,
            issued_at: self.expected.now,
            not_before: self.expected.not_before,
            not_after: self.expected.not_after,
        })
    }
}

impl fmt::Debug for LintedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LintedCertificate")
            .field("gateway", &self.expected.gateway)
            .field("serial", &hex::encode(self.serial))
            .finish_non_exhaustive()
    }
}

/// An issued LDevID, to be recorded and then answered.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ldevid {
    /// DER: the LDevID, then the issuing CA.
    pub chain: Vec<Vec<u8>>,
    /// SHA-256 of the LDevID's DER.
    pub sha256: [u8; 32],
    /// Key identifier of the issuing CA that signed it.
    pub issuer_key_id: Vec<u8>,
    /// Serial number, 32 lower-case hex digits.
    pub serial_hex: String,
    /// The CRL that answers for it.
    pub crl_part: CrlPart,
    /// Whose it is.
    pub gateway_id: Ueid,
    /// When it was issued.
    pub issued_at: UnixTime,
    /// Start of validity, back-dated.
    pub not_before: UnixTime,
    /// End of validity (inclusive, RFC 5280 §4.1.2.5).
    pub not_after: UnixTime,
}

impl Ldevid {
    /// When to attest again to renew: two thirds of the way, which leaves the
    /// last third for retries.
    #[must_use]
    pub fn renew_after(&self) -> UnixTime {
        let lifetime = self
            .not_after
            .seconds()
            .saturating_sub(self.issued_at.seconds());
        self.issued_at.plus(lifetime / 3 * 2)
    }

    /// Leaf and issuing CA in PEM.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        pem::encode_chain(&self.chain)
    }
}
