//! `corim-map` (§4.1): what a CoRIM is and when it holds.

use ciborium::Value;

use super::{
    CorimError, Environment, NotUsed,
    comid::Comid,
    item::{Item, uuid},
    pcrs,
    signed::Dates,
};
use crate::time::UnixTime;

const TAG_CORIM: u64 = 501;
const TAG_COSWID: u64 = 505;
const TAG_COMID: u64 = 506;
const TAG_COTL: u64 = 508;
const TAG_COEV: u64 = 571;
const TAG_SIGN1: u64 = 18;
/// `tagged-concise-rim-type-choice` and `tagged-signed-corim` of drafts 00
/// to 03, which stand around what is tagged already.
const OLDER_WRAPS: [u64; 2] = [500, 502];

/// From when to when something holds, in seconds since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validity {
    /// First second.
    pub not_before: Option<i64>,
    /// Last second.
    pub not_after: Option<i64>,
}

/// A CoRIM that was read. What it says of PCRs is in [`Corim::environments`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Corim {
    /// Its id: a UUID or a text, inert.
    pub id: String,
    /// Its profile, where it has one: then it is not used.
    pub profile: Option<String>,
    /// Its entities' names, inert: who says that they made it.
    pub entities: Vec<String>,
    /// `rim-validity`.
    pub validity: Option<Validity>,
    /// Validities of its signature, by where they stand.
    pub(super) signature_validities: Dates,
    environments: Vec<Environment>,
    not_used: Vec<NotUsed>,
}

impl Corim {
    /// From tag 501, or from the bare map that older drafts and their tools
    /// write.
    pub(super) fn read(item: Item) -> Result<Self, CorimError> {
        let item = match item.value {
            Value::Tag(TAG_CORIM, inner) => Item {
                at: item.at,
                value: *inner,
            },
            Value::Tag(TAG_COEV, _) => return Err(CorimError::Other("evidence (CoEV, tag 571)")),
            Value::Tag(TAG_COMID, _) => return Err(bare_comid()),
            Value::Map(_) => item,
            _ => {
                return Err(CorimError::Other(
                    "something else: neither tag 501 nor a map",
                ));
            }
        };
        if let Some(other) = other_map(&item.value) {
            return Err(other);
        }
        let mut map = item.map()?;
        let id = tag_id(map.need("id", 0)?)?;
        let tags = map.need("tags", 1)?.some()?;
        let dependent = map.take("dependent-rims", 2).map(locators).transpose()?;
        let profile = map.take("profile", 3).map(profile).transpose()?;
        let validity = map.take("rim-validity", 4).map(validity).transpose()?;
        let entities = map.take("entities", 5).map(entities).transpose()?;
        // `* $$corim-map-extension`
        let mut not_used: Vec<NotUsed> = map
            .left_over()
            .into_iter()
            .map(|key| NotUsed::new(format!("extension {key} of the CoRIM"), "unknown"))
            .collect();
        for href in dependent.into_iter().flatten() {
            not_used.push(NotUsed::new(
                format!("dependent CoRIM {href}"),
                "nothing is fetched: import it by itself",
            ));
        }
        let mut environments = Vec::new();
        for tag in tags {
            match concise_tag(tag)? {
                Concise::Comid(comid) => pcrs::collect(comid, &mut environments, &mut not_used)?,
                Concise::Other(what) => not_used.push(NotUsed::new(what, "no reference triples")),
            }
        }
        Ok(Self {
            id,
            profile,
            entities: entities.unwrap_or_default(),
            validity,
            signature_validities: Dates::new(),
            environments,
            not_used,
        })
    }

    /// What it says of PCRs, by environment.
    ///
    /// # Errors
    /// [`CorimError::Profile`]: "failure to recognize the profile identifier
    /// MUST result in the rejection of the entire CoRIM" (§4.1.4).
    pub fn environments(&self) -> Result<&[Environment], CorimError> {
        match &self.profile {
            Some(profile) => Err(CorimError::Profile(profile.clone())),
            None => Ok(&self.environments),
        }
    }

    /// What in it is not used, and why.
    #[must_use]
    pub fn not_used(&self) -> &[NotUsed] {
        &self.not_used
    }

    /// Holds all its dates against `now`.
    pub(super) fn expect_valid_at(&self, now: UnixTime) -> Result<(), CorimError> {
        let own = self.validity.map(|validity| ("the CoRIM", validity));
        let all = own.into_iter().chain(self.signature_validities.clone());
        for (what, validity) in all {
            let refused = |bound, at: i64| CorimError::Validity {
                what,
                bound,
                when: UnixTime::from_seconds(at).to_string(),
            };
            if let Some(at) = validity.not_before.filter(|at| now.seconds() < *at) {
                return Err(refused("is not valid before", at));
            }
            if let Some(at) = validity.not_after.filter(|at| now.seconds() > *at) {
                return Err(refused("has expired", at));
            }
        }
        Ok(())
    }
}

/// Without the outer tags of older drafts.
pub(super) fn unwrapped(mut item: Item) -> Result<Item, CorimError> {
    for tag in OLDER_WRAPS {
        if matches!(item.value, Value::Tag(found, _) if found == tag) {
            (_, item) = item.tagged()?;
        }
    }
    Ok(item)
}

pub(super) fn is_sign1(item: &Item) -> bool {
    matches!(item.value, Value::Tag(TAG_SIGN1, _))
}

