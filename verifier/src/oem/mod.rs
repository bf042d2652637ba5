//! The OEM's desk: IAK and IDevID certificates for devices that an OEM builds
//! (`holdfast-verifier oem init|challenge|issue`). In: a TCG-CSR-IDEVID, the TPM
//! vendors' anchors, a time, the answer to a challenge. Out: two certificates,
//! recorded before they are handed out, or why not.
//!
//! ```text
//! bytes ─CheckedCsr::check─► CheckedCsr ─challenge─► DevidChallenge, PendingDevid
//! (CheckedCsr, PendingDevid, DevidAnswer) ─prove─► ProvenDevice ─Issuance::sign─► IssuedDevid ─ledger─► files
//! ```
//! All but [`Desk`] and [`Ledger`] is pure.

mod csr;
mod desk;
mod error;
mod issue;
mod ledger;
mod pending;
#[cfg(test)]
mod tests;

pub use csr::CheckedCsr;
pub use desk::{Desk, NewDesk};
pub use error::{CsrRefusal, DeskError};
pub use issue::IssuedDevid;
pub use ledger::{Ledger, LedgerEntry, LedgerError};
pub use pending::{CHALLENGE_SECONDS, PendingDevid, ProvenDevice};
