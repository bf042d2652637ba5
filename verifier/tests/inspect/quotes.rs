//! Every quote set of the corpus: it holds under its key, nonce and PCR values,
//! and with one of them changed it does not.

use std::collections::BTreeMap;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use holdfast_proto::tpm::{
    HashAlg, Public, Signature, Unique,
    templates::{AkAlg, ak_template},
};
use holdfast_verifier::{
    identity::pem,
    inspect::{Verdict, key, quote},
    verification::{QuoteExpectation, Values},
};
use serde_json::Value;

use super::corpus::{Corpus, corpus, settle};

/// Where we disagree with what is stated.
const EXPLAINED: &[(&str, &str, &str)] = &[
    (
        "windows_gcp_shielded_vm.json",
        "signing scheme not allowed",
        "the AK signs with SHA-1, on which nothing may rest (SP 800-131A)",
    ),
    (
        "tpm-quote.msg",
        "signature: does not verify",
        "its AK is not in the corpus: hcl-report.bin, which stands beside it, holds another",
    ),
];

struct Set {
    name: String,
    key: Vec<u8>,
    attest: Vec<u8>,
    signature: Vec<u8>,
    nonce: Vec<u8>,
    pcrs: Option<Values>,
}

fn hex_of(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn base64_of(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

/// The bytes of a JSON array of numbers.
fn numbers(value: &Value) -> Vec<u8> {
    let bytes = value.as_array().unwrap().iter();
    bytes
        .map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap())
        .collect()
}

fn all_24<'a>(bank: HashAlg, values: impl IntoIterator<Item = Vec<u8>> + 'a) -> Values {
    [(bank, (0..24).zip(values).collect())].into()
}

fn rsassa(sig: Vec<u8>) -> Vec<u8> {
    let hash = HashAlg::Sha256;
    Signature::RsaSsa { hash, sig }.encode()
}

