//! Evidence as it arrived: well formed, untrusted; its claims unreachable.

use holdfast_proto::{
    claims::SignedClaims,
    grpc::v1,
    tpm::{Attest, HashAlg, PcrSelection, Signature},
};

use super::{error::VerificationError, ima::SentIma};
use crate::digest::sha256;

/// A TPMS_ATTEST with room to spare: a quote over one bank has about 150
/// bytes, a certify about 200.
pub(super) const ATTEST_MAX: usize = 1024;
/// A TPMT_SIGNATURE by RSA-4096 has 518 bytes.
pub(super) const SIGNATURE_MAX: usize = 768;
/// Boot logs of servers run to some 200 KiB (proto `BootLog.content`).
pub(super) const BOOT_LOG_MAX: usize = 1 << 20;
/// PCRs of one bank.
const PCR_COUNT: u32 = 24;

/// Parsed Evidence. What it says is out of reach until verification.
#[derive(Debug)]
pub struct Evidence {
    pub(super) claims: SignedClaims,
    pub(super) quote: SignedAttest,
    pub(super) pcrs: Vec<(u32, Vec<u8>)>,
    pub(super) boot_log: SentLog,
    pub(super) ima: Option<SentIma>,
}

/// A TPMS_ATTEST as received, beside what it parses to, and its signature.
/// Signatures are over the received bytes, never over a re-encoding.
#[derive(Debug)]
pub(super) struct SignedAttest {
    pub(super) bytes: Vec<u8>,
    pub(super) attest: Attest,
    pub(super) signature: Signature,
}

/// A boot log as it was sent.
#[derive(Debug)]
pub(super) enum SentLog {
    Absent,
    Whole { content: Vec<u8>, sha256: [u8; 32] },
    ByHash([u8; 32]),
}

impl SignedAttest {
    pub(super) fn parse(
        attest_field: &'static str,
        attest: &[u8],
        signature_field: &'static str,
        signature: &[u8],
    ) -> Result<Self, VerificationError> {
        at_most(attest_field, attest, ATTEST_MAX)?;
        at_most(signature_field, signature, SIGNATURE_MAX)?;
        let structure = |field| move |source| VerificationError::Structure { field, source };
        Ok(Self {
            attest: Attest::parse(attest).map_err(structure(attest_field))?,
            signature: Signature::parse(signature).map_err(structure(signature_field))?,
            bytes: attest.to_vec(),
        })
    }
}

impl Evidence {
    /// # Errors
    /// Sizes, TPM structures, COSE structure, order of PCR values.
    pub fn parse(evidence: &v1::Evidence) -> Result<Self, VerificationError> {
        let quote = SignedAttest::parse(
            "quote_attest",
            &evidence.quote_attest,
            "quote_signature",
            &evidence.quote_signature,
        )?;
        let pcrs = parse_pcrs(&evidence.pcr_values)?;
        let boot_log = parse_log(evidence.boot_log.as_ref())?;
        let ima = evidence.ima_log.as_ref().map(SentIma::parse).transpose()?;
        let claims = SignedClaims::parse(&evidence.claims).map_err(VerificationError::Claims)?;
        Ok(Self {
            claims,
            quote,
            pcrs,
            boot_log,
            ima,
        })
    }

    /// As [`Evidence::parse`], from a gateway that nobody knows yet.
    ///
    /// # Errors
    /// The same, and an IMA log that is too long for such a one.
    pub fn parse_at_enrolment(evidence: &v1::Evidence) -> Result<Self, VerificationError> {
        let evidence = Self::parse(evidence)?;
        evidence
            .ima
            .as_ref()
            .map_or(Ok(()), SentIma::expect_short)?;
        Ok(evidence)
    }
}

pub(super) fn at_most(
    field: &'static str,
    bytes: &[u8],
    max: usize,
) -> Result<(), VerificationError> {
    if bytes.len() > max {
        return Err(VerificationError::TooLong {
            field,
            len: bytes.len(),
            max,
        });
    }
    Ok(())
}

fn parse_pcrs(values: &[v1::PcrValue]) -> Result<Vec<(u32, Vec<u8>)>, VerificationError> {
    if values.len() > PCR_COUNT as usize {
        return Err(VerificationError::TooLong {
            field: "pcr_values",
            len: values.len(),
            max: PCR_COUNT as usize,
        });
    }
    let mut next = 0;
    let mut pcrs = Vec::with_capacity(values.len());
    for pcr in values {
        at_most("pcr_values.value", &pcr.value, HashAlg::Sha512.digest_len())?;
        if pcr.index < next || pcr.index >= PCR_COUNT {
            return Err(VerificationError::PcrOrder(pcr.index));
        }
        next = pcr.index + 1;
        pcrs.push((pcr.index, pcr.value.clone()));
    }
    Ok(pcrs)
}

fn parse_log(log: Option<&v1::BootLog>) -> Result<SentLog, VerificationError> {
    match log.and_then(|l| l.log.as_ref()) {
        None => Ok(SentLog::Absent),
        Some(v1::boot_log::Log::Content(content)) => {
            at_most("boot_log.content", content, BOOT_LOG_MAX)?;
            Ok(SentLog::Whole {
                sha256: sha256(&[content]),
                content: content.clone(),
            })
        }
        Some(v1::boot_log::Log::Sha256(digest)) => match <[u8; 32]>::try_from(digest.as_slice()) {
            Ok(digest) => Ok(SentLog::ByHash(digest)),
            Err(_) => Err(VerificationError::NotADigest {
                field: "boot_log.sha256",
                len: digest.len(),
            }),
        },
    }
}

/// PCR values that a verified quote covers: one bank, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcrValues {
    selection: PcrSelection,
    values: Vec<(u32, Vec<u8>)>,
}

impl PcrValues {
    /// Only `quote` makes one, once the digest and the signature hold.
    pub(super) fn new(selection: PcrSelection, values: Vec<(u32, Vec<u8>)>) -> Self {
        Self { selection, values }
    }

    /// The bank and the PCRs.
    #[must_use]
    pub fn selection(&self) -> &PcrSelection {
        &self.selection
    }

    /// The bank's hash algorithm.
    #[must_use]
    pub fn bank(&self) -> HashAlg {
        self.selection.hash
    }

    /// Value of one PCR, if the quote covers it.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&[u8]> {
        self.iter()
            .find(|(i, _)| *i == index)
            .map(|(_, value)| value)
    }

    /// Index and value, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.values
            .iter()
            .map(|(index, value)| (*index, value.as_slice()))
    }
}

/// A boot log as it came, whose digest the verified claims hold. What its
/// events say is in [`super::ReplayedBootLog`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootLog {
    /// The gateway keeps none.
    Absent,
    /// It came whole; to be kept.
    Whole {
        /// TCG crypto-agile log.
        content: Vec<u8>,
        /// SHA-256 of it.
        sha256: [u8; 32],
    },
    /// It came by the hash of the log that the store holds.
    Known {
        /// SHA-256 of it.
        sha256: [u8; 32],
    },
}

impl BootLog {
    /// SHA-256 of the log, if there is one.
    #[must_use]
    pub fn sha256(&self) -> Option<&[u8; 32]> {
        match self {
            Self::Absent => None,
            Self::Whole { sha256, .. } | Self::Known { sha256 } => Some(sha256),
        }
    }
}
