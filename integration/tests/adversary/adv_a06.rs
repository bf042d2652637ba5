//! A06: EK certificates that a good vendor would not issue, each with one
//! thing wrong; refused before a challenge is made, for that very thing.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use holdfast_attester::enrolment::KeyChoice;
use holdfast_attester::tpm::EkChoice;
use holdfast_integration::scene::{dial, request_challenge};
use holdfast_integration::{Refusal, Scene, oracle, skip};
use holdfast_proto::grpc::v1::RequestChallengeRequest;
use holdfast_proto::tpm::Public;
use holdfast_tpm_sim::{EkCertOptions, Flaw};

const ECC: EkChoice = EkChoice::EccP256;
const RSA: EkChoice = EkChoice::Rsa2048;

/// A flaw, the refusal, and the cause in the log.
const FLAWS: [(Flaw, Refusal, &str); 19] = [
    (
        Flaw::SelfIssued,
        Refusal::NOT_ENDORSED,
        "the EK certificate is self-issued",
    ),
    (
        Flaw::UnknownIssuer,
        Refusal::NOT_ENDORSED,
        "a certificate's signature does not verify",
    ),
    (
        Flaw::BadSignature,
        Refusal::NOT_ENDORSED,
        "a certificate's signature does not verify",
    ),
    (
        Flaw::Expired,
        Refusal::NOT_ENDORSED,
        "a certificate expired at",
    ),
    (
        Flaw::NotYetValid,
        Refusal::NOT_ENDORSED,
        "a certificate is not valid before",
    ),
    (
        Flaw::WrongEku,
        Refusal::NOT_ENDORSED,
        "extended key usage lacks 2.23.133.8.1",
    ),
    (
        Flaw::NoEku,
        Refusal::NOT_ENDORSED,
        "extended key usage lacks 2.23.133.8.1",
    ),
    (
        Flaw::WrongKeyUsage,
        Refusal::NOT_ENDORSED,
        "the EK certificate's key usage lacks key",
    ),
    (
        Flaw::CaTrue,
        Refusal::NOT_ENDORSED,
        "the EK certificate is a CA's",
    ),
    (
        Flaw::OtherKey,
        Refusal::NOT_ENDORSED,
        "the EK certificate is for another key",
    ),
    (
        Flaw::UnknownCriticalExtension,
        Refusal::NOT_ENDORSED,
        "certificate 0: unknown critical extension 2.23.133.99.1",
    ),
    (
        Flaw::NoSan,
        Refusal::NOT_ENDORSED,
        "the EK certificate's subjectAltName",
    ),
    (
        Flaw::SanWithoutTpm,
        Refusal::NOT_ENDORSED,
        "the EK certificate's subjectAltName",
    ),
    (
        Flaw::Sha1Signature,
        Refusal::NOT_ENDORSED,
        "certificate 0 is signed with SHA-1",
    ),
    (
        Flaw::TrailingOctet,
        Refusal::INVALID_REQUEST,
        "certificate 0: 1 bytes follow it",
    ),
    (
        Flaw::IssuerNotCa,
        Refusal::NOT_ENDORSED,
        "an issuer in the path is not a CA",
    ),
    (
        Flaw::IssuerExpired,
        Refusal::NOT_ENDORSED,
        "a certificate expired at",
    ),
    (
        Flaw::PathTooLong,
        Refusal::NOT_ENDORSED,
        "a path length constraint is exceeded",
    ),
    (
        Flaw::NameConstraint,
        Refusal::NOT_ENDORSED,
        "a name constraint is broken",
    ),
];

/// A request for a challenge with the gateway's own EK, to get other
/// certificates.
fn ask(scene: &Scene, ek: EkChoice, chain: Vec<Vec<u8>>) -> Result<RequestChallengeRequest> {
    let choice = KeyChoice {
        ek,
        ..KeyChoice::default()
    };
    let request = scene.gateway.enrolment(choice)?.challenge_request(&[]);
    Ok(RequestChallengeRequest {
        ek_certificate_chain: chain,
        ..request
    })
}

