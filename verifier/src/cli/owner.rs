//! The owner's key at the command line: what decides appraisals is signed
//! here, by the one who types, and never by the service.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use ring::rand::SystemRandom;
use serde_json::json;
use zeroize::Zeroizing;

use super::{DirArg, Failure, JsonArg, Outcome, input, output};
use crate::{
    config::{Home, HomeError, files, home::file},
    custody::{KeyFileError, SecretSource, decrypt, is_encrypted},
    owner::{EVERY_CLASS, Kind, MAX_STATEMENT_BYTES, OwnerError, OwnerKey, OwnerSigner},
    sealing::PolicyKey,
};

/// Longest document that is signed: the largest that the admin calls take.
const MAX_DOCUMENT_BYTES: u64 = 64 * 1024 * 1024;

/// By which key, or by which statement that was signed elsewhere.
#[derive(Debug, Clone, Args)]
pub(super) struct SignArgs {
    /// The owner's private key, PEM, mode 0600. Default:
    /// DIR/policy-root.key.pem, where it was left there.
    #[arg(long, env = "HOLDFAST_OWNER_KEY", value_name = "FILE")]
    owner_key: Option<PathBuf>,
    /// Where the passphrase of that key is, if it is encrypted:
    /// credential:NAME, env:NAME or file:/PATH.
    #[arg(long, value_name = "SOURCE")]
    owner_passphrase: Option<SecretSource>,
    /// A statement signed elsewhere, by `owner sign`, instead of a key.
    #[arg(long, value_name = "FILE", conflicts_with = "owner_key")]
    statement: Option<PathBuf>,
}

