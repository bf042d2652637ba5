//! Secrets that the owner gives to the gateways of a class: their names, and
//! what binds one to the gateway that it is delivered to.

use std::{fmt, str::FromStr};

use crate::ueid::Ueid;

/// Longest delivered secret, in bytes.
pub const MAX_DELIVERED: usize = 4096;
/// Names in a class.
pub const MAX_NAMES: usize = 32;
/// Bytes of all secrets of a class: what one answer can have to carry.
pub const MAX_BYTES_OF_CLASS: usize = 64 * 1024;
/// Bytes of the key that one delivery is encrypted with.
pub const DELIVERY_KEY_LEN: usize = 32;

const DELIVERY_TAG: &[u8] = b"holdfast-secret-delivery-v1";

/// A secret's name: 1 to 64 of `a-z 0-9 . _ -`, first a letter or a digit, so
/// that it is inert in paths and logs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretName(String);

/// Not a name for a secret. Does not repeat what was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a secret's name has 1 to 64 of a-z, 0-9, '-', '_' and '.', beginning with a letter or digit"
)]
pub struct NotASecretName;

impl SecretName {
    const MAX: usize = 64;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretName {
    type Err = NotASecretName;

    fn from_str(name: &str) -> Result<Self, NotASecretName> {
        let fits = (1..=Self::MAX).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
        if fits {
            Ok(Self(name.to_owned()))
        } else {
            Err(NotASecretName)
        }
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is authenticated with a delivered secret: for whom it is, and which it
/// is (secrets.proto has the layout). `None` for a class that is longer than
/// any, 255 bytes.
#[must_use]
pub fn delivery_aad(
    gateway: &Ueid,
    class: &str,
    name: &SecretName,
    version: u64,
) -> Option<Vec<u8>> {
    let class_len = u8::try_from(class.len()).ok()?;
    Some(
        [
            DELIVERY_TAG,
            gateway.as_bytes(),
            &version.to_be_bytes(),
            &[class_len],
            class.as_bytes(),
            name.0.as_bytes(),
        ]
        .concat(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_file_names_and_nothing_more() {
        for good in ["db-key", "a", "7", "disk.key_2"] {
            assert_eq!(good.parse::<SecretName>().unwrap().to_string(), good);
        }
        let long = "a".repeat(65);
        for bad in [
            "", "../x", "a/b", ".hidden", "-x", "A", "a b", "a\n", "ü", &long,
        ] {
            assert_eq!(bad.parse::<SecretName>(), Err(NotASecretName), "{bad:?}");
        }
    }

    #[test]
    fn each_part_of_what_is_authenticated_counts() {
        let id = |byte: &str| -> Ueid { format!("01{}", byte.repeat(32)).parse().unwrap() };
        let name = |text: &str| text.parse::<SecretName>().unwrap();
        let all = [
            delivery_aad(&id("ab"), "edge", &name("key"), 1),
            delivery_aad(&id("ac"), "edge", &name("key"), 1),
            delivery_aad(&id("ab"), "edgek", &name("ey"), 1),
            delivery_aad(&id("ab"), "edge", &name("keys"), 1),
            delivery_aad(&id("ab"), "edge", &name("key"), 2),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert!(!all.contains(&None));
    }
}
