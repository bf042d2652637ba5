//! `holdfast-verifier`: the owner's side of Holdfast. See `--help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    holdfast_verifier::cli::main()
}
