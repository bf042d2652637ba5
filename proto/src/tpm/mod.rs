//! TPM 2.0 structures as they cross the trust boundary (TPM 2.0 Library
//! Part 2): a safe parser and encoder, and the key templates that both sides
//! agree on.
//!
//! A parsed value is plain data, *well-formed but untrusted*. For whatever
//! parses, encoding gives the same bytes back; trailing bytes are an error;
//! every buffer is capped. Algorithms that Holdfast has no use for are refused
//! here, so that no later check has to think of them.

mod attest;
mod attributes;
mod cursor;
pub mod devid;
mod error;
mod hash;
mod name;
mod parameters;
mod pcr;
mod policy;
mod public;
mod signature;
mod spki;
pub mod templates;

pub use attest::{Attest, Attested, ClockInfo, TPM_GENERATED_VALUE};
pub use attributes::ObjectAttributes;
pub use error::ParseError;
pub use hash::{Digest, HashAlg};
pub use name::{Hierarchy, Name};
pub use parameters::{AsymScheme, EccCurve, KeyedHashScheme, Parameters, Symmetric};
pub use pcr::{PcrSelection, PcrSet};
pub use policy::{policy_authorize, policy_pcr};
pub use public::{Public, Unique};
pub use signature::Signature;
