//! One grant, one certificate: preparing consumes it, signing consumes that.
use holdfast_verifier::{
    appraisal::IssuanceGrant,
    identity::{Issuer, Ldevid, LintedCertificate},
    time::UnixTime,
};
use ring::rand::SecureRandom;

fn twice(issuer: &Issuer, grant: IssuanceGrant, now: UnixTime, rng: &dyn SecureRandom) -> LintedCertificate {
    let _ = issuer.prepare(grant, now, rng);
    issuer.prepare(grant, now, rng).unwrap()
}

fn again(linted: LintedCertificate) -> [Ldevid; 2] {
    [linted.sign().unwrap(), linted.sign().unwrap()]
}

fn main() {}
