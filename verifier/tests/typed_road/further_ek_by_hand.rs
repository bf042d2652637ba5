//! A further EK counts only where it was endorsed beside the first.
use holdfast_verifier::endorsement::{EkPublic, FurtherEk, TpmFacts};

fn forge(ek: EkPublic, facts: TpmFacts, chain_sha256: [u8; 32]) -> FurtherEk {
    FurtherEk { ek, facts, chain_sha256 }
}

fn main() {}
