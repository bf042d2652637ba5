//! Places that are counted by who holds them: so many in all, and a share of
//! them for one.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The table. It has an entry for each holder, no more than there are places.
pub(super) struct Shares<K> {
    held: Mutex<HashMap<K, usize>>,
    all: usize,
    each: usize,
}

/// Nothing is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// Whoever asks has his share.
    Share,
    /// All places are taken.
    All,
}

/// A place; given back when dropped.
pub(super) struct Place<K: Eq + Hash> {
    shares: Arc<Shares<K>>,
    holder: K,
}

impl<K: Eq + Hash + Clone> Shares<K> {
    /// `all` places, of which one holder gets `each`.
    pub(super) fn new(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self {
            held: Mutex::default(),
            all,
            each,
        })
    }

    /// A place for `holder`.
    ///
    /// # Errors
    /// [`Full`] where there is none.
    pub(super) fn take(self: &Arc<Self>, holder: &K) -> Result<Place<K>, Full> {
        let mut held = self.held();
        let own = held.get(holder).copied().unwrap_or_default();
        if own >= self.each {
            return Err(Full::Share);
        }
        if held.values().sum::<usize>() >= self.all {
            return Err(Full::All);
        }
        held.insert(holder.clone(), own + 1);
        Ok(Place {
            shares: Arc::clone(self),
            holder: holder.clone(),
        })
    }
}

impl<K> Shares<K> {
    // The map is whole even where a holder of the lock panicked: each change
    // is one insertion, removal or count.
    fn held(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut held = self.shares.held();
        if let Some(count) = held.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.holder);
            }
        }
    }
}

impl<K> fmt::Debug for Shares<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shares({} of {})", self.each, self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adv_a21_one_gets_his_share_and_all_no_more_than_there_are() {
        let shares = Shares::new(3, 2);
        let full = |holder| shares.take(&holder).err();
        let first = shares.take(&"a").unwrap_or_else(|_| unreachable!());
        let second = shares.take(&"a");
        assert_eq!(full("a"), Some(Full::Share));
        let third = shares.take(&"b");
        assert_eq!(full("b"), Some(Full::All));
        drop(first);
        assert_eq!(full("c"), None, "a place that was given back");
        drop((second, third));
        assert!(shares.held().is_empty());
    }
}
