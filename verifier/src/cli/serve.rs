//! `serve`: reads the directory, starts the service, ends on a signal.

use std::{
    io::{self, IsTerminal as _},
    net::SocketAddr,
    num::NonZeroU32,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use holdfast_proto::tpm::Name;
use ring::rand::SystemRandom;
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, pem::PemObject as _};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;
use zeroize::Zeroizing;

use super::{DirArg, Failure, Outcome, input, owner::owner_key};
use crate::{
    appraisal::Policy,
    config::{Config, Home, HomeError, LogConfig, LogFormat, files, home::file, policy_root_name},
    digest::sha256,
    exchange::{Settings, Verifier},
    freshness::ChallengeSealer,
    identity::{FileSigner, Issuer, Profile, ResultKey},
    service::{
        AllowLists, BundleFacts, Clock, HANDSHAKE_TIMEOUT, IDLE_TIMEOUT, LimitSettings, Limits,
        Policies, References, Server, ServerSettings, Shared, TlsFiles, build_anchors,
        server_config,
    },
    store::{Store, sqlite::SqliteStore},
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast-verifier serve --dir /var/lib/holdfast
  holdfast-verifier serve --dir /tmp/v --listen 127.0.0.1:0 --address-file /tmp/v.addr

Serves until SIGTERM or SIGINT, then lets requests under way finish. Refuses to
start where a file that holds a key can be read or written by others, and says
which, and the chmod to run. Logs to standard error.")]
pub(super) struct ServeArgs {
    #[command(flatten)]
    dir: DirArg,
    /// Address to listen on, instead of the configured one; port 0 lets the
    /// system choose.
    #[arg(long, env = "HOLDFAST_LISTEN", value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Write the address, "ip:port" and a newline, here once ready.
    #[arg(long, value_name = "FILE")]
    address_file: Option<PathBuf>,
    /// Form of the log, instead of the configured one.
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

pub(super) async fn run(args: &ServeArgs) -> Outcome {
    let home = Home::open(&args.dir.dir)?;
    home.inspect_secrets()?;
    let _lock = home.lock()?;
    // Read here for its mode and owner, below for its content: figment names
    // the file in what it has to say.
    home.read_trusted(file::CONFIG).map_err(|e| match &e {
        // Not text: as bad as text that is not TOML.
        HomeError::Io { source, .. } if source.kind() == io::ErrorKind::InvalidData => input(e),
        _ => e.into(),
    })?;
    let mut config = Config::load(&home.path(file::CONFIG)).map_err(input)?;
    if let Some(listen) = args.listen {
        config.listen = listen;
    }
    if let Some(format) = args.log_format {
        config.log.format = format;
    }
    start_log(&config.log)?;

    let path = home.prepare_store()?;
    let store = SqliteStore::open(&path)
        .await
        .with_context(|| path.display().to_string())?;
    let store: Arc<dyn Store> = Arc::new(store);
    let shared = Arc::new(shared(&home, &config, Arc::clone(&store)).await?);
    let classes = shared.references.load().await?;
    info!(?classes, "reference values in force");
    let classes = shared.allow_lists.load().await?;
    info!(?classes, "allow lists in use");
    let tls = server_config(&TlsFiles {
        server: &home.read_trusted(file::SERVER)?,
        server_key: &home.read_secret(file::SERVER_KEY)?,
        client_root: &home.read_trusted(file::ROOT_CA)?,
    })?;
    let limits = &config.limits;
    let settings = ServerSettings {
        listen: config.listen,
        tls,
        admin_socket: home.path(file::ADMIN_SOCKET),
        connections: limits.connections,
        connections_per_address: limits.connections_per_address,
        handshakes: limits.handshakes,
        requests: limits.requests,
        handshake_timeout: HANDSHAKE_TIMEOUT,
        idle_timeout: IDLE_TIMEOUT,
        request_timeout: Duration::from_secs(limits.request_seconds.into()),
        drain: Duration::from_secs(limits.drain_seconds.into()),
    };
    // Before the address is told: a signal right after it must not be missed.
    let stop = stop_signal()?;
    let listening = Server::bind(shared, settings).await?;
    if let Some(path) = &args.address_file {
        files::replace(path, format!("{}\n", listening.address()).as_bytes(), 0o644)?;
    }
    listening.run(stop).await?;
    Ok(())
}

/// Reads keys, certificates, policy and anchors.
async fn shared(home: &Home, config: &Config, store: Arc<dyn Store>) -> Result<Shared, Failure> {
    let anchors = store.anchors().await?;
    if anchors.is_empty() {
        warn!("no TPM vendor is trusted yet: run holdfast-verifier endorsement import");
    }
    let policies = Policies::new(Arc::clone(&store), owner_key(home)?);
    let (version, policy) = policy(home, &policies).await?;
    info!(
        policy = hex::encode(policy.id()),
        version,
        anchors = anchors.len(),
        "policy and anchors read"
    );
    let accepted_eks = config.accepted_eks()?;
    if !accepted_eks.is_one_per_tpm() {
        warn!(
            "several EK templates are accepted: a TPM that is admitted twice can be two gateways"
        );
    }
    let verifier = Verifier::new(Settings {
        anchors: build_anchors(&anchors)?,
        accepted_eks,
        sealer: sealer(home, config)?,
        policy,
        selection: config.pcr_selection()?,
    });
    let trust_domain = Some(config.ldevid.spiffe_trust_domain.as_str()).filter(|d| !d.is_empty());
    let profile = Profile::new(config.ldevid.validity_seconds.into(), trust_domain)
        .context("[ldevid]")
        .map_err(input)?;
    let signer = FileSigner::from_pkcs8_pem(&home.read_secret(file::ISSUING_CA_KEY)?)
        .context(file::ISSUING_CA_KEY)?;
    let issuer = Issuer::new(
        &certificate(home, file::ISSUING_CA)?,
        Arc::new(signer),
        profile,
    )
    .context(file::ISSUING_CA)?;
    let result_key = ResultKey::from_pkcs8_pem(&home.read_secret(file::RESULT_KEY)?)
        .context(file::RESULT_KEY)?;
    let limits = &config.limits;
    let crypto_threads = match limits.crypto_threads {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        threads => usize::try_from(threads)?,
    };
    Ok(Shared {
        verifier,
        issuer,
        result_key,
        ear_form: config.ear_form.into(),
        references: References::new(Arc::clone(&store), owner_key(home)?),
        policies,
        allow_lists: AllowLists::new(Arc::clone(&store), owner_key(home)?),
        store,
        limits: Limits::new(LimitSettings {
            requests_per_minute_per_address: non_zero(limits.requests_per_minute_per_address)?,
            challenges_per_minute_per_ek: non_zero(limits.challenges_per_minute_per_ek)?,
            crypto_threads,
        }),
        clock: Clock::system(),
        rng: SystemRandom::new(),
        bundle: BundleFacts {
            server_ca: certificate(home, file::SERVER_CA)?,
            server_names: config.server_names.clone(),
            policy_root: policy_root(home)?,
        },
    })
}

/// The policy in force, from the store. A verifier that has none yet begins
/// with `policy.rego`, as `init` wrote and signed it.
async fn policy(home: &Home, policies: &Policies) -> Result<(u64, Policy), Failure> {
    let loaded = policies.load().await.with_context(|| {
        let store = home.path(file::STORE).display().to_string();
        format!("{store}: the policy in force is not used")
    })?;
    let Some((version, policy)) = loaded else {
        return first_policy(home, policies).await;
    };
    match home.read_trusted(file::POLICY) {
        Ok(text) if sha256(&[text.as_bytes()]) == *policy.id() => {}
        Ok(_) => warn!(
            version,
            "policy.rego is not the policy in force: see `policy show`, and `policy apply` for a change"
        ),
        // It has done its service.
        Err(HomeError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    Ok((version, policy))
}

async fn first_policy(home: &Home, policies: &Policies) -> Result<(u64, Policy), Failure> {
    let source = home.read_trusted(file::POLICY)?;
    let statement = match home.read_trusted_bytes(file::POLICY_STATEMENT) {
        Ok(statement) => statement,
        Err(HomeError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let begun = policies
        .begin(&source, &statement, Clock::system().now())
        .await;
    let (path, signed) = (
        home.path(file::POLICY).display().to_string(),
        home.path(file::POLICY_STATEMENT).display().to_string(),
    );
    Ok(begun.with_context(|| {
        format!(
            "{path} cannot be the first policy. Look at it, then sign it with the owner's key: \
             rm -f {signed} && holdfast-verifier owner sign --owner-key policy-root.key.pem \
             --kind policy --version 1 --output {signed} {path}"
        )
    })?)
}

fn non_zero(number: u32) -> Result<NonZeroU32, Failure> {
    NonZeroU32::new(number).ok_or_else(|| input(anyhow!("a limit in [limits] is 0")))
}

fn sealer(home: &Home, config: &Config) -> Result<ChallengeSealer, Failure> {
    let text = home.read_secret(file::TOKEN_KEY)?;
    let mut key = Zeroizing::new([0_u8; 32]);
    hex::decode_to_slice(text.trim_end(), key.as_mut_slice()).map_err(|_| {
        anyhow!(
            "{} does not hold 64 hex digits",
            home.path(file::TOKEN_KEY).display()
        )
    })?;
    Ok(ChallengeSealer::new(*key).with_lifetime(config.challenge_seconds))
}

fn certificate(home: &Home, name: &str) -> Result<Vec<u8>, Failure> {
    let der = CertificateDer::from_pem_slice(home.read_trusted(name)?.as_bytes())
        .with_context(|| home.path(name).display().to_string())?;
    Ok(der.to_vec())
}

fn policy_root(home: &Home) -> Result<Name, Failure> {
    let path = home.path(file::POLICY_ROOT_PUBLIC);
    let pem = home.read_trusted(file::POLICY_ROOT_PUBLIC)?;
    let spki = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes())
        .with_context(|| path.display().to_string())?;
    let name = policy_root_name(spki.as_ref())
        .ok_or_else(|| anyhow!("{} is no P-256 public key", path.display()))?;
    Ok(name)
}

fn start_log(log: &LogConfig) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&log.filter)
        .with_context(|| format!("log.filter is {:?}", log.filter))
        .map_err(input)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    let started = match log.format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|e| Failure::Refused(anyhow!("cannot log: {e}")))
}

/// Ends at the first SIGTERM or SIGINT.
fn stop_signal() -> Result<impl Future<Output = ()> + Send, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
