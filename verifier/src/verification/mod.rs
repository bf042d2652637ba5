//! Verification: is this Evidence authentic, fresh and bound together?
//! In: well-formed but untrusted Evidence, an activated (or recorded) AK, a
//! fresh challenge, the channel. Out: [`VerifiedEvidence`], or why not.
//!
//! Whether the verified state is *good* is for appraisal.

mod activation;
mod boot_log;
mod boot_log_cache;
mod certify;
mod claims;
mod credential;
pub(crate) mod encapsulation;
mod error;
mod evidence;
mod idevid_key;
pub(crate) mod ima;
pub mod kdf;
mod keys;
mod on_file;
mod pss;
mod quote;
mod road;
mod signature;
#[cfg(test)]
pub(crate) mod tests;
mod verified;

pub use activation::{ActivatedAk, PendingActivation};
pub use boot_log::{PcrRelation, ReadBootLog, ReplayedBootLog};
pub use boot_log_cache::{BootLogs, KnownBootLog};
pub use certify::KeyCertification;
pub use credential::{Credential, make_credential};
pub use error::{KeyFault, SignatureFault, VerificationError};
pub use evidence::{BootLog, Evidence, PcrValues};
pub use idevid_key::IdevidKey;
pub use ima::{
    IMA_LOG_AT_ENROLMENT_MAX, IMA_LOG_MAX, IMA_PCR, ImaEvidence, ImaPlace, MAX_INVALID_SIGNATURES,
    MAX_SIGNATURES, ReplayedIma, SignatureBudget, SignatureVerdict, Vouched, verify_file_signature,
};
pub use keys::{AkPublic, AkScheme, LdevidPublic};
pub use on_file::{KeyOnFile, QuoteExpectation, QuoteOnFileError, Values, verify_quote_on_file};
pub use quote::{Quote, verify_quote};
pub use road::{
    Certifications, RecordedKeys, verify_attestation, verify_enrolment, verify_renewal,
};
pub use signature::verify_signature;
pub use verified::{
    CertifiedEks, CertifiedNow, ChannelBinding, KeyProof, OnRecord, VerifiedEvidence,
};
