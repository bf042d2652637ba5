//! The approvals of a class, read strictly. They are public, and nobody is
//! believed for having sent them: whoever uses them checks every signature.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message as _;
use thiserror::Error;

use super::{Purpose, policy_key, policy_ref, signed_bytes};
use crate::grpc::v1;
use crate::tpm::{
    HashAlg, Name, ParseError, PcrSelection, PcrSet, Public, Unique, policy_authorize, policy_pcr,
};

/// What every file of this form begins with.
pub const TEXT_PREFIX: &str = "holdfast-seal-approvals-1.";

/// Online keys of a class: one in use, and those before it.
pub const MAX_AUTHORITIES: usize = 4;
/// Boot states of one online key: the newest ones.
pub const MAX_APPROVALS: usize = 16;
/// Longest message: the most of everything takes 14 KiB.
const MAX_BYTES: usize = 16 * 1024;
/// A class names a set of reference values.
const MAX_CLASS: usize = 64;

/// One signature for each purpose: ECDSA P-256, r then s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signatures {
    /// For secrets.
    pub secret: [u8; 64],
    /// For LDevID keys.
    pub ldevid: [u8; 64],
}

impl Signatures {
    /// The one for `purpose`.
    #[must_use]
    pub const fn of(&self, purpose: Purpose) -> &[u8; 64] {
        match purpose {
            Purpose::Secret => &self.secret,
            Purpose::LdevidKey => &self.ldevid,
        }
    }
}

/// One boot state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Its PCRs.
    pub selection: PcrSelection,
    /// SHA-256 over their values.
    pub pcr_digest: [u8; 32],
    /// By the online key.
    pub signatures: Signatures,
}

impl Approval {
    /// The approved policy.
    #[must_use]
    pub fn policy(&self) -> [u8; 32] {
        policy_pcr(&self.selection, &self.pcr_digest)
    }
}

/// One online policy key, with what it approved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The key: a [`policy_key`].
    pub key: Public,
    /// By the policy root.
    pub delegations: Signatures,
    /// Newest first.
    pub approvals: Vec<Approval>,
}

/// What sealed objects of a class open for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approvals {
    /// The class.
    pub class: String,
    /// The policy root: a [`policy_key`].
    pub root: Public,
    /// Newest first.
    pub authorities: Vec<Authority>,
}

