//! Verified claims as the policy reads them: one JSON tree in which every
//! part says how it is known, one file for each branch. `docs/policy.md`
//! describes it field by field.

mod boot_log;
mod claims;
mod endorsement;
mod gateway;
mod ima;
mod key;
mod quote;
mod reference;

use serde::{Serialize, Serializer, ser::SerializeMap};

use self::{
    boot_log::BootLog, claims::Claims, endorsement::Endorsement, gateway::Gateway, ima::Ima,
    key::Key, quote::Quote, reference::Reference,
};
use super::facts::Facts;
use crate::reference_values::ReferenceValues;

/// Version of the input tree; it changes when a field changes its meaning.
pub(super) const FORMAT: &str = "holdfast-appraisal-input-1";

/// A branch of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Branch {
    Format,
    Gateway,
    Endorsement,
    Ak,
    Ldevid,
    Quote,
    Claims,
    Ima,
    BootLog,
    Reference,
}

impl Branch {
    const ALL: [Self; 10] = [
        Self::Format,
        Self::Gateway,
        Self::Endorsement,
        Self::Ak,
        Self::Ldevid,
        Self::Quote,
        Self::Claims,
        Self::Ima,
        Self::BootLog,
        Self::Reference,
    ];

    /// Its key in the tree.
    const fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Gateway => "gateway",
            Self::Endorsement => "endorsement",
            Self::Ak => "ak",
            Self::Ldevid => "ldevid",
            Self::Quote => "quote",
            Self::Claims => "claims",
            Self::Ima => "ima",
            Self::BootLog => "boot_log",
            Self::Reference => "reference",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|branch| branch.name() == name)
    }

    /// The field whose value no other gateway has, or no other enrolment.
    const fn identity(self) -> Option<&'static str> {
        match self {
            Self::Gateway => Some("id"),
            Self::Ak | Self::Ldevid => Some("name"),
            _ => None,
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// A set of branches, with or without the field that tells gateways apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Branches {
    shown: u16,
    identified: u16,
}

impl Branches {
    pub(super) const NONE: Self = Self {
        shown: 0,
        identified: 0,
    };
    pub(super) const ALL: Self = Self {
        shown: u16::MAX,
        identified: u16::MAX,
    };

    /// With all of `branch`.
    pub(super) const fn and(self, branch: Branch) -> Self {
        Self {
            shown: self.shown | branch.bit(),
            identified: self.identified | branch.bit(),
        }
    }

    /// With one field of `branch`.
    pub(super) fn and_field(self, branch: Branch, field: &str) -> Self {
        if branch.identity() == Some(field) {
            return self.and(branch);
        }
        Self {
            shown: self.shown | branch.bit(),
            ..self
        }
    }

    /// As much of an input that somebody wrote down.
    pub(super) fn shown_of(self, input: &serde_json::Value) -> serde_json::Value {
        let mut shown = input.clone();
        let Some(tree) = shown.as_object_mut() else {
            return shown;
        };
        for branch in Branch::ALL {
            if !self.shows(branch) {
                tree.remove(branch.name());
            }
            let part = tree
                .get_mut(branch.name())
                .and_then(|it| it.as_object_mut());
            if let (Some(part), Some(identity)) = (part, branch.identity())
                && self.identity(branch, ()).is_none()
            {
                part.remove(identity);
            }
        }
        shown
    }

    const fn shows(self, branch: Branch) -> bool {
        self.shown & branch.bit() != 0
    }

    /// `value`, the identity of `branch`, if that is wanted.
    fn identity<T>(self, branch: Branch, value: T) -> Option<T> {
        (self.identified & branch.bit() != 0).then_some(value)
    }
}

/// What the floor goes by: [`Grounds`](super::floor::Grounds), but for the class
/// and the endorsement's standing.
const FLOOR: [Branch; 3] = [Branch::Quote, Branch::Ima, Branch::BootLog];

/// The text that a policy that reads `branches` gets as `input`, keys in a fixed
/// order.
pub(super) fn text(
    facts: &Facts,
    references: Option<&ReferenceValues>,
    branches: Branches,
) -> String {
    json(&Tree {
        facts,
        branches,
        view: View::Policy(references),
    })
}

/// All that a verdict can depend on, but for the reference values, for which
/// their id stands: what the memo is keyed by. Of the input it holds what the
/// policy reads and what the floor goes by, so that a gateway's new key is a new
/// state only to a policy that looks at it. Made for every attestation, so it is
/// kept short: of what is large, a digest stands for the whole.
pub(super) fn key(facts: &Facts, branches: Branches) -> String {
    let floor = FLOOR.into_iter();
    json(&Tree {
        facts,
        branches: floor.fold(branches, Branches::and),
        view: View::Memo,
    })
}

/// Whom the tree is for.
#[derive(Clone, Copy)]
enum View<'a> {
    Policy(Option<&'a ReferenceValues>),
    Memo,
}

struct Tree<'a> {
    facts: &'a Facts,
    branches: Branches,
    view: View<'a>,
}

impl Tree<'_> {
    fn boot_log(&self) -> Option<BootLog> {
        let boot = self.facts.boot_log.as_ref();
        boot.map(match self.view {
            View::Policy(_) => BootLog::whole,
            View::Memo => BootLog::outline,
        })
    }
}

impl Serialize for Tree<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let facts = self.facts;
        let mut map = serializer.serialize_map(None)?;
        let wanted = |branch: &Branch| self.branches.shows(*branch);
        for branch in Branch::ALL.into_iter().filter(wanted) {
            let name = branch.name();
            match (branch, self.view) {
                (Branch::Format, _) => map.serialize_entry(name, FORMAT)?,
                (Branch::Gateway, _) => {
                    let id = self.branches.identity(branch, &facts.gateway);
                    map.serialize_entry(name, &Gateway::of(id, &facts.class))?;
                }
                (Branch::Endorsement, _) => map.serialize_entry(name, &Endorsement::of(facts))?,
                (Branch::Ak, _) => {
                    let of = self.branches.identity(branch, &*facts.ak);
                    map.serialize_entry(name, &Key::activated(of))?;
                }
                (Branch::Ldevid, _) => {
                    let of = self.branches.identity(branch, &*facts.ldevid);
                    map.serialize_entry(name, &Key::certified(of))?;
                }
                (Branch::Quote, _) => map.serialize_entry(name, &Quote::of(facts))?,
                (Branch::Claims, _) => map.serialize_entry(name, &Claims::of(facts))?,
                (Branch::Ima, _) => map.serialize_entry(name, &Ima::of(facts))?,
                (Branch::BootLog, _) => map.serialize_entry(name, &self.boot_log())?,
                (Branch::Reference, View::Policy(references)) => {
                    let reference = references.map(|set| Reference::of(facts, set));
                    map.serialize_entry(name, &reference)?;
                }
                (Branch::Reference, View::Memo) => {}
            }
        }
        // The floor's reasons name the one, and are about the other.
        if let View::Memo = self.view {
            map.serialize_entry("class", &facts.class)?;
            map.serialize_entry("standing", &endorsement::findings(facts))?;
        }
        map.end()
    }
}

/// Plain strings, integers and string keys always serialise.
fn json(tree: &Tree<'_>) -> String {
    serde_json::to_string(tree).expect("plain structure serialises")
}
