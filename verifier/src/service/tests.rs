//! A whole server on the loopback, with clients that do one thing wrong.

mod allow_lists;
mod caps;
mod client;
mod connections;
mod matrix;
mod publication;
mod requests;
mod revoked;
mod roles;
mod watch;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use holdfast_proto::{
    sd_notify::ServiceManager,
    tpm::{HashAlg, Name, PcrSelection, PcrSet},
};
use nix::unistd::Uid;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer as CaIssuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use ring::rand::SystemRandom;
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};

use super::*;
use crate::{
    appraisal::Policy,
    config::{Config, Home},
    endorsement::Anchors,
    exchange::Settings,
    freshness::ChallengeSealer,
    heartbeat::{MasterKeys, NamedMaster},
    identity::{
        CaSettings, FileSigner, IssuingCa, IssuingCas, Profile, SecretKey, ServerName, ca_init,
    },
    operators::{OperatorsCa, Role, UnixRoles},
    owner::{Kind, OwnerSigner},
    silence::SilenceRules,
    store::{NewCertificate, fixtures, sqlite::SqliteStore},
    swap::Swap,
};

/// A CA of the tests' own, in the place of the owner's root.
struct TestCa {
    issuer: CaIssuer<'static, KeyPair>,
    pem: String,
}

/// A client certificate and its key.
struct Identity {
    der: Vec<u8>,
    key: KeyPair,
}

impl TestCa {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // CAs of one name would be taken for each other until a signature fails.
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("Test CA {}", NEXT.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: CaIssuer::new(params, key),
            pem,
        }
    }

    fn issue(&self) -> Identity {
        self.issue_until(rcgen::date_time_ymd(4096, 1, 1))
    }

    fn issue_until(&self, not_after: time::OffsetDateTime) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.not_after = not_after;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Identity { der, key }
    }

    fn issue_operator(&self, role: &str, name: &str) -> Identity {
        self.operator_until(role, name, None)
    }

    fn expired_operator(&self) -> Identity {
        self.operator_until("admin", "alice", Some((2001, 1, 1)))
    }

    /// `end`: year, month and day; none: valid.
    fn operator_until(&self, role: &str, name: &str, end: Option<(i32, u8, u8)>) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let uri = format!("urn:holdfast:operator:{role}:{name}");
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())];
        if let Some((year, month, day)) = end {
            params.not_before = rcgen::date_time_ymd(2000, 1, 1);
            params.not_after = rcgen::date_time_ymd(year, month, day);
        }
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Identity { der, key }
    }
}

/// A server that runs until dropped.
struct TestServer {
    address: SocketAddr,
    operators_address: SocketAddr,
    publication: Option<SocketAddr>,
    server_ca: Vec<u8>,
    clients: TestCa,
    operators: TestCa,
    shared: Arc<Shared>,
    owner: OwnerSigner,
    dir: TempDir,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Result<(), ServeError>>,
}

/// What a test may change.
struct Changes {
    connections_per_address: u32,
    handshakes: u32,
    requests_per_minute: u32,
    patience: Duration,
    publication: Option<PublicationSettings>,
    webhooks: Vec<Webhook>,
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            connections_per_address: 64,
            handshakes: 512,
            requests_per_minute: 10_000,
            patience: Duration::from_secs(10),
            publication: None,
            webhooks: Vec::new(),
        }
    }
}

impl TestServer {
    async fn start() -> Self {
        Self::with(Changes::default()).await
    }

