//! Encrypted keys: OpenSSL reads what we write, we read what OpenSSL writes.

use super::*;

const PASSPHRASE: &str = "Über 9 Wasserwerke";

fn passphrase() -> Result<Option<zeroize::Zeroizing<String>>, KeyFileError> {
    Ok(Some(PASSPHRASE.to_owned().into()))
}

fn public_point(pkcs8: &[u8]) -> Vec<u8> {
    use crate::identity::CaSigner as _;
    let signer = FileSigner::from_pkcs8(pkcs8).unwrap();
    signer.public().point().to_vec()
}

#[test]
fn openssl_reads_a_key_that_we_encrypt() {
    let dir = Dir::new();
    let key = &dir.initial.issuing.key;
    let text = encrypt(key.expose_der(), PASSPHRASE, &SystemRandom::new()).unwrap();
    assert!(is_encrypted(&text));
    dir.write("sealed.pem", text.as_bytes());
    let read = |passphrase: &str| {
        let source = format!("pass:{passphrase}");
        openssl(
            &dir,
            &["pkey", "-in", "sealed.pem", "-passin", &source, "-pubout"],
        )
    };
    let from_certificate = openssl(
        &dir,
        &["x509", "-in", file::ISSUING_CA, "-noout", "-pubkey"],
    )
    .unwrap();
    assert_eq!(read(PASSPHRASE).unwrap(), from_certificate);
    read("another").unwrap_err();
    let shown = openssl(&dir, &["asn1parse", "-in", "sealed.pem"]).unwrap();
    assert!(
        shown.contains("PBES2") && shown.contains("scrypt"),
        "{shown}"
    );
    assert!(shown.contains("aes-256-cbc"), "{shown}");
    // And so do we.
    assert_eq!(
        *decrypt::<KeyFileError>(&text, passphrase).unwrap(),
        key.expose_der()
    );
}

#[test]
fn keys_that_openssl_encrypts_are_read() {
    let dir = Dir::new();
    let pass = format!("pass:{PASSPHRASE}");
    for scheme in [
        &["-scrypt"][..],
        &["-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA256"],
        &["-v2", "aes-128-cbc", "-iter", "100000"],
    ] {
        let convert = [
            &[
                "pkcs8",
                "-topk8",
                "-in",
                file::ISSUING_CA_KEY,
                "-out",
                "o.pem",
                "-passout",
                &pass,
            ],
            scheme,
        ]
        .concat();
        openssl(&dir, &convert).unwrap();
        let text = std::fs::read_to_string(dir.path("o.pem")).unwrap();
        let key = decrypt::<KeyFileError>(&text, passphrase).unwrap();
        let expected = public_point(dir.initial.issuing.key.expose_der());
        assert_eq!(public_point(&key), expected, "{scheme:?}");
    }
}

#[test]
fn each_way_that_a_key_file_gives_no_key_is_told_apart() {
    let dir = Dir::new();
    let key = dir.initial.issuing.key.expose_der();
    let text = encrypt(key, PASSPHRASE, &SystemRandom::new()).unwrap();
    let with = |text: &str, passphrase: Option<&str>| {
        let passphrase = passphrase.map(|p| zeroize::Zeroizing::new(p.to_owned()));
        decrypt::<KeyFileError>(text, || Ok(passphrase)).unwrap_err()
    };
    assert_eq!(with(&text, None), KeyFileError::NoPassphrase);
    assert_eq!(with(&text, Some("wrong")), KeyFileError::WrongPassphrase);
    assert_eq!(with("", None), KeyFileError::NoKey);
    let certificate = dir.initial.issuing.certificate_pem();
    assert_eq!(with(&certificate, None), KeyFileError::NoKey);
    // PKCS#5 v1.5 with DES, of old.
    let pass = format!("pass:{PASSPHRASE}");
    let old = [
        "pkcs8",
        "-topk8",
        "-in",
        file::ISSUING_CA_KEY,
        "-passout",
        &pass,
    ];
    let legacy = ["-v1", "PBE-SHA1-3DES", "-out", "old.pem"];
    openssl(&dir, &[&old[..], &legacy].concat()).unwrap();
    let text = std::fs::read_to_string(dir.path("old.pem")).unwrap();
    assert!(matches!(
        with(&text, Some(PASSPHRASE)),
        KeyFileError::Scheme | KeyFileError::NoKey
    ),);
    let costly = ["-v2", "aes-256-cbc", "-iter", "1", "-out", "cheap.pem"];
    openssl(&dir, &[&old[..], &costly].concat()).unwrap();
}

