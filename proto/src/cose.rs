//! COSE_Sign1 (RFC 9052 §4.2) on [`coset`], as strict as Holdfast's profile:
//! tag 18; `alg` and `kid` in the protected header and nothing else in any
//! header; payload inside; r ‖ s of the algorithm's length; deterministically
//! encoded (RFC 8949 §4.2.1). Claims and attestation results both use it.
//!
//! Structure and encoding are coset's. What came is encoded again and must be
//! the very bytes, which refuses in one stroke all that a lenient decoder lets
//! pass. Only the labels are looked at before coset sees them: it reads a
//! counter signature (label 7) inside a header inside a counter signature, and
//! so on, each with a recursion limit of its own, until the stack ends.

use std::ops::RangeInclusive;

use ciborium::Value;
use coset::iana::{self, EnumI64 as _};
use coset::{
    Algorithm, AsCborValue as _, CoseError, CoseSign1, CoseSign1Builder, HeaderBuilder,
    TaggedCborSerializable as _,
};
use thiserror::Error;

use crate::cbor::{self, CborError};

/// Tag 18 in its only deterministic encoding.
const TAG_SIGN1: u8 = 0xD2;

/// `crit` (RFC 9052 §3.1).
const CRIT: i64 = iana::HeaderParameter::Crit as i64;

/// The header parameters of the profile: `alg` and `kid`.
const LABELS: [i64; 2] = [
    iana::HeaderParameter::Alg as i64,
    iana::HeaderParameter::Kid as i64,
];

/// Signature algorithm. Fully specified ones (RFC 9864) are written; on the way
/// in their deprecated forerunners ES256 and ES384 mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CoseAlg {
    /// ESP256: ECDSA on P-256 with SHA-256.
    Esp256,
    /// ESP384: ECDSA on P-384 with SHA-384.
    Esp384,
}

impl CoseAlg {
    /// The identifier that is written.
    #[must_use]
    pub const fn id(self) -> i64 {
        self.registered() as i64
    }

    /// Length of r ‖ s, in bytes (RFC 9053 §2.1).
    #[must_use]
    pub const fn signature_len(self) -> usize {
        match self {
            Self::Esp256 => 64,
            Self::Esp384 => 96,
        }
    }

    const fn registered(self) -> iana::Algorithm {
        match self {
            Self::Esp256 => iana::Algorithm::ESP256,
            Self::Esp384 => iana::Algorithm::ESP384,
        }
    }

    fn read(alg: Algorithm) -> Result<Self, Sign1Error> {
        use iana::Algorithm as Registered;
        match alg {
            Algorithm::Assigned(Registered::ESP256 | Registered::ES256) => Ok(Self::Esp256),
            Algorithm::Assigned(Registered::ESP384 | Registered::ES384) => Ok(Self::Esp384),
            Algorithm::Assigned(other) => Err(Sign1Error::UnsupportedAlg(other.to_i64())),
            Algorithm::PrivateUse(other) => Err(Sign1Error::UnsupportedAlg(other)),
            Algorithm::Text(_) => Err(Sign1Error::Item {
                found: "tstr",
                expected: "int",
            }),
        }
    }
}

/// Bytes that are not a COSE_Sign1 of the profile.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sign1Error {
    /// Longer than the caller's limit.
    #[error("{len} bytes are over the limit of {max}")]
    TooLong {
        /// Its length.
        len: usize,
        /// The longest allowed.
        max: usize,
    },
    /// Untagged, or of another tag than 18 (RFC 9052 §4.2).
    #[error("not a tagged COSE_Sign1 (tag 18)")]
    NotSign1,
    /// Not deterministic CBOR.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// Another item than RFC 9052 has there.
    #[error("found {found}, expected {expected}")]
    Item {
        /// What was there.
        found: &'static str,
        /// What should have been.
        expected: &'static str,
    },
    /// The payload is nil: detached (RFC 9052 §4.1). The profile needs it inside.
    #[error("the payload is detached")]
    DetachedPayload,
    /// The unprotected header holds something. The profile needs it empty: what
    /// is not signed decides nothing.
    #[error("the unprotected header has {0} parameter(s), and must be empty")]
    Unprotected(usize),
    /// `crit` (RFC 9052 §3.1): the profile knows no critical parameter.
    #[error("the protected header has crit")]
    Critical,
    /// A parameter that the profile does not know, such as x5chain.
    #[error("the protected header has unknown parameter {0}")]
    UnknownHeader(i64),
    /// A parameter for the second time (RFC 9052 §3).
    #[error("the protected header has a parameter twice")]
    DuplicateHeader,
    /// No `alg` in the protected header.
    #[error("the protected header has no alg")]
    NoAlg,
    /// An algorithm that the profile does not know.
    #[error("unsupported alg {0}")]
    UnsupportedAlg(i64),
    /// A number that stands for no registered algorithm.
    #[error("unregistered alg")]
    UnregisteredAlg,
    /// No `kid` in the protected header.
    #[error("the protected header has no kid")]
    NoKid,
    /// `kid` has a length that no key of the profile's has.
    #[error("kid of {0} bytes names no key")]
    Kid(usize),
    /// The signature is not r ‖ s of the algorithm's length (RFC 9053 §2.1).
    #[error("signature of {len} bytes where {expected} are needed")]
    SignatureLength {
        /// Its length.
        len: usize,
        /// The length of r ‖ s.
        expected: usize,
    },
}

/// What one kind of message allows beyond the profile that all share.
pub(crate) struct Limits {
    /// Longest COSE_Sign1 that is looked at, in bytes.
    pub(crate) max_len: usize,
    /// Lengths that `kid` can have.
    pub(crate) kid_len: RangeInclusive<usize>,
}

