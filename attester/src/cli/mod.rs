//! The command line: flags, then `HOLDFAST_*`, then a strict TOML file. Exit
//! codes: 0 done, 1 refused (with the reason), 2 bad input or usage.

mod attest;
mod config;
mod doctor;
mod enroll;
mod evidence;
mod report;
mod status;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::evidence::{BOOT_LOG_PATH, IMA_LOG_PATH};
use crate::names;
use crate::tpm::{EkChoice, TctiName};
use config::{Config, parse_handle};
use holdfast_proto::tpm::templates::AkAlg;
use report::{Failure, Report};

/// Enrols this gateway by its TPM, and keeps it trusted.
#[derive(Debug, Parser)]
#[command(name = "holdfast-attester", version, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Verb,
}

const EXAMPLES: &str = "\
Examples:
  holdfast-attester doctor                       what the TPM has, and what is missing
  holdfast-attester enroll --bundle bundle.txt   get an LDevID
  holdfast-attester attest --renew               prove the state again, renew the LDevID
  holdfast-attester status --remote              what this gateway and the verifier know
  holdfast-attester --tcti swtpm:host=127.0.0.1,port=2321 --state-dir ./gw doctor

Exit codes: 0 done, 1 refused (with the reason), 2 bad input or usage.
Settings are taken from flags, then HOLDFAST_* variables, then the TOML file.";

#[derive(Debug, Args)]
struct Global {
    /// TPM: device:/dev/tpmrm0, swtpm:host=HOST,port=PORT or tabrmd: [default: device:/dev/tpmrm0]
    #[arg(long, global = true, env = "HOLDFAST_TCTI")]
    tcti: Option<TctiName>,
    /// What the gateway keeps, mode 0700 [default: /var/lib/holdfast]
    #[arg(long, global = true, env = "HOLDFAST_STATE_DIR", value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Persistent handle of the storage root key [default: 0x81000001]
    #[arg(long, global = true, env = "HOLDFAST_SRK_HANDLE", value_parser = parse_handle, value_name = "HANDLE")]
    srk_handle: Option<u32>,
    /// File (0600) with the endorsement hierarchy's auth value, where it has one
    #[arg(
        long,
        global = true,
        env = "HOLDFAST_ENDORSEMENT_AUTH_FILE",
        value_name = "FILE"
    )]
    endorsement_auth_file: Option<PathBuf>,
    /// File (0600) with the owner hierarchy's auth value, where it has one
    #[arg(
        long,
        global = true,
        env = "HOLDFAST_OWNER_AUTH_FILE",
        value_name = "FILE"
    )]
    owner_auth_file: Option<PathBuf>,
    /// Settings in TOML [default: /etc/holdfast/attester.toml where it exists]
    #[arg(long, global = true, env = "HOLDFAST_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON object instead of words
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say what the TPM has, what is missing, and what to do about it
    Doctor(Logs),
    /// Enrol with a bundle from the verifier's owner, and get an LDevID
    #[command(
        after_help = "Example: holdfast-attester enroll --bundle bundle.txt --ek auto --ak ecdsa-p256"
    )]
    Enroll(Enroll),
    /// Prove this gateway's state once, over mutual TLS with the key in the TPM
    #[command(after_help = "Example: holdfast-attester attest --renew --evidence-dir ./evidence")]
    Attest(Attest),
    /// Come back after the LDevID expired or the gateway was silent for too long
    Recover(Sending),
    /// Show the enrolment
    Status {
        /// Also ask the verifier
        #[arg(long)]
        remote: bool,
    },
    /// Write what would be sent, with a nonce of our own, and send nothing
    #[command(after_help = "Example: holdfast-attester evidence --evidence-dir ./evidence")]
    Evidence(Evidence),
}

