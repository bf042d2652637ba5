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
mod tests {
    use holdfast_proto::{
        binding::Ueid,
        tpm::{Digest, HashAlg, Name, PcrSet},
    };

    use super::*;
    use crate::heartbeat::{Epoch, MasterKey};

    const NONCE: [u8; 32] = [7; 32];

    fn selection() -> PcrSelection {
        PcrSelection {
            hash: HashAlg::Sha256,
            pcrs: PcrSet::from_indices([0, 4, 7]).unwrap(),
        }
    }

    fn key(epoch: u8) -> HeartbeatKey {
        let id = Ueid::parse(&[&[1][..], &[9; 32]].concat()).unwrap();
        let ak = Name::parse(&[&[0x00, 0x0b][..], &[8; 32]].concat()).unwrap();
        MasterKey::new(&[3; 32]).derive(&id, &ak, &Epoch::from_bytes([epoch; 16]))
    }

    fn affirmed() -> Affirmed {
        Affirmed {
            pcr_digest: [5; 32],
            clock: ClockInfo {
                clock: 1000,
                reset_count: 4,
                restart_count: 1,
                safe: true,
            },
            firmware_version: 11,
        }
    }

    fn pulse() -> Pulse {
        Pulse::begin(&key(1), NONCE, &affirmed())
    }

    /// What the TPM would attest as beat `counter`, at that clock.
    fn attest(counter: u32, clock: u64) -> Attest {
        Attest {
            qualified_signer: vec![0, 0x0b, 1],
            extra_data: beat_extra_data(&NONCE, counter).to_vec(),
            clock_info: ClockInfo {
                clock,
                ..affirmed().clock
            },
            firmware_version: 11,
            attested: Attested::Quote {
                selection: vec![selection()],
                pcr_digest: vec![5; 32],
            },
        }
    }

    fn signed(counter: u32, attest: &Attest, by: &HeartbeatKey) -> v1::BeatQuote {
        let attest = attest.encode();
        let hmac_key = hmac::Key::new(hmac::HMAC_SHA256, by.sensitive().1);
        let code = hmac::sign(&hmac_key, &crate::digest::sha256(&[&attest]));
        let digest = Digest::from_bytes(HashAlg::Sha256, code.as_ref()).unwrap();
        v1::BeatQuote {
            counter,
            attest,
            signature: Signature::Hmac { digest }.encode(),
        }
    }

    fn beat(counter: u32, clock: u64) -> v1::BeatQuote {
        signed(counter, &attest(counter, clock), &key(1))
    }

    #[test]
    fn the_same_state_and_a_clock_that_goes_on_is_trusted() {
        let mut pulse = pulse();
        for (counter, clock) in [(1, 1000), (2, 1001), (3, 5000)] {
            let beat = pulse.verify(&beat(counter, clock), &selection()).unwrap();
            assert_eq!((beat.counter(), beat.finding()), (counter, None));
            assert_eq!(beat.clock().clock, clock);
        }
    }

    #[test]
    fn adv_a16_a_beat_counts_once_in_its_turn_and_in_its_stream() {
        let mut pulse = pulse();
        let first = beat(1, 1001);
        let _ = pulse.verify(&first, &selection()).unwrap();
        for again in [first.clone(), beat(3, 1002), beat(0, 1002)] {
            assert_eq!(
                pulse.verify(&again, &selection()),
                Err(BeatError::Counter {
                    got: again.counter,
                    wanted: 2
                })
            );
        }
        // Its number changed outside of the quote.
        let mut renumbered = first;
        renumbered.counter = 2;
        assert_eq!(
            pulse.verify(&renumbered, &selection()),
            Err(BeatError::Binding)
        );
        // Another stream of the same gateway, with the same key.
        let mut other = Pulse::begin(&key(1), [8; 32], &affirmed());
        assert_eq!(
            other.verify(&beat(1, 1001), &selection()),
            Err(BeatError::Binding)
        );
        // And the stream stands where it was.
        let _ = pulse.verify(&beat(2, 1002), &selection()).unwrap();
    }

