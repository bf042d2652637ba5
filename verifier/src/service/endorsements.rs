//! Endorsements in use: what was imported one by one, and the bundle that the
//! owner signed, verified whenever it is loaded; replaced without a restart.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::Mutex;
use tracing::{error, info};

use super::error::Refusal;
use crate::{
    digest::sha256,
    endorsement::{
        Anchors, CertificateFacts, EndorsementBundle, EndorsementError, FileError, Item, Rules,
        items,
    },
    exchange::Verifier,
    owner::{EVERY_CLASS, Kind, OwnerError, OwnerKey, Stated, Succession},
    store::{Anchor, BundleRecord, CrlRecord, NewBundle, Store, StoreError},
    time::UnixTime,
};

/// Certificates and CRLs in one import; all vendors' together have some
/// hundred.
const ITEMS_MAX: usize = 10_000;
/// Reasons told where nothing of an import was of use.
const REASONS_TOLD: usize = 5;

/// Why the endorsements on record are not taken into use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndorsementLoadError {
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The row is not what the owner signed as this version.
    #[error(
        "version {version} of the endorsement bundle in the store is not what the owner signed: \
         {cause}. Somebody changed the store: restore it from a backup"
    )]
    NotTheOwners {
        /// Which version.
        version: u64,
        /// What is not the owner's word.
        cause: String,
    },
    /// A certificate on record cannot serve.
    #[error("endorsements: {0}")]
    Anchors(#[from] EndorsementError),
}

impl From<EndorsementLoadError> for Refusal {
    fn from(error: EndorsementLoadError) -> Self {
        match error {
            EndorsementLoadError::Store(error) => error.into(),
            other => Self::Internal(other.to_string()),
        }
    }
}

/// Endorsements, as they are in the store and as they come in.
pub struct Endorsements {
    store: Arc<dyn Store>,
    owner: OwnerKey,
    configured: Rules,
    /// One change at a time: store and memory change in the same order.
    changing: Mutex<()>,
}

/// What is on record.
pub(super) struct OnRecord {
    pub(super) certificates: Vec<Anchor>,
    pub(super) crls: Vec<CrlRecord>,
    pub(super) bundle: Option<(BundleRecord, EndorsementBundle)>,
}

/// What an import made of one file.
pub(super) struct FileReport {
    /// Why nothing of it was read; empty where it was.
    pub(super) reason: String,
    pub(super) items: Vec<ItemReport>,
}

/// What an import made of one certificate or CRL.
pub(super) struct ItemReport {
    pub(super) kind: &'static str,
    pub(super) sha256: [u8; 32],
    /// Subject or issuer, for people; inert. Empty where it was not read.
    pub(super) name: String,
    pub(super) outcome: Outcome,
}

pub(super) enum Outcome {
    New,
    Known,
    Refused(String),
}

/// What an application of a bundle did.
pub(super) struct Applied {
    pub(super) record: BundleRecord,
    /// False where it was in force already.
    pub(super) changed: bool,
}

