//! `proxy outbound` and `proxy inbound`.

use std::time::Duration;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::config::Config;
use super::report::{DONE, Failure, Report};
use super::{Proxy, ProxyInbound, ProxyLimits, ProxyOutbound};
use crate::proxy::{Inbound, Limits, Outbound, ProxyError, ProxyIdentity, Stop, roots};
use crate::state::StateView;
use crate::tpm::Tpm;

pub(super) async fn run(config: &Config, command: Proxy, report: &Report) -> Result<u8, Failure> {
    match command {
        Proxy::Outbound(args) => outbound(config, args, report).await,
        Proxy::Inbound(args) => inbound(config, args, report).await,
    }
}

async fn outbound(config: &Config, args: ProxyOutbound, report: &Report) -> Result<u8, Failure> {
    let roots = roots(&args.ca)?;
    let name = match &args.server_name {
        Some(name) => name,
        None => host_of(&args.upstream),
    };
    let proxy = Outbound::bind(
        &args.listen,
        &args.upstream,
        name,
        roots,
        identity(config)?,
        limits(&args.limits),
    )
    .await?;
    let address = proxy.address().map_err(|e| Failure::refused(e, ""))?;
    report.say(format_args!(
        "Listening on {address}; out to {} as this gateway.",
        args.upstream
    ));
    report.result(&json!({ "listening": address.to_string() }));
    proxy.serve(until_told()?).await;
    Ok(DONE)
}

async fn inbound(config: &Config, args: ProxyInbound, report: &Report) -> Result<u8, Failure> {
    let roots = roots(&args.client_ca)?;
    let backend = args.backend.clone();
    let proxy = Inbound::bind(
        args.listen,
        backend,
        roots,
        identity(config)?,
        limits(&args.limits),
    )
    .await?;
    let address = proxy.address().map_err(|e| Failure::refused(e, ""))?;
    report.say(format_args!(
        "Listening on {address} as this gateway; in to {}.",
        args.backend
    ));
    report.result(&json!({ "listening": address.to_string() }));
    proxy.serve(until_told()?).await;
    Ok(DONE)
}

fn identity(config: &Config) -> Result<std::sync::Arc<ProxyIdentity>, Failure> {
    let enrolled = StateView::open(&config.state_dir)?.require_enrolled()?;
    let (tcti, settings) = (config.tcti.clone(), config.settings_of(&enrolled));
    let open = move || Tpm::open_with(&tcti, settings.clone());
    Ok(ProxyIdentity::open(&config.state_dir, open)?)
}

fn limits(args: &ProxyLimits) -> Limits {
    Limits {
        connections: args.max_connections.get(),
        idle: Duration::from_secs(args.idle_seconds.get()),
        drain: Duration::from_secs(args.drain_seconds),
    }
}

/// SIGTERM or SIGINT.
fn until_told() -> Result<Stop, Failure> {
    let failed = |e| Failure::refused(format!("signals: {e}"), "see the system's limits");
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let (order, stop) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // Nobody listens where it has ended already.
        let _ = order.send(true);
    });
    Ok(stop)
}

/// `host` of `host:port`, without the brackets of an IPv6 address.
fn host_of(upstream: &str) -> &str {
    let host = upstream.rsplit_once(':').map_or(upstream, |(host, _)| host);
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

impl From<ProxyError> for Failure {
    fn from(error: ProxyError) -> Self {
        Self::refused(&error, error.next_step())
    }
}
