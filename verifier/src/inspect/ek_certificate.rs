//! An EK certificate, and whether it chains to the roots given.

use serde::Serialize;

use super::{InspectError, MAX_EVIDENCE_BYTES, Verdict, at_most, certificates};
use crate::{
    endorsement::{
        Anchors, CertificateFacts, EkChain, EndorsementError, Leniencies, Rules, ShownCertificate,
        Trimmed, trim_nv_image,
    },
    time::UnixTime,
};

/// What an EK certificate is held against.
#[derive(Debug)]
pub struct Trust {
    anchors: Anchors,
    warnings: Vec<String>,
}

impl Trust {
    /// From DER certificates. What cannot serve, by the rules of the service,
    /// is left out with a warning.
    ///
    /// # Errors
    /// [`InspectError::Roots`] where no root is left.
    pub fn new(roots: Vec<Vec<u8>>, intermediates: Vec<Vec<u8>>) -> Result<Self, InspectError> {
        Self::with_leniencies(roots, intermediates, Leniencies::default())
    }

    /// As [`Trust::new`], with these leniencies in place of the default ones.
    ///
    /// # Errors
    /// As [`Trust::new`].
    pub fn with_leniencies(
        roots: Vec<Vec<u8>>,
        intermediates: Vec<Vec<u8>>,
        leniencies: Leniencies,
    ) -> Result<Self, InspectError> {
        let mut warnings = Vec::new();
        let mut last = String::from("none was given");
        let mut usable = |kind: &str, given: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
            let mut kept = Vec::new();
            for (at, der) in given.into_iter().enumerate() {
                let tried = match kind {
                    "root" => CertificateFacts::as_root(&der),
                    _ => CertificateFacts::parse(&der, &leniencies),
                };
                match tried {
                    Ok(_) => kept.push(der),
                    Err(error) => {
                        let hint = match &error {
                            EndorsementError::CriticalExtension { .. } if kind != "root" => {
                                "; to trust it, name it among the roots"
                            }
                            _ => "",
                        };
                        last = format!("{kind} {at} is left out: {error}{hint}");
                        warnings.push(last.clone());
                    }
                }
            }
            kept
        };
        let roots = usable("root", roots);
        let intermediates = usable("intermediate", intermediates);
        if roots.is_empty() {
            return Err(InspectError::Roots(last));
        }
        Ok(Self {
            anchors: Anchors::new(roots, intermediates)?.with_rules(Rules {
                leniencies,
                ..Rules::default()
            }),
            warnings,
        })
    }
}

/// What an EK certificate says, and whether it holds.
#[derive(Clone, Debug, Serialize)]
pub struct EkCertificateReport {
    /// `affirming` or `refused`.
    pub verdict: Verdict,
    /// Why it is refused.
    pub reason: Option<String>,
    /// DER SubjectPublicKeyInfo of the EK, as its TPM would have it, in hex.
    pub subject_key: Option<String>,
    /// Kind and size, e.g. `rsa-2048`.
    pub subject_key_kind: Option<String>,
    /// Id of the gateway with this EK.
    pub gateway_id: Option<String>,
    /// What it says of the TPM.
    pub tpm: TpmReport,
    /// Particulars of the certificate, where it parses.
    pub certificate: Option<CertificateReport>,
    /// What it took to endorse it, by name (docs/endorsement.md).
    pub leniencies: Vec<&'static str>,
    /// What lay around it in NV, and was trimmed.
    pub trimmed: Option<TrimmedReport>,
    /// The time that it was judged at.
    pub at: String,
    /// CA certificates that were left out, and why.
    pub warnings: Vec<String>,
}

/// TPM attributes of subjectAltName (EK Credential Profile §3.1.2).
#[derive(Clone, Debug, Default, Serialize)]
pub struct TpmReport {
    /// e.g. `id:49465800`.
    pub manufacturer: Option<String>,
    /// Part number.
    pub model: Option<String>,
    /// Firmware version.
    pub version: Option<String>,
}

/// Particulars.
#[derive(Clone, Debug, Serialize)]
pub struct CertificateReport {
    /// For people; often empty.
    pub subject: String,
    /// For people.
    pub issuer: String,
    /// Hex.
    pub serial: String,
    /// RFC 3339.
    pub not_before: String,
    /// RFC 3339.
    pub not_after: String,
    /// SHA-256 of the DER.
    pub sha256: String,
}

/// What lay around the certificate.
#[derive(Clone, Debug, Serialize)]
pub struct TrimmedReport {
    /// Bytes before it, hex.
    pub header: String,
    /// How many bytes of filling after it.
    pub padding_length: usize,
    /// The filling byte, hex.
    pub padding_byte: Option<String>,
}

/// Judges an EK certificate: PEM (it first, then what came with it), DER, or an
/// image of its NV index.
///
/// # Errors
/// [`InspectError::TooLong`], [`InspectError::Certificate`]. A certificate that
/// does not parse is refused.
pub fn inspect(
    file: &[u8],
    trust: &Trust,
    at: UnixTime,
) -> Result<EkCertificateReport, InspectError> {
    at_most(file, MAX_EVIDENCE_BYTES)?;
    let chain = certificates(file)?;
    let image = chain.first().cloned().unwrap_or_default();
    let found = trim_nv_image(&image);
    let trimmed = TrimmedReport::of(&found);
    let leaf = found.der.to_vec();
    let shown = ShownCertificate::parse(&leaf);
    let outcome = EkChain::parse(&chain).and_then(|chain| {
        let ek = ShownCertificate::parse(&leaf)?.ek()?;
        let endorsed = trust.anchors.endorse(&chain, ek, at)?;
        Ok(endorsed.facts().leniencies.clone())
    });
    let shown = shown.ok();
    let key = shown.as_ref().and_then(ShownCertificate::key);
    Ok(EkCertificateReport {
        verdict: if outcome.is_ok() {
            Verdict::Affirming
        } else {
            Verdict::Refused
        },
        leniencies: (outcome.iter().flatten())
            .map(|leniency| leniency.name())
            .collect(),
        reason: outcome.err().map(|error| error.to_string()),
        subject_key: key.and_then(|key| key.to_spki_der()).map(hex::encode),
        subject_key_kind: key.map(|key| key.kind()),
        gateway_id: shown
            .as_ref()
            .and_then(|certificate| certificate.ek().ok())
            .map(|ek| ek.gateway_id().to_string()),
        tpm: shown.as_ref().map(TpmReport::of).unwrap_or_default(),
        certificate: shown.map(|certificate| CertificateReport {
            subject: certificate.subject,
            issuer: certificate.issuer,
            serial: certificate.serial,
            not_before: certificate.not_before.to_string(),
            not_after: certificate.not_after.to_string(),
            sha256: hex::encode(crate::digest::sha256(&[&leaf])),
        }),
        trimmed,
        at: at.to_string(),
        warnings: trust.warnings.clone(),
    })
}

impl TpmReport {
    fn of(certificate: &ShownCertificate) -> Self {
        Self {
            manufacturer: certificate.manufacturer.clone(),
            model: certificate.model.clone(),
            version: certificate.version.clone(),
        }
    }
}

impl TrimmedReport {
    fn of(trimmed: &Trimmed<'_>) -> Option<Self> {
        if trimmed.header.is_empty() && trimmed.padding.is_empty() {
            return None;
        }
        Some(Self {
            header: hex::encode(trimmed.header),
            padding_length: trimmed.padding.len(),
            padding_byte: trimmed.padding.first().map(|byte| format!("{byte:02x}")),
        })
    }
}
