//! What the attester, the verifier and the simulator say to one another, and
//! nothing else: the gRPC contract, TPM structures, claims, attestation
//! results, the tags that bind them, and the bundle that starts it all.
//!
//! Everything here is *well-formed but untrusted*: a value of one of these
//! types says how the bytes read, never that anybody vouches for them.

pub mod binding;
pub mod boot_log;
pub mod bundle;
pub mod cbor;
pub mod claims;
pub mod cose;
pub mod devid_challenge;
pub mod grpc;
pub mod idevid_csr;
pub mod ima_log;
pub mod result;
pub mod sd_notify;
pub mod sealing;
pub mod secrets;
pub mod statement;
pub mod tpm;
mod ueid;

/// The README's example runs as a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
