//! The root CA (or server CA) whose key lies in another directory: a stick in
//! a safe, most of the time not there.

use std::path::Path;

use super::{CustodyError, SecretSource, key_file};
use crate::{
    config::{Home, home::file},
    identity::{Authority, CaCertificate, FileSigner},
};

/// A CA's directory, its owner and modes found right.
#[derive(Debug)]
pub struct OfflineRoot {
    home: Home,
    certificate: &'static str,
    key: &'static str,
}

impl OfflineRoot {
    /// The root CA in `dir`.
    ///
    /// # Errors
    /// [`CustodyError::Home`] where others can read or write the directory.
    pub fn root(dir: &Path) -> Result<Self, CustodyError> {
        Self::new(dir, file::ROOT_CA, file::ROOT_CA_KEY)
    }

    /// The server CA in `dir`.
    ///
    /// # Errors
    /// As [`OfflineRoot::root`].
    pub fn server_ca(dir: &Path) -> Result<Self, CustodyError> {
        Self::new(dir, file::SERVER_CA, file::SERVER_CA_KEY)
    }

    fn new(dir: &Path, certificate: &'static str, key: &'static str) -> Result<Self, CustodyError> {
        let home = Home::open(dir)?;
        home.inspect_secrets()?;
        Ok(Self {
            home,
            certificate,
            key,
        })
    }

    /// The CA, ready to sign, which must be the one that `ours` has as well.
    ///
    /// # Errors
    /// [`CustodyError::OtherRoot`]; [`CustodyError`] names the file.
    pub fn authority(
        &self,
        ours: Option<&Home>,
        passphrase: Option<&SecretSource>,
    ) -> Result<Authority, CustodyError> {
        let cabinet = super::Cabinet::new(&self.home);
        let certificate = cabinet.ca_certificate(self.certificate)?;
        if let Some(ours) = ours {
            let known = super::Cabinet::new(ours).ca_certificate(self.certificate)?;
            if known.der() != certificate.der() {
                return Err(CustodyError::OtherRoot {
                    given: self.home.path(self.certificate),
                    ours: ours.path(self.certificate),
                });
            }
        }
        let signer = read_signer(&self.home, self.key, passphrase)?;
        Authority::open(certificate.der(), signer).map_err(|source| CustodyError::Identity {
            what: self.home.path(self.key).display().to_string(),
            source,
        })
    }

    /// The CA's certificate.
    ///
    /// # Errors
    /// [`CustodyError`] names the file.
    pub fn certificate(&self) -> Result<CaCertificate, CustodyError> {
        super::Cabinet::new(&self.home).ca_certificate(self.certificate)
    }
}

/// A CA key in a file.
pub(crate) fn read_signer(
    home: &Home,
    name: &str,
    passphrase: Option<&SecretSource>,
) -> Result<FileSigner, CustodyError> {
    let der = read_key(home, name, passphrase)?;
    FileSigner::from_pkcs8(&der).map_err(|source| CustodyError::Identity {
        what: home.path(name).display().to_string(),
        source,
    })
}

/// PKCS#8 DER of a key file, decrypted where it is encrypted.
pub(super) fn read_key(
    home: &Home,
    name: &str,
    passphrase: Option<&SecretSource>,
) -> Result<zeroize::Zeroizing<Vec<u8>>, CustodyError> {
    enum Why {
        File(key_file::KeyFileError),
        Secret(super::SecretError),
    }
    impl From<key_file::KeyFileError> for Why {
        fn from(error: key_file::KeyFileError) -> Self {
            Self::File(error)
        }
    }
    let text = home.read_secret(name)?;
    let asked = || {
        passphrase
            .map(SecretSource::read)
            .transpose()
            .map_err(Why::Secret)
    };
    key_file::decrypt(&text, asked).map_err(|why| match why {
        Why::File(source) => CustodyError::KeyFile {
            path: home.path(name),
            source,
        },
        Why::Secret(error) => error.into(),
    })
}
