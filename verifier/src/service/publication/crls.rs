//! Makes CRLs: at the start, when something is revoked, and when half of a
//! CRL's time has passed.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::{debug, error, info};

use super::{
    PublicationSettings,
    shelf::{Item, Shelf},
};
use crate::{
    identity::{
        CrlContents, CrlPart, CrlParts, IdentityError, IssuingCa, IssuingCas, crl_path, issuer_path,
    },
    service::Shared,
    store::{CrlScope, CrlTimes, KeyId, Seconds, StoreError},
    time::UnixTime,
};

/// Looked at this often, also where nothing is told.
const EVERY: Duration = Duration::from_millis(500);
/// Between two rounds, so that many revocations in a row make few CRLs.
const REST: Duration = Duration::from_millis(200);
/// What CRLs there must be is asked this often, beside what changes.
const SURVEY_EVERY: Duration = Duration::from_secs(60);

const CRL_TYPE: &str = "application/pkix-crl";
const CERTIFICATE_TYPE: &str = "application/pkix-cert";
/// A CA's certificate is the same tomorrow.
const CERTIFICATE_SECONDS: Seconds = 86_400;

pub(super) struct CrlMaker {
    shared: Arc<Shared>,
    shelf: Arc<Shelf>,
    settings: PublicationSettings,
    /// When each was made last.
    made: HashMap<CrlScope, Seconds>,
    /// Those that there must be.
    wanted: BTreeSet<CrlScope>,
    surveyed: Option<Instant>,
    /// The CAs that there were then, by key identifier.
    cas: Vec<Vec<u8>>,
    /// The last round did not make everything.
    failing: bool,
    /// Everything revoked up to here is on the CRLs.
    place: u64,
}

/// Why a CRL was not made.
#[derive(Debug, thiserror::Error)]
enum CrlError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("signing ended early: {0}")]
    Join(#[from] tokio::task::JoinError),
}

impl CrlMaker {
    pub(super) fn new(
        shared: Arc<Shared>,
        shelf: Arc<Shelf>,
        settings: PublicationSettings,
    ) -> Self {
        Self {
            shared,
            shelf,
            settings,
            made: HashMap::new(),
            wanted: BTreeSet::new(),
            surveyed: None,
            cas: Vec::new(),
            failing: false,
            place: 0,
        }
    }