impl Endorsements {
    /// Over what the store holds, by the word of `owner`, with what is
    /// configured.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, owner: OwnerKey, configured: Rules) -> Self {
        Self {
            store,
            owner,
            configured,
            changing: Mutex::default(),
        }
    }

    /// All that is on record, to be taken into use.
    ///
    /// # Errors
    /// [`EndorsementLoadError`]: a bundle that is not the owner's is not used,
    /// and no older one in its place.
    pub async fn load(&self) -> Result<Anchors, EndorsementLoadError> {
        let OnRecord {
            certificates,
            crls,
            bundle,
        } = self.on_record().await?;
        let bundle = bundle.as_ref().map(|(_, bundle)| bundle);
        let (anchors, unusable) = self.assemble(&certificates, &crls, bundle)?;
        for cause in unusable {
            error!(%cause, "a CRL on record is not used: import its CA's certificate again");
        }
        Ok(anchors)
    }

    pub(super) async fn on_record(&self) -> Result<OnRecord, EndorsementLoadError> {
        Ok(OnRecord {
            certificates: self.store.anchors().await?,
            crls: self.store.endorsement_crls().await?,
            bundle: self.bundle().await?,
        })
    }

    async fn bundle(
        &self,
    ) -> Result<Option<(BundleRecord, EndorsementBundle)>, EndorsementLoadError> {
        let Some(record) = self.store.endorsement_bundle().await? else {
            return Ok(None);
        };
        let version = record.version;
        let not_theirs = |cause: String| EndorsementLoadError::NotTheOwners { version, cause };
        let stated = self
            .stated(&record.document, &record.statement)
            .map_err(|cause| not_theirs(cause.to_string()))?;
        if stated.version() != version {
            return Err(not_theirs(format!(
                "it was signed as version {}",
                stated.version()
            )));
        }
        let bundle = EndorsementBundle::parse(&record.document)
            .map_err(|cause| not_theirs(cause.to_string()))?;
        Ok(Some((record, bundle)))
    }

    /// The core's anchors; and the CRLs among them that no longer count.
    fn assemble(
        &self,
        certificates: &[Anchor],
        crls: &[CrlRecord],
        bundle: Option<&EndorsementBundle>,
    ) -> Result<(Anchors, Vec<EndorsementError>), EndorsementError> {
        let (roots, intermediates): (Vec<_>, Vec<_>) =
            certificates.iter().partition(|anchor| anchor.root);
        let ders = |list: Vec<&Anchor>| list.into_iter().map(|a| a.der.clone()).collect();
        let (mut roots, mut intermediates): (Vec<_>, Vec<_>) = (ders(roots), ders(intermediates));
        let mut lists: Vec<Vec<u8>> = crls.iter().map(|crl| crl.der.clone()).collect();
        let mut rules = self.configured.clone();
        if let Some(bundle) = bundle {
            roots.extend_from_slice(bundle.roots());
            intermediates.extend_from_slice(bundle.intermediates());
            lists.extend_from_slice(bundle.crls());
            rules = bundle.rules(&rules);
        }
        let anchors = Anchors::new(roots, intermediates)?.with_rules(rules);
        Ok(anchors.with_good_crls(&lists))
    }

    /// Takes over what files hold, as far as it can serve; says of each what
    /// became of it.
    pub(super) async fn import(
        &self,
        verifier: &Verifier,
        files: &[Vec<u8>],
        as_roots: bool,
        by: &str,
        now: UnixTime,
    ) -> Result<Vec<FileReport>, Refusal> {
        let read: Vec<_> = files.iter().map(|file| items(file)).collect();
        let count: usize = read.iter().flatten().map(Vec::len).sum();
        if count > ITEMS_MAX {
            return Err(Refusal::AdminInput(
                "more than 10,000 certificates in one import; import them in parts".to_owned(),
            ));
        }
        let _one_at_a_time = self.changing.lock().await;
        let OnRecord {
            mut certificates,
            crls,
            bundle,
        } = self.on_record().await?;
        let bundle = bundle.as_ref().map(|(_, bundle)| bundle);
        let mut import = Import {
            rules: bundle.map_or_else(|| self.configured.clone(), |b| b.rules(&self.configured)),
            as_roots,
            known: certificates.iter().map(|a| (a.sha256, a.root)).collect(),
            certificates: Vec::new(),
            crls: Vec::new(),
        };
        let taken = import.all_certificates(&read);
        certificates.retain(|known| !import.certificates.iter().any(|n| n.sha256 == known.sha256));
        certificates.extend(import.certificates.iter().cloned());
        // Built before anything is recorded: a set that the core refuses is
        // never stored.
        let (anchors, _) = self
            .assemble(&certificates, &crls, bundle)
            .map_err(EndorsementLoadError::from)?;
        let reports = import.and_crls(read, taken, &anchors, now);
        let of_use = |item: &ItemReport| !matches!(item.outcome, Outcome::Refused(_));
        if !reports.iter().flat_map(|r| &r.items).any(of_use) {
            return Err(Refusal::AdminInput(nothing_of_use(&reports)));
        }
        let Import {
            certificates, crls, ..
        } = import;
        if !certificates.is_empty() {
            self.store
                .import_anchors(certificates, by, now.seconds())
                .await?;
        }
        if !crls.is_empty() {
            self.store
                .import_endorsement_crls(crls, by, now.seconds())
                .await?;
        }
        verifier.replace_anchors(self.load().await?);
        info!(by, items = count, "endorsements imported");
        Ok(reports)
    }

    /// Verifies a bundle, records it and takes it into use.
    pub(super) async fn apply(
        &self,
        verifier: &Verifier,
        document: &str,
        statement: &[u8],
        by: &str,
        now: UnixTime,
    ) -> Result<Applied, Refusal> {
        let stated = self.stated(document, statement)?;
        let bundle =
            EndorsementBundle::parse(document).map_err(|e| Refusal::AdminInput(e.to_string()))?;
        let _one_at_a_time = self.changing.lock().await;
        let last = self.store.endorsement_bundle().await?;
        let in_use = last.as_ref().map(|last| (last.version, &last.sha256));
        let succession = stated.after(in_use)?;
        // Built before it is recorded; every CRL of its own must count.
        let certificates = self.store.anchors().await?;
        let (_, unusable) = self
            .assemble(&certificates, &[], Some(&bundle))
            .map_err(|e| Refusal::AdminInput(e.to_string()))?;
        if let Some(cause) = unusable.first() {
            return Err(Refusal::AdminInput(cause.to_string()));
        }
        let (record, changed) = match (succession, last) {
            (Succession::Same, Some(last)) => (last, false),
            _ => {
                let new = NewBundle {
                    version: stated.version(),
                    sha256: *stated.sha256(),
                    document: document.to_owned(),
                    statement: statement.to_vec(),
                };
                let applied = self.store.apply_endorsement_bundle(new, by, now.seconds());
                (applied.await?, true)
            }
        };
        verifier.replace_anchors(self.load().await?);
        Ok(Applied { record, changed })
    }

    fn stated(&self, document: &str, statement: &[u8]) -> Result<Stated, OwnerError> {
        self.owner.verify(
            statement,
            Kind::Endorsements,
            EVERY_CLASS,
            document.as_bytes(),
        )
    }
}

