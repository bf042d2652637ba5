//! Object identifiers of our certificate profiles, by their source.

// X.520
pub(super) const COMMON_NAME: &[u32] = &[2, 5, 4, 3];
pub(super) const SERIAL_NUMBER: &[u32] = &[2, 5, 4, 5];
pub(super) const ORGANIZATION: &[u32] = &[2, 5, 4, 10];

// RFC 5280 §4.2
pub(super) const SUBJECT_KEY_IDENTIFIER: &[u32] = &[2, 5, 29, 14];
pub(super) const KEY_USAGE: &[u32] = &[2, 5, 29, 15];
pub(super) const SUBJECT_ALT_NAME: &[u32] = &[2, 5, 29, 17];
pub(super) const CRL_NUMBER: &[u32] = &[2, 5, 29, 20];
pub(super) const CRL_REASON: &[u32] = &[2, 5, 29, 21];
pub(super) const ISSUING_DISTRIBUTION_POINT: &[u32] = &[2, 5, 29, 28];
pub(super) const CRL_DISTRIBUTION_POINTS: &[u32] = &[2, 5, 29, 31];
pub(super) const AUTHORITY_INFO_ACCESS: &[u32] = &[1, 3, 6, 1, 5, 5, 7, 1, 1];
pub(super) const AD_OCSP: &[u32] = &[1, 3, 6, 1, 5, 5, 7, 48, 1];
pub(super) const AD_CA_ISSUERS: &[u32] = &[1, 3, 6, 1, 5, 5, 7, 48, 2];
pub(super) const BASIC_CONSTRAINTS: &[u32] = &[2, 5, 29, 19];
pub(super) const CERTIFICATE_POLICIES: &[u32] = &[2, 5, 29, 32];
pub(super) const AUTHORITY_KEY_IDENTIFIER: &[u32] = &[2, 5, 29, 35];
pub(super) const EXTENDED_KEY_USAGE: &[u32] = &[2, 5, 29, 37];
pub(super) const SERVER_AUTH: &[u32] = &[1, 3, 6, 1, 5, 5, 7, 3, 1];
pub(super) const CLIENT_AUTH: &[u32] = &[1, 3, 6, 1, 5, 5, 7, 3, 2];

/// id-kp-ipsecIKE (RFC 4945 §5.1.3.12).
pub(super) const IPSEC_IKE: &[u32] = &[1, 3, 6, 1, 5, 5, 7, 3, 17];
/// id-pe-mud-url (RFC 8520 §11).
pub(super) const MUD_URL: &[u32] = &[1, 3, 6, 1, 5, 5, 7, 1, 25];

// RFC 6960
pub(super) const OCSP_SIGNING: &[u32] = &[1, 3, 6, 1, 5, 5, 7, 3, 9];
pub(super) const OCSP_BASIC: &[u32] = &[1, 3, 6, 1, 5, 5, 7, 48, 1, 1];
pub(super) const OCSP_NONCE: &[u32] = &[1, 3, 6, 1, 5, 5, 7, 48, 1, 2];
pub(super) const OCSP_NO_CHECK: &[u32] = &[1, 3, 6, 1, 5, 5, 7, 48, 1, 5];

// RFC 5480, RFC 5758
pub(super) const EC_PUBLIC_KEY: &[u32] = &[1, 2, 840, 10045, 2, 1];
pub(super) const SECP256R1: &[u32] = &[1, 2, 840, 10045, 3, 1, 7];
pub(super) const SECP384R1: &[u32] = &[1, 3, 132, 0, 34];
pub(super) const ECDSA_WITH_SHA256: &[u32] = &[1, 2, 840, 10045, 4, 3, 2];
pub(super) const ECDSA_WITH_SHA384: &[u32] = &[1, 2, 840, 10045, 4, 3, 3];

/// id-on-hardwareModuleName (RFC 4108 §5).
pub(super) const HARDWARE_MODULE_NAME: &[u32] = &[1, 3, 6, 1, 5, 5, 7, 8, 4];

/// hwType for a TPM 2.0 (TCG TPM 2.0 Keys for Device Identity §8).
pub(super) const TPM_2_0: &[u32] = &[2, 23, 133, 1, 2];
/// tcg-cap-verifiedTPMResidency: the key was shown to live in a TPM.
pub(super) const VERIFIED_TPM_RESIDENCY: &[u32] = &[2, 23, 133, 11, 1, 1];
/// tcg-cap-verifiedTPMFixed: and that it cannot leave it (fixedTPM).
pub(super) const VERIFIED_TPM_FIXED: &[u32] = &[2, 23, 133, 11, 1, 2];

/// tcg-cap-verifiedTPMRestricted: and that it signs only what the TPM made.
pub(super) const VERIFIED_TPM_RESTRICTED: &[u32] = &[2, 23, 133, 11, 1, 3];
/// tcg-kp-AIKCertificate.
pub(super) const AIK_CERTIFICATE: &[u32] = &[2, 23, 133, 8, 3];

/// Dotted-decimal form.
pub(super) fn dotted(arcs: &[u32]) -> String {
    arcs.iter()
        .map(u32::to_string)
        .collect::<Vec<_>>()
        .join(".")
}
