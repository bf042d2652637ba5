//! An Attestation Result comes from appraisal.
use holdfast_verifier::{
    appraisal::AttestationResult,
    verification::{CertifiedNow, VerifiedEvidence},
};

fn forge(evidence: VerifiedEvidence<CertifiedNow>) -> AttestationResult<CertifiedNow> {
    AttestationResult::new(evidence, todo!(), [0; 32], None)
}

fn main() {}