/// Sent with a good bundle; the good run after it uses that bundle.
async fn refused(
    scene: &Scene,
    request: RequestChallengeRequest,
    refusal: Refusal,
    cause: &str,
) -> Result<()> {
    let bundle = scene.deployment.bundle()?;
    let attack = RequestChallengeRequest {
        join_token: bundle.join_token.expose().to_vec(),
        ..request
    };
    let refused = scene.assert_challenge_refused(attack, bundle, refusal);
    scene.because(cause, refused).await
}

async fn every_flaw(ek: EkChoice) -> Result<()> {
    let scene = Scene::new()?;
    let vendor = scene.gateway.sim().vendor();
    let good = ask(&scene, ek, Vec::new())?;
    let public = Public::parse(&good.ek_public)?;
    for (flaw, refusal, cause) in FLAWS {
        let issued = vendor.issue_ek(&public, &EkCertOptions::with_flaw(flaw))?;
        let chain = [vec![issued.certificate], issued.intermediates].concat();
        let attack = RequestChallengeRequest {
            ek_certificate_chain: chain,
            ..good.clone()
        };
        refused(&scene, attack, refusal, cause)
            .await
            .with_context(|| format!("{ek:?}, {flaw:?}"))?;
    }
    // The same, issued without a flaw.
    let issued = vendor.issue_ek(&public, &EkCertOptions::default())?;
    let chain = [vec![issued.certificate], issued.intermediates].concat();
    accepted(&scene, ek, chain).await
}

/// A challenge is made for this chain: what the attack changed is all that was
/// wrong.
async fn accepted(scene: &Scene, ek: EkChoice, chain: Vec<Vec<u8>>) -> Result<()> {
    let bundle = scene.deployment.bundle()?;
    let request = RequestChallengeRequest {
        join_token: bundle.join_token.expose().to_vec(),
        ..ask(scene, ek, chain)?
    };
    request_challenge(&dial(&bundle).await?, request).await?;
    Ok(())
}

#[tokio::test]
async fn adv_a06_every_flaw_of_an_ecc_ek_certificate() -> Result<()> {
    every_flaw(ECC).await
}

#[tokio::test]
async fn adv_a06_every_flaw_of_an_rsa_ek_certificate() -> Result<()> {
    every_flaw(RSA).await
}

/// As a gateway really has it: the flawed certificate lies in its TPM's NV, and
/// the attester sends what it finds there.
#[tokio::test]
async fn adv_a06_flawed_certificate_in_the_tpm() -> Result<()> {
    let scene = Scene::new()?;
    let bad = scene.another_gateway_with("bad", |options| {
        options.ek_cert = EkCertOptions::with_flaw(Flaw::Expired);
    })?;
    let request = bad.enrolment(KeyChoice::default())?.challenge_request(&[]);
    refused(
        &scene,
        request,
        Refusal::NOT_ENDORSED,
        "a certificate expired at",
    )
    .await
}

/// No certificate, no intermediate, a vendor that nobody imported, the root in
/// place of the EK's certificate.
#[tokio::test]
async fn adv_a06_incomplete_and_foreign_chains() -> Result<()> {
    let scene = Scene::new()?;
    let good = ask(&scene, ECC, Vec::new())?;
    let public = Public::parse(&good.ek_public)?;
    let vendor = scene.gateway.sim().vendor();
    let issued = vendor.issue_ek(&public, &EkCertOptions::default())?;
    let (leaf, above) = (issued.certificate, issued.intermediates);
    let foreign = scene.another_gateway_with("foreign", |options| options.vendor_ca = None)?;
    let counterfeit = foreign
        .sim()
        .vendor()
        .issue_ek(&public, &EkCertOptions::default())?;
    let padding = vec![above[0].clone(); 7];
    let chains: [(Vec<Vec<u8>>, Refusal, &str); 7] = [
        (Vec::new(), Refusal::NOT_ENDORSED, "no EK certificate"),
        (
            vec![leaf.clone()],
            Refusal::NOT_ENDORSED,
            "no imported endorsement for issuer",
        ),
        // Names are those of the trusted vendor, keys are not.
        (
            [
                vec![counterfeit.certificate.clone()],
                counterfeit.intermediates,
            ]
            .concat(),
            Refusal::NOT_ENDORSED,
            "a certificate's signature does not verify",
        ),
        // A trusted intermediate beside the counterfeit does not help it.
        (
            [vec![counterfeit.certificate], above.clone()].concat(),
            Refusal::NOT_ENDORSED,
            "a certificate's signature does not verify",
        ),
        (
            above.clone(),
            Refusal::NOT_ENDORSED,
            "the EK certificate is for another key",
        ),
        (
            vec![vendor.root_der().to_vec()],
            Refusal::NOT_ENDORSED,
            "the EK certificate is for another key",
        ),
        (
            [vec![leaf.clone()], padding, above.clone()].concat(),
            Refusal::INVALID_REQUEST,
            "9 certificates, at most 8 are taken",
        ),
    ];
    for (chain, refusal, cause) in chains {
        let attack = RequestChallengeRequest {
            ek_certificate_chain: chain,
            ..good.clone()
        };
        refused(&scene, attack, refusal, cause).await?;
    }
    accepted(&scene, ECC, [vec![leaf], above].concat()).await
}

