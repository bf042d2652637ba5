//! `seal`: which boot states sealed secrets of a class come out in.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use holdfast_proto::{
    grpc::v1::{ProposeReferenceValuesRequest, propose_reference_values_request::Change},
    sealing::{Approvals, DEFAULT_LATCH_PCR, pcr_digest},
    tpm::{HashAlg, PcrSelection, PcrSet},
};
use ring::rand::SystemRandom;
use serde_json::json;

use super::{DirArg, Failure, JsonArg, Outcome, client, input, key, output, owner};
use crate::{
    config::{Home, files, home::file},
    custody::{Custodian, Rotation, SecretSource},
    digest::sha256,
    freshness::Class,
    reference_values::ReferenceValues,
    sealing::{PolicyKey, approved, delegated},
    service::Clock,
};

/// A PCR from 16 on can be reset without a reboot, and latches nothing.
const LATCH_PCRS: std::ops::RangeInclusive<i64> = 0..=15;
/// How long the online key of before still approves, for classes that are not
/// delegated anew yet.
pub(super) const OVERLAP_SECONDS: u32 = 8 * 86_400;
/// Longest document of reference values that is read.
const MAX_DOCUMENT_BYTES: u64 = 256 * 1024;

#[derive(Debug, Subcommand)]
pub(super) enum SealCommand {
    /// The policy root's word that the online policy key may approve boot
    /// states for a class. Needs the root's key, once for each class.
    #[command(after_help = "\
Example:
  holdfast-verifier seal delegate --dir DIR --class edge --owner-key /media/stick/policy-root.key.pem")]
    Delegate(DelegateArgs),
    /// Approve a boot state: sealed secrets of the class come out in it.
    #[command(after_help = "\
An approval reaches a gateway with its next `attest`, or as a file (`seal
export`). It cannot be withdrawn: see SECURITY.md.

Examples:
  holdfast-verifier seal approve --dir DIR --class edge --from-gateway 01ab…
  holdfast-verifier seal approve --dir DIR --class edge --from-reference golden.json")]
    Approve(ApproveArgs),
    /// Write the approvals of a class to a file, for
    /// `holdfast-attester seal approvals import`.
    Export(ExportArgs),
    /// Show the approvals of a class.
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub(super) struct ClassArgs {
    #[command(flatten)]
    dir: DirArg,
    /// Class of gateways.
    #[arg(long, default_value = "default")]
    class: String,
}

#[derive(Debug, Args)]
pub(super) struct DelegateArgs {
    #[command(flatten)]
    class: ClassArgs,
    /// The policy root's private key, PEM, mode 0600. Default:
    /// DIR/policy-root.key.pem, where it was left there.
    #[arg(long, env = "HOLDFAST_OWNER_KEY", value_name = "FILE")]
    owner_key: Option<PathBuf>,
    /// Where the passphrase of that key is, if it is encrypted:
    /// credential:NAME, env:NAME or file:/PATH.
    #[arg(long, value_name = "SOURCE")]
    owner_passphrase: Option<SecretSource>,
    /// Make a new online key in place of the one in use (as `key rotate seal`).
    /// What the old one approved stays approved; other classes are delegated
    /// anew by this command without --new-key.
    #[arg(long)]
    new_key: bool,
}

/// Which state.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct SourceArgs {
    /// What this gateway quoted last, and was affirmed for.
    #[arg(long, value_name = "GATEWAY")]
    from_gateway: Option<String>,
    /// A document of reference values with one value for each PCR.
    #[arg(long, value_name = "FILE")]
    from_reference: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ApproveArgs {
    #[command(flatten)]
    class: ClassArgs,
    #[command(flatten)]
    source: SourceArgs,
    /// The PCR that `unseal --latch` extends: approved with its value after a
    /// reset, zero.
    #[arg(long, value_name = "PCR", default_value_t = DEFAULT_LATCH_PCR,
          value_parser = clap::value_parser!(u32).range(LATCH_PCRS))]
    latch_pcr: u32,
    /// No such PCR: `unseal --latch` will be refused.
    #[arg(long, conflicts_with = "latch_pcr")]
    no_latch_pcr: bool,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    class: ClassArgs,
    /// Where to write them; nothing is overwritten.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    class: ClassArgs,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) async fn run(command: SealCommand) -> Outcome {
    match command {
        SealCommand::Delegate(args) => delegate(&args),
        SealCommand::Approve(args) => approve(args).await,
        SealCommand::Export(args) => {
            let text = Room::open(&args.class)?.require()?.to_text();
            files::write_new(&args.output, text.as_bytes(), 0o644)?;
            output::print(&format!("approvals written to {}", args.output.display()))
        }
        SealCommand::Show(args) => show(&Room::open(&args.class)?.require()?, args.json),
    }
}

