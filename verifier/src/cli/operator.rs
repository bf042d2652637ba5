//! `operator init-ca|issue|add|list|revoke|whoami`.

mod issue;

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use holdfast_proto::grpc::v1::{
    AddOperatorRequest, ListOperatorsRequest, OperatorCertificate, RevokeOperatorRequest,
    WhoAmIRequest,
};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::{Value, json};

use super::{DirArg, JsonArg, Outcome, client, output};

/// Certificates fetched at once.
const PAGE: u32 = 500;

#[derive(Debug, Subcommand)]
pub(super) enum OperatorCommand {
    /// Make the CA of operators' certificates, where `init` made none.
    InitCa(issue::InitCaArgs),
    /// Make a key and a certificate with a role, and record it.
    #[command(after_help = "\
Roles: viewer sees; operator also runs gateways; admin also changes what is trusted.
The file holds key and certificate, mode 0600: bring it to its owner as you would
a password, and delete it here.

Examples:
  holdfast-verifier operator issue alice --role operator --days 90 --dir /var/lib/holdfast --output alice.pem
  holdfast-verifier gateway list --admin-server verifier.example:7444 --identity alice.pem --server-ca server-ca.pem
The door is opened by admin.listen in config.toml.")]
    Issue(issue::IssueArgs),
    /// Record a certificate that a CA of your own made (docs/roles.md).
    Add(AddArgs),
    /// List operators' certificates, revoked ones included.
    List(ListArgs),
    /// Revoke one, for ever and at once.
    Revoke(RevokeArgs),
    /// Who you are to the verifier, and your role.
    Whoami(WhoamiArgs),
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    #[command(flatten)]
    dir: DirArg,
    /// The certificate, PEM or DER.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    dir: DirArg,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    dir: DirArg,
    /// Serial number, as `list` shows it.
    serial: String,
    /// Why: one line, for the record.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(super) struct WhoamiArgs {
    #[command(flatten)]
    dir: DirArg,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) async fn run(command: OperatorCommand) -> Outcome {
    match command {
        OperatorCommand::InitCa(args) => issue::init_ca(&args),
        OperatorCommand::Issue(args) => issue::run(args).await,
        OperatorCommand::Add(args) => {
            let bytes =
                std::fs::read(&args.file).with_context(|| args.file.display().to_string())?;
            let der = CertificateDer::from_pem_slice(&bytes).map_or(bytes, |der| der.to_vec());
            let added = add(&args.dir, der).await?;
            if args.json.json {
                return output::print_json(&as_json(&added));
            }
            output::print(&said(&added))
        }
        OperatorCommand::List(args) => list(args).await,
        OperatorCommand::Revoke(args) => {
            let mut client = client::connect(&args.dir).await?;
            let request = RevokeOperatorRequest {
                serial: args.serial,
                reason: args.reason,
            };
            let revoked = client
                .revoke_operator(request)
                .await
                .map_err(|s| client::refused(&s))?
                .into_inner()
                .operator
                .unwrap_or_default();
            if args.json.json {
                return output::print_json(&as_json(&revoked));
            }
            output::print(&format!(
                "revoked {} of {}",
                output::inert(&revoked.serial),
                output::inert(&revoked.name)
            ))
        }
        OperatorCommand::Whoami(args) => {
            let mut client = client::connect(&args.dir).await?;
            let me = client
                .who_am_i(WhoAmIRequest {})
                .await
                .map_err(|s| client::refused(&s))?
                .into_inner();
            if args.json.json {
                return output::print_json(&json!({"name": me.name, "role": me.role}));
            }
            output::print(&format!(
                "{}: {}",
                output::inert(&me.name),
                output::inert(&me.role)
            ))
        }
    }
}

/// Records a certificate.
async fn add(at: &DirArg, certificate: Vec<u8>) -> Result<OperatorCertificate, super::Failure> {
    let mut client = client::connect(at).await?;
    client
        .add_operator(AddOperatorRequest { certificate })
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner()
        .operator
        .ok_or_else(|| anyhow!("the server answered without an operator").into())
}

fn said(operator: &OperatorCertificate) -> String {
    format!(
        "{} is {} until {} (serial {})",
        output::inert(&operator.name),
        output::inert(&operator.role),
        output::when(operator.not_after),
        output::inert(&operator.serial)
    )
}

async fn list(args: ListArgs) -> Outcome {
    let mut client = client::connect(&args.dir).await?;
    let mut operators = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListOperatorsRequest {
            page_size: PAGE,
            page_token,
        };
        let page = client
            .list_operators(request)
            .await
            .map_err(|s| client::refused(&s))?
            .into_inner();
        operators.extend(page.operators);
        if page.next_page_token.is_empty() {
            break;
        }
        page_token = page.next_page_token;
    }
    if args.json.json {
        let values: Vec<Value> = operators.iter().map(as_json).collect();
        return output::print_json(&json!({ "operators": values }));
    }
    let rows: Vec<Vec<String>> = operators
        .into_iter()
        .map(|o| {
            let state = match o.revoked_at {
                0 => String::new(),
                at => format!("{} {}", output::when(at), o.revocation_reason),
            };
            vec![
                o.name,
                o.role,
                o.serial,
                output::when(o.not_after),
                o.added_by,
                state,
            ]
        })
        .collect();
    let header = ["NAME", "ROLE", "SERIAL", "UNTIL", "ADDED BY", "REVOKED"];
    output::print(&output::table(&header, &rows))
}

fn as_json(operator: &OperatorCertificate) -> Value {
    json!({
        "name": operator.name,
        "role": operator.role,
        "serial": operator.serial,
        "sha256": operator.sha256,
        "not_before": operator.not_before,
        "not_after": operator.not_after,
        "added_at": operator.added_at,
        "added_by": operator.added_by,
        "revoked_at": operator.revoked_at,
        "revocation_reason": operator.revocation_reason,
    })
}
