//! What happens on the gateway: it boots, enrols, uses its identity, is
//! changed, and is refused.

use std::path::Path;

use holdfast_proto::claims::Ueid;
use holdfast_proto::result::Tier;
use holdfast_tpm_sim::{BootImage, SimGateway, SimOptions};

use super::artefacts::{Evidence, Identity, read_ear};
use super::owner::CHANGE_REASON;
use super::program::Program;
use super::stage::Stage;
use super::story::{Story, words};
use crate::{Failure, interrupt};

/// The PCR that the change is measured into: files that the loader reads.
const CHANGED_PCR: u32 = 9;

/// The gateway, with the attester that runs on it.
pub(super) struct Machine {
    simulated: SimGateway,
    attester: Program,
}

impl Story {
    pub(super) fn gateway_boots(&mut self) -> Result<Machine, Failure> {
        self.narrator.step("A gateway boots");
        let waiting = self.narrator.waiting("its TPM is made, and it boots");
        let simulated = SimGateway::start(SimOptions {
            vendor_ca: Some(self.stage.vendor()),
            ..SimOptions::new(self.stage.gateway())
        })?;
        drop(waiting);
        interrupt::check()?;
        let (tcti, state) = (simulated.tcti(), self.stage.gateway_state());
        let always = words!["--tcti", tcti, "--state-dir", state];
        let attester = self.attester.clone().with(&always);
        let events = BootImage::golden().boot().events.len();
        let measured = "firmware, Secure Boot keys, shim, GRUB, kernel";
        let narrator = &self.narrator;
        narrator.fact("TPM", format!("swtpm, process {}", simulated.swtpm_pid()));
        narrator.fact("measured", format!("{events} events: {measured}"));
        narrator.fact("boot log", simulated.boot_log().display());
        Ok(Machine {
            simulated,
            attester,
        })
    }

    pub(super) fn gateway_looks_at_its_tpm(&mut self, machine: &Machine) -> Result<(), Failure> {
        self.narrator.step("The gateway looks at its TPM");
        let log = machine.simulated.boot_log();
        let printed = self.run(&machine.attester, &words!["doctor", "--boot-log", log])?;
        self.narrator.quote(&printed);
        Ok(())
    }

    pub(super) fn gateway_enrols(
        &mut self,
        machine: &Machine,
        bundle: &Path,
    ) -> Result<Ueid, Failure> {
        self.narrator.step("The gateway enrols");
        let (log, evidence) = (machine.simulated.boot_log(), self.stage.evidence());
        let what = words!["--boot-log", log, "--evidence-dir", evidence];
        let enroll = [words!["enroll", "--bundle", bundle].as_slice(), &what].concat();
        let printed = self.run(&machine.attester, &enroll)?;
        self.narrator.quote(&printed);
        let state = self.stage.gateway_state();
        Stage::leave(&state.join("ldevid.pem"), &self.stage.ldevid())?;
        Stage::leave(&state.join("ear.jwt"), &self.stage.ear())?;
        self.tell_what_was_proven(machine)
    }

    /// From the files that the enrolment left, verified here once more, and
    /// from the verifier's record.
    fn tell_what_was_proven(&self, machine: &Machine) -> Result<Ueid, Failure> {
        let identity = Identity::read(&self.stage.ldevid())?;
        let Evidence {
            claims,
            selection,
            clock,
        } = Evidence::read(&self.stage.evidence(), &identity)?;
        let result_key = self.stage.verifier().join("result.pub.pem");
        let ear = read_ear(&self.stage.ear(), &result_key)?;
        let (appraisal, status) = (&ear.appraisal, ear.appraisal.status());
        if ear.nonce != claims.nonce || appraisal.ueid != *claims.ueid.as_bytes() {
            let message = "ear.jwt is not about this enrolment".to_owned();
            return Err(Failure::Failed(message));
        }
        if status != Tier::Affirming {
            return Err(Failure::Failed(format!("ear.jwt is {}", status.name())));
        }
        let record = self.record(&claims.ueid)?;
        if record.state != "active" || record.ldevid_serial != identity.serial {
            let message = format!("the verifier's record is not of this LDevID: {record:?}");
            return Err(Failure::Failed(message));
        }

        let narrator = &self.narrator;
        narrator.say("What that came to, verified once more from the files that are left:");
        narrator.good("Endorsed: its TPM's key is certified by the maker that the owner trusts.");
        narrator.fact(
            "by",
            Identity::read(&machine.simulated.vendor().root_path())?.subject,
        );
        let (maker, model) = (&record.tpm_manufacturer, &record.tpm_model);
        narrator.fact("TPM", format!("{maker}, {model}"));
        narrator.fact("gateway id", claims.ueid);
        narrator.good("Challenged: only that TPM could open what the verifier sent.");
        narrator.fact("nonce", hex::encode(claims.nonce));
        narrator.good("Quoted: the TPM signed its state, bound to challenge and claims.");
        narrator.fact("PCRs", selection);
        let resets = clock.reset_count;
        narrator.fact("TPM clock", format!("{} ms, {resets} resets", clock.clock));
        narrator.good("Claimed: signed by the LDevID key, for that TLS connection only.");
        narrator.fact("purpose", claims.purpose.name());
        let (software, version) = (&claims.software_name, &claims.software_version);
        narrator.fact("software", format!("{software} {version}"));
        narrator.good(format!("Appraised: {}.", status.name()));
        for (claim, value) in appraisal.vector.made() {
            let tier = Tier::of(value).name();
            narrator.fact("", format!("{}: {tier} ({value})", claim.name()));
        }
        narrator.fact("policy", appraisal.policy_ids.join(" "));
        if let Some(id) = appraisal.reference_id {
            narrator.fact("reference", format!("values sha-256:{}", hex::encode(id)));
        }
        let reasons = match appraisal.reason_codes.as_slice() {
            [] => "none against it".to_owned(),
            codes => codes.join(", "),
        };
        narrator.fact("reasons", reasons);
        narrator.good("Granted: an LDevID, whose key cannot leave the TPM.");
        narrator.fact("subject", &identity.subject);
        narrator.fact("serial", &identity.serial);
        narrator.fact("issuer", &identity.issuer);
        let validity = format!("{} to {}", identity.not_before, identity.not_after);
        narrator.fact("valid", validity);
        Ok(claims.ueid)
    }

