//! Manual pages and shell completions, made from the commands themselves.

use std::fs;
use std::path::Path;

use anyhow::Result;
use clap_complete::Shell;

/// Both programs, with all their commands.
#[must_use]
pub fn programs() -> [clap::Command; 2] {
    [
        holdfast_attester::cli::command(),
        holdfast_verifier::cli::command(),
    ]
}

/// Writes `out/man/NAME.1` for every command, and
/// `out/completions/{bash,zsh,fish}`, named as each shell looks for them.
///
/// # Errors
/// Where a file cannot be written.
pub fn write(out: &Path) -> Result<()> {
    let man = out.join("man");
    fs::create_dir_all(&man)?;
    for mut program in programs() {
        clap_mangen::generate_to(program.clone(), &man)?;
        let name = program.get_name().to_owned();
        for (shell, folder) in [
            (Shell::Bash, "bash"),
            (Shell::Zsh, "zsh"),
            (Shell::Fish, "fish"),
        ] {
            let folder = out.join("completions").join(folder);
            fs::create_dir_all(&folder)?;
            let file = match shell {
                Shell::Zsh => format!("_{name}"),
                Shell::Fish => format!("{name}.fish"),
                _ => name.clone(),
            };
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut program, &name, &mut script);
            fs::write(folder.join(file), script)?;
        }
    }
    Ok(())
}