/// The AK of an Azure HCL report: a JWK in the JSON behind the report.
fn hcl_key(report: &[u8]) -> Vec<u8> {
    let start = report
        .windows(8)
        .position(|window| window == b"{\"keys\":")
        .unwrap();
    let mut json = serde_json::Deserializer::from_slice(&report[start..]).into_iter::<Value>();
    let json = json.next().unwrap().unwrap();
    let keys = json["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["kid"] == "HCLAkPub").unwrap();
    let modulus = URL_SAFE_NO_PAD.decode(key["n"].as_str().unwrap()).unwrap();
    let area = Public {
        unique: Unique::Rsa(modulus),
        ..ak_template(AkAlg::Rsa2048, &[0; 32])
    };
    pem::encode("PUBLIC KEY", &area.to_spki_der().unwrap()).into_bytes()
}

fn azure(corpus: &Corpus, sets: &mut Vec<Set>) {
    let folder = "quote/confidential-containers__trustee";
    let plain = |name: &str| corpus.json(&format!("{folder}/{name}"));
    let challenge = b"challenge".to_vec();

    let v0 = plain("evidence-v0.json");
    let pcrs = v0["quote"]["pcrs"].as_array().unwrap().iter().map(numbers);
    sets.push(Set {
        name: format!("{folder}/evidence-v0.json"),
        key: hcl_key(&numbers(&v0["report"])),
        attest: numbers(&v0["quote"]["message"]),
        signature: rsassa(numbers(&v0["quote"]["signature"])),
        nonce: challenge.clone(),
        pcrs: Some(all_24(HashAlg::Sha256, pcrs)),
    });
    let nonce2 = "982f5c6e45df0ed3f10b6f60b02f0c8390e281300f3805e2279c16168cd6ae9aa398f647caa2338748cd0fd9f5f819ef";
    for (name, nonce) in [
        ("evidence-v1.json", challenge.clone()),
        ("evidence-v2.json", hex::decode(nonce2).unwrap()),
    ] {
        let evidence = plain(name);
        let quote = &evidence["tpm_quote"];
        let report = evidence["hcl_report"].as_str().unwrap();
        let report = report
            .trim_end_matches('=')
            .replace('+', "-")
            .replace('/', "_");
        let report = URL_SAFE_NO_PAD.decode(report).unwrap();
        let pcrs = quote["pcrs"].as_array().unwrap().iter().map(hex_of);
        sets.push(Set {
            name: format!("{folder}/{name}"),
            key: hcl_key(&report),
            attest: hex_of(&quote["message"]),
            signature: rsassa(hex_of(&quote["signature"])),
            nonce,
            pcrs: Some(all_24(HashAlg::Sha256, pcrs)),
        });
    }
    let v1 = plain("tpm-quote-v1.json");
    let pcrs = v1["pcrs"].as_array().unwrap().iter().map(hex_of);
    let key = hcl_key(&corpus.read(&format!("{folder}/hcl-report.bin")));
    sets.push(Set {
        name: format!("{folder}/tpm-quote-v1.json"),
        key: key.clone(),
        attest: hex_of(&v1["message"]),
        signature: rsassa(hex_of(&v1["signature"])),
        nonce: challenge.clone(),
        pcrs: Some(all_24(HashAlg::Sha256, pcrs)),
    });
    // As `tpm2_quote -f plain` writes it.
    let pcrs = v1["pcrs"].as_array().unwrap().iter().map(hex_of);
    sets.push(Set {
        name: format!("{folder}/tpm-quote-v1.json, bare"),
        key: key.clone(),
        attest: hex_of(&v1["message"]),
        signature: hex_of(&v1["signature"]),
        nonce: challenge.clone(),
        pcrs: Some(all_24(HashAlg::Sha256, pcrs)),
    });
    sets.push(Set {
        name: format!("{folder}/tpm-quote.msg"),
        key,
        attest: corpus.read(&format!("{folder}/tpm-quote.msg")),
        signature: corpus.read(&format!("{folder}/tpm-quote.sig")),
        nonce: challenge,
        pcrs: None,
    });
    let evidence = plain("tpm_evidence.json");
    let quote = &evidence["tpm_quote"];
    let pcrs = quote["pcrs"].as_array().unwrap().iter().map(hex_of);
    let nonce = "a04182b506878d4f29b91ee606a71a0d3361ccf1b22db20c98adcaa537bea393ef0e41a18b3569ab678f1497fbc5c12000000000000000000000000000000000";
    sets.push(Set {
        name: format!("{folder}/tpm_evidence.json"),
        key: base64_of(&evidence["ak_public"]),
        attest: base64_of(&quote["message"]),
        signature: base64_of(&quote["signature"]),
        nonce: hex::decode(nonce).unwrap(),
        pcrs: Some(all_24(HashAlg::Sha256, pcrs)),
    });
}

/// bincode: signature, message, PCRs, each behind its length or count.
fn kinvolk(corpus: &Corpus, sets: &mut Vec<Set>) {
    let folder = "quote/kinvolk__azure-cvm-tooling";
    let bytes = corpus.read(&format!("{folder}/quote.bin"));
    let length = |at: usize| {
        let bytes = bytes[at..at + 8].try_into().unwrap();
        usize::try_from(u64::from_le_bytes(bytes)).unwrap()
    };
    let signature = bytes[8..8 + length(0)].to_vec();
    let at = 8 + signature.len();
    let attest = bytes[at + 8..at + 8 + length(at)].to_vec();
    let at = at + 8 + attest.len();
    let pcrs = bytes[at + 8..].chunks_exact(32).map(<[u8]>::to_vec);
    assert_eq!(length(at), 24);
    sets.push(Set {
        name: format!("{folder}/quote.bin"),
        key: corpus.read(&format!("{folder}/akpub.pem")),
        attest,
        signature: rsassa(signature),
        nonce: b"challenge".to_vec(),
        pcrs: Some(all_24(HashAlg::Sha256, pcrs)),
    });
}

/// tpm2-tools: PEM, TPM2B_PUBLIC and TPMT_PUBLIC of one key; PCR values in the
/// form of `tpm2_quote -o`: selection, count, TPML_DIGEST, all as in memory.
fn keylime(corpus: &Corpus, sets: &mut Vec<Set>) {
    let folder = "quote/keylime__keylime";
    let read = |name: &str| corpus.read(&format!("{folder}/{name}"));
    let file = read("quotepcr.out");
    let values = file[140..].chunks_exact(66).map(|d| d[2..34].to_vec());
    let pcrs: Values = [(
        HashAlg::Sha256,
        [15, 16, 22].into_iter().zip(values).collect(),
    )]
    .into();
    let tpm2b = read("ak.pub");
    for (form, key) in [
        ("akpub.pem", read("akpub.pem")),
        ("TPMT_PUBLIC", tpm2b[2..].to_vec()),
        ("ak.pub", tpm2b),
    ] {
        sets.push(Set {
            name: format!("{folder}/quote.out by {form}"),
            key,
            attest: read("quote.out"),
            signature: read("quotesig.out"),
            nonce: hex::decode("db1db298db6d60e6385b7231743e9c3056a18003").unwrap(),
            pcrs: Some(pcrs.clone()),
        });
    }
}

fn windows(corpus: &Corpus, sets: &mut Vec<Set>) {
    let path = "quote/google__go-eventlog/windows_gcp_shielded_vm.json";
    let dump = corpus.json(path);
    sets.push(Set {
        name: path.to_owned(),
        key: base64_of(&dump["AK"]["Public"]),
        attest: base64_of(&dump["Quote"]["Quote"]),
        signature: base64_of(&dump["Quote"]["Signature"]),
        nonce: Vec::new(),
        pcrs: None,
    });
}

/// Fields of a protobuf message: number, and the bytes or the number.
fn fields(mut message: &[u8]) -> Vec<(u64, u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let number = varint(&mut message);
        let bytes: &[u8] = match tag & 7 {
            0 => &[],
            2 => {
                let (bytes, rest) = message.split_at(usize::try_from(number).unwrap());
                message = rest;
                bytes
            }
            other => panic!("wire type {other}"),
        };
        found.push((tag >> 3, number, bytes));
    }
    found
}

