//! `secret put|revoke|list|show`: secrets for the gateways of a class.

use std::io::{IsTerminal as _, Read as _};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use holdfast_proto::{
    grpc::v1::{ListSecretsRequest, PutSecretRequest, RevokeSecretRequest, Secret},
    secrets::{MAX_DELIVERED, SecretName},
};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{DirArg, Failure, JsonArg, Outcome, client, input, output};

const PUT_EXAMPLES: &str = "\
The secret is read from stdin, to the byte: 1 to 4,096 bytes; a final newline
belongs to it. Each gateway of the class gets it in its next attestation that is
affirmed, encrypted to its TPM; on the gateway: holdfast-attester secret get NAME.
A name that is there gets a new version, and what was kept of the old is erased.

Examples:
  printf %s \"$PASSWORD\" | holdfast-verifier secret put --dir /var/lib/holdfast --class edge db-password
  holdfast-verifier secret put --dir /var/lib/holdfast --class edge vpn.conf < vpn.conf";

#[derive(Debug, Subcommand)]
pub(super) enum SecretCommand {
    /// Put a secret, or a new version of it, from stdin.
    #[command(after_help = PUT_EXAMPLES)]
    Put(PutArgs),
    /// Take a secret back: it is delivered no more, and gateways delete it in
    /// their next attestation. What a gateway read already, it may have kept.
    Revoke(RevokeArgs),
    /// List secrets by name, the newest version of each.
    List(ListArgs),
    /// Show the versions of one secret, and which gateways it was sent to.
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub(super) struct PutArgs {
    #[command(flatten)]
    dir: DirArg,
    /// The class whose gateways get it.
    #[arg(long)]
    class: String,
    /// Its name: 1 to 64 of a-z, 0-9, '-', '_' and '.'.
    name: SecretName,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    dir: DirArg,
    /// The class whose gateways get it.
    #[arg(long)]
    class: String,
    /// Its name.
    name: SecretName,
    /// Why: one line, for the record.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    dir: DirArg,
    /// Of this class only.
    #[arg(long, default_value = "")]
    class: String,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    dir: DirArg,
    /// Its class.
    #[arg(long)]
    class: String,
    /// Its name.
    name: SecretName,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) async fn run(command: SecretCommand) -> Outcome {
    match command {
        SecretCommand::Put(args) => put(args).await,
        SecretCommand::Revoke(args) => revoke(args).await,
        SecretCommand::List(args) => {
            let secrets = fetch(&args.dir, args.class, String::new()).await?;
            list(&secrets, args.json)
        }
        SecretCommand::Show(args) => {
            let secrets = fetch(&args.dir, args.class, args.name.to_string()).await?;
            show(&secrets, args.json)
        }
    }
}

async fn put(args: PutArgs) -> Outcome {
    let mut secret = read_secret()?;
    let mut client = client::connect(&args.dir).await?;
    let request = PutSecretRequest {
        class: args.class,
        name: args.name.to_string(),
        secret: std::mem::take(&mut *secret),
    };
    let put = client
        .put_secret(request)
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner()
        .secret
        .ok_or_else(|| anyhow!("the server answered without a secret"))?;
    if args.json.json {
        return output::print_json(&as_json(&put));
    }
    output::print(&format!(
        "{} of class {} is now version {}; each gateway gets it in its next attestation",
        output::inert(&put.name),
        output::inert(&put.class),
        put.version
    ))
}

async fn revoke(args: RevokeArgs) -> Outcome {
    let mut client = client::connect(&args.dir).await?;
    let request = RevokeSecretRequest {
        class: args.class,
        name: args.name.to_string(),
        reason: args.reason,
    };
    let revoked = client
        .revoke_secret(request)
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner()
        .secret
        .ok_or_else(|| anyhow!("the server answered without a secret"))?;
    if args.json.json {
        return output::print_json(&as_json(&revoked));
    }
    output::print(&format!(
        "{} of class {}, version {}, is revoked; it was sent to {} gateways, which delete it in \
         their next attestation. Who could read it there may have kept it: change what it opens",
        output::inert(&revoked.name),
        output::inert(&revoked.class),
        revoked.version,
        revoked.delivered
    ))
}

async fn fetch(at: &DirArg, class: String, name: String) -> Result<Vec<Secret>, Failure> {
    let mut client = client::connect(at).await?;
    let secrets = client
        .list_secrets(ListSecretsRequest { class, name })
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner()
        .secrets;
    Ok(secrets)
}

fn list(secrets: &[Secret], json: JsonArg) -> Outcome {
    if json.json {
        let values: Vec<Value> = secrets.iter().map(as_json).collect();
        return output::print_json(&json!({ "secrets": values }));
    }
    let rows: Vec<Vec<String>> = secrets
        .iter()
        .map(|secret| {
            vec![
                secret.class.clone(),
                secret.name.clone(),
                secret.version.to_string(),
                secret.state.clone(),
                secret.size.to_string(),
                output::when(secret.put_at),
                secret.put_by.clone(),
                secret.delivered.to_string(),
            ]
        })
        .collect();
    let header = [
        "CLASS", "NAME", "VERSION", "STATE", "BYTES", "PUT", "BY", "SENT TO",
    ];
    output::print(&output::table(&header, &rows))
}

fn show(secrets: &[Secret], json: JsonArg) -> Outcome {
    if json.json {
        let values: Vec<Value> = secrets.iter().map(as_json).collect();
        return output::print_json(&json!({ "versions": values }));
    }
    for secret in secrets {
        let ended = match secret.ended_at {
            0 => String::new(),
            at => format!(
                " {} by {} {}",
                output::when(at),
                output::inert(&secret.ended_by),
                output::inert(&secret.reason)
            ),
        };
        output::print(&format!(
            "version {}: {}{ended}; {} bytes, put {} by {}; sent to {} gateways",
            secret.version,
            secret.state,
            secret.size,
            output::when(secret.put_at),
            output::inert(&secret.put_by),
            secret.delivered
        ))?;
        for gateway in &secret.gateways {
            output::print(&format!("  {}", output::inert(gateway)))?;
        }
    }
    Ok(())
}

fn as_json(secret: &Secret) -> Value {
    json!({
        "class": secret.class,
        "name": secret.name,
        "version": secret.version,
        "state": secret.state,
        "bytes": secret.size,
        "put_at": secret.put_at,
        "put_by": secret.put_by,
        "ended_at": secret.ended_at,
        "ended_by": secret.ended_by,
        "reason": secret.reason,
        "delivered": secret.delivered,
        "gateways": secret.gateways,
        "key_id": secret.key_id,
    })
}

/// All of stdin, in memory that is never moved and is wiped in the end.
fn read_secret() -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut stdin = std::io::stdin().lock();
    if stdin.is_terminal() {
        return Err(input(anyhow!(
            "give the secret by stdin: holdfast-verifier secret put --class CLASS NAME < FILE"
        )));
    }
    let mut secret = Zeroizing::new(Vec::with_capacity(MAX_DELIVERED + 1));
    stdin
        .by_ref()
        .take(MAX_DELIVERED as u64 + 1)
        .read_to_end(&mut secret)
        .context("stdin")
        .map_err(input)?;
    match secret.len() {
        1..=MAX_DELIVERED => Ok(secret),
        0 => Err(input(anyhow!(
            "stdin is empty: a secret has 1 to {MAX_DELIVERED} bytes"
        ))),
        _ => Err(input(anyhow!(
            "stdin has more than {MAX_DELIVERED} bytes: put a key, and encrypt what is long with it"
        ))),
    }
}
