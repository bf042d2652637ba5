//! `operator init-ca` and `operator issue`: the CA's key is used here, by the
//! one who types, and never by the service.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use clap::Args;
use ring::rand::SystemRandom;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    cli::{DirArg, JsonArg, Outcome, input, output},
    config::{Home, HomeError, files, home::file},
    identity::{Authority, FileSigner},
    operators::{Role, operator_name, operator_uri},
    service::Clock,
};

/// Longest life of a person's certificate. People leave.
const DAYS_MAX: i64 = 825;

#[derive(Debug, Args)]
pub(in crate::cli) struct InitCaArgs {
    /// The verifier's directory.
    #[arg(long, env = "HOLDFAST_DIR", value_name = "DIR")]
    dir: PathBuf,
    /// Organisation in the CA's name.
    #[arg(long, default_value = "Holdfast", value_name = "NAME")]
    organization: String,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct IssueArgs {
    #[command(flatten)]
    dir: DirArg,
    /// Whose it is, for the audit log: 1 to 64 of a-z 0-9 . _ -
    name: String,
    /// What that one may do.
    #[arg(long, value_name = "viewer|operator|admin")]
    role: Role,
    /// How long, in days.
    #[arg(long, default_value_t = 90, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=DAYS_MAX))]
    days: u16,
    /// Directory with operator-ca.pem and operator-ca.key.pem. Default: DIR.
    #[arg(long, value_name = "DIR")]
    ca_dir: Option<PathBuf>,
    /// New file for key and certificate, mode 0600. Default: NAME.pem
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) fn init_ca(args: &InitCaArgs) -> Outcome {
    let home = Home::open(&args.dir)?;
    let (_, ca) = Authority::new_root(
        &args.organization,
        "Operator CA",
        0,
        Clock::system().now(),
        &SystemRandom::new(),
    )
    .map_err(input)?;
    // The key first: a CA without its key would be in the way for ever.
    home.write_new(file::OPERATOR_CA_KEY, ca.key.expose_pem().as_bytes(), 0o600)?;
    home.write_new(file::OPERATOR_CA, ca.certificate_pem().as_bytes(), 0o644)?;
    let path = home.path(file::OPERATOR_CA);
    if args.json.json {
        return output::print_json(&json!({ "operator_ca": path }));
    }
    output::print(&format!(
        "{} made; restart the server, then: holdfast-verifier operator issue NAME --role viewer --dir {}",
        path.display(),
        args.dir.display()
    ))
}

pub(super) async fn run(args: IssueArgs) -> Outcome {
    operator_name(&args.name).map_err(input)?;
    let file = args
        .output
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{}.pem", args.name)));
    if file.symlink_metadata().is_ok() {
        // Before anything is recorded: a certificate whose key nobody has is a
        // loose end.
        return Err(input(HomeError::Exists { path: file }));
    }
    let ca_dir = args
        .ca_dir
        .as_ref()
        .or(args.dir.dir.as_ref())
        .ok_or_else(|| {
            input(anyhow!(
                "where is the operators' CA? Name its directory with --ca-dir"
            ))
        })?;
    let ca = Home::open(ca_dir)?;
    let certificate =
        CertificateDer::from_pem_slice(ca.read_trusted(file::OPERATOR_CA)?.as_bytes())
            .with_context(|| ca.path(file::OPERATOR_CA).display().to_string())?;
    let signer = FileSigner::from_pkcs8_pem(&ca.read_secret(file::OPERATOR_CA_KEY)?)
        .with_context(|| ca.path(file::OPERATOR_CA_KEY).display().to_string())?;
    let authority = Authority::open(&certificate, signer).context(file::OPERATOR_CA)?;
    let uri = operator_uri(args.role, &args.name).map_err(input)?;
    let now = Clock::system().now();
    let issued =
        authority.issue_client(&args.name, &[&uri], args.days, now, &SystemRandom::new())?;
    let pem = Zeroizing::new(format!(
        "{}{}",
        issued.certificate_pem(),
        *issued.key.expose_pem()
    ));
    // Written first: recorded without its key, it would be good for nobody,
    // but would be there.
    files::write_new(&file, pem.as_bytes(), 0o600)?;
    let added = match super::add(&args.dir, issued.certificate).await {
        Ok(added) => added,
        Err(failure) => {
            let _ = std::fs::remove_file(&file);
            return Err(failure);
        }
    };
    if args.json.json {
        let mut value = super::as_json(&added);
        if let serde_json::Value::Object(fields) = &mut value {
            fields.insert("output".to_owned(), json!(file));
        }
        return output::print_json(&value);
    }
    output::print(&format!(
        "{}; key and certificate in {}",
        super::said(&added),
        file.display()
    ))
}