/// go-tpm-tools' Attestation: ak_pub = 1, quotes = 2 { quote = 1, raw_sig = 2,
/// pcrs = 3 { hash = 1, pcrs = 2 (map) } }.
fn cos(corpus: &Corpus, sets: &mut Vec<Set>) {
    let path = "quote/google__go-tpm-tools/gce-cos-85-no-nonce.pb";
    let message = corpus.read(path);
    let all = fields(&message);
    let one = |of: &[(u64, u64, &[u8])], wanted| {
        let (_, _, bytes) = of.iter().find(|(number, ..)| *number == wanted).unwrap();
        bytes.to_vec()
    };
    for (_, _, quote) in all.iter().filter(|(number, ..)| *number == 2) {
        let quote = fields(quote);
        let pcrs = one(&quote, 3);
        let pcrs = fields(&pcrs);
        let bank = pcrs.iter().find(|(number, ..)| *number == 1).unwrap().1;
        let bank = HashAlg::from_id(u16::try_from(bank).unwrap()).unwrap();
        let values: BTreeMap<u32, Vec<u8>> = pcrs
            .iter()
            .filter(|(number, ..)| *number == 2)
            .map(|(_, _, entry)| {
                let entry = fields(entry);
                // PCR 0 is the default, and left out.
                let index = entry.iter().find(|(number, ..)| *number == 1);
                let index = index.map_or(0, |(_, index, _)| u32::try_from(*index).unwrap());
                (index, one(&entry, 2))
            })
            .collect();
        sets.push(Set {
            name: format!("{path} {bank}"),
            key: one(&all, 1),
            attest: one(&quote, 1),
            signature: one(&quote, 2),
            nonce: Vec::new(),
            pcrs: Some([(bank, values)].into()),
        });
    }
}

fn sets(corpus: &Corpus) -> Vec<Set> {
    let mut sets = Vec::new();
    azure(corpus, &mut sets);
    kinvolk(corpus, &mut sets);
    keylime(corpus, &mut sets);
    windows(corpus, &mut sets);
    cos(corpus, &mut sets);
    sets
}

/// Verdict and reason.
fn judge(
    set: &Set,
    change: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>, &mut QuoteExpectation),
) -> (Verdict, String) {
    let key = key::read(&set.key).unwrap_or_else(|e| panic!("{}: {e}", set.name));
    let (mut attest, mut signature) = (set.attest.clone(), set.signature.clone());
    let mut expected = QuoteExpectation {
        nonce: Some(set.nonce.clone()),
        pcrs: set.pcrs.clone(),
    };
    change(&mut attest, &mut signature, &mut expected);
    let report = quote::inspect(&key, &attest, &signature, &expected).unwrap();
    assert_eq!(report.reason.is_some(), report.verdict == Verdict::Refused);
    (report.verdict, report.reason.unwrap_or_default())
}

