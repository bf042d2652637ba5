//! EAR as a CWT: COSE_Sign1 (RFC 9052 §4.2) over a CBOR claims set, in core
//! deterministic encoding (RFC 8949 §4.2.1).
//!
//! Reading is strict in one stroke: what was read is encoded again and must
//! give the very bytes that came. Indefinite lengths, duplicate labels, other
//! orders, padding of integers and unknown labels are all refused by that.

use ciborium::Value;

use super::{
    Claim, Ear, EarError, PROFILE, SUBMODULE, SignedEar, Tier, TrustVector, VerifierId,
    claims::appraisal_read, signed::signature_of,
};

/// COSE_Sign1 (RFC 9052 §2).
const TAG: u64 = 18;
/// Header label `alg` and the value ES256 (RFC 9053 §2.1).
const ALG: (i64, i64) = (1, -7);
/// Header label `kid`.
const KID: i64 = 4;
/// Deepest nesting taken: tag, array, map, submods, gateway, vector, and some.
const MAX_DEPTH: usize = 12;

// Claim keys: CWT (RFC 8392), EAT (RFC 9711), EAR (draft -04, "suggested").
const EXP: i64 = 4;
const IAT: i64 = 6;
const NONCE: i64 = 10;
const UEID: i64 = 256;
const EAT_PROFILE: i64 = 265;
const SUBMODS: i64 = 266;
const STATUS: i64 = 1000;
const VECTOR: i64 = 1001;
const POLICY_IDS: i64 = 1003;
const VERIFIER_ID: i64 = 1004;
// Private use: below -65536 (RFC 8392 §9.1.1).
const REFERENCE_ID: i64 = -75_000;
const REASON_CODES: i64 = -75_001;

