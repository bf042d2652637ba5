//! Certificates as they are written: names, extensions, the to-be-signed
//! part, and its signature by a [`CaSigner`] (RFC 5280 §4.1).
//!
//! Every signature of this room is ECDSA, P-256 with SHA-256 or P-384 with
//! SHA-384 ([`CaPublic`]).

use std::net::IpAddr;

use ring::rand::SecureRandom;

use super::{
    IdentityError,
    ca_public::CaPublic,
    der, oid,
    signer::{CaSigner, SignError},
};
use crate::time::UnixTime;

/// Octets of randomness in a serial number: 128 bits, above the 64 that the
/// CA/Browser Forum asks for and within the 8 to 20 octets of 802.1AR.
pub(super) const SERIAL_OCTETS: usize = 16;

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

/// extKeyUsage of several purposes, in this order.
pub(super) fn extended_key_usages(purposes: &[&[u32]]) -> Vec<u8> {
    let purposes: Vec<Vec<u8>> = purposes.iter().map(|purpose| der::oid(purpose)).collect();
    let purposes: Vec<&[u8]> = purposes.iter().map(Vec::as_slice).collect();
    extension(oid::EXTENDED_KEY_USAGE, false, &der::sequence(&purposes))
}

/// id-pe-mud-url, not critical (RFC 8520 §11); the caller holds the alphabet.
pub(super) fn mud_url(url: &str) -> Vec<u8> {
    extension(oid::MUD_URL, false, &der::ia5_string(url))
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

/// `DistributionPointName` of URIs: `[0] { fullName [0] { URI, … } }`.
pub(super) fn distribution_point_name<S: AsRef<str>>(urls: &[S]) -> Vec<u8> {
    let names: Vec<u8> = urls.iter().flat_map(|url| uri(url.as_ref())).collect();
    der::explicit(0, &der::implicit_sequence(0, &[&names]))
}

/// cRLDistributionPoints with one point (RFC 5280 §4.2.1.13).
pub(super) fn crl_distribution_point(url: &str) -> Vec<u8> {
    let point = der::sequence(&[&distribution_point_name(&[url])]);
    extension(
        oid::CRL_DISTRIBUTION_POINTS,
        false,
        &der::sequence(&[&point]),
    )
}

/// authorityInfoAccess: where OCSP and the CA's certificate are (§4.2.2.1).
pub(super) fn authority_info_access(ocsp: &str, issuer: &str) -> Vec<u8> {
    let description = |method, url| der::sequence(&[&der::oid(method), &uri(url)]);
    let value = der::sequence(&[
        &description(oid::AD_OCSP, ocsp),
        &description(oid::AD_CA_ISSUERS, issuer),
    ]);
    extension(oid::AUTHORITY_INFO_ACCESS, false, &value)
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
    /// DER `TBSCertificate`, version 3, to be signed with `by`.
    pub(super) fn to_be_signed(&self, by: &CaPublic) -> Result<Vec<u8>, IdentityError> {
        let time = |at: UnixTime| der::time(at).ok_or(IdentityError::TimeOutOfRange(at));
        let validity = der::sequence(&[&time(self.not_before)?, &time(self.not_after)?]);
        let extensions: Vec<&[u8]> = self.extensions.iter().map(Vec::as_slice).collect();
        Ok(der::sequence(&[
            &der::explicit(0, &der::unsigned(&[2])),
            &der::unsigned(self.serial),
            &by.signature_algorithm(),
            self.issuer,
            &validity,
            self.subject,
            self.spki,
            &der::explicit(3, &der::sequence(&extensions)),
        ]))
    }
}

/// `SIGNED{}` (RFC 5280 §4.1.1) from its parts; `signature` is a DER
/// `Ecdsa-Sig-Value` by `by`.
pub(super) fn assemble(to_be_signed: &[u8], by: &CaPublic, signature: &[u8]) -> Vec<u8> {
    der::sequence(&[
        to_be_signed,
        &by.signature_algorithm(),
        &der::bit_string(signature),
    ])
}

/// Signs and assembles.
pub(super) fn sign(to_be_signed: &[u8], signer: &dyn CaSigner) -> Result<Vec<u8>, SignError> {
    let signature = signer.sign(to_be_signed)?;
    Ok(assemble(to_be_signed, signer.public(), &signature))
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
