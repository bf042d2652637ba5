//! The JSON shape of reference values: read strictly, written canonically.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};

use super::{Accepted, Banks};
use crate::time::UnixTime;

/// `{"pcrs": {bank: {index: [value]}}, "until": [window]}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) pcrs: Unique<Unique<Vec<String>>>,
    pub(super) until: Option<Vec<Window>>,
}

/// `{"end": time, "pcrs": {bank: {index: [value]}}}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Window {
    pub(super) end: String,
    pub(super) pcrs: Unique<Unique<Vec<String>>>,
}

/// A JSON object in which no key occurs twice. (serde's maps let the last one
/// win: two readers of one document could then see two sets.)
pub(super) struct Unique<V>(pub(super) BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Unique<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueVisitor(PhantomData))
    }
}

struct UniqueVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for UniqueVisitor<V> {
    type Value = Unique<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some(key) = access.next_key::<String>()? {
            let value = access.next_value()?;
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!(
                    "key {:?} occurs twice",
                    super::shown(&key)
                )));
            }
            map.insert(key, value);
        }
        Ok(Unique(map))
    }
}

/// Written by hand, so that the order is ours: it is hashed. A set without
/// ends is written as it was before there were any.
pub(super) fn canonical(banks: &Banks, windows: &BTreeMap<UnixTime, Banks>) -> String {
    let until: Vec<String> = windows
        .iter()
        .map(|(end, banks)| format!("{{\"end\":\"{end}\",{}}}", pcrs(banks)))
        .collect();
    if until.is_empty() {
        return format!("{{{}}}", pcrs(banks));
    }
    format!("{{{},\"until\":[{}]}}", pcrs(banks), until.join(","))
}

fn pcrs(banks: &Banks) -> String {
    let list = |values: &Accepted| {
        values
            .iter()
            .map(|value| format!("\"{}\"", hex::encode(value)))
            .collect::<Vec<_>>()
            .join(",")
    };
    let bank = |pcrs: &BTreeMap<u32, Accepted>| {
        pcrs.iter()
            .map(|(index, values)| format!("\"{index}\":[{}]", list(values)))
            .collect::<Vec<_>>()
            .join(",")
    };
    let banks: Vec<String> = banks
        .iter()
        .map(|(alg, pcrs)| format!("\"{}\":{{{}}}", alg.name(), bank(pcrs)))
        .collect();
    format!("\"pcrs\":{{{}}}", banks.join(","))
}
