//! `input.boot_log.secure_boot`: whether Secure Boot was on, by which keys, and
//! what of them was used (PCR 7).

use std::collections::BTreeMap;

use holdfast_proto::boot_log::{
    Fact,
    decode::{
        Authority as Entry, AuthorityEntry, Guid, Signature, SignatureKind, Value,
        Variable as Measured,
    },
};
use serde::Serialize;

use super::{CLAIMED, Knowing, PROVEN};
use crate::{digest::sha256, endorsement::ShownCertificate};

/// The variables that decide what may boot.
const DATABASES: [(Guid, &str); 6] = [
    (Guid::GLOBAL_VARIABLE, "PK"),
    (Guid::GLOBAL_VARIABLE, "KEK"),
    (Guid::SECURITY_DATABASE, "db"),
    (Guid::SECURITY_DATABASE, "dbx"),
    (Guid::SECURITY_DATABASE, "dbt"),
    (Guid::SECURITY_DATABASE, "dbr"),
];

#[derive(Serialize)]
pub(super) struct SecureBoot {
    /// None where no variable SecureBoot was measured, or its value is neither
    /// 0 nor 1.
    enabled: Option<bool>,
    known_by: &'static str,
    /// PK, KEK, db, dbx, dbt, dbr; those that were measured.
    databases: BTreeMap<&'static str, Database>,
    variables: Vec<Variable>,
    authorities: Vec<Authority>,
}

impl Default for SecureBoot {
    fn default() -> Self {
        Self {
            enabled: None,
            known_by: CLAIMED,
            databases: BTreeMap::new(),
            variables: Vec::new(),
            authorities: Vec::new(),
        }
    }
}

/// What a signature database holds.
#[derive(Serialize)]
struct Database {
    event: usize,
    known_by: &'static str,
    sha256: String,
    /// Whether its value reads as signature lists.
    well_formed: bool,
    /// Of all kinds.
    entries: usize,
    certificates: Vec<Certificate>,
    /// Image hashes, in hex.
    hashes: Vec<String>,
}

#[derive(Serialize)]
struct Certificate {
    subject: Option<String>,
    sha256: String,
    owner: Option<String>,
}

/// Any variable of PCR 7, by its hash.
#[derive(Serialize)]
struct Variable {
    event: usize,
    vendor: String,
    name: String,
    sha256: String,
    known_by: &'static str,
}

/// What let an image run, or what shim went by.
#[derive(Serialize)]
struct Authority {
    event: usize,
    vendor: String,
    variable: String,
    /// `certificate`, `image-hash` or `other`.
    kind: &'static str,
    /// Of the certificate, or of the value of another kind; of an image hash
    /// the hash itself.
    sha256: String,
    subject: Option<String>,
    owner: Option<String>,
    /// What a value of another kind says, where it is text (SBAT level).
    text: Option<String>,
    known_by: &'static str,
}

impl SecureBoot {
    pub(super) fn add(&mut self, fact: &Fact<'_>, knowing: &Knowing<'_>) {
        let (event, known_by) = (fact.event.index(), knowing.of(fact));
        match &fact.value {
            Value::SecureBootVariable(variable) => self.add_variable(event, variable, known_by),
            Value::Authority(authority) => {
                self.authorities
                    .push(Authority::of(event, authority, known_by));
            }
            _ => {}
        }
    }

    /// What is proven goes before what is claimed; of equals, the first.
    fn add_variable(&mut self, event: usize, variable: &Measured<'_>, known_by: &'static str) {
        let proven = known_by == PROVEN;
        if let Some(enabled) = variable.secure_boot()
            && (self.enabled.is_none() || (proven && self.known_by != PROVEN))
        {
            (self.enabled, self.known_by) = (Some(enabled), known_by);
        }
        let database = DATABASES
            .iter()
            .find(|(vendor, name)| variable.is(*vendor, name));
        if let Some((_, name)) = database {
            let known = self.databases.get(name);
            if known.is_none_or(|known| proven && known.known_by != PROVEN) {
                self.databases
                    .insert(name, Database::of(event, variable, known_by));
            }
        }
        self.variables.push(Variable {
            event,
            vendor: variable.vendor.to_string(),
            name: variable.name.to_string(),
            sha256: hex::encode(sha256(&[variable.data])),
            known_by,
        });
    }
}

impl Database {
    fn of(event: usize, variable: &Measured<'_>, known_by: &'static str) -> Self {
        let lists = variable.signatures().and_then(Result::ok);
        let mut database = Self {
            event,
            known_by,
            sha256: hex::encode(sha256(&[variable.data])),
            well_formed: lists.is_some(),
            entries: 0,
            certificates: Vec::new(),
            hashes: Vec::new(),
        };
        for signature in lists.iter().flat_map(|lists| lists.iter()) {
            database.add(&signature);
        }
        database
    }

    fn add(&mut self, signature: &Signature<'_>) {
        self.entries += 1;
        match signature.kind {
            SignatureKind::X509 => self
                .certificates
                .push(Certificate::of(signature.data, Some(signature.owner))),
            SignatureKind::Sha1
            | SignatureKind::Sha224
            | SignatureKind::Sha256
            | SignatureKind::Sha384
            | SignatureKind::Sha512 => self.hashes.push(hex::encode(signature.data)),
            // Keys, and hashes of certificates: counted.
            _ => {}
        }
    }
}

impl Certificate {
    fn of(der: &[u8], owner: Option<Guid>) -> Self {
        Self {
            subject: subject(der),
            sha256: hex::encode(sha256(&[der])),
            owner: owner.map(|owner| owner.to_string()),
        }
    }
}

impl Authority {
    fn of(event: usize, authority: &Entry<'_>, known_by: &'static str) -> Self {
        let variable = &authority.variable;
        let (kind, digest, subject, text) = match authority.entry {
            AuthorityEntry::Certificate(der) => (
                "certificate",
                hex::encode(sha256(&[der])),
                subject(der),
                None,
            ),
            AuthorityEntry::Hash(hash) => ("image-hash", hex::encode(hash), None, None),
            AuthorityEntry::Other(data) => {
                let text = std::str::from_utf8(data).ok();
                let inert = text.map(|text| text.escape_debug().to_string());
                ("other", hex::encode(sha256(&[data])), None, inert)
            }
        };
        Self {
            event,
            vendor: variable.vendor.to_string(),
            variable: variable.name.to_string(),
            kind,
            sha256: digest,
            subject,
            owner: authority.owner.map(|owner| owner.to_string()),
            text,
            known_by,
        }
    }
}

/// The subject of a certificate; none where it does not read as one.
fn subject(der: &[u8]) -> Option<String> {
    let shown = ShownCertificate::parse(der).ok()?;
    Some(shown.subject)
}
