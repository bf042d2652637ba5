//! What the log holds, counted; and the policy over it.

use holdfast_proto::result::{Claim, Tier};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};

use super::*;
use crate::{
    appraisal::ima::{ImaState, MAX_NAMED},
    reference_values::allow_list::{AllowList, AllowListBuilder, ImaKey},
    verification::{
        ImaEvidence, MAX_INVALID_SIGNATURES, SignatureBudget, SignatureVerdict, Vouched,
        ima::tests::{record, replayed_log},
        verify_file_signature,
    },
};

const IMA_POLICY: &str = include_str!("../../../policies/ima.rego");

fn sha256(content: &[u8]) -> Vec<u8> {
    HashAlg::Sha256.digest(&[content]).as_bytes().to_vec()
}

fn d_ng(content: &[u8]) -> Vec<u8> {
    [b"sha256:\0".as_slice(), &sha256(content)].concat()
}

fn name(path: &str) -> Vec<u8> {
    [path.as_bytes(), b"\0"].concat()
}

fn file(path: &str, content: &[u8]) -> Vec<u8> {
    record(10, "ima-ng", &[&d_ng(content), &name(path)], false)
}

fn violation(path: &str) -> Vec<u8> {
    let digest = [b"sha256:\0".as_slice(), &[0; 20]].concat();
    record(10, "ima-ng", &[&digest, &name(path)], true)
}

fn list() -> AllowList {
    built(|_| ())
}

fn built(more: impl FnOnce(&mut AllowListBuilder)) -> AllowList {
    let mut builder = AllowListBuilder::new();
    for (path, content) in [("/sbin/init", "init"), ("/usr/bin/a", "a")] {
        let digest = sha256(content.as_bytes());
        builder
            .add(path.as_bytes(), HashAlg::Sha256, &digest)
            .unwrap();
    }
    more(&mut builder);
    builder.finish().unwrap()
}

fn state(records: &[Vec<u8>], list: Option<&AllowList>) -> ImaState {
    let evidence = ImaEvidence::Replayed(Box::new(replayed_log(records).0));
    ImaState::of(&evidence, None, list, &Vouched::default()).unwrap()
}

fn good_log() -> Vec<Vec<u8>> {
    vec![file("/sbin/init", b"init"), file("/usr/bin/a", b"a")]
}

/// The usual facts, with PCR 10 and a log that leads to it.
fn facts_with(ima: Option<ImaState>) -> Facts {
    let mut facts = facts();
    facts.pcrs.insert(10, vec![10; 32]);
    facts.ima = ima;
    facts
}

fn verdict(ima: Option<ImaState>) -> Verdict {
    let policy = Policy::compile(IMA_POLICY).unwrap();
    judge(&policy, &facts_with(ima), Some(&good_references()))
}

fn refused(records: &[Vec<u8>]) -> (Vec<String>, String) {
    let verdict = verdict(Some(state(records, Some(&list()))));
    assert_ne!(verdict.status, Tier::Affirming);
    let of_executables = |reason: &&super::super::Reason| reason.claims == [Claim::Executables];
    assert_eq!(
        verdict.reasons.iter().filter(of_executables).count(),
        verdict.reasons.len()
    );
    let codes = codes(&verdict).into_iter().map(str::to_owned).collect();
    (codes, verdict.reasons[0].detail.clone())
}

#[test]
fn a_log_of_listed_files_is_affirmed() {
    let verdict = verdict(Some(state(&good_log(), Some(&list()))));
    assert_eq!(verdict.status, Tier::Affirming, "{verdict:?}");
    assert_eq!(verdict.reasons, []);
}

#[test]
fn each_thing_wrong_has_its_reason() {
    let with = |more: Vec<u8>| [good_log(), vec![more]].concat();
    let (codes, detail) = refused(&with(file("/usr/bin/odd", b"odd")));
    assert_eq!(codes, ["ima-unknown-file"]);
    assert!(detail.starts_with("/usr/bin/odd (sha256:"), "{detail}");
    let (codes, detail) = refused(&with(file("/usr/bin/a", b"changed")));
    assert_eq!(codes, ["ima-mismatched-file"]);
    assert!(detail.starts_with("/usr/bin/a is sha256:"), "{detail}");
    let (codes, detail) = refused(&with(violation("/var/log/x")));
    assert_eq!(codes, ["ima-violation"]);
    assert!(detail.starts_with("/var/log/x was written"), "{detail}");
    let mut altered = file("/usr/bin/a", b"a");
    altered[4] ^= 1;
    assert_eq!(refused(&with(altered)).0, ["ima-altered"]);
    let other = record(11, "ima-ng", &[&d_ng(b"a"), &name("/usr/bin/a")], false);
    assert_eq!(
        refused(&[vec![other], good_log()].concat()).0,
        ["ima-other-pcr"]
    );
}

