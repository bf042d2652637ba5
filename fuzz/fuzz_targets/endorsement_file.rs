//! No file of certificates and CRLs (PEM, DER, PKCS#7) panics, nor does what it
//! holds: as an EK certificate, as a CA's, as a CRL.
#![no_main]

use holdfast_verifier::endorsement::{
    CertificateFacts, EkChain, Item, Leniencies, ParsedCrl, ShownCertificate, items,
};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    for item in items(input).into_iter().flatten() {
        match item {
            Item::Certificate(der) => {
                let _ = CertificateFacts::parse(&der, &Leniencies::default());
                let _ = ShownCertificate::parse(&der);
                let _ = EkChain::parse(&[der]);
            }
            Item::Crl(der) => {
                let _ = ParsedCrl::parse(&der);
            }
        }
    }
    let _ = EkChain::parse(&[input.to_vec()]);
    let _ = ParsedCrl::parse(input);
});
