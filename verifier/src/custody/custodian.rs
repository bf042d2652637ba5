//! Opening what the keyring names.

use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::{
    Cabinet, CustodyError, Device, DeviceError, DeviceSigner, KeyEntry, KeyKind, KeyPlace, Keyring,
    NewFile,
    cabinet::{public_entry, server_id},
    key_file, pkcs11, root,
    rotation::signing_file,
    tpm,
};
use crate::{
    config::{CaBackend, CaConfig, Config, Home, home::file},
    freshness::ChallengeSealer,
    heartbeat::{MasterKeys, NamedMaster},
    identity::{
        CaCurve, CaPublic, CaSigner, FileSigner, IdentityError, IssuingCa, IssuingCas, ResultKey,
        SecretKey, SignError, pem,
    },
    secrets::{Kek, Keks},
    time::UnixTime,
};

/// Octets of a PKCS#11 key's CKA_ID: chosen at random when it is made.
const CKA_ID: usize = 8;

/// Opens the directory's keys as the configuration says.
#[derive(Debug, Clone)]
pub struct Custodian {
    home: Home,
    ca: CaConfig,
    challenge_seconds: u32,
}

/// What the service works with.
#[derive(Debug)]
pub struct Keys {
    /// Issuing CAs, the current one first.
    pub issuing: IssuingCas,
    /// Seals and opens challenges.
    pub sealer: ChallengeSealer,
    /// Signs results.
    pub result: ResultKey,
    /// What heartbeat keys are derived from.
    pub heartbeat: MasterKeys,
    /// The server's certificate, PEM.
    pub server: String,
    /// Its key, PEM.
    pub server_key: Zeroizing<String>,
    /// Which keys these are, for the record: kind, id, and whether current.
    pub named: Vec<(KeyKind, String, bool)>,
    /// Encrypt secrets at rest, the current one first.
    pub secrets: Keks,
    /// Why the current issuing key does not sign at this time: it is in a
    /// device that is not to be reached. Everything else goes on.
    pub unreachable: Option<SignError>,
}

/// A key that was just made, and what has to be written for it.
pub struct MadeKey {
    /// Signs with it.
    pub signer: Arc<dyn CaSigner>,
    /// Where it is.
    pub place: KeyPlace,
    /// Files to be written.
    pub files: Vec<NewFile>,
}

impl Custodian {
    /// For the directory, as configured.
    #[must_use]
    pub fn new(home: Home, config: &Config) -> Self {
        Self {
            home,
            ca: config.ca.clone(),
            challenge_seconds: config.challenge_seconds,
        }
    }

    /// Opens every key that counts at `now`, and publishes result keys where
    /// that was left undone.
    ///
    /// Blocks: scrypt takes a tenth of a second, a device may take seconds.
    ///
    /// # Errors
    /// [`CustodyError`] names the file or device. A device that cannot be
    /// reached is no error ([`Keys::unreachable`]); one that holds another key
    /// is.
    pub fn open(&self, now: UnixTime) -> Result<Keys, CustodyError> {
        self.home.inspect_secrets()?;
        let cabinet = Cabinet::new(&self.home);
        let ring = cabinet.read()?;
        cabinet.publish(&ring, now)?;

        let current = self.issuing(ring.current(KeyKind::Issuing))?;
        let unreachable = self.probe(&current)?;
        let previous = ring
            .previous(KeyKind::Issuing, now)
            .map(|entry| self.issuing(entry))
            .collect::<Result<Vec<_>, _>>()?;
        let issuing =
            IssuingCas::new(current, previous).map_err(|source| CustodyError::Identity {
                what: "issuing CAs".to_owned(),
                source,
            })?;

        let token = ring.current(KeyKind::Token);
        let mut sealer =
            ChallengeSealer::new(*self.token_key(token)?).with_lifetime(self.challenge_seconds);
        for entry in ring.previous(KeyKind::Token, now) {
            let until = UnixTime::from_seconds(entry.until.unwrap_or_default());
            sealer = sealer.with_previous(*self.token_key(entry)?, until);
        }

        let result = ring.current(KeyKind::Result);
        let der = root::read_key(&self.home, in_file(result)?, None)?;
        let result_key = ResultKey::from_pkcs8(&der).map_err(|source| CustodyError::Identity {
            what: format!("result key {}", result.id),
            source,
        })?;
        same_id(KeyKind::Result, &result.id, &hex::encode(result_key.id()))?;

        let server = ring.current(KeyKind::Server);
        let certificate = server.certificate.as_deref().unwrap_or(file::SERVER);
        same_id(
            KeyKind::Server,
            &server.id,
            &server_id(&cabinet.certificate(certificate)?),
        )?;
        let named = KeyKind::ALL.into_iter().flat_map(|kind| {
            let counting = ring.of(kind).iter().filter(|entry| entry.counts(now));
            counting.map(move |entry| (kind, entry.id.clone(), entry.until.is_none()))
        });
        Ok(Keys {
            issuing,
            sealer,
            result: result_key,
            heartbeat: self.masters(&ring, now)?,
            server: self.home.read_trusted(certificate)?,
            server_key: self.home.read_secret(in_file(server)?)?,
            named: named.collect(),
            secrets: self.keks(&ring)?,
            unreachable,
        })
    }

