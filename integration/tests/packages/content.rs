//! Units, scripts, manual pages, completions, and README's five commands:
//! looked over without installing anything.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use holdfast_integration::{manual, oracle, skip};

/// `systemd-analyze security` counts exposure from 0 (none) to 100; systemd
/// calls what is above 50 exposed.
const EXPOSURE_MAX: &str = "25";

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files(folder: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(project().join("packaging").join(folder))? {
        found.push(entry?.path());
    }
    found.sort();
    ensure!(!found.is_empty(), "{folder}");
    Ok(found)
}

fn systemd_analyze(arguments: &[&str], unit: &Path) -> Result<Output> {
    Ok(Command::new("systemd-analyze")
        .args(arguments)
        .arg(unit)
        .env("SYSTEMD_COLORS", "0")
        .output()?)
}

/// Units in a folder of their own, which start what is on this machine: their
/// programs need not be installed for the rest to be looked at.
fn units() -> Result<(tempfile::TempDir, Vec<PathBuf>)> {
    let folder = tempfile::tempdir()?;
    let mut copies = Vec::new();
    for unit in files("systemd")? {
        let text = fs::read_to_string(&unit)?.replace("/usr/bin/holdfast-", "/bin/true -");
        let name = unit.file_name().context("a name")?.to_string_lossy();
        let copy = folder.path().join(name.replace("@.", "@name."));
        fs::write(&copy, text)?;
        copies.push(copy);
    }
    Ok((folder, copies))
}

#[test]
fn units_are_understood_by_systemd() -> Result<()> {
    if !oracle::present("systemd-analyze") {
        skip!("systemd-analyze is not installed");
    }
    let (_folder, units) = units()?;
    for unit in units {
        let output = systemd_analyze(&["verify", "--man=no", "--recursive-errors=no"], &unit)?;
        let said = String::from_utf8_lossy(&output.stderr);
        // Without systemd as init it also tells of this machine's own units.
        let name = unit.file_name().context("a name")?.to_string_lossy();
        let ours: Vec<&str> = said.lines().filter(|line| line.contains(&*name)).collect();
        ensure!(output.status.success() && ours.is_empty(), "{name}: {said}");
    }
    Ok(())
}

#[test]
fn services_are_locked_in() -> Result<()> {
    if !oracle::present("systemd-analyze") {
        skip!("systemd-analyze is not installed");
    }
    let (_folder, units) = units()?;
    for unit in units {
        if unit.extension().is_none_or(|e| e != "service") {
            continue;
        }
        let limit = match unit.to_string_lossy().contains("verifier") {
            true => EXPOSURE_MAX,
            // They need the TPM's device, and network where they carry it.
            false => "35",
        };
        let arguments = ["security", "--offline=true", "--no-pager", "--threshold"];
        let output = systemd_analyze(&[&arguments[..], &[limit]].concat(), &unit)?;
        let said = String::from_utf8_lossy(&output.stdout);
        let last = said.lines().last().unwrap_or_default().to_owned();
        println!("{}: {last}", unit.display());
        ensure!(
            output.status.success(),
            "{}: above {limit}: {said}",
            unit.display()
        );
    }
    Ok(())
}

#[test]
fn maintainer_scripts_are_shell_that_stops_at_errors() -> Result<()> {
    for package in ["deb/attester", "deb/verifier"] {
        let scripts = files(package)?;
        for script in &scripts {
            let text = fs::read_to_string(script)?;
            ensure!(
                text.starts_with("#!/bin/sh\n") && text.contains("\nset -e\n"),
                "{}",
                script.display()
            );
            let checked = Command::new("sh").arg("-n").arg(script).output()?;
            ensure!(
                checked.status.success(),
                "{}: {checked:?}",
                script.display()
            );
        }
        // State goes on purge, and nowhere else.
        let removing: Vec<String> = scripts
            .iter()
            .map(fs::read_to_string)
            .collect::<std::io::Result<Vec<_>>>()?
            .into_iter()
            .filter(|text| text.contains("rm -rf"))
            .collect();
        ensure!(removing.len() == 1, "{package}");
        let (_, purge) = removing[0].split_once("= purge ]").context("purge")?;
        ensure!(purge.contains("rm -rf /var/lib/holdfast"), "{package}");
    }
    Ok(())
}

/// `systemctl stop` of a service that a path unit starts would last until the
/// path's next change, and `disable` would be half a one.
#[test]
fn a_path_unit_is_stopped_and_disabled_with_its_service() -> Result<()> {
    let mut paths = 0;
    for path in files("systemd")? {
        if path.extension().is_none_or(|e| e != "path") {
            continue;
        }
        paths += 1;
        let name = path.file_name().context("a name")?.to_string_lossy();
        let service = fs::read_to_string(path.with_extension("service"))?;
        for setting in ["PropagatesStopTo", "Wants", "Also"] {
            let line = format!("{setting}={name}");
            ensure!(service.lines().any(|l| l == line), "{name}: no {line}");
        }
    }
    ensure!(paths == 1, "{paths}");
    Ok(())
}

