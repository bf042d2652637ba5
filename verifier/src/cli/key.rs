//! `key`: which keys there are, and from one generation to the next.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::{Args, Subcommand};
use holdfast_proto::grpc::v1::ReloadKeysRequest;
use serde_json::{Value, json};

use super::{DirArg, Failure, JsonArg, Outcome, client, input, output, seal, token};
use crate::{
    config::{Config, Home, HomeError, home::file},
    custody::{
        Cabinet, Custodian, CustodyError, KeyEntry, KeyKind, OfflineRoot, Rotated, Rotation,
        SecretSource,
    },
    identity::ServerName,
    service::Clock,
    store::{Secrets as _, Store as _, sqlite::SqliteStore},
    time::UnixTime,
};

pub(super) const ROTATE_EXAMPLES: &str = "\
The key of before still counts for the overlap: challenges under it are
answered, results by it verify, its CA signs CRLs and OCSP answers. A running
server takes the new key up at once, and puts secrets for gateways under it.

Examples:
  holdfast-verifier key rotate --dir /var/lib/holdfast token
  holdfast-verifier key rotate --dir /var/lib/holdfast result --overlap 14d
  holdfast-verifier key rotate --dir /var/lib/holdfast issuing --root-ca-dir /media/safe/root
  holdfast-verifier key rotate --dir /var/lib/holdfast seal
  holdfast-verifier key rotate --dir /var/lib/holdfast secrets
  holdfast-verifier key rotate --dir /var/lib/holdfast heartbeat
  holdfast-verifier key rotate --dir /var/lib/holdfast server --server-ca-dir /media/safe/server";

