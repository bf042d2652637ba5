//! Master keys by generation: new epochs begin under the current one, streams
//! of epochs under one of before go on until it ends.

use std::sync::Arc;

use super::MasterKey;
use crate::time::UnixTime;

/// A master key, and what epochs on record name it by.
#[derive(Clone, Debug)]
pub struct NamedMaster {
    id: String,
    key: Arc<MasterKey>,
}

impl NamedMaster {
    /// From the secret.
    #[must_use]
    pub fn new(secret: &[u8; MasterKey::LEN]) -> Self {
        Self {
            id: MasterKey::id(secret),
            key: Arc::new(MasterKey::new(secret)),
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &MasterKey {
        &self.key
    }
}

/// The generations that count.
#[derive(Clone, Debug, Default)]
pub struct MasterKeys {
    current: Option<NamedMaster>,
    previous: Vec<(NamedMaster, UnixTime)>,
}

impl MasterKeys {
    /// With this current key; none where the directory has none yet.
    #[must_use]
    pub fn new(current: Option<NamedMaster>) -> Self {
        Self {
            current,
            previous: Vec::new(),
        }
    }

    /// With one of before, that counts until `until`.
    #[must_use]
    pub fn with_previous(mut self, key: NamedMaster, until: UnixTime) -> Self {
        self.previous.push((key, until));
        self
    }

    /// The key that new epochs begin under.
    #[must_use]
    pub fn current(&self) -> Option<&NamedMaster> {
        self.current.as_ref()
    }

    /// The key with this id, if it counts at `now`.
    #[must_use]
    pub fn with_id(&self, id: &str, now: UnixTime) -> Option<&NamedMaster> {
        let counting = self.previous.iter().filter(|(_, until)| now < *until);
        self.current
            .iter()
            .chain(counting.map(|(key, _)| key))
            .find(|key| key.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_before_counts_until_its_end() {
        let (old, new) = (NamedMaster::new(&[1; 32]), NamedMaster::new(&[2; 32]));
        assert_ne!(old.id(), new.id());
        let end = UnixTime::from_seconds(100);
        let keys = MasterKeys::new(Some(new.clone())).with_previous(old.clone(), end);
        let at = |id: &str, now| keys.with_id(id, UnixTime::from_seconds(now)).is_some();
        assert!(at(new.id(), 1000));
        assert!(at(old.id(), 99));
        assert!(!at(old.id(), 100));
        assert!(!at("00", 1));
        assert_eq!(keys.current().map(NamedMaster::id), Some(new.id()));
        assert!(!format!("{keys:?}").contains("[1, 1"));
    }
}
