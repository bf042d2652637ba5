//! `endorsement import|pack|list`: which TPMs are trusted.

pub(super) mod files;
pub(super) mod import;
mod pack;

use clap::{Args, Subcommand};
use holdfast_proto::grpc::v1::{ListEndorsementsRequest, ListEndorsementsResponse};
use serde_json::{Value, json};

pub(super) use self::files::read;
use super::{DirArg, JsonArg, Outcome, client, output};

#[derive(Debug, Subcommand)]
pub(super) enum EndorsementCommand {
    /// Trust the CA certificates in these files and folders, and take their
    /// CRLs. Self-signed certificates become roots, the others intermediates.
    /// Takes effect at once.
    #[command(after_help = "\
Files: PEM (any number of certificates and CRLs), DER, PKCS#7 (certs-only), and
folders of them (.pem, .crt, .cer, .der, .p7b, .p7c, .crl), with what is below.
An endorsement bundle (a .json file, docs/endorsement.md) goes alone: it is
signed on the way, as a policy is, and takes the place of the one before.

What became of each file is told: new, known, refused and why. Exit code 1 where
some of it was refused, 2 where nothing was of use.

Examples:
  holdfast-verifier endorsement import --dir /var/lib/holdfast vendor-cas/
  holdfast-verifier endorsement import --dir /var/lib/holdfast ek-ca.crl
  holdfast-verifier endorsement import --dir /var/lib/holdfast \\
    --owner-key /media/stick/policy-root.key.pem endorsements.json")]
    Import(import::ImportArgs),
    /// Make an endorsement bundle of files, to be signed and imported.
    Pack(pack::PackArgs),
    /// List what is trusted.
    List(ListArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    dir: DirArg,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) async fn run(command: EndorsementCommand) -> Outcome {
    match command {
        EndorsementCommand::Import(args) => import::run(args).await,
        EndorsementCommand::Pack(args) => pack::run(&args),
        EndorsementCommand::List(args) => list(args).await,
    }
}

async fn list(args: ListArgs) -> Outcome {
    let mut client = client::connect(&args.dir).await?;
    let listed = client
        .list_endorsements(ListEndorsementsRequest {})
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner();
    if args.json.json {
        return output::print_json(&as_json(&listed));
    }
    let short = |sha256: &str| sha256.chars().take(16).collect::<String>();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for e in &listed.endorsements {
        let kind = if e.root { "root" } else { "intermediate" };
        let source = if e.bundled { "bundle" } else { "file" };
        rows.push(vec![
            short(&e.sha256),
            kind.to_owned(),
            source.to_owned(),
            output::when(e.not_after),
            e.subject.clone(),
        ]);
    }
    for crl in &listed.crls {
        rows.push(vec![
            short(&crl.sha256),
            format!("crl, {} revoked", crl.entries),
            String::new(),
            output::when(crl.next_update),
            crl.issuer.clone(),
        ]);
    }
    output::print(&output::table(
        &["SHA-256", "KIND", "FROM", "VALID UNTIL", "SUBJECT"],
        &rows,
    ))?;
    if let Some(bundle) = &listed.bundle {
        output::print(&format!(
            "bundle version {} (SHA-256 {}), applied {} by {}: {} EKs listed, {} issuers denied, \
             {} firmware floors",
            bundle.version,
            bundle.sha256,
            output::when(bundle.applied_at),
            output::inert(&bundle.applied_by),
            listed.fingerprints,
            listed.denied_issuers,
            listed.firmware_floors,
        ))?;
    }
    output::print(&format!(
        "leniencies: {}; stale CRL: {}",
        listed.leniencies.join(", "),
        listed.stale_crl
    ))
}

fn as_json(listed: &ListEndorsementsResponse) -> Value {
    let certificates: Vec<Value> = listed
        .endorsements
        .iter()
        .map(|e| {
            json!({
                "sha256": e.sha256,
                "subject": e.subject,
                "root": e.root,
                "not_after": e.not_after,
                "bundled": e.bundled,
            })
        })
        .collect();
    let crls: Vec<Value> = listed
        .crls
        .iter()
        .map(|crl| {
            json!({
                "sha256": crl.sha256,
                "issuer": crl.issuer,
                "this_update": crl.this_update,
                "next_update": crl.next_update,
                "entries": crl.entries,
            })
        })
        .collect();
    let bundle = listed.bundle.as_ref().map(|bundle| {
        json!({
            "version": bundle.version,
            "sha256": bundle.sha256,
            "applied_at": bundle.applied_at,
            "applied_by": bundle.applied_by,
        })
    });
    json!({
        "endorsements": certificates,
        "crls": crls,
        "bundle": bundle,
        "leniencies": listed.leniencies,
        "stale_crl": listed.stale_crl,
        "fingerprints": listed.fingerprints,
        "denied_issuers": listed.denied_issuers,
        "firmware_floors": listed.firmware_floors,
    })
}
