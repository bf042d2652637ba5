//! Sealing, the owner's side: which boot states sealed secrets of a class come
//! out in. The policy root delegates to an online policy key, once for each
//! class; the online key approves boot states. Gateways' TPMs check both.
//!
//! Pure: keys, classes and PCR values in, signatures out.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use holdfast_proto::{
    sealing::{
        Approval, Approvals, Authority, MAX_APPROVALS, MAX_AUTHORITIES, Purpose, Signatures,
        policy_key, policy_ref, signed_bytes,
    },
    tpm::{PcrSelection, Public, policy_authorize, policy_pcr},
};
use ring::{
    rand::SecureRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use zeroize::{Zeroize as _, Zeroizing};

use crate::identity::{CaSigner, SignError};

/// Why something is not approved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealingError {
    /// Not the PEM of a P-256 private key.
    #[error("not a P-256 key in PKCS#8 PEM")]
    BadKey,
    /// The system gave no random bytes.
    #[error("no randomness to sign with")]
    NoRandomness,
    /// The custody of the key does not sign.
    #[error("policy key: {0}")]
    Sign(#[from] SignError),
    /// What it signed is not its own.
    #[error("the policy key's signature does not verify under its own public half")]
    BadSignature,
    /// The root did not delegate to this online key for the class.
    #[error(
        "the policy root has not delegated class {class} to this policy key: \
         holdfast-verifier seal delegate --class {class}"
    )]
    NotDelegated {
        /// The class.
        class: String,
    },
    /// The class has approvals under another root.
    #[error("class {class} has approvals under another policy root: move its file away first")]
    OtherRoot {
        /// The class.
        class: String,
    },
}

/// A policy key with its private half: the root, or an online key.
pub struct PolicyKey {
    key: Private,
    public: Public,
}

/// Where its private half is.
enum Private {
    /// At hand: the root, from its file.
    Pair(Box<EcdsaKeyPair>),
    /// In the verifier's custody: a file, a PKCS#11 token, a TPM.
    Custody(Arc<dyn CaSigner>),
}

impl PolicyKey {
    /// From the text of a key file: its first `PRIVATE KEY` block.
    ///
    /// # Errors
    /// [`SealingError::BadKey`] for anything but a P-256 key in PKCS#8.
    pub fn from_pkcs8_pem(text: &str, rng: &dyn SecureRandom) -> Result<Self, SealingError> {
        let mut key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes())
            .map_err(|_| SealingError::BadKey)?;
        let der = Zeroizing::new(key.secret_pkcs8_der().to_vec());
        key.zeroize();
        Self::from_pkcs8(&der, rng)
    }

    /// From PKCS#8 DER (RFC 5958).
    ///
    /// # Errors
    /// As [`PolicyKey::from_pkcs8_pem`].
    pub fn from_pkcs8(der: &[u8], rng: &dyn SecureRandom) -> Result<Self, SealingError> {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, rng)
            .map_err(|_| SealingError::BadKey)?;
        let point = key.public_key().as_ref();
        // SEC 1 §2.3.3, uncompressed: 0x04, x, y.
        let Some((x, y)) = point
            .get(1..)
            .and_then(|point| point.split_first_chunk::<32>())
        else {
            return Err(SealingError::BadKey);
        };
        let y = y.try_into().map_err(|_| SealingError::BadKey)?;
        let public = policy_key(x, y);
        Ok(Self {
            key: Private::Pair(Box::new(key)),
            public,
        })
    }

    /// A key in custody.
    ///
    /// # Errors
    /// [`SealingError::BadKey`] where it is not on P-256, which is what TPMs are
    /// shown.
    pub fn in_custody(signer: Arc<dyn CaSigner>) -> Result<Self, SealingError> {
        let point = signer.public().point();
        let (x, y) = point
            .get(1..)
            .and_then(|point| point.split_first_chunk::<32>())
            .ok_or(SealingError::BadKey)?;
        let y = y.try_into().map_err(|_| SealingError::BadKey)?;
        let public = policy_key(x, y);
        Ok(Self {
            key: Private::Custody(signer),
            public,
        })
    }

    /// The public area, as TPMs load it.
    #[must_use]
    pub fn public(&self) -> &Public {
        &self.public
    }

    /// The policy root's word that `online` may approve states for `class`.
    ///
    /// # Errors
    /// [`SealingError::NoRandomness`].
    pub fn delegate(
        &self,
        online: &Public,
        class: &str,
        rng: &dyn SecureRandom,
    ) -> Result<Authority, SealingError> {
        let name = online.name();
        Ok(Authority {
            key: online.clone(),
            delegations: self.sign(class, |r| policy_authorize(&name, r), rng)?,
            approvals: Vec::new(),
        })
    }

    /// This online key's word that secrets of `class` come out where these PCRs
    /// have values with this digest.
    ///
    /// # Errors
    /// [`SealingError::NoRandomness`].
    pub fn approve(
        &self,
        class: &str,
        selection: PcrSelection,
        pcr_digest: [u8; 32],
        rng: &dyn SecureRandom,
    ) -> Result<Approval, SealingError> {
        let policy = policy_pcr(&selection, &pcr_digest);
        Ok(Approval {
            selection,
            pcr_digest,
            signatures: self.sign(class, |_| policy, rng)?,
        })
    }

    fn sign(
        &self,
        class: &str,
        policy: impl Fn(&[u8; 32]) -> [u8; 32],
        rng: &dyn SecureRandom,
    ) -> Result<Signatures, SealingError> {
        let one = |purpose| {
            let reference = policy_ref(class, purpose);
            let message = signed_bytes(&policy(&reference), &reference);
            let signature = match &self.key {
                Private::Pair(key) => key
                    .sign(rng, &message)
                    .map_err(|_| SealingError::NoRandomness)?
                    .as_ref()
                    .to_vec(),
                Private::Custody(signer) => in_fixed_form(signer.as_ref(), &message)?,
            };
            <[u8; 64]>::try_from(signature).map_err(|_| SealingError::BadSignature)
        };
        Ok(Signatures {
            secret: one(Purpose::Secret)?,
            ldevid: one(Purpose::LdevidKey)?,
        })
    }
}

