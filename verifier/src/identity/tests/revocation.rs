//! CRLs and OCSP answers, as OpenSSL and webpki read them.

use std::{path::PathBuf, sync::Arc};

use proptest::prelude::*;
use ring::rand::SystemRandom;
use webpki::BorrowedCertRevocationList;

use super::{
    NOW, expectation, initial_at,
    oracle::{Oracle, text, today},
    signer,
};
use crate::{
    identity::{
        CrlContents, CrlEntry, CrlPart, CrlParts, Initial, Issuer, IssuingCa, IssuingCas, Ldevid,
        Profile, PublicUrl, RevocationReason, RevocationUrls,
        ocsp::{
            CertStatus, OcspError, OcspRequest, OcspRequestError, OcspResponder, SingleResponse,
        },
        pem,
    },
    time::UnixTime,
};

/// An issuing CA with a public URL, and an LDevID of it; at the present time,
/// as `openssl ocsp` knows no other.
struct Scene {
    oracle: Oracle,
    initial: Initial,
    ca: Arc<IssuingCa>,
    ldevid: Ldevid,
    now: UnixTime,
}

impl Scene {
    fn new(parts: CrlParts) -> Self {
        let now = today();
        let initial = initial_at(now);
        let ca = IssuingCa::open(&initial.issuing.certificate, Arc::new(signer(&initial))).unwrap();
        let url = PublicUrl::parse("http://crl.example").unwrap();
        let issuer =
            Issuer::new(IssuingCas::only(ca), Profile::standard()).with_public_url(Some(url));
        issuer.divide(parts);
        let expected = super::expectation_at(&issuer, now);
        let ca = Arc::clone(issuer.cas().current());
        let (crl_part, revocation) = issuer.published(&ca, &SystemRandom::new()).unwrap();
        let expected = super::Expectation {
            crl_part,
            revocation,
            ..expected
        };
        let ldevid = Issuer::write(&ca, expected, &SystemRandom::new())
            .unwrap()
            .sign()
            .unwrap();
        let oracle = Oracle::new();
        oracle.file("root.pem", initial.root.certificate_pem());
        oracle.file("issuing.pem", initial.issuing.certificate_pem());
        oracle.file("ldevid.pem", pem::encode("CERTIFICATE", &ldevid.chain[0]));
        Self {
            oracle,
            initial,
            ca,
            ldevid,
            now,
        }
    }

    fn entry(&self, reason: RevocationReason) -> CrlEntry {
        CrlEntry {
            serial: hex::decode(&self.ldevid.serial_hex).unwrap(),
            revoked_at: self.now.plus(-60),
            reason,
        }
    }

    fn crl(&self, urls: &[&str], entries: &[CrlEntry]) -> PathBuf {
        let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
        let crl = CrlContents {
            number: 0x80,
            this_update: self.now,
            next_update: self.now.plus(3600),
            distribution_point: &urls,
            entries,
        }
        .sign(&self.ca)
        .unwrap();
        self.oracle.file("crl.pem", pem::encode("X509 CRL", &crl))
    }

    /// `openssl verify -crl_check`: what it printed.
    fn verify(&self) -> String {
        text(&self.oracle.run(
            "openssl",
            &[
                "verify",
                "-x509_strict",
                "-crl_check",
                "-CRLfile",
                "crl.pem",
                "-CAfile",
                "root.pem",
                "-untrusted",
                "issuing.pem",
                "ldevid.pem",
            ],
        ))
    }

