//! An issuing key in a PKCS#11 token (OASIS PKCS #11 v2.40): made there, never
//! out of it. The vendor's module is loaded into this process when it is first
//! needed, and not at all where no key is in a token.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::Mechanism,
    object::{Attribute, AttributeType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    slot::Slot,
    types::AuthPin,
};

use super::{Device, DeviceError, refused_pins::RefusedPins};
use crate::{
    config::Pkcs11Config,
    identity::{CaCurve, CaPublic},
};

/// Loaded modules. By process, because C_Initialize is.
static MODULES: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());

/// By process too: a token counts attempts, whichever of its keys they were for.
static REFUSED: Mutex<RefusedPins> = Mutex::new(RefusedPins::none());

/// CKA_LABEL of keys that we make, for people who look into the token.
const LABEL: &[u8] = b"Holdfast issuing CA";

/// A key in a token.
pub(super) struct Pkcs11Key {
    config: Pkcs11Config,
    id: Vec<u8>,
    expected: CaPublic,
    open: Option<(Session, ObjectHandle)>,
}

impl Pkcs11Key {
    pub(super) fn new(config: Pkcs11Config, id: Vec<u8>, expected: CaPublic) -> Self {
        Self {
            config,
            id,
            expected,
            open: None,
        }
    }

    fn connect(&mut self) -> Result<(), DeviceError> {
        let session = log_in(&self.config)?;
        let key = find(&session, ObjectClass::PRIVATE_KEY, &self.id)?;
        let public = find(&session, ObjectClass::PUBLIC_KEY, &self.id)?;
        let found = point(&session, public)?;
        if found != self.expected {
            return Err(DeviceError::Substituted {
                expected: hex::encode(self.expected.point()),
                found: hex::encode(found.point()),
            });
        }
        self.open = Some((session, key));
        Ok(())
    }

    fn sign_once(&mut self, digest: &[u8]) -> Result<Vec<u8>, DeviceError> {
        if self.open.is_none() {
            self.connect()?;
        }
        let Some((session, key)) = &self.open else {
            return Err(DeviceError::Unreachable("no session".to_owned()));
        };
        session.sign(&Mechanism::Ecdsa, *key, digest).map_err(told)
    }
}

impl Device for Pkcs11Key {
    fn sign(&mut self, digest: &[u8]) -> Result<Vec<u8>, DeviceError> {
        let had_session = self.open.is_some();
        let first = self.sign_once(digest);
        let Err(error) = first else { return first };
        self.open = None;
        if matches!(
            error,
            DeviceError::WrongPin | DeviceError::Substituted { .. }
        ) {
            return Err(error);
        }
        // A token that was taken out and put back has lost its sessions, and
        // some modules see it again only when they begin anew.
        if had_session {
            if let Ok(signature) = self.sign_once(digest) {
                return Ok(signature);
            }
            self.open = None;
        }
        unload(&self.config.module);
        self.sign_once(digest).inspect_err(|_| self.open = None)
    }
}

/// Makes a key pair in the token: not extractable, sensitive, and for signing
/// alone. Answers its CKA_ID and public key.
pub(super) fn generate(
    config: &Pkcs11Config,
    curve: CaCurve,
    id: &[u8],
) -> Result<CaPublic, DeviceError> {
    let session = log_in(config)?;
    let common = |class| {
        vec![
            Attribute::Class(class),
            Attribute::Token(true),
            Attribute::Label(LABEL.to_vec()),
            Attribute::Id(id.to_vec()),
        ]
    };
    let mut public = common(ObjectClass::PUBLIC_KEY);
    public.extend([
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::EcParams(curve.parameters()),
    ]);
    let mut private = common(ObjectClass::PRIVATE_KEY);
    private.extend([
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ]);
    let (public, private) = session
        .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
        .map_err(told)?;
    // Asked of the token, not taken from the template: some drop what they do
    // not know.
    let kept = session
        .get_attributes(
            private,
            &[AttributeType::Sensitive, AttributeType::Extractable],
        )
        .map_err(told)?;
    if !kept.contains(&Attribute::Sensitive(true)) || !kept.contains(&Attribute::Extractable(false))
    {
        return Err(DeviceError::Refused(
            "the token made a key that can leave it".to_owned(),
        ));
    }
    point(&session, public)
}

