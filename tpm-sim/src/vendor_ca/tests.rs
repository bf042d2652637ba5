//! EK certificates against OpenSSL, an independent reader.

use std::path::Path;
use std::process::Command;

use holdfast_proto::tpm::templates::EkTemplate;
use holdfast_proto::tpm::{Public, Unique};

use super::*;

/// A P-256 EK whose key somebody made in software.
fn ecc_ek() -> Public {
    let key = KeyPair::generate().unwrap();
    let point = key.der_bytes();
    let unique = Unique::Ecc {
        x: point[1..33].to_vec(),
        y: point[33..].to_vec(),
    };
    Public {
        unique,
        ..EkTemplate::L2.public()
    }
}

/// An RSA EK. Its modulus is no product of two primes; nobody will notice.
fn rsa_ek() -> Public {
    Public {
        unique: Unique::Rsa(vec![0xc5; 256]),
        ..EkTemplate::L1.public()
    }
}

fn openssl(args: &[&str]) -> (bool, String) {
    let output = Command::new("openssl")
        .args(args)
        .output()
        .expect("openssl is installed");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// `openssl verify` of a chain to the vendor's root.
fn openssl_verify(ca: &VendorCa, dir: &Path, issued: &IssuedEk) -> (bool, String) {
    let (leaf, path) = (dir.join("leaf.pem"), dir.join("path.pem"));
    fs::write(&leaf, to_pem(&issued.certificate)).unwrap();
    // OpenSSL wants at least one certificate in the file; the root does no harm.
    let path_certificates = issued
        .intermediates
        .iter()
        .map(Vec::as_slice)
        .chain([ca.root_der()]);
    fs::write(&path, path_certificates.map(to_pem).collect::<String>()).unwrap();
    let root = ca.root_path();
    let [root, path, leaf] = [&root, &path, &leaf].map(|path| path.to_str().unwrap());
    // The attribute types of a TPM's SAN are in no RFC that OpenSSL knows, but
    // it accepts the extension itself, critical as it is.
    openssl(&[
        "verify",
        "-x509_strict",
        "-CAfile",
        root,
        "-untrusted",
        path,
        leaf,
    ])
}

fn vendor(dir: &Path) -> VendorCa {
    VendorCa::create(&dir.join("vendor")).unwrap()
}

#[test]
fn openssl_accepts_good_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let ca = vendor(dir.path());
    for ek in [rsa_ek(), ecc_ek()] {
        for layout in [SanLayout::OneRdn, SanLayout::ThreeRdns] {
            let options = EkCertOptions {
                layout,
                ..EkCertOptions::default()
            };
            let issued = ca.issue_ek(&ek, &options).unwrap();
            let (ok, text) = openssl_verify(&ca, dir.path(), &issued);
            assert!(ok, "{text}");
        }
    }
}

#[test]
fn openssl_shows_the_profile() {
    let dir = tempfile::tempdir().unwrap();
    let ca = vendor(dir.path());
    let leaf = dir.path().join("leaf.pem");
    let show = |ek: &Public| {
        let issued = ca.issue_ek(ek, &EkCertOptions::default()).unwrap();
        fs::write(&leaf, to_pem(&issued.certificate)).unwrap();
        let args = ["x509", "-noout", "-text", "-in", leaf.to_str().unwrap()];
        openssl(&args).1
    };
    let rsa = show(&rsa_ek());
    for line in [
        "Key Encipherment",
        "X509v3 Key Usage: critical",
        "2.23.133.8.1",
        "X509v3 Subject Alternative Name: critical",
        "2.23.133.2.1",
        "id:48465354",
        "X509v3 Authority Key Identifier",
        "CA:FALSE",
        "Not After : Dec 31 23:59:59 9999 GMT",
        "Public-Key: (2048 bit)",
    ] {
        assert!(rsa.contains(line), "{line} is not in:\n{rsa}");
    }
    assert!(show(&ecc_ek()).contains("Key Agreement"));
}