/// `r ‖ s`, as TPMs are shown it, verified: a signature that no TPM would take
/// does not go out.
fn in_fixed_form(signer: &dyn CaSigner, message: &[u8]) -> Result<Vec<u8>, SealingError> {
    let der = signer.sign(message)?;
    let public = signer.public();
    public
        .verify(message, &der)
        .map_err(|_| SealingError::BadSignature)?;
    public
        .curve()
        .signature_raw(&der)
        .ok_or(SealingError::BadSignature)
}

impl std::fmt::Debug for PolicyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PolicyKey({})", self.public.name())
    }
}

/// `approvals` (or a class without any) with a new online key before the
/// others. What those approved stays approved: it cannot be withdrawn.
///
/// # Errors
/// [`SealingError::OtherRoot`] where the class is under another root.
pub fn delegated(
    approvals: Option<Approvals>,
    root: &Public,
    class: &str,
    authority: Authority,
) -> Result<Approvals, SealingError> {
    let mut approvals = approvals.unwrap_or_else(|| Approvals {
        class: class.to_owned(),
        root: root.clone(),
        authorities: Vec::new(),
    });
    if approvals.root != *root {
        return Err(SealingError::OtherRoot {
            class: class.to_owned(),
        });
    }
    let known = |other: &Authority| other.key == authority.key;
    if !approvals.authorities.iter().any(known) {
        approvals.authorities.insert(0, authority);
        approvals.authorities.truncate(MAX_AUTHORITIES);
    }
    Ok(approvals)
}

/// `approvals` with one more boot state, before the others of its key.
///
/// # Errors
/// [`SealingError::NotDelegated`] where the root has not delegated to `online`.
pub fn approved(
    mut approvals: Approvals,
    online: &Public,
    approval: Approval,
) -> Result<Approvals, SealingError> {
    let class = approvals.class.clone();
    let authority = approvals
        .authorities
        .iter_mut()
        .find(|authority| authority.key == *online)
        .ok_or(SealingError::NotDelegated { class })?;
    let policy = approval.policy();
    authority.approvals.retain(|other| other.policy() != policy);
    authority.approvals.insert(0, approval);
    authority.approvals.truncate(MAX_APPROVALS);
    Ok(approvals)
}
