//! What unverified Evidence claims is out of reach.
use holdfast_verifier::verification::Evidence;

fn peek(evidence: &Evidence) -> String {
    evidence.claims().software_name.clone()
}

fn main() {}
