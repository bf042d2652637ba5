//! The keyring and the key files on disk: reading, and changing one generation
//! for the next so that a crash at any point leaves what was or what is to be.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
};

use nix::libc;
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, pem::PemObject as _};
use zeroize::Zeroizing;

use super::{
    CustodyError,
    keyring::{KeyEntry, KeyKind, KeyPlace, Keyring},
    published,
};
use crate::{
    config::{Home, HomeError, home::file},
    digest::sha256,
    freshness::ChallengeSealer,
    heartbeat::MasterKey,
    identity::{CaCertificate, CaPublic},
    time::UnixTime,
};

/// The directory's keys. Changing them takes the lock.
#[derive(Debug)]
pub struct Cabinet<'a> {
    home: &'a Home,
}

/// Proof that nobody else changes the keyring, until dropped.
#[derive(Debug)]
pub struct CabinetLock(#[expect(dead_code, reason = "held, not used")] File);

/// Points of a change at which a crash is tried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A new file is on disk.
    Written,
    /// The keyring names the new key: from here on it is in use.
    Switched,
    /// What is published of it is on disk.
    Published,
    /// What is no longer needed is gone.
    Cleared,
}

/// A file of a new generation, by name, content and mode.
pub struct NewFile {
    /// Plain name.
    pub name: String,
    /// Whole content.
    pub content: Zeroizing<Vec<u8>>,
    /// 0600 for secrets, 0644 else.
    pub mode: u32,
}

impl<'a> Cabinet<'a> {
    /// The keys in `home`.
    #[must_use]
    pub const fn new(home: &'a Home) -> Self {
        Self { home }
    }

    /// Keeps others from changing the keyring.
    ///
    /// # Errors
    /// [`CustodyError::Busy`] where somebody does.
    pub fn lock(&self) -> Result<CabinetLock, CustodyError> {
        let path = self.home.path(file::KEYRING_LOCK);
        let at = |source| HomeError::Io {
            path: path.clone(),
            source,
        };
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(at)?;
        match lock.try_lock() {
            Ok(()) => Ok(CabinetLock(lock)),
            Err(std::fs::TryLockError::WouldBlock) => Err(CustodyError::Busy(path)),
            Err(std::fs::TryLockError::Error(e)) => Err(at(e).into()),
        }
    }

    /// The keyring; of a directory that is older than keyrings, the one that
    /// its files amount to.
    ///
    /// # Errors
    /// [`CustodyError`] names the file.
    pub fn read(&self) -> Result<Keyring, CustodyError> {
        let text = match self.home.read_trusted(file::KEYRING) {
            Ok(text) => text,
            Err(HomeError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return self.begin(KeyPlace::File(file::ISSUING_CA_KEY.to_owned()));
            }
            Err(error) => return Err(error.into()),
        };
        Keyring::parse(&text).map_err(|source| CustodyError::Keyring {
            path: self.home.path(file::KEYRING),
            source,
        })
    }

    /// The first keyring, from the files that `init` writes and the place of
    /// the issuing key.
    ///
    /// # Errors
    /// As [`Cabinet::read`].
    pub fn begin(&self, place: KeyPlace) -> Result<Keyring, CustodyError> {
        let issuing = self.ca_certificate(file::ISSUING_CA)?;
        let server = self.certificate(file::SERVER)?;
        let token = self.token_key(file::TOKEN_KEY)?;
        let path = || self.home.path(file::RESULT_PUBLIC);
        let public = self.home.read_trusted(file::RESULT_PUBLIC)?;
        let public = SubjectPublicKeyInfoDer::from_pem_slice(public.as_bytes()).map_err(|e| {
            CustodyError::Certificate {
                path: path(),
                why: e.to_string(),
            }
        })?;
        Ok(Keyring::first(
            issuing_entry(&issuing, file::ISSUING_CA, place, 0),
            server_entry(&server, file::SERVER, file::SERVER_KEY, 0),
            token_entry(&token, file::TOKEN_KEY, 0),
            result_entry(public.as_ref(), file::RESULT_KEY, 0),
        ))
    }

