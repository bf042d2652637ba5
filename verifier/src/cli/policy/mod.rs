//! `policy`: what a gateway must show to be affirmed.

mod apply;
mod check;
mod files;
mod on_record;
mod show;
mod test;

use clap::Subcommand;

use super::Outcome;

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Compile a policy and look for what is likely wrong with it.
    #[command(after_help = "\
Says where it does not compile. Warnings do not make it fail, but with --strict:
  affirms-everything  it affirms a gateway of which nothing is known
  never-affirms       it affirms none of its own examples
  fails               it fails where nothing is known, instead of giving reasons
  no-examples         nothing shows what it is meant to do

Examples are looked for in examples/NAME/ beside NAME.rego.
Exit codes: 0 compiles, 1 warnings with --strict, 2 does not compile.")]
    Check(check::CheckArgs),
    /// Run a policy's own examples.
    #[command(after_help = "\
An example is a JSON file: what the policy reads, and what it must say.
  {\"name\": \"another kernel\", \"base\": \"affirming.json\",
   \"set\": {\"/quote/pcrs/9/value\": \"77e2...\"}, \"remove\": [\"/reference/pcrs/0\"],
   \"expect\": {\"status\": \"warning\", \"codes\": [\"pcr-mismatch\"]}}
\"base\" starts from the \"input\" of another file of the folder; \"set\" and
\"remove\" change it by JSON pointer. docs/policy.md has the fields.

Examples:
  holdfast-verifier policy test policies/default.rego
  holdfast-verifier policy test mine.rego --examples mine/ --json
Exit codes: 0 all as expected, 1 some are not, 2 bad policy or examples.")]
    Test(test::TestArgs),
    /// Make a policy the one in force: signed by the owner, at once, without a
    /// restart.
    #[command(after_help = "\
Signs it as the next version with the owner's key (docs/owner-key.md), or takes
a statement that was signed elsewhere. An older version is refused as a
rollback: to go back to an older text, apply it as a new version.
Challenges made before are refused as stale; gateways ask for new ones.

Examples:
  holdfast-verifier policy apply --dir /var/lib/holdfast policy.rego
  holdfast-verifier policy apply --dir /var/lib/holdfast --owner-key /media/stick/policy-root.key.pem policy.rego
  holdfast-verifier policy apply --dir /var/lib/holdfast --statement policy.statement policy.rego")]
    Apply(apply::ApplyArgs),
    /// Print a policy that comes with Holdfast, or one on record.
    #[command(after_help = "\
Examples:
  holdfast-verifier policy show                               which ones come with Holdfast
  holdfast-verifier policy show default > policy.rego         one of them
  holdfast-verifier policy show --dir /var/lib/holdfast       the one in force
  holdfast-verifier policy show --dir /var/lib/holdfast --version 3")]
    Show(show::ShowArgs),
    /// List every version that was applied; the first is in force.
    List(on_record::ListArgs),
}

pub(super) async fn run(command: PolicyCommand) -> Outcome {
    match command {
        PolicyCommand::Check(args) => check::run(&args),
        PolicyCommand::Test(args) => test::run(&args),
        PolicyCommand::Apply(args) => apply::run(args).await,
        PolicyCommand::Show(args) => show::run(args).await,
        PolicyCommand::List(args) => on_record::run(args).await,
    }
}
