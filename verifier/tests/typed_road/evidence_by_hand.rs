//! Verified Evidence comes from verification.
use holdfast_verifier::verification::{OnRecord, VerifiedEvidence};

fn forge(key: OnRecord) -> VerifiedEvidence<OnRecord> {
    VerifiedEvidence::new(key, todo!())
}

fn main() {}
