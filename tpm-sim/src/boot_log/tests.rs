//! The log against an independent parser, and its variants against each other.

use std::collections::BTreeSet;
use std::process::Command;

use super::*;

/// PCRs whose SHA-256 value differs between two boots.
fn changed(left: &BootLog, right: &BootLog) -> BTreeSet<u32> {
    let (left, right) = (left.replay(HashAlg::Sha256), right.replay(HashAlg::Sha256));
    assert_eq!(
        left.keys().collect::<Vec<_>>(),
        right.keys().collect::<Vec<_>>()
    );
    left.into_iter()
        .filter(|(pcr, value)| right.get(pcr) != Some(value))
        .map(|(pcr, _)| pcr)
        .collect()
}

#[test]
fn golden_boot_measures_all_that_the_default_selection_quotes() {
    let pcrs: Vec<_> = BootImage::golden()
        .boot()
        .replay(HashAlg::Sha256)
        .into_keys()
        .collect();
    assert_eq!(pcrs, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14]);
}

#[test]
fn each_variant_changes_its_own_pcrs() {
    let golden = BootImage::golden();
    let log = golden.boot();
    assert_eq!(changed(&log, &golden.boot()), BTreeSet::new());
    let kernel = golden.clone().with_kernel("6.1.0-99-amd64").boot();
    assert_eq!(changed(&log, &kernel), BTreeSet::from([4, 8, 9]));
    let command_line = golden.clone().with_command_line("init=/bin/sh").boot();
    assert_eq!(changed(&log, &command_line), BTreeSet::from([8, 9]));
    assert_eq!(
        changed(&log, &golden.clone().with_grown_dbx().boot()),
        BTreeSet::from([7])
    );
    assert_eq!(
        changed(&log, &golden.without_secure_boot().boot()),
        BTreeSet::from([7])
    );
}

#[test]
fn pcr_6_holds_one_separator() {
    let values = BootImage::golden().boot().replay(HashAlg::Sha256);
    // The same in every log of the corpus: H(0…0 ‖ H(00000000)).
    assert_eq!(
        values[&6].to_string(),
        "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969"
    );
}

#[test]
fn tpm2_eventlog_reads_the_log_and_computes_the_same_pcrs() {
    let log = BootImage::golden().boot();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("boot.log");
    std::fs::write(&file, log.encode()).unwrap();
    let output = Command::new("tpm2_eventlog")
        .arg(&file)
        .output()
        .expect("tpm2-tools is installed");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    assert!(
        !complaints.contains("ERROR") && !complaints.contains("WARN"),
        "{complaints}"
    );
    let yaml = String::from_utf8(output.stdout).unwrap();
    assert_eq!(yaml.matches("- EventNum:").count(), log.events.len() + 1);
    for name in [
        "SecureBoot",
        "PK",
        "KEK",
        "dbx",
        "BootOrder",
        "MokListTrusted",
        "kernel_cmdline: ",
    ] {
        assert!(yaml.contains(name), "{name} is not in:\n{yaml}");
    }
    let (_, pcrs) = yaml
        .split_once("\npcrs:")
        .expect("tpm2_eventlog prints PCR values");
    for bank in BANKS {
        let (_, section) = pcrs
            .split_once(&format!("{bank}:\n"))
            .expect("each bank is there");
        for (pcr, value) in log.replay(bank) {
            let line = format!("    {pcr:<3}: 0x{value}");
            // The tool drops leading zeros of a value's first octet.
            let padded = line.replace("0x0", "0x");
            assert!(
                section.contains(&line) || section.contains(&padded),
                "{line} is not in:\n{pcrs}"
            );
        }
    }
}

#[test]
fn reference_values_accept_each_boot_once() {
    let golden = BootImage::golden();
    let (old, new) = (golden.boot(), golden.with_kernel("6.1.0-32-amd64").boot());
    let document = reference_values(&[&old, &new, &old]);
    assert_eq!(document["pcrs"]["sha256"]["7"].as_array().unwrap().len(), 1);
    assert_eq!(document["pcrs"]["sha256"]["4"].as_array().unwrap().len(), 2);
    let values = old.replay(HashAlg::Sha256);
    assert_eq!(document["pcrs"]["sha256"]["4"][0], values[&4].to_string());
}