    /// An issuing CA with its key.
    fn issuing(&self, entry: &KeyEntry) -> Result<IssuingCa, CustodyError> {
        let name = entry.certificate.as_deref().unwrap_or(file::ISSUING_CA);
        let certificate = Cabinet::new(&self.home).ca_certificate(name)?;
        same_id(
            KeyKind::Issuing,
            &entry.id,
            &hex::encode(certificate.key_identifier()),
        )?;
        let signer = self.signer(entry)?;
        let ca = IssuingCa::open(certificate.der(), signer).map_err(|source| {
            CustodyError::Identity {
                what: self.home.path(name).display().to_string(),
                source,
            }
        })?;
        Ok(ca.void_since(entry.void_since.map(UnixTime::from_seconds)))
    }

    /// Signs once with a key that lives in a device: another key in its place
    /// is told before anything is served (C27).
    fn probe(&self, ca: &IssuingCa) -> Result<Option<SignError>, CustodyError> {
        match ca.sign(b"holdfast: are you there?") {
            Ok(_) => Ok(None),
            Err(IdentityError::Sign(SignError::Substituted(why))) => Err(CustodyError::Device {
                what: "the issuing key".to_owned(),
                source: DeviceError::Refused(why),
            }),
            Err(IdentityError::Sign(error)) => Ok(Some(error)),
            Err(source) => Err(CustodyError::Identity {
                what: "the issuing key".to_owned(),
                source,
            }),
        }
    }

    /// The configuration of keys.
    pub(super) const fn ca(&self) -> &CaConfig {
        &self.ca
    }

    /// What signs for an issuing key, or a policy key.
    ///
    /// # Errors
    /// [`CustodyError`] names the file or device.
    pub fn signer(&self, entry: &KeyEntry) -> Result<Arc<dyn CaSigner>, CustodyError> {
        Ok(match &entry.key {
            KeyPlace::File(name) => Arc::new(root::read_signer(
                &self.home,
                name,
                self.ca.passphrase.as_ref(),
            )?),
            KeyPlace::Pkcs11 { id } => {
                let octets = hex::decode(id)
                    .map_err(|_| CustodyError::Place(format!("{id:?} is no key id")))?;
                let public = self.public(entry)?;
                let key = pkcs11::Pkcs11Key::new(self.ca.pkcs11.clone(), octets, public.clone());
                self.attend(public, &entry.key, key)?
            }
            KeyPlace::Tpm { handle, name } => {
                let public = self.public(entry)?;
                let key =
                    tpm::TpmKey::new(self.ca.tpm.clone(), *handle, name.clone(), public.clone());
                self.attend(public, &entry.key, key)?
            }
            KeyPlace::Destroyed => {
                return Err(CustodyError::Place(format!(
                    "key {} is destroyed",
                    entry.id
                )));
            }
        })
    }

    fn attend(
        &self,
        public: CaPublic,
        place: &KeyPlace,
        device: impl Device,
    ) -> Result<Arc<dyn CaSigner>, CustodyError> {
        let what = self.device_name(place);
        let signer = DeviceSigner::attend(public, what.clone(), device)
            .map_err(|source| CustodyError::Device { what, source })?;
        Ok(Arc::new(signer))
    }

    fn device_name(&self, place: &KeyPlace) -> String {
        match place {
            KeyPlace::Pkcs11 { .. } => {
                format!("{} in token {:?}", place.describe(), self.ca.pkcs11.token)
            }
            KeyPlace::Tpm { .. } => format!("{} of {}", place.describe(), self.ca.tpm.device),
            _ => place.describe(),
        }
    }

