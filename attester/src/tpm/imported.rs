//! Objects that the Verifier made and wrapped for this TPM's EK: TPM2_Import,
//! and their use. What goes in is encrypted to the EK; what comes out of
//! TPM2_Import is encrypted by the TPM and worthless anywhere else.

use holdfast_proto::grpc::v1;
use holdfast_proto::tpm::templates::{delivered_secret_template, heartbeat_key_template};
use holdfast_proto::tpm::{Hierarchy, Name, PcrSelection, Public};
use tss_esapi::handles::KeyHandle;
use tss_esapi::structures::{
    Data, EncryptedSecret, Private, SignatureScheme, SymmetricDefinitionObject,
};
use zeroize::Zeroizing;

use super::attestation::marshalled;
use super::convert::to_tss_public;
use super::engine::{Encrypt, Engine};
use super::error::rc;
use super::{Attestation, KeyBlob, KeyBlobError, PinnedEk, Tpm, TpmError};

/// What an object of the Verifier's is for. Its public area is compared with
/// the template of that, before the TPM sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportedUse {
    /// Quotes with an HMAC ([`Tpm::beat`]).
    HeartbeatKey,
    /// Holds a secret ([`Tpm::open_delivered`]).
    Secret,
}

impl ImportedUse {
    fn template(self) -> Public {
        match self {
            Self::HeartbeatKey => heartbeat_key_template(),
            Self::Secret => delivered_secret_template(),
        }
    }
}

/// An object under this TPM's EK, as blobs that only this TPM can load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedObject(KeyBlob);

impl ImportedObject {
    /// From a `TPM2B_PUBLIC` and a `TPM2B_PRIVATE`, as they were kept.
    ///
    /// # Errors
    /// [`KeyBlobError`] names the part that is malformed.
    pub fn parse(public: &[u8], private: &[u8]) -> Result<Self, KeyBlobError> {
        KeyBlob::parse(public, private).map(Self)
    }

    /// The two blobs.
    #[must_use]
    pub fn blob(&self) -> &KeyBlob {
        &self.0
    }

    /// The object's Name.
    #[must_use]
    pub fn name(&self) -> Name {
        self.0.name()
    }
}

impl Tpm {
    /// TPM2_Import of an object that the Verifier wrapped for the EK. Nothing
    /// stays in the TPM.
    ///
    /// # Errors
    /// [`TpmError::OtherEndorsementKey`] where the EK is not the pinned one;
    /// [`TpmError::NotAsExpected`] where the object is not one for `usage`;
    /// [`TpmError::KeyOfAnotherTpm`] where it is for another TPM, or altered.
    pub fn import(
        &self,
        ek: &PinnedEk,
        usage: ImportedUse,
        wrapped: &v1::WrappedObject,
    ) -> Result<ImportedObject, TpmError> {
        let (ek, wrapped) = (ek.clone(), wrapped.clone());
        self.call(move |engine| engine.import(&ek, usage, &wrapped))
    }

    /// TPM2_Quote by an imported heartbeat key.
    ///
    /// # Errors
    /// [`TpmError::KeyOfAnotherTpm`] where this TPM did not import the key.
    pub fn beat(
        &self,
        ek: &PinnedEk,
        key: &ImportedObject,
        selection: &PcrSelection,
        extra_data: [u8; 32],
    ) -> Result<Attestation, TpmError> {
        let (ek, key, selection) = (ek.clone(), key.clone(), *selection);
        self.call(move |engine| engine.beat(&ek, &key, &selection, extra_data))
    }

    /// TPM2_Unseal of an imported secret, in a session salted to the EK.
    ///
    /// # Errors
    /// [`TpmError::KeyOfAnotherTpm`] where this TPM did not import it.
    pub fn open_delivered(
        &self,
        ek: &PinnedEk,
        object: &ImportedObject,
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let (ek, object) = (ek.clone(), object.clone());
        self.call(move |engine| engine.open_delivered(&ek, &object))
    }

    /// Gives up what is kept in memory to load this object quickly. Whoever
    /// replaces an object calls it, or each would be remembered for good.
    ///
    /// # Errors
    /// [`TpmError::ThreadGone`].
    pub fn forget(&self, object: &ImportedObject) -> Result<(), TpmError> {
        let key = cache_key(object);
        self.call(move |engine| {
            engine.forget(&key);
            Ok(())
        })
    }
}

