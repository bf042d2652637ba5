//! The gateway's side of Holdfast (RFC 9334: the Attester).
//!
//! Rooms: [`tpm`] owns the TPM; [`evidence`] makes one message of TPM and
//! platform; [`enrolment`] and [`attestation`] build what is sent, apart from
//! sending it, and hold the conversations; [`client`] is the one TLS
//! connection; [`keys`] gives the LDevID to other programs and to rustls,
//! [`proxy`] does TLS with it for those that cannot; [`sealing`] binds secrets to
//! this TPM and boot state, [`secrets`] keeps what the Verifier's owner gave;
//! [`daemon`] does all this by itself and in time;
//! [`state`] is what stays on disk, [`output`] what is written elsewhere;
//! [`cli`] is for people.

pub mod attestation;
pub mod cli;
pub mod client;
pub mod daemon;
mod dates;
pub mod enrolment;
mod error;
pub mod evidence;
pub mod heartbeat;
pub mod keys;
pub mod names;
pub mod output;
pub mod proxy;
pub mod sealing;
pub mod secrets;
pub mod state;
pub mod tpm;

pub use error::AttesterError;
