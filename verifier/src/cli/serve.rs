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
use holdfast_proto::{sd_notify::ServiceManager, tpm::Name};
use nix::unistd::Uid;
use ring::rand::SystemRandom;
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, pem::PemObject as _};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use super::{Failure, Outcome, input, output, owner::owner_key};
use crate::{
    appraisal::Policy,
    config::{
        Config, Home, HomeError, LogConfig, LogFormat, RevocationConfig, WebhookConfig, files,
        home::file, policy_root_name,
    },
    custody::{Cabinet, Custodian, KeyKind, Keys, Rotation},
    digest::sha256,
    exchange::{Settings, Verifier},
    identity::{Issuer, PublicUrl},
    operators::OperatorsCa,
    service::{
        AllowLists, ApprovalQueue, BY_START, BundleFacts, CLOSE_TIMEOUT, Clock, Endorsements,
        HANDSHAKE_TIMEOUT, Heartbeats, IDLE_TIMEOUT, KeyDesk, LimitSettings, Limits, OperatorsDoor,
        Policies, PublicationSettings, References, RevocationView, SealApprovals, Server,
        ServerSettings, Shared, Webhook, WebhookSecret, build_oems, named, rewrap_secrets,
        webhook_tls,
    },
    store::{PendingBounds, Store, sqlite::SqliteStore},
    swap::Swap,
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
    /// The verifier's directory, as made by `init`.
    #[arg(long, env = "HOLDFAST_DIR", value_name = "DIR")]
    dir: PathBuf,
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
    let home = Home::open(&args.dir)?;
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
    let (shared, settings) = assemble(&home, &config).await?;
    let store = Arc::clone(&shared.store);
    let served = serve(args, shared, settings).await;
    closed(store.as_ref()).await;
    served
}

async fn serve(args: &ServeArgs, shared: Arc<Shared>, mut settings: ServerSettings) -> Outcome {
    settings.service_manager = ServiceManager::from_env().context("NOTIFY_SOCKET")?;
    // Before the address is told: a signal right after it must not be missed.
    let stop = stop_signal()?;
    let listening = Server::bind(Arc::clone(&shared), settings).await?;
    let reload = reload_on_signal(shared)?;
    if let Some(path) = &args.address_file {
        files::replace(path, format!("{}\n", listening.address()).as_bytes(), 0o644)?;
    }
    let ended = listening.run(stop).await;
    reload.abort();
    Ok(ended?)
}

/// All that serves, from the directory. The caller holds its lock.
pub(super) async fn assemble(
    home: &Home,
    config: &Config,
) -> Result<(Arc<Shared>, ServerSettings), Failure> {
    let path = home.prepare_store()?;
    let store = SqliteStore::open(&path)
        .await
        .with_context(|| path.display().to_string())?;
    let store: Arc<dyn Store> = Arc::new(store);
    let assembled = assemble_over(home, config, &store).await;
    if assembled.is_err() {
        closed(store.as_ref()).await;
    }
    assembled
}

/// Whatever the end: a store that is dropped leaves its WAL behind.
async fn closed(store: &dyn Store) {
    if timeout(CLOSE_TIMEOUT, store.close()).await.is_err() {
        warn!("the store was busy to the end");
    }
}

async fn assemble_over(
    home: &Home,
    config: &Config,
    store: &Arc<dyn Store>,
) -> Result<(Arc<Shared>, ServerSettings), Failure> {
    let keys = open_keys(home, config).await?;
    let named = named(&keys);
    let shared = Arc::new(shared(home, config, Arc::clone(store), keys).await?);
    let at = shared.clock.now().seconds();
    for change in shared.store.record_keys(&named, BY_START, at).await? {
        info!(
            kind = change.kind,
            id = change.id,
            state = change.state.name(),
            "key"
        );
    }
    rewrap_secrets(&shared, BY_START).await?;
    if let Some(restoration) = shared.store.unconfirmed_restore().await? {
        warn!(
            backup = restoration.backup,
            "restored from a backup, and not confirmed: nobody enrols or recovers (holdfast-verifier confirm-restore)"
        );
    }
    let classes = shared.references.load().await?;
    info!(?classes, "reference values in force");
    let classes = shared.allow_lists.load().await?;
    info!(?classes, "allow lists in use");
    let operators = operators_door(home, config, &shared)?;
    let limits = &config.limits;
    let settings = ServerSettings {
        listen: config.listen,
        tls: shared.keys.tls(),
        admin_socket: config
            .admin
            .socket()?
            .unwrap_or_else(|| home.path(file::ADMIN_SOCKET)),
        admin_socket_group: config.admin.socket_group()?,
        unix_roles: config.admin.unix_roles(Uid::effective().as_raw())?,
        operators,
        webhooks: webhooks(&config.webhook)?,
        event_seconds: i64::from(config.revocation.event_days) * 86_400,
        publication: publication(&config.revocation)?,
        connections: limits.connections,
        connections_per_address: limits.connections_per_address,
        handshakes: limits.handshakes,
        requests: limits.requests,
        handshake_timeout: HANDSHAKE_TIMEOUT,
        idle_timeout: IDLE_TIMEOUT,
        request_timeout: Duration::from_secs(limits.request_seconds.into()),
        drain: Duration::from_secs(limits.drain_seconds.into()),
        service_manager: ServiceManager::absent(),
    };
    Ok((shared, settings))
}

