//! `input.boot_log`: what the boot log says, and which of it is proven.
//!
//! A fact is `proven` where its event's data hashes to its digest in a place
//! where only such a measurement can be (`holdfast_proto::boot_log`), *and* the
//! replay of its PCR gives the quoted value. Digests are proven where the replay
//! is. All else is `claimed`: the type of an event always, and with it whatever
//! list it stands in here. A policy that must see *all* of a PCR goes by
//! `events`, which no relabelling shortens.

mod chain;
mod event;
mod firmware;
mod loader;
mod secure_boot;
mod words;

use std::collections::BTreeMap;

use holdfast_proto::{
    boot_log::{Event, Fact, Format},
    tpm::HashAlg,
};
use serde::Serialize;

use self::{
    chain::Chain, event::Events, firmware::Firmware, loader::Loader, secure_boot::SecureBoot,
};
use crate::{
    appraisal::facts::LoggedBoot,
    verification::{PcrRelation, ReadBootLog},
};

#[derive(Serialize)]
pub(super) struct BootLog {
    known_by: &'static str,
    sha256: String,
    explained: Vec<u32>,
    mismatched: Vec<u32>,
    untold: Vec<u32>,
    empty: Vec<u32>,
    outside: Vec<u32>,
    #[serde(flatten)]
    said: Option<Said>,
}

/// All that the log itself says; a function of its bytes and of which PCRs are
/// explained.
#[derive(Serialize)]
struct Said {
    format: &'static str,
    secure_boot: SecureBoot,
    firmware: Firmware,
    #[serde(flatten)]
    chain: Chain,
    loader: Loader,
    #[serde(flatten)]
    events: Events,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Finding {
    code: &'static str,
    event: Option<usize>,
    pcr: Option<u32>,
    detail: String,
}

impl BootLog {
    /// For the policy.
    pub(super) fn whole(boot: &LoggedBoot) -> Self {
        Self {
            said: Some(Said::of(boot)),
            ..Self::outline(boot)
        }
    }

    /// For the memo: the hash of the log stands for what it says.
    pub(super) fn outline(boot: &LoggedBoot) -> Self {
        let related = |wanted| {
            let of = boot.relations.iter();
            of.filter(|(_, relation)| **relation == wanted)
                .map(|(index, _)| *index)
                .collect()
        };
        Self {
            known_by: "replayed",
            sha256: hex::encode(boot.log.sha256()),
            explained: related(PcrRelation::Explained),
            mismatched: related(PcrRelation::Mismatched),
            untold: related(PcrRelation::Untold),
            empty: related(PcrRelation::Empty),
            outside: related(PcrRelation::Outside),
            said: None,
        }
    }
}

impl Said {
    fn of(boot: &LoggedBoot) -> Self {
        let log = boot.log.log();
        let knowing = Knowing::new(&boot.log, &boot.relations);
        let (mut secure_boot, mut firmware) = (SecureBoot::default(), Firmware::default());
        let (mut chain, mut loader) = (Chain::default(), Loader::default());
        let mut events = Events::default();
        for fact in log.facts(boot.log.bank()) {
            secure_boot.add(&fact, &knowing);
            firmware.add(&fact, &knowing);
            chain.add(&fact, &knowing);
            loader.add(&fact, &knowing);
            events.add(&fact, &knowing);
        }
        let findings = log.findings(boot.log.bank()).into_iter().map(|finding| {
            let event = finding.event();
            Finding {
                code: finding.code(),
                event,
                pcr: finding
                    .pcr()
                    .or_else(|| log.event(event?).map(|event| event.pcr())),
                detail: finding.to_string(),
            }
        });
        Self {
            format: match log.format() {
                Format::CryptoAgile => "crypto-agile",
                Format::Sha1 => "sha1",
            },
            findings: findings.collect(),
            secure_boot,
            firmware,
            chain,
            loader,
            events,
        }
    }
}

/// What is proven by the replay, and what remains a claim.
struct Knowing<'a> {
    bank: HashAlg,
    relations: &'a BTreeMap<u32, PcrRelation>,
}

impl<'a> Knowing<'a> {
    fn new(log: &ReadBootLog, relations: &'a BTreeMap<u32, PcrRelation>) -> Self {
        Self {
            bank: log.bank(),
            relations,
        }
    }

    /// Whether the quote proves the digests of this PCR.
    fn explains(&self, pcr: u32) -> bool {
        self.relations.get(&pcr) == Some(&PcrRelation::Explained)
    }

    /// How what a fact says is known.
    fn of(&self, fact: &Fact<'_>) -> &'static str {
        known(fact.proven && self.explains(fact.event.pcr()))
    }

    /// The digest in the quoted bank; none of an event that extends nothing.
    fn digest(&self, event: &Event<'_>) -> Option<Digest> {
        let value = event.digest(self.bank).filter(|_| event.is_extended())?;
        Some(Digest {
            digest: hex::encode(value),
            digest_known_by: known(self.explains(event.pcr())),
        })
    }
}

const PROVEN: &str = "proven";
const CLAIMED: &str = "claimed";

fn known(proven: bool) -> &'static str {
    if proven { PROVEN } else { CLAIMED }
}

/// What was measured, whatever the event says that it is.
#[derive(Serialize)]
struct Digest {
    digest: String,
    digest_known_by: &'static str,
}