/// Where units say that there is more to read, there is.
#[test]
fn what_units_name_as_documentation_is_in_the_package() -> Result<()> {
    let mut named = 0;
    for unit in files("systemd")? {
        let text = fs::read_to_string(&unit)?;
        let pages = text
            .lines()
            .filter_map(|l| l.strip_prefix("Documentation="));
        for page in pages.flat_map(str::split_whitespace) {
            let Some(page) = page.strip_prefix("file:/usr/share/doc/holdfast-") else {
                ensure!(page.starts_with("man:holdfast-"), "{page}");
                continue;
            };
            let (_, file) = page.split_once('/').context("a file")?;
            ensure!(
                project().join("docs").join(file).is_file(),
                "{}: {file}",
                unit.display()
            );
            named += 1;
        }
    }
    ensure!(named > 3, "{named}");
    Ok(())
}

/// What the packages name must be there; what is built is under target.
#[test]
fn assets_exist() -> Result<()> {
    for package in ["attester", "verifier"] {
        let folder = project().join(package);
        let text = fs::read_to_string(folder.join("Cargo.toml"))?;
        let mut count = 0;
        for line in text.lines() {
            let Some(rest) = line.trim().strip_prefix("[\"../") else {
                continue;
            };
            let (source, _) = rest.split_once('"').context("an asset")?;
            count += 1;
            let there = match source.strip_suffix("/*.md") {
                Some(folder) => project().join(folder).is_dir(),
                None => project().join(source).is_file(),
            };
            ensure!(
                source.starts_with("target/deb/") || there,
                "{package}: {source} is not there"
            );
        }
        ensure!(count > 5, "{package}: {count}");
        // Pages point to one another: all of them, or some lead nowhere.
        ensure!(text.contains("[\"../docs/*.md\", "), "{package}");
    }
    Ok(())
}

/// Each command has a page; each page and script is what its reader takes.
#[test]
fn every_command_has_a_manual_page_and_completions() -> Result<()> {
    fn names(command: &clap::Command, prefix: &str, into: &mut BTreeSet<String>) {
        let name = format!("{prefix}{}", command.get_name());
        for sub in command.get_subcommands().filter(|s| !s.is_hide_set()) {
            names(sub, &format!("{name}-"), into);
        }
        into.insert(format!("{name}.1"));
    }
    let out = tempfile::tempdir()?;
    manual::write(out.path())?;
    let mut wanted = BTreeSet::new();
    for program in manual::programs() {
        names(&program, "", &mut wanted);
    }
    ensure!(wanted.len() > 60, "{}", wanted.len());
    let man = out.path().join("man");
    for name in &wanted {
        let page = fs::read_to_string(man.join(name)).with_context(|| name.clone())?;
        ensure!(
            page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"),
            "{name}"
        );
    }
    for program in manual::programs() {
        let name = program.get_name();
        let bash = out.path().join("completions/bash").join(name);
        let checked = Command::new("bash").arg("-n").arg(&bash).output()?;
        ensure!(checked.status.success(), "{name}: {checked:?}");
        for file in [format!("zsh/_{name}"), format!("fish/{name}.fish")] {
            let text = fs::read_to_string(out.path().join("completions").join(&file))?;
            ensure!(text.contains(name), "{file}");
        }
    }
    Ok(())
}

/// README's five commands are what the programs take. `make deb-test` runs them.
#[test]
fn the_five_commands_are_understood() -> Result<()> {
    let script = project().join("scripts/five-commands.sh");
    let printed = oracle::succeed(&Command::new(&script), &Command::new(&script).output()?)?;
    let lines: Vec<&str> = printed.lines().collect();
    ensure!(lines.len() == 5, "{printed}");
    let mut understood = 0;
    for line in lines {
        let words: Vec<&str> = line
            .split_whitespace()
            .skip_while(|w| *w == "sudo")
            .collect();
        for program in manual::programs() {
            if words.first().is_some_and(|w| *w == program.get_name()) {
                // `init` takes the directory from /etc/holdfast/verifier.toml.
                let dir = match words[1] {
                    "init" => vec!["--dir", "/var/lib/holdfast-verifier"],
                    _ => vec![],
                };
                let words = words.iter().copied().chain(dir);
                program
                    .try_get_matches_from(words)
                    .context(line.to_owned())?;
                understood += 1;
            }
        }
    }
    ensure!(understood == 2, "init and enroll: {printed}");
    Ok(())
}
