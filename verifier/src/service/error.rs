//! The one place where a refusal becomes what a peer is told: its kind, and
//! what to do next. The cause goes to the log, under the request's id.

use tonic::{Code, Status, metadata::MetadataValue};
use tracing::{error, info};

use crate::{
    exchange::{ExchangeError, Kind},
    identity::IdentityError,
    owner::OwnerError,
    store::StoreError,
};

/// Metadata key of the stable kind, for programs.
pub(super) const KIND_METADATA: &str = "holdfast-kind";

/// Why a call is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The core refused.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The store refused, or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No certificate was issued, though one was granted.
    #[error("issuing: {0}")]
    Identity(#[from] IdentityError),
    /// The call needs an LDevID and the connection has none.
    #[error("no client certificate")]
    NoLdevid,
    /// The client certificate is not one that this Verifier recorded.
    #[error("client certificate {0} is not on record")]
    UnknownLdevid(String),
    /// The client certificate has expired since the handshake.
    #[error("client certificate {0} has expired")]
    ExpiredLdevid(String),
    /// No join token where one is needed, or one where none belongs.
    #[error("join token: {0}")]
    JoinToken(&'static str),
    /// A field is not as the contract has it. The text is ours, never the
    /// peer's.
    #[error("{0}")]
    Invalid(&'static str),
    /// A field of an admin call is not usable; the owner is told why.
    #[error("{0}")]
    AdminInput(String),
    /// What came is not the owner's word, or not its next one.
    #[error(transparent)]
    Owner(#[from] OwnerError),
    /// The admin socket's caller is neither root nor the server's own user.
    #[error("admin caller with uid {0:?}")]
    NotOwner(Option<u32>),
    /// Too many requests of one address, or for one EK or gateway.
    #[error("rate limit: {0}")]
    RateLimited(&'static str),
    /// No place for another request.
    #[error("overloaded: {0}")]
    Overloaded(&'static str),
    /// A fault of ours.
    #[error("internal: {0}")]
    Internal(String),
}

/// What the peer learns.
struct Told {
    code: Code,
    kind: &'static str,
    text: &'static str,
}

impl Refusal {
    fn told(&self) -> Told {
        match self {
            Self::Exchange(e) => told_of_exchange(e.kind()),
            Self::Store(e) => told_of_store(e),
            Self::NoLdevid => Told {
                code: Code::Unauthenticated,
                kind: "no-ldevid",
                text: "this call needs the gateway's LDevID as TLS client certificate; enrol or recover first",
            },
            Self::UnknownLdevid(_) | Self::ExpiredLdevid(_) => LDEVID_NOT_GOOD,
            Self::JoinToken(_) => NOT_ADMITTED,
            Self::Invalid(_) | Self::AdminInput(_) => INVALID_REQUEST,
            // Only in answers to admin calls: see `into_admin_status`.
            Self::Owner(OwnerError::Rollback { .. } | OwnerError::Gap { .. }) => NOT_NEXT,
            Self::Owner(_) => Told {
                code: Code::PermissionDenied,
                kind: "not-signed-by-owner",
                text: "the document is not signed by the owner",
            },
            Self::NotOwner(_) => Told {
                code: Code::PermissionDenied,
                kind: "not-owner",
                text: "admin calls are for root and for the user that the verifier runs as",
            },
            Self::RateLimited(_) => Told {
                code: Code::ResourceExhausted,
                kind: "rate-limited",
                text: "too many requests; wait a minute, then try again more slowly",
            },
            Self::Overloaded(_) => Told {
                code: Code::Unavailable,
                kind: "overloaded",
                text: "the verifier is busy; try again in a few seconds",
            },
            Self::Identity(_) | Self::Internal(_) => INTERNAL,
        }
    }

    /// The status for a gateway: kind and next step. Logs the cause.
    #[must_use]
    pub fn into_status(self) -> Status {
        let told = self.told();
        self.log(told.kind, told.code);
        status(told.code, told.kind, told.text.to_owned())
    }

    /// The status for the owner on the admin socket: the cause as well. Logs
    /// it.
    #[must_use]
    pub fn into_admin_status(self) -> Status {
        let told = self.told();
        self.log(told.kind, told.code);
        let text = match &self {
            Self::Store(StoreError::Database(e)) => format!("{self}: {e}"),
            _ => self.to_string(),
        };
        let (code, kind) = match &self {
            Self::Store(StoreError::UnknownGateway { .. }) => (Code::NotFound, "unknown-gateway"),
            Self::Store(StoreError::Blocked { .. }) => (Code::FailedPrecondition, told.kind),
            _ => (told.code, told.kind),
        };
        status(code, kind, text)
    }

    fn log(&self, kind: &'static str, code: Code) {
        // Causes hold no text of the peer's but what `escape_debug` made inert:
        // sizes, names in hex, codes. `?` escapes whatever else there may be.
        let cause = chain(self);
        if code == Code::Internal || code == Code::Unavailable {
            error!(kind, cause = ?cause, "refused");
        } else {
            info!(kind, cause = ?cause, "refused");
        }
    }
}

/// An error and what it came from, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Transparent wrappers repeat what is below them.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

const INVALID_REQUEST: Told = Told {
    code: Code::InvalidArgument,
    kind: "invalid-request",
    text: "the request is malformed or breaks a rule of the protocol; repeating it is useless: \
           check that attester and verifier are of matching versions",
};
const NOT_ADMITTED: Told = Told {
    code: Code::PermissionDenied,
    kind: "not-admitted",
    text: "not admitted; ask the owner for a new bundle (holdfast-verifier token create)",
};
const STALE: Told = Told {
    code: Code::FailedPrecondition,
    kind: "stale",
    text: "the challenge is expired, spent, or of another exchange; ask for a new one",
};
const BOOT_LOG_UNKNOWN: Told = Told {
    code: Code::FailedPrecondition,
    kind: "boot-log-unknown",
    text: "the verifier does not have this boot log; send it whole",
};
const NOT_AUTHENTIC: Told = Told {
    code: Code::Unauthenticated,
    kind: "not-authentic",
    text: "the evidence is not what it claims to be; ask for a new challenge and collect it anew",
};
const BLOCKED: Told = Told {
    code: Code::PermissionDenied,
    kind: "blocked",
    text: "the gateway is suspended or revoked; ask the owner (holdfast-verifier gateway show)",
};
const LDEVID_NOT_GOOD: Told = Told {
    code: Code::Unauthenticated,
    kind: "ldevid-not-good",
    text: "the LDevID is unknown, expired or revoked; recover or enrol again",
};
const NOT_NEXT: Told = Told {
    code: Code::FailedPrecondition,
    kind: "not-next-version",
    text: "the document is not the next version",
};
const UNAVAILABLE: Told = Told {
    code: Code::Unavailable,
    kind: "unavailable",
    text: "the verifier cannot record anything now; try again later",
};
const INTERNAL: Told = Told {
    code: Code::Internal,
    kind: "internal",
    text: "the verifier failed; its log has the cause under this request id",
};

fn told_of_exchange(kind: Kind) -> Told {
    match kind {
        Kind::InvalidRequest => INVALID_REQUEST,
        Kind::NotEndorsed => Told {
            code: Code::PermissionDenied,
            kind: "not-endorsed",
            text: "the TPM is not endorsed by a vendor that the owner trusts; the owner imports its \
                   vendor's certificates (holdfast-verifier endorsement import)",
        },
        Kind::Stale => STALE,
        Kind::ImaResync => Told {
            code: Code::FailedPrecondition,
            kind: "ima-resync",
            text: "the IMA log does not go on from where the verifier is; send the same with the log \
                   from its first entry",
        },
        Kind::BootLogUnknown => BOOT_LOG_UNKNOWN,
        Kind::BootLogMalformed => Told {
            code: Code::InvalidArgument,
            kind: "boot-log-malformed",
            text: "the boot log cannot be read; `holdfast-verifier inspect boot-log FILE` says where it breaks; \
                   without a log (--boot-log with a file that does not exist) the PCRs alone are judged",
        },
        Kind::NotAuthentic => NOT_AUTHENTIC,
        Kind::Internal => INTERNAL,
    }
}

fn told_of_store(error: &StoreError) -> Told {
    match error {
        StoreError::JoinTokenUnknown
        | StoreError::JoinTokenExpired { .. }
        | StoreError::JoinTokenSpent
        | StoreError::UnknownGateway { .. } => NOT_ADMITTED,
        StoreError::ChallengeSpent => STALE,
        StoreError::Blocked { .. } => BLOCKED,
        StoreError::NothingToRecover { .. } => Told {
            code: Code::FailedPrecondition,
            kind: "nothing-to-recover",
            text: "the gateway holds a valid LDevID; attest with it, recovery is for those that lost theirs",
        },
        StoreError::KeyOfAnother { .. } => Told {
            code: Code::PermissionDenied,
            kind: "key-of-another",
            text: "a key in the request belongs to another gateway; make new keys on this TPM",
        },
        StoreError::KeysChanged { .. }
        | StoreError::ClockFell { .. }
        | StoreError::AllowListVersion { .. }
        | StoreError::PolicyVersion { .. } => Told {
            code: Code::Aborted,
            kind: "overtaken",
            text: "another exchange of this gateway overtook this one; ask for a new challenge",
        },
        StoreError::CertificateRevoked { .. } => LDEVID_NOT_GOOD,
        StoreError::BootLogUnknown => BOOT_LOG_UNKNOWN,
        StoreError::ReferenceVersion { .. } => NOT_NEXT,
        StoreError::NotForEvidence { .. }
        | StoreError::NotApprovable { .. }
        | StoreError::QuoteChanged { .. } => Told {
            code: Code::FailedPrecondition,
            kind: "not-approvable",
            text: "the gateway's state is not the one to be approved",
        },
        StoreError::JoinTokenExists | StoreError::Corrupt { .. } => INTERNAL,
        StoreError::Database(_) | StoreError::Open(_) => UNAVAILABLE,
    }
}

fn status(code: Code, kind: &'static str, text: String) -> Status {
    let mut status = Status::new(code, format!("{kind}: {text}"));
    status
        .metadata_mut()
        .insert(KIND_METADATA, MetadataValue::from_static(kind));
    status
}
