//! Where the programs under test are: beside the test's own executable.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// The path of `holdfast-verifier`, `holdfast-attester` or `holdfast-sim`, as
/// built in the profile of the running test (`target/debug`), or in the folder
/// named by `HOLDFAST_BIN_DIR`. Benches, which cargo builds in the release
/// profile, fall back to the dev profile's.
///
/// # Errors
/// Names `make build` where the program has not been built.
pub fn program(name: &str) -> Result<PathBuf> {
    let mut tried = Vec::new();
    for folder in folders()? {
        let path = folder.join(name);
        if path.is_file() {
            return Ok(path);
        }
        tried.push(path.display().to_string());
    }
    bail!(
        "{name} is not built: run `make build` first (looked for {})",
        tried.join(", ")
    )
}

fn folders() -> Result<Vec<PathBuf>> {
    if let Some(folder) = std::env::var_os("HOLDFAST_BIN_DIR") {
        return Ok(vec![folder.into()]);
    }
    let test = std::env::current_exe().context("the path of the running test")?;
    // target/PROFILE/deps/TEST-HASH
    let profile = test
        .ancestors()
        .nth(2)
        .with_context(|| format!("{} is not in a target directory", test.display()))?;
    let mut folders = vec![profile.to_path_buf()];
    if let Some(target) = profile.parent() {
        folders.push(target.join("debug"));
    }
    Ok(folders)
}
