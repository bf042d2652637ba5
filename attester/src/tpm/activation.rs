//! TPM2_ActivateCredential: the proof that EK and AK are in one TPM.

use holdfast_proto::tpm::{Hierarchy, ObjectAttributes, Public};
use tss_esapi::handles::AuthHandle;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{EncryptedSecret, IdObject, Nonce};
use zeroize::Zeroizing;

use super::engine::{Encrypt, Engine};
use super::{Ak, Tpm, TpmError};

impl Tpm {
    /// Recovers the secret that the Verifier wrapped for this EK and AK.
    /// `ek_template` is [`super::EndorsementKey::template`]; the blobs are the
    /// contents of `TPM2B_ID_OBJECT` and `TPM2B_ENCRYPTED_SECRET`.
    ///
    /// # Errors
    /// [`TpmError`] of the failing command: `TPM_RC_INTEGRITY` where the
    /// credential is for another EK or AK.
    pub fn activate_credential(
        &self,
        ek_template: &Public,
        ak: impl Into<Ak>,
        credential_blob: &[u8],
        encrypted_secret: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let (ek, ak) = (ek_template.clone(), ak.into());
        let (blob, secret) = (credential_blob.to_vec(), encrypted_secret.to_vec());
        self.call(move |engine| engine.activate_credential(&ek, &ak, blob, secret))
    }

    /// Does beforehand what of [`activate_credential`](Self::activate_credential)
    /// and [`certify_ek`](Self::certify_ek) needs no challenge yet: it makes the
    /// session that is salted to the EK of this template, and the object under it.
    /// For the time in which the Verifier makes the credential.
    ///
    /// # Errors
    /// [`TpmError`]; the activation would meet it too.
    pub fn prepare_activation(&self, ek_template: &Public) -> Result<(), TpmError> {
        let ek = ek_template.clone();
        self.call(move |engine| engine.prepare_activation(&ek))
    }
}

impl Engine {
    fn prepare_activation(&mut self, ek: &Public) -> Result<(), TpmError> {
        self.root()?;
        self.with_primary(Hierarchy::Endorsement, ek, |engine, handle, public| {
            engine.salt_session_to(handle, public)
        })?;
        self.with_ek_child(ek, |_, _| Ok(()))
    }

    fn activate_credential(
        &mut self,
        ek: &Public,
        ak: &Ak,
        blob: Vec<u8>,
        secret: Vec<u8>,
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        self.root()?;
        let blob =
            IdObject::try_from(blob).map_err(|e| TpmError::from_tss("TPM2B_ID_OBJECT", e))?;
        let secret = EncryptedSecret::try_from(secret)
            .map_err(|e| TpmError::from_tss("TPM2B_ENCRYPTED_SECRET", e))?;
        self.with_primary(
            Hierarchy::Endorsement,
            ek,
            |engine, ek_handle, ek_public| {
                engine.with_ak(ak, |engine, ak_handle, _| {
                    engine.salt_session_to(ek_handle, ek_public)?;
                    engine.with_activation_auth(ak, |engine, policy| {
                        engine.with_ek_auth(ek_public, |engine, ek_auth| {
                            let session = engine.session(Encrypt::Both)?;
                            // Where a policy authorises the AK, the salted
                            // session comes third: it protects the secret.
                            let sessions = match policy {
                                None => (Some(session), Some(ek_auth), None),
                                Some(policy) => (Some(policy), Some(ek_auth), Some(session)),
                            };
                            let digest =
                                engine.command("TPM2_ActivateCredential", sessions, |c| {
                                    c.activate_credential(
                                        ak_handle,
                                        ek_handle,
                                        blob.clone(),
                                        secret.clone(),
                                    )
                                })?;
                            Ok(Zeroizing::new(digest.to_vec()))
                        })
                    })
                })
            },
        )
    }

    /// Authorisation for the EK's USER role: by its (empty) auth value where
    /// userWithAuth allows that (high range), else by its policy,
    /// PolicySecret(TPM_RH_ENDORSEMENT) (low range).
    pub(super) fn with_ek_auth<T>(
        &mut self,
        ek: &Public,
        work: impl FnOnce(&mut Self, AuthSession) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        if ek.attributes.contains(ObjectAttributes::USER_WITH_AUTH) {
            return work(self, AuthSession::Password);
        }
        self.with_policy_session(|engine, policy| {
            let policy_session = PolicySession::try_from(policy)
                .map_err(|e| TpmError::from_tss("policy session", e))?;
            engine.policy_secret_endorsement(policy_session)?;
            work(engine, policy)
        })
    }

    /// PolicySecret(TPM_RH_ENDORSEMENT) with an empty policyRef.
    pub(super) fn policy_secret_endorsement(
        &mut self,
        policy: PolicySession,
    ) -> Result<(), TpmError> {
        // The hierarchy's auth value goes as an HMAC, never in clear.
        let session = self.session(Encrypt::Both)?;
        self.command_as(
            Hierarchy::Endorsement,
            "TPM2_PolicySecret",
            (Some(session), None, None),
            |c| {
                c.policy_secret(
                    policy,
                    AuthHandle::Endorsement,
                    Nonce::default(),
                    Default::default(),
                    Nonce::default(),
                    None,
                )
            },
        )?;
        Ok(())
    }
}
