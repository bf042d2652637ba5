//! Object identifiers of our certificate profiles, by their source.

// X.520
pub(super) const COMMON_NAME: &[u32] = &[2, 5, 4, 3];
pub(super) const SERIAL_NUMBER: &[u32] = &[2, 5, 4, 5];
pub(super) const ORGANIZATION: &[u32] = &[2, 5, 4, 10];

// RFC 5280 §4.2
pub(super) const SUBJECT_KEY_IDENTIFIER: &[u32] = &[2, 5, 29, 14];
pub(super) const KEY_USAGE: &[u32] = &[2, 5, 29, 15];
pub(super) const SUBJECT_ALT_NAME: &[u32] = &[2, 5, 29, 17];
pub(super) const BASIC_CONSTRAINTS: &[u32] = &[2, 5, 29, 19];
pub(super) const CERTIFICATE_POLICIES: &[u32] = &[2, 5, 29, 32];
pub(super) const AUTHORITY_KEY_IDENTIFIER: &[u32] = &[2, 5, 29, 35];
pub(super) const EXTENDED_KEY_USAGE: &[u32] = &[2, 5, 29, 37];
pub(super) const SERVER_AUTH: &[u32] = &[1, 3, 6, 1, 5, 5, 7, 3, 1];
pub(super) const CLIENT_AUTH: &[u32] = &[1, 3, 6, 1, 5, 5, 7, 3, 2];

// RFC 5480, RFC 5758
pub(super) const EC_PUBLIC_KEY: &[u32] = &[1, 2, 840, 10045, 2, 1];
pub(super) const SECP256R1: &[u32] = &[1, 2, 840, 10045, 3, 1, 7];
pub(super) const ECDSA_WITH_SHA256: &[u32] = &[1, 2, 840, 10045, 4, 3, 2];

/// id-on-hardwareModuleName (RFC 4108 §5).
pub(super) const HARDWARE_MODULE_NAME: &[u32] = &[1, 3, 6, 1, 5, 5, 7, 8, 4];

/// hwType for a TPM 2.0 (TCG TPM 2.0 Keys for Device Identity §8).
pub(super) const TPM_2_0: &[u32] = &[2, 23, 133, 1, 2];
/// tcg-cap-verifiedTPMResidency: the key was shown to live in a TPM.
pub(super) const VERIFIED_TPM_RESIDENCY: &[u32] = &[2, 23, 133, 11, 1, 1];
/// tcg-cap-verifiedTPMFixed: and that it cannot leave it (fixedTPM).
pub(super) const VERIFIED_TPM_FIXED: &[u32] = &[2, 23, 133, 11, 1, 2];

/// Dotted-decimal form.
pub(super) fn dotted(arcs: &[u32]) -> String {
    arcs.iter()
        .map(u32::to_string)
        .collect::<Vec<_>>()
        .join(".")
}
