use ring::rand::SystemRandom;

use super::{
    super::{
        IdentityError,
        certificate::{self as x509, Template},
        der, lint,
        lint::{CaFacts, LintError},
        oid,
        profile::{self, subject},
    },
    *,
};

/// A good certificate's parts; a test changes one.
struct Parts {
    ca: CaFacts,
    expected: Expectation,
    serial: Vec<u8>,
    issuer: Vec<u8>,
    not_before: UnixTime,
    not_after: UnixTime,
    subject: Vec<u8>,
    spki: Vec<u8>,
    extensions: Vec<Vec<u8>>,
}

impl Parts {
    fn good() -> Self {
        let initial = initial();
        let issuer = issuer(&initial, Profile::new(3600, Some("water.example")).unwrap());
        let ca = CaFacts::parse(&initial.issuing.certificate).unwrap();
        let expected = expectation(&issuer);
        Self {
            serial: vec![0x55; 16],
            issuer: ca.subject.clone(),
            not_before: expected.not_before,
            not_after: expected.not_after,
            subject: subject(&expected.gateway),
            spki: expected.subject_spki.clone(),
            extensions: profile::extensions(&expected, &ca.key_identifier),
            ca,
            expected,
        }
    }

    fn to_be_signed(&self) -> Vec<u8> {
        Template {
            serial: &self.serial,
            issuer: &self.issuer,
            not_before: self.not_before,
            not_after: self.not_after,
            subject: &self.subject,
            spki: &self.spki,
            extensions: &self.extensions,
        }
        .to_be_signed(self.ca.public.as_ref().unwrap())
        .unwrap()
    }

    fn lint(&self) -> Result<(), LintError> {
        self.lint_bytes(&self.to_be_signed())
    }

    fn lint_bytes(&self, to_be_signed: &[u8]) -> Result<(), LintError> {
        lint::lint(to_be_signed, &self.ca, &self.expected, &SystemRandom::new()).map_err(|error| {
            match error {
                IdentityError::Lint(lint) => lint,
                other => panic!("{other:?}"),
            }
        })
    }

    /// The one extension of this kind, replaced.
    fn replace(&mut self, id: &[u32], with: Vec<u8>) {
        let id = der::oid(id);
        let slot = self
            .extensions
            .iter_mut()
            .find(|e| e.windows(id.len()).any(|w| w == id))
            .unwrap();
        *slot = with;
    }
}

fn refused(change: impl FnOnce(&mut Parts)) -> LintError {
    let mut parts = Parts::good();
    parts.lint().unwrap();
    change(&mut parts);
    parts.lint().unwrap_err()
}

