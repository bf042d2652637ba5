//! Attestation Results on the wire: EAR (draft-ietf-rats-ear-04) with the
//! AR4SI trustworthiness vector (draft-ietf-rats-ar4si), as a JWT and as a
//! CWT, both signed with ECDSA on P-256 with SHA-256: ES256 in JOSE, ESP256
//! (RFC 9864) in COSE.
//!
//! An EAR that comes back from outside is untrusted: [`SignedEar`] keeps its
//! content out of reach until the caller's own verification accepts the
//! signature.

mod claims;
mod cwt;
mod dotted;
mod jwt;
mod signed;
#[cfg(test)]
mod tests;
mod vector;

pub use claims::{Appraisal, Ear, VerifierId};
pub use dotted::DOTTED_PROFILE;
pub use signed::{EarError, OpenError, SignedEar};
pub use vector::{Claim, Tier, TrustVector};

/// `eat_profile` of an EAR: it names the draft's revision.
pub const PROFILE: &str = "tag:ietf.org,2026:rats/ear#04";

/// How an EAR is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As draft-ietf-rats-ear-04 has it.
    #[default]
    Draft04,
    /// The older names with dots, for relying parties that know no other.
    Dotted,
}

/// Name of the only submodule: the gateway as a whole.
pub const SUBMODULE: &str = "gateway";

/// Longest EAR taken, in bytes, before any decoding. Ours are under 2 KiB.
pub const MAX_EAR_BYTES: usize = 16 * 1024;

/// Most policy ids, and most reason codes, in one appraisal.
const MAX_LIST: usize = 64;

/// Longest string in an EAR, in bytes.
const MAX_TEXT: usize = 256;

/// An ES256 signature: `r ‖ s`.
const SIGNATURE_BYTES: usize = 64;