    /// Programs that know nothing of Holdfast, where they are installed.
    pub(super) fn others_look_at_the_identity(&mut self) -> Result<(), Failure> {
        self.narrator.step("Others look at the identity");
        let logs = self.stage.logs();
        let mut looked = false;
        if let Some(openssl) = Program::installed("openssl", logs.clone()) {
            let (ca, ldevid) = (self.stage.ca(), self.stage.ldevid());
            let verify = words!["verify", "-CAfile", ca, "-untrusted", ldevid, ldevid];
            self.run(&openssl, &verify)?;
            self.narrator.good("OpenSSL accepts its chain.");
            looked = true;
        }
        if let Some(checkquote) = Program::installed("tpm2_checkquote", logs) {
            let evidence = self.stage.evidence();
            let nonce = Stage::read(&evidence.join("nonce.hex"))?;
            let nonce = String::from_utf8_lossy(&nonce).trim().to_owned();
            let files = ["ak.pub", "quote.attest", "quote.sig"];
            let [key, attest, signature] = files.map(|name| evidence.join(name));
            let check = words!["-u", key, "-m", attest, "-s", signature, "-q", nonce];
            self.run(&checkquote, &check)?;
            self.narrator.good("tpm2-tools accepts its quote.");
            looked = true;
        }
        if !looked {
            self.narrator
                .say("(neither openssl nor tpm2-tools is installed)");
        }
        Ok(())
    }

    pub(super) fn gateway_uses_its_identity(&mut self, machine: &Machine) -> Result<(), Failure> {
        self.narrator.step("The gateway uses its identity");
        self.narrator
            .say("Mutual TLS, each signature made in the TPM:");
        let log = machine.simulated.boot_log();
        let printed = self.run(&machine.attester, &words!["attest", "--boot-log", log])?;
        self.narrator.quote(&printed);
        let printed = self.run(&machine.attester, &words!["status", "--remote"])?;
        self.narrator.quote(&printed);
        self.narrator
            .good("Its state is unchanged, and it stays trusted.");
        Ok(())
    }

    pub(super) fn somebody_changes_the_gateway(
        &mut self,
        machine: &Machine,
    ) -> Result<(), Failure> {
        self.narrator.step("Somebody changes the gateway");
        let unreleased = b"a file that the owner did not release";
        machine.simulated.extend_pcr(CHANGED_PCR, unreleased)?;
        let narrator = &self.narrator;
        narrator.say("A file is loaded that the owner did not release. It is measured into");
        narrator.say(format!(
            "PCR {CHANGED_PCR}, which no software can set back."
        ));
        Ok(())
    }

    pub(super) fn verifier_refuses(&mut self, machine: &Machine) -> Result<(), Failure> {
        self.narrator.step("The verifier refuses it");
        let log = machine.simulated.boot_log();
        let attest = words!["attest", "--boot-log", log];
        let refusal = self.run_to_refusal(&machine.attester, &attest)?;
        self.narrator.quote(&refusal);
        if !refusal.contains(CHANGE_REASON) {
            let expected = format!("it should have been refused for {CHANGE_REASON}");
            return Err(Failure::Failed(format!("{expected}. It said:\n{refusal}")));
        }
        self.narrator
            .refused(format!("Refused: PCR {CHANGED_PCR} is not as released."));
        Ok(())
    }

    pub(super) fn identity_is_refused(&mut self, machine: &Machine) -> Result<(), Failure> {
        self.narrator.step("Its identity is worth nothing now");
        let refusal = self.run_to_refusal(&machine.attester, &words!["status", "--remote"])?;
        self.narrator.quote(&refusal);
        self.narrator
            .refused("The LDevID is refused, although it has not expired.");
        Ok(())
    }
}
