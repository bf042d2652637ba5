//! A whole server on the loopback, with clients that do one thing wrong.

mod allow_lists;
mod client;
mod connections;
mod requests;
mod roles;

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use holdfast_proto::tpm::{HashAlg, Name, PcrSelection, PcrSet};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer as CaIssuer,
    KeyPair, KeyUsagePurpose,
};
use ring::rand::SystemRandom;
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};

use super::*;
use crate::{
    appraisal::Policy,
    endorsement::Anchors,
    exchange::Settings,
    freshness::ChallengeSealer,
    identity::{CaSettings, FileSigner, Profile, SecretKey, ServerName, ca_init},
    owner::{Kind, OwnerSigner},
    store::{NewCertificate, fixtures, sqlite::SqliteStore},
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
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Identity { der, key }
    }
}

/// A server that runs until dropped.
struct TestServer {
    address: SocketAddr,
    server_ca: Vec<u8>,
    clients: TestCa,
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
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            connections_per_address: 64,
            handshakes: 512,
            requests_per_minute: 10_000,
            patience: Duration::from_secs(10),
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
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("holdfast.db"))
            .await
            .unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let owner = SecretKey::generate(&rng).unwrap();
        let owner = OwnerSigner::from_pkcs8(owner.expose_der(), &rng).unwrap();
        let number = |n| NonZeroU32::new(n).unwrap();
        let shared = Arc::new(Shared {
            verifier: Verifier::new(Settings {
                accepted_eks: crate::endorsement::AcceptedEks::default(),
                anchors: Anchors::new(Vec::new(), Vec::new()).unwrap(),
                sealer: ChallengeSealer::new([7; 32]),
                policy: Policy::standard().unwrap(),
                selection: PcrSelection {
                    hash: HashAlg::Sha256,
                    pcrs: PcrSet::from_indices([0]).unwrap(),
                },
            }),
            issuer: Issuer::new(
                &ca.issuing.certificate,
                Arc::new(FileSigner::from_pkcs8(ca.issuing.key.expose_der()).unwrap()),
                Profile::standard(),
            )
            .unwrap(),
            ear_form: Form::default(),
            result_key: ResultKey::from_pkcs8(ca.result_key.expose_der()).unwrap(),
            references: References::new(Arc::clone(&store), owner.public().clone()),
            policies: Policies::new(Arc::clone(&store), owner.public().clone()),
            allow_lists: AllowLists::new(Arc::clone(&store), owner.public().clone()),
            store,
            limits: Limits::new(LimitSettings {
                requests_per_minute_per_address: number(changes.requests_per_minute),
                challenges_per_minute_per_ek: number(10_000),
                crypto_threads: 2,
            }),
            clock: Clock::from_fn(move || now),
            rng,
            bundle: BundleFacts {
                server_ca: ca.server_ca.certificate.clone(),
                server_names: vec!["verifier.test".to_owned()],
                policy_root: Name::parse(&[&[0x00, 0x0b][..], &[9; 32]].concat()).unwrap(),
            },
        });
        let tls = server_config(&TlsFiles {
            server: &ca.server.certificate_pem(),
            server_key: &ca.server.key.expose_pem(),
            client_root: &clients.pem,
        })
        .unwrap();
        let listening = Server::bind(
            Arc::clone(&shared),
            ServerSettings {
                listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                tls,
                admin_socket: dir.path().join("admin.sock"),
                connections: 128,
                connections_per_address: changes.connections_per_address,
                handshakes: changes.handshakes,
                requests: 64,
                handshake_timeout: changes.patience,
                idle_timeout: changes.patience,
                request_timeout: Duration::from_secs(10),
                drain: Duration::from_secs(3),
            },
        )
        .await
        .unwrap();
        let address = listening.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(listening.run(async move {
            let _ = stopped.await;
        }));
        let server_ca = ca.server_ca.certificate;
        Self {
            address,
            server_ca,
            clients,
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
