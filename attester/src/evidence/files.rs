//! Evidence as files, for people and for tpm2-tools: `tpm2_checkquote -u
//! ak.pub -m quote.attest -s quote.sig -q "$(cat nonce.hex)"`.

use std::path::{Path, PathBuf};

use holdfast_proto::grpc::v1;
use holdfast_proto::tpm::{Attest, HashAlg, Public};
use serde_json::{Map, Value};
use thiserror::Error;

/// Why evidence could not be written.
#[derive(Debug, Error)]
#[error("{}: {source}", path.display())]
pub struct EvidenceFileError {
    /// The file or directory.
    pub path: PathBuf,
    /// What the system said.
    pub source: std::io::Error,
}

/// Writes the evidence into a directory, made where it does not exist.
/// `challenge` is the Verifier's nonce; `nonce.hex` is what the quote holds.
/// `boot_log` is the whole log, also where only its digest travels; of the IMA
/// log there is what is sent, which may be its end only.
///
/// # Errors
/// [`EvidenceFileError`] names the file.
pub fn write_files(
    dir: &Path,
    ak: &Public,
    bank: HashAlg,
    challenge: &[u8],
    evidence: &v1::Evidence,
    boot_log: Option<&[u8]>,
) -> Result<(), EvidenceFileError> {
    let error = |path: &Path| {
        let path = path.to_owned();
        move |source| EvidenceFileError { path, source }
    };
    std::fs::create_dir_all(dir).map_err(error(dir))?;
    let extra_data = Attest::parse(&evidence.quote_attest)
        .map(|a| a.extra_data)
        .unwrap_or_default();
    let values: Map<String, Value> = evidence
        .pcr_values
        .iter()
        .map(|pcr| (pcr.index.to_string(), Value::from(hex::encode(&pcr.value))))
        .collect();
    let pcrs = serde_json::json!({ bank.name(): values });
    let mut files = vec![
        ("ak.pub", ak.encode_tpm2b()),
        ("quote.attest", evidence.quote_attest.clone()),
        ("quote.sig", evidence.quote_signature.clone()),
        ("pcrs.json", format!("{pcrs:#}\n").into_bytes()),
        ("claims.cose", evidence.claims.clone()),
        (
            "nonce.hex",
            format!("{}\n", hex::encode(extra_data)).into_bytes(),
        ),
        (
            "challenge.hex",
            format!("{}\n", hex::encode(challenge)).into_bytes(),
        ),
    ];
    if let Some(log) = boot_log {
        files.push(("boot.log", log.to_vec()));
    }
    if let Some(log) = &evidence.ima_log {
        files.push(("ima.log", log.content.to_vec()));
    }
    for (name, content) in files {
        let path = dir.join(name);
        std::fs::write(&path, content).map_err(error(&path))?;
    }
    Ok(())
}
