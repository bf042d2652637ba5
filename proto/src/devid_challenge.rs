//! What travels between a factory and its OEM's CA after a
//! [`crate::idevid_csr`]: the CA's challenge, and the device's answer. Both are
//! JSON in files, carried by hand; whoever alters one gets no certificate.
//!
//! The challenge is a credential (TPM 2.0 Part 1 §24) for the EK that the
//! request's certificate is for and the Name of the request's IAK: only the TPM
//! that holds both finds the secret in it.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

/// `format` of a challenge.
const CHALLENGE: &str = "holdfast-devid-challenge-1";
/// `format` of an answer.
const ANSWER: &str = "holdfast-devid-answer-1";

/// The longest file that is read: two blobs of some hundred bytes, in hex.
pub const MAX_LEN: usize = 8 * 1024;
/// TPM2B_ID_OBJECT of a 32-byte secret has 34 + 2 + a digest, at most 100.
const ID_OBJECT_MAX: usize = 256;
/// An RSA-4096 ciphertext.
const ENCRYPTED_SECRET_MAX: usize = 512;

/// Why a file is no challenge, or no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChallengeFileError {
    /// Longer than any.
    #[error("{0} bytes, at most {MAX_LEN} are read")]
    TooLong(usize),
    /// Not the JSON object that it must be.
    #[error("not a JSON object of this kind: {0}")]
    Json(String),
    /// Another format, or another version of it.
    #[error("its format is {got:?}, not {expected:?}")]
    Format {
        /// What it says.
        got: String,
        /// What it must say.
        expected: &'static str,
    },
    /// A field that is not hex of the length that it must have.
    #[error("{0} is not hexadecimal of the right length")]
    Field(&'static str),
}

/// A credential for the TPM of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevidChallenge {
    /// SHA-256 of the request's file, all of it.
    pub csr_sha256: [u8; 32],
    /// Contents of TPM2B_ID_OBJECT.
    pub id_object: Vec<u8>,
    /// Contents of TPM2B_ENCRYPTED_SECRET.
    pub encrypted_secret: Vec<u8>,
}

/// The secret that was in a challenge. Wiped when dropped, not in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct DevidAnswer {
    /// SHA-256 of the request's file.
    pub csr_sha256: [u8; 32],
    /// What `TPM2_ActivateCredential` gave.
    pub secret: Zeroizing<[u8; 32]>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChallengeFile {
    format: String,
    csr_sha256: String,
    id_object: String,
    encrypted_secret: String,
}

#[derive(Serialize, Deserialize, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct AnswerFile {
    format: String,
    csr_sha256: String,
    secret: String,
}

impl DevidChallenge {
    /// From a file.
    ///
    /// # Errors
    /// [`ChallengeFileError`]
    pub fn parse(bytes: &[u8]) -> Result<Self, ChallengeFileError> {
        let file: ChallengeFile = read(bytes)?;
        expect_format(&file.format, CHALLENGE)?;
        Ok(Self {
            csr_sha256: fixed("csr_sha256", &file.csr_sha256)?,
            id_object: blob("id_object", &file.id_object, ID_OBJECT_MAX)?,
            encrypted_secret: blob(
                "encrypted_secret",
                &file.encrypted_secret,
                ENCRYPTED_SECRET_MAX,
            )?,
        })
    }

    /// As a file.
    #[must_use]
    pub fn encode(&self) -> String {
        write(&ChallengeFile {
            format: CHALLENGE.to_owned(),
            csr_sha256: hex::encode(self.csr_sha256),
            id_object: hex::encode(&self.id_object),
            encrypted_secret: hex::encode(&self.encrypted_secret),
        })
    }
}

impl DevidAnswer {
    /// From a file.
    ///
    /// # Errors
    /// [`ChallengeFileError`]
    pub fn parse(bytes: &[u8]) -> Result<Self, ChallengeFileError> {
        let file: AnswerFile = read(bytes)?;
        expect_format(&file.format, ANSWER)?;
        let mut secret = Zeroizing::new([0; 32]);
        hex::decode_to_slice(file.secret.as_bytes(), secret.as_mut_slice())
            .map_err(|_| ChallengeFileError::Field("secret"))?;
        Ok(Self {
            csr_sha256: fixed("csr_sha256", &file.csr_sha256)?,
            secret,
        })
    }

