//! Evidence (RFC 9334 §8.1): from a challenge, the TPM and the platform, the
//! one message in which all parts are bound to each other.
//!
//! The claims hold the nonce, the TLS exporter and the digests of the
//! certification and the boot log; the quote's extraData is the digest of the
//! signed claims.

mod files;
mod ima_log;
mod platform;

use holdfast_proto::binding::quote_extra_data;
use holdfast_proto::claims::{Claims, CoseAlg, Purpose, Ueid, sign};
use holdfast_proto::grpc::v1;
use holdfast_proto::tpm::{Attest, Attested, EccCurve, HashAlg, PcrSelection};
use thiserror::Error;

pub use files::{EvidenceFileError, write_files};
pub use ima_log::{
    IMA_LOG_PATH, ImaLogError, ImaPosition, MAX_IMA_LOG, MAX_IMA_LOG_AT_ENROLMENT, read_ima_log,
};
pub use platform::{BOOT_LOG_PATH, BootLogError, MAX_BOOT_LOG, Platform, now};

use crate::state::Keys;
use crate::tpm::{Attestation, PcrValues, Tpm, TpmError};

/// How often PCRs are read and quoted again when they change in between.
const MAX_ATTEMPTS: u32 = 5;

/// What the Verifier wants to see, and on which connection.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// The Verifier's nonce.
    pub nonce: [u8; 32],
    /// PCRs to quote.
    pub selection: PcrSelection,
    /// Exporter of the TLS connection that will carry the evidence.
    pub exporter: [u8; 32],
    /// What the evidence is for.
    pub purpose: Purpose,
    /// SHA-256 of the boot log that the Verifier has already.
    pub known_boot_log: Option<[u8; 32]>,
    /// How much of the IMA log the Verifier has already.
    pub known_ima: Option<ImaPosition>,
}

/// Why there is no evidence.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// The TPM refused.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// The quote is not a quote of what was asked.
    #[error("the TPM's quote does not cover what was asked for")]
    QuoteMismatch,
    /// The IMA log cannot be sent.
    #[error(transparent)]
    ImaLog(#[from] ImaLogError),
}

/// Evidence for `challenge`, signed by the LDevID key and quoted by the AK.
/// `certification` is the LDevID key's, where one goes along.
///
/// The IMA log is read last, so that it holds all that the quote does.
///
/// # Errors
/// [`EvidenceError`]; [`TpmError::PcrsUnsteady`] where PCRs keep changing.
pub fn collect(
    tpm: &Tpm,
    keys: &Keys,
    gateway_id: &Ueid,
    challenge: &Challenge,
    certification: Option<&Attestation>,
    platform: &Platform,
) -> Result<v1::Evidence, EvidenceError> {
    let boot_log_sha256 = platform.boot_log.as_ref().map(|log| sha256(log));
    let claims = Claims {
        nonce: challenge.nonce,
        ueid: *gateway_id,
        issued_at: platform.issued_at,
        purpose: challenge.purpose,
        exporter: challenge.exporter,
        certify_sha256: certification.map(|c| sha256(&c.attest)),
        boot_log_sha256,
        software_name: env!("CARGO_PKG_NAME").to_owned(),
        software_version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: platform.uptime_seconds,
    };
    let kid = keys.ldevid.name();
    let signed = sign(&claims, CoseAlg::Esp256, kid.as_bytes(), |to_be_signed| {
        let signature = tpm.sign(&keys.ldevid, sha256(to_be_signed))?;
        signature
            .ecdsa_fixed(EccCurve::P256)
            .map_err(|source| TpmError::Malformed {
                what: "ECDSA signature of the TPM",
                source,
            })
    })?;
    let Quoted {
        quote,
        pcrs,
        reset_count,
    } = quote_steady(tpm, keys, &challenge.selection, quote_extra_data(&signed))?;
    let ima_log = match &platform.ima_log {
        Some(path) if challenge.selection.pcrs.contains(ima_log::IMA_PCR) => {
            read_ima_log(path, challenge.known_ima, reset_count, challenge.purpose)?
        }
        _ => None,
    };
    let boot_log = platform.boot_log.as_ref().map(|log| {
        let known =
            challenge.known_boot_log.is_some() && challenge.known_boot_log == boot_log_sha256;
        v1::BootLog {
            log: Some(match boot_log_sha256 {
                Some(digest) if known => v1::boot_log::Log::Sha256(digest.to_vec()),
                _ => v1::boot_log::Log::Content(log.clone()),
            }),
        }
    });
    Ok(v1::Evidence {
        claims: signed,
        quote_attest: quote.attest,
        quote_signature: quote.signature,
        pcr_values: pcrs
            .into_iter()
            .map(|(index, value)| v1::PcrValue { index, value })
            .collect(),
        boot_log,
        ima_log,
    })
}

/// What the TPM quoted.
struct Quoted {
    quote: Attestation,
    pcrs: PcrValues,
    /// The boot that it is of.
    reset_count: u32,
}

/// PCR values and a quote over these very values.
fn quote_steady(
    tpm: &Tpm,
    keys: &Keys,
    selection: &PcrSelection,
    extra_data: [u8; 32],
) -> Result<Quoted, EvidenceError> {
    for _ in 0..MAX_ATTEMPTS {
        let pcrs = tpm.read_pcrs(selection)?;
        let quote = tpm.quote(&keys.ak, selection, extra_data)?;
        let attest = Attest::parse(&quote.attest).map_err(|source| TpmError::Malformed {
            what: "TPMS_ATTEST of the TPM",
            source,
        })?;
        let Attested::Quote {
            selection: quoted,
            pcr_digest,
        } = attest.attested
        else {
            return Err(EvidenceError::QuoteMismatch);
        };
        if quoted != [*selection] {
            return Err(EvidenceError::QuoteMismatch);
        }
        let values: Vec<&[u8]> = pcrs.values().map(Vec::as_slice).collect();
        if keys.ak.hash().digest(&values).as_bytes() == pcr_digest {
            return Ok(Quoted {
                quote,
                pcrs,
                reset_count: attest.clock_info.reset_count,
            });
        }
    }
    Err(TpmError::PcrsUnsteady {
        attempts: MAX_ATTEMPTS,
    }
    .into())
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    HashAlg::Sha256
        .digest(&[bytes])
        .as_bytes()
        .try_into()
        .expect("SHA-256 has 32 bytes")
}
