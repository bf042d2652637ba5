//! `TPMS_ATTEST`: what a TPM signs about itself (TPM 2.0 Library Part 2
//! §10.12).

use super::cursor::{Reader, Writer};
use super::hash::MAX_DIGEST;
use super::name::MAX_NAME;
use super::{Name, ParseError, PcrSelection};

/// `TPM_GENERATED_VALUE` (Part 2 §6.2): FF ‖ "TCG". A restricted key signs no
/// outside data that begins so, hence such a signed structure is the TPM's own.
pub const TPM_GENERATED_VALUE: u32 = 0xFF54_4347;

const ST_ATTEST_CERTIFY: u16 = 0x8017;
const ST_ATTEST_QUOTE: u16 = 0x8018;
const ST_ATTEST_TIME: u16 = 0x8019;
const ST_ATTEST_CREATION: u16 = 0x801A;

/// `TPM2B_DATA` holds at most a `TPMT_HA`.
const MAX_EXTRA_DATA: usize = 2 + MAX_DIGEST;

/// An attestation structure. Signatures are over the *received* bytes, which
/// the caller keeps: never verify one over a re-encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attest {
    /// `qualifiedSigner`: Qualified Name of the signing key.
    pub qualified_signer: Vec<u8>,
    /// `extraData`: the caller's qualifying data.
    pub extra_data: Vec<u8>,
    /// `clockInfo`
    pub clock_info: ClockInfo,
    /// `firmwareVersion`
    pub firmware_version: u64,
    /// `type` and `attested`
    pub attested: Attested,
}

/// `TPMS_CLOCK_INFO` (Part 2 §10.11.1). Obfuscated by the TPM, together with
/// `firmwareVersion`, unless the signing key is in the endorsement or platform
/// hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClockInfo {
    /// Milliseconds that the TPM has been powered, since TPM2_Clear.
    pub clock: u64,
    /// `resetCount`: TPM resets since TPM2_Clear.
    pub reset_count: u32,
    /// `restartCount`: restarts and resumes since the last reset.
    pub restart_count: u32,
    /// No lower `clock` was ever reported; no after a hard power cut.
    pub safe: bool,
}

/// `TPMU_ATTEST`, which `type` selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attested {
    /// `TPMS_QUOTE_INFO`, of TPM2_Quote.
    Quote {
        /// What was quoted, in the TPM's own order.
        selection: Vec<PcrSelection>,
        /// `pcrDigest`: hash, by the signing scheme's, of the PCR values in
        /// the order of `selection`, ascending within a bank.
        pcr_digest: Vec<u8>,
    },
    /// `TPMS_CERTIFY_INFO`, of TPM2_Certify.
    Certify {
        /// Name of the certified object.
        name: Name,
        /// Its Qualified Name.
        qualified_name: Name,
    },
    /// `TPMS_CREATION_INFO`, of TPM2_CertifyCreation.
    Creation {
        /// Name of the created object.
        object_name: Name,
        /// `creationHash`
        creation_hash: Vec<u8>,
    },
    /// `TPMS_TIME_ATTEST_INFO`, of TPM2_GetTime.
    Time {
        /// Milliseconds since the TPM's last power-on.
        time: u64,
        /// Not obfuscated, unlike [`Attest::clock_info`].
        clock_info: ClockInfo,
        /// Not obfuscated, unlike [`Attest::firmware_version`].
        firmware_version: u64,
    },
}

