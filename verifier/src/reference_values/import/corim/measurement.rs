//! `measurement-map` (§5.1.4.1.4): what was measured, and the values that it
//! is to have, all at once.

use ciborium::Value;

use super::{
    CorimError,
    digest::{Digest, digests},
    item::Item,
};

/// `measurement-values-map`: names of the values that are no PCR's, by key.
/// `name` (11) says nothing about a value and is passed over.
const OTHER_VALUES: [(i64, &str); 13] = [
    (0, "version"),
    (1, "svn"),
    (3, "flags"),
    (4, "raw-value"),
    (5, "raw-value-mask"),
    (6, "mac-addr"),
    (7, "ip-addr"),
    (8, "serial-number"),
    (9, "ueid"),
    (10, "uuid"),
    (12, "name (reserved)"),
    (13, "cryptokeys"),
    (15, "int-range"),
];

/// What a digest is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// No key: the environment itself.
    None,
    Number(u64),
    /// Of another type, inert.
    Other(String),
}

/// A measurement that was read.
#[derive(Debug)]
pub(super) struct Measurement {
    pub(super) key: Key,
    pub(super) digests: Vec<Digest>,
    /// `integrity-registers`, by their names.
    pub(super) registers: Vec<(Key, Vec<Digest>)>,
    /// What else must hold for the values to be good: a PCR tells none of it.
    pub(super) conditions: Vec<String>,
}

impl Measurement {
    pub(super) fn read(item: Item) -> Result<Self, CorimError> {
        let mut map = item.map()?;
        let key = map.take("mkey", 0).map_or(Ok(Key::None), Key::read)?;
        let values = map.need("mval", 1)?;
        let mut conditions = Vec::new();
        if map.take("authorized-by", 2).is_some() {
            conditions.push("authorized-by".to_owned());
        }
        map.finish()?;

        let empty = values.refused("no values");
        let mut values = values.map()?;
        let digest_list = values.take("digests", 2).map(digests).transpose()?;
        let registers = values
            .take("integrity-registers", 14)
            .map(registers)
            .transpose()?;
        let named = values.take("name", 11).map(Item::text).transpose()?;
        for (key, name) in OTHER_VALUES {
            if values.take(name, key).is_some() {
                conditions.push(name.to_owned());
            }
        }
        // `* $$measurement-values-map-extension`
        let extensions = values.left_over().into_iter();
        conditions.extend(extensions.map(|key| format!("extension {key}")));
        let nothing = digest_list.is_none() && registers.is_none() && named.is_none();
        if nothing && conditions.is_empty() {
            return Err(empty);
        }
        Ok(Self {
            key,
            digests: digest_list.unwrap_or_default(),
            registers: registers.unwrap_or_default(),
            conditions,
        })
    }
}

impl Key {
    /// `$measured-element-type-choice`, which profiles extend by tags.
    fn read(item: Item) -> Result<Self, CorimError> {
        match &item.value {
            Value::Integer(_) => item.uint().map(Self::Number),
            Value::Text(_) | Value::Tag(..) => Ok(Self::Other(item.shown())),
            _ => Err(item.refused("no number, text or tag")),
        }
    }
}

/// `integrity-registers-type`: `{ + (uint / text) => [+ digest] }`.
fn registers(item: Item) -> Result<Vec<(Key, Vec<Digest>)>, CorimError> {
    let empty = item.refused("no register");
    let registers = item
        .map()?
        .into_entries()
        .map(|(key, value)| Ok((Key::read(key)?, digests(value)?)))
        .collect::<Result<Vec<_>, CorimError>>()?;
    if registers.is_empty() {
        return Err(empty);
    }
    Ok(registers)
}
