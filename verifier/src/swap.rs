//! A value that is replaced while others use it: whoever got it before keeps
//! what was got.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

/// One shared value, replaced whole.
pub struct Swap<T>(RwLock<Arc<T>>);

impl<T> Swap<T> {
    /// Begins with `value`.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self::from(Arc::new(value))
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        // An `Arc` is replaced in one step: the value is whole, whoever
        // panicked while holding the lock.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces it for whoever asks from now on.
    pub fn replace(&self, value: impl Into<Arc<T>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = value.into();
    }
}

impl<T> From<Arc<T>> for Swap<T> {
    fn from(value: Arc<T>) -> Self {
        Self(RwLock::new(value))
    }
}

impl<T: fmt::Debug> fmt::Debug for Swap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