fn bare_comid() -> CorimError {
    CorimError::Other("a CoMID by itself: values come in a CoRIM, with id and dates")
}

/// Documents of the same family that are maps too, by what only they have.
fn other_map(value: &Value) -> Option<CorimError> {
    let entries = value.as_map()?;
    let entry = |key: i64| {
        entries
            .iter()
            .find(|(found, _)| *found == Value::from(key))
            .map(|(_, value)| value)
    };
    if entries.iter().any(|(key, _)| key.is_text()) {
        return Some(CorimError::Other(
            "a map with text keys: a CMW collection, or the draft's internal representation",
        ));
    }
    match (entry(0), entry(1), entry(4)) {
        // `concise-mid-tag`: tag-identity 1 and triples 4, both maps.
        (_, Some(Value::Map(_)), Some(Value::Map(_))) => Some(bare_comid()),
        // CoSERV: profile 0 and query 1.
        (Some(Value::Text(_) | Value::Tag(..)), Some(Value::Map(_)), _) => {
            Some(CorimError::Other("a query for endorsements (CoSERV)"))
        }
        (None, Some(Value::Text(_)), _) => Some(CorimError::Other("a discovery document (CoSERV)")),
        (_, Some(Value::Integer(_)), _) => Some(CorimError::Other("a COSE key or header")),
        (Some(Value::Map(_)), Some(Value::Array(_)), _) => {
            Some(CorimError::Other("a list of tags by itself (CoTL)"))
        }
        _ => None,
    }
}

enum Concise {
    Comid(Comid),
    Other(String),
}

/// `$concise-tag-type-choice`: a tag on a byte string; in older drafts a byte
/// string that holds a tag on the map.
fn concise_tag(item: Item) -> Result<Concise, CorimError> {
    let item = match &item.value {
        Value::Bytes(bytes) => Item::decode(&item.at, bytes)?,
        _ => item,
    };
    let (tag, inner) = item.tagged()?;
    match tag {
        TAG_COMID => {
            let map = match &inner.value {
                Value::Bytes(bytes) => Item::decode(&inner.at, bytes)?,
                _ => inner,
            };
            Comid::read(map).map(Concise::Comid)
        }
        TAG_COSWID => Ok(Concise::Other(
            "a software identity tag (CoSWID)".to_owned(),
        )),
        TAG_COTL => Ok(Concise::Other("a list of tags (CoTL)".to_owned())),
        other => Ok(Concise::Other(format!("a tag of type {other}"))),
    }
}

/// `$tag-id-type-choice`: a text, or a UUID, with or without its tag.
pub(super) fn tag_id(item: Item) -> Result<String, CorimError> {
    match &item.value {
        Value::Text(text) if !text.is_empty() => item.text(),
        Value::Bytes(bytes) if bytes.len() == 16 => Ok(uuid(bytes)),
        Value::Tag(37, _) => Ok(item.shown()),
        _ => Err(item.refused("neither a text nor a UUID of 16 bytes")),
    }
}

/// `$profile-type-choice`: a URI (tag 32, or bare), or an OID (tag 111). An
/// array of them in older drafts.
fn profile(item: Item) -> Result<String, CorimError> {
    match &item.value {
        Value::Array(_) => {
            let all: Result<Vec<_>, _> = item.some()?.into_iter().map(profile).collect();
            Ok(all?.join(", "))
        }
        Value::Text(text) if !text.is_empty() => item.text(),
        Value::Tag(32, inner) if inner.is_text() => item.tagged()?.1.text(),
        Value::Tag(111, inner) if inner.is_bytes() => Ok(item.shown()),
        _ => Err(item.refused("neither a URI nor an object identifier")),
    }
}

/// `validity-map`
pub(super) fn validity(item: Item) -> Result<Validity, CorimError> {
    let at = item.at.clone();
    let mut map = item.map()?;
    let not_before = map.take("not-before", 0).map(Item::time).transpose()?;
    let not_after = map.need("not-after", 1)?.time()?;
    map.finish()?;
    if not_before.is_some_and(|not_before| not_before > not_after) {
        return Err(CorimError::Value {
            at,
            why: "ends before it begins".to_owned(),
        });
    }
    Ok(Validity {
        not_before,
        not_after: Some(not_after),
    })
}

/// `[+ corim-locator-map]`: where other CoRIMs are.
fn locators(item: Item) -> Result<Vec<String>, CorimError> {
    let mut hrefs = Vec::new();
    for locator in item.some()? {
        let mut map = locator.map()?;
        let href = map.need("href", 0)?;
        let each = match href.value {
            Value::Array(_) => href.some()?,
            _ => vec![href],
        };
        for href in each {
            hrefs.push(match href.value {
                Value::Tag(32, _) => href.tagged()?.1.text()?,
                _ => href.text()?,
            });
        }
        map.take("thumbprint", 1);
        map.finish()?;
    }
    Ok(hrefs)
}

/// `[+ corim-entity-map]`: name 0, reg-id 1, role 2, and extensions.
pub(super) fn entities(item: Item) -> Result<Vec<String>, CorimError> {
    let mut names = Vec::new();
    for entity in item.some()? {
        let mut map = entity.map()?;
        names.push(map.need("entity-name", 0)?.text()?);
        map.need("role", 2)?.some()?;
    }
    Ok(names)
}
