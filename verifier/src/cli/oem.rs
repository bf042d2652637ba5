//! `oem …`: OEMs and the products of theirs that may enrol; and the OEM's own
//! side, its CA.

mod desk;
mod serials;

use clap::Subcommand;

use super::Outcome;

#[derive(Debug, Subcommand)]
pub(super) enum OemCommand {
    /// List the CA certificates of OEMs (`endorsement import --oem` adds some).
    List(serials::ListArgs),
    /// Trust an OEM, or one CA of it, no more: gateways that it endorsed are
    /// suspended at once, and their LDevIDs revoked.
    #[command(after_help = "\
Examples:
  holdfast-verifier oem withdraw --dir D --oem acme --reason 'key stolen in May'
  holdfast-verifier oem withdraw --dir D --oem acme --certificate 5f0c… --reason '…'   (SHA-256, as oem list shows it)

No path through the key of what was withdrawn counts, whoever certified it. To trust
it again, import it again (endorsement import --oem … --trust-again), then resume the
gateways.")]
    Withdraw(serials::WithdrawArgs),
    /// Let products enrol by their OEM's word alone, without a join token.
    Allow(serials::AllowArgs),
    /// Take products off the list. Gateways that are on record stay.
    Remove(serials::RemoveArgs),
    /// List the products that may enrol by serial number.
    Serials(serials::ListArgs),
    /// For an OEM: make a CA for IDevID and IAK certificates.
    Init(desk::InitArgs),
    /// For an OEM: check a device's request, and make a challenge for its TPM.
    Challenge(desk::ChallengeArgs),
    /// For an OEM: issue both certificates to the device that answered right.
    Issue(desk::IssueArgs),
    /// For an OEM: list what was issued.
    Issued(desk::IssuedArgs),
}

pub(super) async fn run(command: OemCommand) -> Outcome {
    match command {
        OemCommand::List(args) => serials::anchors(args).await,
        OemCommand::Withdraw(args) => serials::withdraw(args).await,
        OemCommand::Allow(args) => serials::allow(args).await,
        OemCommand::Remove(args) => serials::remove(args).await,
        OemCommand::Serials(args) => serials::list(args).await,
        OemCommand::Init(args) => desk::init(&args),
        OemCommand::Challenge(args) => desk::challenge(&args),
        OemCommand::Issue(args) => desk::issue(&args),
        OemCommand::Issued(args) => desk::issued(&args),
    }
}
