//! A challenge is spent by move and cannot be copied.
use holdfast_verifier::freshness::{AnsweredChallenge, EnrolmentState, FreshChallenge};

fn twice(fresh: FreshChallenge<EnrolmentState>) -> [AnsweredChallenge; 2] {
    [fresh.clone().answer(b"a", &[]).unwrap(), fresh.answer(b"b", &[]).unwrap()]
}

fn main() {}