#[test]
fn no_log_and_an_empty_log_are_missing() {
    let codes_of = |ima| {
        let verdict = verdict(ima);
        assert_ne!(verdict.status, Tier::Affirming);
        codes(&verdict).join(" ")
    };
    assert!(codes_of(None).contains("ima-missing"));
    let edit = |from: &str, to: &str| {
        let document = state(&good_log(), Some(&list())).to_document();
        assert!(document.contains(from), "{document}");
        ImaState::parse(&document.replace(from, to)).unwrap()
    };
    let empty = edit("\"entries\":3", "\"entries\":0");
    assert!(codes_of(Some(empty)).contains("ima-missing"));
    for aggregate in ["differs", "other-bank", "absent", "none"] {
        let other = edit("\"matches9\"", &format!("\"{aggregate}\""));
        assert_eq!(codes_of(Some(other)), "ima-boot-aggregate", "{aggregate}");
    }
    let unknown = edit("\"matches9\"", "{\"pcr-unknown\":3}");
    assert_eq!(codes_of(Some(unknown)), "ima-boot-aggregate");
    let padded = edit("\"sha1_padded\":false", "\"sha1_padded\":true");
    assert_eq!(codes_of(Some(padded)), "ima-weak-bank");
}

/// The floor beneath: PCR 10 counts where its log leads to it, and only in a
/// policy that goes by logs.
#[test]
fn the_floor_takes_a_replayed_log_for_pcr_10() {
    let affirm_all = |floor: &str| {
        let source = format!(
            r#"package holdfast.appraisal
            import rego.v1
            floor := "{floor}"
            result := {{"vector": {{"instance-identity": 2, "hardware": 2, "executables": 2,
              "configuration": 2}}, "reasons": []}}"#
        );
        Policy::compile(&source).unwrap()
    };
    let ima = || Some(state(&good_log(), Some(&list())));
    let status = |floor, facts: &Facts| {
        let verdict = judge(&affirm_all(floor), facts, Some(&good_references()));
        (verdict.status, codes(&verdict).join(" "))
    };
    let good = (Tier::Affirming, String::new());
    assert_eq!(status("boot-log", &facts_with(ima())), good);
    let (tier, codes) = status("boot-log", &facts_with(None));
    assert_eq!((tier, codes.as_str()), (Tier::Warning, "boot-log-missing"));
    let (tier, codes) = status("reference-values", &facts_with(ima()));
    assert_eq!((tier, codes.as_str()), (Tier::Warning, "pcr-not-covered"));
    // It speaks for no other PCR.
    let mut other = facts_with(ima());
    other.pcrs.insert(4, vec![0xBA; 32]);
    assert_eq!(status("boot-log", &other).0, Tier::Warning);
}

/// Without a list every file is unknown: no list is not a list of everything.
#[test]
fn without_a_list_nothing_is_known() {
    let state = state(&good_log(), None);
    assert_eq!(state.findings.unknown.count, 2);
    assert!(!state.is_of(Some(&list())) && state.is_of(None));
}

/// ADVERSARY A13: a template's name is the sender's word. Whatever it is
/// called, an entry that does not show a listed file is unknown.
#[test]
fn adv_a13_no_template_hides_a_file() {
    let (digest, path) = (d_ng(b"odd"), name("/usr/bin/odd"));
    let fields: [&[u8]; 3] = [&digest, &path, b"anything"];
    for template in [
        "ima-sig",
        "ima-buf",
        "d-ng|n-ng|buf",
        "sig|n-ng|buf",
        "d-ng|sig|buf",
        "sig|buf|sig",
    ] {
        let findings = state(&[record(10, template, &fields, false)], Some(&list())).findings;
        assert_eq!(findings.unknown.count, 1, "{template}");
    }
    // What was run is called a signature, and a buffer that the attacker chose
    // names a listed file with its digest.
    let (listed, listed_path) = (d_ng(b"a"), name("/usr/bin/a"));
    for (template, fields) in [
        ("sig|n-ng|d-ng", [digest.as_slice(), &listed_path, &listed]),
        ("sig|d-ng|n-ng", [&digest, &listed, &listed_path]),
        ("d-ng|sig|n-ng", [&listed, &path, &listed_path]),
    ] {
        let findings = state(&[record(10, template, &fields, false)], Some(&list())).findings;
        assert_eq!(findings.unknown.count, 1, "{template}");
    }
    // A second boot_aggregate is a file like any other.
    let findings = state(&[file("boot_aggregate", b"x")], Some(&list())).findings;
    assert_eq!(findings.unknown.count, 1);
}