/// An import under way.
struct Import {
    rules: Rules,
    as_roots: bool,
    /// Certificates on record and found so far, and whether each is a root.
    known: BTreeMap<[u8; 32], bool>,
    /// To be recorded.
    certificates: Vec<Anchor>,
    crls: Vec<CrlRecord>,
}

/// Of each file's items: a report on a certificate, none yet on a CRL.
type Taken = Vec<Vec<Option<ItemReport>>>;

impl Import {
    /// CRLs wait until all certificates are there.
    fn all_certificates(&mut self, read: &[Result<Vec<Item>, FileError>]) -> Taken {
        let mut of_file = |items: &Vec<Item>| {
            let mut one = |item: &Item| match item {
                Item::Certificate(der) => Some(self.certificate(der)),
                Item::Crl(_) => None,
            };
            items.iter().map(&mut one).collect()
        };
        read.iter()
            .map(|file| file.as_ref().map(&mut of_file).unwrap_or_default())
            .collect()
    }

    fn and_crls(
        &mut self,
        read: Vec<Result<Vec<Item>, FileError>>,
        taken: Taken,
        anchors: &Anchors,
        now: UnixTime,
    ) -> Vec<FileReport> {
        let files = read.into_iter().zip(taken);
        files
            .map(|(file, taken)| match file {
                Err(reason) => FileReport {
                    reason: reason.to_string(),
                    items: Vec::new(),
                },
                Ok(items) => FileReport {
                    reason: String::new(),
                    items: (items.iter().zip(taken))
                        .map(|(item, report)| match (report, item) {
                            (Some(report), _) => report,
                            (None, Item::Certificate(der) | Item::Crl(der)) => {
                                self.crl(der, anchors, now)
                            }
                        })
                        .collect(),
                },
            })
            .collect()
    }