    /// The public key that the certificate, or a waiting key's entry, has.
    fn public(&self, entry: &KeyEntry) -> Result<CaPublic, CustodyError> {
        let none = || CustodyError::Place(format!("key {} has no public half", entry.id));
        if let Some(name) = &entry.certificate {
            let certificate = Cabinet::new(&self.home).ca_certificate(name)?;
            return certificate.public().cloned().ok_or_else(none);
        }
        let spki = entry.public.as_deref().ok_or_else(none)?;
        let spki = hex::decode(spki).map_err(|_| none())?;
        CaPublic::from_spki(&spki).map_err(|_| none())
    }

    /// What signs with the online policy keys that count at `now`, the current
    /// one first; none where there is no such key yet.
    ///
    /// # Errors
    /// [`CustodyError`] names the file or device; a file that holds another key
    /// than the keyring says.
    pub fn seal_signers(&self, now: UnixTime) -> Result<Vec<Arc<dyn CaSigner>>, CustodyError> {
        let ring = Cabinet::new(&self.home).read()?;
        let counting = ring
            .of(KeyKind::Seal)
            .iter()
            .filter(|entry| entry.counts(now));
        counting
            .map(|entry| {
                let signer = self.signer(entry)?;
                let found = public_entry(signer.public(), entry.key.clone(), 0).id;
                same_id(KeyKind::Seal, &entry.id, &found)?;
                Ok(signer)
            })
            .collect()
    }

    /// The keys for secrets at rest, the current one first: all that the keyring
    /// has, also those that have ended, for a secret may be under one still.
    fn keks(&self, ring: &Keyring) -> Result<Keks, CustodyError> {
        let rng = SystemRandom::new();
        let keks = ring.of(KeyKind::Secrets).iter().map(|entry| {
            let name = in_file(entry)?;
            let der = root::read_key(&self.home, name, self.ca.passphrase.as_ref())?;
            let signer = FileSigner::from_pkcs8(&der).map_err(made)?;
            let found = public_entry(signer.public(), entry.key.clone(), 0).id;
            same_id(KeyKind::Secrets, &entry.id, &found)?;
            Kek::from_pkcs8(entry.id.clone(), &der, &rng)
                .map_err(|e| CustodyError::Place(format!("secrets key {}: {e}", entry.id)))
        });
        keks.collect::<Result<Vec<_>, _>>().map(Keks::new)
    }

    /// Makes an issuing key, or a policy key, where `[ca] backend` says.
    ///
    /// # Errors
    /// [`CustodyError`] names the device or secret.
    pub fn make(&self, kind: KeyKind, rng: &dyn SecureRandom) -> Result<MadeKey, CustodyError> {
        match self.ca.backend {
            CaBackend::File => {
                let key = SecretKey::generate(rng).map_err(made)?;
                let signer = Arc::new(FileSigner::from_pkcs8(key.expose_der()).map_err(made)?);
                let text = issuing_key_text(&key, &self.ca, rng)?;
                Ok(signing_file(kind, signer, text))
            }
            CaBackend::Pkcs11 => {
                let mut id = [0; CKA_ID];
                rng.fill(&mut id)
                    .map_err(|ring::error::Unspecified| CustodyError::NoRandomness)?;
                let place = KeyPlace::Pkcs11 {
                    id: hex::encode(id),
                };
                let public = pkcs11::generate(&self.ca.pkcs11, CaCurve::P256, &id)
                    .map_err(|source| self.device_error(&place, source))?;
                let key =
                    pkcs11::Pkcs11Key::new(self.ca.pkcs11.clone(), id.to_vec(), public.clone());
                self.made(public, place, key)
            }
            CaBackend::Tpm => {
                let mut config = self.ca.tpm.clone();
                let device = config.device.clone();
                let failed = |source| CustodyError::Device {
                    what: device.clone(),
                    source,
                };
                if kind == KeyKind::Seal {
                    // The configured handle is the issuing CA's.
                    config.handle = tpm::free_handle(&config).map_err(failed)?;
                }
                let config = &config;
                let (public, name) = tpm::generate(config, rng).map_err(failed)?;
                let key =
                    tpm::TpmKey::new(config.clone(), config.handle, name.clone(), public.clone());
                let place = KeyPlace::Tpm {
                    handle: config.handle,
                    name,
                };
                self.made(public, place, key)
            }
        }
    }

