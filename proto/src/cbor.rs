//! Deterministic CBOR (RFC 8949 §4.2.1) on [`ciborium`], which by itself takes
//! any encoding of an item: the limits and the rule that claims, results and
//! bundles share. There is no codec here.
//!
//! The rule is that what was read, written again, is the very bytes that came. Longer forms, indefinite lengths, keys out of order or twice and
//! what the reader overlooked are all refused by it.

use std::collections::BTreeMap;

use ciborium::Value;
use ciborium::de::Error as DecodeError;
use thiserror::Error;

/// Deepest nesting that is followed: an EAR's payload takes 4 levels, a
/// COSE_Sign1 3. ciborium's own limit is 256; it allocates as items come, never
/// by a declared length.
const MAX_DEPTH: usize = 8;

/// Bytes that are not the deterministic CBOR that was expected.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CborError {
    /// The input ends inside an item.
    #[error("{item}: input ends early")]
    Truncated {
        /// What was being read.
        item: &'static str,
    },
    /// Not well-formed (RFC 8949 §3), not UTF-8, or no item of the data model
    /// that is in use.
    #[error("{item}: malformed")]
    Malformed {
        /// What was being read.
        item: &'static str,
    },
    /// Arrays, maps and tags in one another, deeper than anything of ours.
    #[error("{item}: nested too deep")]
    TooDeep {
        /// What was being read.
        item: &'static str,
    },
    /// Bytes are left after the end of the outermost item.
    #[error("{item}: {count} byte(s) after the end")]
    TrailingBytes {
        /// What was being read.
        item: &'static str,
        /// How many.
        count: usize,
    },
    /// Not the deterministic encoding (RFC 8949 §4.2.1) of what it says.
    #[error("{item}: not in deterministic encoding")]
    NotDeterministic {
        /// What was being read.
        item: &'static str,
    },
    /// Another type of item than the one expected here.
    #[error("{item}: found {found}, expected {expected}")]
    WrongType {
        /// The item that was being read.
        item: &'static str,
        /// What was there.
        found: &'static str,
        /// What should have been.
        expected: &'static str,
    },
    /// A number or a length outside the range of its item.
    #[error("{item}: out of range")]
    OutOfRange {
        /// The item that was being read.
        item: &'static str,
    },
    /// A map key for the second time (RFC 8949 §5.6).
    #[error("{item}: key {key} twice")]
    DuplicateKey {
        /// The map.
        item: &'static str,
        /// The key.
        key: i64,
    },
}

/// Exactly one item, within [`MAX_DEPTH`]. The caller caps the input and holds
/// the result to [`same`].
pub(crate) fn decode(item: &'static str, mut input: &[u8]) -> Result<Value, CborError> {
    let value =
        ciborium::de::from_reader_with_recursion_limit(&mut input, MAX_DEPTH).map_err(|error| {
            match error {
                DecodeError::Io(_) => CborError::Truncated { item },
                DecodeError::Syntax(_) | DecodeError::Semantic(..) => CborError::Malformed { item },
                DecodeError::RecursionLimitExceeded => CborError::TooDeep { item },
            }
        })?;
    match input.len() {
        0 => Ok(value),
        count => Err(CborError::TrailingBytes { item, count }),
    }
}

pub(crate) fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).expect("writing to a Vec does not fail");
    out
}

/// Refuses what is not its own re-encoding.
pub(crate) fn same(item: &'static str, encoded: &[u8], received: &[u8]) -> Result<(), CborError> {
    if encoded == received {
        Ok(())
    } else {
        Err(CborError::NotDeterministic { item })
    }
}

/// A map with integer keys, in the order of their encodings: unsigned before
/// negative, then by absolute value.
pub(crate) fn map(entries: impl IntoIterator<Item = (i64, Value)>) -> Value {
    let mut entries: Vec<_> = entries.into_iter().collect();
    entries.sort_by_key(|(key, _)| (*key < 0, key.unsigned_abs()));
    let entries = entries.into_iter();
    Value::Map(entries.map(|(key, value)| (key.into(), value)).collect())
}

/// The entries of a map with integer keys, to be taken out one by one.
pub(crate) struct Fields(BTreeMap<i64, Value>);

impl Fields {
    /// The value of `key`, called `item` in errors.
    pub(crate) fn take<T: FromValue>(
        &mut self,
        item: &'static str,
        key: i64,
    ) -> Result<Option<T>, CborError> {
        let value = self.0.remove(&key);
        value.map(|value| T::from_value(item, value)).transpose()
    }

    /// A key that nobody took.
    pub(crate) fn left_over(&self) -> Option<i64> {
        self.0.keys().next().copied()
    }
}

