//! The bundle: all that a gateway needs for first trust, in one line of text.
//! `token create` prints it, `enroll --bundle` reads it; there is no trust on
//! first use. It holds a secret: its file is 0600.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ciborium::Value;
use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

use crate::cbor::{self, CborError, Fields, FromValue};
use crate::tpm::{Name, ParseError};

/// What every bundle of this form begins with.
pub const PREFIX: &str = "holdfast-bundle-1.";

/// Longest bundle that is looked at, in characters: a certificate of
/// [`MAX_CERTIFICATE`] in base64, and room for the rest.
const MAX_TEXT: usize = 16 * 1024;

/// Longest DER certificate: an RSA-4096 one with long names takes 2 KiB.
const MAX_CERTIFICATE: usize = 8 * 1024;

/// A DNS name has at most 253 characters (RFC 1035 §2.3.4), a port 5.
const MAX_SERVER: usize = 253 + 1 + 5;
const MAX_SERVER_NAME: usize = 253;

/// A class names a set of reference values.
const MAX_CLASS: usize = 64;

// Keys of the CBOR map.
const SERVER: i64 = 1;
const SERVER_NAME: i64 = 2;
const SERVER_CA: i64 = 3;
const JOIN_TOKEN: i64 = 4;
const POLICY_ROOT_NAME: i64 = 5;
const CLASS: i64 = 6;
const EXPIRES: i64 = 7;

/// First trust of a gateway in its verifier, and of the verifier in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// `host:port` to dial.
    pub server: String,
    /// The name that the server's certificate must have: DNS name or address.
    pub server_name: String,
    /// DER certificate of the only CA whose server certificates count.
    pub server_ca_der: Vec<u8>,
    /// Admits one gateway, or as many as the owner said; or none, and whom the
    /// owner named, or approves, is admitted without.
    pub join_token: JoinToken,
    /// Name of the policy root key, which approves what sealed secrets open for.
    pub policy_root_name: Name,
    /// Class of reference values that the gateway will be appraised by. The
    /// verifier goes by its own record of the token.
    pub class: String,
    /// Seconds since the Unix epoch, when the token ends.
    pub expires: i64,
}

/// The secret of a join token, 16 to 64 bytes. Wiped when dropped; not shown by
/// `Debug`. What the decoder of a bundle keeps on its stack is not wiped.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken(Zeroizing<Vec<u8>>);

