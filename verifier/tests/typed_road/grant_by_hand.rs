//! A grant comes from an affirming result.
use holdfast_verifier::{appraisal::IssuanceGrant, verification::CertifiedNow};

fn forge(key: CertifiedNow, rest: IssuanceGrant) -> IssuanceGrant {
    IssuanceGrant { key, ..rest }
}

fn main() {}
