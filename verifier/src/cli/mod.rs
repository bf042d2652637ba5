//! The command line: `holdfast-verifier`.
//!
//! Exit codes: 0 done, 1 refused (with the reason), 2 bad input or usage.
//! Settings come from flags, then `HOLDFAST_*`, then `config.toml`.

mod admission;
mod audit;
mod backup;
mod ca;
mod client;
mod endorsement;
mod gateway;
mod init;
mod inspect;
mod key;
mod oem;
mod operator;
mod output;
mod owner;
mod policy;
mod proposal;
mod reference;
mod seal;
mod secret;
mod serve;
#[cfg(test)]
mod tests;
mod token;
mod watch;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::config::Machine;

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
  holdfast-verifier key rotate --dir /var/lib/holdfast result
  holdfast-verifier backup --dir /var/lib/holdfast --output holdfast.tar
  holdfast-verifier inspect boot-log /sys/kernel/security/tpm0/binary_bios_measurements

All commands but init, serve, backup, restore, inspect, owner, ca, key, oem
init|challenge|issue|issued and policy check|test talk to the running
server: over DIR/admin.sock, or from elsewhere with --admin-server, --identity and --server-ca.
Exit codes: 0 done, 1 refused with the reason, 2 bad input or usage.
Settings: flags, then HOLDFAST_* variables, then DIR/config.toml. Where
/etc/holdfast/verifier.toml names the directory, --dir can be left out.";

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
    Init(Box<init::InitArgs>),
    /// Serve gateways until SIGTERM or SIGINT.
    Serve(serve::ServeArgs),
    /// Join tokens, which admit new gateways.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// CA certificates of TPM vendors, which endorse EKs, and of OEMs, which
    /// endorse IAKs.
    #[command(subcommand)]
    Endorsement(endorsement::EndorsementCommand),
    /// OEMs: which of their products may enrol by serial number.
    #[command(subcommand)]
    Oem(oem::OemCommand),
    /// Reference values: which measurements a class of gateways may have.
    #[command(subcommand)]
    Reference(reference::ReferenceCommand),
    /// The appraisal policy: what a gateway must show to be affirmed.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// The owner's key, which signs what decides appraisals.
    #[command(subcommand)]
    Owner(owner::OwnerCommand),
    /// Who may enrol without a token: named devices, and those that wait for
    /// approval.
    #[command(subcommand)]
    Admission(admission::AdmissionCommand),
    /// Sealed secrets: which boot states they come out in.
    #[command(subcommand)]
    Seal(seal::SealCommand),
    /// Secrets that the gateways of a class get, encrypted to their TPMs.
    #[command(subcommand)]
    Secret(secret::SecretCommand),
    /// Gateways on record.
    #[command(subcommand)]
    Gateway(gateway::GatewayCommand),
    /// People and programs that call the verifier, and their roles.
    #[command(subcommand)]
    Operator(operator::OperatorCommand),
    /// The audit log: who did what, and what was refused.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// The CAs: their ends, and the issuing CA's succession.
    #[command(subcommand)]
    Ca(ca::CaCommand),
    /// The verifier's keys, and from one generation to the next.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Put everything that a verifier is into one file, also while it serves.
    Backup(backup::BackupArgs),
    /// Make a verifier's directory from a backup.
    Restore(backup::RestoreArgs),
    /// Say that what was revoked, denied or removed after a restored backup has
    /// been so again: gateways enrol and recover from then on.
    ConfirmRestore(backup::ConfirmArgs),
    /// What happens to gateways, as it happens.
    Watch(watch::WatchArgs),
    /// Show and judge files, offline: logs, quotes, certificates, claims,
    /// results.
    #[command(subcommand)]
    Inspect(inspect::InspectCommand),
}

/// Where the verifier is: its directory, its socket, or its address.
#[derive(Debug, Clone, Default, Args)]
struct DirArg {
    /// The verifier's directory, as made by `init`.
    #[arg(long, env = "HOLDFAST_DIR", value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Its admin socket, where that is not in the directory.
    #[arg(
        long = "admin-socket",
        env = "HOLDFAST_ADMIN_SOCKET",
        value_name = "FILE"
    )]
    socket: Option<PathBuf>,
    /// Its door for operators, over the network; with --identity and
    /// --server-ca.
    #[arg(
        id = "admin_server",
        long = "admin-server",
        env = "HOLDFAST_ADMIN_SERVER",
        value_name = "HOST:PORT"
    )]
    server: Option<String>,
    /// The name in its server certificate, where that is not HOST.
    #[arg(
        id = "admin_server_name",
        long = "admin-server-name",
        env = "HOLDFAST_ADMIN_SERVER_NAME",
        value_name = "NAME"
    )]
    server_name: Option<String>,
    /// Your key and certificate, as `operator issue` wrote them.
    #[arg(long, env = "HOLDFAST_IDENTITY", value_name = "FILE")]
    identity: Option<PathBuf>,
    /// The CA of the verifier's server certificate: its server-ca.pem.
    #[arg(long = "server-ca", env = "HOLDFAST_SERVER_CA", value_name = "FILE")]
    server_ca: Option<PathBuf>,
}

/// How data is printed.
#[derive(Debug, Clone, Copy, Args)]
struct JsonArg {
    /// Print one JSON value for programs instead of text for people.
    #[arg(long)]
    json: bool,
}

/// The variable that stands for `--dir`, where that is the verifier's directory.
const DIR_VARIABLE: &str = "HOLDFAST_DIR";

/// All commands and their arguments, for manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// The same, where the machine's verifier is at `dir`.
fn command_at(dir: Option<&Path>) -> clap::Command {
    fn with_default(command: clap::Command, dir: &'static str) -> clap::Command {
        let takes = |arg: &clap::Arg| arg.get_env().is_some_and(|name| name == DIR_VARIABLE);
        let takes_dir = command.get_arguments().any(takes);
        let command = match takes_dir {
            true => command.mut_arg("dir", |arg| arg.required(false).default_value(dir)),
            false => command,
        };
        command.mut_subcommands(|sub| with_default(sub, dir))
    }
    match dir.and_then(Path::to_str) {
        // Once in a process that ends soon: clap takes no borrowed text.
        Some(dir) => with_default(command(), dir.to_owned().leak()),
        None => command(),
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let machine = match Machine::load() {
        Ok(machine) => machine,
        Err(error) => {
            eprintln!("holdfast-verifier: {error}");
            return ExitCode::from(2);
        }
    };
    let matches = command_at(machine.dir.as_deref()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
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
            Command::Init(args) => init::run(&args, &machine).await,
            Command::Serve(args) => serve::run(&args).await,
            Command::Token(command) => token::run(command).await,
            Command::Endorsement(command) => endorsement::run(command).await,
            Command::Oem(command) => oem::run(command).await,
            Command::Reference(command) => reference::run(command).await,
            Command::Policy(command) => policy::run(command).await,
            Command::Owner(command) => owner::run(command),
            Command::Admission(command) => admission::run(command).await,
            Command::Seal(command) => seal::run(command).await,
            Command::Secret(command) => secret::run(command).await,
            Command::Gateway(command) => gateway::run(command).await,
            Command::Operator(command) => operator::run(command).await,
            Command::Audit(command) => audit::run(command).await,
            Command::Ca(command) => ca::run(command).await,
            Command::Key(command) => key::run(command).await,
            Command::Backup(args) => backup::make(&args).await,
            Command::Restore(args) => backup::restore(&args).await,
            Command::ConfirmRestore(args) => backup::confirm(&args).await,
            Command::Watch(args) => watch::run(args).await,
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
