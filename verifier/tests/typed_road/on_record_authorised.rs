//! No LDevID for a key that was not certified in this exchange.
use holdfast_verifier::{
    appraisal::{AttestationResult, IssuanceGrant},
    verification::OnRecord,
};

fn forge(result: AttestationResult<OnRecord>) -> IssuanceGrant {
    result.authorise().unwrap()
}

fn main() {}
