//! X.509 certificates from parts (RFC 5280 §4.1): nothing is checked, so that
//! bad ones can be made.

use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use sha1::Digest as _;

use super::der::{self, tag};
use crate::SimError;

/// `ecdsa-with-SHA256` (RFC 5758 §3.2)
pub(super) const ECDSA_SHA256: &[u32] = &[1, 2, 840, 10045, 4, 3, 2];
/// `ecdsa-with-SHA384`
pub(super) const ECDSA_SHA384: &[u32] = &[1, 2, 840, 10045, 4, 3, 3];
/// `ecdsa-with-SHA1` (RFC 3279 §2.2.3)
pub(super) const ECDSA_SHA1: &[u32] = &[1, 2, 840, 10045, 4, 1];

/// A certification authority: a name, a key, and its own certificate.
pub(super) struct Authority {
    /// DER `Name`.
    pub(super) name: Vec<u8>,
    pub(super) key: KeyPair,
    /// DER.
    pub(super) certificate: Vec<u8>,
}

impl Authority {
    /// Issues a certificate.
    pub(super) fn issue(&self, body: &Body<'_>) -> Result<Vec<u8>, SimError> {
        let algorithm = if self.key.is_compatible(&rcgen::PKCS_ECDSA_P384_SHA384) {
            ECDSA_SHA384
        } else {
            ECDSA_SHA256
        };
        let tbs = body.to_be_signed(algorithm, &self.name);
        let signature = self.key.sign(&tbs)?;
        Ok(signed(tbs, algorithm, &signature))
    }

    /// Issues a certificate whose signature is over a SHA-1 digest.
    pub(super) fn issue_with_sha1(&self, body: &Body<'_>) -> Result<Vec<u8>, SimError> {
        use p256::ecdsa::signature::hazmat::PrehashSigner as _;
        use p256::pkcs8::DecodePrivateKey as _;

        let key = p256::ecdsa::SigningKey::from_pkcs8_der(self.key.serialized_der())
            .map_err(|error| SimError::Key(error.to_string()))?;
        let tbs = body.to_be_signed(ECDSA_SHA1, &self.name);
        let signature: p256::ecdsa::Signature = key
            .sign_prehash(&sha1::Sha1::digest(&tbs))
            .map_err(|error| SimError::Key(error.to_string()))?;
        Ok(signed(tbs, ECDSA_SHA1, signature.to_der().as_bytes()))
    }

    pub(super) fn key_id(&self) -> Vec<u8> {
        key_id(&self.key)
    }
}

/// What a certificate says, but for its issuer.
pub(super) struct Body<'a> {
    /// Big-endian.
    pub(super) serial: Vec<u8>,
    /// `YYYYMMDDHHMMSSZ`.
    pub(super) not_before: &'a str,
    /// `YYYYMMDDHHMMSSZ`.
    pub(super) not_after: &'a str,
    /// DER `Name`.
    pub(super) subject: Vec<u8>,
    /// DER `SubjectPublicKeyInfo`.
    pub(super) spki: Vec<u8>,
    pub(super) extensions: Vec<Vec<u8>>,
}

impl Body<'_> {
    fn to_be_signed(&self, algorithm: &[u32], issuer: &[u8]) -> Vec<u8> {
        der::sequence(&[
            der::tlv(tag::context(0), &der::unsigned(&[2])),
            der::unsigned(&self.serial),
            der::sequence(&[der::oid(algorithm)]),
            issuer.to_vec(),
            der::sequence(&[der::time(self.not_before), der::time(self.not_after)]),
            self.subject.clone(),
            self.spki.clone(),
            der::tlv(tag::context(3), &der::sequence(&self.extensions)),
        ])
    }
}

fn signed(tbs: Vec<u8>, algorithm: &[u32], signature: &[u8]) -> Vec<u8> {
    der::sequence(&[
        tbs,
        der::sequence(&[der::oid(algorithm)]),
        der::bits(signature),
    ])
}