/// Opens the keys. A device that does not answer is told, and everything but
/// issuing goes on.
async fn open_keys(home: &Home, config: &Config) -> Result<Keys, Failure> {
    let custodian = Custodian::new(home.clone(), config);
    let now = Clock::system().now();
    let home = home.clone();
    let keys = tokio::task::spawn_blocking(move || {
        // A directory from before there were heartbeats.
        if Cabinet::new(&home)
            .read()?
            .of(KeyKind::Heartbeat)
            .is_empty()
        {
            Rotation::begin(&home, now)?.heartbeat(0)?;
        }
        custodian.open(now)
    })
    .await??;
    if let Some(why) = &keys.unreachable {
        error!(%why, "no LDevID can be issued until the issuing key is to be had");
    }
    Ok(keys)
}

/// Takes up rotated keys at each SIGHUP, as `key rotate` does by itself.
fn reload_on_signal(shared: Arc<Shared>) -> Result<JoinHandle<()>, Failure> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            if let Err(error) = shared.keys.reload(&shared, "SIGHUP").await {
                error!(cause = %error, "keys are as before");
            }
        }
    }))
}

/// What is told to relying parties, if there is to be a listener.
fn publication(config: &RevocationConfig) -> Result<Option<PublicationSettings>, Failure> {
    let Some(listen) = config.listen()? else {
        return Ok(None);
    };
    Ok(Some(PublicationSettings {
        listen,
        crl_seconds: config.crl_seconds.into(),
        ocsp_seconds: config.ocsp_seconds.into(),
        cache_seconds: config.cache_seconds.into(),
        crl_certificates: config.crl_certificates.into(),
        connections: usize::try_from(config.connections)?,
        requests_per_minute_per_address: non_zero(config.requests_per_minute_per_address)?,
    }))
}

/// Who is told what happens to gateways.
fn webhooks(config: &[WebhookConfig]) -> Result<Vec<Webhook>, Failure> {
    let webhook = |webhook: &WebhookConfig| {
        let (url, path) = (webhook.url()?, &webhook.secret_file);
        let secret = WebhookSecret::parse(&files::read_secret(path)?)
            .with_context(|| path.display().to_string())?;
        let cas = std::fs::read(&webhook.ca_file);
        let tls = cas
            .map_err(anyhow::Error::from)
            .and_then(|pem| Ok(webhook_tls(&pem)?))
            .with_context(|| webhook.ca_file.display().to_string())?;
        Ok(Webhook {
            url,
            secret,
            events: webhook.events()?,
            tls,
        })
    };
    config.iter().map(webhook).collect()
}

