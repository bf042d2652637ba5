//! The logs behind the PCRs, read as the Verifier will read them.

use std::path::Path;

use holdfast_proto::boot_log::BootLog;
use holdfast_proto::claims::Purpose;
use holdfast_proto::ima_log::{Extend, ImaLog, Match, Replay};
use holdfast_proto::tpm::{Digest, HashAlg, PcrSelection, PcrSet};

use super::Findings;
use crate::evidence::{BootLogError, ImaLogError, Platform, read_ima_log};
use crate::tpm::Tpm;

/// The bank that a Verifier asks for.
const BANK: HashAlg = HashAlg::Sha256;
/// The PCRs of the firmware, which nothing extends once the system runs.
const BOOT_PCRS: std::ops::RangeInclusive<u32> = 0..=7;
const IMA_PCR: u32 = 10;

pub(super) fn examine_boot_log(path: &Path, tpm: Option<&Tpm>, findings: &mut Findings) {
    const SUBJECT: &str = "boot log";
    let log = match Platform::observe(path) {
        Ok(Platform {
            boot_log: Some(log),
            ..
        }) => log,
        Ok(_) => {
            findings.warn(
                SUBJECT,
                format!("none at {}", path.display()),
                "enrolment works without; mount securityfs, or name a file by --boot-log",
            );
            return;
        }
        Err(error @ BootLogError::Read { .. }) => {
            findings.lack(
                SUBJECT,
                error.to_string(),
                "run as root, or name another file by --boot-log",
            );
            return;
        }
        Err(error) => {
            findings.lack(
                SUBJECT,
                error.to_string(),
                "name another file by --boot-log",
            );
            return;
        }
    };
    let parsed = match BootLog::parse(&log) {
        Ok(parsed) => parsed,
        Err(error) => {
            findings.warn(
                SUBJECT,
                format!("{} cannot be read: {error}", path.display()),
                "what it says will count for nothing; look at it with holdfast-verifier inspect boot-log, and report it to the firmware's vendor",
            );
            return;
        }
    };
    findings.ok(
        SUBJECT,
        format!(
            "{} bytes, {} events at {}",
            log.len(),
            parsed.events().len(),
            path.display()
        ),
    );
    // Of a bank without a digest in it the log says nothing.
    if !parsed.banks().any(|bank| bank == BANK) {
        findings.warn(
            SUBJECT,
            "it has no sha256 digests: it explains no PCR that is quoted",
            "enable the SHA-256 bank in the firmware's TPM settings, then reboot",
        );
        return;
    }
    let Some(held) = tpm.and_then(|tpm| pcrs(tpm, BOOT_PCRS)) else {
        return;
    };
    let replayed = parsed.replay(BANK);
    let differ: Vec<String> = held
        .iter()
        .filter(|(pcr, value)| replayed.value(*pcr) != Some(value))
        .map(|(pcr, _)| pcr.to_string())
        .collect();
    if differ.is_empty() {
        findings.ok(SUBJECT, "it leads to what PCRs 0 to 7 hold");
    } else {
        findings.warn(
            SUBJECT,
            format!("it does not lead to what PCR {} holds", differ.join(", ")),
            "it is of another boot or incomplete, and proves nothing about these PCRs: reboot, or name the right log by --boot-log",
        );
    }
}

pub(super) fn examine_ima_log(path: &Path, tpm: Option<&Tpm>, findings: &mut Findings) {
    const SUBJECT: &str = "IMA log";
    // Before the log, which only grows: so it holds all that the PCR does.
    let held = tpm
        .and_then(|tpm| pcrs(tpm, IMA_PCR..=IMA_PCR))
        .and_then(|values| values.into_iter().next());
    let log = match read_ima_log(path, None, 0, Purpose::Enrol) {
        Ok(Some(log)) => log.content,
        Ok(None) => {
            findings.ok(
                SUBJECT,
                format!(
                    "none at {}: the kernel measures no files, and a class that asks for PCR 10 will see none",
                    path.display()
                ),
            );
            return;
        }
        Err(error @ ImaLogError::TooLong { .. }) => {
            findings.warn(
                SUBJECT,
                error.to_string(),
                "enrol earlier in the boot, or have the kernel's IMA policy measure less",
            );
            return;
        }
        Err(error) => {
            findings.warn(
                SUBJECT,
                error.to_string(),
                "where PCR 10 is asked for: run as root, or name another file by --ima-log",
            );
            return;
        }
    };
    if let Some(error) = ImaLog::new(&log).entries().find_map(Result::err) {
        findings.warn(
            SUBJECT,
            format!("{} cannot be read: {error}", path.display()),
            "what it says will count for nothing; look at it with holdfast-verifier inspect ima-log",
        );
        return;
    }
    findings.ok(
        SUBJECT,
        format!(
            "{} bytes, {} entries at {}",
            log.len(),
            ImaLog::new(&log).entries().count(),
            path.display()
        ),
    );
    let Some((_, held)) = held else { return };
    let leads = [Extend::Native, Extend::Sha1Padded].into_iter().any(|way| {
        let replay = Replay::from_boot(BANK, way).until(ImaLog::new(&log), IMA_PCR, &held, |_| ());
        matches!(replay, Ok(Match::Reached { .. }))
    });
    if leads {
        findings.ok(SUBJECT, "it leads to what PCR 10 holds");
    } else {
        findings.warn(
            SUBJECT,
            "it does not lead to what PCR 10 holds",
            "a class that asks for PCR 10 will refuse it: is it this boot's log, and does nothing else extend PCR 10?",
        );
    }
}

/// None where the TPM does not say: [`super::examine`] has told why.
fn pcrs(tpm: &Tpm, indices: impl IntoIterator<Item = u32>) -> Option<Vec<(u32, Digest)>> {
    let selection = PcrSelection {
        hash: BANK,
        pcrs: PcrSet::from_indices(indices).ok()?,
    };
    tpm.read_pcrs(&selection)
        .ok()?
        .into_iter()
        .map(|(pcr, value)| Some((pcr, Digest::from_bytes(BANK, &value).ok()?)))
        .collect()
}
