//! Every EK certificate of the corpus under all vendor CAs of the corpus.

use holdfast_verifier::{
    endorsement::Leniency,
    inspect::{
        Verdict, certificates,
        ek_certificate::{self, Trust},
    },
    time::UnixTime,
};

use super::corpus::{Corpus, corpus, settle};

/// 2023-06-01T00:00:00Z: most of the corpus is valid then.
const AT: UnixTime = UnixTime::from_seconds(1_685_577_600);

/// Where we disagree with what is stated: a chain that OpenSSL takes and we
/// refuse, or a form that ought to be read.
const EXPLAINED: &[(&str, &str, &str)] = &[
    (
        "pca_tpm_ecc_enc_cert.pem",
        "extended key usage lacks",
        "GCE's private CA leaves tcg-kp-EKCertificate out: the profile wants it (§3.2.16)",
    ),
    (
        "pca_tpm_rsa_sign_cert.pem",
        "key usage lacks keyEncipherment",
        "a certificate of an AK, and no EK certificate",
    ),
    (
        "uca_tpm_rsa_sign_cert.pem",
        "key usage lacks keyEncipherment",
        "a certificate of an AK, and no EK certificate",
    ),
    (
        "nuvoton_ecdsa_sha256.der",
        "self-issued",
        "called an EK certificate, it is the root itself: CN=Nuvoton TPM Root CA 2110 for both \
         names",
    ),
    (
        "ek_cert_untouched.cer",
        "signed with SHA-1",
        "valid but for its hash, on which nothing may rest (SP 800-131A)",
    ),
    (
        "ek_cert_with_security_assertions.cer",
        "signed with SHA-1",
        "as above, and of a TPM 1.2",
    ),
    ("nuc-2-tpmcert.pem", "signed with SHA-1", "as above"),
    ("HIRS/tpmcert.pem", "signed with SHA-1", "as above"),
    (
        "ECC_EK_cert.bin",
        "key usage lacks keyAgreement",
        "Nationz states another use for an ECC EK; the profile wants keyAgreement (§3.2.12)",
    ),
];

/// What the origin, or the manifest's check, states: whether it chains to the
/// corpus's CAs.
fn stated_valid(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap();
    matches!(
        name,
        "pca_tpm_ecc_enc_cert.pem"
            | "pca_tpm_rsa_sign_cert.pem"
            | "uca_tpm_ecc_enc_cert.pem"
            | "uca_tpm_rsa_enc_cert.pem"
            | "uca_tpm_rsa_sign_cert.pem"
            | "nuvoton_ecdsa_sha256.der"
            | "st_ecdsa_sha256.der"
            | "st_sha256_with_rsa.der"
            | "ek_cert_untouched.cer"
            | "ek_cert_with_security_assertions.cer"
            | "nuc-2-tpmcert.pem"
            | "tpmcert.pem"
            | "ECC_EK_cert.bin"
    )
}

fn trust(corpus: &Corpus) -> Trust {
    let (roots, intermediates) = authorities(corpus);
    Trust::new(roots, intermediates).unwrap()
}

/// All vendor CAs of the corpus: as roots, and as intermediates.
fn authorities(corpus: &Corpus) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut roots, mut intermediates) = (Vec::new(), Vec::new());
    for path in corpus.files("tpm-ca") {
        if path.ends_with(".yaml") {
            continue;
        }
        for der in certificates(&corpus.read(&path)).unwrap() {
            roots.push(der.clone());
            intermediates.push(der);
        }
    }
    (roots, intermediates)
}

