//! What only the owner can say: that a document (a policy, reference values, an
//! allow list) is version so-and-so of its subject. A COSE_Sign1 of the common
//! profile by the policy root, whose payload names the document by its SHA-256.
//!
//! The payload's `profile` is the domain tag: nothing else that the policy root
//! signs (claims, results, approvals for a TPM's PolicyAuthorize) has it, so
//! none of that can pass for a statement, nor a statement for any of that.

use ciborium::Value;
use thiserror::Error;

use crate::cbor::{self, CborError, Fields, FromValue as _};
use crate::cose::{self, CoseAlg, Limits, Sign1, Sign1Error};

/// First field of every statement.
pub const PROFILE: &str = "tag:holdfast.dev,2026:owner-statement/1";

/// Longest statement that is looked at, in bytes: four times what the longest
/// one of ours takes.
pub const MAX_STATEMENT_BYTES: usize = 1024;

/// Longest subject, in bytes: as long as a class can be.
pub const MAX_SUBJECT_BYTES: usize = 64;

/// Subject of what holds for every class. No class can be called so.
pub const EVERY_CLASS: &str = "*";

const LIMITS: Limits = Limits {
    max_len: MAX_STATEMENT_BYTES,
    // SHA-256 of the key's SubjectPublicKeyInfo.
    kid_len: 32..=32,
};

// Keys of the payload.
const PROFILE_KEY: i64 = 1;
const KIND: i64 = 2;
const SUBJECT: i64 = 3;
const VERSION: i64 = 4;
const SHA256: i64 = 5;

/// Highest version: what SQLite and JSON numbers hold exactly.
const MAX_VERSION: u64 = (1 << 53) - 1;

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An appraisal policy.
    Policy,
    /// Reference values of a class.
    ReferenceValues,
    /// An allow list of files.
    AllowList,
    /// An endorsement bundle: what the owner says of TPMs.
    Endorsements,
}

impl Kind {
    const ALL: [Self; 4] = [
        Self::Policy,
        Self::ReferenceValues,
        Self::AllowList,
        Self::Endorsements,
    ];

    /// Its number in the payload.
    #[must_use]
    pub const fn id(self) -> u8 {
        match self {
            Self::Policy => 1,
            Self::ReferenceValues => 2,
            Self::AllowList => 3,
            Self::Endorsements => 4,
        }
    }

    /// The inverse of [`Kind::id`].
    #[must_use]
    pub fn from_id(id: u64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| u64::from(kind.id()) == id)
    }

    /// For people and command lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::ReferenceValues => "reference-values",
            Self::AllowList => "allow-list",
            Self::Endorsements => "endorsements",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What is said of a document. Nobody vouches for it before its signature is
/// verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What the document is.
    pub kind: Kind,
    /// What it is for: a class, the name of a list, or [`EVERY_CLASS`]. 1 to
    /// [`MAX_SUBJECT_BYTES`] of printable ASCII without spaces.
    pub subject: String,
    /// From 1, without gaps, for each kind and subject.
    pub version: u64,
    /// SHA-256 of the document, byte for byte.
    pub sha256: [u8; 32],
}

