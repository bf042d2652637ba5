//! One result, one grant.
use holdfast_verifier::{
    appraisal::{AttestationResult, IssuanceGrant},
    verification::CertifiedNow,
};

fn twice(result: AttestationResult<CertifiedNow>) -> [IssuanceGrant; 2] {
    [result.authorise().unwrap(), result.authorise().unwrap()]
}

fn main() {}
