//! TLS client certificates for people, by a CA that the owner keeps for them.

use ring::rand::SecureRandom;

use super::{
    Authority, IdentityError, KeyedCertificate, SecretKey, certificate as x509, der, lint::CaFacts,
    oid, profile::MAX_NAME_CHARS, signer::CaSigner as _,
};
use crate::time::UnixTime;

const DAY: i64 = 24 * 3600;

impl Authority {
    /// A new key, and a client certificate for it of `days` from `now`: common
    /// name `name` (for people), subjectAltName `uris`, extKeyUsage clientAuth.
    ///
    /// # Errors
    /// Randomness; [`IdentityError::CaNotValid`].
    pub fn issue_client(
        &self,
        name: &str,
        uris: &[&str],
        days: u16,
        now: UnixTime,
        rng: &dyn SecureRandom,
    ) -> Result<KeyedCertificate, IdentityError> {
        let key = SecretKey::generate(rng)?;
        let signer = key.signer()?;
        let shown: String = name.chars().take(MAX_NAME_CHARS).collect();
        let subject = x509::name(&[(oid::COMMON_NAME, der::utf8_string(&shown))]);
        let names: Vec<Vec<u8>> = uris.iter().map(|uri| x509::uri(uri)).collect();
        let ca = CaFacts::parse(self.certificate())?;
        let extensions = [
            x509::authority_key_identifier(&ca.key_identifier),
            x509::subject_key_identifier(&signer.public().key_identifier()),
            x509::key_usage(x509::DIGITAL_SIGNATURE),
            x509::extended_key_usage(oid::CLIENT_AUTH),
            x509::subject_alt_name(&names),
        ];
        let seconds = i64::from(days) * DAY;
        let certificate = self.issue(&subject, signer.public(), &extensions, seconds, now, rng)?;
        Ok(KeyedCertificate { certificate, key })
    }
}
