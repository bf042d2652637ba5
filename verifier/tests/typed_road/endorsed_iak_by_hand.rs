//! An IAK counts only where an OEM's anchors endorsed it.
use holdfast_verifier::endorsement::{EkPublic, EndorsedIak, TpmFacts};

fn forge(ek: EkPublic, facts: TpmFacts) -> EndorsedIak {
    EndorsedIak { ek, facts }
}

fn main() {}
