//! Does an endorsement still stand? Asked at each appraisal of what is on
//! record of the EK and of what was quoted, for certificates are revoked and
//! firmware is found wanting after a gateway has enrolled.

use std::collections::BTreeSet;

use super::{
    anchors::Anchors,
    facts::{EkKnownBy, PathCertificate, TpmFacts},
    leniency::Leniency,
    rules::{Denied, DeniedIssuer},
};
use crate::time::UnixTime;

/// What speaks against an endorsement, or should be known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Which.
    pub code: FindingCode,
    /// For people; inert.
    pub detail: String,
    /// For people.
    pub next_step: &'static str,
}

/// Kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FindingCode {
    /// A certificate of the path is on an imported CRL.
    Revoked,
    /// The owner denies a certificate of the path.
    Denied,
    /// Something is denied or revoked, and it is not known whether the record is
    /// concerned: it has no path.
    PathUnknown,
    /// The path's root is not imported any more.
    AnchorWithdrawn,
    /// The OEM that certified the IAK, or a CA of it, was withdrawn.
    OemWithdrawn,
    /// The owner's list has the EK no longer.
    FingerprintWithdrawn,
    /// The quoted firmware is below the owner's floor.
    FirmwareFloor,
    /// A CRL of the path is due for renewal. Not against the gateway.
    CrlStale,
}

impl FindingCode {
    /// Code of the reason that it gives.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Revoked => "ek-certificate-revoked",
            Self::Denied => "ek-issuer-denied",
            Self::PathUnknown => "ek-path-unknown",
            Self::AnchorWithdrawn => "ek-anchor-withdrawn",
            Self::OemWithdrawn => "oem-withdrawn",
            Self::FingerprintWithdrawn => "ek-fingerprint-withdrawn",
            Self::FirmwareFloor => "tpm-firmware-below-floor",
            Self::CrlStale => "ek-crl-stale",
        }
    }

    /// Whether it speaks against the TPM.
    #[must_use]
    pub const fn is_against(self) -> bool {
        !matches!(self, Self::CrlStale)
    }
}

/// How an endorsement stands now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct EndorsementStanding {
    findings: Vec<Finding>,
    leniencies: BTreeSet<Leniency>,
}

impl EndorsementStanding {
    /// With what was found elsewhere.
    pub(crate) fn and(mut self, findings: Vec<Finding>) -> Self {
        self.findings.extend(findings);
        self
    }

    /// With what was found of another EK of the same TPM; what concerns the TPM as
    /// a whole is said once.
    pub(crate) fn and_of_another_ek(mut self, other: Self) -> Self {
        for finding in other.findings {
            if !self.findings.contains(&finding) {
                self.findings.push(finding);
            }
        }
        self.leniencies.extend(other.leniencies);
        self
    }

    /// What was found; nothing where it stands.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Under which leniencies the certificates of the TPM's EKs were read, of any
    /// of them; each once.
    pub fn leniencies(&self) -> impl Iterator<Item = Leniency> {
        self.leniencies.iter().copied()
    }
}

impl Anchors {
    /// How the endorsement of an EK stands at the time `at`, by what is on
    /// record of it, and its TPM with the firmware version of its last quote.
    /// `spki_sha256` is that of the EK.
    pub fn standing(
        &self,
        tpm: &TpmFacts,
        spki_sha256: &[u8; 32],
        firmware_version: u64,
        at: UnixTime,
    ) -> EndorsementStanding {
        let mut findings = match tpm.known_by {
            EkKnownBy::Fingerprint => self.of_fingerprint(spki_sha256),
            // What its OEM's anchors say of it: `OemAnchors::findings`.
            EkKnownBy::IakCertificate => self.of_devid(tpm),
            EkKnownBy::EkCertificate if tpm.path.is_empty() => self.of_old_record(tpm),
            EkKnownBy::EkCertificate => self.of_path(&tpm.path, at),
        };
        if let Some(floor) = self.rules().floor_of_quote(tpm, firmware_version) {
            findings.push(Finding {
                code: FindingCode::FirmwareFloor,
                detail: format!(
                    "TPM firmware {firmware_version:016x} is below the floor {:016x} for {}: {}",
                    floor.quoted.unwrap_or_default(),
                    floor.which(),
                    floor.reason
                ),
                next_step: "Update the TPM's firmware as its vendor says, then let the gateway recover; where \
                            there is no update, replace the TPM.",
            });
        }
        EndorsementStanding {
            findings,
            leniencies: tpm.leniencies.iter().copied().collect(),
        }
    }

