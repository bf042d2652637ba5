//! Items of CBOR by the names that the draft gives them: each reader knows
//! where it is, so that an error says it.

use std::fmt;

use ciborium::{Value, de::Error as DecodeError};

use super::{CorimError, MAX_DEPTH};
use crate::reference_values::shown;

/// An item and the way to it.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) at: String,
    pub(super) value: Value,
}

impl Item {
    /// Exactly one item, no deeper than [`MAX_DEPTH`].
    pub(super) fn decode(at: &str, mut bytes: &[u8]) -> Result<Self, CorimError> {
        let wrong = |why| CorimError::Cbor {
            at: at.to_owned(),
            why,
        };
        let value = ciborium::de::from_reader_with_recursion_limit(&mut bytes, MAX_DEPTH).map_err(
            |error| {
                wrong(match error {
                    DecodeError::Io(_) => "CBOR that ends early",
                    DecodeError::Syntax(_) | DecodeError::Semantic(..) => "not CBOR",
                    DecodeError::RecursionLimitExceeded => "CBOR that is nested too deep",
                })
            },
        )?;
        if !bytes.is_empty() {
            return Err(wrong("bytes after the end of the CBOR"));
        }
        Ok(Self {
            at: at.to_owned(),
            value,
        })
    }

    fn wrong(&self, expected: &'static str) -> CorimError {
        CorimError::Type {
            at: self.at.clone(),
            expected,
        }
    }

    /// Of the draft's type, and yet not allowed.
    pub(super) fn refused(&self, why: impl Into<String>) -> CorimError {
        CorimError::Value {
            at: self.at.clone(),
            why: why.into(),
        }
    }

    fn below(&self, name: impl fmt::Display, value: Value) -> Self {
        Self {
            at: format!("{}.{name}", self.at),
            value,
        }
    }

    pub(super) fn map(self) -> Result<Map, CorimError> {
        match self.value {
            Value::Map(entries) => Map::new(self.at, entries),
            _ => Err(self.wrong("a map")),
        }
    }

    /// The items of an array of at least one.
    pub(super) fn some(self) -> Result<Vec<Self>, CorimError> {
        let at = self.at.clone();
        let items = self.array()?;
        if items.is_empty() {
            return Err(CorimError::Type {
                at,
                expected: "an array of at least one",
            });
        }
        Ok(items)
    }

    pub(super) fn array(self) -> Result<Vec<Self>, CorimError> {
        let Value::Array(items) = self.value else {
            return Err(self.wrong("an array"));
        };
        let below = |(index, value)| Self {
            at: format!("{}[{index}]", self.at),
            value,
        };
        Ok(items.into_iter().enumerate().map(below).collect())
    }

    /// An array of so many items.
    pub(super) fn tuple<const N: usize>(
        self,
        expected: &'static str,
    ) -> Result<[Self; N], CorimError> {
        let wrong = self.wrong(expected);
        self.array()?.try_into().map_err(|_| wrong)
    }

    pub(super) fn bytes(self) -> Result<Vec<u8>, CorimError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.wrong("a byte string")),
        }
    }

    /// A text, cut and inert: it is for people only.
    pub(super) fn text(self) -> Result<String, CorimError> {
        match self.value {
            Value::Text(text) => Ok(shown(&text)),
            _ => Err(self.wrong("a text string")),
        }
    }

    pub(super) fn int(self) -> Result<i64, CorimError> {
        match &self.value {
            Value::Integer(number) => {
                i64::try_from(*number).map_err(|_| self.wrong("an integer of 64 bits"))
            }
            _ => Err(self.wrong("an integer")),
        }
    }

    pub(super) fn uint(self) -> Result<u64, CorimError> {
        match &self.value {
            Value::Integer(number) => {
                u64::try_from(*number).map_err(|_| self.wrong("an unsigned integer"))
            }
            _ => Err(self.wrong("an unsigned integer")),
        }
    }

    /// A tag and what it is on.
    pub(super) fn tagged(self) -> Result<(u64, Self), CorimError> {
        match self.value {
            Value::Tag(tag, inner) => {
                let at = format!("{}.#6.{tag}", self.at);
                Ok((tag, Self { at, value: *inner }))
            }
            _ => Err(self.wrong("a tagged item")),
        }
    }

    /// Seconds since the epoch, with or without tag 1 (`time` of CDDL).
    pub(super) fn time(self) -> Result<i64, CorimError> {
        match self.value {
            Value::Tag(1, inner) => Self {
                at: self.at,
                value: *inner,
            }
            .int(),
            Value::Integer(_) => self.int(),
            _ => Err(self.wrong("a time in seconds (tag 1)")),
        }
    }

    /// What it says, for people: short and inert.
    pub(super) fn shown(&self) -> String {
        show(&self.value)
    }
}