    /// Writes the keyring, whole or not at all.
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub fn write(&self, ring: &Keyring, _lock: &CabinetLock) -> Result<(), CustodyError> {
        self.home
            .replace(file::KEYRING, ring.to_text().as_bytes(), 0o644)?;
        Ok(())
    }

    /// The whole change: files, then the keyring, which is the switch, then
    /// what is published and what is no longer needed. After a crash before the
    /// switch the old key is in use and the new files are strays, which
    /// [`Cabinet::clear`] removes; after it, the new one, and what was not
    /// published yet is published by whoever comes next.
    ///
    /// # Errors
    /// [`CustodyError`]; `reached` is told of each step and may refuse to go on.
    pub fn change(
        &self,
        ring: &Keyring,
        files: &[NewFile],
        lock: &CabinetLock,
        now: UnixTime,
        reached: &mut dyn FnMut(Step) -> Result<(), CustodyError>,
    ) -> Result<(), CustodyError> {
        for file in files {
            self.home.write_new(&file.name, &file.content, file.mode)?;
            reached(Step::Written)?;
        }
        self.write(ring, lock)?;
        reached(Step::Switched)?;
        self.publish(ring, now)?;
        reached(Step::Published)?;
        self.clear(ring, lock)?;
        reached(Step::Cleared)
    }

    /// Writes what others verify results with, where it is not so already.
    ///
    /// # Errors
    /// [`CustodyError`].
    pub fn publish(&self, ring: &Keyring, now: UnixTime) -> Result<(), CustodyError> {
        for (name, content) in published::files(ring, now)? {
            let unchanged = self
                .home
                .read_trusted_bytes(name)
                .is_ok_and(|found| found == content);
            if !unchanged {
                self.home.replace(name, &content, 0o644)?;
            }
        }
        Ok(())
    }

    /// Removes files of generations that the keyring does not name: left by a
    /// change that did not end, or by one that was retired. What does not look
    /// like ours is left alone.
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub fn clear(&self, ring: &Keyring, _lock: &CabinetLock) -> Result<Vec<String>, CustodyError> {
        let strays = self.strays(ring)?;
        for name in &strays {
            self.home.remove(name)?;
        }
        Ok(strays)
    }

    /// Files of generations that the keyring does not name.
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub fn strays(&self, ring: &Keyring) -> Result<Vec<String>, CustodyError> {
        let mut strays = self.home.names()?;
        strays.retain(|name| is_of_a_generation(name) && !ring.files().any(|used| used == name));
        Ok(strays)
    }

    /// A CA certificate file.
    ///
    /// # Errors
    /// [`CustodyError::Identity`] with its path.
    pub fn ca_certificate(&self, name: &str) -> Result<CaCertificate, CustodyError> {
        let der = self.certificate(name)?;
        CaCertificate::parse(&der).map_err(|source| CustodyError::Identity {
            what: self.home.path(name).display().to_string(),
            source,
        })
    }

    /// DER of a certificate file.
    ///
    /// # Errors
    /// [`CustodyError::Certificate`] with its path.
    pub fn certificate(&self, name: &str) -> Result<Vec<u8>, CustodyError> {
        let text = self.home.read_trusted(name)?;
        CertificateDer::from_pem_slice(text.as_bytes())
            .map(|der| der.to_vec())
            .map_err(|e| CustodyError::Certificate {
                path: self.home.path(name),
                why: e.to_string(),
            })
    }

    /// A token key file.
    ///
    /// # Errors
    /// [`CustodyError::TokenKey`] with its path.
    pub fn token_key(&self, name: &str) -> Result<Zeroizing<[u8; 32]>, CustodyError> {
        let text = self.home.read_secret(name)?;
        let mut key = Zeroizing::new([0_u8; 32]);
        hex::decode_to_slice(text.trim_end(), key.as_mut_slice())
            .map_err(|_| CustodyError::TokenKey(self.home.path(name)))?;
        Ok(key)
    }
}

