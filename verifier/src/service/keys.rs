//! Keys that are replaced while the service runs: read anew on request, and the
//! server's own certificate renewed before it ends.

use std::{path::PathBuf, sync::Arc};

use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tokio::sync::Mutex;
use tracing::{error, info, warn};

use super::{
    RevocationView, Shared, TlsFiles,
    error::{Refusal, chain},
    operators_tls, server_config,
};
use crate::{
    config::{Config, Home, home::file},
    custody::{Cabinet, Custodian, CustodyError, KeyKind, Keys, OfflineRoot, Rotation},
    endorsement::ShownCertificate,
    identity::{IdentityError, ServerName},
    operators::OperatorsCa,
    store::{KeyChange, NamedKey},
    swap::Swap,
    time::UnixTime,
};

/// Who is said to have changed keys that were found changed at the start.
pub const BY_START: &str = "start";
/// Who renews the server's certificate.
const BY_SERVICE: &str = "service";

const DAY: i64 = 86_400;

/// The keys of a running service.
pub struct KeyDesk {
    home: Home,
    custodian: Custodian,
    server_names: Vec<String>,
    warn_days: u32,
    tls: Arc<Swap<ServerConfig>>,
    operators_tls: Option<Arc<Swap<ServerConfig>>>,
    operators_ca: Option<OperatorsCa>,
    revocations: Arc<RevocationView>,
    /// One change at a time.
    turn: Mutex<()>,
}

/// A certificate that will end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// "root CA", "issuing CA", "server CA", "server".
    pub which: &'static str,
    /// Its file.
    pub file: String,
    /// Its end.
    pub not_after: UnixTime,
    /// Whether that is past, or within the days that are warned of.
    pub soon: bool,
}

impl KeyDesk {
    /// For the directory; TLS as it is set up from its files now.
    ///
    /// # Errors
    /// [`KeyError`] names the file.
    pub fn new(
        home: &Home,
        config: &Config,
        keys: &Keys,
        revocations: Arc<RevocationView>,
        operators_ca: Option<OperatorsCa>,
    ) -> Result<Self, KeyError> {
        let doors = Doors::of(home, keys, &revocations, operators_ca.as_ref())?;
        Ok(Self::with_doors(
            home,
            config,
            doors,
            revocations,
            operators_ca,
        ))
    }

    pub(super) fn with_doors(
        home: &Home,
        config: &Config,
        doors: Doors,
        revocations: Arc<RevocationView>,
        operators_ca: Option<OperatorsCa>,
    ) -> Self {
        Self {
            home: home.clone(),
            custodian: Custodian::new(home.clone(), config),
            server_names: config.server_names.clone(),
            warn_days: config.ca.warn_days,
            tls: Arc::new(Swap::from(doors.gateways)),
            operators_tls: doors.operators.map(|tls| Arc::new(Swap::from(tls))),
            revocations,
            operators_ca,
            turn: Mutex::default(),
        }
    }

    /// TLS for the acceptor: each handshake takes what there is then.
    #[must_use]
    pub fn tls(&self) -> Arc<Swap<ServerConfig>> {
        Arc::clone(&self.tls)
    }

    /// The same for the door for operators, where they have a CA.
    #[must_use]
    pub fn operators_tls(&self) -> Option<Arc<Swap<ServerConfig>>> {
        self.operators_tls.clone()
    }

    /// Takes up the keys that the keyring names now, all of them or none, and
    /// records what changed.
    ///
    /// # Errors
    /// [`Refusal::Keys`]: the service goes on with the keys that it has.
    pub async fn reload(&self, shared: &Arc<Shared>, by: &str) -> Result<Reloaded, Refusal> {
        let _turn = self.turn.lock().await;
        self.reload_in_turn(shared, by).await
    }

    /// Sees to it that there is a key for secrets at rest: makes the first.
    ///
    /// # Errors
    /// [`Refusal::Keys`].
    pub async fn first_kek(&self, shared: &Arc<Shared>, by: &str) -> Result<(), Refusal> {
        let _turn = self.turn.lock().await;
        if shared.secrets.get().current().is_some() {
            return Ok(());
        }
        let now = shared.clock.now();
        let (custodian, home) = (self.custodian.clone(), self.home.clone());
        tokio::task::spawn_blocking(move || {
            let mut rotation = Rotation::begin(&home, now)?;
            // Somebody may have made one that was not taken up.
            if rotation.ring().of(KeyKind::Secrets).is_empty() {
                rotation.secrets(&custodian)?;
            }
            Ok::<_, KeyError>(())
        })
        .await
        .map_err(|e| Refusal::Internal(format!("making a key: {e}")))?
        .map_err(Refusal::Keys)?;
        self.reload_in_turn(shared, by).await.map(drop)
    }

