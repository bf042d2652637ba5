//! Only an endorsed EK can be challenged.
use holdfast_verifier::{
    endorsement::EkPublic,
    verification::{AkPublic, PendingActivation},
};

fn forge(ek: EkPublic, ak: AkPublic) -> PendingActivation {
    PendingActivation::new(ek, ak)
}

fn main() {}
