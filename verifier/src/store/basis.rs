//! What an appraisal goes by, so that its record can tell whether the owner has
//! said something else since.

use super::Sha256;

/// The newest versions of a class's documents on record; 0 for none. To be read
/// before the documents themselves are looked up: whatever is imported after that
/// makes the appraisal one of the past.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InForce {
    /// Of its reference values.
    pub references: u64,
    /// Of its allow list.
    pub allow_list: u64,
}

/// What a gateway was appraised by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Basis {
    /// As which class.
    pub class: String,
    /// Under which policy: SHA-256 of its source.
    pub policy_id: Sha256,
    /// With which documents.
    pub in_force: InForce,
}
