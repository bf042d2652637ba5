//! A key is certified by the TPM in this exchange, not by a conversion.
use holdfast_verifier::verification::{CertifiedNow, LdevidPublic};

fn forge(ldevid: LdevidPublic) -> CertifiedNow {
    CertifiedNow { ldevid }
}

fn main() {}