#[derive(Debug, Args)]
struct Logs {
    /// The firmware's boot log [default: /sys/kernel/security/tpm0/binary_bios_measurements]
    #[arg(long, env = "HOLDFAST_BOOT_LOG", value_name = "PATH")]
    boot_log: Option<PathBuf>,
    /// The kernel's IMA log, sent where PCR 10 is asked for [default: /sys/kernel/security/ima/binary_runtime_measurements]
    #[arg(long, env = "HOLDFAST_IMA_LOG", value_name = "PATH")]
    ima_log: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Sending {
    #[command(flatten)]
    logs: Logs,
    /// Also write the evidence to this directory
    #[arg(long, value_name = "DIR")]
    evidence_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct KeyArgs {
    /// Endorsement key: auto, rsa2048, ecc-p256, ecc-p384 or rsa3072 [default: auto]
    #[arg(long, env = "HOLDFAST_EK", value_name = "KIND")]
    ek: Option<EkChoice>,
    /// Attestation key: ecdsa-p256, ecdsa-p384, rsassa-2048 or rsapss-2048 [default: ecdsa-p256]
    #[arg(long, env = "HOLDFAST_AK", value_parser = names::parse_ak_alg, value_name = "ALG")]
    ak: Option<AkAlg>,
}

#[derive(Debug, Args)]
struct Enroll {
    /// The bundle that `holdfast-verifier token create` printed (- for stdin)
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    sending: Sending,
    /// Enrol even where there is an enrolment; it is replaced when the new one is granted
    #[arg(long)]
    replace: bool,
}

#[derive(Debug, Args)]
struct Attest {
    /// Ask for a new LDevID for the same key
    #[arg(long)]
    renew: bool,
    #[command(flatten)]
    sending: Sending,
}

#[derive(Debug, Args)]
struct Evidence {
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    logs: Logs,
    /// Where to write it
    #[arg(long, value_name = "DIR", default_value = "evidence")]
    evidence_dir: PathBuf,
}

/// Runs the program with this process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("HOLDFAST_LOG")
        .unwrap_or_else(|_| EnvFilter::new("warn,tss_esapi=off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let report = Report::new(cli.global.json);
    let outcome = Config::resolve(&cli.global).and_then(|config| {
        // One thread waits for the TPM in a TLS handshake, one for the network.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|e| {
                Failure::refused(
                    format!("cannot start: {e}"),
                    "see the system's limits (ulimit -a)",
                )
            })?;
        runtime.block_on(run(cli.command, &config, &report))
    });
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => report.failure(&failure),
    }
}

/// 0 or 1; errors carry their own.
async fn run(command: Verb, config: &Config, report: &Report) -> Result<u8, Failure> {
    match command {
        Verb::Doctor(log) => doctor::run(config, &log.path(config), report),
        Verb::Enroll(args) => enroll::enroll(config, args, report).await,
        Verb::Recover(args) => enroll::recover(config, args, report).await,
        Verb::Attest(args) => attest::run(config, args, report).await,
        Verb::Status { remote } => status::run(config, remote, report).await,
        Verb::Evidence(args) => evidence::run(config, &args, report),
    }
}

impl Logs {
    fn path(&self, config: &Config) -> PathBuf {
        self.boot_log
            .clone()
            .unwrap_or_else(|| config.boot_log.clone())
    }

    /// The same, and a word where a log that was named is not there: a slip of
    /// the pen should not look like a machine that has none.
    fn sought(&self, config: &Config, report: &Report) -> PathBuf {
        let path = self.path(config);
        warn_if_absent("boot log", &path, BOOT_LOG_PATH, report);
        path
    }

    /// The IMA log, likewise.
    fn ima_sought(&self, config: &Config, report: &Report) -> PathBuf {
        let path = self.ima_log.as_ref().unwrap_or(&config.ima_log).clone();
        warn_if_absent("IMA log", &path, IMA_LOG_PATH, report);
        path
    }
}

fn warn_if_absent(what: &str, path: &Path, default: &str, report: &Report) {
    if path != Path::new(default) && !path.exists() {
        report.say(format_args!(
            "warning: no {what} at {}: going on without one",
            path.display()
        ));
    }
}