pub(super) fn sign<E>(
    ear: &Ear,
    key_id: &[u8],
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, E> {
    let payload = encode(&payload(ear));
    let signature = sign(&to_be_signed(&payload))?;
    Ok(sign1(key_id, payload, signature))
}

pub(super) fn parse(bytes: &[u8]) -> Result<SignedEar, EarError> {
    let Sign1 {
        key_id,
        payload,
        signature,
    } = open_sign1(bytes)?;
    let signature = signature_of(&signature)?;
    let ear = read(decode("payload", &payload)?)?.check()?;
    if encode(&self::payload(&ear)) != payload {
        return Err(EarError::malformed(
            "payload",
            "not in deterministic encoding",
        ));
    }
    if sign1(&key_id, payload.clone(), signature.to_vec()) != bytes {
        return Err(EarError::Header);
    }
    Ok(SignedEar {
        key_id,
        to_be_signed: to_be_signed(&payload),
        signature,
        ear,
    })
}

fn protected() -> Vec<u8> {
    encode(&Value::Map(vec![(int(ALG.0), int(ALG.1))]))
}

fn to_be_signed(payload: &[u8]) -> Vec<u8> {
    encode(&Value::Array(vec![
        Value::Text("Signature1".to_owned()),
        Value::Bytes(protected()),
        Value::Bytes(Vec::new()),
        Value::Bytes(payload.to_vec()),
    ]))
}

fn sign1(key_id: &[u8], payload: Vec<u8>, signature: Vec<u8>) -> Vec<u8> {
    let unprotected = Value::Map(vec![(int(KID), Value::Bytes(key_id.to_vec()))]);
    let parts = vec![
        Value::Bytes(protected()),
        unprotected,
        Value::Bytes(payload),
        Value::Bytes(signature),
    ];
    encode(&Value::Tag(TAG, Box::new(Value::Array(parts))))
}

/// The parts of a COSE_Sign1 but its protected header, of which there is one.
struct Sign1 {
    key_id: Vec<u8>,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// The headers are compared by the caller, who writes the whole anew.
fn open_sign1(bytes: &[u8]) -> Result<Sign1, EarError> {
    let shape = || EarError::malformed("CWT", "not a COSE_Sign1 with tag 18");
    let Value::Tag(TAG, inner) = decode("CWT", bytes)? else {
        return Err(shape());
    };
    let parts: [Value; 4] = inner
        .into_array()
        .map_err(|_| shape())?
        .try_into()
        .map_err(|_| shape())?;
    let [
        Value::Bytes(_),
        Value::Map(unprotected),
        Value::Bytes(payload),
        Value::Bytes(signature),
    ] = parts
    else {
        return Err(shape());
    };
    match <[(Value, Value); 1]>::try_from(unprotected) {
        Ok([(label, Value::Bytes(key_id))]) if label == int(KID) => Ok(Sign1 {
            key_id,
            payload,
            signature,
        }),
        _ => Err(EarError::Header),
    }
}

/// Map entries in the order of their encoded keys: non-negative integers
/// ascending, then negative ones descending.
fn payload(ear: &Ear) -> Value {
    let text = |text: &str| Value::Text(text.to_owned());
    let list = |texts: &[String]| Value::Array(texts.iter().map(|t| text(t)).collect());
    let appraisal = &ear.appraisal;
    let vector = appraisal
        .vector
        .made()
        .map(|(claim, value)| (int(claim.key().into()), int(value.into())));
    let mut gateway = vec![
        (int(UEID), Value::Bytes(appraisal.ueid.to_vec())),
        (int(STATUS), int(appraisal.status().code().into())),
        (int(VECTOR), Value::Map(vector.collect())),
        (int(POLICY_IDS), list(&appraisal.policy_ids)),
    ];
    gateway.extend(
        appraisal
            .reference_id
            .map(|id| (int(REFERENCE_ID), Value::Bytes(id.to_vec()))),
    );
    gateway.push((int(REASON_CODES), list(&appraisal.reason_codes)));
    Value::Map(vec![
        (int(EXP), int(ear.expires)),
        (int(IAT), int(ear.issued_at)),
        (int(NONCE), Value::Bytes(ear.nonce.to_vec())),
        (int(EAT_PROFILE), text(PROFILE)),
        (
            int(SUBMODS),
            Value::Map(vec![(text(SUBMODULE), Value::Map(gateway))]),
        ),
        (
            int(VERIFIER_ID),
            Value::Map(vec![
                (int(0), text(&ear.verifier.developer)),
                (int(1), text(&ear.verifier.build)),
            ]),
        ),
    ])
}

fn read(payload: Value) -> Result<Ear, EarError> {
    let mut top = Fields::of("payload", payload)?;
    if top.text("eat_profile", EAT_PROFILE)? != PROFILE {
        return Err(EarError::Profile);
    }
    let submods = top
        .take("submods", SUBMODS)?
        .into_map()
        .map_err(|_| EarError::Submodules)?;
    let [(name, gateway)] = <[_; 1]>::try_from(submods).map_err(|_| EarError::Submodules)?;
    if name.as_text() != Some(SUBMODULE) {
        return Err(EarError::Submodules);
    }
    let mut verifier = Fields::of("ear_verifier_id", top.take("ear_verifier_id", VERIFIER_ID)?)?;
    let mut gateway = Fields::of("gateway", gateway)?;
    let status = u8::try_from(gateway.integer("ear_status", STATUS)?)
        .ok()
        .and_then(Tier::from_code)
        .ok_or_else(|| EarError::malformed("ear_status", "not a tier"))?;
    let vector = read_vector(gateway.take("ear_trustworthiness_vector", VECTOR)?)?;
    let mut appraisal = appraisal_read(status, vector, gateway.bytes("ueid", UEID)?)?;
    appraisal.policy_ids = gateway.texts("ear_appraisal_policy_ids", POLICY_IDS)?;
    appraisal.reason_codes = gateway.texts("reason codes", REASON_CODES)?;
    if gateway.has(REFERENCE_ID) {
        appraisal.reference_id = Some(gateway.bytes("reference id", REFERENCE_ID)?);
    }
    // Whatever is left over is found out when the whole is encoded again.
    Ok(Ear {
        issued_at: top.integer("iat", IAT)?,
        expires: top.integer("exp", EXP)?,
        verifier: VerifierId {
            developer: verifier.text("developer", 0)?,
            build: verifier.text("build", 1)?,
        },
        nonce: top.bytes("eat_nonce", NONCE)?,
        appraisal,
    })
}

fn read_vector(value: Value) -> Result<TrustVector, EarError> {
    let bad = || {
        EarError::malformed(
            "ear_trustworthiness_vector",
            "not claims and values of AR4SI",
        )
    };
    let mut vector = TrustVector::NONE;
    for (key, value) in value.into_map().map_err(|_| bad())? {
        let claim = key
            .as_integer()
            .and_then(|key| u8::try_from(key).ok())
            .and_then(Claim::from_key);
        let value = value
            .as_integer()
            .and_then(|value| i8::try_from(value).ok());
        let (Some(claim), Some(value)) = (claim, value) else {
            return Err(bad());
        };
        vector.set(claim, value);
    }
    Ok(vector)
}

/// A map with integer keys, taken apart key by key.
struct Fields(Vec<(Value, Value)>);

impl Fields {
    fn of(field: &'static str, value: Value) -> Result<Self, EarError> {
        value
            .into_map()
            .map(Self)
            .map_err(|_| EarError::malformed(field, "not a map"))
    }

    fn has(&self, key: i64) -> bool {
        self.0.iter().any(|(found, _)| *found == int(key))
    }

    fn take(&mut self, field: &'static str, key: i64) -> Result<Value, EarError> {
        let at = self.0.iter().position(|(found, _)| *found == int(key));
        match at {
            Some(at) => Ok(self.0.swap_remove(at).1),
            None => Err(EarError::malformed(field, "missing")),
        }
    }

    fn text(&mut self, field: &'static str, key: i64) -> Result<String, EarError> {
        self.take(field, key)?
            .into_text()
            .map_err(|_| EarError::malformed(field, "not a text string"))
    }

    fn integer(&mut self, field: &'static str, key: i64) -> Result<i64, EarError> {
        let value = self.take(field, key)?.into_integer();
        value
            .ok()
            .and_then(|value| i64::try_from(value).ok())
            .ok_or_else(|| EarError::malformed(field, "not an integer"))
    }

    fn bytes<const N: usize>(
        &mut self,
        field: &'static str,
        key: i64,
    ) -> Result<[u8; N], EarError> {
        let bytes = self.take(field, key)?.into_bytes();
        bytes
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| EarError::malformed(field, "not a byte string of its length"))
    }

    fn texts(&mut self, field: &'static str, key: i64) -> Result<Vec<String>, EarError> {
        let bad = |_| EarError::malformed(field, "not an array of text strings");
        self.take(field, key)?
            .into_array()
            .map_err(bad)?
            .into_iter()
            .map(|text| text.into_text().map_err(bad))
            .collect()
    }
}

fn int(value: i64) -> Value {
    Value::Integer(value.into())
}

fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).expect("writing to a Vec does not fail");
    out
}

fn decode(field: &'static str, bytes: &[u8]) -> Result<Value, EarError> {
    let mut rest = bytes;
    let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, MAX_DEPTH)
        .map_err(|error| EarError::malformed(field, error))?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(EarError::malformed(field, "trailing bytes"))
    }
}