/// Reads policy and anchors.
async fn shared(
    home: &Home,
    config: &Config,
    store: Arc<dyn Store>,
    keys: Keys,
) -> Result<Shared, Failure> {
    let revocations = RevocationView::load(Arc::clone(&store), Clock::system()).await?;
    let operators_ca = operators_ca(home)?;
    let desk = KeyDesk::new(
        home,
        config,
        &keys,
        Arc::clone(&revocations),
        operators_ca.clone(),
    )?;
    let endorsements = Endorsements::new(
        Arc::clone(&store),
        owner_key(home)?,
        config.endorsement.rules(),
    );
    let anchors = endorsements
        .load()
        .await
        .with_context(|| home.path(file::STORE).display().to_string())?;
    if anchors.is_empty() {
        warn!("no TPM vendor is trusted yet: run holdfast-verifier endorsement import");
    }
    let policies = Policies::new(Arc::clone(&store), owner_key(home)?);
    let (version, policy) = policy(home, &policies).await?;
    info!(
        policy = hex::encode(policy.id()),
        version,
        ?anchors,
        "policy and anchors read"
    );
    let accepted_eks = config.accepted_eks()?;
    if !accepted_eks.is_one_per_tpm() {
        warn!(
            "one of several EK templates is enough ([endorsement] eks = \"any\"): a TPM can come back by \
             an EK that it never showed"
        );
    }
    let verifier = Verifier::new(Settings {
        anchors,
        oems: build_oems(
            &store.oem_anchors().await?,
            &store.withdrawn_oem_cas().await?,
        )?,
        accepted_eks,
        sealer: keys.sealer,
        policy,
        selection: config.pcr_selection()?,
    });
    let profiles = config.profiles().map_err(input)?;
    let public_url = config.revocation.public_url()?;
    let former = former_urls(store.as_ref(), &config.revocation.public_url).await?;
    let issuer = Issuer::new(keys.issuing, profiles)
        .with_public_url(public_url)
        .with_former_urls(former);
    let limits = &config.limits;
    let crypto_threads = match limits.crypto_threads {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        threads => usize::try_from(threads)?,
    };
    Ok(Shared {
        verifier,
        issuer,
        result_key: Swap::new(keys.result),
        ear_form: config.ear_form.into(),
        references: References::new(Arc::clone(&store), owner_key(home)?),
        policies,
        endorsements,
        allow_lists: AllowLists::new(Arc::clone(&store), owner_key(home)?),
        silence: config.silence_rules().map_err(input)?,
        heartbeats: Arc::new(Heartbeats::new(keys.heartbeat)),
        ending: CancellationToken::new(),
        revocations,
        seal_approvals: SealApprovals::new(home.clone()),
        secrets: Swap::new(keys.secrets),
        store,
        limits: Limits::new(LimitSettings {
            requests_per_minute_per_address: non_zero(limits.requests_per_minute_per_address)?,
            challenges_per_minute_per_ek: non_zero(limits.challenges_per_minute_per_ek)?,
            crypto_threads,
        }),
        keys: desk,
        clock: Clock::system(),
        rng: SystemRandom::new(),
        bundle: BundleFacts {
            server_ca: certificate(home, file::SERVER_CA)?,
            server_names: config.server_names.clone(),
            policy_root: policy_root(home)?,
        },
        approval: approval_queue(config)?,
        operators_ca,
    })
}

/// What LDevIDs in force may name beside the URL that is configured.
async fn former_urls(store: &dyn Store, configured: &str) -> Result<Vec<PublicUrl>, Failure> {
    let configured = Some(configured).filter(|url| !url.is_empty());
    let now = Clock::system().now().seconds();
    let former = store.configure_public_url(configured, now).await?;
    for url in &former {
        warn!(
            url,
            "LDevIDs in force name this public URL of before: keep it answered from here"
        );
    }
    let parsed = former.iter().map(|url| PublicUrl::parse(url));
    Ok(parsed.collect::<Result<_, _>>()?)
}

fn approval_queue(config: &Config) -> Result<Option<ApprovalQueue>, Failure> {
    let admission = &config.admission;
    if !admission.manual {
        return Ok(None);
    }
    Ok(Some(ApprovalQueue {
        class: admission.class()?,
        bounds: PendingBounds {
            all: admission.pending,
            per_address: admission.pending_per_address,
        },
        seconds: admission.pending_seconds.into(),
    }))
}

/// The CA of operators' certificates, where there is one: verifiers that were
/// made before there were operators have none.
fn operators_ca(home: &Home) -> Result<Option<OperatorsCa>, Failure> {
    match home.read_trusted(file::OPERATOR_CA) {
        Ok(pem) => Ok(Some(
            OperatorsCa::from_pem(&pem).context(file::OPERATOR_CA)?,
        )),
        Err(HomeError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn operators_door(
    home: &Home,
    config: &Config,
    shared: &Shared,
) -> Result<Option<OperatorsDoor>, Failure> {
    let Some(listen) = config.admin.listen()? else {
        return Ok(None);
    };
    let tls = shared.keys.operators_tls().ok_or_else(|| {
        input(anyhow!(
            "admin.listen is set, but there is no {}: make one with holdfast-verifier operator init-ca --dir {}",
            home.path(file::OPERATOR_CA).display(),
            home.dir().display()
        ))
    })?;
    Ok(Some(OperatorsDoor { listen, tls }))
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
        output::shell(&home.path(file::POLICY)),
        output::shell(&home.path(file::POLICY_STATEMENT)),
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