/// Encodings that are not DER, and bytes that are no certificate.
#[tokio::test]
async fn adv_a06_malformed_certificates() -> Result<()> {
    let scene = Scene::new()?;
    let good = ask(&scene, ECC, Vec::new())?;
    let vendor = scene.gateway.sim().vendor();
    let public = Public::parse(&good.ek_public)?;
    let issued = vendor.issue_ek(&public, &EkCertOptions::default())?;
    let (leaf, above) = (issued.certificate, issued.intermediates);
    ensure!(leaf[..2] == [0x30, 0x82], "a certificate of over 255 bytes");

    let indefinite = [&[0x30, 0x80][..], &leaf[4..], &[0, 0]].concat();
    let long_length = [&[0x30, 0x83, 0][..], &leaf[2..]].concat();
    let over_long = [&leaf[..2], &[0xFF, 0xFF][..], &leaf[4..]].concat();
    let huge = [&[0x30, 0x84, 0xFF, 0xFF, 0xFF, 0xFF][..], &leaf[4..]].concat();
    let pem = oracle::run_with_input("openssl", ["x509", "-inform", "der"], &leaf)?.into_bytes();
    let cases: [(Vec<u8>, &str); 9] = [
        (indefinite, "certificate 0: malformed"),
        (long_length, "certificate 0: malformed"),
        (over_long, "certificate 0: malformed"),
        (huge, "certificate 0: malformed"),
        (leaf[..leaf.len() - 1].to_vec(), "certificate 0: malformed"),
        (Vec::new(), "certificate 0: malformed"),
        (pem, "certificate 0: malformed"),
        (vec![0x30; 4096], "certificate 0: 4046 bytes follow it"),
        (vec![0x30; 64 * 1024], "certificate 0 has 65536 bytes"),
    ];
    for (bytes, cause) in cases {
        let attack = RequestChallengeRequest {
            ek_certificate_chain: [vec![bytes.clone()], above.clone()].concat(),
            ..good.clone()
        };
        refused(&scene, attack, Refusal::INVALID_REQUEST, cause).await?;
        // In second place as well.
        let attack = RequestChallengeRequest {
            ek_certificate_chain: vec![leaf.clone(), bytes],
            ..good.clone()
        };
        let cause = cause.replace("certificate 0", "certificate 1");
        refused(&scene, attack, Refusal::INVALID_REQUEST, &cause).await?;
    }
    Ok(())
}

