//! A27: what a device says ends up on the owner's terminal, in the log, in
//! JSON and in spreadsheets. A hostile gateway puts terminal escapes, HTML and
//! a formula into what it measures: every reader shows them inert.

use std::process::Command;

use anyhow::{Result, ensure};
use holdfast_integration::programs::program;
use holdfast_integration::{Scene, story};
use holdfast_tpm_sim::BootImage;

/// Clears the screen, sets the window's title, goes back over the line, hides
/// what follows from right-to-left readers; and markup, and a formula.
const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\r\u{202e}<script>alert(1)</script> \
                       =cmd|'/c calc'!A1";

#[test]
fn adv_a27_what_a_gateway_measures_is_inert_wherever_it_is_shown() -> Result<()> {
    let mut scene = Scene::new()?;
    let id = story::enrol(&mut scene.gateway, &scene.deployment, "default")?;
    let mut image = BootImage::golden()
        .with_kernel(&format!("6.1.0{HOSTILE}"))
        .with_command_line(&format!("root=/dev/sda1 {HOSTILE}"));
    image.firmware = format!("Evil {HOSTILE}");
    scene
        .gateway
        .with_sim(|sim| sim.reboot_with(&image.boot()))?;
    let told = story::refused(&mut scene.gateway)?;
    inert("the attester's output", &told, false)?;

    for command in [
        &["gateway", "show", &id][..],
        &["gateway", "list"],
        &["reference", "diff", &id],
        &["reference", "list"],
    ] {
        let shown = scene.deployment.run(command)?;
        inert(&command.join(" "), &shown, false)?;
        let json = [command, &["--json"]].concat();
        let shown = scene.deployment.run(&json)?;
        inert(&json.join(" "), &shown, true)?;
    }
    // The words did come through, escaped: the test shows what it is about.
    let diff = scene.deployment.run(&["reference", "diff", &id])?;
    ensure!(diff.contains("Evil"), "{diff}");
    inert("the log", &scene.deployment.log(), false)?;

    let log = scene.gateway.sim().boot_log();
    let log = log.to_str().unwrap_or_default();
    for arguments in [
        &["inspect", "boot-log", log][..],
        &["inspect", "boot-log", log, "--json"],
    ] {
        let output = Command::new(program("holdfast-verifier")?)
            .args(arguments)
            .output()?;
        let json = arguments.contains(&"--json");
        inert(&arguments.join(" "), &story::printed(&output), json)?;
    }

    scene
        .gateway
        .with_sim(|sim| sim.reboot_with(&BootImage::golden().boot()))?;
    scene.deployment.run(&["gateway", "resume", &id])?;
    story::recover(&mut scene.gateway)?;
    story::attest(&mut scene.gateway)
}

/// No control character but the newline, no bidirectional override. In JSON a
/// reader's decoder brings back what was escaped, so there the escapes must be
/// a second time: the decoded strings are inert too.
fn inert(what: &str, shown: &str, json: bool) -> Result<()> {
    fn hostile(c: char) -> bool {
        (c.is_control() && c != '\n' && c != '\t') || ('\u{202a}'..='\u{202e}').contains(&c)
    }
    ensure!(!shown.contains(hostile), "{what}: {shown:?}");
    if json {
        let decoded: serde_json::Value = serde_json::from_str(shown)?;
        ensure!(!holds(&decoded, hostile), "{what}, decoded: {decoded}");
    }
    Ok(())
}

fn holds(value: &serde_json::Value, hostile: fn(char) -> bool) -> bool {
    match value {
        serde_json::Value::String(text) => text.contains(hostile),
        serde_json::Value::Array(items) => items.iter().any(|item| holds(item, hostile)),
        serde_json::Value::Object(fields) => fields
            .iter()
            .any(|(key, item)| key.contains(hostile) || holds(item, hostile)),
        _ => false,
    }
}