    /// One round after another.
    pub(super) async fn keep(mut self) {
        let mut changed = self.shared.store.changed();
        loop {
            tokio::select! {
                _ = changed.changed() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
            self.round().await;
            tokio::time::sleep(REST).await;
        }
    }

    /// Makes what is due. What fails is told, once, and tried again in the next
    /// one.
    pub(super) async fn round(&mut self) {
        match self.make_what_is_due().await {
            Ok(()) if self.failing => {
                info!("CRLs are up to date again");
                self.failing = false;
            }
            Ok(()) => {}
            Err(error) if self.failing => debug!(%error, "CRLs are not up to date"),
            Err(error) => {
                error!(%error, "CRLs are not up to date");
                self.failing = true;
            }
        }
    }

    async fn make_what_is_due(&mut self) -> Result<(), CrlError> {
        let now = self.shared.clock.now().seconds();
        let cas = self.shared.issuer.cas();
        let ids: Vec<Vec<u8>> = cas.all().map(|ca| ca.key_identifier().to_vec()).collect();
        // A CA that took over issues at once.
        if self.cas != ids || self.surveyed.is_none_or(|at| at.elapsed() >= SURVEY_EVERY) {
            self.survey(&cas, now).await?;
            self.surveyed = Some(Instant::now());
            self.cas = ids;
        }
        let (place, changed) = self.shared.store.scopes_changed_since(self.place).await?;
        let mut due: BTreeSet<CrlScope> = changed
            .into_iter()
            .flat_map(|scope| [scope, full(scope.issuer)])
            .collect();
        self.wanted.extend(&due);
        due.extend(self.wanted.iter().filter(|scope| self.is_due(scope, now)));
        // A CA whose key is out of reach holds up no other.
        let mut failed = None;
        for scope in due {
            let Some(ca) = cas.by_key_identifier(&scope.issuer) else {
                continue;
            };
            if let Err(error) = self.make(ca, scope, now).await {
                failed = Some(error);
            }
        }
        match failed {
            Some(error) => Err(error),
            None => {
                self.place = place;
                Ok(())
            }
        }
    }

    fn is_due(&self, scope: &CrlScope, now: Seconds) -> bool {
        self.made.get(scope).is_none_or(|made| {
            // The clock may have been set back.
            now < *made || now.saturating_sub(*made) >= self.settings.crl_seconds / 2
        })
    }

    /// What CRLs there must be, and among how many new LDevIDs are divided.
    async fn survey(&mut self, cas: &IssuingCas, now: Seconds) -> Result<(), CrlError> {
        let store = &self.shared.store;
        let first = cas.all().last().unwrap_or(cas.current());
        let adopted = match key_id(first) {
            Some(id) => store.adopt_certificates(&id).await?,
            None => 0,
        };
        if adopted > 0 {
            info!(adopted, "certificates from before are of the first CA");
        }
        let mut wanted: BTreeSet<CrlScope> = store.crl_scopes(now).await?.into_iter().collect();
        for ca in cas.all() {
            if let Some(id) = key_id(ca) {
                wanted.insert(full(id));
            }
            self.shelf.put(
                issuer_path(ca.key_identifier()),
                Item::new(
                    ca.certificate().to_vec(),
                    CERTIFICATE_TYPE,
                    ca.not_before().seconds(),
                    now.saturating_add(CERTIFICATE_SECONDS),
                ),
            );
        }
        // A part has a name of its own only where LDevIDs name it.
        if let (Some(id), Some(_)) = (key_id(cas.current()), self.shared.issuer.public_url()) {
            let in_force = store.certificates_in_force(&id, now).await?;
            let parts = CrlParts::for_certificates(in_force, self.settings.crl_certificates);
            if parts != self.shared.issuer.crl_parts() {
                info!(
                    in_force,
                    parts = parts.count(),
                    "new LDevIDs are divided among CRLs"
                );
            }
            let scopes = parts.all().map(|part| CrlScope { issuer: id, part });
            wanted.extend(scopes.clone());
            // The CRL first, then certificates that name it.
            for scope in scopes {
                if !self.made.contains_key(&scope) {
                    self.make(cas.current(), scope, now).await?;
                }
            }
            self.shared.issuer.divide(parts);
        }
        self.wanted = wanted;
        Ok(())
    }

    async fn make(
        &mut self,
        ca: &Arc<IssuingCa>,
        scope: CrlScope,
        now: Seconds,
    ) -> Result<(), CrlError> {
        let urls = self.shared.issuer.public_urls();
        let distribution_point: Vec<String> = match scope.part {
            CrlPart::FULL => Vec::new(),
            part => urls.map(|url| url.crl(&scope.issuer, part)).collect(),
        };
        if scope.part != CrlPart::FULL && distribution_point.is_empty() {
            debug!(
                part = scope.part.number(),
                "a part without a URL is left out"
            );
            self.made.insert(scope, now);
            return Ok(());
        }
        let times = CrlTimes {
            this_update: now,
            regular_every: self.settings.crl_seconds / 2,
        };
        let draft = self.shared.store.draft_crl(&scope, times).await?;
        let next_update = now.saturating_add(self.settings.crl_seconds);
        let (signer, entries) = (Arc::clone(ca), draft.entries.len());
        // An HSM takes its time.
        let crl = tokio::task::spawn_blocking(move || {
            CrlContents {
                number: draft.number,
                this_update: UnixTime::from_seconds(now),
                next_update: UnixTime::from_seconds(next_update),
                distribution_point: &distribution_point,
                entries: &draft.entries,
            }
            .sign(&signer)
        })
        .await??;
        info!(
            ca = hex::encode(scope.issuer),
            part = scope.part.number(),
            number = draft.number,
            entries,
            "CRL made"
        );
        let item = Item::new(crl, CRL_TYPE, now, next_update);
        self.shelf.put(crl_path(&scope.issuer, scope.part), item);
        self.made.insert(scope, now);
        Ok(())
    }
}

fn full(issuer: KeyId) -> CrlScope {
    CrlScope {
        issuer,
        part: CrlPart::FULL,
    }
}

fn key_id(ca: &IssuingCa) -> Option<KeyId> {
    ca.key_identifier().try_into().ok()
}
