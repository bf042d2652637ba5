//! `target/bench/summary.json`: each figure, its bar, and whether it is met.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::wire::Wire;

/// Bars of the benches: a ratio above is reported as missed.
const QUOTE_OVER_VERIFY: f64 = 1.10;
const REATTEST_OVER_FLOOR: f64 = 1.5;
const LOG_REPLAY: f64 = 1.6;
const ENROLL_TPM_RATIO: f64 = 1.15;
/// Bytes of the messages of one re-attestation (ARCHITECTURE §5).
const REATTEST_MESSAGES: usize = 2560;

/// Writes the summary, and prints it.
pub(crate) fn write(wire: &Wire) -> Result<()> {
    let target = target()?;
    let summary = json!({
        "quote_over_verify": ratio(&target, "quote_over_verify", QUOTE_OVER_VERIFY)?,
        "reattest_over_floor": ratio(&target, "reattest_over_floor", REATTEST_OVER_FLOOR)?,
        "boot_log_replay": ratio(&target, "boot_log_replay", LOG_REPLAY)?,
        "ima_replay": ratio(&target, "ima_replay", LOG_REPLAY)?,
        "enroll_tpm_ratio": {
            "ratio": wire.enroll_tpm_ratio,
            "bar": ENROLL_TPM_RATIO,
            "met": wire.enroll_tpm_ratio <= ENROLL_TPM_RATIO,
            "tpm_milliseconds": wire.tpm_milliseconds,
        },
        "wire_enroll": wire.enroll_bytes,
        "wire_reattest": wire.reattest_bytes,
        "wire_reattest_messages": {
            "bytes": wire.reattest_messages,
            "bar": REATTEST_MESSAGES,
            "met": wire.reattest_messages <= REATTEST_MESSAGES,
        },
    });
    let folder = target.join("bench");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(
        folder.join("summary.json"),
        serde_json::to_string_pretty(&summary)? + "\n",
    )?;
    println!("{summary:#}");
    Ok(())
}

/// Median of `holdfast` ÷ median of `floor`, as criterion has just written
/// them.
fn ratio(target: &Path, group: &str, bar: f64) -> Result<Value> {
    let holdfast = median(target, group, "holdfast")?;
    let floor = median(target, group, "floor")?;
    let ratio = holdfast / floor;
    Ok(json!({
        "ratio": ratio,
        "bar": bar,
        "met": ratio <= bar,
        "holdfast_nanoseconds": holdfast,
        "floor_nanoseconds": floor,
    }))
}

fn median(target: &Path, group: &str, function: &str) -> Result<f64> {
    let path = target
        .join("criterion")
        .join(group)
        .join(function)
        .join("new/estimates.json");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let estimates: Value = serde_json::from_str(&text)?;
    estimates["median"]["point_estimate"]
        .as_f64()
        .with_context(|| format!("no median in {}", path.display()))
}

/// The target directory that this program was built in.
fn target() -> Result<PathBuf> {
    // target/release/deps/figures-…
    let program = std::env::current_exe()?;
    program
        .ancestors()
        .nth(3)
        .map(Path::to_path_buf)
        .context("not run by cargo bench")
}
