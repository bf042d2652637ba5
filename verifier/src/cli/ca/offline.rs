//! The issuing CA's succession in three steps, where the root is offline.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use ring::rand::SystemRandom;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::json;

use super::RootArgs;
use crate::{
    cli::{
        Failure, JsonArg, Outcome, input,
        key::{self, HomeArg, config},
        output,
        owner::read_capped,
        token,
    },
    config::{Home, files},
    custody::{Custodian, OfflineRoot, Rotation},
    identity::{CaCertificate, RequestedKey, pem},
    service::Clock,
};

/// A request or certificate has some hundred bytes.
const FILE_MAX: u64 = 64 * 1024;

#[derive(Debug, Args)]
pub(in crate::cli) struct RequestArgs {
    #[command(flatten)]
    dir: HomeArg,
    /// Where the request goes; nothing is overwritten.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SignArgs {
    #[command(flatten)]
    root: RootArgs,
    /// Where the certificate goes; nothing is overwritten.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// The request.
    request: PathBuf,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct InstallArgs {
    #[command(flatten)]
    dir: HomeArg,
    /// How long the CA of before still signs its CRLs and OCSP answers: as
    /// long as LDevIDs live, and some time for them to be asked about.
    #[arg(long, default_value = "8d", value_name = "TIME", value_parser = token::seconds)]
    overlap: u32,
    /// The certificate.
    certificate: PathBuf,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RevokeArgs {
    #[command(flatten)]
    root: RootArgs,
    /// Where the CRL goes (PEM); nothing is overwritten.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// How long it counts: there must be another by then.
    #[arg(long, default_value = "400d", value_name = "TIME", value_parser = token::seconds)]
    valid_for: u32,
    /// Certificates of issuing CAs.
    #[arg(required = true, value_name = "CERTIFICATE")]
    certificates: Vec<PathBuf>,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) fn revoke(args: &RevokeArgs) -> Outcome {
    let certificate = |path: &PathBuf| {
        let bytes = read_capped(path, FILE_MAX)?;
        let der = CertificateDer::from_pem_slice(&bytes)
            .with_context(|| path.display().to_string())
            .map_err(input)?;
        let ca = CaCertificate::parse(&der).with_context(|| path.display().to_string());
        ca.map_err(input)
    };
    let cas = args
        .certificates
        .iter()
        .map(certificate)
        .collect::<Result<Vec<_>, Failure>>()?;
    let authority = OfflineRoot::root(&args.root.root_ca_dir)?
        .authority(None, args.root.root_passphrase.as_ref())?;
    let now = Clock::system().now();
    let next_update = now.plus(args.valid_for.into());
    let crl = authority.revoke_cas(&cas, now, next_update)?;
    files::write_new(
        &args.output,
        pem::encode("X509 CRL", &crl).as_bytes(),
        0o644,
    )?;
    if args.json.json {
        let revoked = cas.iter().map(|ca| hex::encode(ca.key_identifier()));
        return output::print_json(&json!({
            "crl": args.output,
            "revoked": revoked.collect::<Vec<_>>(),
            "next_update": next_update.seconds(),
        }));
    }
    output::print(&format!(
        "{} revokes {} issuing CAs, until {next_update}: relying parties need it beside the root \
         (openssl verify -crl_check_all)",
        args.output.display(),
        cas.len()
    ))
}

pub(super) fn request(args: &RequestArgs) -> Outcome {
    let home = Home::open(&args.dir.dir)?;
    let custodian = Custodian::new(home.clone(), &config(&home)?);
    let mut rotation = Rotation::begin(&home, Clock::system().now())?;
    let request = rotation.request(&custodian)?;
    files::write_new(&args.output, request.as_bytes(), 0o644)?;
    let id = rotation
        .ring()
        .pending()
        .map(|entry| entry.id.clone())
        .unwrap_or_default();
    if args.json.json {
        return output::print_json(&json!({ "key_id": id, "request": args.output }));
    }
    output::print(&format!(
        "{} asks for a certificate for key {id}. Next, where the root is:\n  \
         holdfast-verifier ca sign --root-ca-dir DIR {} --output issuing-ca.pem",
        args.output.display(),
        args.output.display(),
    ))
}

pub(super) fn sign(args: &SignArgs) -> Outcome {
    let text = read_capped(&args.request, FILE_MAX)?;
    let text = String::from_utf8(text).map_err(input)?;
    let requested = RequestedKey::parse(&text)
        .with_context(|| args.request.display().to_string())
        .map_err(input)?;
    let root = OfflineRoot::root(&args.root.root_ca_dir)?;
    let organization = root
        .certificate()?
        .organization()
        .unwrap_or("Holdfast")
        .to_owned();
    let authority = root.authority(None, args.root.root_passphrase.as_ref())?;
    let now = Clock::system().now();
    let der = authority.certify_ca(
        requested.public(),
        &organization,
        "Issuing CA",
        now,
        &SystemRandom::new(),
    )?;
    files::write_new(
        &args.output,
        pem::encode("CERTIFICATE", &der).as_bytes(),
        0o644,
    )?;
    let ca = CaCertificate::parse(&der)?;
    let id = hex::encode(ca.key_identifier());
    if args.json.json {
        return output::print_json(&json!({
            "key_id": id,
            "certificate": args.output,
            "not_after": ca.not_after().seconds(),
        }));
    }
    output::print(&format!(
        "{} makes key {id} an issuing CA until {} (by this machine's clock: it is now {now}). \
         Next, on the verifier:\n  holdfast-verifier ca install --dir DIR {}",
        args.output.display(),
        ca.not_after(),
        args.output.display()
    ))
}

pub(super) async fn install(args: InstallArgs) -> Outcome {
    let bytes = read_capped(&args.certificate, FILE_MAX)?;
    let der = CertificateDer::from_pem_slice(&bytes)
        .with_context(|| args.certificate.display().to_string())
        .map_err(input)?;
    let home = Home::open(&args.dir.dir)?;
    let custodian = Custodian::new(home.clone(), &config(&home)?);
    let rotated =
        Rotation::begin(&home, Clock::system().now())?.install(&custodian, &der, args.overlap)?;
    key::told(&args.dir, &rotated, args.json).await
}