#[test]
fn every_quote_set_holds_and_does_not_with_one_thing_changed() {
    let Some(corpus) = corpus() else { return };
    let sets = sets(&corpus);
    let mut found = Vec::new();
    for set in &sets {
        let (verdict, reason) = judge(set, |_, _, _| ());
        if verdict != Verdict::Affirming {
            found.push((set.name.clone(), reason));
            continue;
        }
        let refused = |what: &str, judged: (Verdict, String), words: &str| {
            assert_eq!(judged.0, Verdict::Refused, "{}: {what}", set.name);
            assert!(
                judged.1.contains(words),
                "{}: {what}: {}",
                set.name,
                judged.1
            );
        };
        refused(
            "nonce",
            judge(set, |_, _, expected| {
                expected.nonce = Some(vec![1, 2, 3, 4])
            }),
            "extraData",
        );
        refused(
            "signature",
            judge(set, |_, signature, _| *signature.last_mut().unwrap() ^= 1),
            "signature",
        );
        refused(
            "magic",
            judge(set, |attest, _, _| attest[3] ^= 1),
            "TPM_GENERATED_VALUE",
        );
        // Clock and firmware version are nobody's but the signature's.
        let clock = 4 + 2 + 2 + 34 + 2 + set.nonce.len();
        refused(
            "clock",
            judge(set, |attest, _, _| attest[clock + 3] ^= 1),
            "signature",
        );
        if let Some(pcrs) = &set.pcrs {
            let (bank, values) = pcrs.iter().next().unwrap();
            let index = *values.keys().next().unwrap();
            refused(
                "PCR value",
                judge(set, |_, _, expected| {
                    let values = expected.pcrs.as_mut().unwrap().get_mut(bank).unwrap();
                    values.get_mut(&index).unwrap()[0] ^= 1;
                }),
                "do not match the quote's digest",
            );
            refused(
                "PCR left out",
                judge(set, |_, _, expected| {
                    let values = expected.pcrs.as_mut().unwrap().get_mut(bank).unwrap();
                    values.remove(&index);
                }),
                "quote covers",
            );
            refused(
                "PCR of another length",
                judge(set, |_, _, expected| {
                    let values = expected.pcrs.as_mut().unwrap().get_mut(bank).unwrap();
                    values.get_mut(&index).unwrap().pop();
                }),
                "PCR",
            );
        }
    }
    settle("quote", &found, EXPLAINED, sets.len());
}

#[test]
fn no_bit_of_a_quote_can_change_and_no_change_panics() {
    let Some(corpus) = corpus() else { return };
    let mut sets = Vec::new();
    keylime(&corpus, &mut sets);
    let set = &sets[0];
    for bit in 0..set.attest.len() * 8 {
        let (verdict, _) = judge(set, |attest, _, _| attest[bit / 8] ^= 1 << (bit % 8));
        assert_eq!(verdict, Verdict::Refused, "bit {bit} of the attest");
    }
    for bit in (0..set.signature.len() * 8).step_by(7) {
        let (verdict, _) = judge(set, |_, signature, _| {
            signature[bit / 8] ^= 1 << (bit % 8);
        });
        assert_eq!(verdict, Verdict::Refused, "bit {bit} of the signature");
    }
    for len in 0..set.attest.len() {
        let (verdict, _) = judge(set, |attest, _, _| attest.truncate(len));
        assert_eq!(verdict, Verdict::Refused);
    }
    for len in 0..set.key.len() {
        let _ = key::read(&set.key[..len]);
    }
    for key in [&sets[1].key, &sets[2].key] {
        for bit in 0..key.len() * 8 {
            let mut changed = key.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok(key) = key::read(&changed) {
                let expected = QuoteExpectation::default();
                let _ = quote::inspect(&key, &set.attest, &set.signature, &expected).unwrap();
            }
        }
    }
}

/// A key that would not pass as an AK is judged by its material, and said.
#[test]
fn a_key_that_enrolment_would_refuse_is_a_warning() {
    let Some(corpus) = corpus() else { return };
    let mut sets = Vec::new();
    keylime(&corpus, &mut sets);
    let mut area = Public::parse_tpm2b(&sets[2].key).unwrap();
    area.attributes = holdfast_proto::tpm::ObjectAttributes::from_bits(
        area.attributes.bits() & !holdfast_proto::tpm::ObjectAttributes::RESTRICTED.bits(),
    );
    let key = key::read(&area.encode_tpm2b()).unwrap();
    let set = &sets[2];
    let expected = QuoteExpectation {
        nonce: Some(set.nonce.clone()),
        pcrs: set.pcrs.clone(),
    };
    let report = quote::inspect(&key, &set.attest, &set.signature, &expected).unwrap();
    assert_eq!(report.verdict, Verdict::Affirming);
    assert!(
        report
            .warnings
            .iter()
            .any(|w| w.contains("restricted is clear")),
        "{:?}",
        report.warnings
    );
    // A certification is no quote, whatever signed it.
    let ek = key::read(&corpus.read("quote/keylime__keylime/ek.pub")).unwrap();
    let report = quote::inspect(&ek, &set.attest, &set.signature, &expected).unwrap();
    assert_eq!(report.verdict, Verdict::Refused);
}