    /// As a file, for mode 0600.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<String> {
        Zeroizing::new(write(&AnswerFile {
            format: ANSWER.to_owned(),
            csr_sha256: hex::encode(self.csr_sha256),
            secret: hex::encode(self.secret.as_slice()),
        }))
    }
}

impl fmt::Debug for DevidAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevidAnswer")
            .field("csr_sha256", &hex::encode(self.csr_sha256))
            .field("secret", &"[redacted]")
            .finish()
    }
}

fn read<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, ChallengeFileError> {
    if bytes.len() > MAX_LEN {
        return Err(ChallengeFileError::TooLong(bytes.len()));
    }
    // serde_json's messages quote names of fields, never values of ours: an
    // answer's secret must not get into a log.
    serde_json::from_slice(bytes).map_err(|error| {
        ChallengeFileError::Json(format!("line {}, column {}", error.line(), error.column()))
    })
}

fn write(file: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(file).expect("text fields always encode");
    text.push('\n');
    text
}

fn expect_format(got: &str, expected: &'static str) -> Result<(), ChallengeFileError> {
    if got == expected {
        Ok(())
    } else {
        Err(ChallengeFileError::Format {
            got: got.chars().take(64).collect(),
            expected,
        })
    }
}

fn fixed(field: &'static str, text: &str) -> Result<[u8; 32], ChallengeFileError> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| ChallengeFileError::Field(field))?;
    Ok(bytes)
}

fn blob(field: &'static str, text: &str, max: usize) -> Result<Vec<u8>, ChallengeFileError> {
    hex::decode(text)
        .ok()
        .filter(|bytes| !bytes.is_empty() && bytes.len() <= max)
        .ok_or(ChallengeFileError::Field(field))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_fuzz_seeds_are_read() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let seed = |name| std::fs::read(folder.join("../fuzz/seeds/devid_challenge").join(name));
        assert!(DevidChallenge::parse(&seed("challenge").unwrap()).is_ok());
        assert!(DevidAnswer::parse(&seed("answer").unwrap()).is_ok());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            csr_sha256: [u8; 32],
            id_object in proptest::collection::vec(any::<u8>(), 1..ID_OBJECT_MAX),
            encrypted_secret in proptest::collection::vec(any::<u8>(), 1..ENCRYPTED_SECRET_MAX),
            secret: [u8; 32],
        ) {
            let challenge = DevidChallenge { csr_sha256, id_object, encrypted_secret };
            prop_assert_eq!(DevidChallenge::parse(challenge.encode().as_bytes()), Ok(challenge));
            let answer = DevidAnswer { csr_sha256, secret: Zeroizing::new(secret) };
            let text = answer.encode();
            let read = DevidAnswer::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(&read, &answer);
            let shown = format!("{answer:?}");
            prop_assert!(!shown.contains(&hex::encode(secret)));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = DevidChallenge::parse(&bytes);
            let _ = DevidAnswer::parse(&bytes);
        }
    }

    #[test]
    fn each_rule_refuses() {
        let good = DevidChallenge {
            csr_sha256: [1; 32],
            id_object: vec![2; 70],
            encrypted_secret: vec![3; 256],
        }
        .encode();
        let parse = |text: &str| DevidChallenge::parse(text.as_bytes());
        assert!(parse(&good).is_ok());
        assert!(matches!(
            parse(&good.replace("challenge-1", "challenge-2")),
            Err(ChallengeFileError::Format { .. })
        ));
        assert!(matches!(
            parse(&good.replace("id_object", "id")),
            Err(ChallengeFileError::Json(_))
        ));
        assert_eq!(
            parse(&good.replace("0101", "01")),
            Err(ChallengeFileError::Field("csr_sha256"))
        );
        assert_eq!(
            parse(&good.replace(&"02".repeat(70), "")),
            Err(ChallengeFileError::Field("id_object"))
        );
        assert_eq!(
            parse(&" ".repeat(MAX_LEN + 1)),
            Err(ChallengeFileError::TooLong(MAX_LEN + 1))
        );
        // A challenge is no answer.
        assert!(DevidAnswer::parse(good.as_bytes()).is_err());
    }
}