/// File, and what becomes of it with every leniency on.
const LENIENT: &[(&str, &str)] = &[
    // A container of another project's.
    (
        "v1-EKCertData",
        "refused: certificate 0: malformed certificate",
    ),
    (
        "pca_tpm_ecc_enc_cert.pem",
        "refused: the EK certificate's extended key usage lacks",
    ),
    (
        "pca_tpm_rsa_sign_cert.pem",
        "refused: the EK certificate's key usage lacks",
    ),
    ("uca_tpm_ecc_enc_cert.pem", "endorsed: "),
    ("uca_tpm_rsa_enc_cert.pem", "endorsed: "),
    (
        "uca_tpm_rsa_sign_cert.pem",
        "refused: the EK certificate's key usage lacks",
    ),
    // A key of 1024 bits, or so: no TPM 2.0 has one.
    (
        "kl_test_certificate_modeltype_0.pem",
        "refused: the EK's public area equals no",
    ),
    (
        "nuvoton_ecdsa_sha256.der",
        "refused: the EK certificate is self-issued",
    ),
    ("st_ecdsa_sha256.der", "endorsed: "),
    ("st_sha256_with_rsa.der", "endorsed: nv-padding"),
    (
        "ekcert.pem",
        "refused: no imported endorsement for issuer \"CN=ExampleCA\"",
    ),
    // Of TPM 1.2 or of its time: signed with SHA-1, and without keyUsage.
    (
        "ek_cert_untouched.cer",
        "refused: the EK certificate's key usage lacks",
    ),
    (
        "ek_cert_with_padded_bytes.cer",
        "refused: the EK certificate's key usage lacks",
    ),
    (
        "ek_cert_with_security_assertions.cer",
        "refused: the EK certificate's key usage lacks",
    ),
    (
        "nuc-2-tpmcert.pem",
        "refused: the EK certificate's key usage lacks",
    ),
    (
        "tpmcert.pem",
        "refused: the EK certificate's key usage lacks",
    ),
    (
        "ECC_EK_cert.bin",
        "endorsed: nv-padding ecc-key-encipherment",
    ),
    (
        "ek-rsa2048.crt",
        "refused: no imported endorsement for issuer \"CN=swtpm-localca\"",
    ),
    (
        "ek-secp384r1.crt",
        "refused: no imported endorsement for issuer \"CN=swtpm-localca\"",
    ),
];

#[test]
fn every_ek_certificate_is_judged_as_stated_or_refused_for_a_reason() {
    let Some(corpus) = corpus() else { return };
    let trust = trust(&corpus);
    let (files, mut found) = (corpus.files("ek-cert"), Vec::new());
    for path in &files {
        let report = ek_certificate::inspect(&corpus.read(path), &trust, AT).unwrap();
        println!("{path}: {:?} {:?}", report.verdict, report.reason);
        assert_eq!(report.reason.is_some(), report.verdict == Verdict::Refused);
        if (report.verdict == Verdict::Affirming) != stated_valid(path) {
            found.push((path.clone(), report.reason.clone().unwrap_or_default()));
        }
        if report.verdict == Verdict::Affirming {
            assert!(report.subject_key.is_some() && report.tpm.manufacturer.is_some());
        }
    }
    settle("ek-cert", &found, EXPLAINED, files.len());
}

/// With all that may be excused: what each needs, and why the others are still
/// refused.
#[test]
fn every_leniency_excuses_what_it_is_for_and_no_more() {
    let Some(corpus) = corpus() else { return };
    let (roots, _) = authorities(&corpus);
    let every = Leniency::ALL.into_iter().collect();
    let trust = Trust::with_leniencies(roots.clone(), roots, every).unwrap();
    let mut outcomes = Vec::new();
    for path in corpus.files("ek-cert") {
        // After the last of them has ended.
        let at = UnixTime::from_seconds(1_795_000_000);
        let report = ek_certificate::inspect(&corpus.read(&path), &trust, at).unwrap();
        let outcome = match report.reason {
            None => format!("endorsed: {}", report.leniencies.join(" ")),
            Some(reason) => format!("refused: {reason}"),
        };
        println!("{path}: {outcome}");
        let name = path.rsplit_once('/').unwrap().1.to_owned();
        outcomes.push((name, outcome));
    }
    for (name, expected) in LENIENT {
        let found: Vec<&str> = outcomes
            .iter()
            .filter(|(file, _)| file == name)
            .map(|(_, outcome)| outcome.as_str())
            .collect();
        assert!(!found.is_empty(), "{name}");
        assert!(
            found.iter().all(|o| o.starts_with(expected)),
            "{name}: {found:?}"
        );
    }
    assert_eq!(LENIENT.len(), outcomes.len());
}

