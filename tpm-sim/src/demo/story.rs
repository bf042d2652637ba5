//! The story: its order, its end, and how each of its commands is run. What
//! the owner does is in `owner`, what the gateway does in `machine`.
//!
//! Each step is done by the program that would do it in the field, and each
//! must go as it should: a refusal that does not come ends the story as surely
//! as an error does.

use std::ffi::OsStr;
use std::time::Duration;

use super::narrator::Narrator;
use super::program::Program;
use super::stage::Stage;
use crate::Failure;

/// The words of a command line, whatever they are made of.
macro_rules! words {
    ($($word:expr),+ $(,)?) => { [$(AsRef::<std::ffi::OsStr>::as_ref(&$word)),+] };
}
pub(super) use words;

/// The cast, and where the story has got to.
pub(crate) struct Story {
    pub(super) narrator: Narrator,
    pub(super) stage: Stage,
    pub(super) verifier: Program,
    pub(super) attester: Program,
}

impl Story {
    /// A story that is about to begin.
    pub(crate) fn new(
        narrator: Narrator,
        stage: Stage,
        verifier: Program,
        attester: Program,
    ) -> Self {
        Self {
            narrator,
            stage,
            verifier,
            attester,
        }
    }

    /// Plays it from the first step to the last.
    pub(crate) fn play(&mut self) -> Result<(), Failure> {
        let mut server = self.owner_starts_a_verifier()?;
        let bundle = self.owner_says_whom_to_trust(&server)?;

        let machine = self.gateway_boots()?;
        self.gateway_looks_at_its_tpm(&machine)?;
        let id = self.gateway_enrols(&machine, &bundle)?;
        self.others_look_at_the_identity()?;
        self.gateway_uses_its_identity(&machine)?;

        self.somebody_changes_the_gateway(&machine)?;
        self.verifier_refuses(&machine)?;
        self.identity_is_refused(&machine)?;
        self.owner_sees_it(&id)?;
        server.still_serves()
    }

    /// Says what is left, and where.
    pub(crate) fn end(&self, took: Duration) {
        let out = self.stage.out().display();
        tell!("");
        let seconds = took.as_secs_f64();
        let narrator = &self.narrator;
        narrator.good(format!("All went as it must, in {seconds:.1} s. Look at:"));
        narrator.say(format!(
            "  {out}/ldevid.pem  the identity, and the CA that issued it"
        ));
        narrator.say(format!("  {out}/ca.pem      the root that it chains to"));
        narrator.say(format!(
            "  {out}/ear.jwt     the attestation result that earned it"
        ));
        narrator.say(format!("  {out}/evidence/   what the gateway sent"));
    }

    /// Shows a command, and runs it to a good end.
    pub(super) fn run(&self, program: &Program, arguments: &[&OsStr]) -> Result<String, Failure> {
        self.narrator.command(&program.line(arguments));
        let _waiting = self.narrator.waiting(program.name());
        program.run(arguments)?.done()
    }

    /// Shows a command, and runs it to a refusal.
    pub(super) fn run_to_refusal(
        &self,
        program: &Program,
        arguments: &[&OsStr],
    ) -> Result<String, Failure> {
        self.narrator.command(&program.line(arguments));
        let _waiting = self.narrator.waiting(program.name());
        program.run(arguments)?.refused()
    }
}