    #[test]
    fn adv_a16_another_key_is_refused() {
        let mut pulse = pulse();
        let foreign = signed(1, &attest(1, 1001), &key(2));
        assert_eq!(
            pulse.verify(&foreign, &selection()),
            Err(BeatError::Signature)
        );
        let mut altered = beat(1, 1001);
        *altered.attest.last_mut().unwrap() ^= 1;
        assert_eq!(
            pulse.verify(&altered, &selection()),
            Err(BeatError::Signature)
        );
    }

    #[test]
    fn what_is_no_beat_is_named() {
        let mut pulse = pulse();
        let mut with = |change: fn(&mut Attest)| {
            let mut attest = attest(1, 1001);
            change(&mut attest);
            pulse.verify(&signed(1, &attest, &key(1)), &selection())
        };
        let other = |indices: &[u32]| PcrSelection {
            pcrs: PcrSet::from_indices(indices.iter().copied()).unwrap(),
            ..selection()
        };
        let selections = [
            vec![],
            vec![other(&[0, 4])],
            vec![other(&[0, 4, 7, 8])],
            vec![selection(), selection()],
        ];
        for quoted in selections {
            let mut attest = attest(1, 1001);
            attest.attested = Attested::Quote {
                selection: quoted,
                pcr_digest: vec![5; 32],
            };
            let frame = signed(1, &attest, &key(1));
            assert!(matches!(
                self::pulse().verify(&frame, &selection()),
                Err(BeatError::Selection { .. })
            ));
        }
        assert_eq!(
            with(|a| a.attested = Attested::Certify {
                name: Name::parse(&[&[0x00, 0x0b][..], &[8; 32]].concat()).unwrap(),
                qualified_name: Name::parse(&[&[0x00, 0x0b][..], &[8; 32]].concat()).unwrap(),
            }),
            Err(BeatError::NotAQuote)
        );
        let mut ecdsa = beat(1, 1001);
        ecdsa.signature = Signature::Ecdsa {
            hash: HashAlg::Sha256,
            r: vec![1; 32],
            s: vec![1; 32],
        }
        .encode();
        assert_eq!(
            pulse.verify(&ecdsa, &selection()),
            Err(BeatError::NotAnHmac)
        );
        let mut long = beat(1, 1001);
        long.attest.push(0);
        assert!(matches!(
            pulse.verify(&long, &selection()),
            Err(BeatError::Malformed { what: "attest", .. })
        ));
    }

    #[test]
    fn adv_a17_what_is_not_as_affirmed_is_found() {
        let found = |change: fn(&mut Attest)| {
            let mut attest = attest(1, 1001);
            change(&mut attest);
            let frame = signed(1, &attest, &key(1));
            pulse().verify(&frame, &selection()).unwrap().finding()
        };
        let drift: fn(&mut Attest) = |a| {
            a.attested = Attested::Quote {
                selection: vec![selection()],
                pcr_digest: vec![6; 32],
            };
        };
        for (change, finding) in [
            (drift, Finding::PcrDrift),
            (|a| a.clock_info.clock = 999, Finding::Rollback),
            (|a| a.clock_info.reset_count = 3, Finding::Rollback),
            // A reboot: the clock may have fallen.
            (
                |a| {
                    a.clock_info.reset_count = 5;
                    a.clock_info.clock = 3;
                },
                Finding::Reset,
            ),
            (|a| a.clock_info.restart_count = 2, Finding::Restarted),
            (|a| a.firmware_version = 12, Finding::Firmware),
        ] as [(fn(&mut Attest), Finding); 6]
        {
            assert_eq!(found(change), Some(finding));
        }
        // Within the stream, too.
        let mut pulse = pulse();
        let _ = pulse.verify(&beat(1, 5000), &selection()).unwrap();
        let fallen = pulse.verify(&beat(2, 4999), &selection()).unwrap();
        assert_eq!(fallen.finding(), Some(Finding::Rollback));
    }

