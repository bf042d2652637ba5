//! The keyring: which keys and certificates are in use, which of before still
//! count, and where each private key is. It holds no secret. `keyring.json` is
//! replaced whole, so that what it says is the one switch between a key and the
//! next: files that it does not name are not in use.

use std::{fmt, path::Path};

use serde::{Deserialize, Serialize};

use crate::time::UnixTime;

const FORMAT: u32 = 1;
/// Generations of one kind at once: the current one and those that end.
pub const GENERATIONS_MAX: usize = 8;

/// What there are keys for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum KeyKind {
    /// The CA that issues LDevIDs.
    Issuing,
    /// The TLS server's certificate.
    Server,
    /// Challenge tokens.
    Token,
    /// Attestation results.
    Result,
    /// The online policy key, which approves boot states for sealing. None
    /// before the first `seal delegate`.
    Seal,
    /// Encrypts secrets for gateways at rest. None before the first is put.
    Secrets,
    /// What heartbeat keys are derived from. A directory from before there were
    /// heartbeats has none, until `serve` makes it.
    Heartbeat,
}

impl KeyKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Issuing,
        Self::Server,
        Self::Token,
        Self::Result,
        Self::Seal,
        Self::Secrets,
        Self::Heartbeat,
    ];

    /// As the command line and the audit log call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Issuing => "issuing",
            Self::Server => "server",
            Self::Token => "token",
            Self::Result => "result",
            Self::Seal => "seal",
            Self::Secrets => "secrets",
            Self::Heartbeat => "heartbeat",
        }
    }

    /// Whether there may be no key of it.
    const fn is_optional(self) -> bool {
        matches!(self, Self::Seal | Self::Secrets | Self::Heartbeat)
    }

    const fn needs_certificate(self) -> bool {
        matches!(self, Self::Issuing | Self::Server)
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a private key is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum KeyPlace {
    /// In a file of the directory.
    File(String),
    /// In the PKCS#11 token of `[ca.pkcs11]`.
    Pkcs11 {
        /// CKA_ID in hex.
        id: String,
    },
    /// In the TPM of `[ca.tpm]`.
    Tpm {
        /// Persistent handle.
        handle: u32,
        /// The object's Name in hex: a key put in its place has another.
        name: String,
    },
    /// Destroyed: what it signed is still verified with its public half.
    Destroyed,
}

impl KeyPlace {
    /// For people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::File(name) => format!("file {name}"),
            Self::Pkcs11 { id } => format!("PKCS#11 key {id}"),
            Self::Tpm { handle, .. } => format!("TPM handle {handle:#010x}"),
            Self::Destroyed => "destroyed".to_owned(),
        }
    }
}

/// One generation of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    /// Public identifier in hex: of a certificate's key its
    /// subjectKeyIdentifier, of the token key the id in tokens, of a result key
    /// the `kid`.
    pub id: String,
    /// When it came into use, seconds since 1970; 0: with the directory.
    pub since: i64,
    /// Until when it still counts beside its successor; absent: the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// Certificate file in the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// DER SubjectPublicKeyInfo in hex, of result, seal and secrets keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<String>,
    /// Since when it is void: it came out of a backup (seconds since 1970), and
    /// may have been retired after that was made. It is to be replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub void_since: Option<i64>,
    /// Its private key.
    pub key: KeyPlace,
}

impl KeyEntry {
    /// Whether it counts at `now`.
    #[must_use]
    pub fn counts(&self, now: UnixTime) -> bool {
        self.until.is_none_or(|until| now.seconds() < until)
    }

    fn files(&self) -> impl Iterator<Item = &str> {
        let key = match &self.key {
            KeyPlace::File(name) => Some(name.as_str()),
            _ => None,
        };
        self.certificate.as_deref().into_iter().chain(key)
    }
}

/// The keyring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keyring {
    format: u32,
    issuing: Vec<KeyEntry>,
    /// An issuing key that waits for its certificate (`ca request`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pending: Option<KeyEntry>,
    server: Vec<KeyEntry>,
    token: Vec<KeyEntry>,
    result: Vec<KeyEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    seal: Vec<KeyEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<KeyEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    heartbeat: Vec<KeyEntry>,
}

