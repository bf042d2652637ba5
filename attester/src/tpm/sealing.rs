//! Sealing to this TPM: what goes in and comes out is encrypted on the bus, in
//! a session that is salted to the EK that enrolled (CVE class C27: whoever
//! forges the storage root on the bus reads nothing).

use holdfast_proto::binding::{Ueid, gateway_id};
use holdfast_proto::sealing::{sealed_template, signed_bytes};
use holdfast_proto::tpm::{
    HashAlg, Hierarchy, PcrSelection, Public, Signature, policy_authorize, policy_pcr,
};
use tss_esapi::handles::{KeyHandle, ObjectHandle, PcrHandle};
use tss_esapi::interface_types::resource_handles;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{
    self, Digest, DigestValues, Name, Nonce, SensitiveData, VerifiedTicket,
};
use tss_esapi::traits::UnMarshall;
use tss_esapi::tss2_esys::TPMT_TK_VERIFIED;
use zeroize::Zeroizing;

use super::convert::{from_tss_public, to_tss_hash, to_tss_public, to_tss_selection};
use super::engine::{Encrypt, Engine};
use super::error::rc;
use super::{KeyBlob, Tpm, TpmError};

/// Said into the latched PCR: SHA-256 of it in every bank's length.
const LATCH: &[u8] = b"holdfast-latch-v1";

/// The EK that sessions for secrets are salted to, and that what the Verifier
/// wraps is under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedEk {
    /// What makes it again.
    pub template: Public,
    /// The UEID that this very key makes; on the EK road the gateway's id.
    pub ueid: Ueid,
}

/// What has to be shown for a sealed object to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unlock {
    /// The PCRs of the object's own policy.
    Pcrs(PcrSelection),
    /// A boot state that an online key approved, which the root approved.
    Approved(Box<ApprovedState>),
}

/// One approved boot state, with the road from it to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovedState {
    /// Its PCRs.
    pub selection: PcrSelection,
    /// SHA-256 over their values.
    pub pcr_digest: [u8; 32],
    /// `policyRef` of both signatures.
    pub policy_ref: [u8; 32],
    /// The online policy key.
    pub key: Public,
    /// Its signature on the state, r ‖ s.
    pub approval: [u8; 64],
    /// The policy root.
    pub root: Public,
    /// Its signature on the online key, r ‖ s.
    pub delegation: [u8; 64],
}

impl Tpm {
    /// Seals `secret` (at most 128 bytes) under the storage root, to `policy`.
    ///
    /// # Errors
    /// [`TpmError::OtherEndorsementKey`] where the EK is not the pinned one.
    pub fn seal(
        &self,
        ek: &PinnedEk,
        policy: [u8; 32],
        secret: Zeroizing<Vec<u8>>,
    ) -> Result<KeyBlob, TpmError> {
        let ek = ek.clone();
        self.call(move |engine| engine.seal(&ek, &policy, &secret))
    }

    /// What was sealed, where `unlock` holds.
    ///
    /// # Errors
    /// [`TpmError::PolicyRefused`] where the TPM is in another state, or a
    /// signature is wrong; [`TpmError::KeyOfAnotherTpm`] where it was sealed
    /// elsewhere.
    pub fn unseal(
        &self,
        ek: &PinnedEk,
        sealed: &KeyBlob,
        unlock: &Unlock,
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let (ek, sealed, unlock) = (ek.clone(), sealed.clone(), unlock.clone());
        self.call(move |engine| engine.unseal(&ek, &sealed, &unlock))
    }

    /// Extends a PCR, so that policies over it hold no more until the next
    /// boot.
    ///
    /// # Errors
    /// [`TpmError`] of the failing command.
    pub fn latch(&self, bank: HashAlg, pcr: u32) -> Result<(), TpmError> {
        self.call(move |engine| engine.latch(bank, pcr))
    }
}

impl Engine {
    fn seal(
        &mut self,
        ek: &PinnedEk,
        policy: &[u8; 32],
        secret: &[u8],
    ) -> Result<KeyBlob, TpmError> {
        let root = self.root()?;
        self.salt_to(ek)?;
        let template = sealed_template(policy);
        let area = to_tss_public(&template)?;
        let session = self.session(Encrypt::Both)?;
        let made = self.command("TPM2_Create", (Some(session), None, None), |c| {
            let secret = SensitiveData::try_from(secret)?;
            c.create(root.handle, area.clone(), None, Some(secret), None, None)
        })?;
        let public = from_tss_public(&made.out_public)?;
        // An answer for something else than was asked for.
        if !public.matches_template(&template) {
            return Err(TpmError::ResponseAltered {
                command: "TPM2_Create",
            });
        }
        Ok(KeyBlob {
            public,
            private: made.out_private.to_vec(),
            approved: Vec::new(),
        })
    }

    fn unseal(
        &mut self,
        ek: &PinnedEk,
        sealed: &KeyBlob,
        unlock: &Unlock,
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        self.root()?;
        self.salt_to(ek)?;
        self.with_key(sealed, |engine, handle| {
            engine.with_policy_session(|engine, policy| {
                engine.show(policy, unlock)?;
                let session = engine.session(Encrypt::Response)?;
                let sessions = (Some(policy), Some(session), None);
                let data = engine.command("TPM2_Unseal", sessions, |c| c.unseal(handle.into()))?;
                Ok(Zeroizing::new(data.to_vec()))
            })
        })
    }

