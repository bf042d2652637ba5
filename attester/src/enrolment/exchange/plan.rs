//! What an enrolment is to be with.

use std::path::PathBuf;

use holdfast_proto::bundle::Bundle;
use holdfast_proto::claims::Purpose;
use holdfast_proto::sealing::{Purpose as KeyPurpose, object_policy};
use holdfast_proto::tpm::Name;
use zeroize::Zeroizing;

use crate::enrolment::{KeyChoice, Road};
use crate::evidence::IMA_LOG_PATH;
use crate::names;
use crate::sealing::OwnApprovals;
use crate::state::{Enrolled, Keys, Server};
use crate::tpm::{Ak, EkChoice, KeyBlob};

/// What to enrol with.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The Verifier.
    pub server: Server,
    /// Enrol or recover.
    pub purpose: Purpose,
    /// Secret of the join token; empty in a Recover.
    pub join_token: Zeroizing<Vec<u8>>,
    /// The bundle's class.
    pub class: String,
    /// Name of the policy root, from the bundle.
    pub policy_root_name: Name,
    /// Keys for a first enrolment.
    pub choice: KeyChoice,
    /// By whom the TPM is endorsed, in a first enrolment.
    pub road: Road,
    /// In a first enrolment: whether the LDevID key is to be bound to boot
    /// states.
    pub binding: Binding,
    /// What was begun with other keys and not answered is given up; else it is
    /// a reason to refuse.
    pub replace: bool,
    /// Where the boot log is.
    pub boot_log: PathBuf,
    /// Where the IMA log is.
    pub ima_log: PathBuf,
    /// Where to write what is sent, if anywhere.
    pub evidence_dir: Option<PathBuf>,
}

/// Whether an LDevID key is bound to boot states.
#[derive(Clone, Debug, Default)]
pub enum Binding {
    /// Nothing was said: a new key is not, one that is there may be.
    #[default]
    Unsaid,
    /// It is not.
    Without,
    /// To these approved states.
    To(OwnApprovals),
}

impl Plan {
    /// A first enrolment by a bundle.
    #[must_use]
    pub fn from_bundle(bundle: &Bundle, choice: KeyChoice, boot_log: PathBuf) -> Self {
        Self {
            server: Server {
                address: bundle.server.clone(),
                name: bundle.server_name.clone(),
                ca_der: bundle.server_ca_der.clone(),
            },
            purpose: Purpose::Enrol,
            join_token: Zeroizing::new(bundle.join_token.expose().to_vec()),
            class: bundle.class.clone(),
            policy_root_name: bundle.policy_root_name.clone(),
            choice,
            road: Road::default(),
            binding: Binding::default(),
            replace: false,
            boot_log,
            ima_log: PathBuf::from(IMA_LOG_PATH),
            evidence_dir: None,
        }
    }

    /// A Recover of what is enrolled.
    #[must_use]
    pub fn recovery(enrolled: &Enrolled, boot_log: PathBuf) -> Self {
        Self {
            server: enrolled.server.clone(),
            purpose: Purpose::Recover,
            join_token: Zeroizing::default(),
            class: enrolled.class.clone(),
            policy_root_name: enrolled.policy_root_name.clone(),
            choice: KeyChoice::default(),
            road: Road::default(),
            binding: Binding::default(),
            replace: false,
            boot_log,
            ima_log: PathBuf::from(IMA_LOG_PATH),
            evidence_dir: None,
        }
    }

    /// Whether this LDevID key is bound to boot states as asked. One that is
    /// bound where nothing was said is held to more than was asked.
    #[must_use]
    pub fn is_met_by(&self, ldevid: &KeyBlob) -> bool {
        match self.binding {
            Binding::Unsaid => true,
            Binding::Without => !ldevid.is_bound(),
            Binding::To(_) => {
                ldevid.is_bound() && ldevid.public().auth_policy == self.boot_policy()
            }
        }
    }

    /// Where keys of a first enrolment that was begun are not those asked for:
    /// what was begun, and what is asked for.
    pub(super) fn other_choices(&self, keys: &Keys) -> Option<(String, String)> {
        let (begun_by, ak_is_other) = match &keys.ak {
            Ak::Own(key) => (Road::Ek, key.alg != self.choice.ak),
            // The OEM's: no algorithm is asked for.
            Ak::Iak { .. } => (Road::Iak, false),
        };
        let begun_ek = EkChoice::of(&keys.ek_template);
        let road_is_other = self.road != Road::Auto && self.road != begun_by;
        let ek_is_other = self.choice.ek != EkChoice::Auto && self.choice.ek != begun_ek;
        if !(road_is_other || ek_is_other || ak_is_other) {
            return None;
        }
        let words = |road: Road, ek: EkChoice, ak| {
            format!("--identity {} --ek {} --ak {ak}", road.name(), ek.name())
        };
        Some((
            match begun_by {
                Road::Iak => format!("--identity iak --ek {}", begun_ek.name()),
                road => words(road, begun_ek, names::ak(&keys.ak)),
            },
            words(self.road, self.choice.ek, names::ak_alg(self.choice.ak)),
        ))
    }

    /// The policy of an LDevID key that is bound to boot states.
    pub(super) fn boot_policy(&self) -> [u8; 32] {
        object_policy(&self.policy_root_name, &self.class, KeyPurpose::LdevidKey)
    }
}