#[test]
fn what_lay_around_it_in_nv_is_trimmed_and_named() {
    let Some(corpus) = corpus() else { return };
    let trust = trust(&corpus);
    let inspect = |path: &str| {
        ek_certificate::inspect(&corpus.read(&format!("ek-cert/{path}")), &trust, AT).unwrap()
    };
    for (path, header, byte) in [
        (
            "nsacyber__HIRS/ek_cert_untouched.cer",
            "10010004641002",
            None,
        ),
        (
            "nsacyber__HIRS/ek_cert_with_padded_bytes.cer",
            "",
            Some("11"),
        ),
        (
            "nsacyber__HIRS/ek_cert_with_security_assertions.cer",
            "10010005771002",
            Some("00"),
        ),
        (
            "openeuler-mirror__kunpengsecl/ECC_EK_cert.bin",
            "",
            Some("00"),
        ),
        ("keylime__keylime/st_sha256_with_rsa.der", "", Some("ff")),
    ] {
        let report = inspect(path);
        let trimmed = report.trimmed.unwrap();
        assert_eq!(trimmed.header, header, "{path}");
        assert_eq!(trimmed.padding_byte.as_deref(), byte, "{path}");
        assert!(report.subject_key.is_some(), "{path}");
    }
    assert!(
        inspect("keylime__keylime/st_ecdsa_sha256.der")
            .trimmed
            .is_none()
    );
    let report = inspect("keylime__keylime/st_ecdsa_sha256.der");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["verdict"], "affirming");
    assert_eq!(json["reason"], serde_json::Value::Null);
    assert_eq!(json["tpm"]["manufacturer"], "id:53544D20");
    assert_eq!(json["tpm"]["model"], "ST33HTPHAHB4");
    assert_eq!(json["tpm"]["version"], "id:00490004");
    assert!(json["subject_key"].as_str().unwrap().starts_with("3059"));
}

#[test]
fn time_and_roots_decide_and_no_change_panics() {
    let Some(corpus) = corpus() else { return };
    let leaf = corpus.read("ek-cert/keylime__keylime/st_ecdsa_sha256.der");
    let ca = |name: &str| {
        certificates(&corpus.read(&format!("tpm-ca/keylime__keylime/{name}"))).unwrap()
    };
    let st = Trust::new(ca("STM_ECC_01I.pem"), Vec::new()).unwrap();
    let verdict = |leaf: &[u8], trust: &Trust, at| {
        let report = ek_certificate::inspect(leaf, trust, at).unwrap();
        (report.verdict, report.reason.unwrap_or_default())
    };
    assert_eq!(verdict(&leaf, &st, AT).0, Verdict::Affirming);
    let (refused, reason) = verdict(&leaf, &st, UnixTime::from_seconds(4_000_000_000));
    assert_eq!(refused, Verdict::Refused);
    assert!(reason.contains("expired"), "{reason}");
    let other = Trust::new(ca("INF_ECC_010RT.pem"), Vec::new()).unwrap();
    let (refused, reason) = verdict(&leaf, &other, AT);
    assert_eq!(refused, Verdict::Refused);
    assert!(
        reason.contains("STM TPM ECC Intermediate CA 01"),
        "{reason}"
    );
    // Its critical policies are processed: it helps on the way to ST's root.
    let chain = ca("STM_ECC_01I.pem");
    assert!(Trust::new(Vec::new(), chain.clone()).is_err());
    let above = Trust::new(ca("STM_ECC_01RT.pem"), chain).unwrap();
    assert_eq!(verdict(&leaf, &above, AT).0, Verdict::Affirming);
    assert!(Trust::new(vec![b"text".to_vec()], Vec::new()).is_err());

    for bit in 0..leaf.len() * 8 {
        let mut changed = leaf.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(verdict(&changed, &st, AT).0, Verdict::Refused, "bit {bit}");
    }
    for len in 1..leaf.len() {
        assert_eq!(verdict(&leaf[..len], &st, AT).0, Verdict::Refused);
    }
}
