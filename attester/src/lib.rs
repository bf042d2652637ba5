//! The gateway's side of Holdfast (RFC 9334: the Attester).
//!
//! Rooms: [`tpm`] owns the TPM; [`evidence`] makes one message of TPM and
//! platform; [`enrolment`] and [`attestation`] build what is sent, apart from
//! sending it, and hold the conversations; [`client`] is the one TLS
//! connection; [`state`] is what stays on disk; [`cli`] is for people.

pub mod attestation;
pub mod cli;
pub mod client;
pub mod enrolment;
mod error;
pub mod evidence;
pub mod names;
pub mod state;
pub mod tpm;

pub use error::AttesterError;
