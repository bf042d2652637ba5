//! File signatures that were found valid lately. A fleet runs the same files:
//! the second gateway that measured one costs a hash.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use crate::digest::sha256;

/// Proofs in one generation: the signed files of some distributions, in 5 MiB.
const GENERATION: usize = 100_000;
/// Signatures verified in one exchange that were not known to be valid. Each
/// takes up to 0.2 ms, and the exchange holds a place of the crypto pool
/// meanwhile.
pub const MAX_SIGNATURES: u32 = 20_000;
/// Of those, how many may turn out invalid. What is valid is remembered and
/// costs a gateway's next exchange nothing; what is not would cost each as much
/// again, and whoever sends it makes it for nothing.
pub const MAX_INVALID_SIGNATURES: u32 = 256;

/// Bounded set of valid signatures: key, digest and signature together, hashed.
/// When the younger generation is full, the older one is forgotten.
#[derive(Default)]
pub struct Vouched(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    younger: HashSet<[u8; 32]>,
    older: HashSet<[u8; 32]>,
}

/// What is left of the public-key work of one exchange.
#[derive(Clone, Copy, Debug)]
pub struct SignatureBudget {
    any: u32,
    invalid: u32,
}

#[cfg(test)]
impl SignatureBudget {
    pub(crate) const NONE: Self = Self { any: 0, invalid: 0 };
}

impl Default for SignatureBudget {
    fn default() -> Self {
        Self {
            any: MAX_SIGNATURES,
            invalid: MAX_INVALID_SIGNATURES,
        }
    }
}

impl Vouched {
    /// Whether a signature is valid: known to be, or else verified now, while
    /// something is left of `budget`. `verify` gives none for a key that cannot
    /// be used.
    pub(super) fn is_valid(
        &self,
        parts: [&[u8]; 4],
        budget: &mut SignatureBudget,
        verify: impl FnOnce() -> Option<bool>,
    ) -> Answer {
        // No part can run into the next: each has its length before it.
        let lengths = parts.map(|part| part.len().to_be_bytes());
        let [a, b, c, d] = parts;
        let [la, lb, lc, ld] = &lengths;
        let proof = sha256(&[la, a, lb, b, lc, c, ld, d]);
        if self.knows(&proof) {
            return Answer::Known(true);
        }
        if budget.any == 0 || budget.invalid == 0 {
            return Answer::Unchecked;
        }
        budget.any -= 1;
        match verify() {
            Some(true) => {
                self.insert(proof);
                Answer::Known(true)
            }
            Some(false) => {
                budget.invalid -= 1;
                Answer::Known(false)
            }
            None => Answer::Unsupported,
        }
    }

    fn knows(&self, proof: &[u8; 32]) -> bool {
        let mut generations = self.lock();
        if generations.younger.contains(proof) {
            return true;
        }
        let older = generations.older.remove(proof);
        if older {
            generations.insert(*proof);
        }
        older
    }

    fn insert(&self, proof: [u8; 32]) {
        self.lock().insert(proof);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations> {
        // Entries go in and out whole: a panic elsewhere leaves none torn.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn insert(&mut self, proof: [u8; 32]) {
        if self.younger.len() >= GENERATION {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.insert(proof);
    }
}

/// What came of a question.
pub(super) enum Answer {
    Known(bool),
    Unchecked,
    Unsupported,
}

impl std::fmt::Debug for Vouched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vouched(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(vouched: &Vouched, budget: &mut SignatureBudget, n: u32, valid: bool) -> &'static str {
        let digest = n.to_be_bytes();
        match vouched.is_valid([b"key", b"sha256", &digest, b"sig"], budget, || Some(valid)) {
            Answer::Known(true) => "valid",
            Answer::Known(false) => "invalid",
            Answer::Unchecked => "unchecked",
            Answer::Unsupported => "unsupported",
        }
    }

    #[test]
    fn what_is_known_costs_nothing_and_what_is_over_the_limit_is_not_valid() {
        let vouched = Vouched::default();
        let mut budget = SignatureBudget::default();
        for n in 0..MAX_SIGNATURES {
            assert_eq!(ask(&vouched, &mut budget, n, true), "valid");
        }
        let over = MAX_SIGNATURES;
        assert_eq!(ask(&vouched, &mut budget, over, true), "unchecked");
        assert_eq!(ask(&vouched, &mut budget, 7, true), "valid", "known");
        let mut next = SignatureBudget::default();
        assert_eq!(ask(&vouched, &mut next, over, true), "valid");
        assert_eq!(next.any, MAX_SIGNATURES - 1);
    }

    #[test]
    fn invalid_signatures_are_not_remembered_and_soon_enough() {
        let vouched = Vouched::default();
        let mut budget = SignatureBudget::default();
        for _ in 0..MAX_INVALID_SIGNATURES {
            assert_eq!(ask(&vouched, &mut budget, 1, false), "invalid");
        }
        assert_eq!(ask(&vouched, &mut budget, 1, false), "unchecked");
        assert_eq!(ask(&vouched, &mut budget, 2, true), "unchecked");
    }

    #[test]
    fn no_part_runs_into_the_next() {
        let vouched = Vouched::default();
        let mut budget = SignatureBudget::default();
        let mut is_valid = |parts, valid| {
            matches!(
                vouched.is_valid(parts, &mut budget, || Some(valid)),
                Answer::Known(true)
            )
        };
        assert!(is_valid([b"ab", b"c", b"d", b"e"], true));
        assert!(!is_valid([b"a", b"bc", b"d", b"e"], false));
    }

    #[test]
    fn memory_is_bounded_and_the_recent_survive() {
        let vouched = Vouched::default();
        let proof = |n: usize| sha256(&[&n.to_be_bytes()]);
        for n in 0..3 * GENERATION {
            vouched.insert(proof(n));
            assert!(n % 1000 != 0 || vouched.knows(&proof(0)), "in use, so kept");
        }
        let generations = vouched.lock();
        assert!(generations.younger.len() <= GENERATION);
        assert!(generations.older.len() <= GENERATION);
    }
}
