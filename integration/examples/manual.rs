//! Writes the manual pages of every command, and completions for three shells:
//! `manual OUT` fills `OUT/man` and `OUT/completions/{bash,zsh,fish}`.
//! Run by `make deb`.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

fn main() -> Result<()> {
    let out = std::env::args_os().nth(1).context("usage: manual OUT")?;
    holdfast_integration::manual::write(&PathBuf::from(out))
}
