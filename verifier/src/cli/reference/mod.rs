//! `reference`: which measurements a class may have.

mod allow_list;
mod import;
mod source;

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
}

pub(super) async fn run(command: ReferenceCommand) -> Outcome {
    match command {
        ReferenceCommand::Import(args) => import::run(*args).await,
        ReferenceCommand::AllowLists(args) => allow_list::list(args).await,
    }
}