/// ADVERSARY A13: names are shown inert, cut, and each once; and no more of
/// them than a reason or the store can bear.
#[test]
fn adv_a13_names_are_inert_and_few() {
    let odd = "/tmp/a\nb\u{1b}[31m\u{202e}c\\";
    let named = state(&[file(odd, b"x")], Some(&list())).findings.unknown;
    let path = &named.first[0].path;
    assert!(!path.chars().any(char::is_control), "{path:?}");
    assert!(!path.contains('\u{202e}'), "{path:?}");

    let long = format!("/{}", "é".repeat(2000));
    let many: Vec<Vec<u8>> = (0..200)
        .map(|n| file(&format!("{long}{}", n / 2), &[n]))
        .collect();
    let state = state(&many, Some(&list()));
    let unknown = &state.findings.unknown;
    assert_eq!((unknown.count, unknown.first.len()), (200, MAX_NAMED));
    assert!(unknown.first.iter().all(|file| file.path.len() < 300));
    assert!(state.to_document().len() < 16 * 1024);
    // The policy can say all this without running into a limit.
    let verdict = verdict(Some(state));
    assert!(
        codes(&verdict)
            .iter()
            .all(|code| *code == "ima-unknown-file")
    );
    assert_eq!(verdict.reasons.len(), 8);
}

/// A26: however much is wrong with a gateway, the policy can say it, so that it
/// is the gateway that is at fault and not the policy.
#[test]
fn adv_a26_everything_wrong_at_once_is_said() {
    let unknown = [b"wp512:\0".as_slice(), &[7; 64]].concat();
    let mut log = Vec::new();
    for n in 0..40 {
        let path = format!("/{n}{}", "x".repeat(300));
        let fields: [&[u8]; 2] = [&unknown, &name(&path)];
        log.push(record(10, "ima-ng", &fields, false));
        log.push(file("/usr/bin/a", &[n]));
        log.push(violation(&path));
    }
    let mut facts = facts_with(Some(state(&log, Some(&list()))));
    facts.pcrs.values_mut().for_each(|value| value.fill(0xBA));
    for index in 0..24 {
        facts.pcrs.entry(index).or_insert_with(|| vec![0xBA; 32]);
    }
    let policy = Policy::compile(IMA_POLICY).unwrap();
    let verdict = judge(&policy, &facts, Some(&good_references()));
    assert_eq!(verdict.status, Tier::Warning, "{:?}", verdict.reasons);
    let codes = codes(&verdict);
    for code in [
        "pcr-mismatch",
        "pcr-not-covered",
        "ima-unknown-file",
        "ima-mismatched-file",
        "ima-violation",
    ] {
        assert!(codes.contains(&code), "{code}: {codes:?}");
    }
}

struct Key(EcdsaKeyPair);

impl Key {
    fn new() -> Self {
        let rng = SystemRandom::new();
        let alg = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(alg, &rng).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(alg, pkcs8.as_ref(), &rng).unwrap())
    }

    fn ima_key(&self) -> ImaKey {
        let head = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
        let spki = [&hex::decode(head).unwrap(), self.0.public_key().as_ref()].concat();
        ImaKey::read(&spki).unwrap()
    }

    fn sign(&self, kind: u8, version: u8, message: &[u8]) -> Vec<u8> {
        let signature = self.0.sign(&SystemRandom::new(), message).unwrap();
        let len = u16::try_from(signature.as_ref().len()).unwrap();
        [
            &[kind, version, 4],
            self.ima_key().key_id().as_slice(),
            &len.to_be_bytes(),
            signature.as_ref(),
        ]
        .concat()
    }
}

fn signed(path: &str, content: &[u8], signature: &[u8]) -> Vec<u8> {
    record(
        10,
        "ima-sig",
        &[&d_ng(content), &name(path), signature],
        false,
    )
}