/// `keyIdentifier`: SHA-1 of the public key (RFC 5280 §4.2.1.2, method 1).
pub(super) fn key_id(key: &KeyPair) -> Vec<u8> {
    sha1::Sha1::digest(key.der_bytes()).to_vec()
}

/// DER `Name` of one organisation and one common name.
pub(super) fn name(organisation: &str, common_name: &str) -> Vec<u8> {
    let attribute = |arcs: &[u32], value: &str| {
        der::set_of(vec![der::sequence(&[der::oid(arcs), der::utf8(value)])])
    };
    der::sequence(&[
        attribute(&[2, 5, 4, 10], organisation),
        attribute(&[2, 5, 4, 3], common_name),
    ])
}

pub(super) fn extension(arcs: &[u32], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical {
        der::tlv(tag::BOOLEAN, &[0xff])
    } else {
        Vec::new()
    };
    der::sequence(&[der::oid(arcs), critical, der::octets(value)])
}

pub(super) fn basic_constraints(ca: bool, path_len: Option<u8>) -> Vec<u8> {
    let ca = if ca {
        der::tlv(tag::BOOLEAN, &[0xff])
    } else {
        Vec::new()
    };
    let path_len = path_len.map_or_else(Vec::new, |len| der::unsigned(&[len]));
    extension(&[2, 5, 29, 19], true, &der::sequence(&[ca, path_len]))
}

/// `KeyUsage` of a CA: keyCertSign and cRLSign (RFC 5280 §4.2.1.3).
pub(super) fn ca_key_usage() -> Vec<u8> {
    extension(&[2, 5, 29, 15], true, &[0x03, 0x02, 0x01, 0x06])
}

/// One bit of `KeyUsage` (RFC 5280 §4.2.1.3).
#[derive(Clone, Copy)]
pub(super) enum KeyUsage {
    DigitalSignature = 0,
    KeyEncipherment = 2,
    KeyAgreement = 4,
    KeyCertSign = 5,
}

pub(super) fn key_usage(usage: KeyUsage) -> Vec<u8> {
    extension(&[2, 5, 29, 15], true, &der::one_bit(usage as u8))
}

pub(super) fn extended_key_usage(purpose: &[u32]) -> Vec<u8> {
    extension(&[2, 5, 29, 37], false, &der::sequence(&[der::oid(purpose)]))
}

pub(super) fn authority_key_id(key_id: &[u8]) -> Vec<u8> {
    extension(
        &[2, 5, 29, 35],
        false,
        &der::sequence(&[der::tlv(tag::implicit(0), key_id)]),
    )
}

pub(super) fn subject_key_id(key_id: &[u8]) -> Vec<u8> {
    extension(&[2, 5, 29, 14], false, &der::octets(key_id))
}

/// DER `Name` of a certificate's subject (RFC 5280 §4.1).
pub(super) fn subject_of(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate, _) = der::first(certificate)?;
    let (_, mut rest, _) = der::first(certificate)?;
    // version, serialNumber, signature, issuer, validity.
    for _ in 0..5 {
        (_, _, rest) = der::first(rest)?;
    }
    der::first(rest).map(|(subject, _, _)| subject.to_vec())
}

/// subjectKeyIdentifier of a CA's certificate: its extension begins in one way
/// where it is not critical (§4.2.1.2) and has 20 octets.
pub(super) fn subject_key_id_of(certificate: &[u8]) -> Option<Vec<u8>> {
    const BEGINS: [u8; 9] = [0x06, 3, 0x55, 0x1d, 0x0e, 0x04, 22, 0x04, 20];
    let at = certificate
        .windows(BEGINS.len())
        .position(|w| w == BEGINS)?;
    certificate
        .get(at..)?
        .get(BEGINS.len()..BEGINS.len() + 20)
        .map(<[u8]>::to_vec)
}
