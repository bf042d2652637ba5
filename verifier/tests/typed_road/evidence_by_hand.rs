//! Verified Evidence comes from verification.
use holdfast_verifier::verification::{OnRecord, VerifiedEvidence};

fn forge(key: OnRecord, rest: VerifiedEvidence<OnRecord>) -> VerifiedEvidence<OnRecord> {
    VerifiedEvidence { key, ..rest }
}

fn main() {}
