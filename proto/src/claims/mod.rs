//! Claims: what a gateway says about itself, as an EAT (RFC 9711) claims set in
//! COSE_Sign1 (RFC 9052 §4.2) by its LDevID key. The CDDL is in
//! `docs/claims.cddl`.
//!
//! [`SignedClaims::parse`] takes the envelope apart and looks no further: claims
//! come out of [`SignedClaims::open`] only, after the signature verified.

mod error;
mod set;
mod sign1;

pub use crate::cose::{CoseAlg, Sign1Error};
pub use crate::ueid::{Ueid, UeidError};
pub use error::{ClaimsError, OpenError};
pub use set::{Claims, PROFILE, Purpose};
pub use sign1::{MAX_LEN, SignedClaims, sign};

#[cfg(test)]
mod tests;
