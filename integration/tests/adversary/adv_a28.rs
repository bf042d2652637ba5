//! A28: downgrade. Plaintext, older TLS, another server: refused on both
//! sides, and nothing secret has left by then.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use holdfast_attester::client::{ClientError, Trust, connect};
use holdfast_integration::refusal::Record;
use holdfast_integration::scene::granted;
use holdfast_integration::{Deployment, Scene, TokenOptions, oracle};
use holdfast_proto::bundle::Bundle;
use holdfast_proto::grpc::v1::enrollment_client::EnrollmentClient;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::transport::Endpoint;

const PATIENCE: Duration = Duration::from_secs(10);

// ---- a client that would take less

/// A good enrolment, sent without TLS: no answer, no byte of HTTP/2.
#[tokio::test]
async fn adv_a28_plaintext_grpc_to_the_verifier() -> Result<()> {
    let scene = Scene::new()?;
    let ready = scene.ready_to_enrol().await?;
    let before = Record::of(&scene.deployment)?;

    // The library's client, told to speak in clear.
    let plain = Endpoint::from_shared(format!("http://{}", ready.bundle.server))?
        .timeout(PATIENCE)
        .connect_timeout(PATIENCE);
    let outcome = async {
        let mut client = EnrollmentClient::new(plain.connect().await?);
        client
            .request_challenge(ready.challenge_request.clone())
            .await?;
        client.enroll(ready.request.clone()).await?;
        anyhow::Ok(())
    };
    ensure!(outcome.await.is_err(), "answered in clear");

    // By hand: connection preface and SETTINGS. What comes back is at most a
    // TLS alert (content type 21).
    let mut tcp = TcpStream::connect(&ready.bundle.server).await?;
    tcp.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await?;
    let answer = read_to_end(&mut tcp).await;
    ensure!(
        answer.is_empty() || answer.first() == Some(&21),
        "{answer:02x?}"
    );

    before.unchanged(&scene.deployment)?;
    granted(ready.send().await).map(drop)
}

/// TLS 1.2 with everything else right, and what is older by OpenSSL's name.
#[tokio::test]
async fn adv_a28_tls_1_2_to_the_verifier() -> Result<()> {
    let scene = Scene::new()?;
    let ready = scene.ready_to_enrol().await?;
    let before = Record::of(&scene.deployment)?;
    let refused = dial_with(&ready.bundle, &[&TLS12], &[b"h2"])
        .await
        .err()
        .context("TLS 1.2 was taken")?;
    ensure!(
        refused.to_string().contains("ProtocolVersion"),
        "{refused:?}"
    );
    for version in ["-tls1", "-tls1_1", "-tls1_2"] {
        let handshake = oracle::run(
            "openssl",
            [
                "s_client",
                version,
                "-cipher",
                "ALL:@SECLEVEL=0",
                "-connect",
                &ready.bundle.server,
                "-alpn",
                "h2",
            ],
        );
        let words = handshake
            .err()
            .with_context(|| format!("{version} was taken"))?;
        // The oldest lack extensions that it asks for first: another alert.
        let words = words.to_string();
        ensure!(
            words.contains("alert protocol version") || words.contains("alert handshake failure"),
            "{version}: {words}"
        );
        ensure!(words.contains("Cipher is (NONE)"), "{version}: {words}");
    }
    // Both are offered: 1.3 it is. The control: the same client is served.
    let stream = dial_with(&ready.bundle, &[&TLS12, &TLS13], &[b"h2"]).await?;
    ensure!(stream.get_ref().1.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3));
    before.unchanged(&scene.deployment)?;
    granted(ready.send().await).map(drop)
}

/// Good TLS, but not for HTTP/2: no other protocol is spoken.
#[tokio::test]
async fn adv_a28_another_protocol_over_tls() -> Result<()> {
    let scene = Scene::new()?;
    let ready = scene.ready_to_enrol().await?;
    let offers: [&[&[u8]]; 3] = [&[], &[b"http/1.1"], &[b"h2c"]];
    for offered in offers {
        // TLS 1.3 lets the client finish first, so that the refusal may come
        // with the first read only.
        if let Ok(mut stream) = dial_with(&ready.bundle, &[&TLS13], offered).await {
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
            let answer = read_to_end(&mut stream).await;
            ensure!(answer.is_empty(), "{offered:?}: {answer:02x?}");
        }
    }
    granted(ready.send().await).map(drop)
}

