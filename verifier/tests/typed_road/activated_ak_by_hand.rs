//! An AK is activated by an answered challenge, or not at all.
use holdfast_verifier::{
    endorsement::Endorsed,
    freshness::AnsweredChallenge,
    verification::{ActivatedAk, AkPublic},
};

fn forge(endorsed: Endorsed, ak: AkPublic, answered: AnsweredChallenge) -> ActivatedAk {
    ActivatedAk { endorsed, ak, answered }
}

fn main() {}
