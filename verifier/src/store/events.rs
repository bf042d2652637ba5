//! The outbox: what happened to gateways, each event written in the
//! transaction of the change that it tells. `Watch` and the webhooks read it.

use async_trait::async_trait;
use holdfast_proto::binding::Ueid;

use super::{Seconds, StoreError};

/// What happened. An affirming attestation is none: it changes nothing, and a
/// fleet makes thousands an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// Enrolled, for the first time or anew.
    Enrolled,
    /// Came back by Recover.
    Recovered,
    /// Got a new LDevID.
    Renewed,
    /// Is not trusted for the time being.
    Suspended,
    /// Its suspension was lifted.
    Resumed,
    /// Is never trusted again.
    Revoked,
}

impl EventKind {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Enrolled,
        Self::Recovered,
        Self::Renewed,
        Self::Suspended,
        Self::Resumed,
        Self::Revoked,
    ];

    /// `gateway.enrolled` and so on: as on record, in webhooks and in `Watch`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enrolled => "gateway.enrolled",
            Self::Recovered => "gateway.recovered",
            Self::Renewed => "gateway.renewed",
            Self::Suspended => "gateway.suspended",
            Self::Resumed => "gateway.resumed",
            Self::Revoked => "gateway.revoked",
        }
    }

    /// By its name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Something that happened to a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Place in the order of all events; without gaps, never used twice.
    pub sequence: u64,
    /// For receivers that get one twice.
    pub id: [u8; 16],
    /// When.
    pub at: Seconds,
    /// To which gateway.
    pub gateway: Ueid,
    /// 1, 2, ... of this gateway, without gaps.
    pub number: u64,
    /// What.
    pub kind: EventKind,
    /// More, by kind: a JSON object.
    pub detail: String,
}

/// What is kept: sequences `oldest..=newest`; none where `oldest > newest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptEvents {
    /// The first that is still there.
    pub oldest: u64,
    /// The last that there ever was.
    pub newest: u64,
}

impl KeptEvents {
    /// Whether everything after `sequence` is still there, and `sequence` is of
    /// this store.
    #[must_use]
    pub fn goes_on_from(self, sequence: u64) -> bool {
        sequence <= self.newest && self.oldest <= sequence.saturating_add(1)
    }
}

/// What is asked of the outbox.
#[async_trait]
pub trait Events: Send + Sync {
    /// Up to `limit` events after `sequence`, in order; of one gateway or all.
    async fn events_after(
        &self,
        sequence: u64,
        gateway: Option<&Ueid>,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError>;

    /// As [`events_after`](Events::events_after), with what is kept at the same
    /// moment.
    async fn look_at_events(
        &self,
        sequence: u64,
        gateway: Option<&Ueid>,
        limit: u32,
    ) -> Result<(Vec<Event>, KeptEvents), StoreError>;

    /// What there is.
    async fn events_kept(&self) -> Result<KeptEvents, StoreError>;

    /// Removes events from before `before`. Returns how many went.
    async fn sweep_events(&self, before: Seconds) -> Result<u64, StoreError>;

    /// How far a webhook is. One that is new begins with what happens from now
    /// on.
    async fn webhook_position(&self, url: &str, now: Seconds) -> Result<u64, StoreError>;

    /// Records that a webhook has taken everything up to `position`.
    async fn advance_webhook(
        &self,
        url: &str,
        position: u64,
        now: Seconds,
    ) -> Result<(), StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_by_their_names() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(EventKind::from_name("gateway.affirmed"), None);
    }

    #[test]
    fn a_gap_is_seen() {
        let kept = KeptEvents {
            oldest: 5,
            newest: 9,
        };
        for (sequence, goes_on) in [(3, false), (4, true), (9, true), (10, false)] {
            assert_eq!(kept.goes_on_from(sequence), goes_on, "{sequence}");
        }
        let none = KeptEvents {
            oldest: 1,
            newest: 0,
        };
        assert!(none.goes_on_from(0));
        assert!(!none.goes_on_from(1));
    }
}
