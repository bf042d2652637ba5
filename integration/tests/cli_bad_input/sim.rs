//! The simulator's arguments and folders.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use holdfast_integration::programs::program;

use crate::judge::{BAD_INPUT, REFUSED, folder, printed, refused, text};

/// `holdfast-sim`: no process is left behind either.
#[test]
fn sim_bad_input() -> Result<()> {
    let folder = folder()?;
    let file = folder.path().join("file");
    std::fs::write(&file, "precious")?;
    let (file, dir) = (
        text(&file)?.to_owned(),
        text(&folder.path().join("gateway"))?.to_owned(),
    );
    let usage: &[(&[&str], &str)] = &[
        (&[], "Usage: holdfast-sim"),
        (&["nonsense"], "unrecognized subcommand 'nonsense'"),
        (&["gateway"], "--dir <DIR>"),
        (&["demo"], "--out <DIR>"),
        (
            &["gateway", "--dir", &dir, "--tcp", "nowhere"],
            "'--tcp <127.0.0.1:PORT>'",
        ),
        (
            &["gateway", "--dir", &dir, "--tcp", "0.0.0.0:0"],
            "served on 127.0.0.1 only",
        ),
        (
            &["gateway", "--dir", &dir, "--ek-cert", "dsa"],
            "'--ek-cert <EK_CERT>'",
        ),
        (
            &[
                "gateway",
                "--dir",
                &dir,
                "--tcp",
                "127.0.0.1:0",
                "--unix",
                "/x",
            ],
            "cannot be used with",
        ),
        (
            &["demo", "--out", &dir, "--bin-dir", "/nonexistent"],
            "--bin-dir",
        ),
    ];
    for (arguments, words) in usage {
        let mut command = Command::new(program("holdfast-sim")?);
        refused(command.args(*arguments), BAD_INPUT, &[words])?;
    }
    for arguments in [
        &["gateway", "--dir", &file][..],
        &["gateway", "--dir", "/proc/self/nowhere/gateway"],
        &["gateway", "--dir", &dir, "--vendor-ca", &file],
        &["demo", "--out", &file],
    ] {
        let mut command = Command::new(program("holdfast-sim")?);
        let output = command.args(arguments).stdin(Stdio::null()).output()?;
        ensure!(
            matches!(output.status.code(), Some(REFUSED | BAD_INPUT)),
            "{arguments:?}: {}",
            printed(&output)
        );
        let path = arguments.last().context("a path")?;
        ensure!(
            String::from_utf8_lossy(&output.stderr).contains(path),
            "{arguments:?}: {}",
            printed(&output)
        );
    }
    ensure!(std::fs::read(&file)? == b"precious");
    Ok(())
}
