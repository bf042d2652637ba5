//! Certificates as they are written: names, extensions, the to-be-signed
//! part, and its signature by a [`CaSigner`] (RFC 5280 §4.1).
//!
//! Every signature of this room is ECDSA P-256 with SHA-256.

use std::net::IpAddr;

use ring::rand::SecureRandom;

use super::{
    IdentityError, der, oid,
    signer::{CaSigner, SignError},
};
use crate::time::UnixTime;

/// Octets of randomness in a serial number: 128 bits, above the 64 that the
/// CA/Browser Forum asks for and within the 8 to 20 octets of 802.1AR.
pub(super) const SERIAL_OCTETS: usize = 16;

/// `AlgorithmIdentifier` of ecdsa-with-SHA256: no parameters (RFC 5758 §3.2).
pub(super) fn signature_algorithm() -> Vec<u8> {
    der::sequence(&[&der::oid(oid::ECDSA_WITH_SHA256)])
}

/// A random, positive serial number, big-endian. Its first octet is not zero, so
/// that its hex is that of the certificate, where INTEGER drops leading zeros.
pub(super) fn random_serial(rng: &dyn SecureRandom) -> Result<[u8; SERIAL_OCTETS], IdentityError> {
    let mut serial = [0; SERIAL_OCTETS];
    rng.fill(&mut serial)
        .map_err(|ring::error::Unspecified| IdentityError::NoRandomness)?;
    if let [first @ 0, ..] = &mut serial {
        *first = 1;
    }
    Ok(serial)
}

/// `Name` with one attribute for each RDN, in this order.
pub(super) fn name(attributes: &[(&[u32], Vec<u8>)]) -> Vec<u8> {
    let rdns: Vec<Vec<u8>> = attributes
        .iter()
        .map(|(kind, value)| der::set_of_one(&der::sequence(&[&der::oid(kind), value])))
        .collect();
    let rdns: Vec<&[u8]> = rdns.iter().map(Vec::as_slice).collect();
    der::sequence(&rdns)
}

/// Key identifier: leftmost 160 bits of SHA-256 over the subjectPublicKey
/// (RFC 7093 §2 method 1). `point` is the uncompressed EC point.
pub(super) fn key_identifier(point: &[u8]) -> [u8; 20] {
    let digest = ring::digest::digest(&ring::digest::SHA256, point);
    let mut id = [0; 20];
    for (to, from) in id.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    id
}

/// DER SubjectPublicKeyInfo of a P-256 key (RFC 5480 §2). `point` is the
/// uncompressed point.
pub(super) fn p256_spki(point: &[u8]) -> Vec<u8> {
    der::sequence(&[&p256_spki_content(point)])
}

/// The content of [`p256_spki`], as webpki's trust anchors hold it.
pub(super) fn p256_spki_content(point: &[u8]) -> Vec<u8> {
    let algorithm = der::sequence(&[&der::oid(oid::EC_PUBLIC_KEY), &der::oid(oid::SECP256R1)]);
    [algorithm, der::bit_string(point)].concat()
}

/// One `Extension`.
pub(super) fn extension(id: &[u32], critical: bool, value: &[u8]) -> Vec<u8> {
    let id = der::oid(id);
    let value = der::octet_string(value);
    if critical {
        der::sequence(&[&id, &der::boolean_true(), &value])
    } else {
        der::sequence(&[&id, &value])
    }
}

/// keyUsage bits that we use (RFC 5280 §4.2.1.3), in the first octet.
pub(super) const DIGITAL_SIGNATURE: u8 = 0x80;
pub(super) const CERT_AND_CRL_SIGN: u8 = 0x04 | 0x02;

/// keyUsage, critical.
pub(super) fn key_usage(bits: u8) -> Vec<u8> {
    extension(oid::KEY_USAGE, true, &der::named_bits(bits))
}

/// extKeyUsage with one purpose. Not critical: relying parties that do not
/// read it still hold to keyUsage.
pub(super) fn extended_key_usage(purpose: &[u32]) -> Vec<u8> {
    extension(
        oid::EXTENDED_KEY_USAGE,
        false,
        &der::sequence(&[&der::oid(purpose)]),
    )
}

/// basicConstraints of a CA, critical.
pub(super) fn ca_constraints(path_len: u8) -> Vec<u8> {
    let value = der::sequence(&[&der::boolean_true(), &der::unsigned(&[path_len])]);
    extension(oid::BASIC_CONSTRAINTS, true, &value)
}