    async fn reload_in_turn(&self, shared: &Arc<Shared>, by: &str) -> Result<Reloaded, Refusal> {
        let now = shared.clock.now();
        let (custodian, home) = (self.custodian.clone(), self.home.clone());
        let revocations = Arc::clone(&self.revocations);
        let operators_ca = self.operators_ca.clone();
        let (keys, doors) = tokio::task::spawn_blocking(move || {
            let keys = custodian.open(now)?;
            let doors = Doors::of(&home, &keys, &revocations, operators_ca.as_ref())?;
            Ok::<_, KeyError>((keys, doors))
        })
        .await
        .map_err(|e| Refusal::Internal(format!("reading keys: {e}")))?
        .map_err(Refusal::Keys)?;
        let changes = shared
            .store
            .record_keys(&named(&keys), by, now.seconds())
            .await?;
        // From here on nothing can fail: no half of the keys is taken up.
        shared.issuer.replace_cas(keys.issuing);
        shared.verifier.replace_sealer(keys.sealer);
        shared.result_key.replace(keys.result);
        shared.secrets.replace(keys.secrets);
        shared.heartbeats.replace_masters(keys.heartbeat);
        self.tls.replace(doors.gateways);
        if let (Some(slot), Some(tls)) = (&self.operators_tls, doors.operators) {
            slot.replace(tls);
        }
        for change in &changes {
            info!(
                kind = change.kind,
                id = change.id,
                state = change.state.name(),
                by,
                "key"
            );
        }
        super::rewrap_secrets(shared, by).await?;
        Ok(Reloaded {
            changes,
            unreachable: keys.unreachable.map(|e| e.to_string()),
        })
    }

    /// The directory, and the kinds of which a key of a restored backup is in
    /// use.
    ///
    /// # Errors
    /// [`KeyError::Custody`] names the file.
    pub(super) fn void(&self) -> Result<(PathBuf, Vec<KeyKind>), KeyError> {
        let ring = Cabinet::new(&self.home).read()?;
        Ok((self.home.dir().to_owned(), ring.void_current()))
    }

    /// What is to be done from time to time: warns of certificates that end,
    /// and renews the server's where its CA's key is at hand.
    pub async fn tend(&self, shared: &Arc<Shared>) {
        let now = shared.clock.now();
        if self.server_is_due(now) {
            match self.renew_server(now).await {
                Ok(true) => match self.reload(shared, BY_SERVICE).await {
                    Ok(_) => info!("the server's certificate was renewed"),
                    Err(error) => {
                        error!(cause = chain(&error), "the renewed certificate is not used")
                    }
                },
                Ok(false) => {}
                Err(error) => error!(
                    cause = chain(&error),
                    "the server's certificate is not renewed"
                ),
            }
        }
        match endings(&self.home, self.warn_days, now) {
            Ok(endings) => {
                for Ending {
                    which,
                    file,
                    not_after,
                    ..
                } in endings.iter().filter(|e| e.soon)
                {
                    warn!(which, file, %not_after, "certificate ends soon: see holdfast-verifier ca show");
                }
            }
            Err(error) => error!(cause = chain(&error), "cannot look at certificates"),
        }
    }

    /// In the last third of its life, as LDevIDs are renewed.
    fn server_is_due(&self, now: UnixTime) -> bool {
        let current = || {
            let cabinet = Cabinet::new(&self.home);
            let ring = cabinet.read().ok()?;
            let name = ring.current(KeyKind::Server).certificate.as_deref()?;
            ShownCertificate::parse(&cabinet.certificate(name).ok()?).ok()
        };
        current().is_some_and(|shown| {
            let life = shown.not_after.seconds() - shown.not_before.seconds();
            now >= shown.not_after.plus(-life / 3)
        })
    }

    /// Whether it was renewed: not where the server CA's key is elsewhere.
    async fn renew_server(&self, now: UnixTime) -> Result<bool, KeyError> {
        if !self.home.path(file::SERVER_CA_KEY).exists() {
            return Ok(false);
        }
        let (home, names) = (self.home.clone(), self.server_names.clone());
        let renewed = tokio::task::spawn_blocking(move || {
            let names = names
                .iter()
                .map(|name| ServerName::parse(name))
                .collect::<Result<Vec<_>, _>>()?;
            let authority = OfflineRoot::server_ca(home.dir())?.authority(Some(&home), None)?;
            Rotation::begin(&home, now)?.server(&authority, &names)?;
            Ok::<_, KeyError>(true)
        });
        renewed.await.unwrap_or(Ok(false))
    }
}

/// What a reload did.
#[derive(Debug)]
pub struct Reloaded {
    /// Keys that stand otherwise than before.
    pub changes: Vec<KeyChange>,
    /// Why the issuing key does not sign now, if so.
    pub unreachable: Option<String>,
}

/// Why keys are not taken up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A key is not had.
    #[error(transparent)]
    Custody(#[from] CustodyError),
    /// A name in `server_names`.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] super::TlsError),
}