/// Keys and signatures that are too weak, made by OpenSSL: below a root that
/// the owner imported, an EK certificate signed with MD5, and by authorities
/// whose keys are weak.
#[tokio::test]
async fn adv_a06_weak_signatures_and_issuers() -> Result<()> {
    if !oracle::present("openssl") {
        skip!("needs openssl");
    }
    let scene = Scene::new()?;
    let good = ask(&scene, ECC, Vec::new())?;
    let work = Workshop::new(&scene, &good)?;
    let (root, ek) = (work.root()?, "ek");
    scene
        .deployment
        .import_endorsements(&[&work.file(&root, "pem")])?;

    let sound = work.authority(
        "sound",
        &root,
        &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    )?;
    let chain = vec![work.ek(ek, &sound, "-sha256")?, work.der(&sound)?];
    accepted(&scene, ECC, chain).await?;

    for (hash, name) in [("-md5", "MD5"), ("-sha1", "SHA-1")] {
        let rsa = work.authority("rsa", &root, &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"])?;
        let attack = RequestChallengeRequest {
            ek_certificate_chain: vec![work.ek(ek, &rsa, hash)?, work.der(&rsa)?],
            ..good.clone()
        };
        let cause = format!("certificate 0 is signed with {name}");
        refused(&scene, attack, Refusal::NOT_ENDORSED, &cause).await?;
    }

    let weak: [(&str, &[&str], &str); 5] = [
        (
            "rsa1024",
            &["RSA", "-pkeyopt", "rsa_keygen_bits:1024"],
            "certificate 1: RSA modulus of 1024 bits",
        ),
        (
            "rsa-e",
            &[
                "RSA",
                "-pkeyopt",
                "rsa_keygen_bits:2048",
                "-pkeyopt",
                "rsa_keygen_pubexp:1099511627777",
            ],
            "certificate 1: RSA exponent 010000000001",
        ),
        (
            "p192",
            &["EC", "-pkeyopt", "ec_paramgen_curve:prime192v1"],
            "certificate 1: curve 1.2.840.10045.3.1.1",
        ),
        (
            "k256",
            &["EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"],
            "certificate 1: curve 1.3.132.0.10",
        ),
        (
            "ed25519",
            &["ED25519"],
            "certificate 1: algorithm 1.3.101.112",
        ),
    ];
    for (name, algorithm, cause) in weak {
        let authority = work.authority(name, &root, algorithm)?;
        let attack = RequestChallengeRequest {
            ek_certificate_chain: vec![work.ek(ek, &authority, "")?, work.der(&authority)?],
            ..good.clone()
        };
        refused(&scene, attack, Refusal::NOT_ENDORSED, cause).await?;
    }
    Ok(())
}

/// SHA-1 with RSA, where the owner lets it pass: only that, and by name.
#[tokio::test]
async fn adv_a06_sha_1_only_where_the_owner_lets_it_pass() -> Result<()> {
    if !oracle::present("openssl") {
        skip!("needs openssl");
    }
    let scene = Scene::with(
        |_| {},
        |text| text.replace("\nleniencies = [", "\nleniencies = [\"sha1-signature\", "),
    )?;
    let good = ask(&scene, ECC, Vec::new())?;
    let work = Workshop::new(&scene, &good)?;
    let root = work.root()?;
    scene
        .deployment
        .import_endorsements(&[&work.file(&root, "pem")])?;
    let rsa = work.authority("rsa", &root, &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"])?;
    let chain = vec![work.ek("ek", &rsa, "-sha1")?, work.der(&rsa)?];
    accepted(&scene, ECC, chain).await?;
    let attack = RequestChallengeRequest {
        ek_certificate_chain: vec![work.ek("ek", &rsa, "-md5")?, work.der(&rsa)?],
        ..good
    };
    let cause = "certificate 0 is signed with MD5";
    refused(&scene, attack, Refusal::NOT_ENDORSED, cause).await
}

/// Two authorities that vouch for one another, and for nothing else: the search
/// for a path ends.
#[tokio::test]
async fn adv_a06_path_loop() -> Result<()> {
    if !oracle::present("openssl") {
        skip!("needs openssl");
    }
    let scene = Scene::new()?;
    let good = ask(&scene, ECC, Vec::new())?;
    let work = Workshop::new(&scene, &good)?;
    let p256 = ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let root = work.root()?;
    let one = work.authority("one", &root, &p256)?;
    let two = work.authority("two", &one, &p256)?;
    let one_by_two = work.reissue("one", "one-by-two", &two)?;
    let attack = RequestChallengeRequest {
        ek_certificate_chain: vec![work.ek("ek", &one, "-sha256")?, one_by_two, work.der(&two)?],
        ..good
    };
    refused(
        &scene,
        attack,
        Refusal::NOT_ENDORSED,
        "no imported endorsement for issuer",
    )
    .await
}

/// Certificates by OpenSSL, in a folder of the scene.
struct Workshop {
    folder: std::path::PathBuf,
}

impl Workshop {
    fn new(scene: &Scene, ek: &RequestChallengeRequest) -> Result<Self> {
        let folder = scene.deployment.scratch().join("workshop");
        std::fs::create_dir(&folder)?;
        let work = Self { folder };
        std::fs::write(
            work.file("ek-key", "der"),
            Public::parse(&ek.ek_public)?.to_spki_der()?,
        )?;
        std::fs::write(
            work.file("ca", "ext"),
            "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n\
             subjectKeyIdentifier=hash\n",
        )?;
        std::fs::write(
            work.file("ek", "ext"),
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,keyAgreement\n\
             extendedKeyUsage=2.23.133.8.1\nsubjectAltName=critical,dirName:tpm\n[tpm]\n\
             0.2.23.133.2.1=id:48465354\n0.2.23.133.2.2=Weak\n0.2.23.133.2.3=id:00000001\n",
        )?;
        Ok(work)
    }

    fn file(&self, name: &str, kind: &str) -> std::path::PathBuf {
        self.folder.join(format!("{name}.{kind}"))
    }

    fn path(&self, name: &str, kind: &str) -> String {
        self.file(name, kind).display().to_string()
    }

    fn der(&self, name: &str) -> Result<Vec<u8>> {
        let out = self.path(name, "der");
        let pem = self.path(name, "pem");
        oracle::run(
            "openssl",
            ["x509", "-in", &pem, "-outform", "der", "-out", &out],
        )?;
        Ok(std::fs::read(Path::new(&out))?)
    }

    fn key(&self, name: &str, algorithm: &[&str]) -> Result<()> {
        let out = self.path(name, "key");
        let mut arguments = vec!["genpkey", "-out", &out, "-algorithm"];
        arguments.extend(algorithm);
        oracle::run("openssl", arguments).map(drop)
    }

    fn root(&self) -> Result<String> {
        self.key("root", &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"])?;
        let subject = "/O=Workshop/CN=root".to_owned();
        let (key, out) = (self.path("root", "key"), self.path("root", "pem"));
        oracle::run(
            "openssl",
            [
                "req",
                "-x509",
                "-new",
                "-key",
                &key,
                "-subj",
                &subject,
                "-days",
                "30",
                "-out",
                &out,
                "-addext",
                "keyUsage=critical,keyCertSign",
            ],
        )?;
        Ok("root".to_owned())
    }

    /// An authority below `issuer`.
    fn authority(&self, name: &str, issuer: &str, algorithm: &[&str]) -> Result<String> {
        self.key(name, algorithm)?;
        self.issue(name, name, issuer)?;
        Ok(name.to_owned())
    }

    /// Another certificate for an authority that there is, as DER.
    fn reissue(&self, name: &str, file: &str, issuer: &str) -> Result<Vec<u8>> {
        self.issue(name, file, issuer)?;
        self.der(file)
    }

    fn issue(&self, name: &str, file: &str, issuer: &str) -> Result<()> {
        let csr = self.path(file, "csr");
        let (key, subject) = (self.path(name, "key"), format!("/O=Workshop/CN={name}"));
        oracle::run(
            "openssl",
            ["req", "-new", "-key", &key, "-subj", &subject, "-out", &csr],
        )?;
        self.sign(&csr, issuer, "ca", &[], &self.path(file, "pem"))
    }

    /// A certificate for the scene's EK, as DER.
    fn ek(&self, name: &str, issuer: &str, hash: &str) -> Result<Vec<u8>> {
        let csr = self.path(issuer, "csr");
        let key = self.path("ek-key", "der");
        let mut more = vec![
            "-keyform",
            "DER",
            "-force_pubkey",
            &key,
            "-subj",
            "/O=TPM/CN=ek",
        ];
        if !hash.is_empty() {
            more.push(hash);
        }
        self.sign(&csr, issuer, "ek", &more, &self.path(name, "pem"))?;
        self.der(name)
    }

    fn sign(&self, csr: &str, issuer: &str, ext: &str, more: &[&str], out: &str) -> Result<()> {
        let (ca, key) = (self.path(issuer, "pem"), self.path(issuer, "key"));
        let ext = self.path(ext, "ext");
        let mut arguments = vec![
            "x509",
            "-req",
            "-in",
            csr,
            "-CA",
            &ca,
            "-CAkey",
            &key,
            "-days",
            "20",
            "-set_serial",
            "77",
            "-extfile",
            &ext,
            "-out",
            out,
        ];
        arguments.extend(more);
        oracle::run("openssl", arguments).map(drop)
    }
}
