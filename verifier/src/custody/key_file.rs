//! Private keys in files: PKCS#8 in PEM (RFC 7468), plain or encrypted
//! (RFC 5958 §3, PBES2 of RFC 8018), in both cases as OpenSSL writes and reads
//! them.

use pkcs8::{
    EncryptedPrivateKeyInfo, PrivateKeyInfo, SecretDocument,
    pkcs5::{EncryptionScheme, pbes2},
};
use ring::rand::SecureRandom;
use zeroize::Zeroizing;

use crate::identity::pem;

const PLAIN: &str = "PRIVATE KEY";
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// scrypt (RFC 7914) N = 2^14, r = 8, p = 5: one of OWASP's settings. 16 MiB,
/// because OpenSSL refuses to read what takes more than 32 MiB.
const SCRYPT: (u8, u32, u32) = (14, 8, 5);
const SALT: usize = 16;
/// What a file may make us spend: 512 MiB of memory, and the count of
/// iterations that takes some seconds.
const SCRYPT_MEMORY_MAX: u64 = 512 << 20;
const SCRYPT_P_MAX: u16 = 64;
const PBKDF2_MAX: u32 = 20_000_000;

/// Why a key file gives no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// No PEM block of a private key.
    #[error("it holds no PRIVATE KEY and no ENCRYPTED PRIVATE KEY in PEM")]
    NoKey,
    /// Encrypted, and nobody said with what.
    #[error("it is encrypted: say where its passphrase is, as [ca] passphrase in config.toml")]
    NoPassphrase,
    /// Decryption gave no key.
    #[error("the passphrase is wrong, or the file is damaged")]
    WrongPassphrase,
    /// Encrypted in a way that is not read.
    #[error(
        "it is not encrypted with PBES2 (scrypt or PBKDF2, AES-CBC); convert it with: openssl pkcs8 -topk8 -scrypt"
    )]
    Scheme,
    /// Its key derivation would take too much.
    #[error("its key derivation takes more memory or time than a key file may")]
    TooCostly,
    /// The key does not encode.
    #[error("not a private key in PKCS#8")]
    NotPkcs8,
    /// The system gave no random bytes.
    #[error("no randomness")]
    NoRandomness,
}

/// Whether the text is that of an encrypted key.
#[must_use]
pub fn is_encrypted(text: &str) -> bool {
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
}

/// PEM of `pkcs8` (DER), encrypted under `passphrase`.
///
/// # Errors
/// [`KeyFileError::NotPkcs8`], [`KeyFileError::NoRandomness`].
pub fn encrypt(
    pkcs8: &[u8],
    passphrase: &str,
    rng: &dyn SecureRandom,
) -> Result<String, KeyFileError> {
    let (mut salt, mut iv) = ([0; SALT], [0; 16]);
    rng.fill(&mut salt)
        .and_then(|()| rng.fill(&mut iv))
        .map_err(|ring::error::Unspecified| KeyFileError::NoRandomness)?;
    let (log_n, r, p) = SCRYPT;
    let cost = pkcs8::pkcs5::scrypt::Params::new(log_n, r, p, 32)
        .expect("constants within scrypt's bounds");
    let scheme =
        pbes2::Parameters::scrypt_aes256cbc(cost, &salt, &iv).expect("a salt of 16 octets fits");
    let key = PrivateKeyInfo::try_from(pkcs8).map_err(|_| KeyFileError::NotPkcs8)?;
    let sealed = key
        .encrypt_with_params(scheme, passphrase)
        .map_err(|_| KeyFileError::NotPkcs8)?;
    Ok(pem::encode(ENCRYPTED, sealed.as_bytes()))
}

/// The key in a file's text: PKCS#8 DER. `passphrase` is asked for only where
/// the key is encrypted.
///
/// # Errors
/// [`KeyFileError`]; `E` is whatever the passphrase's source says.
pub fn decrypt<E: From<KeyFileError>>(
    text: &str,
    passphrase: impl FnOnce() -> Result<Option<Zeroizing<String>>, E>,
) -> Result<Zeroizing<Vec<u8>>, E> {
    let (label, document) =
        SecretDocument::from_pem(text.trim_start()).map_err(|_| KeyFileError::NoKey)?;
    match label {
        PLAIN => Ok(Zeroizing::new(document.as_bytes().to_vec())),
        ENCRYPTED => {
            let sealed = EncryptedPrivateKeyInfo::try_from(document.as_bytes())
                .map_err(|_| KeyFileError::NoKey)?;
            within_bounds(&sealed.encryption_algorithm)?;
            let passphrase = passphrase()?.ok_or(KeyFileError::NoPassphrase)?;
            let key = sealed
                .decrypt(passphrase.as_bytes())
                .map_err(|_| KeyFileError::WrongPassphrase)?;
            Ok(Zeroizing::new(key.as_bytes().to_vec()))
        }
        _ => Err(KeyFileError::NoKey.into()),
    }
}

fn within_bounds(scheme: &EncryptionScheme<'_>) -> Result<(), KeyFileError> {
    let kdf = &scheme.pbes2().ok_or(KeyFileError::Scheme)?.kdf;
    let fits = if let Some(scrypt) = kdf.scrypt() {
        let memory = scrypt
            .cost_parameter
            .checked_mul(u64::from(scrypt.block_size))
            .and_then(|blocks| blocks.checked_mul(128));
        memory.is_some_and(|bytes| bytes <= SCRYPT_MEMORY_MAX)
            && scrypt.parallelization <= SCRYPT_P_MAX
    } else if let Some(pbkdf2) = kdf.pbkdf2() {
        pbkdf2.iteration_count <= PBKDF2_MAX
    } else {
        return Err(KeyFileError::Scheme);
    };
    if fits {
        Ok(())
    } else {
        Err(KeyFileError::TooCostly)
    }
}
