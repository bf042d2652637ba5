//! A key is certified by the TPM in this exchange, not by a conversion.
use holdfast_verifier::verification::{CertifiedNow, LdevidPublic, OnRecord};

fn forge(ldevid: LdevidPublic) -> CertifiedNow {
    CertifiedNow { ldevid }
}

fn promote(on_record: OnRecord) -> CertifiedNow {
    CertifiedNow::from(on_record)
}

fn main() {}
