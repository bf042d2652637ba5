//! The storage root key, and keys under it: the LDevID key lives in the state
//! directory as blobs that only this TPM can load.

use holdfast_proto::sealing::pcr_digest;
use holdfast_proto::tpm::templates::{bound_ldevid_template, ldevid_template, srk_template};
use holdfast_proto::tpm::{
    Hierarchy, Name, ObjectAttributes, Parameters, ParseError, Public, Signature, Symmetric,
};
use thiserror::Error;
use tss_esapi::constants::tss::{TPM2_RH_NULL, TPM2_ST_HASHCHECK};
use tss_esapi::handles::{KeyHandle, ObjectHandle, PersistentTpmHandle, TpmHandle};
use tss_esapi::interface_types::dynamic_handles::Persistent;
use tss_esapi::interface_types::resource_handles::Provision;
use tss_esapi::structures::{HashcheckTicket, Private, SignatureScheme};
use tss_esapi::traits::Marshall;
use tss_esapi::tss2_esys::TPMT_TK_HASHCHECK;

use super::convert::{from_tss_public, to_tss_public};
use super::engine::{Encrypt, Engine, NO_SESSION, Root, Sessions, tss_hierarchy};
use super::error::rc;
use super::{ApprovedState, Tpm, TpmError, Unlock};

/// Attributes without which a key cannot be the parent of others.
const STORAGE_ATTRIBUTES: ObjectAttributes = ObjectAttributes::FIXED_TPM
    .union(ObjectAttributes::FIXED_PARENT)
    .union(ObjectAttributes::SENSITIVE_DATA_ORIGIN)
    .union(ObjectAttributes::RESTRICTED)
    .union(ObjectAttributes::DECRYPT)
    .union(ObjectAttributes::USER_WITH_AUTH);

/// The storage root in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageRoot {
    /// Its persistent handle.
    pub handle: u32,
    /// Its Name: what the state directory pins.
    pub name: Name,
    /// Whether it was made just now.
    pub created: bool,
}

/// A key wrapped by the storage root.
#[derive(Clone, Debug, Eq)]
pub struct KeyBlob {
    pub(super) public: Public,
    /// The contents of `TPM2B_PRIVATE`: encrypted by the TPM.
    pub(super) private: Vec<u8>,
    /// Boot states in which it may sign, where it is bound to them. They come
    /// and go, and are no part of the key: equality does not look at them.
    pub(super) approved: Vec<ApprovedState>,
}

impl PartialEq for KeyBlob {
    fn eq(&self, other: &Self) -> bool {
        (&self.public, &self.private) == (&other.public, &other.private)
    }
}

/// Why bytes are not a key blob.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyBlobError {
    /// The public part is not a `TPM2B_PUBLIC`.
    #[error("public part: {0}")]
    Public(#[from] ParseError),
    /// The private part's length is not what its first two bytes say.
    #[error("private part: not one TPM2B_PRIVATE")]
    Private,
}

impl KeyBlob {
    /// From a `TPM2B_PUBLIC` and a `TPM2B_PRIVATE`.
    ///
    /// # Errors
    /// [`KeyBlobError`] names the part that is malformed.
    pub fn parse(public: &[u8], private: &[u8]) -> Result<Self, KeyBlobError> {
        let public = Public::parse_tpm2b(public)?;
        let (size, private) = private
            .split_first_chunk::<2>()
            .ok_or(KeyBlobError::Private)?;
        if private.is_empty() || usize::from(u16::from_be_bytes(*size)) != private.len() {
            return Err(KeyBlobError::Private);
        }
        Ok(Self {
            public,
            private: private.to_vec(),
            approved: Vec::new(),
        })
    }

