//! Endorsement: is this EK made by a TPM vendor that the owner trusts?
//! In: DER certificates, trust anchors, a time. Out: [`EndorsedEk`], or why
//! not.

mod accepted;
mod anchors;
mod authority;
mod certificate;
mod chain;
mod crl;
pub(crate) mod der;
pub mod devid;
mod document;
mod ek;
mod endorsed;
mod error;
mod facts;
mod file;
mod further;
mod leniency;
mod missing;
mod oid;
mod on_file;
mod pkcs7;
mod policy_ca;
mod quirk;
pub(crate) mod roca;
mod rules;
mod signature;
mod standing;
#[cfg(test)]
pub(crate) mod tests;

pub use accepted::{AcceptedEks, RequiredEks};
pub use anchors::{Anchors, EndorsedEk};
pub use authority::CertificateFacts;
pub use chain::EkChain;
pub use crl::{CrlError, CrlFacts, MAX_CRL_LEN, ParsedCrl, ReadCrl};
pub(crate) use der::dotted;
pub use devid::{
    ClaimedDevid, DevidDigests, DevidError, DevidFacts, EndorsedIak, IakPublic, IdevidPublic,
    OemAnchors, OemCas, OemName, is_product_serial,
};
pub use document::{BUNDLE_FORMAT, BundleError, EndorsementBundle, MAX_BUNDLE_BYTES};
pub use ek::EkPublic;
pub use endorsed::Endorsed;
pub use error::{EndorsementError, Position, WeakAlg, WeakKey};
pub use facts::{EkKnownBy, EkLink, PathCertificate, TpmFacts};
pub use file::{FileError, Item, MAX_ITEMS, items};
pub use further::{EkFacts, FurtherEk, FurtherEks, MAX_FURTHER_EKS, ShownEk};
pub use leniency::{Leniencies, Leniency};
pub use missing::MissingIssuer;
pub use on_file::{KeyMaterial, ShownCertificate, Trimmed, trim_nv_image};
pub use pkcs7::Pkcs7Error;
pub use rules::{Denied, DeniedIssuer, FirmwareFloor, ListedEk, Rules, StaleCrl};
pub use standing::{EndorsementStanding, Finding, FindingCode};
