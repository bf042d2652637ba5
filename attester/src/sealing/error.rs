//! Why a secret is not sealed, or does not come out.

use std::path::PathBuf;

use holdfast_proto::sealing::ApprovalsError;
use holdfast_proto::tpm::Name;
use thiserror::Error;

use crate::output::OutputError;
use crate::state::StateError;
use crate::tpm::TpmError;

/// Sealing and unsealing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SealError {
    /// The TPM.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// A file for the secret.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// Something is sealed under that name.
    #[error("a secret {0:?} is sealed already")]
    Exists(String),
    /// Nothing is sealed under that name.
    #[error("no secret {0:?} is sealed here")]
    Absent(String),
    /// No bytes, or more than are sealed.
    #[error("a secret has 1 to {max} bytes, this one has {len}{}", if len > max { " or more" } else { "" })]
    Length {
        /// Bytes given.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The file of a sealed secret is not what this program writes.
    #[error("sealed secret {name:?} is damaged: {problem}")]
    Damaged {
        /// Which.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// No approvals have come yet.
    #[error("this gateway has no approvals of boot states for class {class:?}")]
    NoApprovals {
        /// The class.
        class: String,
    },
    /// Approvals that cannot be used.
    #[error(transparent)]
    Approvals(#[from] ApprovalsError),
    /// A file of approvals that cannot be read, or is none.
    #[error("{}: {problem}", path.display())]
    ApprovalsFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Approvals under another policy root than the bundle's.
    #[error("the approvals are under policy root {named}, this gateway's is {pinned}")]
    OtherRoot {
        /// Its Name.
        named: Name,
        /// The Name from the bundle.
        pinned: Name,
    },
    /// Approvals for another class.
    #[error("the approvals are for class {named:?}, not {wanted:?}")]
    OtherClass {
        /// Theirs.
        named: String,
        /// Ours.
        wanted: String,
    },
    /// No approval is of the state that booted.
    #[error(
        "none of {count} approvals is of the state that the TPM is in (the newest is over {selection})"
    )]
    NotApproved {
        /// How many there are.
        count: usize,
        /// The PCRs that count in the newest.
        selection: String,
    },
    /// Sealed to a state that is not the present one.
    #[error("the boot state is not the one that this was sealed to ({selection})")]
    OtherState {
        /// The PCRs that count.
        selection: String,
    },
    /// Latching a PCR that no policy looks at.
    #[error("PCR {pcr} is not in the policy ({selection}): extending it would latch nothing")]
    LatchOutsidePolicy {
        /// The PCR.
        pcr: u32,
        /// The policy's PCRs.
        selection: String,
    },
    /// A PCR that anybody may reset latches nothing.
    #[error("PCR {0} can be reset without a reboot: it latches nothing")]
    ResettablePcr(u32),
    /// A credential would go where it could reach a disk.
    #[error(
        "{0} is not on a file system in memory (tmpfs, ramfs): a secret there could reach a disk"
    )]
    NotInMemory(String),
    /// The system gave no randomness.
    #[error("no randomness from the system")]
    Randomness,
}

impl SealError {
    /// What the operator can do.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Tpm(error) => error.next_step(),
            Self::State(error) => error.next_step(),
            Self::Output(error) => error.next_step(),
            Self::Exists(_) => "choose another name, or --replace it",
            Self::Absent(_) => "seal it first: holdfast-attester seal NAME < FILE",
            Self::Length { .. } => "seal a key, and encrypt what is long with it",
            Self::Damaged { .. } => "restore the file from a backup of this machine, or seal anew",
            Self::NoApprovals { .. } | Self::NotApproved { .. } => {
                "have this state approved (holdfast-verifier seal approve), then holdfast-attester attest, or seal approvals import FILE"
            }
            Self::Approvals(_) | Self::OtherRoot { .. } | Self::OtherClass { .. } => {
                "get the approvals of this gateway's class from its own verifier: holdfast-verifier seal export"
            }
            Self::ApprovalsFile { .. } => {
                "get them from the verifier: holdfast-verifier seal export"
            }
            Self::OtherState { .. } => {
                "boot that state again, or seal anew; --policy approved lives through updates"
            }
            Self::LatchOutsidePolicy { .. } => {
                "latch a PCR of the policy: --latch-pcr here as in holdfast-verifier seal approve"
            }
            Self::ResettablePcr(_) => "choose a PCR from 0 to 15",
            Self::NotInMemory(_) => "use systemd's RuntimeDirectory=, which is under /run",
            Self::Randomness => "see whether /dev/urandom works",
        }
    }
}
