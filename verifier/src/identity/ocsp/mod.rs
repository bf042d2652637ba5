//! OCSP (RFC 6960, nonces as RFC 9654): requests are parsed here, and answers
//! are written and signed by a delegated responder, whose short-lived
//! certificate the issuing CA signs. Who is revoked is asked elsewhere.
//!
//! ```text
//! bytes ─OcspRequest::parse─► requests ─(store)─► statuses ─OcspResponder::respond─► DER
//! ```

mod request;
mod responder;
mod response;

pub use request::{CertId, MAX_OCSP_CERT_IDS, MAX_OCSP_REQUEST, OcspRequest, OcspRequestError};
pub use responder::OcspResponder;
pub use response::{CertStatus, OcspError, SingleResponse};