/// Why a keyring, or a change of it, is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// Not what this program writes.
    #[error("it is not a keyring: {0}")]
    Malformed(String),
    /// Of a later version of this program.
    #[error("it has format {0}; this program knows {FORMAT}")]
    Format(u32),
    /// Not one current key first, and those of before behind it.
    #[error("its {0} keys are not one current key followed by those that end")]
    Order(KeyKind),
    /// Twice the same key.
    #[error("its {kind} key {id} is there twice")]
    Twice {
        /// Of which kind.
        kind: KeyKind,
        /// Which.
        id: String,
    },
    /// A name that is not one of a file in the directory.
    #[error("it names the file {0:?}, which is no plain name")]
    FileName(String),
    /// A certificate or public key that the kind needs.
    #[error("its {kind} key {id} has no certificate or public key")]
    Incomplete {
        /// Of which kind.
        kind: KeyKind,
        /// Which.
        id: String,
    },
    /// Too many that still count.
    #[error(
        "there are {GENERATIONS_MAX} {0} keys already: retire those that have ended, with holdfast-verifier key retire"
    )]
    TooMany(KeyKind),
    /// No such key.
    #[error("there is no {kind} key {id}; key list shows them")]
    Unknown {
        /// Of which kind.
        kind: KeyKind,
        /// What was asked for.
        id: String,
    },
    /// The current key is replaced, not retired.
    #[error("{kind} key {id} is the one in use: rotate first")]
    InUse {
        /// Of which kind.
        kind: KeyKind,
        /// Which.
        id: String,
    },
    /// It still counts.
    #[error("{kind} key {id} counts until {until}: retire it then, or with --now")]
    StillCounts {
        /// Of which kind.
        kind: KeyKind,
        /// Which.
        id: String,
        /// Until when.
        until: UnixTime,
    },
}

impl Keyring {
    /// A first keyring, one key of each kind.
    #[must_use]
    pub fn first(issuing: KeyEntry, server: KeyEntry, token: KeyEntry, result: KeyEntry) -> Self {
        Self {
            format: FORMAT,
            issuing: vec![issuing],
            pending: None,
            server: vec![server],
            token: vec![token],
            result: vec![result],
            seal: Vec::new(),
            secrets: Vec::new(),
            heartbeat: Vec::new(),
        }
    }

    /// From the text of `keyring.json`.
    ///
    /// # Errors
    /// [`KeyringError`] says what is not as this program writes it.
    pub fn parse(text: &str) -> Result<Self, KeyringError> {
        /// Looked at first: a later format may have other fields.
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let malformed = |e: serde_json::Error| KeyringError::Malformed(e.to_string());
        let head: Head = serde_json::from_str(text).map_err(malformed)?;
        if head.format != FORMAT {
            return Err(KeyringError::Format(head.format));
        }
        let ring: Self = serde_json::from_str(text).map_err(malformed)?;
        for kind in KeyKind::ALL {
            ring.expect_whole(kind)?;
        }
        for name in ring.files() {
            let plain = !name.is_empty()
                && !name.starts_with('.')
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
            if !plain {
                return Err(KeyringError::FileName(name.to_owned()));
            }
        }
        Ok(ring)
    }

    fn expect_whole(&self, kind: KeyKind) -> Result<(), KeyringError> {
        let entries = self.of(kind);
        if kind.is_optional() && entries.is_empty() {
            return Ok(());
        }
        let in_order = entries.split_first().is_some_and(|(first, rest)| {
            first.until.is_none() && rest.iter().all(|entry| entry.until.is_some())
        });
        if !in_order || entries.len() > GENERATIONS_MAX {
            return Err(KeyringError::Order(kind));
        }
        for (position, entry) in entries.iter().enumerate() {
            let id = || entry.id.clone();
            if entries.iter().take(position).any(|e| e.id == entry.id) {
                return Err(KeyringError::Twice { kind, id: id() });
            }
            let lacks = match kind {
                KeyKind::Result | KeyKind::Seal | KeyKind::Secrets => entry.public.is_none(),
                kind => kind.needs_certificate() && entry.certificate.is_none(),
            };
            if lacks {
                return Err(KeyringError::Incomplete { kind, id: id() });
            }
        }
        Ok(())
    }

    /// As it is written.
    #[must_use]
    pub fn to_text(&self) -> String {
        let text = serde_json::to_string_pretty(self);
        text.map(|text| text + "\n").unwrap_or_default()
    }

    /// The keys of a kind, the current one first.
    #[must_use]
    pub fn of(&self, kind: KeyKind) -> &[KeyEntry] {
        match kind {
            KeyKind::Issuing => &self.issuing,
            KeyKind::Server => &self.server,
            KeyKind::Token => &self.token,
            KeyKind::Result => &self.result,
            KeyKind::Seal => &self.seal,
            KeyKind::Secrets => &self.secrets,
            KeyKind::Heartbeat => &self.heartbeat,
        }
    }

    fn of_mut(&mut self, kind: KeyKind) -> &mut Vec<KeyEntry> {
        match kind {
            KeyKind::Issuing => &mut self.issuing,
            KeyKind::Server => &mut self.server,
            KeyKind::Token => &mut self.token,
            KeyKind::Result => &mut self.result,
            KeyKind::Seal => &mut self.seal,
            KeyKind::Secrets => &mut self.secrets,
            KeyKind::Heartbeat => &mut self.heartbeat,
        }
    }

    /// The key in use.
    ///
    /// # Panics
    /// Of a kind that is made by use, where there is none yet. Of no other:
    /// [`Keyring::parse`] and [`Keyring::first`] see to it that there is one.
    #[must_use]
    pub fn current(&self, kind: KeyKind) -> &KeyEntry {
        self.of(kind)
            .first()
            .expect("a keyring has one of each kind")
    }

