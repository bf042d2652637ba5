//! What signs: HMAC-SHA-256 in the form of Standard Webhooks, so that receivers
//! use a library that they have.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac;
use zeroize::Zeroizing;

/// Octets of a secret: below, it could be guessed; above, it is no secret of
/// this kind.
const SECRET_LEN: std::ops::RangeInclusive<usize> = 24..=64;

/// A webhook's secret; shown by nothing.
pub struct WebhookSecret(hmac::Key);

/// It is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a webhook secret: one line, whsec_ and the base64 of 24 to 64 bytes; make one with: \
     printf 'whsec_%s\\n' \"$(openssl rand -base64 32)\""
)]
pub struct BadSecret;

impl WebhookSecret {
    /// From the text of its file.
    ///
    /// # Errors
    /// [`BadSecret`].
    pub fn parse(text: &str) -> Result<Self, BadSecret> {
        let encoded = text.trim_end().strip_prefix("whsec_").ok_or(BadSecret)?;
        let secret = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| BadSecret)?);
        if !SECRET_LEN.contains(&secret.len()) {
            return Err(BadSecret);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &secret)))
    }

    /// `v1,` and the base64 of the MAC over `id.timestamp.body`.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [id, ".", &timestamp.to_string(), ".", body] {
            context.update(part.as_bytes());
        }
        format!("v1,{}", STANDARD.encode(context.sign().as_ref()))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks specification.
    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        assert_eq!(
            secret.sign(
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                "{\"test\": 2432232314}"
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn what_is_no_secret_is_refused_and_none_is_shown() {
        for bad in ["", "whsec_", "secret", "whsec_AAAA", "whsec_%%%"] {
            assert_eq!(WebhookSecret::parse(bad).unwrap_err(), BadSecret, "{bad}");
        }
        let long = format!("whsec_{}", STANDARD.encode([7; 65]));
        assert_eq!(WebhookSecret::parse(&long).unwrap_err(), BadSecret);
        let secret = WebhookSecret::parse(&format!("whsec_{}", STANDARD.encode([7; 24]))).unwrap();
        assert_eq!(format!("{secret:?}"), "WebhookSecret([redacted])");
    }
}