impl SignArgs {
    /// The owner's word that `document` is `version` of `subject`, as bytes
    /// for the admin calls. It is verified here already, so that the error is
    /// told before anything is sent.
    pub(super) fn sign(
        &self,
        dir: &DirArg,
        kind: Kind,
        subject: &str,
        version: u64,
        document: &[u8],
    ) -> Result<Vec<u8>, Failure> {
        // With an address, the verifier is elsewhere: there it is checked.
        let here = dir.dir.as_deref().filter(|_| dir.server.is_none());
        let home = here.map(Home::visit).transpose()?;
        let signed = match &self.statement {
            Some(path) => read_capped(path, MAX_STATEMENT_BYTES.try_into()?)?,
            None => {
                let (name, text) = match (&self.owner_key, &home) {
                    (Some(path), _) => (path.clone(), files::read_secret(path)),
                    (None, Some(home)) => (
                        home.path(file::POLICY_ROOT_KEY),
                        home.read_secret(file::POLICY_ROOT_KEY),
                    ),
                    (None, None) => {
                        return Err(input(anyhow!(
                            "where is the owner's key? Name it with --owner-key"
                        )));
                    }
                };
                let signer = signer(&name, text, self.owner_passphrase.as_ref())?;
                signer.state(kind, subject, version, document, &SystemRandom::new())?
            }
        };
        // Elsewhere than where the verifier is, it is the verifier that looks.
        let Some(home) = home else {
            return Ok(signed);
        };
        match owner_key(&home)?.verify(&signed, kind, subject, document) {
            Ok(_) => Ok(signed),
            Err(OwnerError::OtherKey { named, ours }) => Err(anyhow!(
                "signed with key {named}, but {} is {ours}: name the policy root of this verifier \
                 with --owner-key FILE",
                home.path(file::POLICY_ROOT_PUBLIC).display()
            )
            .into()),
            Err(error) => Err(error.into()),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum OwnerCommand {
    /// Sign a document where the key is, without a verifier at hand.
    #[command(after_help = "\
The statement says that the document is that version of its subject, and goes
with the document into `policy apply --statement`, `reference import
--statement` and the like. The subject of a policy and of
endorsements is \"*\"; of reference values, their class; of an allow list, its
name. Versions go up by one: the
one in use is in `policy list` and `reference list`.

Examples:
  holdfast-verifier owner sign --owner-key /media/stick/policy-root.key.pem \\
    --kind policy --version 2 --output policy.statement policy.rego
  holdfast-verifier owner sign --owner-key /media/stick/policy-root.key.pem \\
    --kind reference-values --subject default --version 5 --output golden.statement golden.json")]
    Sign(OwnerSignArgs),
}

/// Kinds, as the command line calls them.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum KindArg {
    Policy,
    ReferenceValues,
    AllowList,
    Endorsements,
}

#[derive(Debug, Args)]
pub(super) struct OwnerSignArgs {
    /// The owner's private key, PEM, mode 0600.
    #[arg(long, env = "HOLDFAST_OWNER_KEY", value_name = "FILE")]
    owner_key: PathBuf,
    /// Where its passphrase is, if it is encrypted: credential:NAME, env:NAME
    /// or file:/PATH.
    #[arg(long, value_name = "SOURCE")]
    owner_passphrase: Option<SecretSource>,
    /// What the document is.
    #[arg(long, value_enum)]
    kind: KindArg,
    /// What it is for: a class, the name of a list, "*" for every class.
    #[arg(long, default_value = EVERY_CLASS)]
    subject: String,
    /// Which version of it.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..1 << 53))]
    version: u64,
    /// Where the statement goes; nothing is overwritten.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// The document, to the byte as it will be handed in.
    document: PathBuf,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) fn run(command: OwnerCommand) -> Outcome {
    let OwnerCommand::Sign(args) = command;
    let kind = match args.kind {
        KindArg::Policy => Kind::Policy,
        KindArg::ReferenceValues => Kind::ReferenceValues,
        KindArg::AllowList => Kind::AllowList,
        KindArg::Endorsements => Kind::Endorsements,
    };
    let document = read_capped(&args.document, MAX_DOCUMENT_BYTES)?;
    let text = files::read_secret(&args.owner_key);
    let signer = signer(&args.owner_key, text, args.owner_passphrase.as_ref())?;
    let rng = SystemRandom::new();
    let signed = signer.state(kind, &args.subject, args.version, &document, &rng)?;
    // A subject that no one would take is told here.
    let stated = signer
        .public()
        .verify(&signed, kind, &args.subject, &document)
        .map_err(input)?;
    files::write_new(&args.output, &signed, 0o644)?;
    let (sha256, key) = (
        hex::encode(stated.sha256()),
        hex::encode(signer.public().id()),
    );
    if args.json.json {
        return output::print_json(&json!({
            "kind": kind.name(),
            "subject": args.subject,
            "version": args.version,
            "sha256": sha256,
            "key_id": key,
            "statement": args.output,
        }));
    }
    output::print(&format!(
        "{} says: {} (SHA-256 {sha256}) is version {} of {kind} {}, by key {key}",
        args.output.display(),
        args.document.display(),
        args.version,
        args.subject
    ))
}

/// From what was read of `path`.
fn signer(
    path: &Path,
    read: Result<Zeroizing<String>, HomeError>,
    passphrase: Option<&SecretSource>,
) -> Result<OwnerSigner, Failure> {
    let name = path.display().to_string();
    let text = read.map_err(|error| match error {
        HomeError::Io { ref source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            anyhow!(
                "the owner's key is not at {name}: name it with --owner-key FILE, or sign where \
                 it is kept (holdfast-verifier owner sign --help) and hand in --statement FILE"
            )
        }
        other => other.into(),
    })?;
    let rng = SystemRandom::new();
    if !is_encrypted(&text) {
        return Ok(OwnerSigner::from_pkcs8_pem(&text, &rng).context(name)?);
    }
    let key = decrypted(&text, &name, passphrase)?;
    Ok(OwnerSigner::from_pkcs8(&key, &rng).context(name)?)
}

/// PKCS#8 of an encrypted key file.
fn decrypted(
    text: &str,
    name: &str,
    passphrase: Option<&SecretSource>,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let passphrase = passphrase.ok_or_else(|| {
        input(anyhow!(
            "{name} is encrypted: say where its passphrase is, with --owner-passphrase SOURCE"
        ))
    })?;
    let passphrase = passphrase.read()?;
    let key = decrypt::<KeyFileError>(text, || Ok(Some(passphrase)));
    Ok(key.with_context(|| name.to_owned())?)
}

/// The owner's key as the policy root of sealed secrets.
pub(super) fn policy_root(
    path: &Path,
    passphrase: Option<&SecretSource>,
) -> Result<PolicyKey, Failure> {
    let name = path.display().to_string();
    let (text, rng) = (files::read_secret(path)?, SystemRandom::new());
    let root = if is_encrypted(&text) {
        PolicyKey::from_pkcs8(&decrypted(&text, &name, passphrase)?, &rng)
    } else {
        PolicyKey::from_pkcs8_pem(&text, &rng)
    };
    Ok(root.context(name)?)
}

/// The owner's public key, as the verifier in `home` trusts it.
pub(super) fn owner_key(home: &Home) -> Result<OwnerKey, Failure> {
    let pem = home.read_trusted(file::POLICY_ROOT_PUBLIC)?;
    let name = || home.path(file::POLICY_ROOT_PUBLIC).display().to_string();
    Ok(OwnerKey::from_spki_pem(&pem).with_context(name)?)
}

/// A file of at most `max` bytes, given by the caller.
pub(super) fn read_capped(path: &Path, max: u64) -> Result<Vec<u8>, Failure> {
    let name = || path.display().to_string();
    let meta = fs::metadata(path).with_context(name).map_err(input)?;
    if !meta.is_file() || meta.len() > max {
        return Err(input(anyhow!(
            "{} is not a file of at most {max} bytes",
            name()
        )));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(max).read_to_end(&mut bytes))
        .with_context(name)
        .map_err(input)?;
    Ok(bytes)
}
