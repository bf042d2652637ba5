//! `ca`: the CAs' certificates, how long they last, and the issuing CA's
//! succession. All of it works on the directory; a running server is told.

mod offline;
mod show;

use clap::{Args, Subcommand};

use super::{Outcome, key};

/// What is said of the passphrase of a key that lies offline.
#[derive(Debug, Clone, Args)]
pub(super) struct RootArgs {
    /// The directory with the root CA's key.
    #[arg(long, value_name = "DIR")]
    pub(super) root_ca_dir: std::path::PathBuf,
    /// Where the passphrase of its key is: credential:NAME, env:NAME or
    /// file:/PATH.
    #[arg(long, value_name = "SOURCE")]
    pub(super) root_passphrase: Option<crate::custody::SecretSource>,
}

#[derive(Debug, Subcommand)]
pub(super) enum CaCommand {
    /// Show the CAs' and the server's certificates, where their keys are, and
    /// when they end.
    Show(show::ShowArgs),
    /// Exit with 1 where a certificate has ended or ends soon.
    #[command(after_help = "\
Examples:
  holdfast-verifier ca check --dir /var/lib/holdfast --days 60 || mail -s 'CA' owner@example.org")]
    Check(show::CheckArgs),
    /// Replace the issuing CA or the server's certificate, the CA above it at
    /// hand.
    #[command(after_help = key::ROTATE_EXAMPLES)]
    Rotate(key::RotateArgs),
    /// First of three steps with an offline root: make the next issuing key,
    /// and the request (PKCS #10) for its certificate.
    #[command(after_help = OFFLINE_EXAMPLES)]
    Request(offline::RequestArgs),
    /// Second step, on the machine that has the root: sign the request.
    #[command(after_help = OFFLINE_EXAMPLES)]
    Sign(offline::SignArgs),
    /// Third step: take the certificate up. Refused unless it is the waiting
    /// key's and the root's.
    #[command(after_help = OFFLINE_EXAMPLES)]
    Install(offline::InstallArgs),
    /// Where the root is: sign its CRL, with issuing CAs that nobody shall trust
    /// any more on it.
    #[command(after_help = "\
Examples:
  holdfast-verifier ca revoke --root-ca-dir /media/safe/root issuing-ca.pem --output root.crl

Name every issuing CA that was ever revoked and has not ended: a CRL takes the
place of the one before. LDevIDs do not name it: carry it to the relying parties.")]
    Revoke(offline::RevokeArgs),
}

const OFFLINE_EXAMPLES: &str = "\
Examples:
  holdfast-verifier ca request --dir /var/lib/holdfast --output next.csr
  holdfast-verifier ca sign --root-ca-dir /media/safe/root next.csr --output next.pem
  holdfast-verifier ca install --dir /var/lib/holdfast next.pem";

pub(super) async fn run(command: CaCommand) -> Outcome {
    match command {
        CaCommand::Show(args) => show::show(&args),
        CaCommand::Check(args) => show::check(&args),
        CaCommand::Rotate(args) => key::rotate(args).await,
        CaCommand::Request(args) => offline::request(&args),
        CaCommand::Sign(args) => offline::sign(&args),
        CaCommand::Install(args) => offline::install(args).await,
        CaCommand::Revoke(args) => offline::revoke(&args),
    }
}
