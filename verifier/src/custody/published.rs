//! The public halves of result keys, for those who verify results: the current
//! one and those of before that still count, as a JWK Set (RFC 7517) and as a
//! COSE_KeySet (RFC 9052 §7). Their `kid` is the one in results: for JWT its
//! hex, for CWT its octets.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ciborium::Value;
use serde_json::json;

use super::{
    CustodyError,
    keyring::{KeyEntry, KeyKind, Keyring},
};
use crate::{
    config::home::file,
    identity::{CaPublic, pem},
    time::UnixTime,
};

/// Names and contents.
pub(super) fn files(
    ring: &Keyring,
    now: UnixTime,
) -> Result<[(&'static str, Vec<u8>); 3], CustodyError> {
    let current = ring.current(KeyKind::Result);
    let keys = std::iter::once(current)
        .chain(ring.previous(KeyKind::Result, now))
        .map(PublicKey::of)
        .collect::<Result<Vec<_>, _>>()?;
    let jwks = json!({ "keys": keys.iter().map(PublicKey::jwk).collect::<Vec<_>>() });
    let mut cose = Vec::new();
    ciborium::into_writer(
        &Value::Array(keys.iter().map(PublicKey::cose).collect()),
        &mut cose,
    )
    .map_err(|e| CustodyError::Published(e.to_string()))?;
    let first = keys
        .first()
        .map(|key| key.public.spki())
        .unwrap_or_default();
    Ok([
        (
            file::RESULT_PUBLIC,
            pem::encode("PUBLIC KEY", &first).into_bytes(),
        ),
        (file::RESULT_JWKS, format!("{jwks:#}\n").into_bytes()),
        (file::RESULT_COSE, cose),
    ])
}

struct PublicKey {
    id: Vec<u8>,
    public: CaPublic,
}

impl PublicKey {
    fn of(entry: &KeyEntry) -> Result<Self, CustodyError> {
        let bad = || CustodyError::Published(format!("result key {} has no public half", entry.id));
        let spki = entry.public.as_deref().ok_or_else(bad)?;
        let spki = hex::decode(spki).map_err(|_| bad())?;
        let id = hex::decode(&entry.id).map_err(|_| bad())?;
        let public = CaPublic::from_spki(&spki).map_err(|_| bad())?;
        Ok(Self { id, public })
    }

    /// x and y.
    fn coordinates(&self) -> (&[u8], &[u8]) {
        let (_, xy) = self.public.point().split_at_checked(1).unwrap_or_default();
        xy.split_at_checked(self.public.curve().coordinate_len())
            .unwrap_or_default()
    }

    fn jwk(&self) -> serde_json::Value {
        let (x, y) = self.coordinates();
        json!({
            "kty": "EC",
            "crv": "P-256",
            "x": URL_SAFE_NO_PAD.encode(x),
            "y": URL_SAFE_NO_PAD.encode(y),
            "use": "sig",
            "alg": "ES256",
            "kid": hex::encode(&self.id),
        })
    }

    /// RFC 9052 §7, RFC 9053 §7.1.1: kty EC2, kid, alg ES256, crv P-256, x, y.
    fn cose(&self) -> Value {
        let (x, y) = self.coordinates();
        let int = |n: i64| Value::Integer(n.into());
        Value::Map(vec![
            (int(1), int(2)),
            (int(2), Value::Bytes(self.id.clone())),
            (int(3), int(-7)),
            (int(-1), int(1)),
            (int(-2), Value::Bytes(x.to_vec())),
            (int(-3), Value::Bytes(y.to_vec())),
        ])
    }
}