#[test]
fn a_signature_vouches_for_a_file_that_is_not_listed() {
    let (key, other) = (Key::new(), Key::new());
    let list = built(|builder| builder.add_key(key.ima_key()));
    let counts = |record: Vec<u8>| {
        let findings = state(&[record], Some(&list)).findings;
        let s = findings.signed;
        (
            [s.valid, s.invalid, s.unknown_key, s.unsupported],
            findings.unknown.count,
            findings.mismatched.count,
        )
    };
    let good = key.sign(3, 2, b"x");
    assert_eq!(counts(signed("/opt/x", b"x", &good)), ([1, 0, 0, 0], 0, 0));
    // Of other content; by a key that only bears the id; by nobody known.
    assert_eq!(counts(signed("/opt/x", b"y", &good)), ([0, 1, 0, 0], 1, 0));
    let mut forged = other.sign(3, 2, b"x");
    forged[3..7].copy_from_slice(&key.ima_key().key_id());
    assert_eq!(
        counts(signed("/opt/x", b"x", &forged)),
        ([0, 1, 0, 0], 1, 0)
    );
    let strange = other.sign(3, 2, b"x");
    assert_eq!(
        counts(signed("/opt/x", b"x", &strange)),
        ([0, 0, 1, 0], 1, 0)
    );
    // SHA-1; a portable EVM signature; cut short.
    let mut sha1 = good.clone();
    sha1[2] = 2;
    assert_eq!(counts(signed("/opt/x", b"x", &sha1)), ([0, 0, 0, 1], 1, 0));
    let mut evm = good.clone();
    evm[0] = 5;
    assert_eq!(counts(signed("/opt/x", b"x", &evm)), ([0, 0, 0, 1], 1, 0));
    let cut = &good[..good.len() - 1];
    assert_eq!(counts(signed("/opt/x", b"x", cut)), ([0, 0, 0, 1], 1, 0));
    // A listed path is what the list says, whoever signed it.
    let update = key.sign(3, 2, b"new");
    assert_eq!(
        counts(signed("/usr/bin/a", b"new", &update)),
        ([1, 0, 0, 0], 0, 1)
    );
}

/// Version 3 is over `ima_file_id`, so that a signature of an fs-verity digest
/// cannot be taken for one of contents.
/// The pool place of one gateway is not held for as long as it likes; and what
/// nobody looked at is affirmed by no policy.
#[test]
fn adv_a21_signatures_over_the_limit_are_told_and_not_affirmed() {
    let (key, other) = (Key::new(), Key::new());
    let list = built(|builder| builder.add_key(key.ima_key()));
    let mut forged = other.sign(3, 2, b"init");
    forged[3..7].copy_from_slice(&key.ima_key().key_id());
    // A listed file, so that nothing else speaks against it.
    let many = vec![signed("/sbin/init", b"init", &forged); MAX_INVALID_SIGNATURES as usize + 2];
    let (few, _) = many.split_at(MAX_INVALID_SIGNATURES as usize);
    let told = |records: &[Vec<u8>]| {
        let state = state(records, Some(&list));
        let signed = state.findings.signed;
        let lax = Policy::compile(
            "package holdfast.appraisal\nimport rego.v1\nresult := {\"reasons\": [], \"vector\": \
             {\"instance-identity\": 2, \"hardware\": 2, \"executables\": 2, \"configuration\": 2}}",
        );
        let mut set: BTreeMap<u32, Vec<Vec<u8>>> = SELECTION.map(|i| (i, vec![value(i)])).into();
        set.insert(10, vec![vec![10; 32]]);
        let verdict = judge(
            &lax.unwrap(),
            &facts_with(Some(state)),
            Some(&references(&set)),
        );
        let codes: Vec<String> = codes(&verdict).into_iter().map(str::to_owned).collect();
        ([signed.invalid, signed.unchecked], verdict.status, codes)
    };
    assert_eq!(told(few), ([256, 0], Tier::Affirming, vec![]));
    assert_eq!(
        told(&many),
        (
            [256, 2],
            Tier::Warning,
            vec!["ima-signatures-unchecked".to_owned()]
        )
    );
}

#[test]
fn what_was_valid_once_costs_no_second_verification() {
    let key = Key::new();
    let list = built(|builder| builder.add_key(key.ima_key()));
    let vouched = Vouched::default();
    let log = replayed_log(&[signed("/opt/x", b"x", &key.sign(3, 2, b"x"))]).0;
    let entry = log.entries().last().unwrap();
    let verify = |budget: &mut SignatureBudget| {
        let keys = |id| list.keys_of(id).map(ImaKey::spki_der);
        verify_file_signature(&entry, keys, &vouched, budget)
    };
    let mut none_left = SignatureBudget::NONE;
    assert_eq!(verify(&mut none_left), SignatureVerdict::Unchecked);
    assert_eq!(
        verify(&mut SignatureBudget::default()),
        SignatureVerdict::Valid
    );
    assert_eq!(verify(&mut none_left), SignatureVerdict::Valid);
}

