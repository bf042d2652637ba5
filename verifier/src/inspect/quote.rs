//! A quote and its signature, as tpm2_quote writes them.

use std::collections::BTreeMap;

use holdfast_proto::tpm::{AsymScheme, Attest, Attested, HashAlg, Parameters, Signature};
use serde::Serialize;

use super::{InspectError, MAX_EVIDENCE_BYTES, Verdict, at_most, key::KeyReport};
use crate::verification::{KeyOnFile, QuoteExpectation, verify_quote_on_file};

/// What a quote says, and whether it holds.
#[derive(Clone, Debug, Serialize)]
pub struct QuoteReport {
    /// `affirming` or `refused`.
    pub verdict: Verdict,
    /// Why it is refused.
    pub reason: Option<String>,
    /// The TPMS_ATTEST, where it parses; true only if affirming.
    pub attest: Option<AttestReport>,
    /// The key that it was judged by.
    pub key: KeyReport,
    /// What was held against something: `signature` always, `nonce` and `pcrs`
    /// where they were given.
    pub checked: Vec<&'static str>,
    /// What the verdict does not say.
    pub warnings: Vec<String>,
}

/// TPMS_ATTEST (TPM 2.0 Part 2 §10.12).
#[derive(Clone, Debug, Serialize)]
pub struct AttestReport {
    /// `quote`, `certify`, `creation` or `time`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Qualified Name of the signing key.
    pub qualified_signer: String,
    /// The caller's qualifying data: the nonce.
    pub extra_data: String,
    /// The TPM's clock.
    pub clock_info: ClockReport,
    /// Sixteen hex digits: numbers of JSON do not hold it.
    pub firmware_version: String,
    /// Of a quote: PCRs by bank.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pcr_selection: Option<BTreeMap<&'static str, Vec<u32>>>,
    /// Of a quote: hash of the PCR values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pcr_digest: Option<String>,
}

/// TPMS_CLOCK_INFO.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ClockReport {
    /// Milliseconds.
    pub clock: u64,
    /// Resets since TPM2_Clear.
    pub reset_count: u32,
    /// Restarts and resumes since the last reset.
    pub restart_count: u32,
    /// No lower clock was ever reported.
    pub safe: bool,
}

/// Judges a quote.
///
/// # Errors
/// [`InspectError::TooLong`]. A quote that does not parse is refused.
pub fn inspect(
    key: &KeyOnFile,
    attest: &[u8],
    signature: &[u8],
    expected: &QuoteExpectation,
) -> Result<QuoteReport, InspectError> {
    at_most(attest, MAX_EVIDENCE_BYTES)?;
    at_most(signature, MAX_EVIDENCE_BYTES)?;
    let mut warnings = Vec::new();
    let signature = match plain(key, signature) {
        Some(encoded) => {
            warnings.push(
                "the signature is bare (tpm2_quote -f plain): taken to be by the key's own scheme, or RSASSA with SHA-256"
                    .to_owned(),
            );
            encoded
        }
        None => signature.to_vec(),
    };
    let mut checked = vec!["signature"];
    match &expected.nonce {
        Some(_) => checked.push("nonce"),
        None => warnings.push("no nonce was given: the quote may be an old one".to_owned()),
    }
    match &expected.pcrs {
        Some(_) => checked.push("pcrs"),
        None => warnings
            .push("no PCR values were given: the PCR digest was held against nothing".to_owned()),
    }
    match (key.name(), key.ak_fault()) {
        (None, _) => warnings.push(
            "the key is bare: nothing tells whether a TPM restricts it to attestations".to_owned(),
        ),
        (Some(_), Some(fault)) => {
            warnings.push(format!("enrolment would not take this key: {fault}"));
        }
        (Some(_), None) => {}
    }
    let outcome = verify_quote_on_file(key, attest, &signature, expected);
    Ok(QuoteReport {
        verdict: if outcome.is_ok() {
            Verdict::Affirming
        } else {
            Verdict::Refused
        },
        reason: outcome.err().map(|error| error.to_string()),
        attest: Attest::parse(attest).ok().as_ref().map(AttestReport::of),
        key: KeyReport::of(key),
        checked,
        warnings,
    })
}

/// `tpm2_quote -f plain` writes an RSA signature without its TPMT_SIGNATURE,
/// which no TPMT_SIGNATURE of that key can be as short as.
fn plain(key: &KeyOnFile, signature: &[u8]) -> Option<Vec<u8>> {
    let Parameters::Rsa { key_bits, .. } = key.material().parameters else {
        return None;
    };
    if signature.len() != usize::from(key_bits / 8) {
        return None;
    }
    let sig = signature.to_vec();
    let signature = match key.scheme() {
        Some(AsymScheme::RsaPss(hash)) => Signature::RsaPss { hash, sig },
        Some(AsymScheme::RsaSsa(hash)) => Signature::RsaSsa { hash, sig },
        _ => Signature::RsaSsa {
            hash: HashAlg::Sha256,
            sig,
        },
    };
    Some(signature.encode())
}

impl AttestReport {
    fn of(attest: &Attest) -> Self {
        let (kind, quoted) = match &attest.attested {
            Attested::Quote {
                selection,
                pcr_digest,
            } => ("quote", Some((selection, pcr_digest))),
            Attested::Certify { .. } => ("certify", None),
            Attested::Creation { .. } => ("creation", None),
            Attested::Time { .. } => ("time", None),
        };
        Self {
            kind,
            qualified_signer: hex::encode(&attest.qualified_signer),
            extra_data: hex::encode(&attest.extra_data),
            clock_info: ClockReport {
                clock: attest.clock_info.clock,
                reset_count: attest.clock_info.reset_count,
                restart_count: attest.clock_info.restart_count,
                safe: attest.clock_info.safe,
            },
            firmware_version: format!("{:016x}", attest.firmware_version),
            pcr_selection: quoted.map(|(selection, _)| {
                let mut banks: BTreeMap<_, Vec<u32>> = BTreeMap::new();
                for bank in selection {
                    let pcrs = banks.entry(bank.hash.name()).or_default();
                    pcrs.extend(bank.pcrs.iter());
                }
                banks
            }),
            pcr_digest: quoted.map(|(_, digest)| hex::encode(digest)),
        }
    }
}
