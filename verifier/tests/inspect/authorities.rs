//! Vendor CAs of the corpus as an owner imports them; and what is bad, or of
//! another kind, and must not pass for a TPM's certificate.

use std::{collections::BTreeMap, io::Read as _};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ciborium::Value as Cbor;
use flate2::read::GzDecoder;
use holdfast_proto::tpm::{Attest, Attested, Public};
use holdfast_verifier::{
    endorsement::{
        CertificateFacts, EkChain, Item, Leniencies, ParsedCrl, ShownCertificate, items,
    },
    inspect::{
        Verdict, certificates,
        ek_certificate::{self, Trust},
    },
    time::UnixTime,
};
use serde_json::Value;

use super::corpus::{Corpus, corpus, settle};

const AT: UnixTime = UnixTime::from_seconds(1_685_577_600);

/// Certificates that a peer trusts or that parse, and an import refuses.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "",
        "signed with SHA-1",
        "an intermediate whose signature rests on SHA-1; --as-roots trusts its key by itself",
    ),
    (
        "IntelSigningKey_20April2017.pem",
        "an issuer in the path is not a CA",
        "it signs platform certificates, and is no CA's",
    ),
    (
        ".yaml",
        "no certificate, CRL or PKCS#7 in it",
        "a list of addresses and fingerprints, no certificates",
    ),
];

#[test]
fn every_vendor_ca_is_imported_or_refused_for_a_reason() {
    let Some(corpus) = corpus() else { return };
    let (files, mut found) = (corpus.files("tpm-ca"), Vec::new());
    let (mut taken, mut as_roots) = (0, 0);
    for path in &files {
        let read = match items(&corpus.read(path)) {
            Ok(read) => read,
            Err(error) => {
                found.push((path.clone(), error.to_string()));
                continue;
            }
        };
        for item in read {
            let Item::Certificate(der) = item else {
                panic!("{path}: a CRL")
            };
            match CertificateFacts::parse(&der, &Leniencies::default()) {
                Ok(_) => taken += 1,
                Err(error) => {
                    let error = error.to_string();
                    if error.contains("SHA-1") {
                        CertificateFacts::as_root(&der).unwrap();
                        as_roots += 1;
                    }
                    found.push((path.clone(), error));
                }
            }
        }
    }
    println!("tpm-ca: {taken} imported, {as_roots} more with --as-roots");
    settle("tpm-ca", &found, REFUSED, files.len());
}

fn trust(corpus: &Corpus) -> Trust {
    let roots: Vec<Vec<u8>> = corpus
        .files("tpm-ca")
        .iter()
        .filter(|path| !path.ends_with(".yaml"))
        .flat_map(|path| certificates(&corpus.read(path)).unwrap())
        .collect();
    Trust::new(roots.clone(), roots).unwrap()
}

/// Every reader that certificates of strangers come to.
fn read_all(bytes: &[u8]) {
    for item in items(bytes).into_iter().flatten() {
        let (Item::Certificate(der) | Item::Crl(der)) = item;
        let _ = CertificateFacts::parse(&der, &Leniencies::default());
        let _ = ShownCertificate::parse(&der);
        let _ = EkChain::parse(std::slice::from_ref(&der));
        let _ = ParsedCrl::parse(&der);
    }
    let _ = EkChain::parse(&[bytes.to_vec()]);
    let _ = ParsedCrl::parse(bytes);
}

/// The first words of a reason: which rule it was.
fn rule(reason: &str) -> String {
    let plain = reason.trim_start_matches("certificate 0: ");
    plain
        .split_whitespace()
        .take(4)
        .collect::<Vec<_>>()
        .join(" ")
}

/// All of it is refused, as its origin wants or because it is no EK's
/// certificate: none states tcg-kp-EKCertificate with a TPM's attributes.
#[test]
fn nothing_of_the_negative_collections_passes_for_an_ek_certificate() {
    let Some(corpus) = corpus() else { return };
    let trust = trust(&corpus);
    let files = corpus.files("x509-negative");
    let mut rules: BTreeMap<String, u32> = BTreeMap::new();
    let mut seen = 0;
    let mut refused = |name: &str, bytes: &[u8], trust: &Trust| {
        read_all(bytes);
        seen += 1;
        let reason = match ek_certificate::inspect(bytes, trust, AT) {
            Ok(report) => {
                assert_eq!(report.verdict, Verdict::Refused, "{name}");
                report.reason.unwrap()
            }
            Err(error) => error.to_string(),
        };
        *rules.entry(rule(&reason)).or_default() += 1;
    };
    for path in &files {
        let bytes = corpus.read(path);
        if path.ends_with(".tar.gz") {
            let mut archive = tar::Archive::new(GzDecoder::new(bytes.as_slice()));
            for entry in archive.entries().unwrap() {
                let mut entry = entry.unwrap();
                let name = entry.path().unwrap().display().to_string();
                let mut member = Vec::new();
                entry.read_to_end(&mut member).unwrap();
                refused(&name, &member, &trust);
                // Trusted by itself, it is no better.
                if let Some(Item::Certificate(der)) =
                    items(&member).ok().and_then(|i| i.into_iter().next())
                    && let Ok(own) = Trust::new(vec![der.clone()], Vec::new())
                {
                    refused(&name, &der, &own);
                }
            }
        } else if path.ends_with(".json.gz") {
            let mut text = String::new();
            GzDecoder::new(bytes.as_slice())
                .read_to_string(&mut text)
                .unwrap();
            let suite: Value = serde_json::from_str(&text).unwrap();
            for case in suite["testcases"].as_array().unwrap() {
                limbo(case, &mut refused);
            }
        } else {
            refused(path, &bytes, &trust);
        }
    }
    for (rule, count) in &rules {
        println!("x509-negative: {count} refused: {rule}");
    }
    println!("x509-negative: {seen} certificates, CSRs and chains read, none taken");
    println!(
        "corpus x509-negative: {} files, {} as stated, 0 unexplained",
        files.len(),
        files.len()
    );
}

