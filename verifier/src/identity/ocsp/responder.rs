//! The delegated responder (RFC 6960 §2.6, §4.2.2.2): a key of its own, so that
//! the CA's key, which may be slow or count what it signs, is asked once in
//! hours and not for every answer. The key lives in this process's memory and
//! nowhere else, and its certificate for a day: nothing is there to be stolen
//! from a disk, and nothing has to be revoked.

use std::sync::Arc;

use ring::rand::SecureRandom;

use super::response::{SingleResponse, response_data, successful};
use crate::{
    identity::{
        IdentityError,
        certificate::{self as x509, Template},
        der,
        issuing::IssuingCa,
        oid,
        profile::BACKDATE_SECONDS,
        signer::{CaSigner as _, FileSigner, generate_pkcs8},
    },
    time::UnixTime,
};

/// Lifetime of the responder's certificate.
const VALIDITY_SECONDS: i64 = 24 * 3600;

/// Signs answers in the name of one CA.
#[derive(Debug)]
pub struct OcspResponder {
    ca: Arc<IssuingCa>,
    key: FileSigner,
    /// SHA-1 of the public key: what OCSP knows a responder by.
    key_hash: Vec<u8>,
    certificate: Vec<u8>,
    renew_at: UnixTime,
    not_after: UnixTime,
}

impl OcspResponder {
    /// A new key, certified by `ca`. Blocks as [`super::super::CaSigner::sign`].
    ///
    /// # Errors
    /// [`IdentityError::CaNotValid`]; randomness; the signer.
    pub fn issue(
        ca: Arc<IssuingCa>,
        now: UnixTime,
        rng: &dyn SecureRandom,
    ) -> Result<Self, IdentityError> {
        let (not_before, ends) = (ca.not_before(), ca.not_after());
        if now < not_before || now >= ends {
            return Err(IdentityError::CaNotValid {
                not_before,
                not_after: ends,
                now,
            });
        }
        let key = FileSigner::from_pkcs8(&generate_pkcs8(rng)?)?;
        let key_id = key.public().key_identifier();
        let not_after = now.plus(VALIDITY_SECONDS).min(ends);
        let name = format!("Holdfast OCSP {}", hex::encode(&key_id[..4]));
        let certificate = ca.signed(
            &Template {
                serial: &x509::random_serial(rng)?,
                issuer: ca.subject(),
                not_before: now.plus(-BACKDATE_SECONDS).max(not_before),
                not_after,
                subject: &x509::name(&[(oid::COMMON_NAME, der::utf8_string(&name))]),
                spki: &key.public().spki(),
                extensions: &[
                    x509::authority_key_identifier(ca.key_identifier()),
                    x509::subject_key_identifier(&key_id),
                    x509::key_usage(x509::DIGITAL_SIGNATURE),
                    x509::extended_key_usage(oid::OCSP_SIGNING),
                    // §4.2.2.2.1: nobody need ask whether this one is revoked.
                    x509::extension(oid::OCSP_NO_CHECK, false, &der::null()),
                ],
            }
            .to_be_signed(ca.public())?,
        )?;
        let sha1 = ring::digest::digest(
            &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
            key.public().point(),
        );
        Ok(Self {
            ca,
            key,
            key_hash: sha1.as_ref().to_vec(),
            certificate,
            renew_at: now.plus(VALIDITY_SECONDS / 2).min(not_after),
            not_after,
        })
    }

    /// In whose name it answers.
    #[must_use]
    pub fn ca(&self) -> &Arc<IssuingCa> {
        &self.ca
    }

    /// Whether its certificate is in force.
    #[must_use]
    pub fn serves_at(&self, now: UnixTime) -> bool {
        now < self.not_after
    }

    /// When another is to take its place.
    #[must_use]
    pub fn renew_at(&self) -> UnixTime {
        self.renew_at
    }

    /// Signs an answer that counts for `seconds`, but not beyond the
    /// responder's own certificate.
    ///
    /// # Errors
    /// Times that cannot be written; the signer.
    pub fn respond(
        &self,
        responses: &[SingleResponse<'_>],
        nonce: Option<&[u8]>,
        now: UnixTime,
        seconds: i64,
    ) -> Result<Vec<u8>, IdentityError> {
        let next_update = now.plus(seconds).min(self.not_after);
        let data = response_data(&self.key_hash, responses, nonce, now, next_update)?;
        let signature = self.key.sign(&data)?;
        let algorithm = self.key.public().signature_algorithm();
        Ok(successful(&data, &algorithm, &signature, &self.certificate))
    }
}
