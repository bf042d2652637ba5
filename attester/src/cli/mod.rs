//! The command line: flags, then `HOLDFAST_*`, then a strict TOML file. Exit
//! codes: 0 done, 1 refused (with the reason), 2 bad input or usage.

mod attest;
mod config;
mod devid;
mod doctor;
mod enroll;
mod evidence;
mod hand_out;
mod key;
mod proxy;
mod report;
mod run;
mod seal;
mod secret;
mod status;

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::enrolment::Road;
use crate::evidence::{BOOT_LOG_PATH, IMA_LOG_PATH};
use crate::names;
use crate::proxy::LocalAddress;
use crate::sealing::SecretName;
use crate::tpm::{EkChoice, TctiName};
use config::{Config, parse_handle};
use holdfast_proto::sealing::DEFAULT_LATCH_PCR;
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
  holdfast-attester run                          stay trusted: attest, renew, recover (a daemon)
  holdfast-attester attest --renew               prove the state again, renew the LDevID
  holdfast-attester status --remote              what this gateway and the verifier know
  holdfast-attester key export --output ./ldevid the LDevID for nginx, curl and other OpenSSL programs
  holdfast-attester seal disk-key < key          bind a secret to this TPM and to approved boot states
  holdfast-attester secret get db-password       a secret that the verifier's owner gave
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
    /// Where `run` tells its status, and `status` asks for it [default: status.sock in $RUNTIME_DIRECTORY, else in the state directory]
    #[arg(
        long,
        global = true,
        env = "HOLDFAST_STATUS_SOCKET",
        value_name = "PATH"
    )]
    status_socket: Option<PathBuf>,
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
    /// Stay trusted: enrol, attest, renew and recover in time, until SIGTERM
    ///
    /// A daemon for systemd (Type=notify, watchdog) or a shell. It attests in
    /// full when it starts, by schedule and on SIGUSR1, renews at two thirds of
    /// the LDevID's validity, and tries again in growing pauses what fails. One
    /// for each state directory; other commands work beside it. SIGHUP reads the
    /// settings again. See docs/running.md.
    #[command(
        after_help = "Example: holdfast-attester run --bundle /etc/holdfast/bundle.txt --attest-every 900"
    )]
    Run(Run),
    /// Prove this gateway's state once, over mutual TLS with the key in the TPM
    #[command(after_help = "Example: holdfast-attester attest --renew --evidence-dir ./evidence")]
    Attest(Attest),
    /// Come back after the LDevID expired or the gateway was silent for too long
    Recover(Sending),
    /// Show identity, last verdict, next act and TPM, from the daemon where one runs
    Status {
        /// Also ask the verifier
        #[arg(long)]
        remote: bool,
        /// Print Prometheus metrics instead
        #[arg(long, conflicts_with = "remote", conflicts_with = "json")]
        prometheus: bool,
    },
    /// Write what would be sent, with a nonce of our own, and send nothing
    #[command(after_help = "Example: holdfast-attester evidence --evidence-dir ./evidence")]
    Evidence(Evidence),
    /// The LDevID key for other programs
    #[command(subcommand)]
    Key(Key),
    /// In the factory: get IDevID and IAK certificates from the OEM's CA
    ///
    /// The CA's side is `holdfast-verifier oem`. See docs/devid.md.
    #[command(subcommand)]
    Devid(devid::Devid),
    /// TLS with the LDevID for programs that know nothing of TPMs
    #[command(subcommand)]
    Proxy(Proxy),
    /// Bind a secret (from stdin) to this TPM and to boot states
    ///
    /// With --policy approved it comes out in boot states that the verifier's
    /// owner approves for this gateway's class, now or later: a firmware update
    /// needs an approval and no new seal. With --policy current it comes out in
    /// the present state alone. See docs/sealing.md.
    #[command(
        args_conflicts_with_subcommands = true,
        subcommand_negates_reqs = true,
        after_help = "Example: head -c 32 /dev/urandom | holdfast-attester seal disk-key"
    )]
    Seal(Seal),
    /// Get a sealed secret out (to stdout)
    #[command(
        after_help = "Example: holdfast-attester unseal disk-key --latch | cryptsetup open --key-file - /dev/sda3 data"
    )]
    Unseal(Unseal),
    /// Secrets that the verifier's owner gave to gateways of this class
    ///
    /// They come with an attestation that was affirmed, encrypted to this TPM,
    /// and are kept so. See docs/secrets.md.
    #[command(subcommand)]
    Secret(secret::Secret),
}