/// Names that changes give to files: `init`'s own names have no id in them.
fn is_of_a_generation(name: &str) -> bool {
    [
        ("issuing-ca-", ".key.pem"),
        ("issuing-ca-", ".pem"),
        ("server-", ".key.pem"),
        ("server-", ".pem"),
        ("token-", ".key"),
        ("result-", ".key.pem"),
        ("seal-", ".key.pem"),
        ("secrets-", ".key.pem"),
        ("heartbeat-", ".key"),
    ]
    .iter()
    .any(|(head, tail)| {
        name.strip_prefix(head)
            .and_then(|rest| rest.strip_suffix(tail))
            .is_some_and(|id| id.len() == SHORT_ID && id.bytes().all(|b| b.is_ascii_hexdigit()))
    })
}

/// Hex digits of a key's id in file names.
const SHORT_ID: usize = 16;

/// Name of a file for the key with this id.
pub(super) fn file_name(stem: &str, id: &str, tail: &str) -> String {
    let short: String = id.chars().take(SHORT_ID).collect();
    format!("{stem}-{short}{tail}")
}

pub(super) fn issuing_entry(
    ca: &CaCertificate,
    certificate: &str,
    key: KeyPlace,
    since: i64,
) -> KeyEntry {
    KeyEntry {
        id: hex::encode(ca.key_identifier()),
        since,
        until: None,
        void_since: None,
        certificate: Some(certificate.to_owned()),
        public: None,
        key,
    }
}

pub(super) fn server_entry(der: &[u8], certificate: &str, key: &str, since: i64) -> KeyEntry {
    KeyEntry {
        id: server_id(der),
        since,
        until: None,
        void_since: None,
        certificate: Some(certificate.to_owned()),
        public: None,
        key: KeyPlace::File(key.to_owned()),
    }
}

/// Of a server certificate: the leftmost 160 bits of its SHA-256.
pub(super) fn server_id(der: &[u8]) -> String {
    hex::encode(sha256(&[der])).chars().take(40).collect()
}

pub(super) fn token_entry(key: &[u8; 32], name: &str, since: i64) -> KeyEntry {
    KeyEntry {
        id: hex::encode(ChallengeSealer::key_id(key)),
        since,
        until: None,
        void_since: None,
        certificate: None,
        public: None,
        key: KeyPlace::File(name.to_owned()),
    }
}

pub(super) fn heartbeat_entry(key: &[u8; 32], name: &str, since: i64) -> KeyEntry {
    KeyEntry {
        id: MasterKey::id(key),
        ..token_entry(key, name, since)
    }
}

pub(super) fn result_entry(spki: &[u8], name: &str, since: i64) -> KeyEntry {
    KeyEntry {
        id: hex::encode(sha256(&[spki])),
        since,
        until: None,
        void_since: None,
        certificate: None,
        public: Some(hex::encode(spki)),
        key: KeyPlace::File(name.to_owned()),
    }
}

/// Of a key that is known by its public half: a policy key, one for secrets.
pub(super) fn public_entry(public: &CaPublic, key: KeyPlace, since: i64) -> KeyEntry {
    let spki = public.spki();
    KeyEntry {
        id: hex::encode(sha256(&[&spki])),
        since,
        until: None,
        void_since: None,
        certificate: None,
        public: Some(hex::encode(spki)),
        key,
    }
}

/// The kinds that [`super::rotate`] makes a next generation of by itself.
pub(super) const fn stem(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Issuing => "issuing-ca",
        KeyKind::Server => "server",
        KeyKind::Token => "token",
        KeyKind::Result => "result",
        KeyKind::Seal => "seal",
        KeyKind::Secrets => "secrets",
        KeyKind::Heartbeat => "heartbeat",
    }
}
