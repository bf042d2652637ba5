//! Only an endorsed EK can be challenged.
use holdfast_verifier::{
    endorsement::EkPublic,
    verification::{AkPublic, PendingActivation, VerificationError},
};

fn forge(ek: EkPublic, ak: AkPublic) -> Result<PendingActivation, VerificationError> {
    PendingActivation::new(ek, ak)
}

fn main() {}
