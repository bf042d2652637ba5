//! Owner: did the owner say this? What decides an appraisal (policy, reference
//! values, allow lists) is taken from nobody else: not from whoever reaches
//! the admin socket, nor from whoever can write the store (A26).
//!
//! In: the owner's public key, a signed statement, the document. Out:
//! [`Stated`], which only [`OwnerKey::verify`] makes, or why not. The key is
//! the policy root that `init` makes; serving needs its public half only.

mod signer;
#[cfg(test)]
mod tests;

use holdfast_proto::statement::{OpenError, SignedStatement, StatementError};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rustls_pki_types::{SubjectPublicKeyInfoDer, pem::PemObject as _};

pub use holdfast_proto::statement::{EVERY_CLASS, Kind, MAX_STATEMENT_BYTES, Statement};
pub use signer::OwnerSigner;

use crate::digest::sha256;

/// DER of a P-256 SubjectPublicKeyInfo (RFC 5480 §2) up to the point.
pub(crate) const P256_SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Why something is not the owner's word, or cannot become it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OwnerError {
    /// Not the PEM of a P-256 public key.
    #[error("the owner's public key is no P-256 key in PEM")]
    BadPublicKey,
    /// Not the PEM of a P-256 private key.
    #[error("the owner's key is no P-256 key in PKCS#8 PEM")]
    BadPrivateKey,
    /// The system gave no random bytes.
    #[error("no randomness to sign with")]
    NoRandomness,
    /// No statement came along.
    #[error("unsigned: there is no statement of the owner's for this document")]
    Unsigned,
    /// Not a statement.
    #[error("not an owner's statement: {0}")]
    Malformed(#[from] StatementError),
    /// The statement names another key.
    #[error(
        "signed with key {named}, the owner's key is {ours}: sign with the policy root of this verifier"
    )]
    OtherKey {
        /// Key id in the statement, in hex.
        named: String,
        /// Ours, in hex.
        ours: String,
    },
    /// The signature is not the owner's.
    #[error("the signature is not the owner's")]
    Signature,
    /// A statement about a document of another kind.
    #[error("the statement is about a document of kind {stated}, not {wanted}")]
    OtherKind {
        /// Kind in the statement.
        stated: Kind,
        /// Kind of the document.
        wanted: Kind,
    },
    /// A statement about another class or list.
    #[error("the statement is about {stated}, not {wanted}")]
    OtherSubject {
        /// Subject in the statement: printable ASCII.
        stated: String,
        /// Subject of the document.
        wanted: String,
    },
    /// The statement is about another document.
    #[error(
        "the statement is about a document with SHA-256 {stated}, this one has {found}: sign it anew"
    )]
    OtherDocument {
        /// Digest in the statement, in hex.
        stated: String,
        /// Digest of the document, in hex.
        found: String,
    },
    /// An older version, or another document under the current one.
    #[error("rollback: the statement is version {stated}, in use is version {last}")]
    Rollback {
        /// Version in the statement.
        stated: u64,
        /// Version in use.
        last: u64,
    },
    /// Versions between are missing.
    #[error("the statement is version {stated}, next is version {next}: sign it as version {next}")]
    Gap {
        /// Version in the statement.
        stated: u64,
        /// The only version that can follow.
        next: u64,
    },
}

/// What the owner said of a document. Only [`OwnerKey::verify`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Stated {
    version: u64,
    sha256: [u8; 32],
}

/// Where a document stands beside the one in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Succession {
    /// The very document in use, at its version: nothing to do.
    Same,
    /// The next version.
    Next,
}

impl Stated {
    /// Version of the document, from 1.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// SHA-256 of the document.
    #[must_use]
    pub const fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// Holds it against what is in use (version and digest; `None`: nothing):
    /// versions go up by one, and never down.
    ///
    /// # Errors
    /// [`OwnerError::Rollback`], [`OwnerError::Gap`].
    pub fn after(&self, last: Option<(u64, &[u8; 32])>) -> Result<Succession, OwnerError> {
        let (last, digest) = last.map_or((0, None), |(last, digest)| (last, Some(digest)));
        let (stated, next) = (self.version, last.saturating_add(1));
        if stated == next {
            return Ok(Succession::Next);
        }
        if stated == last && digest == Some(&self.sha256) {
            return Ok(Succession::Same);
        }
        if stated <= last {
            return Err(OwnerError::Rollback { stated, last });
        }
        Err(OwnerError::Gap { stated, next })
    }
}

/// The owner's public key: the policy root's.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnerKey {
    /// Uncompressed (SEC 1 §2.3.3).
    point: [u8; 65],
    id: [u8; 32],
}

impl OwnerKey {
    /// From the text of `policy-root.pub.pem`.
    ///
    /// # Errors
    /// [`OwnerError::BadPublicKey`].
    pub fn from_spki_pem(text: &str) -> Result<Self, OwnerError> {
        let spki = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes())
            .map_err(|_| OwnerError::BadPublicKey)?;
        let point = spki
            .strip_prefix(&P256_SPKI_PREFIX)
            .ok_or(OwnerError::BadPublicKey)?;
        Self::from_point(point)
    }

    /// From an uncompressed point. Whether it is on the curve is looked at by
    /// every verification.
    pub(super) fn from_point(point: &[u8]) -> Result<Self, OwnerError> {
        let point = <[u8; 65]>::try_from(point).map_err(|_| OwnerError::BadPublicKey)?;
        if point.first() != Some(&4) {
            return Err(OwnerError::BadPublicKey);
        }
        let id = sha256(&[&P256_SPKI_PREFIX, &point]);
        Ok(Self { point, id })
    }

    /// `kid` of statements: SHA-256 of the SubjectPublicKeyInfo.
    #[must_use]
    pub const fn id(&self) -> &[u8; 32] {
        &self.id
    }

    /// The owner's word on `document`: that it is a version of `subject`.
    ///
    /// # Errors
    /// [`OwnerError`] says what is not the owner's word about it. An empty
    /// `signed` is [`OwnerError::Unsigned`].
    pub fn verify(
        &self,
        signed: &[u8],
        kind: Kind,
        subject: &str,
        document: &[u8],
    ) -> Result<Stated, OwnerError> {
        if signed.is_empty() {
            return Err(OwnerError::Unsigned);
        }
        let signed = SignedStatement::parse(signed)?;
        if signed.key_id() != self.id {
            return Err(OwnerError::OtherKey {
                named: hex::encode(signed.key_id()),
                ours: hex::encode(self.id),
            });
        }
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.point);
        let statement = signed
            .open(|message, signature| key.verify(message, signature))
            .map_err(|error| match error {
                OpenError::Statement(error) => OwnerError::Malformed(error),
                _ => OwnerError::Signature,
            })?;
        if statement.kind != kind {
            return Err(OwnerError::OtherKind {
                stated: statement.kind,
                wanted: kind,
            });
        }
        if statement.subject != subject {
            return Err(OwnerError::OtherSubject {
                stated: statement.subject,
                wanted: subject.to_owned(),
            });
        }
        let found = sha256(&[document]);
        if statement.sha256 != found {
            return Err(OwnerError::OtherDocument {
                stated: hex::encode(statement.sha256),
                found: hex::encode(found),
            });
        }
        Ok(Stated {
            version: statement.version,
            sha256: found,
        })
    }
}

impl std::fmt::Debug for OwnerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnerKey")
            .field("id", &hex::encode(self.id))
            .finish_non_exhaustive()
    }
}
