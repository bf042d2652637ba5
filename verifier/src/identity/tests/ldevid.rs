use ring::{
    rand::SystemRandom,
    signature::{self, UnparsedPublicKey},
};

use super::{
    super::{
        CaPublic, CaSigner, IdentityError, Ldevid, MAX_VALIDITY_SECONDS, MIN_VALIDITY_SECONDS,
        SignError, subject_serial_number,
    },
    oracle::{Oracle, has_certtool, text, today},
    *,
};

/// Inside the validity of everything made at [`NOW`], for tools that read the
/// clock.
const ATTIME: &str = "1795507300";

fn issue(profile: Profile) -> (Initial, Ldevid) {
    let initial = initial();
    let issuer = issuer(&initial, profile);
    let expected = expectation(&issuer);
    let ldevid = Issuer::write(issuer.cas().current(), expected, &SystemRandom::new())
        .unwrap()
        .sign()
        .unwrap();
    (initial, ldevid)
}

#[test]
fn openssl_builds_the_path_and_shows_the_profile() {
    let (initial, ldevid) = issue(Profile::new(3600, Some("water.example")).unwrap());
    let oracle = Oracle::new();
    oracle.file("ca.pem", initial.root.certificate_pem());
    oracle.file("ldevid.pem", ldevid.chain_pem());
    let verify = [
        "verify",
        "-x509_strict",
        "-attime",
        ATTIME,
        "-purpose",
        "sslclient",
        "-CAfile",
        "ca.pem",
        "-untrusted",
        "ldevid.pem",
        "ldevid.pem",
    ];
    assert!(oracle.openssl(&verify).contains("OK"));
    let shown = oracle.openssl(&[
        "x509",
        "-in",
        "ldevid.pem",
        "-noout",
        "-text",
        "-nameopt",
        "utf8,sep_comma_plus",
    ]);
    let serial = subject_serial_number(&gateway());
    assert_eq!(serial.len(), 64);
    for expected in [
        "Version: 3 (0x2)",
        &format!("serialNumber={serial}"),
        "Not Before: Nov 24 07:55:00 2026 GMT",
        "Not After : Nov 24 09:00:00 2026 GMT",
        "X509v3 Key Usage: critical",
        "Digital Signature\n",
        "TLS Web Client Authentication",
        "Policy: 2.23.133.11.1.1",
        "Policy: 2.23.133.11.1.2",
        "othername: 1.3.6.1.5.5.7.8.4::<unsupported>",
        &format!("URI:spiffe://water.example/gateway/{}", gateway()),
        "Signature Algorithm: ecdsa-with-SHA256",
    ] {
        assert!(shown.contains(expected), "{expected} not in\n{shown}");
    }
    for absent in [
        "Basic Constraints",
        "Subject Key Identifier",
        "Alternative Name: critical",
    ] {
        assert!(!shown.contains(absent), "{absent} in\n{shown}");
    }
    let dump = oracle.openssl(&["asn1parse", "-in", "ldevid.pem"]);
    assert!(dump.contains("PRINTABLESTRING   :a5a5"), "{dump}");
}

#[test]
fn the_hardware_module_name_reads_back() {
    let (_, ldevid) = issue(Profile::standard());
    let oracle = Oracle::new();
    oracle.file("ldevid.pem", ldevid.chain_pem());
    let dump = oracle.openssl(&["asn1parse", "-in", "ldevid.pem"]);
    let line = dump
        .lines()
        .skip_while(|l| !l.contains("X509v3 Subject Alternative Name"))
        .nth(1)
        .unwrap();
    let offset = line.trim_start().split(':').next().unwrap();
    let san = oracle.openssl(&["asn1parse", "-in", "ldevid.pem", "-strparse", offset]);
    for expected in [
        "cont [ 0 ]",
        "1.3.6.1.5.5.7.8.4",
        "2.23.133.1.2",
        "IFX:00aa11:7bcd",
    ] {
        assert!(san.contains(expected), "{expected} not in\n{san}");
    }
    assert!(!san.contains("cont [ 6 ]"), "no trust domain, no URI");
}