impl Engine {
    fn import(
        &mut self,
        ek: &PinnedEk,
        usage: ImportedUse,
        wrapped: &v1::WrappedObject,
    ) -> Result<ImportedObject, TpmError> {
        let public = Public::parse(&wrapped.public).map_err(|source| TpmError::Malformed {
            what: "TPMT_PUBLIC of the Verifier",
            source,
        })?;
        if !public.matches_template(&usage.template()) {
            return Err(TpmError::NotAsExpected {
                what: match usage {
                    ImportedUse::HeartbeatKey => "heartbeat key",
                    ImportedUse::Secret => "delivered secret",
                },
            });
        }
        let named = |what| move |e| TpmError::from_tss(what, e);
        let area = to_tss_public(&public)?;
        let duplicate =
            Private::try_from(wrapped.duplicate.clone()).map_err(named("TPM2B_PRIVATE"))?;
        let seed = EncryptedSecret::try_from(wrapped.encrypted_seed.clone())
            .map_err(named("TPM2B_ENCRYPTED_SECRET"))?;
        self.root()?;
        self.salt_to(ek)?;
        let template = &ek.template;
        self.with_primary(
            Hierarchy::Endorsement,
            template,
            |engine, parent, public| {
                engine.with_ek_auth(public, |engine, ek_auth| {
                    let session = engine.session(Encrypt::Both)?;
                    let sessions = (Some(ek_auth), Some(session), None);
                    engine
                        .command("TPM2_Import", sessions, |c| {
                            c.import(
                                parent.into(),
                                None,
                                area.clone(),
                                duplicate.clone(),
                                seed.clone(),
                                SymmetricDefinitionObject::Null,
                            )
                        })
                        .map_err(foreign)
                })
            },
        )
        .map(|private| {
            ImportedObject(KeyBlob {
                public,
                private: private.to_vec(),
                approved: Vec::new(),
            })
        })
    }

    fn beat(
        &mut self,
        ek: &PinnedEk,
        key: &ImportedObject,
        selection: &PcrSelection,
        extra_data: [u8; 32],
    ) -> Result<Attestation, TpmError> {
        let list = super::convert::to_tss_selection(selection)?;
        self.root()?;
        self.with_imported(ek, key, |engine, handle| {
            let session = engine.session(Encrypt::Both)?;
            let (attest, signature) =
                engine.command("TPM2_Quote", (Some(session), None, None), |c| {
                    c.quote(
                        handle,
                        Data::try_from(extra_data.as_slice())?,
                        SignatureScheme::Null,
                        list.clone(),
                    )
                })?;
            marshalled(&attest, &signature)
        })
    }

    fn open_delivered(
        &mut self,
        ek: &PinnedEk,
        object: &ImportedObject,
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        self.root()?;
        self.salt_to(ek)?;
        self.with_imported(ek, object, |engine, handle| {
            let session = engine.session(Encrypt::Response)?;
            let sessions = (Some(session), None, None);
            let data = engine.command("TPM2_Unseal", sessions, |c| c.unseal(handle.into()))?;
            Ok(Zeroizing::new(data.to_vec()))
        })
    }

    /// Runs `work` with an imported object loaded; the EK, which the TPM needs
    /// to load it, is in the TPM only for that.
    fn with_imported<T>(
        &mut self,
        ek: &PinnedEk,
        object: &ImportedObject,
        work: impl FnOnce(&mut Self, KeyHandle) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let KeyBlob {
            public, private, ..
        } = object.blob();
        let area = to_tss_public(public)?;
        let private = Private::try_from(private.clone())
            .map_err(|e| TpmError::from_tss("TPM2B_PRIVATE", e))?;
        self.with_object(
            cache_key(object),
            |engine, handle, _| work(engine, handle),
            |engine| {
                let template = &ek.template;
                engine.with_primary(Hierarchy::Endorsement, template, |engine, parent, ek| {
                    engine.with_ek_auth(ek, |engine, ek_auth| {
                        let session = engine.session(Encrypt::Both)?;
                        let sessions = (Some(ek_auth), Some(session), None);
                        let handle = engine
                            .command("TPM2_Load", sessions, |c| {
                                c.load(parent, private.clone(), area.clone())
                            })
                            .map_err(foreign)?;
                        Ok((handle, public.clone()))
                    })
                })
            },
        )
    }
}

/// The private part, too: equal Names do not make a blob loadable.
fn cache_key(object: &ImportedObject) -> Vec<u8> {
    [object.name().as_bytes(), &object.blob().private].concat()
}

/// The codes by which a TPM says that a blob is not for it: the seed does not
/// decrypt, or the integrity value does not fit. libtpms answers
/// `TPM_RC_FAILURE` where OAEP fails, and goes on working (seen): a TPM in
/// failure mode would not have started the session before.
fn foreign(error: TpmError) -> TpmError {
    match (&error, error.base_code()) {
        (TpmError::FailureMode { .. }, _) => TpmError::KeyOfAnotherTpm { code: rc::FAILURE },
        (
            TpmError::Command { code, .. },
            Some(rc::INTEGRITY | rc::VALUE | rc::SIZE | rc::ECC_POINT | rc::INSUFFICIENT),
        ) => TpmError::KeyOfAnotherTpm { code: *code },
        _ => error,
    }
}