/// A chain for TLS, good or bad: with its own roots, it is still no TPM's.
fn limbo(case: &Value, refused: &mut impl FnMut(&str, &[u8], &Trust)) {
    let texts = |key: &str| -> Vec<String> {
        let list = case[key].as_array().into_iter().flatten();
        list.map(|pem| pem.as_str().unwrap().to_owned()).collect()
    };
    for crl in texts("crls") {
        read_all(crl.as_bytes());
    }
    let ders = |key: &str| -> Vec<Vec<u8>> {
        texts(key)
            .iter()
            .flat_map(|pem| certificates(pem.as_bytes()).unwrap_or_default())
            .collect()
    };
    let name = case["id"].as_str().unwrap();
    let leaf = case["peer_certificate"].as_str().unwrap();
    read_all(leaf.as_bytes());
    if let Ok(trust) = Trust::new(ders("trusted_certs"), ders("untrusted_intermediates")) {
        refused(name, leaf.as_bytes(), &trust);
    }
}

/// WebAuthn attestation statements of real TPMs: public area, certify structure
/// and AIK certificate are read; the key's Name is the certified one; and the
/// AIK's certificate does not pass for an EK's.
#[test]
fn webauthn_statements_are_read_and_no_aik_passes_for_an_ek() {
    let Some(corpus) = corpus() else { return };
    let trust = trust(&corpus);
    let files = corpus.files("webauthn-tpm");
    let (mut statements, mut found) = (0, Vec::new());
    for path in &files {
        let Some(object) = attestation_object(path, &corpus.read(path)) else {
            // The options of the response beside it: no statement.
            assert!(path.ends_with("Options.json"), "{path}");
            continue;
        };
        statements += 1;
        let statement = member(&object, "attStmt").unwrap();
        let bytes = |key| match member(statement, key) {
            Some(Cbor::Bytes(bytes)) => bytes.clone(),
            other => panic!("{path}: {key}: {other:?}"),
        };
        let area = Public::parse(&bytes("pubArea"));
        let certified = Attest::parse(&bytes("certInfo"));
        match (&area, &certified) {
            (Ok(area), Ok(attest)) => match &attest.attested {
                Attested::Certify { name, .. } => {
                    assert_eq!(name.as_bytes(), area.name().as_bytes(), "{path}");
                }
                other => panic!("{path}: {other:?}"),
            },
            (area, attest) => found.push((path.clone(), format!("{area:?} {attest:?}"))),
        }
        let Some(Cbor::Array(chain)) = member(statement, "x5c") else {
            panic!("{path}: no x5c")
        };
        for certificate in chain {
            let Cbor::Bytes(der) = certificate else {
                panic!("{path}: x5c")
            };
            read_all(der);
            let shown = ShownCertificate::parse(der).unwrap();
            let report = ek_certificate::inspect(der, &trust, AT).unwrap();
            assert_eq!(report.verdict, Verdict::Refused, "{path}");
            println!("{path}: {}: {}", shown.issuer, report.reason.unwrap());
        }
    }
    assert!(statements >= 9, "{statements}");
    settle("webauthn-tpm", &found, WEBAUTHN, files.len());
}

/// What our readers of TPM structures do not take, and why.
const WEBAUTHN: &[(&str, &str, &str)] = &[(
    "w3c_tpm_es256_vector.txt",
    "TPMS_CLOCK_INFO.safe",
    "its clock is pseudo-random octets; TPMI_YES_NO is 0 or 1 (TPM 2.0 Part 2 §9.2)",
)];

fn attestation_object(path: &str, bytes: &[u8]) -> Option<Cbor> {
    let text = std::str::from_utf8(bytes).unwrap();
    let object = if path.ends_with(".txt") {
        let (_, rest) = text.split_once("attestationObject = h'")?;
        hex::decode(rest.split_once('\'')?.0).unwrap()
    } else {
        let json: Value = serde_json::from_str(text).unwrap();
        let places = ["/credential/response", "/response", ""];
        let text = places
            .iter()
            .find_map(|at| json.pointer(&format!("{at}/attestationObject")))?
            .as_str()?
            .trim_end_matches('=');
        URL_SAFE_NO_PAD
            .decode(text)
            .or_else(|_| STANDARD.decode(format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4))))
            .unwrap()
    };
    Some(ciborium::from_reader(object.as_slice()).unwrap())
}

fn member<'a>(map: &'a Cbor, key: &str) -> Option<&'a Cbor> {
    let entries = map.as_map()?;
    let found = entries.iter().find(|(k, _)| k.as_text() == Some(key))?;
    Some(&found.1)
}