/// The directory itself: keys are changed where they are.
#[derive(Debug, Clone, Args)]
pub(super) struct HomeArg {
    /// The verifier's directory, as made by `init`.
    #[arg(long, env = "HOLDFAST_DIR", value_name = "DIR")]
    pub(super) dir: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// List the keys in use and those of before. One that is void is in use, and
    /// to be replaced: it is of a backup.
    List(ListArgs),
    /// Replace a key. The one of before counts for a while beside it.
    #[command(after_help = ROTATE_EXAMPLES)]
    Rotate(RotateArgs),
    /// Take out a key of before, and destroy it.
    Retire(RetireArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    dir: HomeArg,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    #[command(flatten)]
    dir: HomeArg,
    /// Which key.
    #[arg(value_enum)]
    kind: KeyKind,
    /// How long the key of before still counts: 90s, 30m, 1h, 2d. Default: 1h
    /// for token, 1d for heartbeat, 8d for issuing, result and seal; server and
    /// secrets have none.
    #[arg(long, value_name = "TIME", value_parser = token::seconds)]
    overlap: Option<u32>,
    /// The directory with the root CA's key, for issuing. Default: the
    /// verifier's own, where the key was left there.
    #[arg(long, value_name = "DIR")]
    root_ca_dir: Option<PathBuf>,
    /// The directory with the server CA's key, for server.
    #[arg(long, value_name = "DIR")]
    server_ca_dir: Option<PathBuf>,
    /// Where the passphrase of that CA's key is: credential:NAME, env:NAME or
    /// file:/PATH.
    #[arg(long, value_name = "SOURCE")]
    root_passphrase: Option<SecretSource>,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(super) struct RetireArgs {
    #[command(flatten)]
    dir: HomeArg,
    /// Of which kind.
    #[arg(value_enum)]
    kind: KeyKind,
    /// Its id, as `key list` shows it.
    id: String,
    /// Also where it still counts: challenges under it, results by it, and
    /// certificates that it issued are then good for nothing.
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) async fn run(command: KeyCommand) -> Outcome {
    match command {
        KeyCommand::List(args) => list(&args),
        KeyCommand::Rotate(args) => rotate(args).await,
        KeyCommand::Retire(args) => retire(args).await,
    }
}

/// The directory's configuration.
pub(super) fn config(home: &Home) -> Result<Config, Failure> {
    home.read_trusted(file::CONFIG)?;
    Config::load(&home.path(file::CONFIG)).map_err(input)
}

fn list(args: &ListArgs) -> Outcome {
    let home = Home::open(&args.dir.dir)?;
    let cabinet = Cabinet::new(&home);
    let (ring, now) = (cabinet.read()?, Clock::system().now());
    let keys = KeyKind::ALL.into_iter().flat_map(|kind| {
        ring.of(kind).iter().map(move |entry| {
            let state = match entry.until {
                None if entry.void_since.is_some() => "void",
                None => "current",
                Some(_) if entry.counts(now) => "ending",
                Some(_) => "ended",
            };
            (kind.name(), entry, state)
        })
    });
    let pending = ring.pending().map(|entry| ("issuing", entry, "waiting"));
    let keys: Vec<_> = keys.chain(pending).collect();
    let strays = cabinet.strays(&ring)?;
    if args.json.json {
        let listed: Vec<Value> = keys
            .iter()
            .map(|(kind, entry, state)| {
                json!({
                    "kind": kind,
                    "key_id": entry.id,
                    "state": state,
                    "since": entry.since,
                    "until": entry.until,
                    "key": entry.key.describe(),
                    "certificate": entry.certificate,
                })
            })
            .collect();
        return output::print_json(&json!({ "keys": listed, "strays": strays }));
    }
    let rows: Vec<Vec<String>> = keys
        .iter()
        .map(|(kind, entry, state)| {
            vec![
                (*kind).to_owned(),
                (*state).to_owned(),
                entry.id.clone(),
                until(entry),
                entry.key.describe(),
            ]
        })
        .collect();
    output::print(&output::table(
        &["KIND", "STATE", "ID", "UNTIL", "KEY"],
        &rows,
    ))?;
    if strays.is_empty() {
        return Ok(());
    }
    output::print(&format!(
        "left by a change that did not end, and removed by the next one: {}",
        strays.join(", ")
    ))
}

/// Until when a key of before counts; nothing for the current one.
pub(super) fn until(entry: &KeyEntry) -> String {
    entry
        .until
        .map(|until| UnixTime::from_seconds(until).to_string())
        .unwrap_or_default()
}

pub(super) async fn rotate(args: RotateArgs) -> Outcome {
    let home = Home::open(&args.dir.dir)?;
    let config = config(&home)?;
    let passphrase = args.root_passphrase.as_ref();
    let overlap = args.overlap.unwrap_or(match args.kind {
        KeyKind::Token => 3600,
        KeyKind::Heartbeat => 86_400,
        KeyKind::Issuing | KeyKind::Result => 8 * 86_400,
        KeyKind::Seal => seal::OVERLAP_SECONDS,
        KeyKind::Server | KeyKind::Secrets => 0,
    });
    let now = Clock::system().now();
    let rotated = match args.kind {
        KeyKind::Token => Rotation::begin(&home, now)?.token(overlap)?,
        KeyKind::Heartbeat => Rotation::begin(&home, now)?.heartbeat(overlap)?,
        KeyKind::Result => Rotation::begin(&home, now)?.result(overlap)?,
        KeyKind::Seal => {
            let custodian = Custodian::new(home.clone(), &config);
            Rotation::begin(&home, now)?.seal(&custodian, overlap)?
        }
        KeyKind::Secrets => {
            let custodian = Custodian::new(home.clone(), &config);
            Rotation::begin(&home, now)?.secrets(&custodian)?
        }
        KeyKind::Issuing => {
            let dir = args.root_ca_dir.as_deref().unwrap_or(home.dir());
            let authority = OfflineRoot::root(dir)
                .and_then(|root| root.authority(Some(&home), passphrase))
                .map_err(|e| key_elsewhere(e, file::ROOT_CA_KEY, "--root-ca-dir"))?;
            let custodian = Custodian::new(home.clone(), &config);
            Rotation::begin(&home, now)?.issuing(&custodian, &authority, overlap)?
        }
        KeyKind::Server => {
            let names = config
                .server_names
                .iter()
                .map(|name| ServerName::parse(name))
                .collect::<Result<Vec<_>, _>>()
                .map_err(input)?;
            let dir = args.server_ca_dir.as_deref().unwrap_or(home.dir());
            let authority = OfflineRoot::server_ca(dir)
                .and_then(|ca| ca.authority(Some(&home), passphrase))
                .map_err(|e| key_elsewhere(e, file::SERVER_CA_KEY, "--server-ca-dir"))?;
            Rotation::begin(&home, now)?.server(&authority, &names)?
        }
    };
    told(&args.dir, &rotated, args.json).await?;
    if args.kind == KeyKind::Seal && !args.json.json {
        return output::print(
            "next, with the policy root's key, for each class: holdfast-verifier seal delegate \
             --class CLASS. Until then the key of before approves for it. Nothing is sealed anew.",
        );
    }
    Ok(())
}

/// A CA's key that is not where it was looked for.
fn key_elsewhere(error: CustodyError, key: &str, option: &str) -> anyhow::Error {
    match &error {
        CustodyError::Home(HomeError::Io { path, source })
            if source.kind() == std::io::ErrorKind::NotFound && ends_with(path, key) =>
        {
            anyhow!(
                "{} is not there: name the directory that has it with {option} DIR, or see \
                 holdfast-verifier ca request --help for a root that is offline",
                path.display()
            )
        }
        _ => error.into(),
    }
}

fn ends_with(path: &Path, name: &str) -> bool {
    path.file_name().is_some_and(|found| found == name)
}

async fn retire(args: RetireArgs) -> Outcome {
    let home = Home::open(&args.dir.dir)?;
    let custodian = Custodian::new(home.clone(), &config(&home)?);
    let mut rotation = Rotation::begin(&home, Clock::system().now())?;
    if args.kind == KeyKind::Secrets {
        nothing_is_under(&home, &args.id).await?;
    }
    let entry = rotation.retire(&custodian, args.kind, &args.id, args.now)?;
    drop(rotation);
    let server = tell_server(&args.dir).await?;
    if args.json.json {
        return output::print_json(&json!({
            "kind": args.kind.name(),
            "retired": entry.id,
            "server": server.word(),
        }));
    }
    output::print(&format!(
        "{} key {} is gone; {}",
        args.kind,
        entry.id,
        server.text()
    ))
}

/// That no secret would be lost with this key, whatever `--now` says.
async fn nothing_is_under(home: &Home, id: &str) -> Result<(), Failure> {
    let store = SqliteStore::open(&home.prepare_store()?).await?;
    let secrets = store.all_secrets().await;
    store.close().await;
    let under = secrets?.iter().filter(|s| s.stored.key_id == id).count();
    if under > 0 {
        return Err(anyhow!(
            "{under} secrets are under key {id} and would be lost: a running server puts them \
             under the current one (key rotate, or SIGHUP); then retire it"
        )
        .into());
    }
    Ok(())
}

/// Tells a running server, and then the caller, of a rotation.
pub(super) async fn told(dir: &HomeArg, rotated: &Rotated, json: JsonArg) -> Outcome {
    let server = tell_server(dir).await?;
    let Rotated {
        kind,
        current,
        previous,
    } = rotated;
    if json.json {
        return output::print_json(&json!({
            "kind": kind.name(),
            "key_id": current.id,
            "key": current.key.describe(),
            "previous": previous.as_ref().map(|entry| json!({
                "key_id": entry.id,
                "until": entry.until,
            })),
            "server": server.word(),
        }));
    }
    let before = previous.as_ref().map_or_else(String::new, |entry| {
        format!("\n{} counts until {}", entry.id, until(entry))
    });
    output::print(&format!(
        "{kind} key is now {} ({}); {}{before}",
        current.id,
        current.key.describe(),
        server.text()
    ))
}

/// Whether a server took the change up.
enum Told {
    NoServer,
    Taken,
    /// Taken, but the issuing key does not sign now.
    Unavailable(String),
}

impl Told {
    const fn word(&self) -> &'static str {
        match self {
            Self::NoServer => "not-running",
            Self::Taken => "reloaded",
            Self::Unavailable(_) => "issuing-unavailable",
        }
    }

    fn text(&self) -> String {
        match self {
            Self::NoServer => "no server runs here: taken up when one starts".to_owned(),
            Self::Taken => "the server has taken it up".to_owned(),
            Self::Unavailable(why) => {
                format!("the server has taken it up, but cannot issue now: {why}")
            }
        }
    }
}

async fn tell_server(dir: &HomeArg) -> Result<Told, Failure> {
    let at = DirArg {
        dir: Some(dir.dir.clone()),
        ..DirArg::default()
    };
    let Ok(mut client) = client::connect(&at).await else {
        return Ok(Told::NoServer);
    };
    match client.reload_keys(ReloadKeysRequest {}).await {
        Ok(answer) => Ok(match answer.into_inner().issuing_unavailable {
            why if why.is_empty() => Told::Taken,
            why => Told::Unavailable(why),
        }),
        Err(status) => Err(anyhow!(
            "the change is made, but the running server did not take it up: {}",
            status.message()
        )
        .into()),
    }
}