/// A well-formed COSE_Sign1 of the profile. Nobody has verified its signature.
#[derive(Clone, Debug)]
pub(crate) struct Sign1 {
    pub(crate) alg: CoseAlg,
    pub(crate) kid: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    /// `Sig_structure` (RFC 9052 §4.4) without external data: what binds a
    /// message to channel and challenge is in its payload.
    pub(crate) to_be_signed: Vec<u8>,
    /// r ‖ s, of [`CoseAlg::signature_len`].
    pub(crate) signature: Vec<u8>,
}

/// `payload` as a COSE_Sign1. `sign` gets the `Sig_structure` (RFC 9052 §4.4),
/// to be hashed and signed, and returns r ‖ s.
pub(crate) fn sign<E>(
    alg: CoseAlg,
    kid: &[u8],
    payload: Vec<u8>,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, E> {
    sign_as(alg.registered(), kid, payload, sign)
}

/// As [`sign`], under ES256: for readers that do not know its successor.
pub(crate) fn sign_es256<E>(
    kid: &[u8],
    payload: Vec<u8>,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, E> {
    sign_as(iana::Algorithm::ES256, kid, payload, sign)
}

fn sign_as<E>(
    alg: iana::Algorithm,
    kid: &[u8],
    payload: Vec<u8>,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, E> {
    let header = HeaderBuilder::new()
        .algorithm(alg)
        .key_id(kid.to_vec())
        .build();
    let sign1 = CoseSign1Builder::new()
        .protected(header)
        .payload(payload)
        .try_create_signature(&[], sign)?
        .build();
    Ok(encode(sign1))
}

/// Reads exactly one COSE_Sign1. The payload is not looked into.
pub(crate) fn parse(bytes: &[u8], limits: &Limits) -> Result<Sign1, Sign1Error> {
    if bytes.len() > limits.max_len {
        return Err(Sign1Error::TooLong {
            len: bytes.len(),
            max: limits.max_len,
        });
    }
    let Some((&TAG_SIGN1, untagged)) = bytes.split_first() else {
        return Err(Sign1Error::NotSign1);
    };
    let envelope = cbor::decode("COSE_Sign1", untagged)?;
    permit_headers(&envelope)?;
    let mut sign1 = CoseSign1::from_cbor_value(envelope).map_err(refused)?;
    // So that the header is encoded from what was understood of it, here and in
    // the Sig_structure.
    sign1.protected.original_data = None;

    let header = &sign1.protected.header;
    let alg = CoseAlg::read(header.alg.clone().ok_or(Sign1Error::NoAlg)?)?;
    let kid = header.key_id.clone();
    match kid.len() {
        // coset refuses an empty kid, and has none where none is.
        0 => return Err(Sign1Error::NoKid),
        len if !limits.kid_len.contains(&len) => return Err(Sign1Error::Kid(len)),
        _ => {}
    }
    let (len, expected) = (sign1.signature.len(), alg.signature_len());
    if len != expected {
        return Err(Sign1Error::SignatureLength { len, expected });
    }
    let payload = sign1.payload.clone().ok_or(Sign1Error::DetachedPayload)?;
    let (to_be_signed, signature) = (sign1.tbs_data(&[]), sign1.signature.clone());
    cbor::same("COSE_Sign1", &encode(sign1), bytes)?;
    Ok(Sign1 {
        alg,
        kid,
        payload,
        to_be_signed,
        signature,
    })
}

/// Lets pass only headers that coset can be trusted with; what is no header at
/// all is coset's to refuse.
fn permit_headers(envelope: &Value) -> Result<(), Sign1Error> {
    let Some([protected, unprotected, ..]) = envelope.as_array().map(Vec::as_slice) else {
        return Ok(());
    };
    match unprotected.as_map() {
        Some(parameters) if !parameters.is_empty() => {
            return Err(Sign1Error::Unprotected(parameters.len()));
        }
        _ => {}
    }
    let Some(protected) = protected.as_bytes().filter(|bytes| !bytes.is_empty()) else {
        return Ok(());
    };
    let header = cbor::decode("protected header", protected)?;
    for (label, _) in header.as_map().into_iter().flatten() {
        match label
            .as_integer()
            .and_then(|label| i64::try_from(label).ok())
        {
            Some(label) if LABELS.contains(&label) => {}
            Some(CRIT) => return Err(Sign1Error::Critical),
            Some(other) => return Err(Sign1Error::UnknownHeader(other)),
            None => {
                return Err(Sign1Error::Item {
                    found: "header label of another type",
                    expected: "int of 64 bits",
                });
            }
        }
    }
    Ok(())
}

fn refused(error: CoseError) -> Sign1Error {
    match error {
        CoseError::DuplicateMapKey => Sign1Error::DuplicateHeader,
        CoseError::UnexpectedItem(found, expected) => Sign1Error::Item { found, expected },
        // Of the profile's parameters only alg is a registered number.
        CoseError::UnregisteredIanaValue
        | CoseError::UnregisteredIanaNonPrivateValue
        | CoseError::OutOfRangeIntegerValue => Sign1Error::UnregisteredAlg,
        // The header was decoded before, so these do not come up.
        CoseError::DecodeFailed(_) | CoseError::EncodeFailed | CoseError::ExtraneousData => {
            let item = "protected header";
            CborError::Malformed { item }.into()
        }
    }
}

fn encode(sign1: CoseSign1) -> Vec<u8> {
    sign1
        .to_tagged_vec()
        .expect("only a header with a label twice does not encode, and ours has alg and kid")
}
