//! UEID (RFC 9711 §4.2.1): who a gateway is.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Type RAND: an identifier of enough random (here: hashed) bits.
const TYPE_RAND: u8 = 0x01;

/// A gateway's id: 0x01 ‖ SHA-256 of the `SubjectPublicKeyInfo` of its EK.
/// Displays, and parses, as 66 characters of lower-case hex: one spelling only,
/// for an id is also a key in stores and logs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ueid([u8; Self::LEN]);

/// Not a UEID of Holdfast's form.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum UeidError {
    /// RFC 9711 allows 7 to 33 bytes; Holdfast uses 33.
    #[error("UEID of {0} bytes where 33 are needed")]
    Length(usize),
    /// Another type than RAND.
    #[error("UEID of type {0:#04x} where 0x01 is needed")]
    Type(u8),
    /// Not lower-case hex.
    #[error("UEID is not lower-case hex")]
    NotHex,
}

impl Ueid {
    /// Length in bytes.
    pub const LEN: usize = 33;

    /// UEID 01 ‖ `digest`: of the key with this SHA-256 of its
    /// SubjectPublicKeyInfo.
    #[must_use]
    pub fn from_digest(digest: &[u8; 32]) -> Self {
        let mut bytes = [TYPE_RAND; Self::LEN];
        let [_, id @ ..] = &mut bytes;
        *id = *digest;
        Self(bytes)
    }

    /// The digest in it.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        let [_, id @ ..] = &self.0;
        id
    }

    /// # Errors
    /// Where the length or the type is another.
    pub fn parse(bytes: &[u8]) -> Result<Self, UeidError> {
        let bytes =
            <[u8; Self::LEN]>::try_from(bytes).map_err(|_| UeidError::Length(bytes.len()))?;
        match bytes {
            [TYPE_RAND, ..] => Ok(Self(bytes)),
            [other, ..] => Err(UeidError::Type(other)),
        }
    }

    /// The 33 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl AsRef<[u8]> for Ueid {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Ueid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Ueid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ueid({self})")
    }
}

impl FromStr for Ueid {
    type Err = UeidError;

    fn from_str(text: &str) -> Result<Self, UeidError> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(UeidError::NotHex);
        }
        Self::parse(&hex::decode(text).map_err(|_| UeidError::NotHex)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_only() {
        let ueid = Ueid::from_digest(&[0xAB; 32]);
        let text = ueid.to_string();
        assert_eq!(text.parse(), Ok(ueid));
        assert_eq!(text.to_uppercase().parse::<Ueid>(), Err(UeidError::NotHex));
        assert_eq!(format!(" {text}").parse::<Ueid>(), Err(UeidError::NotHex));
        assert_eq!("01ab".parse::<Ueid>(), Err(UeidError::Length(2)));
        assert_eq!(
            text.replacen("01", "02", 1).parse::<Ueid>(),
            Err(UeidError::Type(2))
        );
    }
}
