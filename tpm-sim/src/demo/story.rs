//! The story, step by step. Each step is done by the program that would do it
//! in the field, and each must go as it should: a refusal that does not come
//! ends the story as surely as an error does.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use holdfast_proto::claims::Ueid;
use holdfast_proto::result::Tier;
use holdfast_tpm_sim::process::Process;
use holdfast_tpm_sim::{BootImage, SimGateway, SimOptions, VendorCa, reference_values};

use super::artefacts::{Evidence, Identity, read_ear};
use super::narrator::Narrator;
use super::program::Program;
use super::stage::Stage;
use crate::{Failure, interrupt};

/// From start to a written address takes the verifier well under a second.
const SERVE_TIMEOUT: Duration = Duration::from_secs(20);
/// The PCR that the intruder's file is measured into: files that were read.
const CHANGED_PCR: u32 = 9;

/// A command line's words, whatever they are made of.
macro_rules! words {
    ($($word:expr),+ $(,)?) => { [$(AsRef::<OsStr>::as_ref(&$word)),+] };
}

/// The cast, and where the story has got to.
pub(crate) struct Story {
    narrator: Narrator,
    stage: Stage,
    verifier: Program,
    attester: Program,
}

/// The verifier, serving until it is dropped.
struct Server {
    process: Process,
    address: String,
}

/// The gateway, with the attester that runs on it.
struct Machine {
    simulated: SimGateway,
    attester: Program,
}

