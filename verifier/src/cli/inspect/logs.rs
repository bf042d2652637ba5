//! Boot logs and IMA logs, for people.

use std::collections::BTreeMap;

use super::{Page, Shown};
use crate::inspect::{
    boot_log::{BootLogReport, EventReport},
    ima_log::ImaLogReport,
};

/// Most mismatched entries named in text.
const MISMATCHES_SHOWN: usize = 20;

impl Shown for BootLogReport {
    fn write(&self, page: &mut Page) {
        let padding = self
            .padding
            .map(|padding| format!("{} bytes of {:02x} after it", padding.length, padding.byte));
        page.heading("Boot log");
        page.fields([
            ("format", Some(self.format.to_owned())),
            ("events", Some(self.events.len().to_string())),
            ("facts by bank", self.bank.map(str::to_owned)),
            ("filling", padding),
        ]);
        page.heading(
            "Events (types are claimed; only what is \"proven\" is, once the PCRs are quoted)",
        );
        let rows: Vec<Vec<String>> = self.events.iter().map(event).collect();
        page.table(&["#", "PCR", "CLAIMED TYPE", "DATA", "FACT", "SAYS"], &rows);
        for (bank, pcrs) in &self.pcrs {
            pcr_table(page, bank, pcrs);
        }
        page.heading("Findings");
        if self.findings.is_empty() {
            page.line("none");
        }
        let rows: Vec<Vec<String>> = self
            .findings
            .iter()
            .map(|finding| vec![finding.code.to_owned(), finding.text.clone()])
            .collect();
        page.table(&["CODE", "WHAT"], &rows);
    }
}

fn event(event: &EventReport) -> Vec<String> {
    let pcr = match event.pcr {
        u32::MAX => "-".to_owned(),
        pcr => pcr.to_string(),
    };
    let data = match event.digest_matches_data {
        Some(true) => "matches",
        Some(false) => "differs",
        None => "-",
    };
    let proven = if event.fact.proven {
        "proven"
    } else {
        "claimed"
    };
    vec![
        event.index.to_string(),
        pcr,
        event.claimed_type.clone(),
        data.to_owned(),
        proven.to_owned(),
        format!("{}: {}", event.fact.kind, event.fact.text),
    ]
}

fn pcr_table(page: &mut Page, bank: &str, pcrs: &BTreeMap<u32, String>) {
    if pcrs.is_empty() {
        return;
    }
    page.heading(&format!("PCRs after replay, {bank}"));
    let rows: Vec<Vec<String>> = pcrs
        .iter()
        .map(|(pcr, value)| vec![pcr.to_string(), value.clone()])
        .collect();
    page.table(&["PCR", "VALUE"], &rows);
}

impl Shown for ImaLogReport {
    fn write(&self, page: &mut Page) {
        page.heading("IMA log");
        let templates: Vec<String> = self
            .templates
            .iter()
            .map(|(template, count)| format!("{count} {template}"))
            .collect();
        page.fields([
            ("format", Some(self.format.to_owned())),
            ("entries", Some(self.entries.to_string())),
            ("templates", Some(templates.join(", "))),
            ("violations", Some(self.violations.to_string())),
            ("signed (unverified)", Some(self.signed.to_string())),
            ("mismatched", Some(mismatched(&self.mismatched))),
        ]);
        for (bank, pcrs) in &self.pcrs {
            pcr_table(page, bank, pcrs);
        }
        for (bank, pcrs) in &self.pcrs_sha1_padded {
            pcr_table(page, &format!("{bank} (kernel before 5.8)"), pcrs);
        }
        let Some(list) = &self.list else { return };
        page.heading("Entries");
        let rows: Vec<Vec<String>> = list
            .iter()
            .map(|entry| {
                let state = match (entry.violation, entry.digest_matches_data) {
                    (true, _) => "violation",
                    (false, true) => "matches",
                    (false, false) => "MISMATCH",
                };
                vec![
                    entry.index.to_string(),
                    entry.template.clone(),
                    state.to_owned(),
                    entry.name.clone().unwrap_or_default(),
                    entry.file_digest.clone().unwrap_or_default(),
                ]
            })
            .collect();
        page.table(&["#", "TEMPLATE", "DIGEST", "NAME", "FILE DIGEST"], &rows);
    }
}

fn mismatched(indices: &[u64]) -> String {
    if indices.is_empty() {
        return "none".to_owned();
    }
    let shown: Vec<String> = indices
        .iter()
        .take(MISMATCHES_SHOWN)
        .map(u64::to_string)
        .collect();
    let more = if indices.len() > MISMATCHES_SHOWN {
        ", …"
    } else {
        ""
    };
    format!("{}: entry {}{more}", indices.len(), shown.join(", "))
}