impl Attest {
    /// # Errors
    /// [`ParseError::NotTpmGenerated`] where the magic is another; otherwise
    /// where the bytes are not exactly one supported `TPMS_ATTEST`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let magic = reader.u32("TPMS_ATTEST.magic")?;
        if magic != TPM_GENERATED_VALUE {
            return Err(ParseError::NotTpmGenerated(magic));
        }
        let kind = reader.u16("TPMS_ATTEST.type")?;
        let attest = Self {
            qualified_signer: reader
                .buffer("TPMS_ATTEST.qualifiedSigner", MAX_NAME)?
                .to_vec(),
            extra_data: reader
                .buffer("TPMS_ATTEST.extraData", MAX_EXTRA_DATA)?
                .to_vec(),
            clock_info: ClockInfo::read(&mut reader)?,
            firmware_version: reader.u64("TPMS_ATTEST.firmwareVersion")?,
            attested: Attested::read(kind, &mut reader)?,
        };
        reader.finish("TPMS_ATTEST")?;
        Ok(attest)
    }

    /// As a `TPMS_ATTEST`.
    ///
    /// # Panics
    /// Where a buffer was set by hand to more than 65,535 bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u32(TPM_GENERATED_VALUE);
        writer.u16(self.attested.kind());
        writer.buffer(&self.qualified_signer);
        writer.buffer(&self.extra_data);
        self.clock_info.write(&mut writer);
        writer.u64(self.firmware_version);
        self.attested.write(&mut writer);
        writer.into_bytes()
    }
}

impl ClockInfo {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        const SAFE: &str = "TPMS_CLOCK_INFO.safe";
        Ok(Self {
            clock: reader.u64("TPMS_CLOCK_INFO.clock")?,
            reset_count: reader.u32("TPMS_CLOCK_INFO.resetCount")?,
            restart_count: reader.u32("TPMS_CLOCK_INFO.restartCount")?,
            safe: match reader.u8(SAFE)? {
                0 => false,
                1 => true,
                other => return Err(ParseError::unsupported(SAFE, other)),
            },
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.u64(self.clock);
        writer.u32(self.reset_count);
        writer.u32(self.restart_count);
        writer.u8(self.safe.into());
    }
}

impl Attested {
    /// `TPM_ST` of the structure.
    const fn kind(&self) -> u16 {
        match self {
            Self::Quote { .. } => ST_ATTEST_QUOTE,
            Self::Certify { .. } => ST_ATTEST_CERTIFY,
            Self::Creation { .. } => ST_ATTEST_CREATION,
            Self::Time { .. } => ST_ATTEST_TIME,
        }
    }

    fn read(kind: u16, reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        Ok(match kind {
            ST_ATTEST_QUOTE => Self::Quote {
                selection: PcrSelection::read_list(reader)?,
                pcr_digest: reader
                    .buffer("TPMS_QUOTE_INFO.pcrDigest", MAX_DIGEST)?
                    .to_vec(),
            },
            ST_ATTEST_CERTIFY => Self::Certify {
                name: Name::parse(reader.buffer("TPMS_CERTIFY_INFO.name", MAX_NAME)?)?,
                qualified_name: Name::parse(
                    reader.buffer("TPMS_CERTIFY_INFO.qualifiedName", MAX_NAME)?,
                )?,
            },
            ST_ATTEST_CREATION => Self::Creation {
                object_name: Name::parse(
                    reader.buffer("TPMS_CREATION_INFO.objectName", MAX_NAME)?,
                )?,
                creation_hash: reader
                    .buffer("TPMS_CREATION_INFO.creationHash", MAX_DIGEST)?
                    .to_vec(),
            },
            ST_ATTEST_TIME => Self::Time {
                time: reader.u64("TPMS_TIME_INFO.time")?,
                clock_info: ClockInfo::read(reader)?,
                firmware_version: reader.u64("TPMS_TIME_ATTEST_INFO.firmwareVersion")?,
            },
            other => return Err(ParseError::unsupported("TPMS_ATTEST.type", other)),
        })
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Quote {
                selection,
                pcr_digest,
            } => {
                PcrSelection::write_list(selection, writer);
                writer.buffer(pcr_digest);
            }
            Self::Certify {
                name,
                qualified_name,
            } => {
                writer.buffer(name.as_bytes());
                writer.buffer(qualified_name.as_bytes());
            }
            Self::Creation {
                object_name,
                creation_hash,
            } => {
                writer.buffer(object_name.as_bytes());
                writer.buffer(creation_hash);
            }
            Self::Time {
                time,
                clock_info,
                firmware_version,
            } => {
                writer.u64(*time);
                clock_info.write(writer);
                writer.u64(*firmware_version);
            }
        }
    }
}
