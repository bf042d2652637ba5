//! A challenge that waits for its answer, and what the right answer proves.

use holdfast_proto::devid_challenge::DevidAnswer;
use subtle::ConstantTimeEq as _;

use super::{CheckedCsr, CsrRefusal};
use crate::{digest::sha256, time::UnixTime};

/// How long a challenge waits: a device goes through the factory in days.
pub const CHALLENGE_SECONDS: i64 = 7 * 24 * 3600;

/// What is kept of a challenge: digests alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingDevid {
    csr_sha256: [u8; 32],
    secret_sha256: [u8; 32],
    made: UnixTime,
}

impl PendingDevid {
    pub(super) const fn new(csr_sha256: [u8; 32], secret_sha256: [u8; 32], made: UnixTime) -> Self {
        Self {
            csr_sha256,
            secret_sha256,
            made,
        }
    }

    pub(super) const fn secret_sha256(&self) -> &[u8; 32] {
        &self.secret_sha256
    }

    pub(super) const fn made(&self) -> UnixTime {
        self.made
    }

    /// The TPM found the secret: the request's EK and IAK are in one TPM, and
    /// with them, by the IAK's word, its IDevID key. All three are spent.
    ///
    /// # Errors
    /// [`CsrRefusal::OtherRequest`], [`CsrRefusal::Late`],
    /// [`CsrRefusal::WrongSecret`]. The secret is compared in constant time.
    pub fn prove(
        self,
        csr: CheckedCsr,
        answer: &DevidAnswer,
        at: UnixTime,
    ) -> Result<ProvenDevice, CsrRefusal> {
        if self.csr_sha256 != *csr.sha256() || answer.csr_sha256 != *csr.sha256() {
            return Err(CsrRefusal::OtherRequest {
                answered: hex::encode(answer.csr_sha256),
                this: hex::encode(csr.sha256()),
            });
        }
        if at >= self.made.plus(CHALLENGE_SECONDS) {
            return Err(CsrRefusal::Late { made: self.made });
        }
        let found = sha256(&[answer.secret.as_slice()]);
        if !bool::from(found.ct_eq(&self.secret_sha256)) {
            return Err(CsrRefusal::WrongSecret);
        }
        Ok(ProvenDevice {
            csr,
            answer_sha256: found,
        })
    }
}

/// A device whose EK, IAK and IDevID key were shown to be in one TPM of a vendor
/// that the OEM trusts. Only [`PendingDevid::prove`] makes one.
#[derive(Debug)]
#[must_use]
pub struct ProvenDevice {
    csr: CheckedCsr,
    answer_sha256: [u8; 32],
}

impl ProvenDevice {
    /// Its request.
    pub fn csr(&self) -> &CheckedCsr {
        &self.csr
    }

    /// SHA-256 of the secret with which it was proven.
    #[must_use]
    pub fn answer_sha256(&self) -> &[u8; 32] {
        &self.answer_sha256
    }
}
