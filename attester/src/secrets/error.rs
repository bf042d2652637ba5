//! Why a delivered secret is not taken, or not handed out.

use holdfast_proto::secrets::SecretName;
use thiserror::Error;

use crate::output::OutputError;
use crate::state::StateError;
use crate::tpm::TpmError;

/// Secrets from the Verifier.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// The TPM.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// A file for the secret.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// No such secret was delivered.
    #[error("no secret {0} was delivered to this gateway, or it was taken back")]
    Absent(SecretName),
    /// For another class than this gateway's.
    #[error("secrets of another class came than of this gateway's, {wanted:?}")]
    OtherClass {
        /// This gateway's.
        wanted: String,
    },
    /// An answer of before, played back, or a Verifier that went back.
    #[error(
        "secrets came as of change {sent}, and change {seen} was seen before: they are old, and refused"
    )]
    Old {
        /// What came.
        sent: u64,
        /// What was seen.
        seen: u64,
    },
    /// Not what a Verifier sends.
    #[error("secrets came with {0}")]
    Malformed(&'static str),
    /// The key opens, and the secret is not for this gateway, name and version.
    #[error("secret {0} is not what was encrypted for this gateway under that name and version")]
    Altered(SecretName),
    /// The file is not what this program writes.
    #[error("delivered secrets on file are damaged: {0}")]
    Damaged(String),
}

impl DeliveryError {
    /// What the operator can do.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Tpm(error) => error.next_step(),
            Self::State(error) => error.next_step(),
            Self::Output(error) => error.next_step(),
            Self::Absent(_) => {
                "see what is here (holdfast-attester secret list), have it put for this gateway's class (holdfast-verifier secret put), then holdfast-attester attest"
            }
            Self::OtherClass { .. } => {
                "enrol anew with a bundle of the class that the verifier has this gateway in"
            }
            Self::Old { .. } => {
                "ask the verifier's owner whether it was restored from a backup: then put the secret again"
            }
            Self::Malformed(_) | Self::Altered(_) => {
                "check that attester and verifier are of matching versions, then attest again"
            }
            Self::Damaged(_) => "attest again: all secrets are then sent anew",
        }
    }
}