    /// Whether it signs by policy: in boot states that were approved, and in no
    /// others.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        let attributes = self.public.attributes;
        !attributes.contains(ObjectAttributes::USER_WITH_AUTH)
    }

    /// Boot states that are approved for it.
    #[must_use]
    pub fn approved(&self) -> &[ApprovedState] {
        &self.approved
    }

    /// The key with what was approved for it. The TPM decides whether it holds.
    #[must_use]
    pub fn approved_for(mut self, states: Vec<ApprovedState>) -> Self {
        self.approved = states;
        self
    }

    /// The key's public area.
    #[must_use]
    pub fn public(&self) -> &Public {
        &self.public
    }

    /// `TPM2B_PUBLIC`.
    #[must_use]
    pub fn encode_public(&self) -> Vec<u8> {
        self.public.encode_tpm2b()
    }

    /// `TPM2B_PRIVATE`.
    #[must_use]
    pub fn encode_private(&self) -> Vec<u8> {
        let size =
            u16::try_from(self.private.len()).expect("came from a TPM2B, whose size is a u16");
        let mut bytes = size.to_be_bytes().to_vec();
        bytes.extend(&self.private);
        bytes
    }
}

impl Tpm {
    /// Takes the key at the configured handle as storage root, or makes one
    /// there where the handle is free. All sessions are salted to it from now
    /// on. With `pinned`, only the key of that Name will do.
    ///
    /// # Errors
    /// [`TpmError::OtherStorageRoot`] where the pin does not match,
    /// [`TpmError::HandleOccupied`] where the key there cannot serve: nothing
    /// is ever evicted.
    pub fn storage_root(&self, pinned: Option<&Name>) -> Result<StorageRoot, TpmError> {
        let pinned = pinned.cloned();
        self.call(move |engine| engine.storage_root(pinned.as_ref()))
    }

    /// Makes a new LDevID key. It exists only as the returned blob.
    ///
    /// # Errors
    /// [`TpmError`] of the failing command.
    pub fn create_ldevid(&self) -> Result<KeyBlob, TpmError> {
        self.call(|engine| engine.create_key(&ldevid_template()))
    }

    /// Makes a new LDevID key that signs by `policy` alone.
    ///
    /// # Errors
    /// [`TpmError`] of the failing command.
    pub fn create_bound_ldevid(&self, policy: [u8; 32]) -> Result<KeyBlob, TpmError> {
        self.call(move |engine| engine.create_key(&bound_ldevid_template(&policy)))
    }

    /// ECDSA signature of a SHA-256 digest by an LDevID key.
    ///
    /// # Errors
    /// [`TpmError::KeyOfAnotherTpm`] where this TPM did not make the key;
    /// [`TpmError::BootNotApproved`] where it is bound to boot states, and none
    /// of those approved is the present one.
    pub fn sign(&self, key: &KeyBlob, digest: [u8; 32]) -> Result<Signature, TpmError> {
        let key = key.clone();
        self.call(move |engine| engine.sign(&key, digest))
    }
}

impl Engine {
    fn storage_root(&mut self, pinned: Option<&Name>) -> Result<StorageRoot, TpmError> {
        let handle = self.settings.srk_handle;
        self.end_session();
        if let Some(old) = self.root.take() {
            self.close(&mut old.handle.into());
        }
        let existing = self.persistent(handle)?;
        let created = existing.is_none();
        let (object, public) = match (existing, pinned) {
            (Some(existing), _) => existing,
            (None, Some(pinned)) => {
                return Err(TpmError::OtherStorageRoot {
                    handle,
                    found: "absent".to_owned(),
                    pinned: pinned.clone(),
                });
            }
            (None, None) => self.persist_new_root(handle)?,
        };
        let name = public.name();
        let refusal = match pinned {
            Some(pinned) if *pinned != name => Some(TpmError::OtherStorageRoot {
                handle,
                found: name.to_string(),
                pinned: pinned.clone(),
            }),
            _ => unfit(&public).map(|found| TpmError::HandleOccupied { handle, found }),
        };
        if let Some(refusal) = refusal {
            self.close(&mut object.clone());
            return Err(refusal);
        }
        // What was started before was not salted.
        self.end_session();
        self.root = Some(Root {
            handle: KeyHandle::from(object),
            name: name.clone(),
        });
        Ok(StorageRoot {
            handle,
            name,
            created,
        })
    }