/// Bytes or text that are no approvals.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApprovalsError {
    /// Longer than the most of everything.
    #[error("{0} bytes of approvals are too long")]
    TooLong(usize),
    /// Another beginning than [`TEXT_PREFIX`].
    #[error("not approvals: they must begin with {TEXT_PREFIX}")]
    Prefix,
    /// Not base64url without padding, or not the message in it.
    #[error("approvals are damaged")]
    Damaged,
    /// A field outside its range.
    #[error("approvals: field `{0}` is out of range")]
    OutOfRange(&'static str),
    /// A public area or PCR selection.
    #[error("approvals: {0}")]
    Tpm(#[from] ParseError),
    /// A signature that its key did not make.
    #[error("approvals: the signature on the {0} is not by its key")]
    Signature(&'static str),
}

impl Approvals {
    /// From the message.
    ///
    /// # Errors
    /// [`ApprovalsError`] names the field.
    pub fn from_message(message: v1::SealApprovals) -> Result<Self, ApprovalsError> {
        let out = ApprovalsError::OutOfRange;
        let len = message.encoded_len();
        if len > MAX_BYTES {
            return Err(ApprovalsError::TooLong(len));
        }
        if !(1..=MAX_CLASS).contains(&message.class.len()) {
            return Err(out("class"));
        }
        if message.authorities.len() > MAX_AUTHORITIES {
            return Err(out("authorities"));
        }
        Ok(Self {
            class: message.class,
            root: key(&message.root_public)?,
            authorities: message
                .authorities
                .into_iter()
                .map(authority)
                .collect::<Result<_, _>>()?,
        })
    }

    /// The message.
    #[must_use]
    pub fn to_message(&self) -> v1::SealApprovals {
        v1::SealApprovals {
            class: self.class.clone(),
            root_public: self.root.encode(),
            authorities: self.authorities.iter().map(Authority::message).collect(),
        }
    }

    /// From a file: one line of text.
    ///
    /// # Errors
    /// [`ApprovalsError`] says what is wrong with it.
    pub fn from_text(text: &str) -> Result<Self, ApprovalsError> {
        if text.len() > 2 * MAX_BYTES {
            return Err(ApprovalsError::TooLong(text.len()));
        }
        let encoded = text
            .trim_ascii_end()
            .strip_prefix(TEXT_PREFIX)
            .ok_or(ApprovalsError::Prefix)?;
        let bytes = URL_SAFE_NO_PAD
            .decode(encoded)
            .map_err(|_| ApprovalsError::Damaged)?;
        let message =
            v1::SealApprovals::decode(bytes.as_slice()).map_err(|_| ApprovalsError::Damaged)?;
        Self::from_message(message)
    }

    /// One line of text, with its end.
    #[must_use]
    pub fn to_text(&self) -> String {
        let bytes = self.to_message().encode_to_vec();
        format!("{TEXT_PREFIX}{}\n", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Checks every signature with `verify` (key, message, signature r ‖ s).
    ///
    /// # Errors
    /// [`ApprovalsError::Signature`] names the first that does not hold.
    pub fn verify(
        &self,
        verify: impl Fn(&Public, &[u8], &[u8; 64]) -> bool,
    ) -> Result<(), ApprovalsError> {
        for purpose in [Purpose::Secret, Purpose::LdevidKey] {
            let reference = policy_ref(&self.class, purpose);
            for authority in &self.authorities {
                let policy = policy_authorize(&authority.key.name(), &reference);
                let signature = authority.delegations.of(purpose);
                if !verify(&self.root, &signed_bytes(&policy, &reference), signature) {
                    return Err(ApprovalsError::Signature("delegation"));
                }
                for approval in &authority.approvals {
                    let signed = signed_bytes(&approval.policy(), &reference);
                    if !verify(&authority.key, &signed, approval.signatures.of(purpose)) {
                        return Err(ApprovalsError::Signature("approval"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Name of the root.
    #[must_use]
    pub fn root_name(&self) -> Name {
        self.root.name()
    }
}

impl Authority {
    fn message(&self) -> v1::SealAuthority {
        v1::SealAuthority {
            key_public: self.key.encode(),
            secret_delegation: self.delegations.secret.to_vec(),
            ldevid_delegation: self.delegations.ldevid.to_vec(),
            approvals: self.approvals.iter().map(Approval::message).collect(),
        }
    }
}

impl Approval {
    fn message(&self) -> v1::SealApproval {
        v1::SealApproval {
            pcr_selection: Some(v1::PcrSelection {
                hash_alg: self.selection.hash.id().into(),
                pcr_indices: self.selection.pcrs.iter().collect(),
            }),
            pcr_digest: self.pcr_digest.to_vec(),
            secret_signature: self.signatures.secret.to_vec(),
            ldevid_signature: self.signatures.ldevid.to_vec(),
        }
    }
}

fn authority(message: v1::SealAuthority) -> Result<Authority, ApprovalsError> {
    if message.approvals.len() > MAX_APPROVALS {
        return Err(ApprovalsError::OutOfRange("approvals"));
    }
    Ok(Authority {
        key: key(&message.key_public)?,
        delegations: Signatures {
            secret: signature("secret_delegation", &message.secret_delegation)?,
            ldevid: signature("ldevid_delegation", &message.ldevid_delegation)?,
        },
        approvals: message
            .approvals
            .into_iter()
            .map(approval)
            .collect::<Result<_, _>>()?,
    })
}

fn approval(message: v1::SealApproval) -> Result<Approval, ApprovalsError> {
    let out = ApprovalsError::OutOfRange;
    let selection = message.pcr_selection.ok_or(out("pcr_selection"))?;
    let bank = u16::try_from(selection.hash_alg).map_err(|_| out("hash_alg"))?;
    let selection = PcrSelection {
        hash: HashAlg::from_id(bank)?,
        pcrs: PcrSet::from_indices(selection.pcr_indices)?,
    };
    // A policy over no PCR holds for every boot.
    if selection.pcrs.is_empty() {
        return Err(out("pcr_indices"));
    }
    Ok(Approval {
        selection,
        pcr_digest: message
            .pcr_digest
            .try_into()
            .map_err(|_| out("pcr_digest"))?,
        signatures: Signatures {
            secret: signature("secret_signature", &message.secret_signature)?,
            ldevid: signature("ldevid_signature", &message.ldevid_signature)?,
        },
    })
}

fn signature(field: &'static str, bytes: &[u8]) -> Result<[u8; 64], ApprovalsError> {
    bytes
        .try_into()
        .map_err(|_| ApprovalsError::OutOfRange(field))
}

/// A public area that is a [`policy_key`], and no other.
fn key(bytes: &[u8]) -> Result<Public, ApprovalsError> {
    let public = Public::parse(bytes)?;
    if let Unique::Ecc { x, y } = &public.unique
        && let (Ok(x), Ok(y)) = (x.as_slice().try_into(), y.as_slice().try_into())
        && public == policy_key(x, y)
    {
        return Ok(public);
    }
    Err(ApprovalsError::OutOfRange("public"))
}