    fn latch(&mut self, bank: HashAlg, pcr: u32) -> Result<(), TpmError> {
        let digest = bank.digest(&[LATCH]);
        let digest = Digest::try_from(digest.as_bytes())
            .map_err(|e| TpmError::from_tss("TPM2B_DIGEST", e))?;
        let handle = PcrHandle::try_from(ObjectHandle::from(pcr))
            .map_err(|e| TpmError::from_tss("PCR", e))?;
        let session = self.session(Encrypt::Nothing)?;
        self.command("TPM2_PCR_Extend", (Some(session), None, None), |c| {
            let mut values = DigestValues::new();
            values.set(to_tss_hash(bank), digest.clone());
            c.pcr_extend(handle, values)
        })
    }

    /// A session salted to the EK, after making sure that it is the one that
    /// enrolled. An answer that somebody made up on the bus has another key.
    pub(super) fn salt_to(&mut self, ek: &PinnedEk) -> Result<(), TpmError> {
        self.with_primary(
            Hierarchy::Endorsement,
            &ek.template,
            |engine, handle, public| {
                let found = gateway_id(public).map_err(|source| TpmError::Malformed {
                    what: "TPMT_PUBLIC of the EK",
                    source,
                })?;
                if found != ek.ueid {
                    return Err(TpmError::OtherEndorsementKey {
                        found: found.to_string(),
                        enrolled: ek.ueid.to_string(),
                    });
                }
                engine.salt_session_to(handle, public)
            },
        )
    }

    /// Brings a policy session to the object's policy.
    pub(super) fn show(&mut self, policy: AuthSession, unlock: &Unlock) -> Result<(), TpmError> {
        let session =
            PolicySession::try_from(policy).map_err(|e| TpmError::from_tss("policy session", e))?;
        match unlock {
            Unlock::Pcrs(selection) => self.show_pcrs(session, selection, None),
            Unlock::Approved(state) => {
                self.show_pcrs(session, &state.selection, Some(&state.pcr_digest))?;
                let approved = policy_pcr(&state.selection, &state.pcr_digest);
                self.authorize(session, &approved, state, &state.key, &state.approval)?;
                let approved = policy_authorize(&state.key.name(), &state.policy_ref);
                self.authorize(session, &approved, state, &state.root, &state.delegation)
            }
        }
    }

    /// TPM2_PolicyPCR. With a digest the TPM says at once that its PCRs differ.
    fn show_pcrs(
        &mut self,
        session: PolicySession,
        selection: &PcrSelection,
        digest: Option<&[u8; 32]>,
    ) -> Result<(), TpmError> {
        let list = to_tss_selection(selection)?;
        let digest = match digest {
            Some(digest) => Digest::try_from(digest.as_slice())
                .map_err(|e| TpmError::from_tss("TPM2B_DIGEST", e))?,
            None => Digest::default(),
        };
        const COMMAND: &str = "TPM2_PolicyPCR";
        self.command(COMMAND, super::engine::NO_SESSION, |c| {
            c.policy_pcr(session, digest.clone(), list.clone())
        })
        .map_err(|error| refused(COMMAND, error, rc::VALUE))
    }

    /// TPM2_LoadExternal, TPM2_VerifySignature, TPM2_PolicyAuthorize. The key is
    /// loaded under Owner: a ticket of the Null hierarchy is refused.
    fn authorize(
        &mut self,
        session: PolicySession,
        approved: &[u8; 32],
        state: &ApprovedState,
        key: &Public,
        signature: &[u8; 64],
    ) -> Result<(), TpmError> {
        let area = to_tss_public(key)?;
        let handle = self.command("TPM2_LoadExternal", super::engine::NO_SESSION, |c| {
            c.load_external_public(area.clone(), resource_handles::Hierarchy::Owner)
        })?;
        let message = signed_bytes(approved, &state.policy_ref);
        let ticket = self.verified(handle, &message, signature);
        self.flush(handle.into());
        let ticket = ticket?;
        let named = |what| move |e| TpmError::from_tss(what, e);
        let name = Name::try_from(key.name().as_bytes().to_vec()).map_err(named("Name"))?;
        let approved = Digest::try_from(approved.as_slice()).map_err(named("TPM2B_DIGEST"))?;
        let reference =
            Nonce::try_from(state.policy_ref.as_slice()).map_err(named("TPM2B_NONCE"))?;
        const COMMAND: &str = "TPM2_PolicyAuthorize";
        self.command(COMMAND, super::engine::NO_SESSION, |c| {
            c.policy_authorize(
                session,
                approved.clone(),
                reference.clone(),
                &name,
                VerifiedTicket::try_from(ticket)?,
            )
        })
        .map_err(|error| refused(COMMAND, error, rc::VALUE))
    }

    fn verified(
        &mut self,
        key: KeyHandle,
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<TPMT_TK_VERIFIED, TpmError> {
        let (r, s) = signature.split_at(32);
        let signature = Signature::Ecdsa {
            hash: HashAlg::Sha256,
            r: r.to_vec(),
            s: s.to_vec(),
        };
        let signature = structures::Signature::unmarshall(&signature.encode())
            .map_err(|e| TpmError::from_tss("TPMT_SIGNATURE", e))?;
        let digest = HashAlg::Sha256.digest(&[message]);
        let digest = Digest::try_from(digest.as_bytes())
            .map_err(|e| TpmError::from_tss("TPM2B_DIGEST", e))?;
        const COMMAND: &str = "TPM2_VerifySignature";
        self.command(COMMAND, super::engine::NO_SESSION, |c| {
            let ticket = c.verify_signature(key, digest.clone(), signature.clone())?;
            TPMT_TK_VERIFIED::try_from(ticket)
        })
        .map_err(|error| refused(COMMAND, error, rc::SIGNATURE))
    }
}

/// The code by which `command` says that the policy does not hold.
fn refused(command: &'static str, error: TpmError, code: u32) -> TpmError {
    match error.base_code() {
        Some(found) if found == code => TpmError::PolicyRefused {
            command,
            code: found,
        },
        _ => error,
    }
}
