//! `OCSPResponse` (RFC 6960 §4.2.1), as it is written.

use super::request::CertId;
use crate::{
    identity::{IdentityError, RevocationReason, certificate as x509, der, oid},
    time::UnixTime,
};

/// What is known of a certificate (§2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertStatus {
    /// Issued, and not revoked.
    Good,
    /// Issued, and revoked.
    Revoked {
        /// When.
        at: UnixTime,
        /// Why.
        reason: RevocationReason,
    },
    /// Never issued, or of another CA: never "good".
    Unknown,
}

/// The answer about one certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SingleResponse<'a> {
    /// Which.
    pub cert_id: CertId<'a>,
    /// Its status.
    pub status: CertStatus,
}

/// An answer that says nothing but why there is none (§4.2.1,
/// OCSPResponseStatus). Not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OcspError {
    /// What came is no request.
    MalformedRequest,
    /// A fault of ours.
    InternalError,
    /// Busy: ask again.
    TryLater,
    /// Nothing that was asked about is of a CA that we answer for
    /// (RFC 5019 §2.2.3).
    Unauthorized,
}

impl OcspError {
    /// DER.
    #[must_use]
    pub fn to_der(self) -> Vec<u8> {
        let code = match self {
            Self::MalformedRequest => 1,
            Self::InternalError => 2,
            Self::TryLater => 3,
            Self::Unauthorized => 6,
        };
        der::sequence(&[&der::enumerated(code)])
    }
}

/// DER `ResponseData`, by the responder whose key hashes (SHA-1) to `key_hash`.
pub(super) fn response_data(
    key_hash: &[u8],
    responses: &[SingleResponse<'_>],
    nonce: Option<&[u8]>,
    now: UnixTime,
    next_update: UnixTime,
) -> Result<Vec<u8>, IdentityError> {
    let now = time(now)?;
    let next_update = time(next_update)?;
    let mut all = Vec::new();
    for response in responses {
        all.extend(der::sequence(&[
            response.cert_id.as_der(),
            &status(response.status)?,
            &now,
            &der::explicit(0, &next_update),
        ]));
    }
    let extensions = nonce.map(|nonce| {
        let extension = x509::extension(oid::OCSP_NONCE, false, &der::octet_string(nonce));
        der::explicit(1, &der::sequence(&[&extension]))
    });
    Ok(der::sequence(&[
        &der::explicit(2, &der::octet_string(key_hash)),
        &now,
        &der::sequence(&[&all]),
        &extensions.unwrap_or_default(),
    ]))
}

/// DER `OCSPResponse`, successful, around a `BasicOCSPResponse`.
pub(super) fn successful(
    response_data: &[u8],
    algorithm: &[u8],
    signature: &[u8],
    certificate: &[u8],
) -> Vec<u8> {
    let basic = der::sequence(&[
        response_data,
        algorithm,
        &der::bit_string(signature),
        &der::explicit(0, &der::sequence(&[certificate])),
    ]);
    let bytes = der::sequence(&[&der::oid(oid::OCSP_BASIC), &der::octet_string(&basic)]);
    der::sequence(&[&der::enumerated(0), &der::explicit(0, &bytes)])
}

fn status(status: CertStatus) -> Result<Vec<u8>, IdentityError> {
    Ok(match status {
        CertStatus::Good => der::implicit(0, &[]),
        CertStatus::Unknown => der::implicit(2, &[]),
        CertStatus::Revoked { at, reason } => {
            let reason = match reason {
                RevocationReason::Unspecified => Vec::new(),
                reason => der::explicit(0, &der::enumerated(reason.code())),
            };
            der::implicit_sequence(1, &[&time(at)?, &reason])
        }
    })
}

fn time(at: UnixTime) -> Result<Vec<u8>, IdentityError> {
    der::generalized_time(at).ok_or(IdentityError::TimeOutOfRange(at))
}