impl Story {
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
        self.identity_stands_up_to_others()?;
        self.gateway_uses_its_identity(&machine)?;
        self.somebody_changes_the_gateway(&machine)?;
        self.verifier_refuses(&machine)?;
        self.identity_is_lost(&machine, &id)?;
        if server.process.ended().is_ok_and(|ended| ended.is_none()) {
            return Ok(());
        }
        Err(Failure::Failed(
            "the verifier ended during the story".to_owned(),
        ))
    }

    /// What is left, and where.
    pub(crate) fn end(&self, took: Duration) {
        let out = self.stage.out().display();
        println!();
        self.narrator.good(&format!(
            "All went as it must, in {:.1} s. Look at:",
            took.as_secs_f64()
        ));
        self.narrator.say(&format!(
            "  {out}/ldevid.pem   the identity and the CA that issued it"
        ));
        self.narrator
            .say(&format!("  {out}/ca.pem       the root that it chains to"));
        self.narrator.say(&format!(
            "  {out}/ear.jwt      the attestation result that earned it"
        ));
        self.narrator
            .say(&format!("  {out}/evidence/    what the gateway sent"));
    }

    fn owner_starts_a_verifier(&mut self) -> Result<Server, Failure> {
        self.narrator.step("The owner starts a verifier");
        let dir = self.stage.verifier();
        let address_file = self.stage.work().join("verifier.address");
        self.run(&self.verifier, &words!["init", "--dir", dir])?;
        let serve = words![
            "serve",
            "--dir",
            dir,
            "--listen",
            "127.0.0.1:0",
            "--address-file",
            address_file
        ];
        self.narrator.command(&self.verifier.line(&serve));
        let (process, log) = self.verifier.start(&serve)?;
        let server = self.wait_until_it_serves(process, &address_file, &log)?;
        Stage::leave(&dir.join("root-ca.pem"), &self.stage.ca())?;
        self.narrator.good(&format!(
            "It serves on {}, by TLS 1.3 only.",
            server.address
        ));
        Ok(server)
    }

    fn wait_until_it_serves(
        &self,
        mut process: Process,
        address_file: &Path,
        log: &Path,
    ) -> Result<Server, Failure> {
        let _waiting = self.narrator.waiting("the verifier starts");
        let deadline = Instant::now() + SERVE_TIMEOUT;
        loop {
            interrupt::check()?;
            if let Ok(address) = fs::read_to_string(address_file) {
                return Ok(Server {
                    process,
                    address: address.trim().to_owned(),
                });
            }
            let ended = !matches!(process.ended(), Ok(None));
            if ended || Instant::now() > deadline {
                let log = String::from_utf8_lossy(&Stage::read(log)?).into_owned();
                return Err(Failure::Failed(format!(
                    "the verifier does not serve. It printed:\n{log}"
                )));
            }
            thread::sleep(interrupt::POLL);
        }
    }

    /// Endorsements, reference values and a join token: all of the owner's
    /// trust is in these three.
    fn owner_says_whom_to_trust(&mut self, server: &Server) -> Result<PathBuf, Failure> {
        self.narrator.step("The owner says whom and what to trust");
        let dir = self.stage.verifier();

        let vendor = VendorCa::create(&self.stage.vendor())?;
        let (root, intermediate) = (vendor.root_path(), vendor.intermediate_path());
        self.narrator.say("The maker of the gateways' TPMs:");
        self.run(
            &self.verifier,
            &words!["endorsement", "import", "--dir", dir, root, intermediate],
        )?;

        // From the image alone: no gateway has booted yet.
        let values = reference_values(&[&BootImage::golden().boot()]);
        let file = self.stage.work().join("reference-values.json");
        fs::write(&file, format!("{values:#}\n"))
            .map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))?;
        self.narrator
            .say("The released image, by what it measures at boot:");
        self.run(
            &self.verifier,
            &words!["reference", "import", "--dir", dir, file],
        )?;

        let bundle = self.stage.work().join("bundle");
        self.narrator.say("One gateway may join, within the hour:");
        self.run(
            &self.verifier,
            &words![
                "token",
                "create",
                "--dir",
                dir,
                "--server",
                server.address,
                "--output",
                bundle
            ],
        )?;
        Ok(bundle)
    }

    fn gateway_boots(&mut self) -> Result<Machine, Failure> {
        self.narrator.step("A gateway boots");
        let waiting = self
            .narrator
            .waiting("the TPM is provisioned and the gateway boots");
        let simulated = SimGateway::start(SimOptions {
            vendor_ca: Some(self.stage.vendor()),
            ..SimOptions::new(self.stage.gateway())
        })?;
        drop(waiting);
        let tcti = simulated.tcti();
        let state = self.stage.gateway_state();
        let attester = self
            .attester
            .clone()
            .with(&words!["--tcti", tcti, "--state-dir", state]);
        let events = BootImage::golden().boot().events.len();
        self.narrator.fact(
            "TPM",
            format!("{tcti} (swtpm, process {})", simulated.swtpm_pid()),
        );
        self.narrator.fact(
            "measured",
            format!("{events} events: firmware, Secure Boot keys, shim, GRUB, kernel"),
        );
        self.narrator
            .fact("boot log", simulated.boot_log().display());
        interrupt::check()?;
        Ok(Machine {
            simulated,
            attester,
        })
    }

    fn gateway_looks_at_its_tpm(&mut self, machine: &Machine) -> Result<(), Failure> {
        self.narrator.step("The gateway looks at its TPM");
        let report = self.run(&machine.attester, &words!["doctor"])?;
        self.narrator.quote(&report);
        Ok(())
    }

    fn gateway_enrols(&mut self, machine: &Machine, bundle: &Path) -> Result<Ueid, Failure> {
        self.narrator.step("The gateway enrols");
        let (log, evidence) = (machine.simulated.boot_log(), self.stage.evidence());
        let report = self.run(
            &machine.attester,
            &words![
                "enroll",
                "--bundle",
                bundle,
                "--boot-log",
                log,
                "--evidence-dir",
                evidence
            ],
        )?;
        self.narrator.quote(&report);
        let state = self.stage.gateway_state();
        Stage::leave(&state.join("ldevid.pem"), &self.stage.ldevid())?;
        Stage::leave(&state.join("ear.jwt"), &self.stage.ear())?;
        self.tell_what_was_proven()
    }

    /// From the files that the enrolment left, checked here once more.
    fn tell_what_was_proven(&mut self) -> Result<Ueid, Failure> {
        let identity = Identity::read(&self.stage.ldevid())?;
        let evidence = Evidence::read(&self.stage.evidence(), &identity)?;
        let claims = &evidence.claims;
        let ear = read_ear(
            &self.stage.ear(),
            &self.stage.verifier().join("result.pub.pem"),
        )?;
        let narrator = &self.narrator;

        narrator.good("Endorsed: its TPM's key is certified by the vendor that the owner trusts.");
        narrator.fact("gateway id", claims.ueid);
        narrator.good("Challenged: only that TPM could open what the verifier sent.");
        narrator.fact("nonce", hex::encode(claims.nonce));
        narrator.good("Quoted: the TPM signed its state, bound to the claims.");
        narrator.fact("PCRs", &evidence.selection);
        let clock = &evidence.clock;
        narrator.fact(
            "TPM clock",
            format!("{} ms, {} resets", clock.clock, clock.reset_count),
        );
        narrator.good("Claimed: signed by the LDevID key, for this TLS connection only.");
        narrator.fact(
            "software",
            format!("{} {}", claims.software_name, claims.software_version),
        );
        narrator.fact("purpose", claims.purpose.name());

        if ear.nonce != claims.nonce || ear.appraisal.ueid != *claims.ueid.as_bytes() {
            return Err(Failure::Failed(
                "ear.jwt is not about this enrolment".to_owned(),
            ));
        }
        if ear.appraisal.status() != Tier::Affirming {
            return Err(Failure::Failed("ear.jwt is not affirming".to_owned()));
        }
        narrator.good(&format!("Appraised: {}.", ear.appraisal.status().name()));
        for (claim, value) in ear.appraisal.vector.made() {
            narrator.fact(
                "",
                format!("{} {value}: {}", claim.name(), Tier::of(value).name()),
            );
        }
        narrator.good("Granted: an LDevID, whose key never leaves the TPM.");
        narrator.fact("subject", &identity.subject);
        narrator.fact("serial", &identity.serial);
        narrator.fact("issuer", &identity.issuer);
        narrator.fact(
            "valid",
            format!("{} to {}", identity.not_before, identity.not_after),
        );
        Ok(claims.ueid)
    }

    /// Programs that know nothing of Holdfast, where they are installed.
    fn identity_stands_up_to_others(&mut self) -> Result<(), Failure> {
        self.narrator.step("Others look at the identity");
        let (ca, ldevid, evidence) = (self.stage.ca(), self.stage.ldevid(), self.stage.evidence());
        let openssl = Program::installed("openssl", self.stage.logs());
        let checkquote = Program::installed("tpm2_checkquote", self.stage.logs());
        if let Some(openssl) = &openssl {
            self.run(
                openssl,
                &words!["verify", "-CAfile", ca, "-untrusted", ldevid, ldevid],
            )?;
            self.narrator.good("OpenSSL accepts its chain.");
        }
        if let Some(checkquote) = &checkquote {
            let nonce = Stage::read(&evidence.join("nonce.hex"))?;
            let nonce = String::from_utf8_lossy(&nonce).trim().to_owned();
            let [key, attest, signature] =
                ["ak.pub", "quote.attest", "quote.sig"].map(|name| evidence.join(name));
            self.run(
                checkquote,
                &words!["-u", key, "-m", attest, "-s", signature, "-q", nonce],
            )?;
            self.narrator.good("tpm2-tools accepts its quote.");
        }
        if openssl.is_none() && checkquote.is_none() {
            self.narrator
                .say("(neither openssl nor tpm2-tools is installed)");
        }
        Ok(())
    }

    fn gateway_uses_its_identity(&mut self, machine: &Machine) -> Result<(), Failure> {
        self.narrator.step("The gateway uses its identity");
        self.narrator
            .say("Mutual TLS, each signature made in the TPM:");
        let log = machine.simulated.boot_log();
        let report = self.run(&machine.attester, &words!["attest", "--boot-log", log])?;
        self.narrator.quote(&report);
        let report = self.run(&machine.attester, &words!["status", "--remote"])?;
        self.narrator.quote(&report);
        self.narrator
            .good("Its state is unchanged, and it stays trusted.");
        Ok(())
    }

    fn somebody_changes_the_gateway(&mut self, machine: &Machine) -> Result<(), Failure> {
        self.narrator.step("Somebody changes the gateway");
        machine
            .simulated
            .extend_pcr(CHANGED_PCR, b"a file that the owner did not release")?;
        self.narrator.say(&format!(
            "Something that the owner did not release was loaded: PCR {CHANGED_PCR} has moved on,"
        ));
        self.narrator
            .say("and no software on the gateway can move it back.");
        Ok(())
    }

    fn verifier_refuses(&mut self, machine: &Machine) -> Result<(), Failure> {
        self.narrator.step("The verifier refuses it");
        let log = machine.simulated.boot_log();
        let arguments = words!["attest", "--boot-log", log];
        self.narrator.command(&machine.attester.line(&arguments));
        let refusal = machine.attester.run(&arguments)?.refused()?;
        self.narrator.quote(&refusal);
        if !refusal.contains("pcr-mismatch") {
            let expected = "it should have been refused for a pcr-mismatch";
            return Err(Failure::Failed(format!("{expected}. It said:\n{refusal}")));
        }
        self.narrator
            .refused(&format!("Refused: PCR {CHANGED_PCR} is not as released."));
        Ok(())
    }

    fn identity_is_lost(&mut self, machine: &Machine, id: &Ueid) -> Result<(), Failure> {
        self.narrator.step("Its identity is worth nothing now");
        let status = words!["status", "--remote"];
        self.narrator.command(&machine.attester.line(&status));
        let refusal = machine.attester.run(&status)?.refused()?;
        self.narrator.quote(&refusal);
        self.narrator.refused("The LDevID is refused.");

        let (dir, id) = (self.stage.verifier(), id.to_string());
        let show = words!["gateway", "show", "--dir", dir, "--json", id];
        self.narrator.command(&self.verifier.line(&show));
        let shown = self.verifier.run(&show)?.done()?;
        let gateway: serde_json::Value = serde_json::from_str(&shown)
            .map_err(|error| Failure::Failed(format!("`gateway show --json`: {error}\n{shown}")))?;
        for field in ["state", "state_reason"] {
            let value = gateway
                .get(field)
                .and_then(|value| value.as_str())
                .unwrap_or("(none)");
            self.narrator.fact(field, value);
        }
        match gateway.get("state").and_then(|state| state.as_str()) {
            Some("suspended" | "revoked") => Ok(()),
            state => Err(Failure::Failed(format!("the gateway's state is {state:?}"))),
        }
    }

    fn run(&self, program: &Program, arguments: &[&OsStr]) -> Result<String, Failure> {
        let line = program.line(arguments);
        self.narrator.command(&line);
        let _waiting = self.narrator.waiting(&line);
        program.run(arguments)?.done()
    }
}
