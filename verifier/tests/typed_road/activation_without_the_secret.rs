//! A fresh challenge is not an answered one.
use holdfast_verifier::{
    freshness::{EnrolmentState, FreshChallenge},
    verification::{ActivatedAk, PendingActivation},
};

fn forge(pending: PendingActivation, fresh: FreshChallenge<EnrolmentState>) -> ActivatedAk {
    pending.complete(fresh).unwrap()
}

fn main() {}