#[derive(Debug, Args)]
struct Seal {
    #[command(subcommand)]
    command: Option<SealCommand>,
    /// Name to unseal it by: a-z, 0-9, '-', '_', '.'
    #[arg(required = true)]
    name: Option<SecretName>,
    /// What it is bound to, beside this TPM
    #[arg(long, value_enum, default_value = "approved")]
    policy: SealPolicy,
    /// With --policy current: the PCRs (SHA-256 bank) whose values count
    #[arg(long, value_name = "LIST", default_value = "0,1,2,3,4,5,6,7,8,9,14")]
    pcrs: seal::Pcrs,
    /// With --policy current: the PCR that `unseal --latch` will extend; it counts as zero
    #[arg(long, value_name = "PCR", default_value_t = DEFAULT_LATCH_PCR)]
    latch_pcr: u32,
    /// With --policy current: no such PCR
    #[arg(long, conflicts_with = "latch_pcr")]
    no_latch_pcr: bool,
    /// Replace a secret of that name
    #[arg(long)]
    replace: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum SealPolicy {
    Approved,
    Current,
}

#[derive(Debug, Subcommand)]
enum SealCommand {
    /// The boot states that sealed secrets come out in
    #[command(subcommand)]
    Approvals(ApprovalsCommand),
}

#[derive(Debug, Subcommand)]
enum ApprovalsCommand {
    /// Take approvals from a file that `holdfast-verifier seal export` wrote (- for stdin)
    Import {
        /// The file
        file: PathBuf,
    },
    /// Show those that this gateway has
    Show,
}

#[derive(Debug, Args)]
struct Unseal {
    /// The secret's name
    name: SecretName,
    /// Extend a PCR of the policy before handing the secret out: it comes out no more until the next boot
    #[arg(long)]
    latch: bool,
    /// With --latch: which PCR
    #[arg(long, value_name = "PCR", default_value_t = DEFAULT_LATCH_PCR)]
    latch_pcr: u32,
    #[command(flatten)]
    to: hand_out::HandOut,
}

#[derive(Debug, Subcommand)]
enum Proxy {
    /// Take plaintext from local programs, and dial out with mutual TLS
    ///
    /// A renewed LDevID is used by the next connection; those that stand go on.
    /// Ends on SIGTERM, after the connections have.
    #[command(
        after_help = "Example: holdfast-attester proxy outbound --listen unix:/run/app/broker.sock --upstream broker.example.org:8883 --ca /etc/app/ca.pem"
    )]
    Outbound(ProxyOutbound),
    /// Take mutual TLS from outside, and hand plaintext to a local program
    ///
    /// Who connects needs a client certificate of --client-ca. The LDevID must
    /// be fit for servers where clients insist (docs/ldevid-profile.md).
    #[command(
        after_help = "Example: holdfast-attester proxy inbound --listen 0.0.0.0:8443 --backend 127.0.0.1:8080 --client-ca /etc/app/clients.pem"
    )]
    Inbound(ProxyInbound),
}

#[derive(Debug, Args)]
struct ProxyOutbound {
    /// Where local programs connect: unix:/PATH (0600) or a loopback IP:PORT (every local user)
    #[arg(long, value_name = "ADDRESS")]
    listen: LocalAddress,
    /// Where to dial
    #[arg(long, value_name = "HOST:PORT")]
    upstream: String,
    /// The name that the server's certificate must have [default: the host of --upstream]
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// PEM file with the CAs that may vouch for it; no others do
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    #[command(flatten)]
    limits: ProxyLimits,
}

#[derive(Debug, Args)]
struct ProxyInbound {
    /// Where to serve
    #[arg(long, value_name = "IP:PORT")]
    listen: SocketAddr,
    /// The local program: unix:/PATH or a loopback IP:PORT
    #[arg(long, value_name = "ADDRESS")]
    backend: LocalAddress,
    /// PEM file with the CAs whose clients are let in; nobody else is
    #[arg(long, value_name = "FILE")]
    client_ca: PathBuf,
    #[command(flatten)]
    limits: ProxyLimits,
}

#[derive(Debug, Args)]
struct ProxyLimits {
    /// Connections at a time
    #[arg(long, value_name = "N", default_value = "256")]
    max_connections: NonZeroUsize,
    /// Close a connection on which nothing was said for so long
    #[arg(long, value_name = "SECONDS", default_value = "900")]
    idle_seconds: NonZeroU64,
    /// How long connections may go on after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    drain_seconds: u64,
}

#[derive(Debug, Subcommand)]
enum Key {
    /// Write key, certificate chain and OPENSSL_CONF for programs that use OpenSSL 3
    ///
    /// The private key stays encrypted by this TPM; OpenSSL's tpm2 provider
    /// (Debian: tpm2-openssl) signs with it in the TPM. Programs that cannot do
    /// this use `holdfast-attester proxy`. See docs/using-the-ldevid.md.
    #[command(
        after_help = "Example: holdfast-attester key export --format tss2-pem --output /etc/holdfast/ldevid"
    )]
    Export(KeyExport),
}