    /// `openssl ocsp` over files: what it says to our answer to its request.
    fn ocsp(&self, ask: &[&str], status: CertStatus) -> String {
        let common = ["ocsp", "-issuer", "issuing.pem"];
        self.oracle
            .openssl(&[&common, ask, &["-reqout", "request.der"]].concat());
        let path = self.oracle.file("x", []).with_file_name("request.der");
        let bytes = std::fs::read(path).unwrap();
        let request = OcspRequest::parse(&bytes).unwrap();
        assert!(request.cert_ids()[0].is_of(&self.ca));
        assert_eq!(request.nonce().is_some(), !ask.contains(&"-no_nonce"));
        let responder =
            OcspResponder::issue(Arc::clone(&self.ca), self.now, &SystemRandom::new()).unwrap();
        let responses: Vec<_> = request
            .cert_ids()
            .iter()
            .map(|cert_id| SingleResponse {
                cert_id: *cert_id,
                status,
            })
            .collect();
        let der = responder
            .respond(&responses, request.nonce(), self.now, 300)
            .unwrap();
        self.oracle.file("response.der", der);
        // OpenSSL would ask with a new nonce here; over HTTP, integration looks
        // at that.
        let judge = [
            "-no_nonce",
            "-respin",
            "response.der",
            "-CAfile",
            "root.pem",
        ];
        let chain = ["-verify_other", "issuing.pem"];
        let arguments = [&common[..], ask, &judge, &chain].concat();
        text(&self.oracle.run("openssl", &arguments))
    }
}

