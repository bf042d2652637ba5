//! The corpus' bad certificates, and good ones of other kinds, by the roads that
//! are not the EK's: as IAK, as IDevID, as an OEM's CA, as an operator's client
//! certificate and as an LDevID. One line of `negative.tsv` for each certificate
//! says what each reader answers; the line is the explanation.
//! `HOLDFAST_WRITE_NEGATIVE=FILE` writes the table anew. (The EK road over the same
//! files is in `tests/inspect/authorities.rs`.)

use std::{fmt::Write as _, fs, io::Read as _, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use flate2::read::GzDecoder;

use super::*;
use crate::{
    endorsement::{Item, KeyMaterial, ShownCertificate, items},
    identity::LdevidOnFile,
    operators::OperatorsCa,
    verification::tests::corpus::corpus,
};

const TABLE: &str = include_str!("negative.tsv");
const HEADER: &str =
    "certificate\torigin says\tas IAK\tas IDevID\tas an OEM's CA\tas an operator's\tas an LDevID\n";

/// A certificate: where it is from, and what its origin says of it.
struct Case {
    name: String,
    says: String,
    der: Vec<u8>,
}

#[test]
fn nothing_of_the_negative_collections_passes_for_a_device_or_a_person() {
    let Some(root) = corpus("x509-negative") else {
        return;
    };
    let manifest = fs::read_to_string(root.join("../MANIFEST.tsv")).unwrap();
    let device = Device::new();
    let operators = OperatorsCa::from_pem(&pem(&device.oem.root)).unwrap();
    let mut found = HEADER.to_owned();
    let mut passed = Vec::new();
    for row in manifest
        .lines()
        .map(|row| row.split('\t').collect::<Vec<_>>())
    {
        let [path, _, _, _, "x509-negative", _, says, ..] = row.as_slice() else {
            continue;
        };
        for case in cases(&root.join("..").join(path), path, says) {
            let mut answers = [
                as_key(&device, DevidKey::Iak, &case.der),
                as_key(&device, DevidKey::Idevid, &case.der),
                OemCas::new(vec![case.der.clone()], Vec::new()).map_or_else(said, |_| taken()),
                operators
                    .read(&case.der, NOW)
                    .map_or_else(said, |_| taken()),
                LdevidOnFile::read(&case.der, None).map_or_else(said, |_| taken()),
            ];
            // That a CA's certificate may be imported is the owner's to say.
            for (at, answer) in answers.iter().enumerate() {
                if at != 2 && *answer == taken() {
                    passed.push(case.name.clone());
                }
            }
            if answers[1] == answers[0] {
                "the same".clone_into(&mut answers[1]);
            }
            let answers = answers.join("\t");
            writeln!(found, "{}\t{}\t{answers}", case.name, case.says).unwrap();
        }
    }
    assert!(passed.is_empty(), "taken for what they are not: {passed:?}");
    if let Some(file) = std::env::var_os("HOLDFAST_WRITE_NEGATIVE") {
        fs::write(file, &found).unwrap();
        return;
    }
    for (expected, found) in TABLE.lines().zip(found.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(TABLE.lines().count(), found.lines().count());
}

fn taken() -> String {
    "taken".to_owned()
}

/// The rule, in as few words as tell it.
fn said(error: impl std::fmt::Display) -> String {
    const WHOSE: [&str; 9] = [
        "imported certificate 0: ",
        "not a client certificate of the operators' CA: ",
        "not a certificate: ",
        "the prepared certificate was not issued: ",
        "IAK certificate: ",
        "IDevID certificate: ",
        "certificate 0: ",
        "the IAK certificate's ",
        "the IDevID certificate's ",
    ];
    const DETAILS: [&str; 5] = [
        "(Required",
        " {",
        ": Message",
        ": InvalidData",
        ": TruncatedData",
    ];
    let text = error.to_string();
    let text = WHOSE
        .iter()
        .fold(text, |text, whose| text.replace(whose, ""));
    let end = DETAILS.iter().filter_map(|detail| text.find(detail)).min();
    text.split_at(end.unwrap_or(text.len())).0.to_owned()
}

fn pem(der: &[u8]) -> String {
    let base64 = BASE64.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
}

/// Beside a good IAK or IDevID of an OEM, with this certificate's own key in the
/// area of its role; and the certificate trusted as an OEM's root by itself.
fn as_key(device: &Device, of: DevidKey, der: &[u8]) -> String {
    let shown = match ShownCertificate::parse(der) {
        Ok(shown) => shown,
        Err(error) => return said(error),
    };
    let Some(key) = shown.key() else {
        return "a key that no TPM here makes".to_owned();
    };
    let area = DevidTemplate::ALL
        .into_iter()
        .map(|template| Public {
            unique: key.unique.clone(),
            ..template.public(of, DevidUnique::Zeros)
        })
        .find(|area| KeyMaterial::of_area(area).is_some_and(|k| k.kind() == key.kind()));
    let Some(area) = area else {
        return format!("{}: a key of no template", key.kind());
    };
    let (area, chain) = (area.encode(), vec![der.to_vec()]);
    let claimed = match of {
        DevidKey::Iak => {
            let idevid = device.oem.chain(&device.idevid_spec);
            ClaimedDevid::parse(&area, &chain, &device.idevid.encode(), &idevid)
        }
        DevidKey::Idevid => {
            let iak = device.oem.chain(&device.iak_spec);
            ClaimedDevid::parse(&device.iak.encode(), &iak, &area, &chain)
        }
    };
    let roots = vec![device.oem.root.clone(), der.to_vec()];
    let cas = OemCas::new(roots, Vec::new())
        .or_else(|_| OemCas::new(vec![device.oem.root.clone()], Vec::new()));
    let anchors = OemAnchors::new([(OemName::parse(OEM).unwrap(), cas.unwrap())].into());
    claimed
        .and_then(|claimed| anchors.endorse(claimed, ek(&ecc_ek()), &Rules::default(), NOW))
        .map_or_else(said, |_| taken())
}

/// The certificates of a file; what is none (requests, CRLs, keys) has its own
/// readers. Bytes that are nothing at all go in as they are.
fn cases(file: &Path, path: &str, says: &str) -> Vec<Case> {
    let bytes = fs::read(file).unwrap();
    let short = path.trim_start_matches("x509-negative/");
    let mut cases = Vec::new();
    let mut push = |name: String, says: &str, bytes: &[u8]| match items(bytes) {
        Ok(read) => cases.extend(read.into_iter().filter_map(|item| match item {
            Item::Certificate(der) => Some(Case {
                name: name.clone(),
                says: says.to_owned(),
                der,
            }),
            Item::Crl(_) => None,
        })),
        Err(_) => cases.push(Case {
            name,
            says: says.to_owned(),
            der: bytes.to_vec(),
        }),
    };
    if path.ends_with(".tar.gz") {
        let mut archive = tar::Archive::new(GzDecoder::new(bytes.as_slice()));
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let member = entry.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            push(member, "by its name", &bytes);
        }
    } else if path.ends_with(".json.gz") {
        let suite: serde_json::Value =
            serde_json::from_reader(GzDecoder::new(bytes.as_slice())).unwrap();
        for case in suite["testcases"].as_array().unwrap() {
            let text = |key: &str| case[key].as_str().unwrap().to_owned();
            let says = format!(
                "TLS {} {}",
                text("validation_kind"),
                text("expected_result")
            );
            push(text("id"), &says, text("peer_certificate").as_bytes());
        }
    } else {
        push(short.to_owned(), says, &bytes);
    }
    cases
}
