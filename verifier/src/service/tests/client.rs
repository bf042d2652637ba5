//! Clients: rustls as it should be, or with one thing changed.

use std::{io, sync::Arc};

use holdfast_proto::{
    binding::EXPORTER_LABEL,
    grpc::v1::{
        admin_client::AdminClient, attestation_client::AttestationClient,
        enrollment_client::EnrollmentClient,
    },
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version::TLS13};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint, Uri};

use super::{Identity, TestServer};

impl TestServer {
    pub(super) fn client_config(
        &self,
        identity: Option<&Identity>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from(self.server_ca.clone()))
            .unwrap();
        let builder =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_protocol_versions(versions)
                .unwrap()
                .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from(identity.der.clone())],
                    PrivatePkcs8KeyDer::from(identity.key.serialize_der()).into(),
                )
                .unwrap(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }

    pub(super) async fn handshake(&self, config: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("verifier.test").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
    }

    pub(super) async fn operators_handshake(
        &self,
        config: ClientConfig,
    ) -> io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.operators_address).await?;
        let name = ServerName::try_from("verifier.test").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
    }

    /// A channel to the door for operators.
    pub(super) async fn operators_channel(&self, identity: &Identity) -> io::Result<Channel> {
        let config = self.client_config(Some(identity), &[&TLS13]);
        let mut stream = Some(self.operators_handshake(config).await?);
        Endpoint::from_static("http://verifier.test")
            .connect_with_connector(tower::service_fn(move |_: Uri| {
                let stream = stream.take().map(TokioIo::new);
                async move { stream.ok_or_else(|| io::Error::other("one connection only")) }
            }))
            .await
            .map_err(io::Error::other)
    }

    /// A channel over one connection, and that connection's exporter.
    pub(super) async fn channel(&self, identity: Option<&Identity>) -> (Channel, [u8; 32]) {
        let stream = self
            .handshake(self.client_config(identity, &[&TLS13]))
            .await
            .unwrap();
        let exporter = stream
            .get_ref()
            .1
            .export_keying_material([0; 32], EXPORTER_LABEL, None)
            .unwrap();
        let mut stream = Some(stream);
        let channel = Endpoint::from_static("http://verifier.test")
            .connect_with_connector(tower::service_fn(move |_: Uri| {
                let stream = stream.take().map(TokioIo::new);
                async move { stream.ok_or_else(|| io::Error::other("one connection only")) }
            }))
            .await
            .unwrap();
        (channel, exporter)
    }

    pub(super) async fn enrollment(&self) -> EnrollmentClient<Channel> {
        EnrollmentClient::new(self.channel(None).await.0)
    }

    pub(super) async fn attestation(
        &self,
        identity: Option<&Identity>,
    ) -> AttestationClient<Channel> {
        AttestationClient::new(self.channel(identity).await.0)
    }

    pub(super) async fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(self.admin_channel().await)
    }

    pub(super) async fn admin_channel(&self) -> Channel {
        let path = self.dir.path().join("admin.sock");
        Endpoint::from_static("http://admin.test")
            .connect_with_connector(tower::service_fn(move |_: Uri| {
                let path = path.clone();
                async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
            }))
            .await
            .unwrap()
    }
}