// ---- a server that offers less

/// The real verifier, and an attester that pins another CA: of another
/// deployment, or none that is one.
#[tokio::test]
async fn adv_a28_unknown_server_ca() -> Result<()> {
    let scene = Scene::new()?;
    let other = Deployment::start()?;
    let honest = scene.deployment.bundle()?;
    let mut pinned = honest.clone();
    pinned.server_ca_der = other.bundle()?.server_ca_der;
    let error = refused(&pinned).await?;
    ensure!(
        matches!(error, ClientError::Untrusted { .. })
            && error.to_string().contains("UnknownIssuer"),
        "{error:?}"
    );
    // The root of the LDevIDs vouches for no server; nor does the server's own
    // certificate for itself.
    for file in ["root-ca.pem", "server.pem"] {
        pinned.server_ca_der = certificate(&scene.deployment, file)?.to_vec();
        let error = refused(&pinned).await?;
        ensure!(
            matches!(error, ClientError::Untrusted { .. }),
            "{file}: {error:?}"
        );
    }
    pinned.server_ca_der = b"no certificate".to_vec();
    let error = refused(&pinned).await?;
    ensure!(matches!(error, ClientError::PinnedCa(_)), "{error:?}");
    ensure!(scene.deployment.gateways()?.is_empty());
    scene.assert_good_run(honest).await
}

/// The real verifier under another name than the pinned one.
#[tokio::test]
async fn adv_a28_server_name_mismatch() -> Result<()> {
    let scene = Scene::new()?;
    let honest = scene.deployment.bundle()?;
    let mut renamed = honest.clone();
    for name in [
        "other.test",
        "verifier.test.evil.test",
        "sub.verifier.test",
        "test",
        "127.0.0.1",
    ] {
        renamed.server_name = name.to_owned();
        let error = refused(&renamed).await?;
        ensure!(
            matches!(error, ClientError::Untrusted { .. }),
            "{name}: {error:?}"
        );
    }
    for name in ["", "a name", "*.test", "verifier.test\0"] {
        renamed.server_name = name.to_owned();
        let error = refused(&renamed).await?;
        ensure!(
            matches!(error, ClientError::ServerName(_)),
            "{name:?}: {error:?}"
        );
    }
    ensure!(scene.deployment.gateways()?.is_empty());
    scene.assert_good_run(honest).await
}

/// Another server at the pinned address: in clear; with TLS 1.2, though it has
/// the real certificate and key; with a certificate of its own. The program
/// refuses each by name, and the join token has not been sent.
#[tokio::test(flavor = "multi_thread")]
async fn adv_a28_the_attester_meets_an_impostor() -> Result<()> {
    let mut scene = Scene::new()?;
    let other = Deployment::start()?;
    for (impostor, said) in [
        (Impostor::Plain, "TLS with"),
        (Impostor::tls(&scene.deployment, &TLS12)?, "TLS with"),
        (Impostor::tls(&other, &TLS13)?, "is not the pinned verifier"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut bundle = scene.deployment.bundle()?;
        let secret = bundle.join_token.expose().to_vec();
        bundle.server = address.to_string();
        let received = Arc::new(std::sync::Mutex::new(Vec::new()));
        let serving = tokio::spawn(impostor.serve(listener, Arc::clone(&received)));
        let path = scene.deployment.scratch().join("impostor.bundle");
        std::fs::write(&path, bundle.encode()?.as_bytes())?;
        let (gateway, path) = (
            &mut scene.gateway,
            path.to_str().context("path")?.to_owned(),
        );
        let output = tokio::task::block_in_place(|| {
            gateway.try_run(&["enroll", "--boot-log", "/nonexistent", "--bundle", &path])
        })?;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1), "{words}");
        ensure!(
            words.contains(said) && words.contains("next step: "),
            "{words}"
        );
        serving.abort();
        let received = received.lock().expect("nobody panics with it");
        ensure!(
            !received.windows(secret.len()).any(|bytes| bytes == secret),
            "the join token was sent"
        );
    }
    ensure!(scene.deployment.gateways()?.is_empty());
    let bundle = scene.deployment.create_token(&TokenOptions::default())?;
    scene
        .gateway
        .run(&[
            "enroll",
            "--bundle",
            bundle.to_str().context("path")?,
            "--boot-log",
            "/nonexistent",
        ])
        .map(drop)
}