#[test]
fn a_key_file_cannot_make_us_spend_without_bounds() {
    use pkcs8::{
        EncryptedPrivateKeyInfo,
        pkcs5::{pbes2, scrypt},
    };

    let cost = |log_n: u8, r: u32, p: u32| {
        let params = scrypt::Params::new(log_n, r, p, 32).unwrap();
        let scheme = pbes2::Parameters::scrypt_aes256cbc(params, &[1; 16], &[2; 16]).unwrap();
        let sealed = EncryptedPrivateKeyInfo {
            encryption_algorithm: scheme.into(),
            encrypted_data: &[3; 32],
        };
        let der = pkcs8::der::Encode::to_der(&sealed).unwrap();
        let text = crate::identity::pem::encode("ENCRYPTED PRIVATE KEY", &der);
        decrypt::<KeyFileError>(&text, passphrase).unwrap_err()
    };
    // 2^20 blocks of 128 r octets: 1 GiB.
    assert_eq!(cost(20, 8, 1), KeyFileError::TooCostly);
    assert_eq!(cost(10, 8, 65), KeyFileError::TooCostly);
    assert_eq!(cost(10, 8, 1), KeyFileError::WrongPassphrase);
    let params = pbes2::Parameters::pbkdf2_sha256_aes256cbc(20_000_001, &[1; 16], &[2; 16]);
    let sealed = EncryptedPrivateKeyInfo {
        encryption_algorithm: params.unwrap().into(),
        encrypted_data: &[3; 32],
    };
    let der = pkcs8::der::Encode::to_der(&sealed).unwrap();
    let text = crate::identity::pem::encode("ENCRYPTED PRIVATE KEY", &der);
    assert_eq!(
        decrypt::<KeyFileError>(&text, passphrase).unwrap_err(),
        KeyFileError::TooCostly
    );
}

#[test]
fn an_encrypted_issuing_key_needs_its_passphrase_and_says_so() {
    let mut dir = Dir::new();
    let key = dir.initial.issuing.key.expose_der();
    let text = encrypt(key, PASSPHRASE, &SystemRandom::new()).unwrap();
    dir.home
        .replace(file::ISSUING_CA_KEY, text.as_bytes(), 0o600)
        .unwrap();
    let why = |dir: &Dir| match dir.custodian().open(NOW).unwrap_err() {
        CustodyError::KeyFile { path, source } => {
            assert_eq!(path, dir.path(file::ISSUING_CA_KEY));
            source
        }
        other => panic!("{other}"),
    };
    assert_eq!(why(&dir), KeyFileError::NoPassphrase);
    let secret = dir.path("passphrase");
    dir.home.write_new("passphrase", b"wrong\n", 0o600).unwrap();
    dir.config.ca.passphrase = Some(SecretSource::File(secret));
    assert_eq!(why(&dir), KeyFileError::WrongPassphrase);
    dir.home
        .replace("passphrase", format!("{PASSPHRASE}\n").as_bytes(), 0o600)
        .unwrap();
    let keys = dir.open();
    assert!(keys.unreachable.is_none());
    // The next one is encrypted as well, with the same passphrase.
    let root = OfflineRoot::root(dir.home.dir()).unwrap();
    let authority = root.authority(Some(&dir.home), None).unwrap();
    let rotated = dir
        .rotation()
        .issuing(&dir.custodian(), &authority, 60)
        .unwrap();
    let KeyPlace::File(name) = &rotated.current.key else {
        panic!("{:?}", rotated.current.key)
    };
    let pass = format!("pass:{PASSPHRASE}");
    openssl(&dir, &["pkey", "-in", name, "-passin", &pass, "-noout"]).unwrap();
    openssl(&dir, &["pkey", "-in", name, "-passin", "pass:x", "-noout"]).unwrap_err();
    dir.open();
}
