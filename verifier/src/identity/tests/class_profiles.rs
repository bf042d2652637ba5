//! LDevIDs of a class with everything that a profile may add: read by OpenSSL,
//! GnuTLS and our own reader; and each addition changed, refused by the lint.

use picky_asn1_x509::Certificate;
use ring::rand::SystemRandom;

use super::{
    super::{
        IdentityError, LdevidOnFile, LintError, ProfileSettings, Profiles,
        lint::{self, CaFacts},
    },
    oracle::{Oracle, has_certtool, text},
    *,
};

/// See `ldevid`.
const ATTIME: &str = "1795507300";

fn full() -> Profile {
    Profile::from_settings(&ProfileSettings {
        validity_seconds: 7200,
        spiffe_trust_domain: Some("edge.example".into()),
        dns_names: vec!["{id32}.edge.example.org".into()],
        uris: vec!["urn:example:{class}:{id}:{serial}".into()],
        extended_key_usages: vec!["server-auth".into(), "ipsec-ike".into()],
        mud_url: Some("https://mud.example.org/edge.json".into()),
    })
    .unwrap()
}

#[test]
fn openssl_and_gnutls_show_what_the_profile_adds() {
    let initial = initial();
    let issuer = issuer(&initial, full());
    let expected = expectation(&issuer);
    let dns = expected.additions.dns_names[0].clone();
    let ldevid = Issuer::write(issuer.cas().current(), expected, &SystemRandom::new())
        .unwrap()
        .sign()
        .unwrap();
    let oracle = Oracle::new();
    oracle.file("ca.pem", initial.root.certificate_pem());
    oracle.file("ldevid.pem", ldevid.chain_pem());
    for purpose in ["sslclient", "sslserver"] {
        let verify = [
            "verify",
            "-x509_strict",
            "-attime",
            ATTIME,
            "-purpose",
            purpose,
            "-verify_hostname",
            &dns,
            "-CAfile",
            "ca.pem",
            "-untrusted",
            "ldevid.pem",
            "ldevid.pem",
        ];
        assert!(oracle.openssl(&verify).contains("OK"), "{purpose}");
    }
    let shown = oracle.openssl(&["x509", "-in", "ldevid.pem", "-noout", "-text"]);
    for expected in [
        &format!("DNS:{dns}"),
        &format!("URI:spiffe://edge.example/gateway/{}", gateway()),
        &format!("URI:urn:example:default:{}:IFX%3A00aa11%3A7bcd", gateway()),
        "TLS Web Client Authentication, TLS Web Server Authentication, ipsec Internet Key Exchange",
        "1.3.6.1.5.5.7.1.25",
        "https://mud.example.org/edge.json",
        "Not After : Nov 24 10:00:00 2026 GMT",
    ] {
        assert!(shown.contains(expected), "{expected} not in\n{shown}");
    }
    let dump = oracle.openssl(&["asn1parse", "-in", "ldevid.pem"]);
    assert!(dump.contains("1.3.6.1.5.5.7.1.25"), "{dump}");

    let found = LdevidOnFile::read(&ldevid.chain[0], Some(&ldevid.chain[1])).unwrap();
    assert_eq!(found.dns_names, std::slice::from_ref(&dns));
    assert_eq!(found.uris.len(), 1);
    assert_eq!(found.extended_key_usages, ["server-auth", "ipsec-ike"]);
    assert_eq!(
        found.mud_url.as_deref(),
        Some("https://mud.example.org/edge.json")
    );
    if !has_certtool() {
        eprintln!(
            "skipped: certtool is not installed (apt-get install gnutls-bin): OpenSSL alone was asked"
        );
        return;
    }
    let info = ["--certificate-info", "--infile", "ldevid.pem"];
    let shown = text(&oracle.run("certtool", &info));
    assert!(shown.contains(&format!("DNSname: {dns}")), "{shown}");
    assert!(shown.contains("1.3.6.1.5.5.7.1.25"), "{shown}");
}

/// One good certificate, held against expectations with one thing changed.
#[test]
fn the_lint_holds_each_addition() {
    let initial = initial();
    let issuer = issuer(&initial, full());
    let good = expectation(&issuer);
    let cas = issuer.cas();
    let ldevid = Issuer::write(cas.current(), good.clone(), &SystemRandom::new())
        .unwrap()
        .sign()
        .unwrap();
    let certificate: Certificate = picky_asn1_der::from_bytes(&ldevid.chain[0]).unwrap();
    let ca = CaFacts::parse(&initial.issuing.certificate).unwrap();
    lint::extensions(&certificate, &ca, &good).unwrap();
    let against = |change: fn(&mut Expectation)| {
        let mut expected = good.clone();
        change(&mut expected);
        lint::extensions(&certificate, &ca, &expected).unwrap_err()
    };
    for (change, rule) in [
        (
            (|e| e.additions.dns_names.clear()) as fn(&mut Expectation),
            LintError::SubjectAltName,
        ),
        (|e| e.additions.uris.clear(), LintError::SubjectAltName),
        (
            |e| e.additions.dns_names[0].insert(0, 'x'),
            LintError::SubjectAltName,
        ),
        (
            |e| {
                e.additions.purposes.pop();
            },
            LintError::ExtendedKeyUsage,
        ),
        (
            |e| e.additions.purposes.clear(),
            LintError::ExtendedKeyUsage,
        ),
        (
            |e| e.additions.mud_url = Some("https://mud.example.org/other.json".into()),
            LintError::MudUrl,
        ),
        (
            |e| e.additions.mud_url = None,
            LintError::UnexpectedExtension("1.3.6.1.5.5.7.1.25".into()),
        ),
    ] {
        assert_eq!(against(change), rule);
    }
}

#[test]
fn a_profile_is_of_its_class() {
    let classes = [("edge".to_owned(), full())].into();
    let profiles = Profiles::new(Profile::standard(), classes);
    assert_eq!(profiles.of("edge").validity_seconds(), 7200);
    assert_eq!(profiles.of("core"), &Profile::standard());
}

#[test]
fn what_a_profile_cannot_hold_is_refused_by_its_rule() {
    let from = |change: fn(&mut ProfileSettings)| {
        let mut settings = ProfileSettings::default();
        change(&mut settings);
        Profile::from_settings(&settings).unwrap_err()
    };
    assert!(matches!(
        from(|s| s.extended_key_usages = vec!["code-signing".into()]),
        IdentityError::BadPurpose(_)
    ));
    assert!(matches!(
        from(|s| s.extended_key_usages = vec!["server-auth".into(); 2]),
        IdentityError::BadPurpose(_)
    ));
    for url in [
        "http://mud.example.org/x",
        "https://",
        "https:///x",
        "https://mud.example.org/\n",
        "https://müd.example.org/",
    ] {
        let settings = ProfileSettings {
            mud_url: Some(url.into()),
            ..ProfileSettings::default()
        };
        assert!(matches!(
            Profile::from_settings(&settings),
            Err(IdentityError::BadMudUrl(_))
        ));
    }
    assert!(matches!(
        from(|s| s.uris = vec!["urn:x:{id}".into(); 9]),
        IdentityError::BadNameTemplate { .. }
    ));
}