    fn certificate(&mut self, der: &[u8]) -> ItemReport {
        let read = if self.as_roots {
            CertificateFacts::as_root(der)
        } else {
            CertificateFacts::parse(der, &self.rules.leniencies)
        };
        let facts = match read {
            Ok(facts) => facts,
            Err(reason) => return refused("certificate", der, told(&reason)),
        };
        // An intermediate that is to be trusted by itself from now on is news.
        let is_known = match self.known.get(&facts.sha256) {
            Some(root) => *root || !facts.root,
            None => false,
        };
        let outcome = if is_known {
            Outcome::Known
        } else {
            self.known.insert(facts.sha256, facts.root);
            self.certificates.push(Anchor {
                sha256: facts.sha256,
                subject: facts.subject.clone(),
                root: facts.root,
                not_after: facts.not_after.seconds(),
                der: der.to_vec(),
            });
            Outcome::New
        };
        ItemReport {
            kind: if facts.root { "root" } else { "intermediate" },
            sha256: facts.sha256,
            name: facts.subject,
            outcome,
        }
    }

    fn crl(&mut self, der: &[u8], anchors: &Anchors, now: UnixTime) -> ItemReport {
        let read = match anchors.read_crl(der, now) {
            Ok(read) => read,
            Err(reason) => return refused("crl", der, reason.to_string()),
        };
        let facts = read.facts();
        let report = |outcome| ItemReport {
            kind: "crl",
            sha256: facts.sha256,
            name: facts.issuer.clone(),
            outcome,
        };
        if read.is_in_use() || self.crls.iter().any(|crl| crl.sha256 == facts.sha256) {
            return report(Outcome::Known);
        }
        self.crls.push(CrlRecord {
            issuer_sha256: facts.issuer_sha256,
            key_sha256: *read.key_sha256(),
            sha256: facts.sha256,
            der: der.to_vec(),
            issuer: facts.issuer.clone(),
            this_update: facts.this_update.seconds(),
            next_update: facts.next_update.seconds(),
        });
        report(Outcome::New)
    }
}

fn refused(kind: &'static str, der: &[u8], reason: String) -> ItemReport {
    ItemReport {
        kind,
        sha256: sha256(&[der]),
        name: String::new(),
        outcome: Outcome::Refused(reason),
    }
}

/// In an import a refusal is about the one certificate at hand.
fn told(reason: &EndorsementError) -> String {
    match reason {
        EndorsementError::IssuerNotCa => "not a CA certificate".to_owned(),
        EndorsementError::WeakSignature { alg, .. } => format!(
            "signed with {alg}: if its key is known to be the vendor's, trust it by itself with \
             --as-roots"
        ),
        EndorsementError::CriticalExtension { oid, .. } => format!(
            "unknown critical extension {oid}: if it is to be trusted all the same, by itself, \
             --as-roots"
        ),
        reason => reason.to_string().replace("certificate 0: ", ""),
    }
}

fn nothing_of_use(reports: &[FileReport]) -> String {
    let of_items = |report: &FileReport| {
        report
            .items
            .iter()
            .filter_map(|item| match &item.outcome {
                Outcome::Refused(reason) => Some(reason.clone()),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    let reasons: Vec<String> = reports
        .iter()
        .flat_map(|report| match report.reason.as_str() {
            "" => of_items(report),
            reason => vec![reason.to_owned()],
        })
        .take(REASONS_TOLD)
        .collect();
    format!("nothing imported: {}", reasons.join("; "))
}
