use std::net::{IpAddr, Ipv6Addr};

use ring::rand::SystemRandom;

use super::{
    super::{Authority, IdentityError, ResultKey, SecretKey, lint::CaFacts},
    oracle::{Oracle, has_certtool, text, today},
    *,
};

const ATTIME: &str = "1795507300";

#[test]
fn openssl_accepts_every_ca_and_the_server() {
    let initial = initial();
    let oracle = Oracle::new();
    oracle.file("root.pem", initial.root.certificate_pem());
    oracle.file("issuing.pem", initial.issuing.certificate_pem());
    oracle.file("server-ca.pem", initial.server_ca.certificate_pem());
    oracle.file("server.pem", initial.server.certificate_pem());
    let verify = |args: &[&str]| {
        let all = [&["verify", "-x509_strict", "-attime", ATTIME], args].concat();
        assert!(oracle.openssl(&all).contains("OK"));
    };
    verify(&["-CAfile", "root.pem", "root.pem"]);
    verify(&["-CAfile", "root.pem", "issuing.pem"]);
    verify(&["-CAfile", "server-ca.pem", "server-ca.pem"]);
    verify(&[
        "-CAfile",
        "server-ca.pem",
        "-purpose",
        "sslserver",
        "-verify_hostname",
        "verifier.example",
        "server.pem",
    ]);
    verify(&[
        "-CAfile",
        "server-ca.pem",
        "-purpose",
        "sslserver",
        "-verify_ip",
        "127.0.0.1",
        "server.pem",
    ]);
    // The two hierarchies are apart.
    let crossed = oracle.run(
        "openssl",
        &[
            "verify",
            "-attime",
            ATTIME,
            "-CAfile",
            "root.pem",
            "server.pem",
        ],
    );
    assert!(!crossed.status.success());
    for (file, path_len) in [("root.pem", 1), ("issuing.pem", 0), ("server-ca.pem", 0)] {
        let shown = oracle.openssl(&["x509", "-in", file, "-noout", "-text"]);
        assert!(
            shown.contains(&format!("CA:TRUE, pathlen:{path_len}")),
            "{shown}"
        );
        assert!(shown.contains("Certificate Sign, CRL Sign"), "{shown}");
    }
}

#[test]
fn gnutls_accepts_the_server() {
    if !has_certtool() {
        eprintln!("certtool is not installed: OpenSSL alone was asked");
        return;
    }
    let initial = initial_at(today());
    let oracle = Oracle::new();
    oracle.file("server-ca.pem", initial.server_ca.certificate_pem());
    oracle.file("server.pem", initial.server.certificate_pem());
    let verify = [
        "--verify",
        "--verify-hostname",
        "verifier.example",
        "--load-ca-certificate",
        "server-ca.pem",
        "--infile",
        "server.pem",
    ];
    let out = oracle.run("certtool", &verify);
    assert!(out.status.success(), "{}", text(&out));
}

#[test]
fn keys_belong_to_their_certificates() {
    let initial = initial();
    let oracle = Oracle::new();
    for (name, made) in [
        ("root", &initial.root),
        ("issuing", &initial.issuing),
        ("server", &initial.server),
    ] {
        oracle.file("key.pem", made.key.expose_pem().as_bytes());
        oracle.file("cert.pem", made.certificate_pem());
        let from_key = oracle.openssl(&["pkey", "-in", "key.pem", "-pubout"]);
        let from_certificate = oracle.openssl(&["x509", "-in", "cert.pem", "-noout", "-pubkey"]);
        assert_eq!(from_key, from_certificate, "{name}");
    }
    oracle.file("key.pem", initial.result_key.expose_pem().as_bytes());
    assert_eq!(
        oracle.openssl(&["pkey", "-in", "key.pem", "-pubout"]),
        initial.result_public_pem
    );
}

