//! What a store refuses, and how it breaks.

use holdfast_proto::binding::Ueid;

use super::model::{Seconds, SuspensionKind};

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The join token is not on record (any more).
    #[error("join token is unknown")]
    JoinTokenUnknown,
    /// The join token's time is over.
    #[error("join token expired at {expires}")]
    JoinTokenExpired {
        /// When it ended.
        expires: Seconds,
    },
    /// Every use of the join token was taken.
    #[error("join token has no uses left")]
    JoinTokenSpent,
    /// A join token with this secret exists already.
    #[error("join token exists already")]
    JoinTokenExists,
    /// The challenge has been answered by another request.
    #[error("challenge was spent by another request")]
    ChallengeSpent,
    /// The gateway's state does not allow this.
    #[error("gateway {id} is {blocked}")]
    Blocked {
        /// Which gateway.
        id: Ueid,
        /// Its state.
        blocked: Blocked,
    },
    /// Recovery of a gateway that holds a valid LDevID: it has Attest.
    #[error("gateway {id} holds a valid LDevID and needs no recovery")]
    NothingToRecover {
        /// Which gateway.
        id: Ueid,
    },
    /// No such gateway.
    #[error("gateway {id} is not on record")]
    UnknownGateway {
        /// Which gateway was asked for.
        id: Ueid,
    },
    /// A key belongs to one gateway only.
    #[error("{key} belongs to gateway {owner}")]
    KeyOfAnother {
        /// Which key.
        key: OwnedKey,
        /// Whose it is.
        owner: Ueid,
    },
    /// The gateway's keys are not those that the evidence was checked with:
    /// it enrolled anew in between.
    #[error("gateway {id} has other keys now")]
    KeysChanged {
        /// Which gateway.
        id: Ueid,
    },
    /// The certificate that the caller authenticated with is revoked.
    #[error("LDevID of gateway {id} is revoked")]
    CertificateRevoked {
        /// Which gateway.
        id: Ueid,
    },
    /// Within one TPM reset the clock fell, or the reset counter fell, between
    /// the check and the record.
    #[error("gateway {id} has been seen at a later TPM clock")]
    ClockFell {
        /// Which gateway.
        id: Ueid,
    },
    /// The gateway says that a boot log was sent before, but it was not.
    #[error("boot log is not on record")]
    BootLogUnknown,
    /// Another allow list was imported in between.
    #[error("version {version} of the allow list does not follow version {last}")]
    AllowListVersion {
        /// The version to be recorded.
        version: u64,
        /// The newest on record.
        last: u64,
    },
    /// The statement's version is not the next one.
    #[error(
        "reference values of class {class} are at version {newest}, the statement is for version \
         {stated}: look at what is in use (reference list), and sign version {}",
        newest.saturating_add(1)
    )]
    ReferenceVersion {
        /// Whose reference values.
        class: String,
        /// What the statement says.
        stated: u64,
        /// What is in use; 0 for none.
        newest: u64,
    },
    /// Approval of a gateway that is not suspended for its evidence.
    #[error(
        "gateway {id} is not suspended for its evidence: there is no drift to approve (gateway \
         show has its state; gateway resume lifts a suspension by the operator)"
    )]
    NotForEvidence {
        /// Which gateway.
        id: Ueid,
    },
    /// The gateway was refused for more than its reference values.
    #[error(
        "gateway {id} was refused for more than its reference values ({codes}): new values do not \
         answer that; see gateway show"
    )]
    NotApprovable {
        /// Which gateway.
        id: Ueid,
        /// The other reasons.
        codes: String,
    },
    /// The last quote is not the one that was looked at.
    #[error(
        "gateway {id} has quoted something else since, or nothing yet: look again (reference diff)"
    )]
    QuoteChanged {
        /// Which gateway.
        id: Ueid,
    },
    /// Another policy was applied in between.
    #[error("version {version} of the policy does not follow version {last}")]
    PolicyVersion {
        /// The version to be recorded.
        version: u64,
        /// The newest on record.
        last: u64,
    },
    /// A row that no version of this program wrote.
    #[error("store holds an unreadable {column} in {table}")]
    Corrupt {
        /// Table.
        table: &'static str,
        /// Column.
        column: &'static str,
    },
    /// The database cannot be opened or brought to this version's schema.
    #[error("store cannot be opened")]
    Open(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database failed.
    #[error("store failed")]
    Database(#[from] sqlx::Error),
}

/// A key that belongs to one gateway at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnedKey {
    /// Attestation key.
    Ak,
    /// LDevID key.
    Ldevid,
    /// Endorsement key.
    Ek,
}

impl std::fmt::Display for OwnedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ak => "AK",
            Self::Ldevid => "LDevID key",
            Self::Ek => "EK",
        })
    }
}

/// A state that blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocked {
    /// Suspended, and why.
    Suspended(SuspensionKind),
    /// Revoked for ever.
    Revoked,
}

impl std::fmt::Display for Blocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Suspended(kind) => write!(f, "suspended for {kind}"),
            Self::Revoked => f.write_str("revoked"),
        }
    }
}
