//! Object identifiers (content octets) that this room knows.

use super::error::WeakAlg;

/// tcg-kp-EKCertificate 2.23.133.8.1 (EK Credential Profile §3.2.16).
pub(super) const EK_CERTIFICATE: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];
/// tcg-kp-AIKCertificate 2.23.133.8.3.
pub(super) const AIK_CERTIFICATE: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x03];
/// tcg-cap-verifiedTPMRestricted 2.23.133.11.1.3.
pub(super) const VERIFIED_TPM_RESTRICTED: &[u8] = &[0x67, 0x81, 0x05, 0x0B, 0x01, 0x03];
/// id-kp-clientAuth 1.3.6.1.5.5.7.3.2.
pub(super) const CLIENT_AUTH: &[u8] = &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
/// tpmManufacturer 2.23.133.2.1.
pub(super) const TPM_MANUFACTURER: &[u8] = &[0x67, 0x81, 0x05, 0x02, 0x01];
/// tpmModel 2.23.133.2.2.
pub(super) const TPM_MODEL: &[u8] = &[0x67, 0x81, 0x05, 0x02, 0x02];
/// tpmVersion 2.23.133.2.3.
pub(super) const TPM_VERSION: &[u8] = &[0x67, 0x81, 0x05, 0x02, 0x03];

/// rsaEncryption 1.2.840.113549.1.1.1.
pub(super) const RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];
/// id-RSAES-OAEP 1.2.840.113549.1.1.7: what ST and Infineon write for EKs.
pub(super) const RSAES_OAEP: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x07];
/// id-ecPublicKey 1.2.840.10045.2.1.
pub(super) const EC_PUBLIC_KEY: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
/// secp256r1 1.2.840.10045.3.1.7.
pub(super) const P256: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
/// secp384r1 1.3.132.0.34.
pub(super) const P384: &[u8] = &[0x2B, 0x81, 0x04, 0x00, 0x22];
/// secp521r1 1.3.132.0.35.
pub(super) const P521: &[u8] = &[0x2B, 0x81, 0x04, 0x00, 0x23];

pub(super) const SUBJECT_KEY_ID: &[u8] = &[0x55, 0x1D, 0x0E];
pub(super) const KEY_USAGE: &[u8] = &[0x55, 0x1D, 0x0F];
pub(super) const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1D, 0x11];
pub(super) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1D, 0x13];
pub(super) const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1D, 0x1E];
pub(super) const CERTIFICATE_POLICIES: &[u8] = &[0x55, 0x1D, 0x20];
const CRL_DISTRIBUTION_POINTS: &[u8] = &[0x55, 0x1D, 0x1F];
pub(super) const AUTHORITY_KEY_ID: &[u8] = &[0x55, 0x1D, 0x23];
pub(super) const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1D, 0x25];

/// authorityInfoAccess 1.3.6.1.5.5.7.1.1.
pub(super) const AUTHORITY_INFO_ACCESS: &[u8] = &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x01];
/// id-ad-caIssuers 1.3.6.1.5.5.7.48.2.
pub(super) const CA_ISSUERS: &[u8] = &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x02];
/// id-signedData 1.2.840.113549.1.7.2.
pub(super) const SIGNED_DATA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x07, 0x02];

/// Extensions that webpki or this room processes, so that they may be critical
/// (RFC 5280 §4.2). In any certificate of the path.
pub(super) const PROCESSED: [&[u8]; 7] = [
    CERTIFICATE_POLICIES,
    KEY_USAGE,
    SUBJECT_ALT_NAME,
    BASIC_CONSTRAINTS,
    NAME_CONSTRAINTS,
    CRL_DISTRIBUTION_POINTS,
    EXTENDED_KEY_USAGE,
];

/// Signature algorithms with a broken hash (SP 800-131A).
pub(super) fn weak_signature(algorithm: &[u8]) -> Option<WeakAlg> {
    const PKCS1: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01];
    const ECDSA_SHA1: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x01];
    match algorithm.strip_prefix(PKCS1) {
        Some([2]) => Some(WeakAlg::Md2),
        Some([4]) => Some(WeakAlg::Md5),
        Some([5]) => Some(WeakAlg::Sha1),
        _ if algorithm == ECDSA_SHA1 => Some(WeakAlg::Sha1),
        _ => None,
    }
}
