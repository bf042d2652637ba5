//! `reference`: which measurements a class may have.

mod allow_list;
mod import;
mod learn;
mod list;
mod send;
pub(super) mod source;

use clap::Subcommand;

use super::Outcome;

const IMPORT_HELP: &str = "\
Reference values, in our own JSON, list for each PCR the values that are good:
    {\"pcrs\":{\"sha256\":{\"0\":[\"<64 hex digits>\"],\"4\":[\"...\",\"...\"]}}}
Every PCR that the server asks for (pcr_selection in config.toml) needs an entry.
Values may have an end: docs/reference-values.md. A CoRIM is turned into the same.

An allow list says which files IMA may have measured. It comes from what sha256sum
prints (sha384sum, sha512sum too) and from Debian packages, all in one command; it
replaces the list before.

Documents are signed with the owner's key: DIR/policy-root.key.pem, or that of
--owner-key. Where the key is kept elsewhere: --dry-run --output DOCUMENT, sign
DOCUMENT there (owner sign), and import it with --statement.

Examples:
  holdfast-verifier reference import --dir /var/lib/holdfast golden.json
  holdfast-verifier reference import --dry-run --key maker.pem firmware.corim
  holdfast-verifier reference import --dir /var/lib/holdfast --class edge \\
    --owner-key /media/stick/policy-root.key.pem --key maker.pem firmware.corim
  On a machine that is known to be good:
    cd / && find ./usr ./etc ./opt -type f -exec sha256sum {} + > good.sha256
  holdfast-verifier reference import --dir /var/lib/holdfast good.sha256
  holdfast-verifier reference import --dir /var/lib/holdfast --class edge \\
    --ima-key distribution-ima.der /var/cache/apt/archives/*.deb";

#[derive(Debug, Subcommand)]
pub(super) enum ReferenceCommand {
    /// Make documents the reference values, or the allow list, of a class.
    /// Takes effect at once.
    #[command(after_help = IMPORT_HELP)]
    Import(Box<import::ImportArgs>),
    /// List the versions of allow lists, newest first.
    #[command(after_help = "\
Example:
  holdfast-verifier reference allow-lists --dir /var/lib/holdfast --class edge")]
    AllowLists(allow_list::AllowListsArgs),
    /// Learn from a gateway that is known to be good: what it quoted last
    /// becomes what its class accepts. Shows the change first, and asks.
    #[command(after_help = "\
Examples:
  First values of a class, from one gateway (enrolled in a class of its own, or
  refused in this one):
    holdfast-verifier reference learn --dir /var/lib/holdfast --class edge --replace 01ab...
  Before a rollout: what the staging gateway runs is good, what is there now
  stays good for two weeks:
    holdfast-verifier reference learn --dir /var/lib/holdfast --class edge --replace --until 14d 01ab...
  Key kept elsewhere:
    holdfast-verifier reference learn --dir /var/lib/holdfast --add --output new.json 01ab...")]
    Learn(learn::LearnArgs),
    /// List the versions of reference values, newest first.
    #[command(after_help = "\
Example:
  holdfast-verifier reference list --dir /var/lib/holdfast --class edge")]
    List(list::ListArgs),
    /// Tell in words in what a gateway's last boot differs from what its class
    /// accepts.
    #[command(after_help = "\
Each change is marked: proven (digests that replay to the signed quote cover the
words) or claimed (something changed, and what it is called is the log's word).

Example:
  holdfast-verifier reference diff --dir /var/lib/holdfast 01ab...")]
    Diff(list::DiffArgs),
}

pub(super) async fn run(command: ReferenceCommand) -> Outcome {
    match command {
        ReferenceCommand::Import(args) => import::run(*args).await,
        ReferenceCommand::AllowLists(args) => allow_list::list(args).await,
        ReferenceCommand::Learn(args) => learn::run(args).await,
        ReferenceCommand::List(args) => list::list(args).await,
        ReferenceCommand::Diff(args) => list::diff(args).await,
    }
}
