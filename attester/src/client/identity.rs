//! The LDevID as the identity of a connection to the Verifier.

use std::sync::Arc;

use crate::keys::Ldevid;
use crate::tpm::{KeyBlob, Tpm};

/// Certificate chain, and the key behind it in the TPM.
#[derive(Clone, Debug)]
pub struct Identity {
    ldevid: Ldevid,
}

impl Identity {
    /// `chain`: DER, the LDevID first.
    #[must_use]
    pub fn new(tpm: &Tpm, key: &KeyBlob, chain: &[Vec<u8>]) -> Self {
        Self {
            ldevid: Ldevid::new(tpm, key, chain),
        }
    }

    pub(super) fn resolver(&self) -> Arc<Ldevid> {
        Arc::new(self.ldevid.clone())
    }
}
