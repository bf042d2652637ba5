//! Custody: where the Verifier's private keys are, and how one generation
//! follows another.
//!
//! In: the directory, `[ca]` of the configuration, a time. Out: [`Keys`], which
//! the service works with, and, for the command line, the acts of rotation.
//! What is signed with them is decided elsewhere.
//!
//! ```text
//! keyring.json ─► Keyring ─Custodian::open─► Keys { issuing CAs, challenge sealer, result key, server }
//!                    ▲
//!                    └── Rotation: new files, then the keyring (the switch), then what is published
//! ```

mod cabinet;
mod custodian;
mod device;
mod key_file;
mod keyring;
mod pkcs11;
mod published;
mod refused_pins;
mod root;
mod rotation;
mod source;
#[cfg(test)]
pub(crate) mod tests;
pub mod tpm;

use std::path::PathBuf;

pub use cabinet::{Cabinet, CabinetLock, NewFile, Step};
pub(crate) use custodian::issuing_key_text;
pub use custodian::{Custodian, Keys, MadeKey};
pub use device::{Device, DeviceError, DeviceSigner};
pub use key_file::{KeyFileError, decrypt, encrypt, is_encrypted};
pub use keyring::{
    GENERATIONS_MAX, KeyEntry, KeyKind, KeyPlace, Keyring, KeyringError, rotate_commands,
};
pub use root::OfflineRoot;
pub(crate) use root::read_signer;
pub use rotation::{Rotated, Rotation};
pub use source::{SecretError, SecretSource};

use crate::{config::HomeError, identity::IdentityError};

/// Why a key is not had, or not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CustodyError {
    /// A file cannot be read or written, or others can.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The keyring.
    #[error("{}: {source}", path.display())]
    Keyring {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeyringError,
    },
    /// A change of the keyring.
    #[error(transparent)]
    Change(#[from] KeyringError),
    /// Somebody else changes the keyring.
    #[error("{} is held: another command changes the keys; try again", .0.display())]
    Busy(PathBuf),
    /// A private key's file.
    #[error("{}: {source}", path.display())]
    KeyFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeyFileError,
    },
    /// A passphrase or PIN.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A certificate or public key file.
    #[error("{}: {why}", path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A token key file.
    #[error("{} does not hold 64 hex digits", .0.display())]
    TokenKey(PathBuf),
    /// A key or certificate that cannot be used.
    #[error("{what}: {source}")]
    Identity {
        /// Which.
        what: String,
        /// Why.
        #[source]
        source: IdentityError,
    },
    /// The token or TPM.
    #[error("{what}: {source}")]
    Device {
        /// Which.
        what: String,
        /// Why.
        #[source]
        source: DeviceError,
    },
    /// The keyring names a key that this kind cannot have.
    #[error("keyring.json: {0}")]
    Place(String),
    /// Public keys cannot be written.
    #[error("result keys: {0}")]
    Published(String),
    /// No randomness.
    #[error("the system has no randomness")]
    NoRandomness,
    /// The root at hand is another.
    #[error("{} is not the root of this verifier ({}): name the directory of its root", given.display(), ours.display())]
    OtherRoot {
        /// Certificate at hand.
        given: PathBuf,
        /// Certificate of the verifier.
        ours: PathBuf,
    },
    /// No issuing key waits for a certificate.
    #[error("no issuing key waits for a certificate: begin with holdfast-verifier ca request")]
    NothingPending,
    /// A certificate for another key than the one that waits.
    #[error("the certificate is for key {found}, the key that waits is {pending}")]
    NotThePending {
        /// Key identifier in the certificate.
        found: String,
        /// Key identifier of the waiting key.
        pending: String,
    },
}
