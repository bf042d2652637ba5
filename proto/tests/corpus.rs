//! Structures that real TPMs made, from the corpus of public projects. Its
//! folder is `HOLDFAST_CORPUS`, or `shared/corpus` beside the project; where it
//! is absent these tests say so and pass.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a test's helper is a failed test"
)]

use std::path::{Path, PathBuf};
use std::{env, fs};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use holdfast_proto::tpm::templates::EkTemplate;
use holdfast_proto::tpm::{Attest, Attested, HashAlg, ParseError, Public, Signature};
use ring::signature as ring;
use serde_json::Value;

fn corpus(folder: &str) -> Option<PathBuf> {
    let root = env::var_os("HOLDFAST_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
        PathBuf::from,
    );
    let path = root.join(folder);
    if !path.exists() {
        println!("skipped: no corpus at {}", path.display());
        return None;
    }
    Some(path)
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn base64(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

fn hex_of(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn pem(path: &Path) -> Vec<u8> {
    let text = fs::read_to_string(path).unwrap();
    let lines: String = text
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    STANDARD.decode(lines).unwrap()
}

/// Parses, comes back to the same bytes, and no shorter or longer input parses.
fn attest(bytes: &[u8]) -> Attest {
    let attest = Attest::parse(bytes).unwrap();
    assert_eq!(attest.encode(), bytes);
    assert!((0..bytes.len()).all(|len| Attest::parse(&bytes[..len]).is_err()));
    assert!(Attest::parse(&[bytes, &[0]].concat()).is_err());
    attest
}

fn public(bytes: &[u8]) -> Public {
    let public = Public::parse(bytes).unwrap();
    assert_eq!(public.encode(), bytes);
    assert!((0..bytes.len()).all(|len| Public::parse(&bytes[..len]).is_err()));
    assert!(Public::parse(&[bytes, &[0]].concat()).is_err());
    public
}

fn signature(bytes: &[u8]) -> Signature {
    let signature = Signature::parse(bytes).unwrap();
    assert_eq!(signature.encode(), bytes);
    assert!((0..bytes.len()).all(|len| Signature::parse(&bytes[..len]).is_err()));
    signature
}

/// The RSASSA signature over the attest's bytes verifies, and not over others.
fn verifies(key: &Public, message: &[u8], signature: &Signature) {
    let Signature::RsaSsa { hash, sig } = signature else {
        unreachable!("RSASSA is expected")
    };
    let algorithm = match hash {
        HashAlg::Sha1 => &ring::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
        HashAlg::Sha256 => &ring::RSA_PKCS1_2048_8192_SHA256,
        other => unreachable!("{other} is not in the corpus"),
    };
    let der = key.to_rsa_public_key_der().unwrap();
    let key = ring::UnparsedPublicKey::new(algorithm, der);
    assert!(key.verify(message, sig).is_ok());
    assert!(key.verify(&message[1..], sig).is_err());
}

/// tpm2-tools on a software TPM, kept by keylime.
#[test]
fn keylime() {
    let Some(folder) = corpus("quote/keylime__keylime") else {
        return;
    };
    let file = |name: &str| fs::read(folder.join(name)).unwrap();
    let ak = Public::parse_tpm2b(&file("ak.pub")).unwrap();
    assert_eq!(ak.encode_tpm2b(), file("ak.pub"));
    assert_eq!(ak.name().as_bytes(), file("ak.name"));
    assert_eq!(ak.to_spki_der().unwrap(), pem(&folder.join("akpub.pem")));
    let ek = Public::parse_tpm2b(&file("ek.pub")).unwrap();
    assert_eq!(EkTemplate::matching(&ek), Some(EkTemplate::L1));
    assert_eq!(ek.to_spki_der().unwrap(), pem(&folder.join("ekpub.pem")));

    let message = file("quote.out");
    let quote = attest(&message);
    assert_eq!(
        hex::encode(&quote.extra_data),
        "db1db298db6d60e6385b7231743e9c3056a18003"
    );
    let Attested::Quote {
        selection,
        pcr_digest,
    } = &quote.attested
    else {
        unreachable!("it is a quote")
    };
    let selection: Vec<String> = selection.iter().map(ToString::to_string).collect();
    assert_eq!(selection, ["sha256:15,16,22"]);
    assert!(hex::encode(pcr_digest).starts_with("ec1636c69c54"));
    verifies(&ak, &message, &signature(&file("quotesig.out")));
}

/// Azure's vTPM: the PCR digest is that of the values that come along.
#[test]
fn trustee() {
    let Some(folder) = corpus("quote/confidential-containers__trustee") else {
        return;
    };
    let quote = attest(&fs::read(folder.join("tpm-quote.msg")).unwrap());
    assert_eq!(quote.extra_data, b"challenge");

    let v1 = json(&folder.join("tpm-quote-v1.json"));
    let evidence = json(&folder.join("tpm_evidence.json"));
    signature(&base64(&evidence["tpm_quote"]["signature"]));
    for (message, pcrs) in [
        (hex_of(&v1["message"]), &v1["pcrs"]),
        (
            base64(&evidence["tpm_quote"]["message"]),
            &evidence["tpm_quote"]["pcrs"],
        ),
    ] {
        let Attested::Quote {
            selection,
            pcr_digest,
        } = attest(&message).attested
        else {
            unreachable!("it is a quote")
        };
        let values: Vec<Vec<u8>> = pcrs.as_array().unwrap().iter().map(hex_of).collect();
        assert_eq!(selection.len(), 1);
        assert_eq!(selection[0].pcrs.len(), values.len());
        assert_eq!(
            HashAlg::Sha256.digest(&[&values.concat()]).as_bytes(),
            pcr_digest
        );
    }
}

/// A Windows machine on GCE, with a creation certified by its AK.
#[test]
fn go_eventlog() {
    let Some(folder) = corpus("quote/google__go-eventlog") else {
        return;
    };
    let dump = json(&folder.join("windows_gcp_shielded_vm.json"));
    let ak = public(&base64(&dump["AK"]["Public"]));
    let message = base64(&dump["AK"]["CreateAttestation"]);
    let Attested::Creation {
        object_name,
        creation_hash,
    } = attest(&message).attested
    else {
        unreachable!("it is a creation")
    };
    assert_eq!(object_name, ak.name());
    let created = HashAlg::Sha256.digest(&[&base64(&dump["AK"]["CreateData"])]);
    assert_eq!(creation_hash, created.as_bytes());
    verifies(
        &ak,
        &message,
        &signature(&base64(&dump["AK"]["CreateSignature"])),
    );

    let message = base64(&dump["Quote"]["Quote"]);
    assert!(matches!(attest(&message).attested, Attested::Quote { .. }));
    verifies(
        &ak,
        &message,
        &signature(&base64(&dump["Quote"]["Signature"])),
    );
}

/// TPMs of several makers, certifying keys for WebAuthn: `pubArea` is a
/// TPMT_PUBLIC, `certInfo` the TPMS_ATTEST of its certification.
#[test]
fn webauthn() {
    let Some(folder) = corpus("webauthn-tpm") else {
        return;
    };
    let (mut objects, mut made_up) = (Vec::new(), Vec::new());
    for project in fs::read_dir(folder).unwrap() {
        for file in fs::read_dir(project.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("json") => attestation_objects(&json(&path), &mut objects),
                _ => made_up.extend(hex_field(&fs::read_to_string(&path).unwrap())),
            }
        }
    }
    let mut seen = 0;
    for object in objects {
        let object: ciborium::Value = ciborium::from_reader(object.as_slice()).unwrap();
        let statement = entry(&object, "attStmt").unwrap();
        let area = public(entry(statement, "pubArea").unwrap().as_bytes().unwrap());
        let info = attest(entry(statement, "certInfo").unwrap().as_bytes().unwrap());
        let Attested::Certify { name, .. } = info.attested else {
            unreachable!("certInfo is a certification")
        };
        assert_eq!(name, area.name());
        assert!(area.to_spki_der().is_ok());
        seen += 1;
    }
    println!("{seen} WebAuthn certifications");
    assert!(seen >= 8, "only {seen}");
    // The specification's own vector is made by hand, with 0x33 as filler where
    // TPMI_YES_NO (Part 2 §9.2) is 0 or 1. It is called valid; no TPM makes it.
    for object in made_up {
        let object: ciborium::Value = ciborium::from_reader(object.as_slice()).unwrap();
        let statement = entry(&object, "attStmt").unwrap();
        public(entry(statement, "pubArea").unwrap().as_bytes().unwrap());
        let info = Attest::parse(entry(statement, "certInfo").unwrap().as_bytes().unwrap());
        let field = "TPMS_CLOCK_INFO.safe";
        assert_eq!(info, Err(ParseError::Unsupported { field, value: 0x33 }));
    }
}

fn attestation_objects(value: &Value, found: &mut Vec<Vec<u8>>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                match value.as_str().filter(|_| key == "attestationObject") {
                    Some(text) => {
                        let text = text
                            .trim_end_matches('=')
                            .replace('+', "-")
                            .replace('/', "_");
                        found.push(URL_SAFE_NO_PAD.decode(text).unwrap());
                    }
                    None => attestation_objects(value, found),
                }
            }
        }
        Value::Array(values) => values
            .iter()
            .for_each(|value| attestation_objects(value, found)),
        _ => {}
    }
}

/// `attestationObject = h'…'`, as the WebAuthn specification prints it.
fn hex_field(text: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once("attestationObject = h'")?;
    let (digits, _) = rest.split_once('\'')?;
    hex::decode(digits).ok()
}

fn entry<'a>(map: &'a ciborium::Value, key: &str) -> Option<&'a ciborium::Value> {
    map.as_map()?
        .iter()
        .find(|(found, _)| found.as_text() == Some(key))
        .map(|(_, value)| value)
}