/// Text that is not a bundle.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BundleError {
    /// Longer than any bundle.
    #[error("bundle of {0} characters is too long")]
    TooLong(usize),
    /// Another beginning than [`PREFIX`].
    #[error("not a bundle: it must begin with {PREFIX}")]
    Prefix,
    /// Not base64url without padding (RFC 4648 §5).
    #[error("bundle is damaged: not base64url")]
    Base64,
    /// Not the deterministic CBOR of a bundle.
    #[error("bundle is damaged: {0}")]
    Cbor(#[from] CborError),
    /// A key that this version does not know.
    #[error("bundle has unknown key {0}")]
    UnknownKey(i64),
    /// A field is missing.
    #[error("bundle has no {0}")]
    Missing(&'static str),
    /// A field is empty, too long, or has characters that it cannot have.
    #[error("bundle has an unusable {0}")]
    OutOfRange(&'static str),
    /// The policy root's Name is none.
    #[error("bundle has an unusable policy root Name: {0}")]
    PolicyRootName(ParseError),
}

impl Bundle {
    /// One line, without a line feed. Secret.
    ///
    /// # Errors
    /// [`BundleError::OutOfRange`] where a field is one that [`Bundle::parse`]
    /// would refuse: it is the owner who must hear of it, not the gateway.
    pub fn encode(&self) -> Result<Zeroizing<String>, BundleError> {
        self.check()?;
        let cbor = self.to_cbor();
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + cbor.len() * 4 / 3 + 3));
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(cbor.as_slice(), &mut text);
        Ok(text)
    }

    /// White space around the line is ignored: it comes from a file.
    ///
    /// # Errors
    /// Where the text is not exactly one bundle.
    pub fn parse(text: &str) -> Result<Self, BundleError> {
        if text.len() > MAX_TEXT {
            return Err(BundleError::TooLong(text.len()));
        }
        let encoded = text
            .trim_ascii()
            .strip_prefix(PREFIX)
            .ok_or(BundleError::Prefix)?;
        let cbor = URL_SAFE_NO_PAD
            .decode(encoded)
            .map_err(|_| BundleError::Base64)?;
        Self::decode(&Zeroizing::new(cbor))
    }

    fn to_cbor(&self) -> Zeroizing<Vec<u8>> {
        let mut map = cbor::map([
            (SERVER, self.server.as_str().into()),
            (SERVER_NAME, self.server_name.as_str().into()),
            (SERVER_CA, self.server_ca_der.as_slice().into()),
            (JOIN_TOKEN, self.join_token.expose().into()),
            (POLICY_ROOT_NAME, self.policy_root_name.as_bytes().into()),
            (CLASS, self.class.as_str().into()),
            (EXPIRES, self.expires.into()),
        ]);
        // Room enough that no shorter copy is left behind by growth.
        let mut out = Zeroizing::new(Vec::with_capacity(MAX_TEXT));
        ciborium::into_writer(&map, &mut *out).expect("writing to a Vec does not fail");
        for (_, value) in map.as_map_mut().into_iter().flatten() {
            if let Value::Bytes(bytes) = value {
                bytes.zeroize();
            }
        }
        out
    }

    fn decode(received: &[u8]) -> Result<Self, BundleError> {
        let mut map = Fields::from_value("bundle", cbor::decode("bundle", received)?)?;
        let token = Zeroizing::new(needed::<Vec<u8>>(&mut map, "join token", JOIN_TOKEN)?);
        let bundle = Self {
            server: needed(&mut map, "server", SERVER)?,
            server_name: needed(&mut map, "server name", SERVER_NAME)?,
            server_ca_der: needed(&mut map, "server CA", SERVER_CA)?,
            join_token: JoinToken::new(&token)?,
            policy_root_name: policy_root(&needed::<Vec<u8>>(
                &mut map,
                "policy root Name",
                POLICY_ROOT_NAME,
            )?)?,
            class: needed(&mut map, "class", CLASS)?,
            expires: needed(&mut map, "expiry", EXPIRES)?,
        };
        if let Some(key) = map.left_over() {
            return Err(BundleError::UnknownKey(key));
        }
        bundle.check()?;
        cbor::same("bundle", &bundle.to_cbor(), received)?;
        Ok(bundle)
    }

    /// The ranges of the fields, on both sides.
    fn check(&self) -> Result<(), BundleError> {
        server(&self.server)?;
        server_name(&self.server_name)?;
        certificate(&self.server_ca_der)?;
        class(&self.class)?;
        expires(self.expires)
    }
}

fn needed<T: FromValue>(map: &mut Fields, field: &'static str, key: i64) -> Result<T, BundleError> {
    map.take(field, key)?.ok_or(BundleError::Missing(field))
}

impl JoinToken {
    /// No token: a bundle that pins the verifier, and admits nobody.
    #[must_use]
    pub fn none() -> Self {
        Self(Zeroizing::default())
    }

    /// # Errors
    /// [`BundleError::OutOfRange`] where it is neither empty nor 16 to 64 bytes
    /// long.
    pub fn new(secret: &[u8]) -> Result<Self, BundleError> {
        if secret.is_empty() {
            return Ok(Self::none());
        }
        if !(16..=64).contains(&secret.len()) {
            return Err(BundleError::OutOfRange("join token"));
        }
        Ok(Self(Zeroizing::new(secret.to_vec())))
    }

    /// The secret itself, to be sent to the pinned server and nowhere else.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(redacted)")
    }
}

fn server(text: &str) -> Result<(), BundleError> {
    visible("server", text, MAX_SERVER)?;
    text.rsplit_once(':')
        .is_some_and(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
        })
        .then_some(())
        .ok_or(BundleError::OutOfRange("server"))
}

fn server_name(text: &str) -> Result<(), BundleError> {
    visible("server name", text, MAX_SERVER_NAME)
}

fn class(text: &str) -> Result<(), BundleError> {
    visible("class", text, MAX_CLASS)
}

fn visible(field: &'static str, text: &str, max: usize) -> Result<(), BundleError> {
    let sound =
        !text.is_empty() && text.len() <= max && text.bytes().all(|byte| byte.is_ascii_graphic());
    sound.then_some(()).ok_or(BundleError::OutOfRange(field))
}

fn certificate(der: &[u8]) -> Result<(), BundleError> {
    (1..=MAX_CERTIFICATE)
        .contains(&der.len())
        .then_some(())
        .ok_or(BundleError::OutOfRange("server CA"))
}

fn policy_root(bytes: &[u8]) -> Result<Name, BundleError> {
    Name::parse(bytes).map_err(BundleError::PolicyRootName)
}

fn expires(seconds: i64) -> Result<(), BundleError> {
    (seconds >= 0)
        .then_some(())
        .ok_or(BundleError::OutOfRange("expiry"))
}