/// What a [`Value`] can be taken for. `item` is its name in errors.
pub(crate) trait FromValue: Sized {
    fn from_value(item: &'static str, value: Value) -> Result<Self, CborError>;
}

impl FromValue for Value {
    fn from_value(_: &'static str, value: Value) -> Result<Self, CborError> {
        Ok(value)
    }
}

impl FromValue for i64 {
    fn from_value(item: &'static str, value: Value) -> Result<Self, CborError> {
        let integer = value.into_integer().map_err(wrong(item, "integer"))?;
        Self::try_from(integer).map_err(|_| CborError::OutOfRange { item })
    }
}

impl FromValue for u64 {
    fn from_value(item: &'static str, value: Value) -> Result<Self, CborError> {
        let integer = value.into_integer().map_err(wrong(item, "integer"))?;
        Self::try_from(integer).map_err(|_| CborError::OutOfRange { item })
    }
}

impl FromValue for Vec<u8> {
    fn from_value(item: &'static str, value: Value) -> Result<Self, CborError> {
        value.into_bytes().map_err(wrong(item, "byte string"))
    }
}

impl<const N: usize> FromValue for [u8; N] {
    fn from_value(item: &'static str, value: Value) -> Result<Self, CborError> {
        let bytes = Vec::from_value(item, value)?;
        Self::try_from(bytes).map_err(|_| CborError::OutOfRange { item })
    }
}

impl FromValue for String {
    fn from_value(item: &'static str, value: Value) -> Result<Self, CborError> {
        value.into_text().map_err(wrong(item, "text string"))
    }
}

impl FromValue for Vec<String> {
    fn from_value(item: &'static str, value: Value) -> Result<Self, CborError> {
        let items = value.into_array().map_err(wrong(item, "array"))?;
        let texts = items.into_iter();
        texts.map(|text| String::from_value(item, text)).collect()
    }
}

impl FromValue for Fields {
    fn from_value(item: &'static str, value: Value) -> Result<Self, CborError> {
        let mut fields = BTreeMap::new();
        for (key, value) in value.into_map().map_err(wrong(item, "map"))? {
            let key = i64::from_value(item, key)?;
            if fields.insert(key, value).is_some() {
                return Err(CborError::DuplicateKey { item, key });
            }
        }
        Ok(Self(fields))
    }
}

fn wrong(item: &'static str, expected: &'static str) -> impl FnOnce(Value) -> CborError {
    move |value| CborError::WrongType {
        item,
        found: type_name(&value),
        expected,
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) => "integer",
        Value::Bytes(_) => "byte string",
        Value::Text(_) => "text string",
        Value::Array(_) => "array",
        Value::Map(_) => "map",
        Value::Tag(..) => "tag",
        _ => "float or simple value",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_take_the_order_of_their_encodings() {
        let keys = [0, 23, 24, 255, 256, 65_536, -1, -24, -25, -257, i64::MIN];
        let sorted = map(keys.iter().rev().map(|key| (*key, Value::Null)));
        let found: Vec<_> = sorted.into_map().unwrap();
        let encoded: Vec<_> = found.iter().map(|(key, _)| encode(key)).collect();
        assert!(encoded.is_sorted());
        assert!(found.iter().map(|(key, _)| key).eq(&keys.map(Value::from)));
    }

    #[test]
    fn the_end_and_the_depth_are_exact() {
        let item = "test";
        let nested = |depth: usize| [vec![0x81; depth], vec![0]].concat();
        assert!(decode(item, &nested(MAX_DEPTH)).is_ok());
        assert_eq!(
            decode(item, &nested(MAX_DEPTH + 1)),
            Err(CborError::TooDeep { item })
        );
        for truncated in [&[][..], &[0x18], &[0x42, 0], &[0x81], &[0xA1, 0]] {
            assert_eq!(decode(item, truncated), Err(CborError::Truncated { item }));
        }
        for malformed in [&[0x1C][..], &[0xFF], &[0x61, 0xFF], &[0xF8, 0x20]] {
            assert_eq!(decode(item, malformed), Err(CborError::Malformed { item }));
        }
        let count = 2;
        assert_eq!(
            decode(item, &[0, 0, 0]),
            Err(CborError::TrailingBytes { item, count })
        );
    }

    /// A length of 2^64 - 1 in every type that has one, and no content.
    #[test]
    fn a_length_that_lies_allocates_nothing() {
        let item = "test";
        for initial in [0x5B, 0x7B, 0x9B, 0xBB] {
            let lie = [&[initial][..], &[0xFF; 8]].concat();
            assert_eq!(decode(item, &lie), Err(CborError::Truncated { item }));
        }
    }

    #[test]
    fn fields_have_integer_keys_once_each() {
        let item = "test";
        let of = |pairs: Vec<(Value, Value)>| Fields::from_value(item, Value::Map(pairs)).err();
        let (found, expected) = ("text string", "integer");
        let refused = CborError::WrongType {
            item,
            found,
            expected,
        };
        assert_eq!(of(vec![("1".into(), 0.into())]), Some(refused));
        let key = -1;
        let twice = vec![(key.into(), 0.into()), (key.into(), 0.into())];
        assert_eq!(of(twice), Some(CborError::DuplicateKey { item, key }));
        let huge = vec![(u64::MAX.into(), 0.into())];
        assert_eq!(of(huge), Some(CborError::OutOfRange { item }));
    }
}