#[derive(Debug, Args)]
struct KeyExport {
    /// tss2-pem: `TSS2 PRIVATE KEY`, for OpenSSL's tpm2 provider
    #[arg(long, value_enum, default_value = "tss2-pem")]
    format: KeyFormat,
    /// Directory to write to; made where it is missing
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum KeyFormat {
    Tss2Pem,
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
    /// By whom the TPM is endorsed: its vendor for the EK (ek), the device's OEM
    /// for the IAK (iak), or auto: the EK where it has a certificate [default: auto]
    #[arg(long, env = "HOLDFAST_IDENTITY", value_name = "ROAD")]
    identity: Option<Road>,
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
    /// Bind the LDevID key to approved boot states, now those in this file, as
    /// `holdfast-verifier seal export` wrote it
    ///
    /// In any other state the TPM does not sign with it. See docs/sealing.md.
    #[arg(long, value_name = "FILE")]
    bind_to_boot: Option<PathBuf>,
    /// Give up the binding to boot states that the key of before has; with --replace
    #[arg(long, requires = "replace", conflicts_with = "bind_to_boot")]
    no_bind_to_boot: bool,
    /// Where the owner must approve this gateway first: ask again until then
    #[arg(long)]
    wait: bool,
    /// How often to ask, in seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS", requires = "wait",
          value_parser = clap::value_parser!(u64).range(5..=3600))]
    poll: u64,
    /// Enrol even where there is an enrolment; it is replaced when the new one is granted
    #[arg(long)]
    replace: bool,
}

#[derive(Debug, Args)]
struct Run {
    /// Enrol with this bundle where there is no enrolment yet
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// And bind the LDevID key to approved boot states, now those in this file,
    /// as `holdfast-verifier seal export` wrote it; without the file there is no
    /// enrolment
    #[arg(long, value_name = "FILE")]
    bind_to_boot: Option<PathBuf>,
    /// Attest in full so often, beside renewals [default: 3600]
    #[arg(long, value_name = "SECONDS")]
    attest_every: Option<NonZeroU32>,
    /// Longest pause before a network or verifier that failed is tried again [default: 300]
    #[arg(long, value_name = "SECONDS")]
    retry_max: Option<NonZeroU32>,
    /// Send heartbeats between attestations; the verifier then suspends this
    /// gateway where they stop
    #[arg(long)]
    heartbeats: bool,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    logs: Logs,
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

/// All commands and their arguments, for manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program with this process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // A daemon tells what it does; a command has other ways to.
    let usual = match cli.command {
        Verb::Run(_) => "info,tss_esapi=off",
        _ => "warn,tss_esapi=off",
    };
    // Targets and levels alone: what filters by fields brings a megabyte of
    // regular expressions into a daemon that is to be small.
    let filter = std::env::var("HOLDFAST_LOG")
        .ok()
        .and_then(|wanted| wanted.parse::<Targets>().ok())
        .or_else(|| usual.parse().ok())
        .unwrap_or_default();
    let words = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    tracing_subscriber::registry()
        .with(words)
        .with(filter)
        .init();
    let report = Report::new(cli.global.json);
    let outcome = Config::resolve(&cli.global).and_then(|config| {
        let mut runtime = match cli.command {
            // Its acts have threads of their own while they last.
            Verb::Run(_) => tokio::runtime::Builder::new_current_thread(),
            // One thread waits for the TPM in a TLS handshake, one for the network.
            _ => {
                let mut threads = tokio::runtime::Builder::new_multi_thread();
                threads.worker_threads(2);
                threads
            }
        };
        let runtime = runtime.enable_all().build().map_err(|e| {
            Failure::refused(
                format!("cannot start: {e}"),
                "see the system's limits (ulimit -a)",
            )
        })?;
        runtime.block_on(dispatch(cli, config, &report))
    });
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => report.failure(&failure),
    }
}

/// 0 or 1; errors carry their own.
async fn dispatch(cli: Cli, config: Config, report: &Report) -> Result<u8, Failure> {
    let Cli { global, command } = cli;
    match command {
        Verb::Doctor(log) => {
            doctor::run(&config, &log.path(&config), &log.ima_path(&config), report)
        }
        Verb::Enroll(args) => enroll::enroll(&config, args, report).await,
        Verb::Recover(args) => enroll::recover(&config, args, report).await,
        Verb::Run(args) => run::run(global, config, args, report).await,
        Verb::Attest(args) => attest::run(&config, args, report).await,
        Verb::Status {
            prometheus: true, ..
        } => status::prometheus(&config),
        Verb::Status { remote, .. } => status::run(&config, remote, report).await,
        Verb::Evidence(args) => evidence::run(&config, &args, report),
        Verb::Key(command) => key::run(&config, &command, report),
        Verb::Devid(command) => devid::run(&config, &command, report),
        Verb::Proxy(command) => proxy::run(&config, command, report).await,
        Verb::Seal(args) => seal::run_seal(&config, args, report),
        Verb::Unseal(args) => seal::run_unseal(&config, &args, report),
        Verb::Secret(command) => secret::run(&config, &command, report),
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

    fn ima_path(&self, config: &Config) -> PathBuf {
        self.ima_log.as_ref().unwrap_or(&config.ima_log).clone()
    }

    /// The IMA log, likewise.
    fn ima_sought(&self, config: &Config, report: &Report) -> PathBuf {
        let path = self.ima_path(config);
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