/// As the store records them.
#[must_use]
pub fn named(keys: &Keys) -> Vec<NamedKey> {
    keys.named
        .iter()
        .map(|(kind, id, current)| NamedKey {
            kind: kind.name(),
            id: id.clone(),
            current: *current,
        })
        .collect()
}

/// TLS of both doors, with the same server certificate.
pub(super) struct Doors {
    pub(super) gateways: Arc<ServerConfig>,
    pub(super) operators: Option<Arc<ServerConfig>>,
}

impl Doors {
    fn of(
        home: &Home,
        keys: &Keys,
        revocations: &Arc<RevocationView>,
        operators_ca: Option<&OperatorsCa>,
    ) -> Result<Self, KeyError> {
        let root = home
            .read_trusted(file::ROOT_CA)
            .map_err(CustodyError::from)?;
        let files = TlsFiles {
            server: &keys.server,
            server_key: &keys.server_key,
            client_root: &root,
        };
        Ok(Self {
            gateways: server_config(&files, revocations)?,
            operators: operators_ca
                .map(|ca| operators_tls(&files, ca))
                .transpose()?,
        })
    }
}

/// The certificates of the directory that count, with their ends.
///
/// # Errors
/// [`CustodyError`] names the file.
pub fn endings(home: &Home, warn_days: u32, now: UnixTime) -> Result<Vec<Ending>, CustodyError> {
    let cabinet = Cabinet::new(home);
    let ring = cabinet.read()?;
    let name = |kind| ring.current(kind).certificate.clone().unwrap_or_default();
    [
        ("root CA", file::ROOT_CA.to_owned()),
        ("issuing CA", name(KeyKind::Issuing)),
        ("server CA", file::SERVER_CA.to_owned()),
        ("server", name(KeyKind::Server)),
    ]
    .into_iter()
    .map(|(which, file)| {
        let text = home.read_trusted(&file)?;
        let unreadable = |why: String| CustodyError::Certificate {
            path: home.path(&file),
            why,
        };
        let der = CertificateDer::from_pem_slice(text.as_bytes())
            .map_err(|e| unreadable(e.to_string()))?;
        let shown = ShownCertificate::parse(&der).map_err(|e| unreadable(e.to_string()))?;
        Ok(Ending {
            which,
            not_after: shown.not_after,
            soon: now >= shown.not_after.plus(-i64::from(warn_days) * DAY),
            file,
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        custody::tests::{Dir, NOW},
        service::Clock,
        store::sqlite::SqliteStore,
    };

    async fn desk(dir: &Dir) -> KeyDesk {
        let path = dir.home.prepare_store().unwrap();
        let store = SqliteStore::open(&path).await.unwrap();
        let revocations = RevocationView::load(Arc::new(store), Clock::from_fn(|| NOW))
            .await
            .unwrap();
        let config = Config {
            server_names: vec!["verifier.example".to_owned()],
            ..Config::default()
        };
        KeyDesk::new(&dir.home, &config, &dir.open(), revocations, None).unwrap()
    }

    fn current(dir: &Dir) -> String {
        let ring = Cabinet::new(&dir.home).read().unwrap();
        ring.current(KeyKind::Server).id.clone()
    }

    /// The certificate has a year, of which a third are 122 days.
    #[tokio::test]
    async fn the_server_renews_its_certificate_in_its_last_third() {
        let dir = Dir::new();
        let desk = desk(&dir).await;
        let (early, late) = (NOW.plus(243 * DAY), NOW.plus(244 * DAY));
        assert!(!desk.server_is_due(early));
        assert!(desk.server_is_due(late));
        let before = current(&dir);
        assert!(desk.renew_server(late).await.unwrap());
        assert_ne!(current(&dir), before);
        assert!(!desk.server_is_due(late));
        dir.open();
    }

    #[tokio::test]
    async fn without_the_server_cas_key_it_is_left_to_the_owner() {
        let dir = Dir::new();
        let desk = desk(&dir).await;
        dir.home.remove(file::SERVER_CA_KEY).unwrap();
        let before = current(&dir);
        assert!(!desk.renew_server(NOW.plus(300 * DAY)).await.unwrap());
        assert_eq!(current(&dir), before);
    }

    #[test]
    fn ends_are_told_in_time() {
        let dir = Dir::new();
        let soon = |days: i64| -> Vec<&str> {
            let found = endings(&dir.home, 30, NOW.plus(days * DAY)).unwrap();
            assert_eq!(found.len(), 4);
            found.iter().filter(|e| e.soon).map(|e| e.which).collect()
        };
        assert_eq!(soon(334), Vec::<&str>::new());
        assert_eq!(soon(335), ["server"]);
        assert_eq!(soon(5 * 365 - 30), ["issuing CA", "server"]);
        let all = ["root CA", "issuing CA", "server CA", "server"];
        assert_eq!(soon(20 * 365), all);
    }
}
