//! `concise-mid-tag` (§5.1): triples of an environment and what is said of it.

use super::{
    CorimError,
    document::{entities, tag_id},
    item::Item,
    measurement::Measurement,
};

/// `triples-map`: names of the triples that are read and not used, by key.
const OTHER_TRIPLES: [(i64, &str); 8] = [
    (1, "endorsed-triples"),
    (2, "identity-triples"),
    (3, "attest-key-triples"),
    (4, "dependency-triples"),
    (5, "membership-triples"),
    (6, "coswid-triples"),
    (8, "conditional-endorsement-series-triples"),
    (10, "conditional-endorsement-triples"),
];

/// A CoMID that was read.
#[derive(Debug)]
pub(super) struct Comid {
    pub(super) id: String,
    pub(super) references: Vec<Reference>,
    /// Names of triples and extensions that are not used.
    pub(super) other: Vec<String>,
}

/// `reference-triple-record`: in this environment, these are good.
#[derive(Debug)]
pub(super) struct Reference {
    pub(super) environment: String,
    pub(super) measurements: Vec<Measurement>,
}

impl Comid {
    pub(super) fn read(item: Item) -> Result<Self, CorimError> {
        let mut map = item.map()?;
        map.take("language", 0).map(Item::text).transpose()?;
        let mut identity = map.need("tag-identity", 1)?.map()?;
        let id = tag_id(identity.need("tag-id", 0)?)?;
        identity
            .take("tag-version", 1)
            .map(Item::uint)
            .transpose()?;
        identity.finish()?;
        map.take("entities", 2).map(entities).transpose()?;
        map.take("linked-tags", 3).map(Item::some).transpose()?;
        let triples = map.need("triples", 4)?;
        // `* $$concise-mid-tag-extension`
        let mut other: Vec<String> = map
            .left_over()
            .into_iter()
            .map(|key| format!("extension {key} of CoMID {id}"))
            .collect();

        let empty = triples.refused("no triples");
        let mut triples = triples.map()?;
        let references = triples.take("reference-triples", 0);
        let is_empty = references.is_none();
        let references = match references {
            None => Vec::new(),
            Some(item) => item
                .some()?
                .into_iter()
                .map(Reference::read)
                .collect::<Result<_, _>>()?,
        };
        for (key, name) in OTHER_TRIPLES {
            if let Some(item) = triples.take(name, key) {
                let count = records(item, key == 1)?;
                other.push(format!("{count} {name} of CoMID {id}"));
            }
        }
        // `* $$triples-map-extension`
        other.extend(
            triples
                .left_over()
                .into_iter()
                .map(|key| format!("triples of type {key} of CoMID {id}")),
        );
        if is_empty && other.is_empty() {
            return Err(empty);
        }
        Ok(Self {
            id,
            references,
            other,
        })
    }
}

impl Reference {
    fn read(item: Item) -> Result<Self, CorimError> {
        let [environment, measurements] = item.tuple("[environment, measurements]")?;
        Ok(Self {
            environment: show_environment(environment)?,
            measurements: measurements
                .some()?
                .into_iter()
                .map(Measurement::read)
                .collect::<Result<_, _>>()?,
        })
    }
}

/// Holds triples that are not used against what all of them share: records of
/// at least two parts. Endorsed ones look like reference triples.
fn records(item: Item, endorsed: bool) -> Result<usize, CorimError> {
    let records = item.some()?;
    let count = records.len();
    for record in records {
        if endorsed {
            Reference::read(record)?;
            continue;
        }
        let wrong = record.refused("a record of fewer than two parts");
        if record.array()?.len() < 2 {
            return Err(wrong);
        }
    }
    Ok(count)
}

/// `environment-map` (§5.1.4.1.1) for people, inert: what the values are of.
fn show_environment(item: Item) -> Result<String, CorimError> {
    let empty = item.refused("an empty environment");
    let mut map = item.map()?;
    let mut parts = Vec::new();
    if let Some(class) = map.take("class", 0) {
        let empty = class.refused("an empty class");
        let mut class = class.map()?;
        let before = parts.len();
        if let Some(vendor) = class.take("vendor", 1) {
            parts.push(format!("vendor {:?}", vendor.text()?));
        }
        if let Some(model) = class.take("model", 2) {
            parts.push(format!("model {:?}", model.text()?));
        }
        if let Some(id) = class.take("class-id", 0) {
            parts.push(format!("class {}", id.shown()));
        }
        if let Some(layer) = class.take("layer", 3) {
            parts.push(format!("layer {}", layer.uint()?));
        }
        if let Some(index) = class.take("index", 4) {
            parts.push(format!("index {}", index.uint()?));
        }
        class.finish()?;
        if parts.len() == before {
            return Err(empty);
        }
    }
    if let Some(instance) = map.take("instance", 1) {
        parts.push(format!("instance {}", instance.shown()));
    }
    if let Some(group) = map.take("group", 2) {
        parts.push(format!("group {}", group.shown()));
    }
    map.finish()?;
    if parts.is_empty() {
        return Err(empty);
    }
    Ok(parts.join(", "))
}