/// A map whose entries are taken out one by one.
pub(super) struct Map {
    pub(super) at: String,
    entries: Vec<(Value, Value)>,
}

impl Map {
    fn new(at: String, entries: Vec<(Value, Value)>) -> Result<Self, CorimError> {
        let mut keys: Vec<String> = Vec::with_capacity(entries.len());
        for (key, _) in &entries {
            match key {
                Value::Integer(_) | Value::Text(_) => keys.push(format!("{key:?}")),
                _ => {
                    return Err(CorimError::Type {
                        at,
                        expected: "keys that are integers or texts",
                    });
                }
            }
        }
        keys.sort_unstable();
        if let Some([key, _]) = keys.array_windows().find(|[one, other]| one == other) {
            return Err(CorimError::Twice {
                key: shown(key),
                at,
            });
        }
        Ok(Self { at, entries })
    }

    /// The entry of `key`, called `name`.
    pub(super) fn take(&mut self, name: &'static str, key: i64) -> Option<Item> {
        let wanted = Value::from(key);
        let at = self
            .entries
            .iter()
            .position(|(found, _)| *found == wanted)?;
        let (_, value) = self.entries.swap_remove(at);
        Some(Item {
            at: format!("{}.{name}", self.at),
            value,
        })
    }

    pub(super) fn need(&mut self, name: &'static str, key: i64) -> Result<Item, CorimError> {
        self.take(name, key).ok_or_else(|| CorimError::Missing {
            at: self.at.clone(),
            missing: name,
        })
    }

    /// Keys that nobody took, as text.
    pub(super) fn left_over(&self) -> Vec<String> {
        self.entries.iter().map(|(key, _)| show(key)).collect()
    }

    /// For a map that the draft does not let be extended.
    pub(super) fn finish(self) -> Result<(), CorimError> {
        match self.entries.first() {
            None => Ok(()),
            Some((key, _)) => Err(CorimError::UnknownKey {
                key: show(key),
                at: self.at,
            }),
        }
    }

    /// All entries, each with its key.
    pub(super) fn into_entries(self) -> impl Iterator<Item = (Item, Item)> {
        let at = self.at;
        self.entries.into_iter().map(move |(key, value)| {
            let place = Item {
                at: at.clone(),
                value: Value::Null,
            };
            let name = show(&key);
            (place.below("key", key), place.below(name, value))
        })
    }
}

/// Short and inert.
fn show(value: &Value) -> String {
    match value {
        Value::Integer(number) => i128::from(*number).to_string(),
        Value::Text(text) => shown(text),
        Value::Bytes(bytes) => {
            let (start, rest) = bytes.split_at(bytes.len().min(32));
            let dots = if rest.is_empty() { "" } else { "…" };
            format!("{}{dots}", hex::encode(start))
        }
        Value::Bool(bool) => bool.to_string(),
        Value::Tag(37, inner) => match inner.as_bytes().map(Vec::as_slice) {
            Some(bytes @ [_, ..]) if bytes.len() == 16 => uuid(bytes),
            _ => format!("37({})", show(inner)),
        },
        Value::Tag(111, inner) => match inner.as_bytes() {
            Some(bytes) => format!("OID {}", crate::endorsement::dotted(bytes)),
            None => format!("111({})", show(inner)),
        },
        Value::Tag(tag, inner) => format!("{tag}({})", show(inner)),
        Value::Array(items) => format!("[{} items]", items.len()),
        Value::Map(entries) => format!("{{{} entries}}", entries.len()),
        _ => "a simple value".to_owned(),
    }
}

/// RFC 9562 §4.
pub(super) fn uuid(bytes: &[u8]) -> String {
    let hex = hex::encode(bytes);
    let mut groups = Vec::new();
    let mut rest = hex.as_str();
    for len in [8, 4, 4, 4, 12] {
        let (group, after) = rest.split_at(rest.len().min(len));
        groups.push(group);
        rest = after;
    }
    groups.join("-")
}
