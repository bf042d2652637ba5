//! Heartbeat keys: derived when needed, never stored.

use holdfast_proto::{
    binding::Ueid,
    tpm::{Name, Public, templates::heartbeat_key_template},
};
use ring::{hkdf, rand::SecureRandom};
use zeroize::Zeroizing;

use crate::{digest::sha256, freshness::FreshnessError, wrapping::with_unique};

/// Keeps these keys apart from whatever else the master might be used for.
const SALT: &[u8] = b"holdfast-heartbeat-key-v1";
/// Keeps its id apart from what is derived.
const ID_INFO: &[u8] = b"holdfast-heartbeat-master-id-v1";

/// The verifier's secret that all heartbeat keys come from.
pub struct MasterKey(hkdf::Prk);

impl MasterKey {
    /// Length of the secret, in bytes.
    pub const LEN: usize = 32;

    /// From the secret.
    #[must_use]
    pub fn new(secret: &[u8; Self::LEN]) -> Self {
        Self(hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(secret))
    }

    /// What epochs on record name the secret by: hex, of a hash. Not secret.
    #[must_use]
    pub fn id(secret: &[u8; Self::LEN]) -> String {
        hex::encode(sha256(&[ID_INFO, secret]))
    }

    /// The key of the gateway `id` with the AK called `ak`, in `epoch`:
    /// HKDF-SHA256 (RFC 5869) with info id ‖ AK Name ‖ epoch. The id and the
    /// epoch have one length each, and a Name says its own.
    #[must_use]
    pub fn derive(&self, id: &Ueid, ak: &Name, epoch: &Epoch) -> HeartbeatKey {
        let info = [id.as_bytes().as_slice(), ak.as_bytes(), &epoch.0];
        let mut material = Zeroizing::new([0; 64]);
        self.0
            .expand(&info, Length(64))
            .and_then(|okm| okm.fill(material.as_mut_slice()))
            .expect("HKDF-SHA256 gives up to 8,160 bytes, and as many as were asked for");
        let (key, obfuscation) = material.split_at(32);
        HeartbeatKey::new(
            key.try_into().expect("half of 64"),
            obfuscation.try_into().expect("half of 64"),
        )
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(_)")
    }
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// Names one full attestation: random, so that no two have the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch([u8; Self::LEN]);

impl Epoch {
    /// Length, in bytes.
    pub const LEN: usize = 16;

    /// A new one.
    ///
    /// # Errors
    /// Where there is no randomness.
    pub fn draw(rng: &dyn SecureRandom) -> Result<Self, FreshnessError> {
        let mut bytes = [0; Self::LEN];
        rng.fill(&mut bytes).map_err(|_| FreshnessError::Entropy)?;
        Ok(Self(bytes))
    }

    /// One on record.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// As it is recorded.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

/// One gateway's key in one epoch, with what hides it in its object's Name.
/// Both are derived: so the Name can be computed again, too.
pub struct HeartbeatKey {
    key: Zeroizing<[u8; 32]>,
    obfuscation: Zeroizing<[u8; 32]>,
}

impl HeartbeatKey {
    fn new(key: [u8; 32], obfuscation: [u8; 32]) -> Self {
        Self {
            key: Zeroizing::new(key),
            obfuscation: Zeroizing::new(obfuscation),
        }
    }

    /// The public area that the TPM has of it.
    #[must_use]
    pub fn public(&self) -> Public {
        let (obfuscation, key) = self.sensitive();
        with_unique(heartbeat_key_template(), obfuscation, key)
    }

    /// seedValue and data of its sensitive area.
    pub(crate) fn sensitive(&self) -> (&[u8; 32], &[u8; 32]) {
        (&self.obfuscation, &self.key)
    }
}

impl std::fmt::Debug for HeartbeatKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HeartbeatKey(_)")
    }
}
