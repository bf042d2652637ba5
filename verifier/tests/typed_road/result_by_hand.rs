//! An Attestation Result comes from appraisal.
use holdfast_verifier::{appraisal::AttestationResult, verification::CertifiedNow};

type Result = AttestationResult<CertifiedNow>;

fn forge(key: CertifiedNow, rest: Result) -> Result {
    AttestationResult { key, ..rest }
}

fn main() {}