#[test]
fn gnutls_agrees() {
    if !has_certtool() {
        eprintln!(
            "skipped: certtool is not installed (apt-get install gnutls-bin): OpenSSL alone was asked"
        );
        return;
    }
    let initial = initial_at(today());
    let issuer = issuer(&initial, Profile::standard());
    let expected = expectation_at(&issuer, today());
    let ldevid = Issuer::write(issuer.cas().current(), expected, &SystemRandom::new())
        .unwrap()
        .sign()
        .unwrap();
    let oracle = Oracle::new();
    oracle.file("ca.pem", initial.root.certificate_pem());
    oracle.file("ldevid.pem", ldevid.chain_pem());
    let verify = [
        "--verify",
        "--load-ca-certificate",
        "ca.pem",
        "--infile",
        "ldevid.pem",
    ];
    let out = oracle.run("certtool", &verify);
    assert!(out.status.success(), "{}", text(&out));
    let out = oracle.run(
        "certtool",
        &["--certificate-info", "--infile", "ldevid.pem"],
    );
    let shown = text(&out);
    for expected in [
        "Digital signature",
        "TLS WWW Client",
        "2.23.133.11.1.1",
        "1.3.6.1.5.5.7.8.4",
    ] {
        assert!(shown.contains(expected), "{expected} not in\n{shown}");
    }
}

#[test]
fn it_names_what_is_recorded() {
    let (initial, ldevid) = issue(Profile::standard());
    assert_eq!(ldevid.gateway_id, gateway());
    assert_eq!(ldevid.chain[1], initial.issuing.certificate);
    assert_eq!(ldevid.sha256, crate::digest::sha256(&[&ldevid.chain[0]]));
    assert_eq!(ldevid.not_after, NOW.plus(24 * 3600));
    assert_eq!(ldevid.not_before, NOW.plus(-300));
    assert_eq!(ldevid.renew_after(), NOW.plus(16 * 3600));
    let oracle = Oracle::new();
    oracle.file("ldevid.pem", ldevid.chain_pem());
    let shown = oracle.openssl(&["x509", "-in", "ldevid.pem", "-noout", "-serial"]);
    let serial = shown.trim().trim_start_matches("serial=").to_lowercase();
    // OpenSSL leaves out leading zero octets.
    assert_eq!(format!("{serial:0>32}"), ldevid.serial_hex);
}

#[test]
fn two_certificates_never_share_a_serial_number() {
    let initial = initial();
    let issuer = issuer(&initial, Profile::standard());
    let rng = SystemRandom::new();
    let one = Issuer::write(issuer.cas().current(), expectation(&issuer), &rng)
        .unwrap()
        .sign()
        .unwrap();
    let two = Issuer::write(issuer.cas().current(), expectation(&issuer), &rng)
        .unwrap()
        .sign()
        .unwrap();
    assert_ne!(one.serial_hex, two.serial_hex);
}

#[test]
fn p384_and_rsa_keys_are_issued_to() {
    let initial = initial();
    let issuer = issuer(&initial, Profile::standard());
    let oracle = Oracle::new();
    oracle.file("ca.pem", initial.root.certificate_pem());
    for generate in [
        &[
            "ecparam",
            "-name",
            "secp384r1",
            "-genkey",
            "-noout",
            "-out",
            "key.pem",
        ][..],
        &["genrsa", "-out", "key.pem", "2048"],
    ] {
        oracle.openssl(generate);
        oracle.openssl(&[
            "pkey", "-in", "key.pem", "-pubout", "-outform", "DER", "-out", "spki.der",
        ]);
        let spki = std::fs::read(oracle.file("spki.copy", []).with_file_name("spki.der")).unwrap();
        let expected = Expectation {
            subject_spki: spki.clone(),
            ..expectation(&issuer)
        };
        let ldevid = Issuer::write(issuer.cas().current(), expected, &SystemRandom::new())
            .unwrap()
            .sign()
            .unwrap();
        oracle.file("ldevid.pem", ldevid.chain_pem());
        assert!(
            oracle
                .openssl(&[
                    "verify",
                    "-attime",
                    ATTIME,
                    "-CAfile",
                    "ca.pem",
                    "-untrusted",
                    "ldevid.pem",
                    "ldevid.pem"
                ])
                .contains("OK")
        );
        let key = oracle.openssl(&["x509", "-in", "ldevid.pem", "-noout", "-pubkey"]);
        assert_eq!(key, super::super::pem::encode("PUBLIC KEY", &spki));
    }
}