fn refused_bytes(change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> LintError {
    let parts = Parts::good();
    parts.lint_bytes(&change(parts.to_be_signed())).unwrap_err()
}

fn swap(bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|w| w == from).unwrap();
    let mut bytes = bytes;
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

#[test]
fn garbage() {
    assert!(matches!(
        refused_bytes(|_| vec![0x30, 0]),
        LintError::Unreadable(_)
    ));
    assert!(matches!(
        refused_bytes(|b| b[..b.len() - 1].to_vec()),
        LintError::Unreadable(_)
    ));
}

#[test]
fn version() {
    let refused = refused_bytes(|b| swap(b, &[0xA0, 3, 2, 1, 2], &[0xA0, 3, 2, 1, 1]));
    assert!(matches!(refused, LintError::Unreadable(_)));
}

#[test]
fn serial_number() {
    assert_eq!(
        refused(|p| p.serial = vec![0x55; 7]),
        LintError::SerialNumber(7)
    );
    assert_eq!(
        refused(|p| p.serial = vec![0x55; 17]),
        LintError::SerialNumber(17)
    );
    assert_eq!(
        refused(|p| p.serial = vec![0; 16]),
        LintError::SerialNumber(1)
    );
    // Negative: the same octets with the sign bit set.
    assert_eq!(
        refused_bytes(|b| swap(b, &[2, 16, 0x55], &[2, 16, 0xD5])),
        LintError::SerialNumber(16)
    );
}

#[test]
fn signature_algorithm() {
    let other = der::oid(&[1, 2, 840, 10045, 4, 3, 3]);
    assert_eq!(
        refused_bytes(|b| swap(b, &der::oid(oid::ECDSA_WITH_SHA256), &other)),
        LintError::SignatureAlgorithm
    );
}

#[test]
fn issuer_name() {
    assert_eq!(refused(|p| p.issuer = p.subject.clone()), LintError::Issuer);
}

#[test]
fn validity() {
    let is_validity = |e| assert!(matches!(e, LintError::Validity { .. }), "{e:?}");
    // Not what was asked for.
    is_validity(refused(|p| p.not_after = p.not_after.plus(1)));
    is_validity(refused(|p| p.not_before = p.not_before.plus(1)));
    // As asked for, but not yet valid, over already, or too long.
    is_validity(refused(|p| {
        p.not_before = NOW.plus(1);
        p.expected.not_before = p.not_before;
    }));
    is_validity(refused(|p| {
        p.not_after = NOW;
        p.expected.not_after = p.not_after;
    }));
    is_validity(refused(|p| {
        p.not_after = NOW.plus(8 * 24 * 3600);
        p.expected.not_after = p.not_after;
    }));
    // Outside the CA's.
    is_validity(refused(|p| p.ca.not_after = p.not_after.plus(-1)));
    is_validity(refused(|p| p.ca.not_before = p.not_before.plus(1)));
}

#[test]
fn subject_name() {
    let other = |p: &mut Parts| {
        let mut bytes = [0xA5; 33];
        (bytes[0], bytes[32]) = (1, 0);
        p.subject = subject(&Ueid::parse(&bytes).unwrap());
    };
    assert_eq!(refused(other), LintError::Subject);
    let serial = super::super::subject_serial_number(&gateway());
    let with = |serial: Vec<u8>, common: &str| {
        x509::name(&[
            (oid::SERIAL_NUMBER, serial),
            (oid::COMMON_NAME, der::utf8_string(common)),
        ])
    };
    let common = profile::common_name(&gateway());
    assert_eq!(
        refused(|p| p.subject = with(der::utf8_string(&serial), &common)),
        LintError::Subject
    );
    assert_eq!(
        refused(|p| p.subject = with(der::printable_string(&serial), "x")),
        LintError::Subject
    );
    assert_eq!(
        refused(|p| p.subject = x509::name(&[(oid::SERIAL_NUMBER, der::printable_string(&serial))])),
        LintError::Subject
    );
    assert_eq!(
        refused(|p| p.subject = der::sequence(&[])),
        LintError::Subject
    );
}

#[test]
fn subject_key() {
    assert_eq!(refused(|p| p.spki = p256_subject()), LintError::SubjectKey);
}

#[test]
fn weak_key() {
    let oracle = oracle::Oracle::new();
    oracle.openssl(&["genrsa", "-out", "key.pem", "1024"]);
    oracle.openssl(&[
        "pkey", "-in", "key.pem", "-pubout", "-outform", "DER", "-out", "spki.der",
    ]);
    let weak = std::fs::read(oracle.file("x", []).with_file_name("spki.der")).unwrap();
    let give = |key: Vec<u8>| {
        move |p: &mut Parts| {
            p.spki = key.clone();
            p.expected.subject_spki = key;
        }
    };
    assert_eq!(refused(give(weak)), LintError::WeakKey);
    // A compressed point: not what a TPM key is written as.
    let good = p256_subject();
    let algorithm = der::sequence(&[&der::oid(oid::EC_PUBLIC_KEY), &der::oid(oid::SECP256R1)]);
    let point = [&[2][..], &good[good.len() - 64..good.len() - 32]].concat();
    let compressed = der::sequence(&[&algorithm, &der::bit_string(&point)]);
    assert_eq!(refused(give(compressed)), LintError::WeakKey);
}

#[test]
fn extensions_are_just_those_of_the_profile() {
    let ca = x509::ca_constraints(0);
    assert_eq!(
        refused(|p| p.extensions.push(ca.clone())),
        LintError::UnexpectedExtension("2.5.29.19".into())
    );
    let ski = x509::subject_key_identifier(&[1; 20]);
    assert_eq!(
        refused(|p| p.extensions.push(ski)),
        LintError::UnexpectedExtension("2.5.29.14".into())
    );
    let first = |p: &mut Parts| p.extensions[1].clone();
    assert_eq!(
        refused(|p| {
            let again = first(p);
            p.extensions.push(again)
        }),
        LintError::DuplicateExtension("2.5.29.15".into())
    );
    for (at, name) in [
        (0, "2.5.29.35"),
        (1, "2.5.29.15"),
        (2, "2.5.29.37"),
        (3, "2.5.29.32"),
        (4, "2.5.29.17"),
    ] {
        assert_eq!(
            refused(|p| {
                p.extensions.remove(at);
            }),
            LintError::MissingExtension(name.into())
        );
    }
}

#[test]
fn criticality() {
    let usage = x509::extension(
        oid::KEY_USAGE,
        false,
        &der::named_bits(x509::DIGITAL_SIGNATURE),
    );
    assert_eq!(
        refused(|p| p.replace(oid::KEY_USAGE, usage)),
        LintError::Criticality("2.5.29.15".into())
    );
    let names = der::sequence(&[&x509::hardware_module_name(b"IFX:00aa11:7bcd")]);
    let names = x509::extension(oid::SUBJECT_ALT_NAME, true, &names);
    assert_eq!(
        refused(|p| p.replace(oid::SUBJECT_ALT_NAME, names)),
        LintError::Criticality("2.5.29.17".into())
    );
}

#[test]
fn key_usage() {
    for bits in [x509::DIGITAL_SIGNATURE | 0x04, 0x40, 0] {
        assert_eq!(
            refused(|p| p.replace(oid::KEY_USAGE, x509::key_usage(bits))),
            LintError::KeyUsage
        );
    }
}

#[test]
fn extended_key_usage() {
    let server = x509::extended_key_usage(oid::SERVER_AUTH);
    assert_eq!(
        refused(|p| p.replace(oid::EXTENDED_KEY_USAGE, server)),
        LintError::ExtendedKeyUsage
    );
    let both = der::sequence(&[&der::oid(oid::CLIENT_AUTH), &der::oid(oid::SERVER_AUTH)]);
    let both = x509::extension(oid::EXTENDED_KEY_USAGE, false, &both);
    assert_eq!(
        refused(|p| p.replace(oid::EXTENDED_KEY_USAGE, both)),
        LintError::ExtendedKeyUsage
    );
}

#[test]
fn certificate_policies() {
    for list in [
        &[oid::VERIFIED_TPM_RESIDENCY][..],
        &[oid::VERIFIED_TPM_FIXED, oid::VERIFIED_TPM_RESIDENCY],
        &[],
    ] {
        let other = x509::certificate_policies(list);
        assert_eq!(
            refused(|p| p.replace(oid::CERTIFICATE_POLICIES, other)),
            LintError::Policies
        );
    }
}

#[test]
fn subject_alt_name() {
    let module = || x509::hardware_module_name(b"IFX:00aa11:7bcd");
    let own = || x509::uri(&format!("spiffe://water.example/gateway/{}", gateway()));
    let refuse = |names: Vec<Vec<u8>>| {
        let other = x509::subject_alt_name(&names);
        assert_eq!(
            refused(|p| p.replace(oid::SUBJECT_ALT_NAME, other)),
            LintError::SubjectAltName
        );
    };
    refuse(vec![]);
    refuse(vec![own()]);
    refuse(vec![module()]);
    refuse(vec![x509::hardware_module_name(b"IFX:00aa11:7bce"), own()]);
    refuse(vec![module(), own(), own()]);
    refuse(vec![
        module(),
        x509::uri("spiffe://water.example/gateway/other"),
    ]);
    refuse(vec![module(), own(), x509::dns_name("verifier.example")]);
    let other_kind = der::implicit_sequence(
        0,
        &[
            &der::oid(&[1, 3, 6, 1, 5, 5, 7, 8, 3]),
            &der::explicit(
                0,
                &der::sequence(&[
                    &der::oid(oid::TPM_2_0),
                    &der::octet_string(b"IFX:00aa11:7bcd"),
                ]),
            ),
        ],
    );
    refuse(vec![other_kind, own()]);
}

#[test]
fn authority_key_identifier() {
    let other = x509::authority_key_identifier(&[1; 20]);
    assert_eq!(
        refused(|p| p.replace(oid::AUTHORITY_KEY_IDENTIFIER, other)),
        LintError::AuthorityKeyIdentifier
    );
    let empty = x509::extension(oid::AUTHORITY_KEY_IDENTIFIER, false, &der::sequence(&[]));
    assert_eq!(
        refused(|p| p.replace(oid::AUTHORITY_KEY_IDENTIFIER, empty)),
        LintError::AuthorityKeyIdentifier
    );
}

#[test]
fn path() {
    // The subject of the CA that signs is another than the one named: as seen
    // by webpki alone, so the field checks are told the same story.
    let refused = refused(|p| {
        p.ca.subject = p.subject.clone();
        p.issuer = p.subject.clone();
    });
    assert!(matches!(refused, LintError::Path(_)), "{refused:?}");
}
