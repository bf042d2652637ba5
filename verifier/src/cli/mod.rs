//! The command line: `holdfast-verifier`.
//!
//! Exit codes: 0 done, 1 refused (with the reason), 2 bad input or usage.
//! Settings come from flags, then `HOLDFAST_*`, then `config.toml`.

mod client;
mod endorsement;
mod gateway;
mod init;
mod inspect;
mod output;
mod owner;
mod policy;
mod proposal;
mod reference;
mod serve;
#[cfg(test)]
mod tests;
mod token;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

/// Why a command did not do what it was asked: decides the exit code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Exit code 1: understood, and refused or failed.
    Refused(anyhow::Error),
    /// Exit code 2: what was given cannot be used.
    Input(anyhow::Error),
}

impl Failure {
    /// What is said of it: each cause once, inert.
    fn text(&self) -> String {
        let (Self::Refused(error) | Self::Input(error)) = self;
        output::failure(error)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

/// Makes an error one about input.
pub(crate) fn input(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Input(error.into())
}

type Outcome = Result<(), Failure>;

const EXAMPLES: &str = "\
Examples:
  holdfast-verifier init --dir /var/lib/holdfast --server-name verifier.example
  holdfast-verifier serve --dir /var/lib/holdfast
  holdfast-verifier endorsement import --dir /var/lib/holdfast vendor-roots/
  holdfast-verifier reference import --dir /var/lib/holdfast golden.json
  holdfast-verifier policy apply --dir /var/lib/holdfast policy.rego
  holdfast-verifier token create --dir /var/lib/holdfast --output gateway.bundle
  holdfast-verifier gateway list --dir /var/lib/holdfast
  holdfast-verifier inspect boot-log /sys/kernel/security/tpm0/binary_bios_measurements

All commands but init, serve, inspect, owner and policy check|test talk to the running server over DIR/admin.sock.
Exit codes: 0 done, 1 refused with the reason, 2 bad input or usage.
Settings: flags, then HOLDFAST_* variables, then DIR/config.toml.";

/// Owner's side of Holdfast: endorses gateways' TPMs, appraises their state,
/// and grants LDevIDs to those that pass.
#[derive(Debug, Parser)]
#[command(name = "holdfast-verifier", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new verifier: CA, keys, configuration, all in one directory.
    Init(init::InitArgs),
    /// Serve gateways until SIGTERM or SIGINT.
    Serve(serve::ServeArgs),
    /// Join tokens, which admit new gateways.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// TPM vendors' CA certificates, which endorse EKs.
    #[command(subcommand)]
    Endorsement(endorsement::EndorsementCommand),
    /// Reference values: which measurements a class of gateways may have.
    #[command(subcommand)]
    Reference(reference::ReferenceCommand),
    /// The appraisal policy: what a gateway must show to be affirmed.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// The owner's key, which signs what decides appraisals.
    #[command(subcommand)]
    Owner(owner::OwnerCommand),
    /// Gateways on record.
    #[command(subcommand)]
    Gateway(gateway::GatewayCommand),
    /// Show and judge files, offline: logs, quotes, certificates, claims,
    /// results.
    #[command(subcommand)]
    Inspect(inspect::InspectCommand),
}

/// Where the verifier lives.
#[derive(Debug, Clone, Args)]
struct DirArg {
    /// The verifier's directory, as made by `init`.
    #[arg(long, env = "HOLDFAST_DIR", value_name = "DIR")]
    dir: PathBuf,
}

/// How data is printed.
#[derive(Debug, Clone, Copy, Args)]
struct JsonArg {
    /// Print one JSON value for programs instead of text for people.
    #[arg(long)]
    json: bool,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("holdfast-verifier: cannot start: {error}");
            return ExitCode::from(1);
        }
    };
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Init(args) => init::run(&args),
            Command::Serve(args) => serve::run(&args).await,
            Command::Token(command) => token::run(command).await,
            Command::Endorsement(command) => endorsement::run(command).await,
            Command::Reference(command) => reference::run(command).await,
            Command::Policy(command) => policy::run(command).await,
            Command::Owner(command) => owner::run(command),
            Command::Gateway(command) => gateway::run(command).await,
            Command::Inspect(command) => inspect::run(command),
        }
    });
    // Work that was cut off must not hold the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Refused(error)) => {
            eprintln!("holdfast-verifier: {}", output::failure(&error));
            ExitCode::from(1)
        }
        Err(Failure::Input(error)) => {
            eprintln!("holdfast-verifier: {}", output::failure(&error));
            ExitCode::from(2)
        }
    }
}
