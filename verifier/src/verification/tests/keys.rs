//! ADVERSARY A07 and A08: each attribute one variant.

use holdfast_proto::tpm::{
    AsymScheme, EccCurve, HashAlg, ObjectAttributes as Attr, Parameters, Public, Symmetric, Unique,
    templates::AkAlg,
};

use super::soft_tpm::SoftTpm;
use crate::{
    endorsement::roca::tests::flawed,
    verification::{AkPublic, AkScheme, KeyFault, LdevidPublic, VerificationError},
};

type Change = (&'static str, fn(&mut Public), KeyFault);

fn flip(public: &mut Public, bit: Attr) {
    public.attributes = Attr::from_bits(public.attributes.bits() ^ bit.bits());
}

fn scheme(public: &mut Public, new: AsymScheme) {
    match &mut public.parameters {
        Parameters::Ecc { scheme, .. } | Parameters::Rsa { scheme, .. } => *scheme = new,
        Parameters::KeyedHash { .. } => unreachable!(),
    }
}

fn symmetric(public: &mut Public) {
    match &mut public.parameters {
        Parameters::Ecc { symmetric, .. } | Parameters::Rsa { symmetric, .. } => {
            *symmetric = Symmetric::Aes { key_bits: 128 };
        }
        Parameters::KeyedHash { .. } => unreachable!(),
    }
}

fn curve(public: &mut Public, new: EccCurve) {
    if let Parameters::Ecc { curve, .. } = &mut public.parameters {
        *curve = new;
    }
}

/// What neither an AK nor an LDevID key may be.
const COMMON: &[Change] = &[
    (
        "fixedTPM",
        |p| flip(p, Attr::FIXED_TPM),
        KeyFault::NotFixedTpm,
    ),
    (
        "fixedParent",
        |p| flip(p, Attr::FIXED_PARENT),
        KeyFault::NotFixedParent,
    ),
    (
        "sensitiveDataOrigin",
        |p| flip(p, Attr::SENSITIVE_DATA_ORIGIN),
        KeyFault::NotMadeByTpm,
    ),
    ("sign", |p| flip(p, Attr::SIGN), KeyFault::NotSigning),
    ("decrypt", |p| flip(p, Attr::DECRYPT), KeyFault::Decrypts),
    ("x509sign", |p| flip(p, Attr::X509_SIGN), KeyFault::X509Sign),
    (
        "encryptedDuplication",
        |p| flip(p, Attr::ENCRYPTED_DUPLICATION),
        KeyFault::Duplicable,
    ),
    (
        "nameAlg",
        |p| p.name_alg = HashAlg::Sha1,
        KeyFault::NameAlg(HashAlg::Sha1),
    ),
    ("symmetric", symmetric, KeyFault::Symmetric),
    (
        "curve",
        |p| curve(p, EccCurve::P521),
        KeyFault::Curve(EccCurve::P521),
    ),
    (
        "P-384 scheme",
        |p| curve(p, EccCurve::P384),
        KeyFault::Scheme,
    ),
    (
        "hash",
        |p| scheme(p, AsymScheme::Ecdsa(HashAlg::Sha1)),
        KeyFault::Scheme,
    ),
    (
        "x",
        |p| {
            p.unique = Unique::Ecc {
                x: vec![],
                y: vec![1],
            }
        },
        KeyFault::Point,
    ),
    (
        "y",
        |p| {
            p.unique = Unique::Ecc {
                x: vec![1],
                y: vec![0; 33],
            }
        },
        KeyFault::Point,
    ),
    (
        "type",
        |p| p.unique = Unique::Rsa(vec![1; 256]),
        KeyFault::KeyType,
    ),
];

#[test]
fn adv_a07_ak_checklist() {
    let good = SoftTpm::new(AkAlg::EcdsaP256).ak_public;
    let own: &[Change] = &[
        (
            "restricted",
            |p| flip(p, Attr::RESTRICTED),
            KeyFault::NotRestricted,
        ),
        // An AK without a scheme of its own would sign by any.
        ("scheme", |p| scheme(p, AsymScheme::Null), KeyFault::Scheme),
    ];
    for (name, change, fault) in COMMON.iter().chain(own) {
        let mut public = good.clone();
        change(&mut public);
        let error = AkPublic::new(public).unwrap_err();
        assert!(
            matches!(&error, VerificationError::Ak(f) if f == fault),
            "{name}: {error:?}"
        );
    }
    assert_eq!(AkPublic::new(good).unwrap().scheme(), AkScheme::EcdsaP256);
}

#[test]
fn adv_a07_rsa_ak_checklist() {
    let good = SoftTpm::new(AkAlg::RsaPss2048).ak_public;
    fn rsa(public: &mut Public, bits: u16, e: u32) {
        if let Parameters::Rsa {
            key_bits, exponent, ..
        } = &mut public.parameters
        {
            (*key_bits, *exponent) = (bits, e);
        }
    }
    fn modulus(public: &mut Public, change: fn(&mut Vec<u8>)) {
        if let Unique::Rsa(n) = &mut public.unique {
            change(n);
        }
    }
    let changes: &[Change] = &[
        ("bits", |p| rsa(p, 1024, 0), KeyFault::RsaBits(1024)),
        ("odd bits", |p| rsa(p, 2049, 0), KeyFault::RsaBits(2049)),
        ("exponent", |p| rsa(p, 2048, 3), KeyFault::RsaExponent(3)),
        (
            "short",
            |p| modulus(p, |n| n.truncate(255)),
            KeyFault::RsaModulus,
        ),
        (
            "small",
            |p| modulus(p, |n| n[0] &= 0x7F),
            KeyFault::RsaModulus,
        ),
        (
            "even",
            |p| modulus(p, |n| n[255] &= 0xFE),
            KeyFault::RsaModulus,
        ),
        ("longer", |p| rsa(p, 3072, 0), KeyFault::RsaModulus),
        (
            "CVE-2017-15361",
            |p| modulus(p, |n| *n = flawed(n)),
            KeyFault::Roca,
        ),
        ("null", |p| scheme(p, AsymScheme::Null), KeyFault::Scheme),
        (
            "oaep",
            |p| scheme(p, AsymScheme::Oaep(HashAlg::Sha256)),
            KeyFault::Scheme,
        ),
        (
            "sha1",
            |p| scheme(p, AsymScheme::RsaPss(HashAlg::Sha1)),
            KeyFault::Scheme,
        ),
        (
            "sha1",
            |p| scheme(p, AsymScheme::RsaSsa(HashAlg::Sha1)),
            KeyFault::Scheme,
        ),
        ("symmetric", symmetric, KeyFault::Symmetric),
    ];
    for (name, change, fault) in changes {
        let mut public = good.clone();
        change(&mut public);
        let error = AkPublic::new(public).unwrap_err();
        assert!(
            matches!(&error, VerificationError::Ak(f) if f == fault),
            "{name}: {error:?}"
        );
    }
    let mut explicit = good.clone();
    rsa(&mut explicit, 2048, 65537);
    AkPublic::new(explicit).unwrap();
    assert_eq!(
        AkPublic::new(good).unwrap().scheme(),
        AkScheme::RsaPss(HashAlg::Sha256)
    );
}

#[test]
fn adv_a08_ldevid_checklist() {
    let good = SoftTpm::new(AkAlg::EcdsaP256).ldevid_public;
    let own: &[Change] = &[
        (
            "restricted",
            |p| flip(p, Attr::RESTRICTED),
            KeyFault::Restricted,
        ),
        (
            "scheme",
            |p| scheme(p, AsymScheme::RsaSsa(HashAlg::Sha256)),
            KeyFault::Scheme,
        ),
    ];
    for (name, change, fault) in COMMON.iter().chain(own) {
        let mut public = good.clone();
        change(&mut public);
        let error = LdevidPublic::new(public).unwrap_err();
        assert!(
            matches!(&error, VerificationError::Ldevid(f) if f == fault),
            "{name}: {error:?}"
        );
    }
    // A signing key whose caller names the scheme is fine for TLS.
    let mut free = good.clone();
    scheme(&mut free, AsymScheme::Null);
    LdevidPublic::new(free).unwrap();
    let rsa = SoftTpm::new(AkAlg::Rsa2048).ak_public;
    let mut rsa_ldevid = rsa;
    flip(&mut rsa_ldevid, Attr::RESTRICTED);
    assert!(matches!(
        LdevidPublic::new(rsa_ldevid),
        Err(VerificationError::Ldevid(KeyFault::KeyType))
    ));
}
