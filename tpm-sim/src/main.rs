//! `holdfast-sim`: simulated gateways, and a demonstration of all of Holdfast.
//!
//! Exit codes: 0 done, 1 it could not be done or did not go as it must, 2 bad
//! input or usage, 130 interrupted.

/// `println!`, but for a reader that went away (`… | head`): nothing is told to
/// nobody, and what runs is not ended by a panic.
macro_rules! tell {
    ($($words:tt)*) => {{
        let _ = std::io::Write::write_fmt(
            &mut std::io::stdout(),
            format_args!("{}\n", format_args!($($words)*)),
        );
    }};
}

mod demo;
mod gateway_command;
mod interrupt;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use holdfast_tpm_sim::SimError;

/// Simulated gateways for Holdfast: a software TPM whose endorsement key is
/// certified by a simulated vendor, booted from a measured boot.
///
/// For tests and demonstrations. Trust nothing that a simulated vendor certified.
#[derive(Debug, Parser)]
#[command(name = "holdfast-sim", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one gateway in the foreground until Ctrl-C.
    Gateway(gateway_command::Arguments),
    /// Play the whole story: a gateway earns its identity, uses it, loses it.
    Demo(demo::Arguments),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = interrupt::watch() {
        eprintln!("holdfast-sim: cannot watch for Ctrl-C: {error}");
        return ExitCode::FAILURE;
    }
    let done = match cli.command {
        Command::Gateway(arguments) => gateway_command::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
    };
    let Err(failure) = done else {
        return ExitCode::SUCCESS;
    };
    eprintln!("holdfast-sim: {failure}");
    failure.exit_code()
}

/// Why a command ended before its end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// It did not work, or not as it must.
    #[error("{0}")]
    Failed(String),
    /// What was asked for cannot be.
    #[error("{0}")]
    BadInput(String),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Failed(_) => 1,
            Self::BadInput(_) => 2,
            Self::Interrupted => 130,
        })
    }
}

impl From<SimError> for Failure {
    fn from(error: SimError) -> Self {
        match error {
            SimError::Path { .. } => Self::BadInput(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}
