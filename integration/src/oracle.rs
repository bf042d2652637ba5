//! Second opinions: programs by other people that read what we emit.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use holdfast_proto::tpm::{Public, Signature};

/// Whether `program` can be run here at all.
#[must_use]
pub fn present(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    })
}

/// Runs `program` and returns what it printed to stdout.
///
/// # Errors
/// Where it cannot be run or does not succeed, with everything that it printed.
pub fn run<I, A>(program: &str, arguments: I) -> Result<String>
where
    I: IntoIterator<Item = A>,
    A: AsRef<OsStr>,
{
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let output = command
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    succeed(&command, &output)
}

/// As [`run`], with `input` on its stdin.
///
/// # Errors
/// As [`run`].
pub fn run_with_input<I, A>(program: &str, arguments: I, input: &[u8]) -> Result<String>
where
    I: IntoIterator<Item = A>,
    A: AsRef<OsStr>,
{
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    child
        .stdin
        .take()
        .context("stdin of the child")?
        .write_all(input)?;
    succeed(&command, &child.wait_with_output()?)
}

/// The stdout of a command that succeeded.
///
/// # Errors
/// Where it did not, with everything that it printed.
pub fn succeed(command: &Command, output: &Output) -> Result<String> {
    let stdout = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Ok(stdout.into_owned());
    }
    bail!(
        "{command:?}: {}\n{stdout}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    )
}

/// `openssl verify`: does the first certificate in `chain` (PEM, leaf first)
/// lead to `root`?
///
/// # Errors
/// OpenSSL's words where it does not.
pub fn openssl_verify(root: &Path, chain: &Path) -> Result<()> {
    let printed = run(
        "openssl",
        [
            OsStr::new("verify"),
            OsStr::new("-x509_strict"),
            OsStr::new("-purpose"),
            OsStr::new("sslclient"),
            OsStr::new("-CAfile"),
            root.as_os_str(),
            OsStr::new("-untrusted"),
            chain.as_os_str(),
            chain.as_os_str(),
        ],
    )?;
    if printed.trim_end().ends_with(": OK") {
        return Ok(());
    }
    bail!("openssl verify said: {printed}")
}

/// `openssl x509 -text` of the first certificate in a PEM file.
///
/// # Errors
/// OpenSSL's words where it cannot read the certificate.
pub fn openssl_text(certificate: &Path) -> Result<String> {
    run(
        "openssl",
        [
            OsStr::new("x509"),
            OsStr::new("-noout"),
            OsStr::new("-text"),
            OsStr::new("-in"),
            certificate.as_os_str(),
        ],
    )
}

/// `tpm2_checkquote` on a folder that the attester wrote with
/// `--evidence-dir`.
///
/// # Errors
/// Its words where it refuses the quote.
pub fn tpm2_checkquote(evidence: &Path) -> Result<()> {
    let nonce = std::fs::read_to_string(evidence.join("nonce.hex"))?;
    run(
        "tpm2_checkquote",
        [
            OsStr::new("--public"),
            evidence.join("ak.pub").as_os_str(),
            OsStr::new("--message"),
            evidence.join("quote.attest").as_os_str(),
            OsStr::new("--signature"),
            evidence.join("quote.sig").as_os_str(),
            OsStr::new("--qualification"),
            OsStr::new(nonce.trim()),
        ],
    )?;
    Ok(())
}

/// OpenSSL's verdict on an RSAPSS quote in a folder that the attester wrote
/// with `--evidence-dir`: `tpm2_checkquote` 5.4 refuses all of those, the ones
/// by `tpm2_quote` included.
///
/// # Errors
/// OpenSSL's words where it refuses the quote.
pub fn openssl_checkquote_pss(evidence: &Path) -> Result<()> {
    let public = Public::parse_tpm2b(&std::fs::read(evidence.join("ak.pub"))?)?;
    let Signature::RsaPss { sig, .. } =
        Signature::parse(&std::fs::read(evidence.join("quote.sig"))?)?
    else {
        bail!("not an RSAPSS quote");
    };
    let (key, signature) = (evidence.join("ak.der"), evidence.join("quote.sig.raw"));
    std::fs::write(&key, public.to_spki_der()?)?;
    std::fs::write(&signature, sig)?;
    run(
        "openssl",
        [
            OsStr::new("dgst"),
            OsStr::new("-sha256"),
            OsStr::new("-sigopt"),
            OsStr::new("rsa_padding_mode:pss"),
            OsStr::new("-sigopt"),
            OsStr::new("rsa_pss_saltlen:auto"),
            OsStr::new("-keyform"),
            OsStr::new("DER"),
            OsStr::new("-verify"),
            key.as_os_str(),
            OsStr::new("-signature"),
            signature.as_os_str(),
            evidence.join("quote.attest").as_os_str(),
        ],
    )?;
    Ok(())
}
