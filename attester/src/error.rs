//! The library's one error, for whoever runs a whole conversation.

use holdfast_proto::claims::Ueid;
use holdfast_proto::tpm::ParseError;
use thiserror::Error;

use crate::client::ClientError;
use crate::enrolment::bundle_file::BundleFileError;
use crate::evidence::{BootLogError, EvidenceError, EvidenceFileError, ImaLogError};
use crate::sealing::SealError;
use crate::secrets::DeliveryError;
use crate::state::StateError;
use crate::tpm::TpmError;

/// Why an enrolment or attestation did not come to a verdict.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AttesterError {
    /// The TPM.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// The conversation.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The boot log.
    #[error(transparent)]
    BootLog(#[from] BootLogError),
    /// The IMA log.
    #[error(transparent)]
    ImaLog(#[from] ImaLogError),
    /// A quote that is not what was asked for.
    #[error("the TPM's quote does not cover what was asked for")]
    QuoteMismatch,
    /// Evidence files.
    #[error(transparent)]
    EvidenceFile(#[from] EvidenceFileError),
    /// A challenge that cannot be met.
    #[error("the verifier's challenge: {field} {problem}")]
    Challenge {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The EK's area holds no sound public key.
    #[error("the EK has no usable public key: {0}")]
    EkPublic(ParseError),
    /// The Verifier wants to see an EK that this TPM does not make.
    #[error("the verifier wants this TPM's EK of template {template}: {source}")]
    NoSuchEk {
        /// Label of the template.
        template: &'static str,
        /// What the TPM said.
        source: TpmError,
    },
    /// The TPM's EK is no longer the one that enrolled.
    #[error("the TPM's EK makes gateway {found}, this state belongs to gateway {enrolled}")]
    OtherGateway {
        /// By the TPM now.
        found: Ueid,
        /// By the state.
        enrolled: Ueid,
    },
    /// An enrolment that was begun, and not answered, is with other keys.
    #[error(
        "an enrolment with {begun} was sent and not answered, and this one is to be with {asked}"
    )]
    OtherChoices {
        /// What was begun.
        begun: String,
        /// What is asked for.
        asked: String,
    },
    /// Sealing.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The bundle.
    #[error(transparent)]
    Bundle(#[from] BundleFileError),
    /// Secrets from the Verifier.
    #[error(transparent)]
    Secrets(#[from] DeliveryError),
    /// The system gave no randomness.
    #[error("no randomness from the system")]
    Randomness,
}

impl AttesterError {
    /// What the operator can do.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Tpm(e) => e.next_step(),
            Self::State(e) => e.next_step(),
            Self::Client(e) => e.next_step(),
            Self::Seal(e) => e.next_step(),
            Self::Bundle(e) => e.next_step(),
            Self::Secrets(e) => e.next_step(),
            Self::BootLog(_) => "run as root, or give another file by --boot-log",
            Self::ImaLog(ImaLogError::Read { .. }) => {
                "run as root, or give another file by --ima-log"
            }
            Self::ImaLog(_) => {
                "reboot, so that the log begins anew; an IMA policy that measures less keeps it short"
            }
            Self::EvidenceFile(_) => "give a writable directory by --evidence-dir",
            Self::Challenge { .. } => "check that verifier and attester are of the same release",
            Self::NoSuchEk { .. } => {
                "where this TPM makes no such key, the verifier's owner takes the template out of accepted_eks, or is content with one EK ([endorsement] eks = \"any\" in config.toml)"
            }
            Self::OtherGateway { .. } => {
                "the TPM was replaced or its endorsement seed changed: enrol anew with an empty --state-dir"
            }
            Self::OtherChoices { .. } => {
                "enroll with what it was begun with, to have its answer; or enroll --replace to give it up"
            }
            Self::EkPublic(_) | Self::QuoteMismatch => {
                "run holdfast-attester doctor, and report this with its output"
            }
            Self::Randomness => "see whether /dev/urandom works",
        }
    }
}

impl From<EvidenceError> for AttesterError {
    fn from(error: EvidenceError) -> Self {
        match error {
            EvidenceError::Tpm(error) => Self::Tpm(error),
            EvidenceError::QuoteMismatch => Self::QuoteMismatch,
            EvidenceError::ImaLog(error) => Self::ImaLog(error),
        }
    }
}