    fn made(
        &self,
        public: CaPublic,
        place: KeyPlace,
        device: impl Device,
    ) -> Result<MadeKey, CustodyError> {
        Ok(MadeKey {
            signer: self.attend(public, &place, device)?,
            place,
            files: Vec::new(),
        })
    }

    /// Destroys a private key of ours.
    ///
    /// # Errors
    /// [`CustodyError`] names the file or device.
    pub fn destroy(&self, place: &KeyPlace) -> Result<(), CustodyError> {
        match place {
            KeyPlace::File(name) => Ok(self.home.remove_if_there(name)?),
            KeyPlace::Pkcs11 { id } => {
                let octets = hex::decode(id)
                    .map_err(|_| CustodyError::Place(format!("{id:?} is no key id")))?;
                pkcs11::destroy(&self.ca.pkcs11, &octets)
                    .map_err(|source| self.device_error(place, source))
            }
            KeyPlace::Tpm { handle, name } => tpm::destroy(&self.ca.tpm, *handle, name)
                .map_err(|source| self.device_error(place, source)),
            KeyPlace::Destroyed => Ok(()),
        }
    }

    fn device_error(&self, place: &KeyPlace, source: DeviceError) -> CustodyError {
        CustodyError::Device {
            what: self.device_name(place),
            source,
        }
    }

    fn masters(&self, ring: &Keyring, now: UnixTime) -> Result<MasterKeys, CustodyError> {
        let mut entries = ring.of(KeyKind::Heartbeat).iter();
        let current = entries.next().map(|entry| self.master(entry)).transpose()?;
        let mut masters = MasterKeys::new(current);
        for entry in entries.filter(|entry| entry.counts(now)) {
            let until = UnixTime::from_seconds(entry.until.unwrap_or_default());
            masters = masters.with_previous(self.master(entry)?, until);
        }
        Ok(masters)
    }

    fn master(&self, entry: &KeyEntry) -> Result<NamedMaster, CustodyError> {
        let key = Cabinet::new(&self.home).token_key(in_file(entry)?)?;
        let master = NamedMaster::new(&key);
        same_id(KeyKind::Heartbeat, &entry.id, master.id())?;
        Ok(master)
    }

    fn token_key(&self, entry: &KeyEntry) -> Result<Zeroizing<[u8; 32]>, CustodyError> {
        let key = Cabinet::new(&self.home).token_key(in_file(entry)?)?;
        same_id(
            KeyKind::Token,
            &entry.id,
            &hex::encode(ChallengeSealer::key_id(&key)),
        )?;
        Ok(key)
    }
}

/// Text of an issuing key's file: encrypted where a passphrase is configured.
///
/// # Errors
/// [`CustodyError::Secret`].
pub(crate) fn issuing_key_text(
    key: &SecretKey,
    ca: &CaConfig,
    rng: &dyn SecureRandom,
) -> Result<Zeroizing<Vec<u8>>, CustodyError> {
    key_text(key.expose_der(), ca, rng)
}

/// The text of a private key's file (PKCS#8 DER): encrypted where `[ca]` has a
/// passphrase.
pub(super) fn key_text(
    pkcs8: &[u8],
    ca: &CaConfig,
    rng: &dyn SecureRandom,
) -> Result<Zeroizing<Vec<u8>>, CustodyError> {
    let text = match &ca.passphrase {
        None => pem::encode("PRIVATE KEY", pkcs8).into_bytes(),
        Some(source) => {
            let passphrase = source.read()?;
            key_file::encrypt(pkcs8, &passphrase, rng)
                .map_err(|_| CustodyError::NoRandomness)?
                .into_bytes()
        }
    };
    Ok(Zeroizing::new(text))
}

fn in_file(entry: &KeyEntry) -> Result<&str, CustodyError> {
    match &entry.key {
        KeyPlace::File(name) => Ok(name),
        other => Err(CustodyError::Place(format!(
            "key {} is not in a file but: {}",
            entry.id,
            other.describe()
        ))),
    }
}

/// A file that was exchanged under the keyring's feet.
fn same_id(kind: KeyKind, stated: &str, found: &str) -> Result<(), CustodyError> {
    if stated == found {
        Ok(())
    } else {
        Err(CustodyError::Place(format!(
            "its {kind} key is {stated}, the file holds {found}"
        )))
    }
}

fn made(source: IdentityError) -> CustodyError {
    CustodyError::Identity {
        what: "new issuing key".to_owned(),
        source,
    }
}