    /// The object at a persistent handle, with an ESYS reference that the
    /// caller closes. libtss2 3.x takes public area and Name as the TPM says
    /// them, without comparing: our own read is checked against its Name by
    /// computing it, and libtss2's Name against ours. That libtss2 read the
    /// same public area cannot be seen from outside: secrets do not depend on
    /// it ([`Engine::salt_session_to`]).
    pub(super) fn persistent(
        &mut self,
        handle: u32,
    ) -> Result<Option<(ObjectHandle, Public)>, TpmError> {
        let handle = PersistentTpmHandle::new(handle)
            .map(TpmHandle::from)
            .map_err(|e| TpmError::from_tss("persistent handle", e))?;
        let object = match self.command("TPM2_ReadPublic", NO_SESSION, |c| {
            c.tr_from_tpm_public(handle)
        }) {
            Ok(object) => object,
            Err(error) if error.is_absent() => return Ok(None),
            Err(error) => return Err(error),
        };
        let public = self
            .command("TPM2_ReadPublic", NO_SESSION, |c| {
                c.read_public(KeyHandle::from(object))
            })
            .and_then(|(public, ..)| from_tss_public(&public));
        let named = self.context_name(object);
        let checked = public.and_then(|public| {
            if named? == public.name().as_bytes() {
                Ok(public)
            } else {
                Err(TpmError::ResponseAltered {
                    command: "TPM2_ReadPublic",
                })
            }
        });
        match checked {
            Ok(public) => Ok(Some((object, public))),
            Err(error) => {
                self.close(&mut object.clone());
                Err(error)
            }
        }
    }

    fn persist_new_root(&mut self, handle: u32) -> Result<(ObjectHandle, Public), TpmError> {
        let persistent = PersistentTpmHandle::new(handle)
            .map_err(|e| TpmError::from_tss("persistent handle", e))?;
        let area = to_tss_public(&srk_template())?;
        let session = self.session(Encrypt::Both)?;
        let made = self.command_as(
            Hierarchy::Owner,
            "TPM2_CreatePrimary",
            (Some(session), None, None),
            |c| {
                c.create_primary(
                    tss_hierarchy(Hierarchy::Owner),
                    area.clone(),
                    None,
                    None,
                    None,
                    None,
                )
            },
        )?;
        let outcome = self.session(Encrypt::Nothing).and_then(|session| {
            self.command_as(
                Hierarchy::Owner,
                "TPM2_EvictControl",
                (Some(session), None, None),
                |c| {
                    c.evict_control(
                        Provision::Owner,
                        made.key_handle.into(),
                        Persistent::Persistent(persistent),
                    )
                },
            )
        });
        self.flush(made.key_handle.into());
        let object = outcome?;
        match from_tss_public(&made.out_public) {
            Ok(public) => Ok((object, public)),
            Err(error) => {
                self.close(&mut object.clone());
                Err(error)
            }
        }
    }

    /// The storage root, which every road but this room's own sets first.
    pub(super) fn root(&mut self) -> Result<Root, TpmError> {
        if self.root.is_none() {
            self.storage_root(None)?;
        }
        self.root.clone().ok_or(TpmError::ThreadGone)
    }

    fn create_key(&mut self, template: &Public) -> Result<KeyBlob, TpmError> {
        let root = self.root()?;
        let area = to_tss_public(template)?;
        let session = self.session(Encrypt::Both)?;
        let made = self.command("TPM2_Create", (Some(session), None, None), |c| {
            c.create(root.handle, area.clone(), None, None, None, None)
        })?;
        Ok(KeyBlob {
            public: from_tss_public(&made.out_public)?,
            private: made.out_private.to_vec(),
            approved: Vec::new(),
        })
    }

