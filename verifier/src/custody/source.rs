//! Where a passphrase or PIN comes from. Never the command line, which every
//! process of the machine can read, and never `config.toml`, which is 0644.

use std::{
    env, fmt,
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
    str::FromStr,
};

use nix::unistd::Uid;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use crate::config::{HomeError, files};

/// Longest secret that is read: PKCS#11 PINs end at 255, people's far below.
const SECRET_MAX: usize = 1024;

/// Names a secret without holding it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A credential that systemd hands to the unit (`LoadCredential=`,
    /// `LoadCredentialEncrypted=`): a file in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// An environment variable.
    Environment(String),
    /// A file of our own, mode 0600 or stricter.
    File(PathBuf),
}

/// Why a secret is not had. None of them shows it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Not `credential:NAME`, `env:NAME` or `file:PATH`.
    #[error("{0:?} names no secret: use credential:NAME, env:VARIABLE or file:/PATH")]
    Malformed(String),
    /// systemd handed nothing over.
    #[error(
        "there is no $CREDENTIALS_DIRECTORY: credential:{0} needs LoadCredential={0}:PATH in the systemd unit"
    )]
    NoCredentials(String),
    /// The variable is not set, or is no UTF-8.
    #[error("the environment variable {0} is not set")]
    NoVariable(String),
    /// The file cannot be read, or others can read it.
    #[error(transparent)]
    File(#[from] HomeError),
    /// Nothing in it, several lines, or too much.
    #[error("{0} is empty, has several lines, or more than {SECRET_MAX} bytes")]
    Unusable(SecretSource),
}

impl SecretSource {
    /// Reads the secret, without the newline that editors leave at its end.
    ///
    /// # Errors
    /// [`SecretError`] names the source, and the file whose mode is loose.
    pub fn read(&self) -> Result<Zeroizing<String>, SecretError> {
        let text = match self {
            Self::Credential(name) => {
                let dir = env::var_os("CREDENTIALS_DIRECTORY")
                    .ok_or_else(|| SecretError::NoCredentials(name.clone()))?;
                read_credential(&Path::new(&dir).join(name))?
            }
            Self::Environment(name) => {
                Zeroizing::new(env::var(name).map_err(|_| SecretError::NoVariable(name.clone()))?)
            }
            Self::File(path) => files::read_secret(path)?,
        };
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() || line.len() > SECRET_MAX || line.contains(['\n', '\0']) {
            return Err(SecretError::Unusable(self.clone()));
        }
        Ok(Zeroizing::new(line.to_owned()))
    }
}

/// systemd's credentials are root's or ours; where it uses an ACL, the mode
/// shows the ACL's mask as that of a group that is root's, so the group is not
/// looked at. The directory is readable by the unit alone (systemd.exec(5)).
fn read_credential(path: &Path) -> Result<Zeroizing<String>, HomeError> {
    let (file, meta) = files::open_plain(path)?;
    let ours = Uid::effective().as_raw();
    if meta.uid() != 0 && meta.uid() != ours {
        return Err(HomeError::WrongOwner {
            path: path.to_owned(),
            owner: meta.uid(),
            expected: ours,
        });
    }
    if meta.mode() & 0o027 != 0 {
        return Err(HomeError::LooseMode {
            path: path.to_owned(),
            mode: meta.mode() & 0o7777,
            want: 0o400,
        });
    }
    files::read_text(path, file, &meta).map(Zeroizing::new)
}

impl FromStr for SecretSource {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let malformed = || SecretError::Malformed(text.to_owned());
        let (kind, name) = text.split_once(':').ok_or_else(malformed)?;
        let plain = !name.is_empty() && !name.contains(['/', '\0', '=']) && !name.starts_with('.');
        match kind {
            "credential" if plain => Ok(Self::Credential(name.to_owned())),
            "env" if plain => Ok(Self::Environment(name.to_owned())),
            // Absolute: the service and its commands run in several places.
            "file" if is_absolute(Path::new(name)) => Ok(Self::File(PathBuf::from(name))),
            _ => Err(malformed()),
        }
    }
}

fn is_absolute(path: &Path) -> bool {
    path.is_absolute() && !path.components().any(|part| part == Component::ParentDir)
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(name) => write!(f, "credential:{name}"),
            Self::Environment(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}
