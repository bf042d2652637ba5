//! The thread's side: the one TSS context, its salted session, and the
//! bookkeeping that leaves nothing behind in the TPM.
//!
//! A bare TPM has room for three transient objects and three sessions, so
//! every object lives inside a `with_…` call that flushes it on every path,
//! and comes back later by `TPM2_ContextLoad` instead of being made again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_proto::tpm::{Hierarchy, Name, Public};
use tss_esapi::Context;
use tss_esapi::attributes::SessionAttributesBuilder;
use tss_esapi::constants::{CapabilityType, PropertyTag, SessionType};
use tss_esapi::handles::{KeyHandle, ObjectHandle, SessionHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Auth, CapabilityData, SymmetricDefinition};
use tss_esapi::utils::TpmsContext;

use super::convert::{from_tss_public, to_tss_public};
use super::meter::Meter;
use super::{Settings, TctiName, TpmError};

/// How often a command that answers "try again" is sent again.
const MAX_RETRIES: u32 = 8;
/// First pause between such attempts; it doubles.
const RETRY_PAUSE: Duration = Duration::from_millis(5);
/// `TPM_HT_TRANSIENT` and `TPM_HT_LOADED_SESSION` (Part 2 §7.2).
const FIRST_TRANSIENT: u32 = 0x8000_0000;
const FIRST_LOADED_SESSION: u32 = 0x0200_0000;
/// More than any TPM can have loaded at once.
const MAX_LEFT_OVERS: u32 = 64;

pub(super) type Sessions = (
    Option<AuthSession>,
    Option<AuthSession>,
    Option<AuthSession>,
);
pub(super) const NO_SESSION: Sessions = (None, None, None);

/// Which side of a command its session encrypts. The TPM refuses an attribute
/// where the first parameter is not a sized buffer (Part 1 §21).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Encrypt {
    Nothing,
    Command,
    Response,
    Both,
}

/// Whether others may have something loaded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Manners {
    /// A command that somebody runs by hand.
    Alone,
    /// A daemon that works beside other programs.
    Beside,
}

/// The storage root, checked against its pin.
#[derive(Clone)]
pub(super) struct Root {
    pub(super) handle: KeyHandle,
    pub(super) name: Name,
}

/// An object that was in the TPM and can come back.
struct Saved {
    context: TpmsContext,
    public: Public,
}

/// The session for commands.
struct Salted {
    session: AuthSession,
    /// Public area of the endorsement key that it is salted to, if to one.
    ek: Option<Vec<u8>>,
}

pub(super) struct Engine {
    context: Context,
    meter: Arc<Meter>,
    pub(super) settings: Settings,
    pub(super) root: Option<Root>,
    session: Option<Salted>,
    saved: HashMap<Vec<u8>, Saved>,
    /// Hierarchies whose auth value the TPM refused: never tried twice.
    refused: Vec<Hierarchy>,
    /// Why this connection is not to be used any more.
    broken: Option<TpmError>,
}

impl Engine {
    pub(super) fn open(
        tcti: &TctiName,
        settings: Settings,
        meter: Arc<Meter>,
        manners: Manners,
    ) -> Result<Self, TpmError> {
        let context = super::connect::connect(tcti)?;
        let mut engine = Self {
            context,
            meter,
            settings,
            root: None,
            session: None,
            saved: HashMap::new(),
            refused: Vec::new(),
            broken: None,
        };
        engine.set_hierarchy_auth()?;
        match manners {
            Manners::Alone if tcti.is_exclusive() => engine.flush_left_overs()?,
            Manners::Alone => {}
            // Whether somebody answers is seen while the caller waits for no
            // longer than an opening may take.
            Manners::Beside => {
                engine.property(PropertyTag::Manufacturer)?;
            }
        }
        Ok(engine)
    }