/// Destroys both halves.
pub(super) fn destroy(config: &Pkcs11Config, id: &[u8]) -> Result<(), DeviceError> {
    let session = log_in(config)?;
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        match find(&session, class, id) {
            Ok(object) => session.destroy_object(object).map_err(told)?,
            Err(DeviceError::NoKey(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn module(path: &Path) -> Result<Pkcs11, DeviceError> {
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(module) = modules.get(path) {
        return Ok(module.clone());
    }
    let module = Pkcs11::new(path)
        .map_err(|e| DeviceError::Unreachable(format!("{}: {e}", path.display())))?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(told(error)),
    }
    modules.insert(path.to_owned(), module.clone());
    Ok(module)
}

/// Ends the module, so that its next user begins anew. Sessions of other keys
/// in it are found invalid, and opened again.
fn unload(path: &Path) {
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(module) = modules.remove(path) {
        let _ = module.finalize();
    }
}

fn log_in(config: &Pkcs11Config) -> Result<Session, DeviceError> {
    let module = module(&config.module)?;
    let slot = slot(&module, &config.token)?;
    let session = module.open_rw_session(slot).map_err(told)?;
    let source = config.pin.as_ref().ok_or_else(|| {
        DeviceError::Secret("[ca.pkcs11] pin is not set in config.toml".to_owned())
    })?;
    let pin = source
        .read()
        .map_err(|e| DeviceError::Secret(e.to_string()))?;
    // One at a time: the second of two keys sees what the first one met.
    let mut refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
    refused.log_in(&config.module, &config.token, &pin, || {
        match session.login(UserType::User, Some(&AuthPin::from(pin.as_str()))) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => Err(told(error)),
        }
    })?;
    Ok(session)
}

fn slot(module: &Pkcs11, label: &str) -> Result<Slot, DeviceError> {
    for slot in module.get_slots_with_initialized_token().map_err(told)? {
        let info = module.get_token_info(slot).map_err(told)?;
        if info.label() == label {
            return Ok(slot);
        }
    }
    Err(DeviceError::Unreachable(format!("no token {label:?}")))
}

fn find(session: &Session, class: ObjectClass, id: &[u8]) -> Result<ObjectHandle, DeviceError> {
    let found = session
        .find_objects(&[Attribute::Class(class), Attribute::Id(id.to_vec())])
        .map_err(told)?;
    match found.as_slice() {
        [key] => Ok(*key),
        [] => Err(DeviceError::NoKey(hex::encode(id))),
        several => Err(DeviceError::Refused(format!(
            "{} keys {}",
            several.len(),
            hex::encode(id)
        ))),
    }
}

/// CKA_EC_POINT: an uncompressed point, in an OCTET STRING as the standard has
/// it, or bare as some tokens do.
fn point(session: &Session, key: ObjectHandle) -> Result<CaPublic, DeviceError> {
    let attributes = session
        .get_attributes(key, &[AttributeType::EcPoint])
        .map_err(told)?;
    let [Attribute::EcPoint(encoded)] = attributes.as_slice() else {
        return Err(DeviceError::Refused(
            "the key has no CKA_EC_POINT".to_owned(),
        ));
    };
    let point = match encoded.as_slice() {
        [0x04, length, point @ ..] if usize::from(*length) == point.len() => point,
        bare => bare,
    };
    CaPublic::from_point(point).map_err(|e| DeviceError::Refused(e.to_string()))
}

fn told(error: Error) -> DeviceError {
    match error {
        Error::Pkcs11(
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange | RvError::PinLocked,
            _,
        ) => DeviceError::WrongPin,
        // The variant says it; the crate's text is the standard's paragraph.
        Error::Pkcs11(code, function) => DeviceError::Refused(format!("{function:?}: {code:?}")),
        other => DeviceError::Unreachable(other.to_string()),
    }
}