/// There is no switch that weakens TLS, in any program.
#[test]
fn adv_a28_no_switch_for_it() -> Result<()> {
    let programs: [(&str, &[&[&str]]); 2] = [
        (
            "holdfast-attester",
            &[
                &[],
                &["enroll"],
                &["attest"],
                &["recover"],
                &["status"],
                &["doctor"],
                &["evidence"],
            ],
        ),
        (
            "holdfast-verifier",
            &[&[], &["init"], &["serve"], &["token", "create"]],
        ),
    ];
    for (name, commands) in programs {
        let program = holdfast_integration::programs::program(name)?;
        let program = program.to_str().context("path")?;
        for command in commands {
            let mut arguments = command.to_vec();
            arguments.push("--help");
            let help = oracle::run(program, &arguments)?.to_lowercase();
            for word in [
                "insecure",
                "plaintext",
                "no-tls",
                "no-verify",
                "skip-",
                "tls1",
                "cipher",
            ] {
                ensure!(!help.contains(word), "{name} {command:?} --help has {word}");
            }
        }
    }
    Ok(())
}

async fn refused(bundle: &Bundle) -> Result<ClientError> {
    let trust = Trust {
        server_name: bundle.server_name.clone(),
        ca_der: bundle.server_ca_der.clone(),
    };
    connect(&bundle.server, &trust, None)
        .await
        .err()
        .with_context(|| format!("connected to {:?}", bundle.server_name))
}

async fn dial_with(
    bundle: &Bundle,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&[u8]],
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(bundle.server_ca_der.clone()))
        .map_err(std::io::Error::other)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(std::io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from(bundle.server_name.clone()).map_err(std::io::Error::other)?;
    let tcp = TcpStream::connect(&bundle.server).await?;
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
}

/// What a peer sends until it closes, or breaks off.
async fn read_to_end(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Vec<u8> {
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    answer
}

fn certificate(deployment: &Deployment, file: &str) -> Result<CertificateDer<'static>> {
    Ok(CertificateDer::from_pem_file(deployment.dir().join(file))?)
}

/// Who answers in the verifier's place.
enum Impostor {
    /// Takes what comes, and answers like an HTTP/2 server without TLS.
    Plain,
    /// With TLS.
    Tls(Arc<ServerConfig>),
}

impl Impostor {
    /// TLS of one version, with the certificate and key of `deployment`.
    fn tls(deployment: &Deployment, version: &'static SupportedProtocolVersion) -> Result<Self> {
        let key = PrivateKeyDer::from_pem_file(deployment.dir().join("server.key.pem"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])?
            .with_no_client_auth()
            .with_single_cert(vec![certificate(deployment, "server.pem")?], key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self::Tls(Arc::new(config)))
    }

    /// Serves until it is aborted.
    async fn serve(self, listener: TcpListener, received: Arc<std::sync::Mutex<Vec<u8>>>) {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let bytes = match &self {
                Self::Plain => {
                    let _ = tcp.write_all(b"\0\0\0\x04\0\0\0\0\0").await;
                    read_to_end(&mut tcp).await
                }
                Self::Tls(config) => {
                    match TlsAcceptor::from(Arc::clone(config)).accept(tcp).await {
                        Ok(mut stream) => read_to_end(&mut stream).await,
                        Err(_) => Vec::new(),
                    }
                }
            };
            received
                .lock()
                .expect("nobody panics with it")
                .extend(bytes);
        }
    }
}
