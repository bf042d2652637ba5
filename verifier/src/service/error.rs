//! The one place where a refusal becomes what a peer is told: its kind, and
//! what to do next. The cause goes to the log, under the request's id.

use holdfast_proto::binding::Ueid;
use tonic::{Code, Status, metadata::MetadataValue};
use tracing::{error, info};

use super::KeyError;
use crate::{
    endorsement::EndorsementError,
    exchange::{ExchangeError, Kind},
    heartbeat::BeatError,
    identity::IdentityError,
    operators::Role,
    owner::OwnerError,
    secrets::SecretsError,
    store::{OwnedKey, StoreError},
    time::UnixTime,
    wrapping::WrapError,
};

/// Metadata key of the stable kind, for programs.
pub(super) const KIND_METADATA: &str = "holdfast-kind";
/// Metadata key of the labels of EK templates that are to be shown as well.
const MISSING_EKS_METADATA: &str = "holdfast-missing-eks";
/// Metadata key of a wish for a pause (gRPC proposal A6).
const PUSHBACK_METADATA: &str = "grpc-retry-pushback-ms";

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
    /// The keys were not taken up: those that there are stay in use.
    #[error("the keys are as before: {0}")]
    Keys(#[source] KeyError),
    /// The call needs an LDevID and the connection has none.
    #[error("no client certificate")]
    NoLdevid,
    /// The client certificate is not one that this Verifier recorded.
    #[error("client certificate {0} is not on record")]
    UnknownLdevid(String),
    /// The client certificate has expired since the handshake.
    #[error("client certificate {0} has expired")]
    ExpiredLdevid(String),
    /// The client certificate was revoked since the handshake.
    #[error("the client certificate is revoked")]
    RevokedLdevid,
    /// Neither a join token nor an allow list admits it.
    #[error("not admitted: {0}")]
    NotAdmitted(&'static str),
    /// No join token where one is needed, or one where none belongs.
    #[error("join token: {0}")]
    JoinToken(&'static str),
    /// The endorsement does not bear out the ground that the peer named. The
    /// peer is told what it would be told without that ground, so that nobody
    /// learns what is on the owner's lists by naming it.
    #[error("{cause}")]
    GroundUnproven {
        /// What is told.
        told: Box<Self>,
        /// What is so.
        cause: Box<Self>,
    },
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
    /// The TPM is proven, and nobody has admitted the gateway yet.
    #[error("gateway {0} waits for approval")]
    AwaitingApproval(Ueid),
    /// No method of this door: it has no row in the role table, or another
    /// door's.
    #[error("no such method here")]
    NotServed,
    /// An admin call by somebody who has no role.
    #[error("{0} has no role; see [admin] in config.toml")]
    NoRole(String),
    /// The client certificate is on record as no operator's, or is revoked, or
    /// has expired since the handshake.
    #[error("{caller}: the certificate is {state}")]
    OperatorNotGood {
        /// Who calls, or the certificate's digest.
        caller: String,
        /// "not on record", "revoked", "not valid now".
        state: &'static str,
    },
    /// An admin call that needs a higher role.
    #[error("{caller} is {role}; this call needs {needed}")]
    RoleTooLow {
        /// Who calls.
        caller: String,
        /// What that one is.
        role: Role,
        /// What the method needs.
        needed: Role,
    },
    /// Too many requests of one address, or for one EK or gateway.
    #[error("rate limit: {0}")]
    RateLimited(&'static str),
    /// No place for another request.
    #[error("overloaded: {0}")]
    Overloaded(&'static str),
    /// Events that a watcher asks for are not kept (any more).
    #[error(
        "events after {after} are not all kept: {oldest} to {newest} are; begin with --after 0 for \
         all of them, or without it for what happens from now on"
    )]
    EventsGone {
        /// What was asked for.
        after: u64,
        /// The oldest that is kept.
        oldest: u64,
        /// The newest that there was.
        newest: u64,
    },
    /// A watcher does not take its events.
    #[error("no event was taken for 30 s; go on after {after}")]
    SlowConsumer {
        /// The last that was sent.
        after: u64,
    },
    /// A secret is not kept, or not opened.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// A frame is no beat of its stream.
    #[error("beat: {0}")]
    Beat(#[source] BeatError),
    /// Nothing can be wrapped for the gateway's TPM.
    #[error("no heartbeats: {0}")]
    NoHeartbeats(#[source] WrapError),
    /// A stream of beats went silent.
    #[error("no frame came in time")]
    Silent,
    /// The stream of beats is to be begun anew.
    #[error("another stream, or a full attestation, took its place")]
    BeginAgain,
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
            Self::UnknownLdevid(_) | Self::ExpiredLdevid(_) | Self::RevokedLdevid => {
                LDEVID_NOT_GOOD
            }
            Self::JoinToken(_) | Self::NotAdmitted(_) => NOT_ADMITTED,
            Self::GroundUnproven { told, .. } => told.told(),
            Self::Invalid(_) | Self::AdminInput(_) => INVALID_REQUEST,
            // Only in answers to admin calls: see `into_admin_status`.
            Self::Owner(OwnerError::Rollback { .. } | OwnerError::Gap { .. }) => NOT_NEXT,
            Self::Owner(_) => Told {
                code: Code::PermissionDenied,
                kind: "not-signed-by-owner",
                text: "the document is not signed by the owner",
            },
            Self::AwaitingApproval(_) => Told {
                code: Code::FailedPrecondition,
                kind: "awaiting-approval",
                text: "the TPM is proven; the gateway waits for the owner's approval \
                       (holdfast-verifier admission pending); ask again in a minute",
            },
            Self::NotServed => Told {
                code: Code::Unimplemented,
                kind: "not-served",
                text: "there is no such call here",
            },
            Self::NoRole(_) => Told {
                code: Code::PermissionDenied,
                kind: "no-role",
                text: "admin calls are for those who have a role",
            },
            Self::OperatorNotGood { .. } => Told {
                code: Code::Unauthenticated,
                kind: "operator-not-good",
                text: "the client certificate is no operator's that is on record and in force",
            },
            Self::RoleTooLow { .. } => Told {
                code: Code::PermissionDenied,
                kind: "role-too-low",
                text: "this call needs a higher role",
            },
            Self::RateLimited(_) => Told {
                code: Code::ResourceExhausted,
                kind: "rate-limited",
                text: "too many requests; wait a minute, then try again more slowly",
            },
            Self::EventsGone { .. } => Told {
                code: Code::FailedPrecondition,
                kind: "events-gone",
                text: "the events are not kept any more",
            },
            Self::SlowConsumer { .. } => Told {
                code: Code::ResourceExhausted,
                kind: "slow-consumer",
                text: "the events are not taken",
            },
            Self::Overloaded(_) => Told {
                code: Code::Unavailable,
                kind: "overloaded",
                text: "the verifier is busy; try again in a few seconds",
            },
            Self::Identity(IdentityError::Sign(_)) => Told {
                code: Code::Unavailable,
                kind: "issuing-unavailable",
                text: "the verifier's CA cannot sign now; try again later, the request is not spent",
            },
            Self::Keys(_) => Told {
                code: Code::FailedPrecondition,
                kind: "keys-not-usable",
                text: "the keys cannot be used",
            },
            Self::Beat(_) => Told {
                code: Code::Unauthenticated,
                kind: "not-a-beat",
                text: "the frame is no beat of this stream; begin a new one",
            },
            Self::NoHeartbeats(_) => Told {
                code: Code::FailedPrecondition,
                kind: "no-heartbeats",
                text: "this gateway's record is of before its IAK certified its EK: enrol it anew (holdfast-attester enroll --replace)",
            },
            Self::Silent => Told {
                code: Code::DeadlineExceeded,
                kind: "silent",
                text: "no frame came in time; begin a new stream",
            },
            Self::BeginAgain => BEGIN_AGAIN,
            Self::Secrets(SecretsError::Length { .. }) => INVALID_REQUEST,
            Self::Identity(_) | Self::Secrets(_) | Self::Internal(_) => INTERNAL,
        }
    }

    /// The status for a gateway: kind and next step. Logs the cause.
    #[must_use]
    pub fn into_status(self) -> Status {
        let told = self.told();
        self.log(told.kind, told.code);
        let missing_eks = self.missing_eks();
        let text = match (&self, self.missing_endorsement()) {
            _ if missing_eks.is_some() => format!(
                "{}: {}",
                told.text,
                missing_eks.as_deref().unwrap_or_default()
            ),
            (_, Some(missing)) => format!("{}; here it is {missing}", told.text),
            (Self::Store(StoreError::TooManyLdevids { until, .. }), None) => {
                let until = UnixTime::from_seconds(*until);
                format!("{}; there is room again after {until}", told.text)
            }
            _ => told.text.to_owned(),
        };
        let mut status = status(told.code, told.kind, text);
        let labels = missing_eks.and_then(|labels| MetadataValue::try_from(labels).ok());
        if let Some(labels) = labels {
            status.metadata_mut().insert(MISSING_EKS_METADATA, labels);
        }
        status
    }

    /// What is missing for an endorsement. The peer is told, as it is in what
    /// the peer sent, and helps whoever stands at the gateway to ask for it.
    fn missing_endorsement(&self) -> Option<&EndorsementError> {
        let Self::Exchange(ExchangeError::Endorsement(why)) = self else {
            return None;
        };
        let of_one = match why {
            EndorsementError::FurtherEk { source, .. } => source.as_ref(),
            why => why,
        };
        match of_one {
            EndorsementError::UnknownIssuer(_) | EndorsementError::NoCertificate { .. } => {
                Some(why)
            }
            _ => None,
        }
    }

    /// The labels of the EK templates that the owner wants to be shown as well,
    /// separated by commas. The peer is told: by these it goes on.
    fn missing_eks(&self) -> Option<String> {
        match self {
            Self::Exchange(ExchangeError::Endorsement(EndorsementError::EksMissing {
                missing,
            })) => Some(missing.join(", ")),
            _ => None,
        }
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
            Self::Store(StoreError::UnknownOperator { .. }) => (Code::NotFound, told.kind),
            Self::Store(StoreError::UnknownDevice { .. }) => (Code::NotFound, "unknown-device"),
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
const BEGIN_AGAIN: Told = Told {
    code: Code::Aborted,
    kind: "begin-again",
    text: "another stream or a full attestation took its place; begin a new one",
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
            text: "the TPM is not endorsed by a vendor or an OEM that the owner trusts; the owner \
                   imports its certificates (holdfast-verifier endorsement import)",
        },
        Kind::EksMissing => Told {
            code: Code::FailedPrecondition,
            kind: "eks-missing",
            text: "the owner wants to be shown one EK of each accepted template; show these as well",
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
        | StoreError::SerialNotAllowed { .. }
        | StoreError::UnknownGateway { .. } => NOT_ADMITTED,
        StoreError::ChallengeSpent => STALE,
        StoreError::Blocked { .. } => BLOCKED,
        StoreError::NothingToRecover { .. } => Told {
            code: Code::FailedPrecondition,
            kind: "nothing-to-recover",
            text: "the gateway holds a valid LDevID; attest with it, recovery is for those that lost theirs",
        },
        StoreError::KeyOfAnother {
            key: OwnedKey::Ek, ..
        } => Told {
            code: Code::PermissionDenied,
            kind: "key-of-another",
            text: "an EK of this TPM is on the record of another gateway: one TPM is one gateway; enrol \
                   by the EK or IAK that it enrolled by first, or ask the owner",
        },
        StoreError::KeyOfAnother { .. } => Told {
            code: Code::PermissionDenied,
            kind: "key-of-another",
            text: "a key in the request belongs to another gateway; make new keys on this TPM",
        },
        StoreError::TooManyEks { .. } => Told {
            code: Code::ResourceExhausted,
            kind: "too-many-eks",
            text: "the gateway's record has as many EKs as one may have; show one of those that it \
                   enrolled with before, or ask the owner",
        },
        StoreError::OemWithdrawn { .. } => Told {
            code: Code::PermissionDenied,
            kind: "not-endorsed",
            text: "the OEM that certified the device is not trusted any more; ask the owner",
        },
        StoreError::OemCaWithdrawn { .. } => Told {
            code: Code::FailedPrecondition,
            kind: "oem-ca-withdrawn",
            text: "the OEM's certificate was withdrawn",
        },
        StoreError::OtherIdevid { .. } => Told {
            code: Code::PermissionDenied,
            kind: "other-idevid",
            text: "the gateway is bound to another IDevID than the one presented; ask the owner",
        },
        StoreError::KeysChanged { .. }
        | StoreError::ClockFell { .. }
        | StoreError::AllowListVersion { .. }
        | StoreError::EndorsementVersion { .. }
        | StoreError::PolicyVersion { .. }
        | StoreError::SecretsChanged { .. } => Told {
            code: Code::Aborted,
            kind: "overtaken",
            text: "another exchange of this gateway overtook this one; ask for a new challenge",
        },
        StoreError::Superseded { .. } => Told {
            code: Code::Aborted,
            kind: "overtaken",
            text: "the owner changed what gateways are appraised by in the meantime; ask for a new \
                   challenge",
        },
        StoreError::RolledBack { .. } => Told {
            code: Code::PermissionDenied,
            kind: "rolled-back",
            text: "the TPM's clock is behind what this gateway showed before: a copy, or put back; it \
                   is suspended; ask the owner (holdfast-verifier gateway show)",
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
        StoreError::UnknownDevice { .. } | StoreError::PendingDenied { .. } => NOT_ADMITTED,
        StoreError::RestoreUnconfirmed { .. } => Told {
            code: Code::Unavailable,
            kind: "restore-unconfirmed",
            text: "the verifier was restored from a backup and admits nobody before its owner has \
                   confirmed that (holdfast-verifier confirm-restore); come again later",
        },
        StoreError::UnknownRestore { .. } => Told {
            code: Code::NotFound,
            kind: "unknown-restore",
            text: "no restore of this backup waits for confirmation",
        },
        StoreError::TooManyLdevids { .. } => Told {
            code: Code::ResourceExhausted,
            kind: "too-many-ldevids",
            text: "the gateway has as many LDevIDs in force as it may have; attest without renewing",
        },
        StoreError::PendingFull => Told {
            code: Code::ResourceExhausted,
            kind: "queue-full",
            text: "too many gateways wait for the owner's approval; ask the owner, or come again later",
        },
        StoreError::DeviceExists { .. } => Told {
            code: Code::AlreadyExists,
            kind: "device-exists",
            text: "the device is admitted already",
        },
        StoreError::UnknownPending { .. } => Told {
            code: Code::NotFound,
            kind: "unknown-pending",
            text: "no such gateway waits for approval",
        },
        StoreError::NotAReplacement { .. } => Told {
            code: Code::FailedPrecondition,
            kind: "not-a-replacement",
            text: "the gateway cannot take the other's place",
        },
        StoreError::OperatorExists { .. } => Told {
            code: Code::AlreadyExists,
            kind: "operator-exists",
            text: "the operator's certificate is on record already",
        },
        StoreError::UnknownOperator { .. } => Told {
            code: Code::NotFound,
            kind: "unknown-operator",
            text: "there is no such operator's certificate in force",
        },
        StoreError::EpochEnded { .. } => BEGIN_AGAIN,
        StoreError::RedeliverySpent { .. } => Told {
            code: Code::ResourceExhausted,
            kind: "rate-limited",
            text: "the gateway was sent these secrets too often of late; come again later",
        },
        StoreError::SecretsFull { .. } => Told {
            code: Code::ResourceExhausted,
            kind: "secrets-full",
            text: "the class has all the secrets that a class may have",
        },
        StoreError::UnknownSecret { .. } => Told {
            code: Code::NotFound,
            kind: "unknown-secret",
            text: "no such secret is in force",
        },
        StoreError::JoinTokenExists | StoreError::Corrupt { .. } => INTERNAL,
        StoreError::Database(_) | StoreError::Open(_) => UNAVAILABLE,
    }
}

fn status(code: Code, kind: &'static str, text: String) -> Status {
    let mut status = Status::new(code, format!("{kind}: {text}"));
    let metadata = status.metadata_mut();
    metadata.insert(KIND_METADATA, MetadataValue::from_static(kind));
    if let Some(pause) = pushback(kind) {
        metadata.insert(PUSHBACK_METADATA, MetadataValue::from_static(pause));
    }
    status
}

/// How long to stay away, in milliseconds, where a daemon that asks again at
/// once would only make it worse.
fn pushback(kind: &str) -> Option<&'static str> {
    match kind {
        "rate-limited" => Some("60000"),
        "queue-full" => Some("600000"),
        "issuing-unavailable" => Some("30000"),
        "overloaded" => Some("5000"),
        _ => None,
    }
}