/// A class's file in the verifier's directory.
struct Room {
    home: Home,
    class: String,
}

impl Room {
    fn open(args: &ClassArgs) -> Result<Self, Failure> {
        // Part of a file's name.
        let class = Class::parse(&args.class).map_err(input)?;
        let Some(dir) = &args.dir.dir else {
            return Err(input(anyhow!(
                "approvals and their key are in the verifier's directory: name it with --dir"
            )));
        };
        Ok(Self {
            home: Home::open(dir)?,
            class: class.as_str().to_owned(),
        })
    }

    fn approvals(&self) -> Result<Option<Approvals>, Failure> {
        let name = file::seal_approvals(&self.class);
        if self.home.path(&name).symlink_metadata().is_err() {
            return Ok(None);
        }
        let text = self.home.read_trusted(&name)?;
        Ok(Some(Approvals::from_text(&text).context(name)?))
    }

    fn require(&self) -> Result<Approvals, Failure> {
        self.approvals()?.ok_or_else(|| {
            let class = &self.class;
            anyhow!(
                "class {class} has no approvals: holdfast-verifier seal delegate --class {class}"
            )
            .into()
        })
    }

    fn write(&self, approvals: &Approvals) -> Result<(), Failure> {
        let path = self.home.path(&file::seal_approvals(&self.class));
        Ok(files::replace(
            &path,
            approvals.to_text().as_bytes(),
            0o644,
        )?)
    }

    /// The online policy keys that count, the current one first. One that an
    /// older version left in a plain file is taken into custody.
    fn online_keys(&self, custodian: &Custodian) -> Result<Vec<PolicyKey>, Failure> {
        let now = Clock::system().now();
        if self.home.path(file::SEAL_KEY).symlink_metadata().is_ok() {
            Rotation::begin(&self.home, now)?.adopt_seal(custodian)?;
        }
        let signers = custodian.seal_signers(now)?;
        let keys = signers.into_iter().map(PolicyKey::in_custody);
        Ok(keys.collect::<Result<_, _>>()?)
    }

    fn custodian(&self) -> Result<Custodian, Failure> {
        Ok(Custodian::new(self.home.clone(), &key::config(&self.home)?))
    }
}

fn delegate(args: &DelegateArgs) -> Outcome {
    let (room, rng) = (Room::open(&args.class)?, SystemRandom::new());
    let default = room.home.path(file::POLICY_ROOT_KEY);
    let path = args.owner_key.as_deref().unwrap_or(&default);
    let root = owner::policy_root(path, args.owner_passphrase.as_ref())?;
    // Gateways know the root by its Name from the bundle.
    let spki = root.public().to_spki_der().context("policy root")?;
    if *owner::owner_key(&room.home)?.id() != sha256(&[&spki]) {
        return Err(anyhow!(
            "{} is not the policy root of this verifier: its public half is not {}",
            path.display(),
            room.home.path(file::POLICY_ROOT_PUBLIC).display()
        )
        .into());
    }
    let before = room.approvals()?;
    let custodian = room.custodian()?;
    let mut keys = room.online_keys(&custodian)?;
    if args.new_key || keys.is_empty() {
        let now = Clock::system().now();
        Rotation::begin(&room.home, now)?.seal(&custodian, OVERLAP_SECONDS)?;
        keys = room.online_keys(&custodian)?;
    }
    let online = keys
        .first()
        .ok_or_else(|| anyhow!("the keyring has no seal key"))?;
    let authority = root.delegate(online.public(), &room.class, &rng)?;
    room.write(&delegated(before, root.public(), &room.class, authority)?)?;
    output::print(&format!(
        "policy key {} may approve boot states for class {}",
        online.public().name(),
        room.class
    ))
}