    /// Runs `work` with a wrapped key loaded.
    pub(super) fn with_key<T>(
        &mut self,
        key: &KeyBlob,
        work: impl FnOnce(&mut Self, KeyHandle) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let root = self.root()?;
        let (area, private) = (to_tss_public(&key.public)?, key.private.clone());
        // The private part, too: equal Names do not make a blob loadable.
        let mut cache_key = key.public.name().as_bytes().to_vec();
        cache_key.extend(&key.private);
        self.with_object(
            cache_key,
            |engine, handle, _| work(engine, handle),
            |engine| {
                let private = Private::try_from(private)
                    .map_err(|e| TpmError::from_tss("TPM2B_PRIVATE", e))?;
                let session = engine.session(Encrypt::Both)?;
                let handle = engine
                    .command("TPM2_Load", (Some(session), None, None), |c| {
                        c.load(root.handle, private.clone(), area.clone())
                    })
                    .map_err(|error| match (&error, error.base_code()) {
                        (TpmError::Command { code, .. }, Some(rc::INTEGRITY)) => {
                            TpmError::KeyOfAnotherTpm { code: *code }
                        }
                        _ => error,
                    })?;
                Ok((handle, key.public.clone()))
            },
        )
    }

    fn sign(&mut self, key: &KeyBlob, digest: [u8; 32]) -> Result<Signature, TpmError> {
        self.with_key(key, |engine, handle| {
            if key.is_bound() {
                let state = engine.present_of(&key.approved)?;
                let unlock = Unlock::Approved(Box::new(state));
                return engine.with_policy_session(|engine, policy| {
                    engine.show(policy, &unlock)?;
                    let session = engine.session(Encrypt::Command)?;
                    engine.sign_by((Some(policy), Some(session), None), handle, digest)
                });
            }
            let session = engine.session(Encrypt::Command)?;
            engine.sign_by((Some(session), None, None), handle, digest)
        })
    }

    fn sign_by(
        &mut self,
        sessions: Sessions,
        key: KeyHandle,
        digest: [u8; 32],
    ) -> Result<Signature, TpmError> {
        let signature = self.command("TPM2_Sign", sessions, |c| {
            c.sign(
                key,
                digest.as_slice().try_into()?,
                SignatureScheme::Null,
                null_ticket()?,
            )
        })?;
        parse_signature(&signature)
    }

    /// The approved state that the TPM is in. Its policy session decides; this
    /// only picks the one to show it.
    fn present_of(&mut self, approved: &[ApprovedState]) -> Result<ApprovedState, TpmError> {
        for state in approved {
            let values = self.read_pcrs(&state.selection)?;
            if pcr_digest(values.values().map(Vec::as_slice)) == state.pcr_digest {
                return Ok(state.clone());
            }
        }
        Err(TpmError::BootNotApproved {
            count: approved.len(),
        })
    }
}

/// Why a key cannot be a storage root, or `None` where it can.
pub(super) fn unfit(public: &Public) -> Option<&'static str> {
    let symmetric = match public.parameters {
        Parameters::Rsa { symmetric, .. } | Parameters::Ecc { symmetric, .. } => symmetric,
        Parameters::KeyedHash { .. } => return Some("not an asymmetric key"),
    };
    if !public.attributes.contains(STORAGE_ATTRIBUTES)
        || public.attributes.contains(ObjectAttributes::SIGN)
    {
        Some("its attributes are not those of a storage key")
    } else if symmetric == Symmetric::Null {
        Some("it has no symmetric algorithm to protect children with")
    } else {
        None
    }
}

pub(super) fn parse_signature(
    signature: &tss_esapi::structures::Signature,
) -> Result<Signature, TpmError> {
    let bytes = signature
        .marshall()
        .map_err(|e| TpmError::from_tss("TPMT_SIGNATURE of the TPM", e))?;
    Signature::parse(&bytes).map_err(|source| TpmError::Malformed {
        what: "TPMT_SIGNATURE of the TPM",
        source,
    })
}

/// The ticket of a digest that was made outside the TPM (Part 3 §20.2).
pub(super) fn null_ticket() -> tss_esapi::Result<HashcheckTicket> {
    HashcheckTicket::try_from(TPMT_TK_HASHCHECK {
        tag: TPM2_ST_HASHCHECK,
        hierarchy: TPM2_RH_NULL,
        digest: Default::default(),
    })
}