#[test]
fn signatures_of_version_3() {
    let key = Key::new();
    let list = built(|builder| builder.add_key(key.ima_key()));
    let valid = |kind: &str, signature: &[u8]| {
        let digest = [format!("{kind}:sha256:\0").as_bytes(), &sha256(b"x")].concat();
        let record = record(10, "ima-sigv2", &[&digest, &name("/x"), signature], false);
        let findings = state(&[record], Some(&list)).findings;
        (findings.signed.valid, findings.unknown.count)
    };
    let file_id = |kind: u8| [&[kind, 4], sha256(b"x").as_slice()].concat();
    let verity = key.sign(6, 3, &file_id(6));
    let contents = key.sign(3, 3, &file_id(3));
    assert_eq!(valid("verity", &verity), (1, 0));
    assert_eq!(valid("ima", &contents), (1, 0));
    assert_eq!(valid("ima", &verity), (0, 1));
    assert_eq!(valid("verity", &contents), (0, 1));
    let mut relabelled = verity;
    relabelled[0] = 3;
    assert_eq!(valid("ima", &relabelled), (0, 1));
}

#[test]
fn what_is_known_adds_up_and_survives_the_store() {
    let log = [good_log(), vec![file("/usr/bin/odd", b"odd")]].concat();
    let state = state(&log, Some(&list()));
    assert_eq!((state.findings.files, state.findings.unknown.count), (3, 1));
    assert_eq!(ImaState::parse(&state.to_document()).unwrap(), state);
    assert_eq!(ImaState::parse("{}"), None);
    assert!(state.is_of(Some(&list())) && !state.is_of(None));
    let longer = built(|builder| {
        builder.add(b"/x", HashAlg::Sha256, &[1; 32]).unwrap();
    });
    assert!(!state.is_of(Some(&longer)));
}

/// What `evmctl ima_sign` of ima-evm-utils made, by RSA and ECDSA, is valid
/// here; keys as OpenSSL certificates.
#[test]
fn signatures_by_evmctl_are_valid() {
    let run = |folder: &std::path::Path, program: &str, args: &[&str]| {
        let mut command = std::process::Command::new(program);
        let output = command.args(args).current_dir(folder).output();
        output.is_ok_and(|output| output.status.success())
    };
    let folder = tempfile::tempdir().unwrap();
    if !run(folder.path(), "evmctl", &["--version"]) {
        println!("skipped: evmctl is missing; apt-get install ima-evm-utils");
        return;
    }
    let rsa = ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
    let ec = ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    for (algorithm, hash) in [
        (rsa, "sha256"),
        (rsa, "sha512"),
        (ec, "sha256"),
        (ec, "sha384"),
    ] {
        let run = |program, args: &[&str]| {
            assert!(run(folder.path(), program, args), "{program} {args:?}");
        };
        let make = ["genpkey", "-out", "key", "-algorithm"];
        run("openssl", &[make.as_slice(), &algorithm].concat());
        let certify = ["req", "-x509", "-new", "-subj", "/CN=ima", "-key", "key"];
        run(
            "openssl",
            &[certify.as_slice(), &["-out", "certificate"]].concat(),
        );
        std::fs::write(folder.path().join("file"), b"content").unwrap();
        let hash_option = format!("--hashalgo={hash}");
        let sign = [
            "ima_sign",
            "--sigfile",
            "--key=key",
            "--keyid-from-cert=certificate",
        ];
        run(
            "evmctl",
            &[sign.as_slice(), &[&hash_option, "file"]].concat(),
        );

        let signature = std::fs::read(folder.path().join("file.sig")).unwrap();
        let certificate = std::fs::read(folder.path().join("certificate")).unwrap();
        let list = built(|builder| builder.add_key(ImaKey::read(&certificate).unwrap()));
        let valid = |content: &[u8]| {
            let digest = HashAlg::from_name(hash).unwrap().digest(&[content]);
            let digest = [hash.as_bytes(), b":\0", digest.as_bytes()].concat();
            let fields: [&[u8]; 3] = [&digest, &name("/opt/x"), &signature];
            let findings = state(&[record(10, "ima-sig", &fields, false)], Some(&list)).findings;
            (
                findings.signed.valid,
                findings.signed.invalid,
                findings.unknown.count,
            )
        };
        assert_eq!(valid(b"content"), (1, 0, 0), "{algorithm:?} {hash}");
        assert_eq!(valid(b"other"), (0, 1, 1), "{algorithm:?} {hash}");
    }
}
