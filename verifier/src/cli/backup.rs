//! `backup` and `restore`: a verifier's directory in one file, and back.

use std::path::{Path, PathBuf};

use clap::Args;
use holdfast_proto::grpc::v1::ConfirmRestoreRequest;
use ring::rand::SystemRandom;
use serde_json::json;
use zeroize::Zeroizing;

use super::{DirArg, Failure, JsonArg, Outcome, client, input, output};
use crate::{
    backup::{self, BackupError, Manifest},
    config::{
        Home,
        home::file,
        staging::{self, Staging},
    },
    custody::{Cabinet, KeyKind, SecretSource, rotate_commands},
    service::Clock,
    store::{Restored, Store as _, sqlite::SqliteStore},
    time::UnixTime,
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast-verifier backup --dir /var/lib/holdfast --output /backup/holdfast-2026-11-24.tar
  holdfast-verifier backup --dir /var/lib/holdfast --output FILE --passphrase file:/root/backup.pass

Works while `serve` runs, and is of one moment. FILE is a tar archive, mode 0600.
Without a passphrase the keys are left out: keep copies of them elsewhere. Keys in
a PKCS#11 token or a TPM stay there.")]
pub(super) struct BackupArgs {
    /// The verifier's directory, as made by `init`.
    #[arg(long, env = "HOLDFAST_DIR", value_name = "DIR")]
    dir: PathBuf,
    /// File to write; it must not exist.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Put the keys in, encrypted under the passphrase (at least 12 bytes) that
    /// is there: credential:NAME, env:NAME or file:/PATH.
    #[arg(long, value_name = "SOURCE")]
    passphrase: Option<SecretSource>,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast-verifier restore --from holdfast-2026-11-24.tar --dir /var/lib/holdfast
  holdfast-verifier restore --from FILE --dir DIR --passphrase file:/root/backup.pass --id 5f0c…

A restored verifier does not know what happened after the backup: who was revoked
or denied, which LDevIDs were issued, which keys retired. So it trusts nobody:
LDevIDs, join tokens, pending admissions and operators' certificates are void, all
keys but the server's are to be replaced (key rotate), and nobody
enrols or recovers before you have said again what was said since, and that you
have: confirm-restore. Then gateways come back by themselves, by Recover.

--nothing-since makes nothing void. Say it only where the verifier was stopped
before the backup was made and has not run again: to move it elsewhere.")]
pub(super) struct RestoreArgs {
    /// The backup.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Directory to make; it must not exist, or be empty.
    #[arg(long, env = "HOLDFAST_DIR", value_name = "DIR")]
    dir: PathBuf,
    /// Where the passphrase of the keys is.
    #[arg(long, value_name = "SOURCE")]
    passphrase: Option<SecretSource>,
    /// Refuse any other backup than that with this id, as `backup` printed it.
    #[arg(long, value_name = "HEX")]
    id: Option<String>,
    /// Nothing was granted, revoked or imported since the backup was made.
    #[arg(long)]
    nothing_since: bool,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast-verifier confirm-restore --dir /var/lib/holdfast --id 5f0c…

After `restore`, before this: look at `gateway list`, `admission list`, `admission
pending`, `oem list`, and do again what was revoked, suspended, removed or denied
after the backup; the old verifier's log and the receivers of its webhooks have it.
Refused while a key of the backup is in use (key rotate).")]
pub(super) struct ConfirmArgs {
    #[command(flatten)]
    dir: DirArg,
    /// The backup's id, as `restore` printed it.
    #[arg(long, value_name = "HEX")]
    id: String,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) async fn confirm(args: &ConfirmArgs) -> Outcome {
    let mut client = client::connect(&args.dir).await?;
    let confirmed = client
        .confirm_restore(ConfirmRestoreRequest {
            backup: args.id.clone(),
        })
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner();
    if args.json.json {
        return output::print_json(&json!({
            "id": args.id,
            "gateways": confirmed.gateways,
            "devices": confirmed.devices,
            "serials": confirmed.serials,
        }));
    }
    output::print(&format!(
        "confirmed: {} gateways may recover, {} devices and {} products may enrol",
        confirmed.gateways, confirmed.devices, confirmed.serials
    ))
}

pub(super) async fn make(args: &BackupArgs) -> Outcome {
    let home = Home::open(&args.dir)?;
    let passphrase = passphrase(args.passphrase.as_ref())?;
    let made = backup::make(
        &home,
        &args.output,
        passphrase.as_ref().map(|text| text.as_str()),
        Clock::system().now().seconds(),
        &SystemRandom::new(),
    )
    .await
    .map_err(failure)?;
    let (manifest, id) = (&made.manifest, hex::encode(made.id));
    if args.json.json {
        return output::print_json(&json!({
            "output": args.output,
            "id": id,
            "made_at": output::when(manifest.made_at),
            "schema": manifest.store.holds.schema,
            "gateways": manifest.store.holds.gateways,
            "keys": manifest.secrets.is_some(),
            "key_files": manifest.secret_files,
        }));
    }
    let keys = list(&manifest.secret_files);
    let keys = match &manifest.secrets {
        Some(_) => format!("keys, encrypted: {keys}"),
        None => format!(
            "keys are NOT in it (--passphrase puts them in, encrypted): keep copies of {keys}"
        ),
    };
    output::print(&format!(
        "{}: {}\n{keys}\nid {id}",
        args.output.display(),
        holds(manifest)
    ))
}

pub(super) async fn restore(args: &RestoreArgs) -> Outcome {
    staging::expect_absent_or_empty(&args.dir)?;
    let passphrase = passphrase(args.passphrase.as_ref())?;
    let opened = backup::open(&args.from, args.id.as_deref()).map_err(failure)?;
    let (manifest, id) = (opened.manifest().clone(), hex::encode(opened.id()));

    let staging = Staging::beside(&args.dir)?;
    let home = staging.home();
    let absent = opened
        .unpack(home, passphrase.as_ref().map(|text| text.as_str()))
        .await
        .map_err(failure)?;
    // Brings an older store to this program's schema.
    let store = SqliteStore::open(&home.path(file::STORE)).await?;
    let now = Clock::system().now().seconds();
    let void = store.restored(&id, !args.nothing_since, now).await?;
    store.close().await;
    let rotate = match args.nothing_since {
        true => Vec::new(),
        false => void_keys(home, now)?,
    };
    staging.become_dir(&args.dir)?;

    if args.json.json {
        return output::print_json(&json!({
            "dir": args.dir,
            "id": id,
            "made_at": output::when(manifest.made_at),
            "schema": SqliteStore::schema(),
            "schema_of_backup": manifest.store.holds.schema,
            "gateways": manifest.store.holds.gateways,
            "ldevids_revoked": void.certificates,
            "join_tokens_void": void.join_tokens,
            "pending_void": void.pending,
            "operators_revoked": void.operators,
            "keys_to_replace": rotate.iter().map(|kind| kind.name()).collect::<Vec<_>>(),
            "confirmed": args.nothing_since,
            "key_files_missing": absent,
        }));
    }
    let mut text = format!(
        "{} holds the verifier as it was: {}\nid {id}\n{}",
        args.dir.display(),
        holds(&manifest),
        voided(void, args.nothing_since)
    );
    if !absent.is_empty() {
        text.push_str(&format!(
            "\nPut there, mode 0600, before `serve`: {}",
            list(&absent)
        ));
    }
    if !args.nothing_since {
        text.push_str(&next_steps(&args.dir, &id, &rotate));
    }
    output::print(&text)
}

/// Makes void the keys that the backup's keyring names: says which are to be
/// replaced.
fn void_keys(home: &Home, now: i64) -> Result<Vec<KeyKind>, Failure> {
    let cabinet = Cabinet::new(home);
    let lock = cabinet.lock()?;
    let mut ring = cabinet.read()?;
    ring.make_void(UnixTime::from_seconds(now));
    cabinet.write(&ring, &lock)?;
    Ok(ring.void_current())
}

fn next_steps(dir: &Path, id: &str, rotate: &[KeyKind]) -> String {
    let dir_shown = dir.display();
    format!(
        "\nNobody enrols or recovers before this is done:\n\
         1. Replace the keys, each may have been retired since:\n{}\n\
         2. holdfast-verifier serve --dir {dir_shown}\n\
         3. Do again what was done after the backup: revoke and suspend gateways, remove and deny \
         admissions, remove OEMs' serial numbers, apply policies, reference values, allow lists and \
         endorsements; issue operators' certificates anew\n\
         4. holdfast-verifier confirm-restore --dir {dir_shown} --id {id}\n\
         Relying parties that go by CRLs alone: what the old issuing CA issued after the backup is \
         on none. Give them the root's CRL (ca revoke), or have them wait until it has ended",
        rotate_commands(dir, rotate)
    )
}

fn holds(manifest: &Manifest) -> String {
    let holds = &manifest.store.holds;
    format!(
        "{}, {} gateways, last act on record {}, store of schema {}",
        output::when(manifest.made_at),
        holds.gateways,
        output::when(holds.last_act_at),
        holds.schema
    )
}

fn voided(void: Restored, nothing_since: bool) -> String {
    if nothing_since {
        return "everything in it stays in force, as you said that nothing happened since"
            .to_owned();
    }
    format!(
        "{} LDevIDs revoked: their gateways come back by a full attestation; {} join tokens, {} \
         pending admissions and {} operators' certificates void.\n\
         What was issued, revoked, denied, removed or applied after the backup is not known here",
        void.certificates, void.join_tokens, void.pending, void.operators
    )
}

fn list<T: std::fmt::Display>(names: &[T]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.join(", ")
}

fn passphrase(source: Option<&SecretSource>) -> Result<Option<Zeroizing<String>>, Failure> {
    source.map(SecretSource::read).transpose().map_err(input)
}

/// What was given cannot be used, or it was refused.
fn failure(error: BackupError) -> Failure {
    match error {
        BackupError::Malformed(_)
        | BackupError::Format { .. }
        | BackupError::NewerSchema { .. }
        | BackupError::WeakPassphrase(_)
        | BackupError::PassphraseNeeded
        | BackupError::PassphraseUnused => input(error),
        other => other.into(),
    }
}
