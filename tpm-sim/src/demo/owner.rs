//! What the owner does: sets up a verifier, says what to trust, looks at what
//! became of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use holdfast_proto::claims::Ueid;
use holdfast_tpm_sim::process::Process;
use holdfast_tpm_sim::{BootImage, VendorCa, reference_values};
use serde::Deserialize;

use super::stage::Stage;
use super::story::{Story, words};
use crate::{Failure, interrupt};

/// From start to a written address takes the verifier well under a second.
const SERVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Why a gateway must be refused whose PCR is not as released.
pub(super) const CHANGE_REASON: &str = "pcr-mismatch";

/// The verifier, serving until it is dropped.
pub(super) struct Server {
    process: Process,
    address: String,
}

/// The verifier's record of the gateway: of what `gateway show --json` prints,
/// what the story needs.
#[derive(Debug, Deserialize)]
pub(super) struct Record {
    pub(super) state: String,
    /// Of the LDevID in force; empty where none is.
    pub(super) ldevid_serial: String,
    pub(super) tpm_manufacturer: String,
    pub(super) tpm_model: String,
    last_reasons: Vec<Reason>,
}

#[derive(Debug, Deserialize)]
struct Reason {
    code: String,
}

impl Server {
    /// An error where it ended meanwhile.
    pub(super) fn still_serves(&mut self) -> Result<(), Failure> {
        match self.process.ended() {
            Ok(None) => Ok(()),
            _ => Err(Failure::Failed("the verifier ended by itself".to_owned())),
        }
    }
}

impl Story {
    pub(super) fn owner_starts_a_verifier(&mut self) -> Result<Server, Failure> {
        self.narrator.step("The owner starts a verifier");
        let dir = self.stage.verifier();
        let file = self.stage.work().join("verifier.address");
        let printed = self.run(&self.verifier, &words!["init", "--dir", dir])?;
        self.narrator.quote(&printed);

        let listen = words!["--listen", "127.0.0.1:0", "--address-file", file];
        let serve = [words!["serve", "--dir", dir].as_slice(), &listen].concat();
        self.narrator.command(&self.verifier.line(&serve));
        let (process, log) = self.verifier.start(&serve)?;
        let server = self.wait_until_it_serves(process, &file, &log)?;
        Stage::leave(&dir.join("root-ca.pem"), &self.stage.ca())?;
        self.narrator
            .good(format!("It serves on {}.", server.address));
        Ok(server)
    }

    /// Endorsements, reference values and a join token: all of the owner's
    /// trust is in these three.
    pub(super) fn owner_says_whom_to_trust(&mut self, server: &Server) -> Result<PathBuf, Failure> {
        self.narrator.step("The owner says whom and what to trust");
        let dir = self.stage.verifier();

        let vendor = VendorCa::create(&self.stage.vendor())?;
        let (root, intermediate) = (vendor.root_path(), vendor.intermediate_path());
        self.narrator.say("The maker of the gateways' TPMs:");
        let import = words!["endorsement", "import", "--dir", dir, root, intermediate];
        let printed = self.run(&self.verifier, &import)?;
        self.narrator.quote(&printed);

        // From the image alone: no gateway has booted yet.
        let values = reference_values(&[&BootImage::golden().boot()]);
        let file = self.stage.work().join("reference-values.json");
        fs::write(&file, format!("{values:#}\n"))
            .map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))?;
        self.narrator
            .say("The released image, by what it measures when it boots:");
        let import = words!["reference", "import", "--dir", dir, file];
        let printed = self.run(&self.verifier, &import)?;
        self.narrator.quote(&printed);

        let bundle = self.stage.work().join("bundle");
        self.narrator.say("One gateway may join, within the hour:");
        let place = words!["--server", server.address, "--output", bundle];
        let create = [words!["token", "create", "--dir", dir].as_slice(), &place].concat();
        let printed = self.run(&self.verifier, &create)?;
        self.narrator.quote(&printed);
        Ok(bundle)
    }

    pub(super) fn owner_sees_it(&mut self, id: &Ueid) -> Result<(), Failure> {
        self.narrator.step("The owner sees it");
        let (dir, text) = (self.stage.verifier(), id.to_string());
        let show = words!["gateway", "show", "--dir", dir, text];
        let printed = self.run(&self.verifier, &show)?;
        self.narrator.quote(&printed);
        let record = self.record(id)?;
        let because = record
            .last_reasons
            .iter()
            .any(|reason| reason.code == CHANGE_REASON);
        if !["suspended", "revoked"].contains(&record.state.as_str()) || !because {
            let message = format!("it should be suspended for {CHANGE_REASON}: {record:?}");
            return Err(Failure::Failed(message));
        }
        if !record.ldevid_serial.is_empty() {
            let message = format!("its LDevID should be revoked: {record:?}");
            return Err(Failure::Failed(message));
        }
        self.narrator.refused(format!(
            "It is {}, and its LDevID is revoked.",
            record.state
        ));
        Ok(())
    }

    /// What the verifier has on record.
    pub(super) fn record(&self, id: &Ueid) -> Result<Record, Failure> {
        let (dir, id) = (self.stage.verifier(), id.to_string());
        let show = words!["gateway", "show", "--dir", dir, "--json", id];
        let printed = self.verifier.run(&show)?.done()?;
        serde_json::from_str(&printed)
            .map_err(|error| Failure::Failed(format!("gateway show: {error}\n{printed}")))
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
                let address = address.trim().to_owned();
                return Ok(Server { process, address });
            }
            let ended = !matches!(process.ended(), Ok(None));
            if ended || Instant::now() > deadline {
                let log = Stage::read(log)?;
                let log = String::from_utf8_lossy(&log);
                let message = format!("the verifier does not serve. It printed:\n{log}");
                return Err(Failure::Failed(message));
            }
            thread::sleep(interrupt::POLL);
        }
    }
}
