//! Endorsement: is this EK made by a TPM vendor that the owner trusts?
//! In: DER certificates, trust anchors, a time. Out: [`EndorsedEk`], or why
//! not.

mod accepted;
mod anchors;
mod certificate;
mod chain;
mod der;
mod ek;
mod error;
mod facts;
mod oid;
mod on_file;
#[cfg(test)]
pub(crate) mod tests;

pub use accepted::AcceptedEks;
pub use anchors::{Anchors, CertificateFacts, EndorsedEk};
pub use chain::EkChain;
pub(crate) use der::dotted;
pub use ek::EkPublic;
pub use error::{EndorsementError, Position, WeakAlg, WeakKey};
pub use facts::TpmFacts;
pub use on_file::{KeyMaterial, ShownCertificate, Trimmed, trim_nv_image};
