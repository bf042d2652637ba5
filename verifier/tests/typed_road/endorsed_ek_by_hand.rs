//! An EK is endorsed by `Anchors::endorse`, or not at all.
use holdfast_verifier::endorsement::{EkPublic, EndorsedEk, TpmFacts};

fn forge(ek: EkPublic, facts: TpmFacts) -> EndorsedEk {
    EndorsedEk { ek, facts }
}

fn main() {}