    /// Those of before that still count at `now`, the latest first.
    pub fn previous(&self, kind: KeyKind, now: UnixTime) -> impl Iterator<Item = &KeyEntry> {
        self.of(kind).iter().skip(1).filter(move |e| e.counts(now))
    }

    /// The issuing key that waits for its certificate.
    #[must_use]
    pub const fn pending(&self) -> Option<&KeyEntry> {
        self.pending.as_ref()
    }

    /// Remembers an issuing key that waits for its certificate, in place of one
    /// that may have waited before.
    pub fn set_pending(&mut self, entry: Option<KeyEntry>) {
        self.pending = entry;
    }

    /// Makes `entry` the current key; the one of before counts until `until`.
    ///
    /// # Errors
    /// [`KeyringError::TooMany`], [`KeyringError::Twice`].
    pub fn promote(
        &mut self,
        kind: KeyKind,
        entry: KeyEntry,
        until: UnixTime,
    ) -> Result<(), KeyringError> {
        let entries = self.of_mut(kind);
        if entries.len() >= GENERATIONS_MAX {
            return Err(KeyringError::TooMany(kind));
        }
        if entries.iter().any(|e| e.id == entry.id) {
            return Err(KeyringError::Twice { kind, id: entry.id });
        }
        if let Some(before) = entries.first_mut() {
            // Nothing under a void key counts beside its successor; a void CA
            // goes on saying what it revoked.
            let overlaps = before.void_since.is_none() || kind == KeyKind::Issuing;
            before.until = Some(if overlaps {
                until.seconds()
            } else {
                entry.since.min(until.seconds())
            });
        }
        entries.insert(0, entry);
        Ok(())
    }

    /// Makes void what came out of a backup at `now`: each key may have been
    /// retired since, or compromised. Those in use stay until they are replaced;
    /// those of before end, but for issuing CAs, which go on saying what they
    /// revoked. A request for a certificate that was under way is forgotten.
    /// Server keys stay: gateways go by the CA above them, so that a new one
    /// takes nothing from whoever has the old.
    pub fn make_void(&mut self, now: UnixTime) {
        self.pending = None;
        for kind in KeyKind::ALL {
            if kind == KeyKind::Server {
                continue;
            }
            for entry in self.of_mut(kind) {
                entry.void_since.get_or_insert(now.seconds());
                if kind != KeyKind::Issuing {
                    entry.until = entry.until.map(|until| until.min(now.seconds()));
                }
            }
        }
    }

    /// Kinds of which a void key is in use.
    #[must_use]
    pub fn void_current(&self) -> Vec<KeyKind> {
        let void = |kind: &KeyKind| {
            let current = self.of(*kind).first();
            current.is_some_and(|entry| entry.void_since.is_some())
        };
        KeyKind::ALL.into_iter().filter(void).collect()
    }

    /// Takes out a key that has ended; `early` also one that still counts.
    ///
    /// # Errors
    /// [`KeyringError::Unknown`], [`KeyringError::InUse`],
    /// [`KeyringError::StillCounts`].
    pub fn retire(
        &mut self,
        kind: KeyKind,
        id: &str,
        early: bool,
        now: UnixTime,
    ) -> Result<KeyEntry, KeyringError> {
        let id_owned = || id.to_owned();
        let entries = self.of_mut(kind);
        let position = entries.iter().position(|entry| entry.id == id);
        let (position, entry) = position
            .and_then(|at| Some((at, entries.get(at)?)))
            .ok_or_else(|| KeyringError::Unknown {
                kind,
                id: id_owned(),
            })?;
        let Some(until) = entry.until else {
            return Err(KeyringError::InUse {
                kind,
                id: id_owned(),
            });
        };
        if entry.counts(now) && !early {
            return Err(KeyringError::StillCounts {
                kind,
                id: id_owned(),
                until: UnixTime::from_seconds(until),
            });
        }
        Ok(entries.remove(position))
    }

    /// Marks the private half of a result key of before as gone.
    pub(super) fn forget_private(&mut self, id: &str) {
        for entry in self.result.iter_mut().skip(1).filter(|e| e.id == id) {
            entry.key = KeyPlace::Destroyed;
        }
    }

    /// Every file that it names.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        KeyKind::ALL
            .into_iter()
            .flat_map(|kind| self.of(kind))
            .chain(&self.pending)
            .flat_map(KeyEntry::files)
    }
}

/// The command that replaces a key of each kind, one a line.
#[must_use]
pub fn rotate_commands(dir: &Path, kinds: &[KeyKind]) -> String {
    let command = |kind: &KeyKind| {
        let more = match kind {
            KeyKind::Issuing => " (--root-ca-dir DIR where the root is elsewhere; or ca request)",
            KeyKind::Seal => " (then seal delegate, for each class)",
            _ => "",
        };
        format!(
            "  holdfast-verifier key rotate --dir {} {kind}{more}",
            dir.display()
        )
    };
    kinds.iter().map(command).collect::<Vec<_>>().join("\n")
}
