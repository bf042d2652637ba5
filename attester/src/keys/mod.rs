//! The LDevID key for other programs, and for this one: as a rustls signing
//! key ([`TpmSigningKey`], [`Ldevid`]), and as files for OpenSSL's tpm2
//! provider ([`export`]). The private key never leaves the TPM.
//!
//! `examples/mutual_tls.rs` is a program that calls a server with it.

mod der;
mod export;
mod openssl_conf;
mod tls;
mod tss2;

pub use export::{ExportError, Exported, export};
pub use openssl_conf::{PROPERTY_QUERY, openssl_conf, openssl_env};
pub use tls::{Ldevid, TpmSigningKey};
pub use tss2::tss2_pem;