    /// The seeds of the fuzz target `beat_frame`: each reaches another check, and
    /// three what follows the last. With `WRITE_SEEDS` set they are written anew;
    /// else they must be what is written now.
    #[test]
    fn the_fuzz_seeds_reach_every_check() {
        use prost::Message as _;
        let quote = |pcr_digest: u8, pcrs: &[u32]| Attested::Quote {
            selection: vec![PcrSelection {
                pcrs: PcrSet::from_indices(pcrs.iter().copied()).unwrap(),
                ..selection()
            }],
            pcr_digest: vec![pcr_digest; 32],
        };
        let with = |change: &dyn Fn(&mut Attest)| {
            let mut attest = attest(1, 1001);
            change(&mut attest);
            signed(1, &attest, &key(1))
        };
        let name = || Name::parse(&[&[0x00, 0x0b][..], &[8; 32]].concat()).unwrap();
        let mut ecdsa = beat(1, 1001);
        ecdsa.signature = Signature::Ecdsa {
            hash: HashAlg::Sha256,
            r: vec![1; 32],
            s: vec![1; 32],
        }
        .encode();
        let mut short = beat(1, 1001);
        short.attest.truncate(100);
        let seeds = [
            ("genuine", beat(1, 1001), Ok(None)),
            (
                "drift",
                with(&|a| a.attested = quote(6, &[0, 4, 7])),
                Ok(Some(Finding::PcrDrift)),
            ),
            (
                "rollback",
                with(&|a| a.clock_info.clock = 999),
                Ok(Some(Finding::Rollback)),
            ),
            (
                "foreign",
                signed(1, &attest(1, 1001), &key(2)),
                Err("by this gateway's"),
            ),
            (
                "other_pcrs",
                with(&|a| a.attested = quote(5, &[0, 4])),
                Err("over"),
            ),
            (
                "other_stream",
                with(&|a| a.extra_data = vec![1; 32]),
                Err("bound"),
            ),
            (
                "certify",
                with(&|a| {
                    a.attested = Attested::Certify {
                        name: name(),
                        qualified_name: name(),
                    }
                }),
                Err("no quote"),
            ),
            ("ecdsa", ecdsa, Err("no HMAC")),
            ("short", short, Err("attest")),
            ("second", beat(2, 1001), Err("is next")),
        ];
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/beat_frame");
        let folder = std::path::Path::new(folder);
        for (name, frame, expected) in seeds {
            let verified = pulse().verify(&frame, &selection());
            match expected {
                Ok(finding) => assert_eq!(verified.unwrap().finding(), finding, "{name}"),
                Err(words) => {
                    let error = verified.unwrap_err().to_string();
                    assert!(error.contains(words), "{name}: {error}");
                }
            }
            let frame = Some(v1::beat_request::Frame::Beat(frame));
            let bytes = v1::BeatRequest { frame }.encode_to_vec();
            let path = folder.join(name);
            if std::env::var_os("WRITE_SEEDS").is_some() {
                std::fs::create_dir_all(folder).unwrap();
                std::fs::write(&path, &bytes).unwrap();
            }
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "{}", path.display());
        }
    }

    /// ARCHITECTURE: at most 128 bytes a gateway.
    #[test]
    fn a_gateway_takes_little_memory() {
        assert!(size_of::<Pulse>() <= 128, "{}", size_of::<Pulse>());
    }

    #[test]
    fn a_frame_is_small() {
        use prost::Message as _;
        let mut attest = attest(u32::MAX, u64::MAX);
        attest.qualified_signer = vec![0xff; 34];
        let frame = v1::BeatRequest {
            frame: Some(v1::beat_request::Frame::Beat(signed(
                u32::MAX,
                &attest,
                &key(1),
            ))),
        };
        assert!(frame.encoded_len() <= FRAME_MAX, "{}", frame.encoded_len());
    }
}
