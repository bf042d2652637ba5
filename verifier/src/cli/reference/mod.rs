//! `reference`: which measurements a class may have.

mod import;

use clap::Subcommand;

use super::Outcome;

#[derive(Debug, Subcommand)]
pub(super) enum ReferenceCommand {
    /// Make a JSON document the reference values of a class. Takes effect at
    /// once; a class without reference values is never affirmed.
    #[command(after_help = "\
The document lists, for each PCR, the values that are good:
    {\"pcrs\":{\"sha256\":{\"0\":[\"<64 hex digits>\"],\"4\":[\"...\",\"...\"]}}}
Every PCR that the server asks for (pcr_selection in config.toml) needs an entry.")]
    Import(import::ImportArgs),
}

pub(super) async fn run(command: ReferenceCommand) -> Outcome {
    match command {
        ReferenceCommand::Import(args) => import::run(args).await,
    }
}