#[test]
fn openssl_refuses_what_breaks_the_path() {
    let dir = tempfile::tempdir().unwrap();
    let ca = vendor(dir.path());
    for (flaw, reason) in [
        (Flaw::SelfIssued, "self-signed certificate"),
        (
            Flaw::UnknownIssuer,
            "unable to get local issuer certificate",
        ),
        (Flaw::BadSignature, "certificate signature failure"),
        (Flaw::Expired, "certificate has expired"),
        (Flaw::NotYetValid, "certificate is not yet valid"),
        (
            Flaw::UnknownCriticalExtension,
            "unhandled critical extension",
        ),
        (Flaw::IssuerNotCa, "invalid CA certificate"),
        (Flaw::IssuerExpired, "certificate has expired"),
        (Flaw::PathTooLong, "path length constraint exceeded"),
        (Flaw::NameConstraint, "permitted subtree violation"),
    ] {
        let issued = ca
            .issue_ek(&ecc_ek(), &EkCertOptions::with_flaw(flaw))
            .unwrap();
        let (ok, text) = openssl_verify(&ca, dir.path(), &issued);
        assert!(!ok && text.contains(reason), "{flaw:?}: {text}");
    }
}

/// Flaws that OpenSSL does not look for: the certificate is otherwise good.
#[test]
fn other_flaws_change_one_thing() {
    let dir = tempfile::tempdir().unwrap();
    let ca = vendor(dir.path());
    let leaf = dir.path().join("leaf.pem");
    for (flaw, expected, absent) in [
        (
            Flaw::WrongEku,
            "TLS Web Server Authentication",
            "2.23.133.8.1",
        ),
        (Flaw::NoEku, "CA:FALSE", "Extended Key Usage"),
        (Flaw::WrongKeyUsage, "Digital Signature", "Key Agreement"),
        (Flaw::CaTrue, "CA:TRUE", "CA:FALSE"),
        (Flaw::NoSan, "2.23.133.8.1", "Subject Alternative Name"),
        (Flaw::SanWithoutTpm, "DNS:tpm.example", "2.23.133.2.1"),
        (Flaw::Sha1Signature, "ecdsa-with-SHA1", "ecdsa-with-SHA256"),
    ] {
        let issued = ca
            .issue_ek(&ecc_ek(), &EkCertOptions::with_flaw(flaw))
            .unwrap();
        fs::write(&leaf, to_pem(&issued.certificate)).unwrap();
        let (_, text) = openssl(&["x509", "-noout", "-text", "-in", leaf.to_str().unwrap()]);
        assert!(text.contains(expected), "{flaw:?}: {text}");
        assert!(!text.contains(absent), "{flaw:?}: {text}");
        // Strict checks mind some of these; the signature is good in all.
        let root = ca.root_path();
        let path = ca.intermediate_path();
        let args = [
            "verify",
            "-auth_level",
            "0",
            "-CAfile",
            root.to_str().unwrap(),
        ];
        let args = [
            &args[..],
            &["-untrusted", path.to_str().unwrap(), leaf.to_str().unwrap()],
        ]
        .concat();
        let (ok, text) = openssl(&args);
        assert!(ok, "{flaw:?}: {text}");
    }
}

#[test]
fn the_other_key_is_not_the_ek() {
    let dir = tempfile::tempdir().unwrap();
    let ca = vendor(dir.path());
    for ek in [rsa_ek(), ecc_ek()] {
        let spki = ek.to_spki_der().unwrap();
        let contains = |issued: &IssuedEk| {
            issued
                .certificate
                .windows(spki.len())
                .any(|window| window == spki)
        };
        assert!(contains(
            &ca.issue_ek(&ek, &EkCertOptions::default()).unwrap()
        ));
        assert!(!contains(
            &ca.issue_ek(&ek, &EkCertOptions::with_flaw(Flaw::OtherKey))
                .unwrap()
        ));
    }
}

#[test]
fn a_vendor_is_made_once_and_its_keys_are_private() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vendor");
    let made = VendorCa::open_or_create(&path).unwrap();
    let opened = VendorCa::open_or_create(&path).unwrap();
    assert_eq!(made.root_der(), opened.root_der());
    assert!(VendorCa::create(&path).is_err());
    for key in ["vendor-root.key.pem", "vendor-intermediate.key.pem"] {
        let mode = path.join(key).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    // What the opened one issues chains to the certificates on disk.
    let issued = opened
        .issue_ek(&ecc_ek(), &EkCertOptions::default())
        .unwrap();
    assert!(openssl_verify(&made, dir.path(), &issued).0);
}