async fn approve(args: ApproveArgs) -> Outcome {
    let (room, rng) = (Room::open(&args.class)?, SystemRandom::new());
    let approvals = room.require()?;
    let keys = room.online_keys(&room.custodian()?)?;
    // The newest that the root has delegated this class to: after a rotation
    // the one of before serves classes that are still to be delegated anew.
    let delegated = |key: &&PolicyKey| {
        approvals
            .authorities
            .iter()
            .any(|authority| authority.key == *key.public())
    };
    let online = keys
        .iter()
        .find(delegated)
        .or(keys.first())
        .ok_or_else(|| {
            let class = &room.class;
            anyhow!(
                "there is no online policy key: holdfast-verifier seal delegate --class {class}"
            )
        })?;
    let document = match (&args.source.from_gateway, &args.source.from_reference) {
        (Some(gateway), _) => quoted(&args.class, gateway).await?,
        (None, Some(path)) => {
            String::from_utf8(owner::read_capped(path, MAX_DOCUMENT_BYTES)?).map_err(input)?
        }
        (None, None) => return Err(input(anyhow!("--from-gateway or --from-reference"))),
    };
    let values = ReferenceValues::parse(&document).map_err(input)?;
    let latch = (!args.no_latch_pcr).then_some(args.latch_pcr);
    let (selection, digest) = state(&values, latch)?;
    let approval = online.approve(&room.class, selection, digest, &rng)?;
    room.write(&approved(approvals, online.public(), approval)?)?;
    if args.json.json {
        return output::print_json(&json!({
            "class": room.class,
            "pcr_selection": selection.to_string(),
            "pcr_digest": hex::encode(digest),
        }));
    }
    output::print(&format!(
        "approved for class {}: PCRs {selection} with digest {}\n\
         gateways get it with their next holdfast-attester attest",
        room.class,
        hex::encode(digest)
    ))
}

/// The PCR values that a gateway was affirmed with last, as a document.
async fn quoted(class: &ClassArgs, gateway: &str) -> Result<String, Failure> {
    let proposal = client::connect(&class.dir)
        .await?
        .propose_reference_values(ProposeReferenceValuesRequest {
            gateway_id: gateway.to_owned(),
            class: class.class.clone(),
            change: Change::Replace.into(),
            until: 0,
            drift_only: false,
        })
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner();
    if proposal.drift.is_none_or(|drift| !drift.affirmed) {
        return Err(anyhow!(
            "the last quote of {gateway} was not affirmed: holdfast-verifier gateway approve \
             {gateway}, and let it attest, before its secrets come out there"
        )
        .into());
    }
    Ok(proposal.document)
}

/// The one state that a document describes: each PCR of the SHA-256 bank has one
/// value without an end, and the latch is as after a reset.
fn state(
    values: &ReferenceValues,
    latch: Option<u32>,
) -> Result<(PcrSelection, [u8; 32]), Failure> {
    let bank = HashAlg::Sha256;
    let mut state = std::collections::BTreeMap::new();
    for (index, accepted) in values.pcrs(bank) {
        let mut accepted = accepted.iter();
        match (accepted.next(), accepted.next()) {
            (Some(value), None) => state.insert(index, value.to_vec()),
            _ => {
                return Err(input(anyhow!(
                    "PCR {index} has several values: give a document with one state, or \
                     --from-gateway"
                )));
            }
        };
    }
    if state.is_empty() {
        return Err(input(anyhow!("no values of the sha256 bank")));
    }
    if let Some(pcr) = latch
        && state.insert(pcr, vec![0; bank.digest_len()]).is_some()
    {
        return Err(input(anyhow!(
            "PCR {pcr} is measured: choose another --latch-pcr, or --no-latch-pcr"
        )));
    }
    let selection = PcrSelection {
        hash: bank,
        pcrs: PcrSet::from_indices(state.keys().copied())?,
    };
    Ok((selection, pcr_digest(state.values().map(Vec::as_slice))))
}

fn show(approvals: &Approvals, json: JsonArg) -> Outcome {
    let mut lines = Vec::new();
    let mut states = Vec::new();
    for authority in &approvals.authorities {
        let key = authority.key.name().to_string();
        lines.push(format!("policy key {key}"));
        for approval in &authority.approvals {
            let (selection, digest) = (
                approval.selection.to_string(),
                hex::encode(approval.pcr_digest),
            );
            lines.push(format!("  PCRs {selection}, digest {digest}"));
            states.push(json!({ "key": key, "pcr_selection": selection, "pcr_digest": digest }));
        }
    }
    if json.json {
        return output::print_json(&json!({
            "class": approvals.class,
            "root": approvals.root_name().to_string(),
            "states": states,
        }));
    }
    output::print(&lines.join("\n"))
}