    /// Sends one command: timed, repeated where the TPM says so, its error
    /// named. `run` makes its arguments anew for each attempt.
    pub(super) fn command<T>(
        &mut self,
        name: &'static str,
        sessions: Sessions,
        mut run: impl FnMut(&mut Context) -> tss_esapi::Result<T>,
    ) -> Result<T, TpmError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let mut pause = RETRY_PAUSE;
        let mut retries = 0;
        loop {
            self.context.set_sessions(sessions);
            let started = Instant::now();
            let answer = run(&mut self.context);
            let taken = started.elapsed();
            self.meter.add(taken);
            tracing::trace!(
                command = name,
                microseconds = taken.as_micros(),
                "TPM command"
            );
            self.context.clear_sessions();
            let error = match answer {
                Ok(value) => return Ok(value),
                Err(error) => TpmError::from_tss(name, error),
            };
            if error.ends_connection() {
                self.broken = Some(error.clone());
            }
            if error.is_retryable() {
                self.meter.add_retry();
            }
            if !error.is_retryable() || retries == MAX_RETRIES {
                return Err(error);
            }
            retries += 1;
            std::thread::sleep(pause);
            pause *= 2;
        }
    }

    /// Sends a command that needs a hierarchy's auth value, once.
    pub(super) fn command_as<T>(
        &mut self,
        hierarchy: Hierarchy,
        name: &'static str,
        sessions: Sessions,
        run: impl FnMut(&mut Context) -> tss_esapi::Result<T>,
    ) -> Result<T, TpmError> {
        if self.refused.contains(&hierarchy) {
            return Err(TpmError::AuthRefused {
                command: name,
                code: super::error::rc::BAD_AUTH,
            });
        }
        let answer = self.command(name, sessions, run);
        if let Err(TpmError::AuthRefused { .. }) = answer {
            self.refused.push(hierarchy);
        }
        answer
    }

    /// The session for the next command, started where there is none: an HMAC
    /// session with AES-128-CFB parameter encryption, salted to the storage
    /// root once that is known (before, there is nothing secret to send). For
    /// what must stay secret, [`Engine::salt_session_to`] the EK.
    pub(super) fn session(&mut self, encrypt: Encrypt) -> Result<AuthSession, TpmError> {
        let session = match &self.session {
            Some(salted) => salted.session,
            None => {
                let salt_key = self.root.as_ref().map(|root| root.handle);
                let session =
                    self.start_session(salt_key, SessionType::Hmac, HashingAlgorithm::Sha256)?;
                self.session = Some(Salted { session, ek: None });
                session
            }
        };
        let (attributes, mask) = SessionAttributesBuilder::new()
            .with_continue_session(true)
            .with_decrypt(matches!(encrypt, Encrypt::Command | Encrypt::Both))
            .with_encrypt(matches!(encrypt, Encrypt::Response | Encrypt::Both))
            .build();
        self.context
            .tr_sess_set_attributes(session, attributes, mask)
            .map_err(|e| TpmError::from_tss("session attributes", e))?;
        Ok(session)
    }

    /// Makes the session one that is salted to `key`, which is loaded and has this
    /// public area; one that is already is kept. It goes by that area and not by
    /// what the key was asked for by: an EK of the same template may be another,
    /// from an answer that was made up. Of a
    /// primary key libtss2 has the public area from the very answer that gave
    /// it to us; of a persistent one it has a read of its own, which whoever
    /// sits on the bus can answer otherwise than ours (CVE class C27).
    pub(super) fn salt_session_to(
        &mut self,
        key: KeyHandle,
        public: &Public,
    ) -> Result<(), TpmError> {
        let ek = Some(public.encode());
        if self.session.as_ref().is_some_and(|salted| salted.ek == ek) {
            return Ok(());
        }
        self.end_session();
        let session = self.start_session(Some(key), SessionType::Hmac, HashingAlgorithm::Sha256)?;
        self.session = Some(Salted { session, ek });
        Ok(())
    }

    fn start_session(
        &mut self,
        salt_key: Option<KeyHandle>,
        kind: SessionType,
        hash: HashingAlgorithm,
    ) -> Result<AuthSession, TpmError> {
        self.command("TPM2_StartAuthSession", NO_SESSION, |context| {
            context.start_auth_session(
                salt_key,
                None,
                None,
                kind,
                SymmetricDefinition::AES_128_CFB,
                hash,
            )
        })?
        .ok_or(TpmError::NoFreeSlot {
            command: "TPM2_StartAuthSession",
            code: 0,
        })
    }

    /// Runs `work` with a policy session, and flushes it on every path.
    pub(super) fn with_policy_session<T>(
        &mut self,
        work: impl FnOnce(&mut Self, AuthSession) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        self.with_policy_session_of(HashingAlgorithm::Sha256, work)
    }

    /// The same for the policy of an object whose nameAlg is `hash`.
    pub(super) fn with_policy_session_of<T>(
        &mut self,
        hash: HashingAlgorithm,
        work: impl FnOnce(&mut Self, AuthSession) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let session = self.start_session(None, SessionType::Policy, hash)?;
        let outcome = work(self, session);
        self.flush(SessionHandle::from(session).into());
        outcome
    }

    /// Ends the salted session. Called after any failure and when idle.
    pub(super) fn end_session(&mut self) {
        if let Some(Salted { session, .. }) = self.session.take() {
            self.flush(SessionHandle::from(session).into());
        }
    }

    pub(super) fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// Runs `work` with the primary key that `template` derives in
    /// `hierarchy`. It is created once per connection; later calls load the
    /// saved context.
    pub(super) fn with_primary<T>(
        &mut self,
        hierarchy: Hierarchy,
        template: &Public,
        work: impl FnOnce(&mut Self, KeyHandle, &Public) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let mut key = hierarchy.handle().to_be_bytes().to_vec();
        key.extend(template.encode());
        self.with_object(key, work, |engine| {
            let area = to_tss_public(template)?;
            let session = engine.session(Encrypt::Both)?;
            let made = engine.command_as(
                hierarchy,
                "TPM2_CreatePrimary",
                (Some(session), None, None),
                |context| {
                    context.create_primary(
                        tss_hierarchy(hierarchy),
                        area.clone(),
                        None,
                        None,
                        None,
                        None,
                    )
                },
            )?;
            let public = from_tss_public(&made.out_public)
                .inspect_err(|_| engine.flush(made.key_handle.into()))?;
            Ok((made.key_handle, public))
        })
    }

    /// Runs `work` with an object that is in the TPM only meanwhile: loaded
    /// from its saved context, else made by `make`.
    pub(super) fn with_object<T>(
        &mut self,
        key: Vec<u8>,
        work: impl FnOnce(&mut Self, KeyHandle, &Public) -> Result<T, TpmError>,
        make: impl FnOnce(&mut Self) -> Result<(KeyHandle, Public), TpmError>,
    ) -> Result<T, TpmError> {
        let (handle, public) = match self.reload(&key) {
            Some(loaded) => loaded,
            None => {
                let (handle, public) = make(self)?;
                let saved = self.command("TPM2_ContextSave", NO_SESSION, |context| {
                    context.context_save(handle.into())
                });
                match saved {
                    Ok(context) => {
                        self.saved.insert(
                            key,
                            Saved {
                                context,
                                public: public.clone(),
                            },
                        );
                    }
                    Err(error) => {
                        self.flush(handle.into());
                        return Err(error);
                    }
                }
                (handle, public)
            }
        };
        let outcome = work(self, handle, &public);
        self.flush(handle.into());
        outcome
    }

    /// Drops what was saved of an object, so that it is made anew if it is ever
    /// wanted again.
    pub(super) fn forget(&mut self, key: &[u8]) {
        self.saved.remove(key);
    }

    /// A saved context fails to load after a TPM reset: then it is forgotten
    /// and the object is made again.
    fn reload(&mut self, key: &[u8]) -> Option<(KeyHandle, Public)> {
        let saved = self.saved.get(key)?;
        let (blob, public) = (saved.context.clone(), saved.public.clone());
        match self.command("TPM2_ContextLoad", NO_SESSION, |c| {
            c.context_load(blob.clone())
        }) {
            Ok(handle) => Some((KeyHandle::from(handle), public)),
            Err(_) => {
                self.saved.remove(key);
                None
            }
        }
    }

    /// Takes an object or session out of the TPM. A failure is not the
    /// caller's failure: the object is gone already, or the TPM is.
    pub(super) fn flush(&mut self, handle: ObjectHandle) {
        if let Err(error) =
            self.command("TPM2_FlushContext", NO_SESSION, |c| c.flush_context(handle))
        {
            tracing::debug!(%error, "flush failed");
        }
    }

    /// Runs `work` with an ESYS reference to a persistent object or NV index,
    /// and gives the reference back (no TPM command).
    pub(super) fn with_reference<T>(
        &mut self,
        name: &'static str,
        handle: TpmHandle,
        work: impl FnOnce(&mut Self, ObjectHandle) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let mut object = self.command(name, NO_SESSION, |c| c.tr_from_tpm_public(handle))?;
        let outcome = work(self, object);
        self.close(&mut object);
        outcome
    }

    /// The Name by which libtss2 knows an object (no TPM command).
    pub(super) fn context_name(&mut self, object: ObjectHandle) -> Result<Vec<u8>, TpmError> {
        self.context
            .tr_get_name(object)
            .map(|name| name.value().to_vec())
            .map_err(|e| TpmError::from_tss("Name of an object", e))
    }

    pub(super) fn close(&mut self, object: &mut ObjectHandle) {
        if let Err(error) = self.context.tr_close(object) {
            tracing::debug!(%error, "closing an ESYS reference failed");
        }
    }

    /// Handles of one kind, from `first` upwards (`TPM2_GetCapability`).
    pub(super) fn handles(&mut self, first: u32, count: u32) -> Result<Vec<u32>, TpmError> {
        let (data, _) = self.command("TPM2_GetCapability", NO_SESSION, |context| {
            context.get_capability(CapabilityType::Handles, first, count)
        })?;
        match data {
            CapabilityData::Handles(list) => {
                Ok(list.into_inner().into_iter().map(u32::from).collect())
            }
            _ => Ok(Vec::new()),
        }
    }

    /// On a connection that nobody shares, whatever is loaded was left by a
    /// run that was killed.
    fn flush_left_overs(&mut self) -> Result<(), TpmError> {
        let mut handles = self.handles(FIRST_TRANSIENT, MAX_LEFT_OVERS)?;
        handles.extend(self.handles(FIRST_LOADED_SESSION, MAX_LEFT_OVERS)?);
        for handle in handles {
            let Ok(handle) = TpmHandle::try_from(handle) else {
                continue;
            };
            let object = self.command("TPM2_ReadPublic", NO_SESSION, |c| {
                c.tr_from_tpm_public(handle)
            });
            if let Ok(object) = object {
                self.flush(object);
            }
        }
        Ok(())
    }

    fn set_hierarchy_auth(&mut self) -> Result<(), TpmError> {
        let auths = [
            (ObjectHandle::Endorsement, &self.settings.endorsement_auth),
            (ObjectHandle::Owner, &self.settings.owner_auth),
        ];
        for (handle, auth) in auths {
            let Some(auth) = auth else { continue };
            Auth::try_from(auth.expose())
                .and_then(|auth| self.context.tr_set_auth(handle, auth))
                .map_err(|e| TpmError::from_tss("hierarchy auth", e))?;
        }
        Ok(())
    }

    /// One fixed or variable property (`TPM2_GetCapability`).
    pub(super) fn property(&mut self, tag: PropertyTag) -> Result<Option<u32>, TpmError> {
        self.command("TPM2_GetCapability", NO_SESSION, |c| {
            c.get_tpm_property(tag)
        })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end_session();
        if let Some(root) = self.root.take() {
            self.close(&mut root.handle.into());
        }
    }
}

pub(super) fn tss_hierarchy(hierarchy: Hierarchy) -> resource_handles::Hierarchy {
    match hierarchy {
        Hierarchy::Owner => resource_handles::Hierarchy::Owner,
        Hierarchy::Endorsement => resource_handles::Hierarchy::Endorsement,
        Hierarchy::Platform => resource_handles::Hierarchy::Platform,
        Hierarchy::Null => resource_handles::Hierarchy::Null,
    }
}