    async fn with(changes: Changes) -> Self {
        let now = UnixTime::from_seconds(fixtures::NOW);
        let rng = SystemRandom::new();
        // TLS goes by the machine's clock.
        let settings = CaSettings {
            organization: "Test".to_owned(),
            server_names: vec![ServerName::parse("verifier.test").unwrap()],
        };
        let ca = ca_init(&settings, Clock::system().now(), &rng).unwrap();
        let clients = TestCa::new();
        let operators = TestCa::new();
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("holdfast.db"))
            .await
            .unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let owner = SecretKey::generate(&rng).unwrap();
        let owner = OwnerSigner::from_pkcs8(owner.expose_der(), &rng).unwrap();
        let number = |n| NonZeroU32::new(n).unwrap();
        let signer = FileSigner::from_pkcs8(ca.issuing.key.expose_der()).unwrap();
        let issuing = IssuingCa::open(&ca.issuing.certificate, Arc::new(signer)).unwrap();
        let clock = Clock::from_fn(move || now);
        let revocations = RevocationView::load(Arc::clone(&store), clock.clone())
            .await
            .unwrap();
        let (server, server_key) = (ca.server.certificate_pem(), ca.server.key.expose_pem());
        let files = TlsFiles {
            server: &server,
            server_key: &server_key,
            client_root: &clients.pem,
        };
        let operators_ca = OperatorsCa::from_pem(&operators.pem).unwrap();
        let doors = keys::Doors {
            gateways: server_config(&files, &revocations).unwrap(),
            operators: Some(operators_tls(&files, &operators_ca).unwrap()),
        };
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(dir.path(), private).unwrap();
        let home = Home::open(dir.path()).unwrap();
        let keys = KeyDesk::with_doors(
            &home,
            &Config::default(),
            doors,
            Arc::clone(&revocations),
            Some(operators_ca.clone()),
        );
        let shared = Arc::new(Shared {
            verifier: Verifier::new(Settings {
                accepted_eks: crate::endorsement::AcceptedEks::default(),
                anchors: Anchors::new(Vec::new(), Vec::new()).unwrap(),
                oems: crate::endorsement::OemAnchors::default(),
                sealer: ChallengeSealer::new([7; 32]),
                policy: Policy::standard().unwrap(),
                selection: PcrSelection {
                    hash: HashAlg::Sha256,
                    pcrs: PcrSet::from_indices([0]).unwrap(),
                },
            }),
            issuer: Issuer::new(IssuingCas::only(issuing), Profile::standard()),
            ear_form: Form::default(),
            result_key: Swap::new(ResultKey::from_pkcs8(ca.result_key.expose_der()).unwrap()),
            references: References::new(Arc::clone(&store), owner.public().clone()),
            endorsements: Endorsements::new(
                Arc::clone(&store),
                owner.public().clone(),
                crate::endorsement::Rules::default(),
            ),
            policies: Policies::new(Arc::clone(&store), owner.public().clone()),
            allow_lists: AllowLists::new(Arc::clone(&store), owner.public().clone()),
            seal_approvals: SealApprovals::none(),
            secrets: Swap::new(Keks::default()),
            store,
            limits: Limits::new(LimitSettings {
                requests_per_minute_per_address: number(changes.requests_per_minute),
                challenges_per_minute_per_ek: number(10_000),
                crypto_threads: 2,
            }),
            silence: SilenceRules::new(86_400, BTreeMap::new(), 300, 60),
            heartbeats: Arc::new(Heartbeats::new(MasterKeys::new(Some(NamedMaster::new(
                &[5; 32],
            ))))),
            ending: CancellationToken::new(),
            revocations,
            clock,
            keys,
            rng,
            bundle: BundleFacts {
                server_ca: ca.server_ca.certificate.clone(),
                server_names: vec!["verifier.test".to_owned()],
                policy_root: Name::parse(&[&[0x00, 0x0b][..], &[9; 32]].concat()).unwrap(),
            },
            approval: None,
            operators_ca: Some(operators_ca),
        });
        let door = OperatorsDoor {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: shared.keys.operators_tls().unwrap(),
        };
        let listening = Server::bind(
            Arc::clone(&shared),
            ServerSettings {
                listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                tls: shared.keys.tls(),
                admin_socket: dir.path().join("admin.sock"),
                admin_socket_group: None,
                unix_roles: UnixRoles::parse(Uid::effective().as_raw(), &BTreeMap::new()).unwrap(),
                operators: Some(door),
                webhooks: changes.webhooks,
                event_seconds: 86_400,
                publication: changes.publication,
                connections: 128,
                connections_per_address: changes.connections_per_address,
                handshakes: changes.handshakes,
                requests: 64,
                handshake_timeout: changes.patience,
                idle_timeout: changes.patience,
                request_timeout: Duration::from_secs(10),
                drain: Duration::from_secs(3),
                service_manager: ServiceManager::absent(),
            },
        )
        .await
        .unwrap();
        let address = listening.address();
        let operators_address = listening.operators_address().unwrap();
        let publication = listening.publication_address();
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(listening.run(async move {
            let _ = stopped.await;
        }));
        let server_ca = ca.server_ca.certificate;
        Self {
            address,
            operators_address,
            publication,
            server_ca,
            clients,
            operators,
            shared,
            owner,
            dir,
            stop: Some(stop),
            ended,
        }
    }

    /// The owner's word on a document of reference values.
    fn state(&self, class: &str, version: u64, document: &str) -> Vec<u8> {
        let document = document.as_bytes();
        self.owner
            .state(
                Kind::ReferenceValues,
                class,
                version,
                document,
                &self.shared.rng,
            )
            .unwrap()
    }

    /// An operator on record.
    async fn operator(&self, role: Role, name: &str) -> Identity {
        let identity = self.operators.issue_operator(role.name(), name);
        let ca = self.shared.operators_ca.as_ref().unwrap();
        let now = self.shared.clock.now();
        let read = ca.read(&identity.der, now).unwrap();
        self.shared
            .store
            .add_operator(&read, "test", now.seconds())
            .await
            .unwrap();
        identity
    }

    /// Records gateway `n` with `identity` as its LDevID.
    async fn record(&self, n: u8, identity: &Identity) {
        let mut enrolled = fixtures::enrolled(n);
        enrolled.certificate = NewCertificate {
            sha256: convert::sha256(&identity.der),
            der: identity.der.clone(),
            ..fixtures::certificate(n)
        };
        let now = fixtures::NOW;
        // Already there from the second gateway on.
        let _ = self
            .shared
            .store
            .create_join_token(fixtures::join_token(100), "test", now)
            .await;
        let _ = self
            .shared
            .store
            .record_enrolment(enrolled, now)
            .await
            .unwrap();
    }
}