#[test]
fn validity_stays_within_the_ca() {
    let initial = initial();
    let issuer = issuer(&initial, Profile::standard());
    let cas = issuer.cas();
    let ca = cas.current();
    let near_end = ca.not_after().plus(-10);
    assert_eq!(
        validity(issuer.profile(""), ca, near_end).unwrap().1,
        ca.not_after()
    );
    for outside in [ca.not_after(), ca.not_after().plus(1), NOW.plus(-301)] {
        assert!(matches!(
            validity(issuer.profile(""), ca, outside),
            Err(IdentityError::CaNotValid { .. })
        ));
    }
}

#[test]
fn profiles_have_bounds() {
    for seconds in [
        MIN_VALIDITY_SECONDS - 1,
        MAX_VALIDITY_SECONDS + 1,
        0,
        -1,
        i64::MAX,
    ] {
        assert_eq!(
            Profile::new(seconds, None).unwrap_err(),
            IdentityError::BadValidity(seconds)
        );
    }
    for domain in [
        "",
        "Water.example",
        "a b",
        "a/b",
        "a\n",
        "ü",
        &"a".repeat(256),
    ] {
        assert!(
            matches!(
                Profile::new(3600, Some(domain)),
                Err(IdentityError::BadTrustDomain(_))
            ),
            "{domain}"
        );
    }
}

#[test]
fn an_issuer_needs_a_ca_certificate_and_its_key() {
    let (one, two) = (initial(), initial());
    let new = |certificate: &[u8]| IssuingCa::open(certificate, Arc::new(signer(&one))).map(|_| ());
    assert_eq!(
        new(&two.issuing.certificate),
        Err(IdentityError::KeyMismatch)
    );
    assert!(matches!(
        new(&one.server.certificate),
        Err(IdentityError::BadCaCertificate(_))
    ));
    assert!(matches!(
        new(&[0x30, 0]),
        Err(IdentityError::BadCaCertificate(_))
    ));
    let trailing = [&one.issuing.certificate[..], &[0]].concat();
    assert!(matches!(
        new(&trailing),
        Err(IdentityError::BadCaCertificate(_))
    ));
}

/// A signer whose signatures do not verify: a broken token, or the wrong slot.
#[derive(Debug)]
struct Faulty(FileSigner, bool);

impl CaSigner for Faulty {
    fn public(&self) -> &CaPublic {
        self.0.public()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        if self.1 {
            self.0.sign(&[message, &[0]].concat())
        } else {
            Err(SignError::TimedOut)
        }
    }
}

#[test]
fn a_faulty_signer_issues_nothing() {
    let initial = initial();
    for (answers, error) in [
        (true, IdentityError::BadSignature),
        (false, IdentityError::Sign(SignError::TimedOut)),
    ] {
        let faulty = Arc::new(Faulty(signer(&initial), answers));
        let ca = IssuingCa::open(&initial.issuing.certificate, faulty).unwrap();
        let issuer = Issuer::new(IssuingCas::only(ca), Profile::standard());
        let linted = Issuer::write(
            issuer.cas().current(),
            expectation(&issuer),
            &SystemRandom::new(),
        )
        .unwrap();
        assert_eq!(linted.sign().unwrap_err(), error);
    }
}

#[test]
fn the_signature_is_the_cas() {
    let (initial, ldevid) = issue(Profile::standard());
    let der = &ldevid.chain[0];
    // SEQUENCE { tbs, alg, BIT STRING }: both lengths take three octets here.
    let tbs_len = usize::from(u16::from_be_bytes([der[6], der[7]])) + 4;
    let tbs = &der[4..4 + tbs_len];
    let signature_at = 4 + tbs_len + 12 + 3;
    UnparsedPublicKey::new(
        &signature::ECDSA_P256_SHA256_ASN1,
        signer(&initial).public().point(),
    )
    .verify(tbs, &der[signature_at..])
    .unwrap();
}

#[test]
fn secrets_are_not_shown() {
    let initial = initial();
    let shown = format!("{initial:?} {:?}", signer(&initial));
    assert!(shown.contains("redacted"));
    let key = hex::encode(&initial.issuing.key.expose_der()[40..60]);
    let decimal = format!("{:?}", &initial.issuing.key.expose_der()[40..44]);
    assert!(!shown.contains(&key) && !shown.contains(decimal.trim_matches(['[', ']'])));
}