#[test]
fn openssl_reads_the_full_crl_and_goes_by_it() {
    let scene = Scene::new(CrlParts::ONE);
    scene.crl(&[], &[]);
    assert!(
        scene.verify().contains("ldevid.pem: OK"),
        "{}",
        scene.verify()
    );
    scene.crl(&[], &[scene.entry(RevocationReason::KeyCompromise)]);
    let refused = scene.verify();
    assert!(refused.contains("certificate revoked"), "{refused}");
    let shown = scene
        .oracle
        .openssl(&["crl", "-in", "crl.pem", "-noout", "-text"]);
    for line in [
        "Version 2",
        "X509v3 CRL Number: \n                128",
        "X509v3 CRL Reason Code: \n                Key Compromise",
        "X509v3 Authority Key Identifier",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    assert!(!shown.contains("Issuing Distribution Point"), "{shown}");
    // Not given, not said.
    scene.crl(&[], &[scene.entry(RevocationReason::Unspecified)]);
    let shown = scene
        .oracle
        .openssl(&["crl", "-in", "crl.pem", "-noout", "-text"]);
    assert!(!shown.contains("Reason Code"), "{shown}");
}

#[test]
fn openssl_takes_the_part_that_the_ldevid_names_and_no_other() {
    let parts = CrlParts::from_count(4).unwrap();
    let scene = Scene::new(parts);
    let url = PublicUrl::parse("http://crl.example").unwrap();
    let id = scene.ca.key_identifier();
    let own = url.crl(id, scene.ldevid.crl_part);
    let other = parts
        .all()
        .find(|part| *part != scene.ldevid.crl_part)
        .unwrap();
    scene.crl(&[&own], &[]);
    assert!(
        scene.verify().contains("ldevid.pem: OK"),
        "{}",
        scene.verify()
    );
    scene.crl(&[&own], &[scene.entry(RevocationReason::Superseded)]);
    assert!(scene.verify().contains("certificate revoked"));
    scene.crl(&[&url.crl(id, other)], &[]);
    let refused = scene.verify();
    assert!(!refused.contains("ldevid.pem: OK"), "{refused}");
    // Under a new URL too, as long as the one in the LDevID is named.
    let (new, former) = ("http://new.example/crl/2.crl", "http://a.example/2.crl");
    scene.crl(&[new, former, &own], &[]);
    assert!(scene.verify().contains("ldevid.pem: OK"));
    scene.crl(&[new, former], &[]);
    assert!(!scene.verify().contains("ldevid.pem: OK"));
    // The full one answers for all.
    scene.crl(&[], &[]);
    assert!(scene.verify().contains("ldevid.pem: OK"));
}

#[test]
fn openssl_shows_where_revocation_is_told() {
    let scene = Scene::new(CrlParts::ONE);
    let shown = scene
        .oracle
        .openssl(&["x509", "-in", "ldevid.pem", "-noout", "-text"]);
    let id = hex::encode(scene.ca.key_identifier());
    for line in [
        format!("URI:http://crl.example/crl/{id}.crl"),
        "OCSP - URI:http://crl.example/ocsp".to_owned(),
        format!("CA Issuers - URI:http://crl.example/ca/{id}.cer"),
    ] {
        assert!(shown.contains(&line), "{line}: {shown}");
    }
}

#[test]
fn openssl_ocsp_is_told_good_revoked_and_unknown() {
    let scene = Scene::new(CrlParts::ONE);
    let ask = ["-cert", "ldevid.pem"];
    let good = scene.ocsp(&ask, CertStatus::Good);
    assert!(good.contains("Response verify OK"), "{good}");
    assert!(good.contains("ldevid.pem: good"), "{good}");

    let at = UnixTime::from_seconds(1_795_507_200);
    let reason = RevocationReason::CessationOfOperation;
    let revoked = scene.ocsp(&ask, CertStatus::Revoked { at, reason });
    assert!(revoked.contains("Response verify OK"), "{revoked}");
    assert!(revoked.contains("ldevid.pem: revoked"), "{revoked}");
    assert!(
        revoked.contains("Reason: cessationOfOperation"),
        "{revoked}"
    );
    assert!(
        revoked.contains("Revocation Time: Nov 24 08:00:00 2026 GMT"),
        "{revoked}"
    );

    let unknown = scene.ocsp(&["-sha256", "-serial", "0x1234"], CertStatus::Unknown);
    assert!(unknown.contains("0x1234: unknown"), "{unknown}");
    let without = scene.ocsp(&["-no_nonce", "-cert", "ldevid.pem"], CertStatus::Good);
    assert!(without.contains("ldevid.pem: good"), "{without}");
}

#[test]
fn the_responders_certificate_is_a_delegates_and_short() {
    let scene = Scene::new(CrlParts::ONE);
    scene.ocsp(&["-cert", "ldevid.pem"], CertStatus::Good);
    let shown =
        scene
            .oracle
            .openssl(&["ocsp", "-respin", "response.der", "-noverify", "-resp_text"]);
    for line in ["OCSP Signing", "OCSP No Check", "Digital Signature"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    assert!(!shown.contains("CA:TRUE"), "{shown}");
}

#[test]
fn a_request_about_another_issuer_is_not_ours() {
    let scene = Scene::new(CrlParts::ONE);
    let others = initial_at(scene.now);
    scene
        .oracle
        .file("other.pem", others.issuing.certificate_pem());
    for hash in ["-sha1", "-sha256"] {
        scene.oracle.openssl(&[
            "ocsp",
            "-issuer",
            "other.pem",
            hash,
            "-serial",
            "1",
            "-reqout",
            "request.der",
        ]);
        let path = scene.oracle.file("x", []).with_file_name("request.der");
        let bytes = std::fs::read(path).unwrap();
        let request = OcspRequest::parse(&bytes).unwrap();
        assert!(!request.cert_ids()[0].is_of(&scene.ca), "{hash}");
    }
    scene.oracle.openssl(&[
        "ocsp",
        "-issuer",
        "issuing.pem",
        "-sha512",
        "-serial",
        "1",
        "-reqout",
        "request.der",
    ]);
    let path = scene.oracle.file("x", []).with_file_name("request.der");
    let bytes = std::fs::read(path).unwrap();
    let request = OcspRequest::parse(&bytes).unwrap();
    assert!(
        !request.cert_ids()[0].is_of(&scene.ca),
        "a hash that we do not know"
    );
    drop(scene.initial);
}

#[test]
fn openssl_reads_the_errors() {
    let oracle = Oracle::new();
    for (error, words) in [
        (OcspError::MalformedRequest, "malformedrequest (1)"),
        (OcspError::InternalError, "internalerror (2)"),
        (OcspError::TryLater, "trylater (3)"),
        (OcspError::Unauthorized, "unauthorized (6)"),
    ] {
        oracle.file("response.der", error.to_der());
        let out = text(&oracle.run("openssl", &["ocsp", "-respin", "response.der", "-noverify"]));
        assert!(out.contains(words), "{out}");
    }
}

/// A request of one CertID as `openssl ocsp -no_nonce` writes it, by hand.
fn request(cert_ids: usize, extensions: &[u8], version: Option<u8>) -> Vec<u8> {
    use crate::identity::der;
    let sha1 = der::sequence(&[&der::oid(&[1, 3, 14, 3, 2, 26]), &der::null()]);
    let hash = der::octet_string(&[7; 20]);
    let cert_id = der::sequence(&[&sha1, &hash, &hash, &der::unsigned(&[0xC0, 1])]);
    let single = der::sequence(&[&cert_id]);
    let version = version.map(|v| der::explicit(0, &der::unsigned(&[v])));
    let extensions = match extensions {
        [] => Vec::new(),
        extensions => der::explicit(2, &der::sequence(&[extensions])),
    };
    der::sequence(&[&der::sequence(&[
        &version.unwrap_or_default(),
        &der::sequence(&[&single.repeat(cert_ids)]),
        &extensions,
    ])])
}

fn nonce(octets: &[u8]) -> Vec<u8> {
    use crate::identity::{certificate, der, oid};
    certificate::extension(oid::OCSP_NONCE, false, &der::octet_string(octets))
}

#[test]
fn requests_are_held_to_the_rules() {
    use crate::identity::{certificate, ocsp::MAX_OCSP_CERT_IDS};
    let good = request(1, &nonce(&[5; 32]), None);
    let parsed = OcspRequest::parse(&good).unwrap();
    assert_eq!(parsed.nonce(), Some(&[5; 32][..]));
    assert_eq!(parsed.cert_ids()[0].serial_hex(), "c001");
    assert_eq!(
        OcspRequest::parse(&request(1, &[], Some(0)))
            .unwrap()
            .nonce(),
        None
    );
    let most = request(MAX_OCSP_CERT_IDS, &[], None);
    assert_eq!(
        OcspRequest::parse(&most).unwrap().cert_ids().len(),
        MAX_OCSP_CERT_IDS
    );
    let trailing = [good.clone(), vec![0]].concat();
    let twice = [nonce(&[1; 8]), nonce(&[1; 8])].concat();
    let critical = certificate::extension(&[1, 2, 3], true, &[5, 0]);
    let harmless = certificate::extension(&[1, 2, 3], false, &[5, 0]);
    assert!(OcspRequest::parse(&request(1, &harmless, None)).is_ok());
    let bare = certificate::extension(crate::identity::oid::OCSP_NONCE, false, &[1, 2, 3]);
    for (bad, error) in [
        (trailing, OcspRequestError::NotDer),
        (Vec::new(), OcspRequestError::NotDer),
        (vec![0x30; 5000], OcspRequestError::TooLong),
        (request(1, &[], Some(1)), OcspRequestError::Version),
        (request(0, &[], None), OcspRequestError::CertIds(0)),
        (
            request(MAX_OCSP_CERT_IDS + 1, &[], None),
            OcspRequestError::CertIds(MAX_OCSP_CERT_IDS + 1),
        ),
        (request(1, &nonce(&[]), None), OcspRequestError::Nonce),
        (request(1, &nonce(&[1; 129]), None), OcspRequestError::Nonce),
        (request(1, &twice, None), OcspRequestError::Nonce),
        (request(1, &bare, None), OcspRequestError::Nonce),
        (
            request(1, &critical, None),
            OcspRequestError::CriticalExtension,
        ),
    ] {
        assert_eq!(
            OcspRequest::parse(&bad),
            Err(error),
            "{}",
            hex::encode(&bad)
        );
    }
}

proptest! {
    #[test]
    fn nothing_that_comes_makes_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = OcspRequest::parse(&bytes);
    }

    #[test]
    fn a_changed_request_is_read_or_refused(at in 0_usize..100, to in any::<u8>()) {
        let mut bytes = request(2, &nonce(&[5; 32]), Some(0));
        if let Some(byte) = bytes.get_mut(at) {
            *byte = to;
        }
        let _ = OcspRequest::parse(&bytes);
    }

    #[test]
    fn webpki_finds_every_entry_and_no_other(
        serials in proptest::collection::btree_set(proptest::collection::vec(1_u8..=255, 1..17), 0..40),
        number in 1_u64..,
    ) {
        let initial = super::initial();
        let ca = IssuingCa::open(&initial.issuing.certificate, Arc::new(signer(&initial))).unwrap();
        let entries: Vec<CrlEntry> = serials
            .iter()
            .zip(RevocationReason::ALL.into_iter().cycle())
            .map(|(serial, reason)| CrlEntry { serial: serial.clone(), revoked_at: NOW, reason })
            .collect();
        let der = CrlContents {
            number,
            this_update: NOW,
            next_update: NOW.plus(60),
            distribution_point: &["http://crl.example/crl/x/2.crl".to_owned()],
            entries: &entries,
        }
        .sign(&ca)
        .unwrap();
        let crl = BorrowedCertRevocationList::from_der(&der).unwrap();
        let found: std::collections::BTreeSet<Vec<u8>> = crl
            .into_iter()
            .map(|entry| {
                let content = entry.unwrap().serial_number;
                content.strip_prefix(&[0]).unwrap_or(content).to_vec()
            })
            .collect();
        prop_assert_eq!(found, serials);
    }
}

#[test]
fn the_lint_holds_the_urls_to_what_was_asked_for() {
    use crate::identity::{
        IdentityError, LdevidOnFile, LintError, certificate as x509, lint, profile,
    };
    let url = PublicUrl::parse("http://crl.example").unwrap();
    let initial = super::initial();
    let issuer = super::issuer(&initial, Profile::standard());
    let ca = issuer.cas();
    let facts = ca.current().facts();
    let urls = url.urls(&facts.key_identifier, CrlPart::FULL);
    let good = super::Expectation {
        revocation: Some(urls.clone()),
        ..expectation(&issuer)
    };
    let lint = |written: Option<&RevocationUrls>, expected: &super::Expectation| {
        let as_written = super::Expectation {
            revocation: written.cloned(),
            ..expected.clone()
        };
        let extensions = profile::extensions(&as_written, &facts.key_identifier);
        let to_be_signed = x509::Template {
            serial: &[0x55; 16],
            issuer: &facts.subject,
            not_before: expected.not_before,
            not_after: expected.not_after,
            subject: &profile::subject(&expected.gateway),
            spki: &expected.subject_spki,
            extensions: &extensions,
        }
        .to_be_signed(ca.current().public())
        .unwrap();
        match lint::lint(&to_be_signed, facts, expected, &SystemRandom::new()) {
            Ok(()) => None,
            Err(IdentityError::Lint(error)) => Some(error),
            Err(other) => panic!("{other:?}"),
        }
    };
    assert_eq!(lint(Some(&urls), &good), None);
    let other = |change: fn(&mut RevocationUrls)| {
        let mut changed = urls.clone();
        change(&mut changed);
        lint(Some(&changed), &good)
    };
    assert_eq!(
        other(|urls| urls.crl.push('x')),
        Some(LintError::CrlDistributionPoints)
    );
    for change in [
        |urls: &mut RevocationUrls| urls.ocsp.push('x'),
        |urls: &mut RevocationUrls| urls.issuer.push('x'),
        |urls: &mut RevocationUrls| std::mem::swap(&mut urls.ocsp, &mut urls.issuer),
    ] {
        assert_eq!(other(change), Some(LintError::AuthorityInfoAccess));
    }
    let crl_points = "2.5.29.31".to_owned();
    assert_eq!(
        lint(None, &good),
        Some(LintError::MissingExtension(crl_points.clone()))
    );
    let without = super::Expectation {
        revocation: None,
        ..good.clone()
    };
    assert_eq!(
        lint(Some(&urls), &without),
        Some(LintError::UnexpectedExtension(crl_points))
    );
    // What `inspect` makes of one that has them.
    let scene = Scene::new(CrlParts::ONE);
    LdevidOnFile::read(&scene.ldevid.chain[0], Some(&scene.ldevid.chain[1])).unwrap();
}
