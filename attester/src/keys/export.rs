//! `key export`: the files that OpenSSL programs need to use the LDevID.

use std::path::{Path, PathBuf};

use holdfast_proto::tpm::ObjectAttributes;
use thiserror::Error;

use super::{openssl_conf, openssl_env, tss2_pem};
use crate::output::{self, OutputError, PRIVATE, PUBLIC};
use crate::state::{Enrolled, certificates_to_pem};
use crate::tpm::TctiName;

const KEY: &str = "ldevid.tss2.pem";
const CHAIN: &str = "ldevid.chain.pem";
const CONF: &str = "openssl.cnf";
const ENV: &str = "openssl.env";

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// `TSS2 PRIVATE KEY`, 0600: of use to this TPM alone, but to everybody who
    /// may use this TPM.
    pub key: PathBuf,
    /// The LDevID, then the issuing CA (PEM, 0644).
    pub chain: PathBuf,
    /// For OPENSSL_CONF (0644).
    pub conf: PathBuf,
    /// OPENSSL_CONF and TPM2OPENSSL_TCTI, for a shell or a systemd unit (0644).
    pub env: PathBuf,
}

/// Why the key is not exported.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// tpm2-openssl authorises a key by a password; this one signs by policy.
    #[error("the LDevID key is bound to the boot state: OpenSSL's tpm2 provider cannot use it")]
    BoundToBoot,
    /// A file cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl ExportError {
    /// What the operator can do.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::BoundToBoot => {
                "use holdfast-attester proxy, which signs by policy; or enrol anew without --bind-to-boot"
            }
            Self::Output(error) => error.next_step(),
        }
    }
}

/// Writes key, chain and OpenSSL's settings for the LDevID to `dir`, which is
/// made where it is missing. No TPM command is sent.
///
/// # Errors
/// [`ExportError::BoundToBoot`] where OpenSSL could not use the key.
pub fn export(enrolled: &Enrolled, tcti: &TctiName, dir: &Path) -> Result<Exported, ExportError> {
    let keys = &enrolled.keys;
    let attributes = keys.ldevid.public().attributes;
    if !attributes.contains(ObjectAttributes::USER_WITH_AUTH) {
        return Err(ExportError::BoundToBoot);
    }
    output::make_dir(dir)?;
    // Programs are started elsewhere.
    let dir = &std::path::absolute(dir).map_err(|source| OutputError::Io {
        path: dir.to_owned(),
        action: "find",
        source,
    })?;
    let exported = Exported {
        key: dir.join(KEY),
        chain: dir.join(CHAIN),
        conf: dir.join(CONF),
        env: dir.join(ENV),
    };
    let chain = certificates_to_pem(&enrolled.ldevid_chain);
    let key = tss2_pem(&keys.ldevid, keys.srk_handle);
    output::write(&exported.key, PRIVATE, key.as_bytes())?;
    output::write(&exported.chain, PUBLIC, chain.as_bytes())?;
    let env = openssl_env(&exported.conf, tcti);
    output::write(&exported.conf, PUBLIC, openssl_conf().as_bytes())?;
    output::write(&exported.env, PUBLIC, env.as_bytes())?;
    Ok(exported)
}
