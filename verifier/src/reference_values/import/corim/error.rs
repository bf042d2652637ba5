//! What is wrong with a CoRIM.

use super::MAX_CORIM_BYTES;

/// What is wrong with a CoRIM (draft-ietf-rats-corim). `at` is a path of item
/// names of the draft. Texts of the document are cut and inert.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CorimError {
    /// More than [`MAX_CORIM_BYTES`].
    #[error("{0} bytes: a CoRIM has at most {MAX_CORIM_BYTES} here")]
    TooLong(usize),
    /// Another document, which has a name.
    #[error("not a CoRIM but {0}")]
    Other(&'static str),
    /// Not well-formed CBOR, nested too deep, or with
    /// something behind it.
    #[error("{at}: {why}")]
    Cbor {
        /// Where.
        at: String,
        /// Why.
        why: &'static str,
    },
    /// Another type of item than the draft has there.
    #[error("{at}: expected {expected}")]
    Type {
        /// Where.
        at: String,
        /// What the draft has.
        expected: &'static str,
    },
    /// A key that the draft needs.
    #[error("{at}: no {missing}")]
    Missing {
        /// Where.
        at: String,
        /// Which.
        missing: &'static str,
    },
    /// A key for the second time (RFC 8949 §5.6).
    #[error("{at}: key {key} occurs twice")]
    Twice {
        /// Where.
        at: String,
        /// Which.
        key: String,
    },
    /// A key that the draft has not, in a map that it does not let be extended.
    #[error("{at}: unknown key {key}")]
    UnknownKey {
        /// Where.
        at: String,
        /// Which.
        key: String,
    },
    /// Of the draft's type, with a value that it does not allow.
    #[error("{at}: {why}")]
    Value {
        /// Where.
        at: String,
        /// Why.
        why: String,
    },
    /// Not signed, and the owner has not said that this may be.
    #[error("not signed: say --unsigned if you know from elsewhere that it is genuine")]
    Unsigned,
    /// Signed, and there is no key to verify it with.
    #[error("signed: give its signer's public key with --key")]
    NoKey,
    /// No key that CoRIMs are verified with here.
    #[error("the key is not a public key or certificate of P-256 or P-384, in PEM or DER")]
    Key,
    /// Signed with an algorithm that the key is not of, or that is unknown.
    #[error("signed with COSE algorithm {0}, which is not what the given key signs with")]
    Algorithm(i64),
    /// The signature does not verify.
    #[error("the signature does not verify with the given key")]
    Signature,
    /// Before or after the time that it is for.
    #[error("{what} {bound}: {when}")]
    Validity {
        /// What has the validity.
        what: &'static str,
        /// Which end.
        bound: &'static str,
        /// RFC 3339.
        when: String,
    },
    /// A profile says what the values mean, and no profile is known here: then
    /// the whole document is refused (§4.1.4).
    #[error("made for profile {0:?}, which is not known here: its values may mean anything")]
    Profile(String),
}
