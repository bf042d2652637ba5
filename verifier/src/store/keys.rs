//! Which of the owner's keys the service has used: public identifiers, for the
//! audit log. The keys themselves are no business of the store's.

use async_trait::async_trait;

use super::{Seconds, StoreError};

/// A key that the service uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedKey {
    /// "issuing", "server", "token", "result".
    pub kind: &'static str,
    /// Its public identifier.
    pub id: String,
    /// Whether it is the one in use, and not one of before.
    pub current: bool,
}

/// What became of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// As in [`NamedKey`].
    pub kind: String,
    /// As in [`NamedKey`].
    pub id: String,
    /// Now.
    pub state: KeyState,
}

/// How a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// In use.
    Current,
    /// Replaced; what was made with it still counts.
    Ending,
    /// No longer used for anything.
    Gone,
}

impl KeyState {
    /// As it is stored and shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Ending => "ending",
            Self::Gone => "gone",
        }
    }
}

/// Keys on record.
#[async_trait]
pub trait Keys: Send + Sync {
    /// Records that these are all the keys there are. Each that is new, or
    /// stands otherwise than before, gets an audit row; answers those.
    async fn record_keys(
        &self,
        keys: &[NamedKey],
        by: &str,
        now: Seconds,
    ) -> Result<Vec<KeyChange>, StoreError>;
}
