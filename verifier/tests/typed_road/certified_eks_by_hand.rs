//! An EK is certified by the AK in this exchange, not by a conversion.
use holdfast_verifier::{
    endorsement::EkPublic,
    verification::CertifiedEks,
};

fn forge(first: EkPublic) -> CertifiedEks {
    CertifiedEks {
        first,
        further: Vec::new(),
    }
}

fn main() {}