    fn of_fingerprint(&self, spki_sha256: &[u8; 32]) -> Vec<Finding> {
        if self.rules().fingerprints.contains_key(spki_sha256) {
            return Vec::new();
        }
        vec![Finding {
            code: FindingCode::FingerprintWithdrawn,
            detail: format!(
                "the EK {} has no certificate, and the owner's list has it no longer",
                hex::encode(spki_sha256)
            ),
            next_step: "List the fingerprint again in the endorsement bundle if the TPM is still trusted; else \
                        revoke the gateway.",
        }]
    }

    fn of_path(&self, path: &[PathCertificate], at: UnixTime) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (certificate, issuer) in path.iter().zip(path.iter().skip(1)) {
            let Some(crl) = self.crl_of(&certificate.issuer_sha256, &issuer.key_sha256) else {
                continue;
            };
            let serial = hex::decode(&certificate.serial).unwrap_or_default();
            if crl.revokes(&serial) {
                findings.push(revoked(&certificate.serial, &crl.facts().issuer));
            }
            if crl.is_stale(at) {
                findings.push(Finding {
                    code: FindingCode::CrlStale,
                    detail: format!(
                        "the CRL of \"{}\" was due for renewal at {}",
                        crl.facts().issuer,
                        crl.facts().next_update
                    ),
                    next_step: "Import the CA's newest CRL (holdfast-verifier endorsement import FILE.crl).",
                });
            }
        }
        findings.extend(path.iter().find_map(|c| self.rules().denial(c)).map(denied));
        if let Some(root) = path.last()
            && !self.has_root(&root.sha256)
        {
            findings.push(Finding {
                code: FindingCode::AnchorWithdrawn,
                detail: format!("the root \"{}\" is not trusted any more", root.subject),
                next_step: "Import the root again if the vendor is still trusted, then let the gateway recover; \
                            else revoke the gateway.",
            });
        }
        findings
    }

    /// Of a gateway that enrolled before paths were recorded: its issuer is
    /// known by the key's identifier, as the certificate had it.
    fn of_old_record(&self, tpm: &TpmFacts) -> Vec<Finding> {
        let key_id = hex::decode(&tpm.ek_certificate_aki).unwrap_or_default();
        let serial = hex::decode(&tpm.ek_certificate_serial).unwrap_or_default();
        let crl = self.crl_of_key_id(&key_id).filter(|_| !key_id.is_empty());
        let mut findings = Vec::new();
        if let Some(crl) = crl.filter(|crl| crl.revokes(&serial)) {
            findings.push(revoked(&tpm.ek_certificate_serial, &crl.facts().issuer));
        }
        let found = self.rules().denied.iter().find(|d| match &d.which {
            Denied::Certificate(sha256) => hex::encode(sha256) == tpm.ek_certificate_sha256,
            Denied::Subject(subject) => *subject == tpm.issuer,
            Denied::Key(_) => false,
        });
        match found {
            Some(found) => findings.push(denied((&tpm.issuer, found))),
            None => findings.extend(self.path_unknown()),
        }
        // Whose CRL would tell is not known either.
        if findings.is_empty() && key_id.is_empty() && self.crls().next().is_some() {
            findings.push(path_unknown("CRLs are imported"));
        }
        findings
    }

    /// On the IAK road: the OEM's certificates, for both keys.
    fn of_devid(&self, tpm: &TpmFacts) -> Vec<Finding> {
        let paths = tpm.devid.iter().flat_map(|d| [&d.iak_path, &d.idevid_path]);
        let mut findings = Vec::new();
        for path in paths {
            let denial = path.iter().find_map(|c| self.rules().denial(c));
            findings.extend(denial.map(denied));
            if path.is_empty() {
                findings.extend(self.path_unknown());
            }
        }
        // The two share their issuers.
        findings.dedup();
        findings
    }

    /// Where something is denied, a path that nobody knows may have it in it.
    fn path_unknown(&self) -> Option<Finding> {
        if self.rules().denied.is_empty() {
            return None;
        }
        Some(path_unknown("the owner denies issuers"))
    }
}

fn revoked(serial: &str, issuer: &str) -> Finding {
    Finding {
        code: FindingCode::Revoked,
        detail: format!("\"{issuer}\" revoked the certificate with serial {serial}"),
        next_step: "The TPM's vendor does not stand by this TPM any more: find out why, and replace it.",
    }
}

fn path_unknown(why: &str) -> Finding {
    Finding {
        code: FindingCode::PathUnknown,
        detail: format!(
            "{why}, and the record of this gateway is from before paths of certificates were \
             recorded: whether it is concerned cannot be told"
        ),
        next_step: "Let the gateway present its certificates again: holdfast-verifier gateway resume, then \
                    holdfast-attester recover on the gateway.",
    }
}

fn denied((subject, denied): (&str, &DeniedIssuer)) -> Finding {
    Finding {
        code: FindingCode::Denied,
        detail: format!("the owner denies \"{subject}\": {}", denied.reason),
        next_step: "Replace the TPM, or take the denial out of the endorsement bundle.",
    }
}