/// authorityKeyIdentifier, keyIdentifier only.
pub(super) fn authority_key_identifier(id: &[u8]) -> Vec<u8> {
    extension(
        oid::AUTHORITY_KEY_IDENTIFIER,
        false,
        &der::sequence(&[&der::implicit(0, id)]),
    )
}

/// subjectKeyIdentifier.
pub(super) fn subject_key_identifier(id: &[u8]) -> Vec<u8> {
    extension(oid::SUBJECT_KEY_IDENTIFIER, false, &der::octet_string(id))
}

/// subjectAltName. Not critical: every subject here is non-empty
/// (RFC 5280 §4.2.1.6 wants it critical only beside an empty one).
pub(super) fn subject_alt_name(names: &[Vec<u8>]) -> Vec<u8> {
    let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    extension(oid::SUBJECT_ALT_NAME, false, &der::sequence(&names))
}

/// `GeneralName` of a DNS name, whose alphabet the caller holds.
pub(super) fn dns_name(name: &str) -> Vec<u8> {
    der::implicit(2, name.as_bytes())
}

/// `GeneralName` of a URI, whose alphabet the caller holds.
pub(super) fn uri(text: &str) -> Vec<u8> {
    der::implicit(6, text.as_bytes())
}

/// `GeneralName` of an IP address.
pub(super) fn ip_address(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => der::implicit(7, &v4.octets()),
        IpAddr::V6(v6) => der::implicit(7, &v6.octets()),
    }
}

/// `GeneralName` of a HardwareModuleName (RFC 4108 §5) for a TPM 2.0.
pub(super) fn hardware_module_name(serial: &[u8]) -> Vec<u8> {
    let value = der::sequence(&[&der::oid(oid::TPM_2_0), &der::octet_string(serial)]);
    der::implicit_sequence(
        0,
        &[
            &der::oid(oid::HARDWARE_MODULE_NAME),
            &der::explicit(0, &value),
        ],
    )
}

/// certificatePolicies without qualifiers.
pub(super) fn certificate_policies(policies: &[&[u32]]) -> Vec<u8> {
    let infos: Vec<Vec<u8>> = policies
        .iter()
        .map(|policy| der::sequence(&[&der::oid(policy)]))
        .collect();
    let infos: Vec<&[u8]> = infos.iter().map(Vec::as_slice).collect();
    extension(oid::CERTIFICATE_POLICIES, false, &der::sequence(&infos))
}

/// What a `TBSCertificate` is made of. `issuer`, `subject` and `spki` are DER
/// and are copied as they are.
pub(super) struct Template<'a> {
    pub(super) serial: &'a [u8],
    pub(super) issuer: &'a [u8],
    pub(super) not_before: UnixTime,
    pub(super) not_after: UnixTime,
    pub(super) subject: &'a [u8],
    pub(super) spki: &'a [u8],
    pub(super) extensions: &'a [Vec<u8>],
}

impl Template<'_> {
    /// DER `TBSCertificate`, version 3.
    pub(super) fn to_be_signed(&self) -> Result<Vec<u8>, IdentityError> {
        let time = |at: UnixTime| der::time(at).ok_or(IdentityError::TimeOutOfRange(at));
        let validity = der::sequence(&[&time(self.not_before)?, &time(self.not_after)?]);
        let extensions: Vec<&[u8]> = self.extensions.iter().map(Vec::as_slice).collect();
        Ok(der::sequence(&[
            &der::explicit(0, &der::unsigned(&[2])),
            &der::unsigned(self.serial),
            &signature_algorithm(),
            self.issuer,
            &validity,
            self.subject,
            self.spki,
            &der::explicit(3, &der::sequence(&extensions)),
        ]))
    }
}

/// DER `Certificate` from its two parts; `signature` is a DER
/// `Ecdsa-Sig-Value`.
pub(super) fn assemble(to_be_signed: &[u8], signature: &[u8]) -> Vec<u8> {
    der::sequence(&[
        to_be_signed,
        &signature_algorithm(),
        &der::bit_string(signature),
    ])
}

/// Signs and assembles.
pub(super) fn sign(to_be_signed: &[u8], signer: &dyn CaSigner) -> Result<Vec<u8>, SignError> {
    Ok(assemble(to_be_signed, &signer.sign(to_be_signed)?))
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_serial_begins_with_a_zero_octet() {
        let rng = ring::rand::SystemRandom::new();
        for _ in 0..4096 {
            assert_ne!(super::random_serial(&rng).unwrap()[0], 0);
        }
    }
}
