//! What is judged, for people: quotes, certificates, claims, results.

use super::{Page, Shown};
use crate::{
    inspect::{
        Verdict, claims::ClaimsReport, ek_certificate::EkCertificateReport, ldevid::LdevidReport,
        quote::QuoteReport, result::ResultReport,
    },
    time::UnixTime,
};

impl Shown for QuoteReport {
    fn verdict(&self) -> Option<(Verdict, Option<&str>)> {
        Some((self.verdict, self.reason.as_deref()))
    }

    fn write(&self, page: &mut Page) {
        page.verdict(self.verdict, self.reason.as_deref());
        page.warnings(&self.warnings);
        page.fields([
            ("checked", Some(self.checked.join(", "))),
            ("key", Some(self.key.kind.clone())),
            ("key Name", self.key.name.clone()),
            ("key SHA-256", self.key.spki_sha256.clone()),
        ]);
        let Some(attest) = &self.attest else { return };
        page.heading("TPMS_ATTEST");
        let clock = attest.clock_info;
        let safe = if clock.safe { "safe" } else { "not safe" };
        page.fields([
            ("type", Some(attest.kind.to_owned())),
            ("extraData", Some(attest.extra_data.clone())),
            ("qualifiedSigner", Some(attest.qualified_signer.clone())),
            (
                "clock",
                Some(format!(
                    "{} ms, {safe}; {} resets, {} restarts",
                    clock.clock, clock.reset_count, clock.restart_count
                )),
            ),
            ("firmwareVersion", Some(attest.firmware_version.clone())),
            (
                "PCRs",
                attest.pcr_selection.as_ref().map(|banks| {
                    let banks = banks.iter().map(|(bank, pcrs)| {
                        let pcrs: Vec<String> = pcrs.iter().map(u32::to_string).collect();
                        format!("{bank}:{}", pcrs.join(","))
                    });
                    banks.collect::<Vec<_>>().join("+")
                }),
            ),
            ("pcrDigest", attest.pcr_digest.clone()),
        ]);
    }
}

impl Shown for EkCertificateReport {
    fn verdict(&self) -> Option<(Verdict, Option<&str>)> {
        Some((self.verdict, self.reason.as_deref()))
    }

    fn write(&self, page: &mut Page) {
        page.verdict(self.verdict, self.reason.as_deref());
        page.warnings(&self.warnings);
        let trimmed = self.trimmed.as_ref().map(|trimmed| {
            let mut parts = Vec::new();
            if !trimmed.header.is_empty() {
                parts.push(format!("header {}", trimmed.header));
            }
            if let Some(byte) = &trimmed.padding_byte {
                parts.push(format!("{} bytes of {byte}", trimmed.padding_length));
            }
            parts.join(", ")
        });
        let of = self.certificate.as_ref();
        page.fields([
            ("judged at", Some(self.at.clone())),
            ("TPM manufacturer", self.tpm.manufacturer.clone()),
            ("TPM model", self.tpm.model.clone()),
            ("TPM version", self.tpm.version.clone()),
            ("EK", self.subject_key_kind.clone()),
            ("gateway id", self.gateway_id.clone()),
            ("issuer", of.map(|c| c.issuer.clone())),
            (
                "subject",
                of.map(|c| c.subject.clone()).filter(|s| !s.is_empty()),
            ),
            ("serial", of.map(|c| c.serial.clone())),
            ("valid from", of.map(|c| c.not_before.clone())),
            ("valid until", of.map(|c| c.not_after.clone())),
            ("SHA-256", of.map(|c| c.sha256.clone())),
            (
                "leniencies",
                Some(self.leniencies.join(", ")).filter(|l| !l.is_empty()),
            ),
            ("trimmed from NV image", trimmed),
        ]);
    }
}

impl Shown for ClaimsReport {
    fn verdict(&self) -> Option<(Verdict, Option<&str>)> {
        Some((self.verdict, self.reason.as_deref()))
    }

