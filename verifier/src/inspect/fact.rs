//! What an event of a boot log says, in one line and in particulars.

use holdfast_proto::boot_log::{
    Fact,
    decode::{
        Action, Authority, AuthorityEntry, FirmwareVersion, Gpt, LoaderLabel, NoAction,
        SectionPart, Separator, Signature, SignatureKind, SignatureLists, Tagged, Value as Said,
        Variable,
    },
};
use serde_json::{Map, Value, json};

use crate::{digest::sha256, endorsement::ShownCertificate};

/// Bytes of data that nobody reads that are shown all the same.
const OPAQUE_SHOWN: usize = 64;

/// Kind, one line, particulars.
pub(super) fn describe(fact: &Fact<'_>) -> (&'static str, String, Map<String, Value>) {
    let (kind, text, particulars) = said(&fact.value);
    let particulars = match particulars {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    (kind, text, particulars)
}

fn said(value: &Said<'_>) -> (&'static str, String, Value) {
    match value {
        Said::NoAction(note) => no_action(note),
        Said::Separator(separator) => {
            let state = match separator {
                Separator::Ready => "ready",
                Separator::Error => "error",
            };
            ("separator", state.to_owned(), json!({ "state": state }))
        }
        Said::SecureBootVariable(variable) => variable_said("secure-boot-variable", variable),
        Said::Variable(variable) => variable_said("variable", variable),
        Said::Authority(authority) => authority_said(authority),
        Said::Image(image) => (
            "image",
            image.device_path.to_string(),
            json!({
                "device_path": image.device_path.to_string(),
                "file": image.device_path.file().map(|file| file.to_string()),
                "length": image.length,
            }),
        ),
        Said::PartitionTable(table) => partition_table(table),
        Said::Action(action) => (
            "action",
            action.text.to_string(),
            json!({
                "action": action.known.map(action_name),
                "logged": action.text.to_string(),
            }),
        ),
        Said::FirmwareVersion(version) => {
            let text = match version {
                FirmwareVersion::Text(text) => text.to_string(),
                FirmwareVersion::Guid(guid) => guid.to_string(),
            };
            ("firmware-version", text.clone(), json!({ "version": text }))
        }
        Said::FirmwareBlob(blob) => {
            let description = blob.description.map(|text| text.to_string());
            let place = format!("{:#x}, {} bytes", blob.base, blob.length);
            (
                "firmware-blob",
                description
                    .as_ref()
                    .map_or_else(|| place.clone(), |text| format!("{text} ({place})")),
                json!({
                    "description": description,
                    "base": format!("{:#x}", blob.base),
                    "length": blob.length,
                }),
            )
        }
        Said::HandoffTables(tables) => {
            let description = tables.description.map(|text| text.to_string());
            let guids: Vec<String> = tables.tables().map(|(guid, _)| guid.to_string()).collect();
            (
                "handoff-tables",
                description.clone().unwrap_or_else(|| guids.join(", ")),
                json!({ "description": description, "tables": guids }),
            )
        }
        Said::LoaderText(loader) => {
            let label = match loader.claimed {
                LoaderLabel::Command => "command",
                LoaderLabel::KernelCommandLine => "kernel-command-line",
                LoaderLabel::ModuleCommandLine => "module-command-line",
            };
            (
                "loader-text",
                format!("{label}: {}", loader.text),
                json!({ "claimed_label": label, "logged": loader.text.to_string() }),
            )
        }
        Said::LoaderFile(file) => (
            "loader-file",
            file.to_string(),
            json!({ "file": file.to_string() }),
        ),
        Said::UkiSection(section) => {
            let part = match section.part {
                SectionPart::Name => "name",
                SectionPart::Contents => "contents",
            };
            (
                "uki-section",
                format!("{} ({part})", section.name),
                json!({ "section": section.name.to_string(), "part": part }),
            )
        }
        Said::CommandLine(text) => (
            "command-line",
            text.to_string(),
            json!({ "command_line": text.to_string() }),
        ),
        Said::Mok(label) => (
            "mok",
            label.to_string(),
            json!({ "variable": label.to_string() }),
        ),
        Said::Tagged(tagged) => tagged_said(tagged),
        Said::Label(label) => (
            "label",
            label.to_string(),
            json!({ "label": label.to_string() }),
        ),
        Said::Opaque(data) => opaque(data),
        Said::Malformed(flaw) => (
            "malformed",
            flaw.to_string(),
            json!({ "flaw": flaw.to_string() }),
        ),
        // A kind that proto learns later is shown as what it is to us.
        _ => ("other", String::new(), Value::Null),
    }
}

fn no_action(note: &NoAction<'_>) -> (&'static str, String, Value) {
    match note {
        NoAction::SpecId => ("spec-id", "log header".to_owned(), Value::Null),
        NoAction::StartupLocality(locality) => (
            "startup-locality",
            format!("locality {locality}"),
            json!({ "locality": locality }),
        ),
        NoAction::HcrtmComponent(data) => ("hcrtm-component", start(data), data_shown(data)),
        NoAction::Sp800155(data) => ("sp800-155", start(data), data_shown(data)),
        NoAction::Other(data) => ("no-action", start(data), data_shown(data)),
    }
}

fn variable_said(kind: &'static str, variable: &Variable<'_>) -> (&'static str, String, Value) {
    let name = variable.name.to_string();
    let mut particulars = Map::new();
    particulars.insert("vendor".to_owned(), json!(variable.vendor.to_string()));
    particulars.insert("name".to_owned(), json!(name));
    let data = variable.data;
    let what = if let Some(on) = variable.secure_boot() {
        particulars.insert("secure_boot".to_owned(), json!(on));
        if on { "on" } else { "off" }.to_owned()
    } else if let Some(option) = variable.load_option() {
        match option {
            Ok(option) => {
                particulars.insert(
                    "description".to_owned(),
                    json!(option.description.to_string()),
                );
                particulars.insert(
                    "device_path".to_owned(),
                    json!(option.device_path.to_string()),
                );
                format!("{}: {}", option.description, option.device_path)
            }
            Err(flaw) => flaw.to_string(),
        }
    } else if let Some(lists) = variable.signatures() {
        match lists {
            Ok(lists) => {
                let shown: Vec<Value> = lists.iter().map(|s| signature(&s)).collect();
                particulars.insert("signatures".to_owned(), json!(shown));
                summary(&lists)
            }
            Err(flaw) => flaw.to_string(),
        }
    } else {
        particulars.extend(map(data_shown(data)));
        start(data)
    };
    particulars.insert(
        "value_sha256".to_owned(),
        json!(hex::encode(sha256(&[data]))),
    );
    (kind, format!("{name}: {what}"), Value::Object(particulars))
}

/// How many entries of each kind, and whose certificates.
fn summary(lists: &SignatureLists<'_>) -> String {
    let (mut hashes, mut others, mut names) = (0_usize, 0_usize, Vec::new());
    for entry in lists.iter() {
        match entry.kind {
            SignatureKind::X509 => names.push(certificate_name(entry.data)),
            SignatureKind::Sha1
            | SignatureKind::Sha224
            | SignatureKind::Sha256
            | SignatureKind::Sha384
            | SignatureKind::Sha512 => hashes += 1,
            _ => others += 1,
        }
    }
    let mut parts = Vec::new();
    if !names.is_empty() {
        let plural = if names.len() == 1 { "" } else { "s" };
        parts.push(format!(
            "{} certificate{plural} ({})",
            names.len(),
            names.join("; ")
        ));
    }
    if hashes > 0 {
        parts.push(format!("{hashes} image hash(es)"));
    }
    if others > 0 {
        parts.push(format!("{others} other(s)"));
    }
    if parts.is_empty() {
        "empty".to_owned()
    } else {
        parts.join(", ")
    }
}

fn signature(entry: &Signature<'_>) -> Value {
    let owner = entry.owner.to_string();
    match entry.kind {
        SignatureKind::X509 => json!({
            "kind": "x509",
            "owner": owner,
            "sha256": hex::encode(sha256(&[entry.data])),
            "subject": certificate_name(entry.data),
        }),
        kind => json!({
            "kind": match kind {
                SignatureKind::Sha1 => "sha1".to_owned(),
                SignatureKind::Sha224 => "sha224".to_owned(),
                SignatureKind::Sha256 => "sha256".to_owned(),
                SignatureKind::Sha384 => "sha384".to_owned(),
                SignatureKind::Sha512 => "sha512".to_owned(),
                SignatureKind::X509Sha256 => "x509-sha256".to_owned(),
                SignatureKind::X509Sha384 => "x509-sha384".to_owned(),
                SignatureKind::X509Sha512 => "x509-sha512".to_owned(),
                SignatureKind::Rsa2048 => "rsa2048".to_owned(),
                SignatureKind::X509 => "x509".to_owned(),
                SignatureKind::Other(guid) => guid.to_string(),
            },
            "owner": owner,
            "data": hex::encode(entry.data),
        }),
    }
}

fn certificate_name(der: &[u8]) -> String {
    ShownCertificate::parse(der).map_or_else(|e| e.to_string(), |c| c.subject)
}

fn authority_said(authority: &Authority<'_>) -> (&'static str, String, Value) {
    let name = authority.variable.name.to_string();
    let (what, entry) = match authority.entry {
        AuthorityEntry::Certificate(der) => {
            let subject = certificate_name(der);
            (
                subject.clone(),
                json!({
                    "certificate_subject": subject,
                    "certificate_sha256": hex::encode(sha256(&[der])),
                }),
            )
        }
        AuthorityEntry::Hash(hash) => {
            let hash = hex::encode(hash);
            (format!("image {hash}"), json!({ "image_sha256": hash }))
        }
        AuthorityEntry::Other(data) => (start(data), data_shown(data)),
    };
    let mut particulars = map(entry);
    particulars.insert("name".to_owned(), json!(name));
    particulars.insert(
        "vendor".to_owned(),
        json!(authority.variable.vendor.to_string()),
    );
    particulars.insert(
        "owner".to_owned(),
        json!(authority.owner.map(|guid| guid.to_string())),
    );
    (
        "authority",
        format!("{name}: {what}"),
        Value::Object(particulars),
    )
}

fn partition_table(table: &Gpt<'_>) -> (&'static str, String, Value) {
    let partitions: Vec<Value> = table
        .partitions()
        .map(|partition| {
            json!({
                "name": partition.name.to_string(),
                "kind": partition.kind.to_string(),
                "id": partition.id.to_string(),
                "first_block": partition.first_block,
                "last_block": partition.last_block,
            })
        })
        .collect();
    (
        "partition-table",
        format!("disk {}, {} partition(s)", table.disk, partitions.len()),
        json!({ "disk": table.disk.to_string(), "partitions": partitions }),
    )
}

fn tagged_said(tagged: &Tagged<'_>) -> (&'static str, String, Value) {
    let who = match tagged.id {
        Tagged::LINUX_INITRD => "Linux: initrd".to_owned(),
        Tagged::LINUX_LOAD_OPTIONS => "Linux: load options".to_owned(),
        other => format!("tag {other:#010x}"),
    };
    let mut particulars = map(data_shown(tagged.data));
    particulars.insert("tag".to_owned(), json!(format!("{:#010x}", tagged.id)));
    ("tagged", who, Value::Object(particulars))
}

fn opaque(data: &[u8]) -> (&'static str, String, Value) {
    ("opaque", start(data), data_shown(data))
}

fn action_name(action: Action) -> &'static str {
    match action {
        Action::CallingApplication => "calling-application",
        Action::ReturningFromApplication => "returning-from-application",
        Action::ExitBootServicesInvocation => "exit-boot-services-invocation",
        Action::ExitBootServicesSucceeded => "exit-boot-services-succeeded",
        Action::ExitBootServicesFailed => "exit-boot-services-failed",
        Action::DebugMode => "debug-mode",
        Action::DmaProtectionDisabled => "dma-protection-disabled",
    }
}

/// Hex of the first bytes, and `…` where there are more.
fn start(data: &[u8]) -> String {
    let shown = data.get(..OPAQUE_SHOWN).unwrap_or(data);
    let more = if shown.len() < data.len() { "…" } else { "" };
    format!("{}{more}", hex::encode(shown))
}

fn data_shown(data: &[u8]) -> Value {
    json!({ "data": start(data) })
}

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
