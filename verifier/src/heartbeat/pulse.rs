//! Beats: a quote of the boot PCRs with an HMAC by the heartbeat key, one after
//! another in a stream (TPM 2.0 Part 3 §18.4; ADVERSARY A16, A17).

use holdfast_proto::{
    binding::beat_extra_data,
    grpc::v1,
    tpm::{Attest, Attested, ClockInfo, ParseError, PcrSelection, Signature},
};
use ring::hmac;
use zeroize::Zeroizing;

use super::HeartbeatKey;

/// Longest frame of a gateway, in bytes.
pub const FRAME_MAX: usize = 400;

/// What a full attestation affirmed: beats are compared with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Affirmed {
    /// SHA-256 over the values of the selected PCRs, ascending.
    pub pcr_digest: [u8; 32],
    /// TPM clock: of the last quote that was verified, beats included.
    pub clock: ClockInfo,
    /// TPM firmware version.
    pub firmware_version: u64,
}

/// One stream of a gateway: its key, its nonce, and where it is. All that is
/// kept in memory for it, but for its place in a map and its connection.
pub struct Pulse {
    key: Zeroizing<[u8; 32]>,
    nonce: [u8; 32],
    pcr_digest: [u8; 32],
    clock: u64,
    firmware_version: u64,
    reset_count: u32,
    restart_count: u32,
    counter: u32,
}

/// A beat that the heartbeat key of this gateway made, for this stream and in
/// its turn. Only [`Pulse::verify`] makes one.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct VerifiedBeat {
    counter: u32,
    clock: ClockInfo,
    finding: Option<Finding>,
}

/// What a verified beat shows to be otherwise than affirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// The boot PCRs hold something else.
    PcrDrift,
    /// The TPM was reset: a reboot.
    Reset,
    /// The TPM was restarted or resumed.
    Restarted,
    /// The TPM has another firmware.
    Firmware,
    /// The TPM's clock or resetCount fell: a rollback or a clone.
    Rollback,
}

impl Finding {
    /// Stable, kebab-case.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::PcrDrift => "pcr-drift",
            Self::Reset => "tpm-reset",
            Self::Restarted => "tpm-restarted",
            Self::Firmware => "tpm-firmware-changed",
            Self::Rollback => "tpm-rollback",
        }
    }
}

impl VerifiedBeat {
    /// Its number in the stream.
    #[must_use]
    pub const fn counter(&self) -> u32 {
        self.counter
    }

    /// The TPM's clock then.
    #[must_use]
    pub const fn clock(&self) -> ClockInfo {
        self.clock
    }

    /// What is not as affirmed; none: still trusted.
    #[must_use]
    pub const fn finding(&self) -> Option<Finding> {
        self.finding
    }
}

/// Why a frame is no beat of this stream. It says nothing of the gateway: its
/// deadline goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BeatError {
    /// Not the next number.
    #[error("beat {got} where {wanted} is next")]
    Counter {
        /// In the frame.
        got: u32,
        /// Next in the stream.
        wanted: u32,
    },
    /// Not the TPM structure that it should be.
    #[error("{what}: {source}")]
    Malformed {
        /// Which field.
        what: &'static str,
        /// Why.
        #[source]
        source: ParseError,
    },
    /// Not a quote.
    #[error("the attestation is no quote")]
    NotAQuote,
    /// Not an HMAC.
    #[error("the signature is no HMAC")]
    NotAnHmac,
    /// Of another stream, or another number.
    #[error("the quote is not bound to this stream and number")]
    Binding,
    /// Over other PCRs than asked for.
    #[error("the quote is over {got}")]
    Selection {
        /// Over which.
        got: String,
    },
    /// By another key.
    #[error("the HMAC is not by this gateway's heartbeat key")]
    Signature,
}

impl Pulse {
    /// A stream of the gateway with this key, with a nonce that was never used.
    #[must_use]
    pub fn begin(key: &HeartbeatKey, nonce: [u8; 32], affirmed: &Affirmed) -> Self {
        let (_, key) = key.sensitive();
        Self {
            key: Zeroizing::new(*key),
            nonce,
            pcr_digest: affirmed.pcr_digest,
            clock: affirmed.clock.clock,
            firmware_version: affirmed.firmware_version,
            reset_count: affirmed.clock.reset_count,
            restart_count: affirmed.clock.restart_count,
            counter: 0,
        }
    }

    /// Verifies the next beat over `selection`, and goes on to the one after it.
    ///
    /// # Errors
    /// The first check that does not hold, the HMAC last. The stream stays where
    /// it was.
    pub fn verify(
        &mut self,
        frame: &v1::BeatQuote,
        selection: &PcrSelection,
    ) -> Result<VerifiedBeat, BeatError> {
        let wanted = self.counter.checked_add(1).ok_or(BeatError::Counter {
            got: frame.counter,
            wanted: 0,
        })?;
        if frame.counter != wanted {
            return Err(BeatError::Counter {
                got: frame.counter,
                wanted,
            });
        }
        let malformed = |what| move |source| BeatError::Malformed { what, source };
        let attest = Attest::parse(&frame.attest).map_err(malformed("attest"))?;
        let signature = Signature::parse(&frame.signature).map_err(malformed("signature"))?;
        let Attested::Quote {
            selection: quoted,
            pcr_digest,
        } = &attest.attested
        else {
            return Err(BeatError::NotAQuote);
        };
        let Signature::Hmac { digest } = &signature else {
            return Err(BeatError::NotAnHmac);
        };
        if attest.extra_data != beat_extra_data(&self.nonce, wanted) {
            return Err(BeatError::Binding);
        }
        // Equal, not merely covering: as for full quotes (A10).
        if quoted.as_slice() != [*selection] {
            let names: Vec<String> = quoted.iter().map(ToString::to_string).collect();
            return Err(BeatError::Selection {
                got: names.join("+"),
            });
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.key.as_slice());
        let message = crate::digest::sha256(&[&frame.attest]);
        hmac::verify(&key, &message, digest.as_bytes()).map_err(|_| BeatError::Signature)?;

        let clock = attest.clock_info;
        let finding = self.finding(&clock, attest.firmware_version, pcr_digest);
        self.counter = wanted;
        self.clock = clock.clock;
        Ok(VerifiedBeat {
            counter: wanted,
            clock,
            finding,
        })
    }

    /// The gravest first.
    fn finding(&self, clock: &ClockInfo, firmware: u64, pcr_digest: &[u8]) -> Option<Finding> {
        let same_reset = clock.reset_count == self.reset_count;
        if clock.reset_count < self.reset_count || (same_reset && clock.clock < self.clock) {
            Some(Finding::Rollback)
        } else if !same_reset {
            Some(Finding::Reset)
        } else if firmware != self.firmware_version {
            Some(Finding::Firmware)
        } else if pcr_digest != self.pcr_digest {
            Some(Finding::PcrDrift)
        } else if clock.restart_count != self.restart_count {
            Some(Finding::Restarted)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests;
