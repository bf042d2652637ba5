//! The issuing CA at work: prepare, lint, sign.

use std::{fmt, sync::Arc};

use holdfast_proto::binding::Ueid;
use ring::{
    rand::SecureRandom,
    signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey},
};

use super::{
    IdentityError,
    certificate::{self as x509, Template},
    lint::{self, CaFacts, Expectation},
    pem,
    profile::{BACKDATE_SECONDS, Profile, subject},
    signer::CaSigner,
};
use crate::{appraisal::IssuanceGrant, time::UnixTime};

/// An issuing CA: its certificate, its key, and the profile that it follows.
#[derive(Clone, Debug)]
pub struct Issuer {
    ca: Arc<CaFacts>,
    signer: Arc<dyn CaSigner>,
    profile: Profile,
}

impl Issuer {
    /// `ca_certificate` is DER. The key is checked against it here, once.
    ///
    /// # Errors
    /// [`IdentityError::BadCaCertificate`] where it cannot issue,
    /// [`IdentityError::KeyMismatch`] where the signer's key is another.
    pub fn new(
        ca_certificate: &[u8],
        signer: Arc<dyn CaSigner>,
        profile: Profile,
    ) -> Result<Self, IdentityError> {
        let ca = CaFacts::parse(ca_certificate)?;
        if ca.spki != x509::p256_spki(signer.public_point()) {
            return Err(IdentityError::KeyMismatch);
        }
        Ok(Self {
            ca: Arc::new(ca),
            signer,
            profile,
        })
    }

    /// The issuing CA's certificate, DER.
    #[must_use]
    pub fn ca_certificate(&self) -> &[u8] {
        &self.ca.der
    }

    /// When the issuing CA ends.
    #[must_use]
    pub fn ca_not_after(&self) -> UnixTime {
        self.ca.not_after
    }

    /// The profile in force.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.profile
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
        self.write(self.expect(&grant, now)?, rng)
    }

    pub(super) fn write(
        &self,
        expected: Expectation,
        rng: &dyn SecureRandom,
    ) -> Result<LintedCertificate, IdentityError> {
        let serial = x509::random_serial(rng)?;
        let extensions = self.profile.extensions(
            &expected.gateway,
            &expected.hardware_serial,
            &self.ca.key_identifier,
        );
        let to_be_signed = Template {
            serial: &serial,
            issuer: &self.ca.subject,
            not_before: expected.not_before,
            not_after: expected.not_after,
            subject: &subject(&expected.gateway),
            spki: &expected.subject_spki,
            extensions: &extensions,
        }
        .to_be_signed()?;
        lint::lint(&to_be_signed, &self.ca, &expected, rng)?;
        Ok(LintedCertificate {
            to_be_signed,
            serial,
            expected,
            ca: Arc::clone(&self.ca),
            signer: Arc::clone(&self.signer),
        })
    }

    /// What the certificate for this grant must say.
    fn expect(&self, grant: &IssuanceGrant, now: UnixTime) -> Result<Expectation, IdentityError> {
        let (not_before, not_after) = self.validity(now)?;
        Ok(Expectation {
            gateway: *grant.gateway_id(),
            hardware_serial: grant.hardware_serial().to_owned(),
            spiffe_id: self.profile.spiffe_id(grant.gateway_id()),
            subject_spki: grant.ldevid_spki().to_vec(),
            now,
            not_before,
            not_after,
        })
    }

    /// Bounded by the CA's own validity, so that a path never ends before its
    /// leaf.
    pub(super) fn validity(&self, now: UnixTime) -> Result<(UnixTime, UnixTime), IdentityError> {
        let CaFacts {
            not_before,
            not_after,
            ..
        } = *self.ca;
        if now < not_before || now >= not_after {
            return Err(IdentityError::CaNotValid {
                not_before,
                not_after,
                now,
            });
        }
        let until = now.plus(self.profile.validity_seconds());
        Ok((
            now.plus(-BACKDATE_SECONDS).max(not_before),
            until.min(not_after),
        ))
    }
}

/// A certificate that passed every check and lacks only the CA's signature.
/// Only [`Issuer::prepare`] makes one; signing consumes it.
#[must_use = "a linted certificate is an identity that was granted; sign it or say why not"]
pub struct LintedCertificate {
    to_be_signed: Vec<u8>,
    serial: [u8; x509::SERIAL_OCTETS],
    expected: Expectation,
    ca: Arc<CaFacts>,
    signer: Arc<dyn CaSigner>,
}

impl LintedCertificate {
    /// Signs with the CA's key, and checks the signature before it leaves.
    ///
    /// # Errors
    /// [`IdentityError::Sign`], [`IdentityError::BadSignature`].
    pub fn sign(self) -> Result<Ldevid, IdentityError> {
        let signature = self.signer.sign(&self.to_be_signed)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.signer.public_point())
            .verify(&self.to_be_signed, &signature)
            .map_err(|ring::error::Unspecified| IdentityError::BadSignature)?;
        let leaf = x509::assemble(&self.to_be_signed, &signature);
        Ok(Ldevid {
            sha256: crate::digest::sha256(&[&leaf]),
            chain: vec![leaf, self.ca.der.clone()],
            serial_hex: hex::encode(self.serial),
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
    /// Serial number, 32 lower-case hex digits.
    pub serial_hex: String,
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
