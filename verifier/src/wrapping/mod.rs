//! Wrapping: an object that only one endorsed TPM can load.
//! In: an EK that somebody whom the owner trusts vouches for, key material,
//! randomness. Out: [`WrappedObject`], the inputs of TPM2_Import (TPM 2.0
//! Part 1 §23.3, Part 3 §13.3).
//!
//! The public area is built here and never taken from a peer. There is no inner
//! wrap: its key would travel beside it (C24). The seed of the outer wrap is new
//! for each object.

mod error;
mod object;
mod recipient;
#[cfg(test)]
mod tests;

pub use error::WrapError;
pub(crate) use object::with_unique;
pub use object::{MAX_SECRET_LEN, WrappedObject, wrap_heartbeat_key, wrap_secret};
pub use recipient::WrapRecipient;
