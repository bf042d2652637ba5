//! A vendor's PKI for tests: certificates by hand, so that each can have one
//! thing wrong that no honest library would write.

use holdfast_proto::tpm::{Public, Unique, templates::EkTemplate};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};

use crate::{
    endorsement::{Anchors, EkChain, EkPublic},
    time::UnixTime,
};

/// 2026-06-01T00:00:00Z: within every good certificate here.
pub(crate) const NOW: UnixTime = UnixTime::from_seconds(1_780_272_000);

pub(crate) const ECDSA_SHA256: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02];
pub(crate) const EC_KEY: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
pub(crate) const P256: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
pub(crate) const RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];

/// One DER element.
pub(crate) fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let len = content.len();
    let [high, low] = u16::try_from(len).unwrap().to_be_bytes();
    let head = match len {
        0..=0x7F => vec![tag, low],
        0x80..=0xFF => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [head, content].concat()
}

pub(crate) fn seq(parts: &[&[u8]]) -> Vec<u8> {
    der(0x30, parts)
}

pub(crate) fn oid(content: &[u8]) -> Vec<u8> {
    der(0x06, &[content])
}

pub(crate) fn integer(magnitude: &[u8]) -> Vec<u8> {
    let start = magnitude
        .iter()
        .position(|b| *b != 0)
        .unwrap_or(magnitude.len());
    let significant = &magnitude[start..];
    let zero: &[u8] = if significant.first().is_none_or(|b| *b >= 0x80) {
        &[0]
    } else {
        &[]
    };
    der(0x02, &[zero, significant])
}

/// A Name with one CN.
pub(crate) fn cn(text: &str) -> Vec<u8> {
    seq(&[&attribute(&[0x55, 0x04, 0x03], text)])
}

/// One RDN.
pub(crate) fn attribute(kind: &[u8], text: &str) -> Vec<u8> {
    der(0x31, &[&seq(&[&oid(kind), &der(0x0C, &[text.as_bytes()])])])
}

pub(crate) fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let flag = if critical {
        der(0x01, &[&[0xFF]])
    } else {
        Vec::new()
    };
    seq(&[&oid(id), &flag, &der(0x04, &[value])])
}

pub(crate) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1D, 0x13];
pub(crate) const KEY_USAGE: &[u8] = &[0x55, 0x1D, 0x0F];
pub(crate) const EKU: &[u8] = &[0x55, 0x1D, 0x25];
pub(crate) const SAN: &[u8] = &[0x55, 0x1D, 0x11];
pub(crate) const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1D, 0x1E];

pub(crate) fn basic_constraints(ca: bool, path_len: Option<u8>) -> Vec<u8> {
    let ca = if ca {
        der(0x01, &[&[0xFF]])
    } else {
        Vec::new()
    };
    let path_len = path_len.map(|n| integer(&[n])).unwrap_or_default();
    extension(BASIC_CONSTRAINTS, true, &seq(&[&ca, &path_len]))
}

pub(crate) fn key_usage(octet: u8) -> Vec<u8> {
    let unused = u8::try_from(octet.trailing_zeros().min(7)).unwrap();
    extension(KEY_USAGE, true, &der(0x03, &[&[unused, octet]]))
}

pub(crate) fn ek_eku() -> Vec<u8> {
    extension(EKU, false, &seq(&[&oid(&[0x67, 0x81, 0x05, 0x08, 0x01])]))
}

/// subjectAltName with a directoryName of TPM attributes.
pub(crate) fn tpm_san(attributes: &[(u8, &str)]) -> Vec<u8> {
    let rdns: Vec<Vec<u8>> = attributes
        .iter()
        .map(|(last, text)| attribute(&[0x67, 0x81, 0x05, 0x02, *last], text))
        .collect();
    let rdns: Vec<&[u8]> = rdns.iter().map(Vec::as_slice).collect();
    extension(SAN, true, &seq(&[&der(0xA4, &[&seq(&rdns)])]))
}

pub(crate) const GOOD_TPM: &[(u8, &str)] =
    &[(1, "id:49465800"), (2, "SLB9670"), (3, "id:00070055")];

/// A signing key and its SPKI.
pub(crate) struct CaKey {
    pair: EcdsaKeyPair,
}

impl CaKey {
    pub(crate) fn new() -> Self {
        let rng = SystemRandom::new();
        let alg = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(alg, &rng).unwrap();
        Self {
            pair: EcdsaKeyPair::from_pkcs8(alg, pkcs8.as_ref(), &rng).unwrap(),
        }
    }

    pub(crate) fn spki(&self) -> Vec<u8> {
        ec_spki(P256, self.pair.public_key().as_ref())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair
            .sign(&SystemRandom::new(), message)
            .unwrap()
            .as_ref()
            .to_vec()
    }
}

pub(crate) fn ec_spki(curve: &[u8], point: &[u8]) -> Vec<u8> {
    seq(&[
        &seq(&[&oid(EC_KEY), &oid(curve)]),
        &der(0x03, &[&[0], point]),
    ])
}

pub(crate) fn rsa_spki(algorithm: &[u8], n: &[u8], e: &[u8]) -> Vec<u8> {
    let key = seq(&[&integer(n), &integer(e)]);
    seq(&[
        &seq(&[&oid(algorithm), &der(0x05, &[])]),
        &der(0x03, &[&[0], &key]),
    ])
}