/// Bytes that are not a statement.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StatementError {
    /// Not a COSE_Sign1 of the profile.
    #[error(transparent)]
    Envelope(#[from] Sign1Error),
    /// Signed with another algorithm than ESP256.
    #[error("alg is not ESP256")]
    Algorithm,
    /// The payload is not the deterministic CBOR of a statement.
    #[error("not the CBOR of a statement: {0}")]
    Cbor(#[from] CborError),
    /// `profile` is another: the signature was made for something else.
    #[error("profile is not {PROFILE}")]
    Profile,
    /// A field is missing.
    #[error("no field `{0}`")]
    Missing(&'static str),
    /// A field that the profile does not know.
    #[error("unknown field {0}")]
    UnknownField(i64),
    /// A field outside its range.
    #[error("field `{0}` is out of range")]
    OutOfRange(&'static str),
}

/// Why [`SignedStatement::open`] gave no statement.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError<E> {
    /// The caller's verification refused the signature.
    #[error("signature: {0}")]
    Signature(E),
    /// The signature is good, the payload is no statement.
    #[error(transparent)]
    Statement(#[from] StatementError),
}

impl Statement {
    /// As a COSE_Sign1. `key_id` is the SHA-256 of the policy root's
    /// SubjectPublicKeyInfo; `sign` gets the `Sig_structure` (RFC 9052 §4.4),
    /// to be hashed with SHA-256 and signed, and returns r ‖ s. Fields outside
    /// their ranges encode, and are refused on the other side.
    ///
    /// # Errors
    /// Those of `sign`.
    pub fn sign<E>(
        &self,
        key_id: &[u8; 32],
        sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        cose::sign(CoseAlg::Esp256, key_id, self.encode(), sign)
    }

    fn encode(&self) -> Vec<u8> {
        cbor::encode(&cbor::map([
            (PROFILE_KEY, PROFILE.into()),
            (KIND, self.kind.id().into()),
            (SUBJECT, self.subject.as_str().into()),
            (VERSION, self.version.into()),
            (SHA256, self.sha256.as_slice().into()),
        ]))
    }

    fn decode(payload: &[u8]) -> Result<Self, StatementError> {
        let mut fields = Fields::from_value("statement", cbor::decode("statement", payload)?)?;
        // Said first: what was signed for another purpose is told as such.
        match fields.take::<Value>("profile", PROFILE_KEY)? {
            Some(Value::Text(profile)) if profile == PROFILE => {}
            _ => return Err(StatementError::Profile),
        }
        let kind = fields
            .take::<u64>("kind", KIND)?
            .ok_or(StatementError::Missing("kind"))?;
        let subject = fields
            .take::<String>("subject", SUBJECT)?
            .ok_or(StatementError::Missing("subject"))?;
        let version = fields
            .take::<u64>("version", VERSION)?
            .ok_or(StatementError::Missing("version"))?;
        let sha256 = fields
            .take::<[u8; 32]>("sha256", SHA256)?
            .ok_or(StatementError::Missing("sha256"))?;
        if let Some(key) = fields.left_over() {
            return Err(StatementError::UnknownField(key));
        }
        let plain = |b: u8| b.is_ascii_graphic();
        if subject.is_empty() || subject.len() > MAX_SUBJECT_BYTES || !subject.bytes().all(plain) {
            return Err(StatementError::OutOfRange("subject"));
        }
        if version == 0 || version > MAX_VERSION {
            return Err(StatementError::OutOfRange("version"));
        }
        let statement = Self {
            kind: Kind::from_id(kind).ok_or(StatementError::OutOfRange("kind"))?,
            subject,
            version,
            sha256,
        };
        cbor::same("statement", &statement.encode(), payload)?;
        Ok(statement)
    }
}

/// A well-formed COSE_Sign1 whose statement is out of reach until its signature
/// is verified.
#[derive(Clone, Debug)]
pub struct SignedStatement(Sign1);

impl SignedStatement {
    /// # Errors
    /// Where the bytes are not exactly one COSE_Sign1 of the profile, signed
    /// with ESP256. The payload is not looked into.
    pub fn parse(bytes: &[u8]) -> Result<Self, StatementError> {
        let sign1 = cose::parse(bytes, &LIMITS)?;
        if sign1.alg != CoseAlg::Esp256 {
            return Err(StatementError::Algorithm);
        }
        Ok(Self(sign1))
    }

    /// The key that the signer says it signed with, 32 bytes. It is compared
    /// with the key in hand, never used to find one.
    #[must_use]
    pub fn key_id(&self) -> &[u8] {
        &self.0.kid
    }

    /// The statement, once `verify` accepts the signature. It gets the
    /// `Sig_structure` and r ‖ s.
    ///
    /// # Errors
    /// [`OpenError::Signature`] with the error of `verify`;
    /// [`OpenError::Statement`] where the payload is no statement.
    pub fn open<E>(
        self,
        verify: impl FnOnce(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<Statement, OpenError<E>> {
        let Sign1 {
            payload,
            to_be_signed,
            signature,
            ..
        } = self.0;
        verify(&to_be_signed, &signature).map_err(OpenError::Signature)?;
        Ok(Statement::decode(&payload)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_sign(_: &[u8]) -> Result<Vec<u8>, ()> {
        Ok(vec![7; 64])
    }

    fn open(bytes: &[u8]) -> Result<Statement, OpenError<()>> {
        SignedStatement::parse(bytes)?.open(|_, _| Ok::<(), ()>(()))
    }

    fn signed(payload: Vec<u8>) -> Vec<u8> {
        cose::sign(CoseAlg::Esp256, &[1; 32], payload, any_sign).unwrap()
    }

    fn good() -> Statement {
        Statement {
            kind: Kind::Policy,
            subject: EVERY_CLASS.to_owned(),
            version: 1,
            sha256: [3; 32],
        }
    }

    /// The fields of a good statement, with `key` replaced or taken away.
    fn with(key: i64, value: Option<Value>) -> Result<Statement, OpenError<()>> {
        let mut fields = Fields::from_value(
            "statement",
            cbor::decode("statement", &good().encode()).unwrap(),
        )
        .unwrap();
        let mut entries = Vec::new();
        for known in [PROFILE_KEY, KIND, SUBJECT, VERSION, SHA256] {
            let old: Value = fields.take("field", known).unwrap().unwrap();
            if known != key {
                entries.push((known, old));
            }
        }
        entries.extend(value.map(|value| (key, value)));
        open(&signed(cbor::encode(&cbor::map(entries))))
    }

    #[test]
    fn the_bytes_are_as_documented() {
        // docs/owner-key.md, by hand.
        let expected = [
            &[0xA5, 0x01, 0x78, 0x27][..],
            PROFILE.as_bytes(),
            &[0x02, 0x01, 0x03, 0x61, b'*', 0x04, 0x01, 0x05, 0x58, 0x20],
            &[3; 32],
        ]
        .concat();
        assert_eq!(PROFILE.len(), 0x27);
        assert_eq!(hex::encode(good().encode()), hex::encode(expected));
    }

    proptest! {
        #[test]
        fn what_is_signed_is_read(
            kind in 1_u64..=4,
            subject in "[!-~]{1,64}",
            version in 1..=MAX_VERSION,
            sha256: [u8; 32],
        ) {
            let kind = Kind::from_id(kind).unwrap();
            let statement = Statement { kind, subject, version, sha256 };
            let bytes = statement.sign(&[9; 32], any_sign).unwrap();
            prop_assert!(bytes.len() * 4 <= MAX_STATEMENT_BYTES + 64);
            let parsed = SignedStatement::parse(&bytes).unwrap();
            prop_assert_eq!(parsed.key_id(), &[9; 32]);
            prop_assert_eq!(open(&bytes), Ok(statement));
        }

        #[test]
        fn no_input_panics(bytes: Vec<u8>) {
            let _ = open(&bytes);
            let _ = open(&signed(bytes));
        }
    }

    #[test]
    fn each_field_is_needed_and_in_range() {
        use StatementError as E;
        let refused = |found: Result<Statement, OpenError<()>>| match found {
            Err(OpenError::Statement(error)) => error,
            other => panic!("{other:?}"),
        };
        assert!(with(99, None).is_ok());
        for (key, value, expected) in [
            (PROFILE_KEY, None, E::Profile),
            (
                PROFILE_KEY,
                Some("tag:holdfast.dev,2026:evidence/1".into()),
                E::Profile,
            ),
            (KIND, None, E::Missing("kind")),
            (KIND, Some(0.into()), E::OutOfRange("kind")),
            (KIND, Some(5.into()), E::OutOfRange("kind")),
            (SUBJECT, None, E::Missing("subject")),
            (SUBJECT, Some("".into()), E::OutOfRange("subject")),
            (SUBJECT, Some("a b".into()), E::OutOfRange("subject")),
            (SUBJECT, Some("\u{1b}".into()), E::OutOfRange("subject")),
            (
                SUBJECT,
                Some("x".repeat(65).into()),
                E::OutOfRange("subject"),
            ),
            (VERSION, None, E::Missing("version")),
            (VERSION, Some(0.into()), E::OutOfRange("version")),
            (
                VERSION,
                Some((MAX_VERSION + 1).into()),
                E::OutOfRange("version"),
            ),
            (SHA256, None, E::Missing("sha256")),
            (6, Some(0.into()), E::UnknownField(6)),
        ] {
            assert_eq!(refused(with(key, value)), expected, "field {key}");
        }
        assert!(matches!(
            refused(with(SHA256, Some(vec![0_u8; 31].into()))),
            E::Cbor(_)
        ));
    }

    #[test]
    fn the_envelope_is_of_esp256_and_short() {
        let es384 = cose::sign(CoseAlg::Esp384, &[1; 32], good().encode(), |_| {
            Ok::<_, ()>(vec![7; 96])
        })
        .unwrap();
        assert_eq!(
            SignedStatement::parse(&es384).err(),
            Some(StatementError::Algorithm)
        );
        let long = vec![0xD2; MAX_STATEMENT_BYTES + 1];
        assert!(matches!(
            SignedStatement::parse(&long),
            Err(StatementError::Envelope(Sign1Error::TooLong { .. }))
        ));
    }

    #[test]
    fn a_refused_signature_hides_the_statement() {
        let bytes = good().sign(&[1; 32], any_sign).unwrap();
        let opened = SignedStatement::parse(&bytes)
            .unwrap()
            .open(|_, _| Err("no"));
        assert_eq!(opened, Err(OpenError::Signature("no")));
    }
}
