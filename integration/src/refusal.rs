//! What an attack must meet.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tonic::{Code, Status};

use crate::Deployment;

/// The refusal that a test expects: the gRPC code and the kind, which is all
/// that a peer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    code: Code,
    kind: &'static str,
}

impl Refusal {
    /// Not well formed, or a key that breaks a rule on its face.
    pub const INVALID_REQUEST: Self = Self::new(Code::InvalidArgument, "invalid-request");
    /// The join token admits nobody (any more).
    pub const NOT_ADMITTED: Self = Self::new(Code::PermissionDenied, "not-admitted");
    /// The gateway is suspended or revoked.
    pub const BLOCKED: Self = Self::new(Code::PermissionDenied, "blocked");
    /// The call needs an LDevID and the connection has none.
    pub const NO_LDEVID: Self = Self::new(Code::Unauthenticated, "no-ldevid");
    /// The LDevID of the connection is unknown, expired or revoked.
    pub const LDEVID_NOT_GOOD: Self = Self::new(Code::Unauthenticated, "ldevid-not-good");
    /// A key in the request is on another gateway's record.
    pub const KEY_OF_ANOTHER: Self = Self::new(Code::PermissionDenied, "key-of-another");
    /// No vendor that the owner trusts vouches for the TPM.
    pub const NOT_ENDORSED: Self = Self::new(Code::PermissionDenied, "not-endorsed");
    /// The challenge is expired, spent, or of another purpose or verifier.
    pub const STALE: Self = Self::new(Code::FailedPrecondition, "stale");
    /// Well formed, but not what it claims to be.
    pub const NOT_AUTHENTIC: Self = Self::new(Code::Unauthenticated, "not-authentic");

    /// A refusal with this code and kind.
    #[must_use]
    pub const fn new(code: Code, kind: &'static str) -> Self {
        Self { code, kind }
    }

    /// That `status` is this refusal, and tells the peer nothing more.
    ///
    /// # Errors
    /// Says what came instead.
    pub fn expect(&self, status: &Status) -> Result<()> {
        ensure!(
            status.code() == self.code && kind_of(status) == Some(self.kind),
            "expected {:?} ({}), got {:?} ({}): {:?}",
            self.code,
            self.kind,
            status.code(),
            kind_of(status).unwrap_or("no kind"),
            status.message(),
        );
        Ok(())
    }

    /// The same, of a connection whose LDevID was revoked after it was opened:
    /// it is refused, until within a second it is cut.
    ///
    /// # Errors
    /// Says what came instead.
    pub fn expect_or_cut(&self, status: &Status) -> Result<()> {
        let cut = kind_of(status).is_none()
            && matches!(
                status.code(),
                Code::Unavailable | Code::Unknown | Code::Cancelled
            );
        if cut { Ok(()) } else { self.expect(status) }
    }
}

/// The kind in a refusal, as the verifier's edge writes it.
#[must_use]
pub fn kind_of(status: &Status) -> Option<&str> {
    status.metadata().get("holdfast-kind")?.to_str().ok()
}

/// All that the verifier has on record, to be compared before and after an
/// attack.
#[derive(Clone, Debug, PartialEq)]
pub struct Record(Vec<Value>);

impl Record {
    /// The record now.
    ///
    /// # Errors
    /// Where `gateway list` fails.
    pub fn of(deployment: &Deployment) -> Result<Self> {
        deployment.gateways().map(Self)
    }

    /// That nothing was granted, changed or lost since.
    ///
    /// # Errors
    /// Shows both.
    pub fn unchanged(&self, deployment: &Deployment) -> Result<()> {
        let now = Self::of(deployment).context("the record after the attack")?;
        ensure!(
            now == *self,
            "the attack changed the record from {:#?} to {:#?}",
            self.0,
            now.0
        );
        Ok(())
    }
}
