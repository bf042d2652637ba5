//! On the IAK road the AK is the endorsed IAK: no other can be put in its place
//! (CVE-2022-1053, C09).

use holdfast_verifier::{
    endorsement::EndorsedIak,
    verification::{AkPublic, PendingActivation, VerificationError},
};

fn swap(endorsed: EndorsedIak, other: AkPublic) -> Result<PendingActivation, VerificationError> {
    PendingActivation::new(endorsed, other)
}

fn main() {}
