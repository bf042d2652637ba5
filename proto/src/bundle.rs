//! The bundle: all that a gateway needs for first trust, in one line of text.
//! `token create` prints it, `enroll --bundle` reads it; there is no trust on
//! first use. It holds a secret: its file is 0600.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::cbor::{CborError, Decoder, Encoder, Keys};
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
    /// Admits one gateway, or as many as the owner said.
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
/// `Debug`.
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
        let mut out = Encoder::default();
        out.map(7);
        out.integer(SERVER).text(server(&self.server)?);
        out.integer(SERVER_NAME)
            .text(server_name(&self.server_name)?);
        out.integer(SERVER_CA)
            .bytes(certificate(&self.server_ca_der)?);
        out.integer(JOIN_TOKEN).bytes(self.join_token.expose());
        out.integer(POLICY_ROOT_NAME)
            .bytes(self.policy_root_name.as_bytes());
        out.integer(CLASS).text(class(&self.class)?);
        out.integer(EXPIRES).integer(expires(self.expires)?);
        let cbor = Zeroizing::new(out.into_bytes());
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

    fn decode(cbor: &[u8]) -> Result<Self, BundleError> {
        let mut input = Decoder::new(cbor);
        let mut keys = Keys::default();
        let (mut to, mut name, mut ca, mut token) = (None, None, None, None);
        let (mut root, mut kind, mut end) = (None, None, None);
        for _ in 0..input.map("bundle")? {
            match keys.next(&mut input, "bundle key")? {
                SERVER => to = Some(server(input.text("server")?)?.to_owned()),
                SERVER_NAME => name = Some(server_name(input.text("server name")?)?.to_owned()),
                SERVER_CA => ca = Some(certificate(input.bytes("server CA")?)?.to_vec()),
                JOIN_TOKEN => token = Some(JoinToken::new(input.bytes("join token")?)?),
                POLICY_ROOT_NAME => root = Some(policy_root(input.bytes("policy root Name")?)?),
                CLASS => kind = Some(class(input.text("class")?)?.to_owned()),
                EXPIRES => end = Some(expires(input.integer("expiry")?)?),
                other => return Err(BundleError::UnknownKey(other)),
            }
        }
        input.finish()?;
        Ok(Self {
            server: to.ok_or(BundleError::Missing("server"))?,
            server_name: name.ok_or(BundleError::Missing("server name"))?,
            server_ca_der: ca.ok_or(BundleError::Missing("server CA"))?,
            join_token: token.ok_or(BundleError::Missing("join token"))?,
            policy_root_name: root.ok_or(BundleError::Missing("policy root Name"))?,
            class: kind.ok_or(BundleError::Missing("class"))?,
            expires: end.ok_or(BundleError::Missing("expiry"))?,
        })
    }
}

impl JoinToken {
    /// # Errors
    /// [`BundleError::OutOfRange`] where it is not 16 to 64 bytes long.
    pub fn new(secret: &[u8]) -> Result<Self, BundleError> {
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

fn server(text: &str) -> Result<&str, BundleError> {
    let well_formed = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    visible("server", text, MAX_SERVER).and_then(|text| {
        well_formed
            .then_some(text)
            .ok_or(BundleError::OutOfRange("server"))
    })
}

fn server_name(text: &str) -> Result<&str, BundleError> {
    visible("server name", text, MAX_SERVER_NAME)
}

fn class(text: &str) -> Result<&str, BundleError> {
    visible("class", text, MAX_CLASS)
}

fn visible<'a>(field: &'static str, text: &'a str, max: usize) -> Result<&'a str, BundleError> {
    let sound =
        !text.is_empty() && text.len() <= max && text.bytes().all(|byte| byte.is_ascii_graphic());
    sound.then_some(text).ok_or(BundleError::OutOfRange(field))
}

fn certificate(der: &[u8]) -> Result<&[u8], BundleError> {
    (1..=MAX_CERTIFICATE)
        .contains(&der.len())
        .then_some(der)
        .ok_or(BundleError::OutOfRange("server CA"))
}

fn policy_root(bytes: &[u8]) -> Result<Name, BundleError> {
    Name::parse(bytes).map_err(BundleError::PolicyRootName)
}

fn expires(seconds: i64) -> Result<i64, BundleError> {
    (seconds >= 0)
        .then_some(seconds)
        .ok_or(BundleError::OutOfRange("expiry"))
}