/// Everything that a certificate says.
#[derive(Clone)]
pub(crate) struct Spec {
    pub(crate) issuer: Vec<u8>,
    pub(crate) subject: Vec<u8>,
    pub(crate) not_before: &'static str,
    pub(crate) not_after: &'static str,
    pub(crate) spki: Vec<u8>,
    pub(crate) extensions: Vec<Vec<u8>>,
    pub(crate) signature_oid: Vec<u8>,
    pub(crate) serial: u8,
    /// Zeros before the serial number that do not belong there.
    pub(crate) serial_padding: usize,
}

impl Spec {
    pub(crate) fn sign(&self, key: &CaKey) -> Vec<u8> {
        let algorithm = seq(&[&oid(&self.signature_oid)]);
        let extensions: Vec<&[u8]> = self.extensions.iter().map(Vec::as_slice).collect();
        let tbs = seq(&[
            &der(0xA0, &[&integer(&[2])]),
            &der(0x02, &[&vec![0; self.serial_padding], &[self.serial]]),
            &algorithm,
            &self.issuer,
            &seq(&[
                &der(0x17, &[self.not_before.as_bytes()]),
                &der(0x17, &[self.not_after.as_bytes()]),
            ]),
            &self.subject,
            &self.spki,
            &der(0xA3, &[&seq(&extensions)]),
        ]);
        let signature = key.sign(&tbs);
        seq(&[&tbs, &algorithm, &der(0x03, &[&[0], &signature])])
    }

    /// Replaces the extension with this OID, or drops it.
    pub(crate) fn replace(mut self, id: &[u8], with: Option<Vec<u8>>) -> Self {
        let head = oid(id);
        self.extensions
            .retain(|e| !e.windows(head.len()).take(8).any(|w| w == head));
        self.extensions.extend(with);
        self
    }
}

pub(crate) fn ca_spec(issuer: &str, subject: &str, key: &CaKey) -> Spec {
    Spec {
        issuer: cn(issuer),
        subject: cn(subject),
        not_before: "200101000000Z",
        not_after: "350101000000Z",
        spki: key.spki(),
        extensions: vec![basic_constraints(true, None), key_usage(0x06)],
        signature_oid: ECDSA_SHA256.to_vec(),
        serial: 1,
        serial_padding: 0,
    }
}

/// A TPM vendor: root → issuing CA → EK certificates.
pub(crate) struct Vendor {
    pub(crate) root_key: CaKey,
    pub(crate) root: Vec<u8>,
    pub(crate) issuing_key: CaKey,
    pub(crate) issuing: Vec<u8>,
}

impl Vendor {
    pub(crate) const ROOT: &'static str = "Vendor Root";
    pub(crate) const ISSUING: &'static str = "Vendor EK CA";

    pub(crate) fn new() -> Self {
        let (root_key, issuing_key) = (CaKey::new(), CaKey::new());
        Self {
            root: ca_spec(Self::ROOT, Self::ROOT, &root_key).sign(&root_key),
            issuing: ca_spec(Self::ROOT, Self::ISSUING, &issuing_key).sign(&root_key),
            root_key,
            issuing_key,
        }
    }

    pub(crate) fn anchors(&self) -> Anchors {
        Anchors::new(vec![self.root.clone()], Vec::new()).unwrap()
    }

    /// A good EK certificate for `ek`, not yet signed.
    pub(crate) fn spec(&self, ek: &Public) -> Spec {
        let usage = match &ek.unique {
            Unique::Rsa(_) => 0x20,
            _ => 0x08,
        };
        Spec {
            issuer: cn(Self::ISSUING),
            subject: seq(&[]),
            not_before: "240101000000Z",
            not_after: "340101000000Z",
            spki: ek.to_spki_der().unwrap(),
            extensions: vec![
                basic_constraints(false, None),
                key_usage(usage),
                ek_eku(),
                tpm_san(GOOD_TPM),
                extension(
                    &[0x55, 0x1D, 0x23],
                    false,
                    &seq(&[&der(0x80, &[&[0xAB; 20]])]),
                ),
            ],
            signature_oid: ECDSA_SHA256.to_vec(),
            serial: 0x2A,
            serial_padding: 0,
        }
    }

    pub(crate) fn chain(&self, leaf: Vec<u8>) -> Vec<Vec<u8>> {
        vec![leaf, self.issuing.clone()]
    }

    /// The whole good chain for `ek`.
    pub(crate) fn certify(&self, ek: &Public) -> Vec<Vec<u8>> {
        self.chain(self.spec(ek).sign(&self.issuing_key))
    }
}

/// The P-256 key of STANDARDS §3.3 as an L-2 EK.
pub(crate) fn ecc_ek() -> Public {
    let x = "0dcc7648c78a3118f2612866fe83ef19f40304f623399e1211a10f2b3d1c05cf";
    let y = "30e8027677bcb912943e99ff71140ea9bc24713be1b75c31ff4054724c4f9d00";
    let unique = Unique::Ecc {
        x: hex::decode(x).unwrap(),
        y: hex::decode(y).unwrap(),
    };
    Public {
        unique,
        ..EkTemplate::L2.public()
    }
}

/// An RSA-2048 modulus as an L-1 EK. Nobody holds the private key.
pub(crate) fn rsa_ek() -> Public {
    let spki: &[u8] = include_bytes!("../../verification/tests/data/rsa2048.spki");
    // The modulus: 256 bytes before INTEGER 65537.
    let modulus = spki[spki.len() - 261..spki.len() - 5].to_vec();
    Public {
        unique: Unique::Rsa(modulus),
        ..EkTemplate::L1.public()
    }
}

pub(crate) fn ek(public: &Public) -> EkPublic {
    EkPublic::parse(&public.encode()).unwrap()
}

pub(crate) fn chain(certificates: &[Vec<u8>]) -> EkChain {
    EkChain::parse(certificates).unwrap()
}
