//! `digest` (§7.7): an algorithm of IANA's Named Information registry (RFC
//! 6920), by number or by name, and a value of its length.

use ciborium::Value;
use holdfast_proto::tpm::HashAlg;

use super::{CorimError, item::Item};

/// Numbers, names and lengths in bytes of the registry.
const REGISTERED: [(i64, &str, usize); 12] = [
    (1, "sha-256", 32),
    (2, "sha-256-128", 16),
    (3, "sha-256-120", 15),
    (4, "sha-256-96", 12),
    (5, "sha-256-64", 8),
    (6, "sha-256-32", 4),
    (7, "sha-384", 48),
    (8, "sha-512", 64),
    (9, "sha3-224", 28),
    (10, "sha3-256", 32),
    (11, "sha3-384", 48),
    (12, "sha3-512", 64),
];

/// A digest that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Digest {
    /// The bank that it can be in; none for all but SHA-256, -384 and -512.
    pub(super) bank: Option<HashAlg>,
    /// Its algorithm as written, inert.
    pub(super) alg: String,
    pub(super) value: Vec<u8>,
}

/// `[+ digest]`, no algorithm twice: of one thing, one algorithm gives one
/// digest.
pub(super) fn digests(item: Item) -> Result<Vec<Digest>, CorimError> {
    let twice = item.refused("two digests of one algorithm for one thing");
    let mut all: Vec<Digest> = Vec::new();
    for digest in item.some()? {
        let digest = Digest::read(digest)?;
        if all.iter().any(|other| other.alg == digest.alg) {
            return Err(twice);
        }
        all.push(digest);
    }
    Ok(all)
}

impl Digest {
    fn read(item: Item) -> Result<Self, CorimError> {
        let [alg, value] = item.tuple("[algorithm, value]")?;
        let registered = match &alg.value {
            Value::Text(name) => REGISTERED.iter().find(|(_, known, _)| known == name),
            Value::Integer(_) => {
                let number = alg.clone().int()?;
                REGISTERED.iter().find(|(known, ..)| *known == number)
            }
            _ => return Err(alg.refused("neither the number nor the name of an algorithm")),
        };
        let name = match registered {
            Some((_, name, _)) => (*name).to_owned(),
            None => alg.shown(),
        };
        let wrong = value.refused(format!("not of the length that {name} has"));
        let value = value.bytes()?;
        if registered.is_some_and(|(.., len)| *len != value.len()) || value.is_empty() {
            return Err(wrong);
        }
        let bank = match name.as_str() {
            "sha-256" => Some(HashAlg::Sha256),
            "sha-384" => Some(HashAlg::Sha384),
            "sha-512" => Some(HashAlg::Sha512),
            _ => None,
        };
        Ok(Self {
            bank,
            alg: name,
            value,
        })
    }
}