#[test]
fn the_root_may_live_elsewhere() {
    let rng = SystemRandom::new();
    let (_, root) = Authority::new_root("Owner", "Root CA", 1, NOW, &rng).unwrap();
    let signer = FileSigner::from_pkcs8_pem(&root.key.expose_pem()).unwrap();
    let authority = Authority::open(&root.certificate, signer).unwrap();
    let issuing = authority
        .issue_ca("Owner", "Issuing CA", NOW, &rng)
        .unwrap();
    let signer = FileSigner::from_pkcs8(issuing.key.expose_der()).unwrap();
    assert!(IssuingCa::open(&issuing.certificate, Arc::new(signer)).is_ok());
    let other = FileSigner::from_pkcs8(SecretKey::generate(&rng).unwrap().expose_der()).unwrap();
    assert_eq!(
        Authority::open(&root.certificate, other).unwrap_err(),
        IdentityError::KeyMismatch
    );
    let late = NOW.plus(21 * 365 * 24 * 3600);
    assert!(matches!(
        authority.issue_ca("Owner", "Issuing CA", late, &rng),
        Err(IdentityError::CaNotValid { .. })
    ));
}

#[test]
fn names_that_cannot_be_written_are_refused() {
    let settings = |organization: &str, server_names| CaSettings {
        organization: organization.into(),
        server_names,
    };
    let name = || vec![ServerName::parse("verifier.example").unwrap()];
    let rng = SystemRandom::new();
    for organization in ["", "a\u{1b}[31m", &"o".repeat(65)] {
        let refused = ca_init(&settings(organization, name()), NOW, &rng).unwrap_err();
        assert!(
            matches!(refused, IdentityError::BadOrganization(_)),
            "{organization:?}"
        );
        assert!(!refused.to_string().chars().any(char::is_control));
    }
    assert_eq!(
        ca_init(&settings("Owner", vec![]), NOW, &rng).unwrap_err(),
        IdentityError::NoServerName
    );
    for bad in [
        "",
        "a b",
        "*.example",
        "-a",
        "a..b",
        "a/b",
        "ä.example",
        &"a".repeat(64),
    ] {
        assert!(
            matches!(ServerName::parse(bad), Err(IdentityError::BadServerName(_))),
            "{bad:?}"
        );
    }
    assert_eq!(
        ServerName::parse("::1").unwrap(),
        ServerName::Ip(IpAddr::V6(Ipv6Addr::LOCALHOST))
    );
    assert_eq!(
        ServerName::parse("Verifier.Example").unwrap(),
        ServerName::Dns("verifier.example".into())
    );
}

#[test]
fn keys_of_another_kind_are_refused() {
    let oracle = Oracle::new();
    oracle.openssl(&[
        "ecparam",
        "-name",
        "secp384r1",
        "-genkey",
        "-noout",
        "-out",
        "ec.pem",
    ]);
    oracle.openssl(&[
        "pkcs8", "-topk8", "-nocrypt", "-in", "ec.pem", "-out", "key.pem",
    ]);
    let p384 = std::fs::read_to_string(oracle.file("x", []).with_file_name("key.pem")).unwrap();
    for text in [
        p384.as_str(),
        "",
        "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n",
    ] {
        // A CA's key may lie on P-384, the result key may not.
        assert!(
            text == p384
                || matches!(
                    FileSigner::from_pkcs8_pem(text),
                    Err(IdentityError::BadKey(_))
                ),
            "{text}"
        );
        assert!(
            matches!(
                ResultKey::from_pkcs8_pem(text),
                Err(IdentityError::BadKey(_))
            ),
            "{text}"
        );
    }
}

#[test]
fn a_key_written_by_openssl_is_taken() {
    let oracle = Oracle::new();
    oracle.openssl(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        "key.pem",
    ]);
    let text = std::fs::read_to_string(oracle.file("x", []).with_file_name("key.pem")).unwrap();
    let key = ResultKey::from_pkcs8_pem(&text).unwrap();
    assert_eq!(
        key.public_pem(),
        oracle.openssl(&["pkey", "-in", "key.pem", "-pubout"])
    );
    assert_eq!(key.sign(b"m").unwrap().len(), 64);
}

/// picky-asn1 panics on a BIT STRING with more unused bits than bits; the
/// owner's file must not make the Verifier do so.
#[test]
fn no_bit_of_a_ca_file_makes_reading_it_panic() {
    let good = initial().issuing.certificate;
    for bit in 0..good.len() * 8 {
        let mut changed = good.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        // Refused or, where the bit decides nothing, read.
        let _ = CaFacts::parse(&changed);
    }
}
