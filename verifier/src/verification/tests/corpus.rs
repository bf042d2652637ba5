//! Real quotes, by real TPMs and other people's tools. Nothing is copied from
//! the corpus; where it is absent, tests skip and say so.

use std::{fs, path::PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use holdfast_proto::tpm::{
    Attest, HashAlg, PcrSelection, PcrSet, Public, Signature, Unique,
    templates::{AkAlg, ak_template},
};

use crate::verification::{
    AkPublic, AkScheme, SignatureFault, VerificationError, verify_quote, verify_signature,
};

/// A file or folder of the corpus: `HOLDFAST_CORPUS`, or `shared/corpus`
/// beside the project.
pub(crate) fn corpus(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("HOLDFAST_CORPUS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus")),
        PathBuf::from,
    );
    let path = root.join(path);
    if path.exists() {
        Some(path)
    } else {
        eprintln!(
            "skipped: no corpus at {} (set HOLDFAST_CORPUS)",
            path.display()
        );
        None
    }
}

#[test]
fn keylimes_quote_verifies_under_its_ak() {
    let Some(folder) = corpus("quote/keylime__keylime") else {
        return;
    };
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let public = Public::parse_tpm2b(&read("ak.pub")).unwrap();
    let ak = AkPublic::new(public).unwrap();
    assert_eq!(ak.scheme(), AkScheme::RsaSsa(HashAlg::Sha256));
    assert_eq!(ak.name().as_bytes(), read("ak.name"));
    let mut quote = read("quote.out");
    let signature = Signature::parse(&read("quotesig.out")).unwrap();
    verify_signature(&ak, &quote, &signature).unwrap();
    quote[120] ^= 1;
    assert_eq!(
        verify_signature(&ak, &quote, &signature),
        Err(SignatureFault::Invalid)
    );
}

#[test]
fn trustees_tpm_evidence_verifies_whole() {
    let Some(file) = corpus("quote/confidential-containers__trustee/tpm_evidence.json") else {
        return;
    };
    let json: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let base64 = |value: &serde_json::Value| BASE64.decode(value.as_str().unwrap()).unwrap();
    let spki = base64(&json["ak_public"]);
    let modulus = spki[spki.len() - 261..spki.len() - 5].to_vec();
    let template = ak_template(AkAlg::Rsa2048, &[0; 32]);
    let ak = AkPublic::new(Public {
        unique: Unique::Rsa(modulus),
        ..template
    })
    .unwrap();

    let quote = &json["tpm_quote"];
    let (message, signature) = (base64(&quote["message"]), base64(&quote["signature"]));
    let extra = Attest::parse(&message).unwrap().extra_data;
    let values = |change: u8| -> Vec<(u32, Vec<u8>)> {
        let pcrs = quote["pcrs"].as_array().unwrap();
        let mut values: Vec<_> = (0..24)
            .zip(
                pcrs.iter()
                    .map(|v| hex::decode(v.as_str().unwrap()).unwrap()),
            )
            .collect();
        values[0].1[0] ^= change;
        values
    };
    let required = PcrSelection {
        hash: HashAlg::Sha256,
        pcrs: PcrSet::from_indices(0..24).unwrap(),
    };
    let verified = verify_quote(&ak, &message, &signature, &extra, &required, values(0)).unwrap();
    assert_eq!(verified.pcrs().get(17), Some(&[0xFF; 32][..]));
    assert!(matches!(
        verify_quote(&ak, &message, &signature, &extra, &required, values(1)),
        Err(VerificationError::PcrDigest)
    ));
    assert!(matches!(
        verify_quote(&ak, &message, &signature, &extra[1..], &required, values(0)),
        Err(VerificationError::QuoteBinding)
    ));
}
