//! Sealing: what a sealed object opens for, as both sides compute it, and the
//! approvals that travel ([`Approvals`]).
//!
//! An object names the policy root alone: its `authPolicy` is
//! PolicyAuthorize(root). The root signs PolicyAuthorize(online key); the online
//! key signs PolicyPCR(a boot state). So both keys and states come and go by
//! signatures, and nothing is ever sealed anew.

mod approvals;
#[cfg(test)]
mod tests;

pub use approvals::{
    Approval, Approvals, ApprovalsError, Authority, MAX_APPROVALS, MAX_AUTHORITIES, Signatures,
    TEXT_PREFIX,
};

use sha2::{Digest as _, Sha256};

use crate::tpm::{
    AsymScheme, EccCurve, HashAlg, KeyedHashScheme, Name, ObjectAttributes, Parameters, Public,
    Symmetric, Unique, policy_authorize,
};

const TAG: &[u8] = b"holdfast-seal-v1";

/// The PCR that `unseal --latch` extends unless told otherwise. TCG leaves 8 to
/// 15 to the operating system; systemd measures a system's identity into 15
/// where that is switched on, and nobody else uses it. It is zero after a reset.
pub const DEFAULT_LATCH_PCR: u32 = 15;

/// What an approval is good for. No name is the end of another: so a class and
/// a purpose written one behind the other can be read in one way only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To unseal secrets.
    Secret,
    /// To sign with LDevID keys.
    LdevidKey,
}

impl Purpose {
    const fn name(self) -> &'static [u8] {
        match self {
            Self::Secret => b"secret",
            Self::LdevidKey => b"ldevid-key",
        }
    }
}

/// `policyRef` of every signature for objects of a class:
/// SHA-256("holdfast-seal-v1" ‖ class ‖ purpose). An approval for one class or
/// purpose opens nothing of another.
#[must_use]
pub fn policy_ref(class: &str, purpose: Purpose) -> [u8; 32] {
    Sha256::new()
        .chain_update(TAG)
        .chain_update(class)
        .chain_update(purpose.name())
        .finalize()
        .into()
}

/// `authPolicy` of objects of a class: what the root approves for it.
#[must_use]
pub fn object_policy(root: &Name, class: &str, purpose: Purpose) -> [u8; 32] {
    policy_authorize(root, &policy_ref(class, purpose))
}

/// What a policy key signs, by ECDSA with SHA-256 (`aHash` of Part 3 §23.16 is
/// the SHA-256 of it): approvedPolicy ‖ policyRef.
#[must_use]
pub fn signed_bytes(policy: &[u8; 32], reference: &[u8; 32]) -> [u8; 64] {
    let mut bytes = [0; 64];
    let (first, second) = bytes.split_at_mut(32);
    first.copy_from_slice(policy);
    second.copy_from_slice(reference);
    bytes
}

/// The public area of a policy key: ECC P-256, nameAlg SHA-256, attributes sign
/// and userWithAuth, no policy, ECDSA with SHA-256. Root and online keys alike;
/// another area of the same point has another Name.
#[must_use]
pub fn policy_key(x: &[u8; 32], y: &[u8; 32]) -> Public {
    Public {
        name_alg: HashAlg::Sha256,
        attributes: ObjectAttributes::SIGN | ObjectAttributes::USER_WITH_AUTH,
        auth_policy: Vec::new(),
        parameters: Parameters::Ecc {
            symmetric: Symmetric::Null,
            scheme: AsymScheme::Ecdsa(HashAlg::Sha256),
            curve: EccCurve::P256,
        },
        unique: Unique::Ecc {
            x: x.to_vec(),
            y: y.to_vec(),
        },
    }
}

/// The area of a sealed object: its data opens by `policy` and by nothing else.
#[must_use]
pub fn sealed_template(policy: &[u8; 32]) -> Public {
    Public {
        name_alg: HashAlg::Sha256,
        attributes: ObjectAttributes::FIXED_TPM
            | ObjectAttributes::FIXED_PARENT
            | ObjectAttributes::ADMIN_WITH_POLICY
            | ObjectAttributes::NO_DA,
        auth_policy: policy.to_vec(),
        parameters: Parameters::KeyedHash {
            scheme: KeyedHashScheme::Null,
        },
        unique: Unique::KeyedHash(Vec::new()),
    }
}

/// `pcrDigest` of PolicyPCR: SHA-256 over the values in ascending order.
#[must_use]
pub fn pcr_digest<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for value in values {
        hasher.update(value);
    }
    hasher.finalize().into()
}
