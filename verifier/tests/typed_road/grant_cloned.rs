//! One grant, one certificate.
use holdfast_verifier::appraisal::IssuanceGrant;

fn twice(grant: IssuanceGrant) -> [IssuanceGrant; 2] {
    [grant.clone(), grant]
}

fn main() {}