    fn write(&self, page: &mut Page) {
        page.verdict(self.verdict, self.reason.as_deref());
        page.warnings(&self.warnings);
        if let Some(header) = &self.header {
            page.fields([
                ("alg", Some(header.alg.to_owned())),
                ("kid", Some(header.kid.clone())),
            ]);
        }
        let Some(claims) = &self.claims else { return };
        page.heading("Claims");
        page.fields([
            ("eat_profile", Some(claims.eat_profile.to_owned())),
            ("ueid", Some(claims.ueid.clone())),
            ("purpose", Some(claims.purpose.to_owned())),
            ("eat_nonce", Some(claims.eat_nonce.clone())),
            ("iat", Some(claims.issued_at())),
            ("exporter", Some(claims.exporter.clone())),
            ("certify-sha256", claims.certify_sha256.clone()),
            ("boot-log-sha256", claims.boot_log_sha256.clone()),
            ("swname", Some(claims.swname.clone())),
            ("swversion", Some(claims.swversion.clone())),
            ("uptime", claims.uptime.map(|s| format!("{s} s"))),
        ]);
    }
}

/// None where there are none.
fn joined(names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| names.join(", "))
}

impl Shown for LdevidReport {
    fn verdict(&self) -> Option<(Verdict, Option<&str>)> {
        Some((self.verdict, self.reason.as_deref()))
    }

    fn write(&self, page: &mut Page) {
        page.verdict(self.verdict, self.reason.as_deref());
        page.warnings(&self.warnings);
        let of = self.ldevid.as_ref();
        page.fields([
            ("judged at", Some(self.at.clone())),
            ("gateway id", of.map(|l| l.gateway_id.clone())),
            ("TPM", of.map(|l| l.hardware_serial.clone())),
            ("SPIFFE ID", of.and_then(|l| l.spiffe_id.clone())),
            ("DNS names", of.and_then(|l| joined(&l.dns_names))),
            ("URIs", of.and_then(|l| joined(&l.uris))),
            (
                "purposes",
                of.map(|l| {
                    let all = ["client-auth"].into_iter();
                    all.chain(l.extended_key_usages.iter().copied())
                        .collect::<Vec<_>>()
                        .join(", ")
                }),
            ),
            ("MUD URL", of.and_then(|l| l.mud_url.clone())),
            ("key SHA-256", of.map(|l| l.key_sha256.clone())),
            ("issuer", self.issuer.clone()),
            ("serial", self.serial.clone()),
            ("valid from", self.not_before.clone()),
            ("valid until", self.not_after.clone()),
            ("SHA-256", Some(self.sha256.clone())),
        ]);
    }
}

impl Shown for ResultReport {
    fn verdict(&self) -> Option<(Verdict, Option<&str>)> {
        Some((self.verdict, self.reason.as_deref()))
    }

    fn write(&self, page: &mut Page) {
        page.verdict(self.verdict, self.reason.as_deref());
        page.warnings(&self.warnings);
        page.fields([
            ("judged at", Some(self.at.clone())),
            ("format", Some(self.format.to_owned())),
            ("kid", self.kid.clone()),
        ]);
        let Some(ear) = &self.result else { return };
        page.heading(&format!("Attestation result: {}", ear.ear_status));
        let time = |seconds| Some(UnixTime::from_seconds(seconds).to_string());
        let verifier: Vec<&str> = ear.ear_verifier_id.values().map(String::as_str).collect();
        let reasons = ear.holdfast_reason_codes.join(", ");
        page.fields([
            ("ueid", Some(ear.ueid.clone())),
            ("issued", time(ear.iat)),
            ("expires", time(ear.exp)),
            ("eat_nonce", Some(ear.eat_nonce.clone())),
            ("verifier", Some(verifier.join(", "))),
            ("policies", Some(ear.ear_appraisal_policy_ids.join(", "))),
            ("reference values", ear.holdfast_reference_id.clone()),
            ("reasons", Some(reasons).filter(|r| !r.is_empty())),
        ]);
        let rows: Vec<Vec<String>> = ear
            .ear_trustworthiness_vector
            .iter()
            .map(|(claim, value)| vec![(*claim).to_owned(), value.to_string()])
            .collect();
        page.table(&["TRUSTWORTHINESS CLAIM", "VALUE"], &rows);
    }
}
