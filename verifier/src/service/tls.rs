//! TLS 1.3, and nothing below it: the server's certificate, and client
//! certificates that chain to the owner's root where one is offered.
//!
//! A client certificate proves a key and a chain here, and that it is not
//! revoked as far as the view knows (`revocation`); whether it is on record and
//! still good is asked of the store at every call (`attestation`).

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use super::revocation::{RevocationAware, RevocationView};
use crate::operators::OperatorsCa;

/// ALPN protocol id of HTTP/2 (RFC 9113 §3.2).
pub(super) const ALPN_H2: &[u8] = b"h2";

/// Why TLS cannot be set up from the files there are.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// Not PEM, or not what it should be.
    #[error("{file} is not readable as PEM: {source}")]
    Pem {
        /// Which file.
        file: &'static str,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// PEM, perhaps, but with no certificate in it.
    #[error("{file} holds no certificate")]
    NoCertificate {
        /// Which file.
        file: &'static str,
    },
    /// Certificate and key do not belong together, or are of a kind that
    /// rustls does not take.
    #[error("server.pem and server.key.pem cannot be used: {0}")]
    Server(#[source] rustls::Error),
    /// The root for client certificates cannot be used.
    #[error("root-ca.pem cannot be used to verify client certificates: {0}")]
    ClientRoot(String),
    /// The operators' CA cannot be used.
    #[error("operator-ca.pem cannot be used to verify operators' certificates: {0}")]
    OperatorsCa(String),
    /// One CA for gateways and operators: an LDevID would open the wrong door.
    #[error("operator-ca.pem is the gateways' root-ca.pem; operators need a CA of their own")]
    SharedCa,
}

/// The texts of the PEM files that TLS needs.
pub struct TlsFiles<'a> {
    /// Server certificate, then intermediates if any.
    pub server: &'a str,
    /// Its key.
    pub server_key: &'a str,
    /// Root that LDevIDs chain to.
    pub client_root: &'a str,
}

/// The server's side of TLS.
///
/// Sessions are never resumed: a resumed session would skip the client
/// certificate, and every connection is to have an exporter of its own
/// handshake. 0-RTT is off (rustls' default) for it can be replayed.
///
/// # Errors
/// [`TlsError`] names the file.
pub fn server_config(
    files: &TlsFiles<'_>,
    revocations: &Arc<RevocationView>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(default_provider());
    let mut roots = RootCertStore::empty();
    for root in certificates("root-ca.pem", files.client_root)? {
        roots
            .add(root)
            .map_err(|e| TlsError::ClientRoot(e.to_string()))?;
    }
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map_err(|e| TlsError::ClientRoot(e.to_string()))?;
    let clients = Arc::new(RevocationAware::new(clients, Arc::clone(revocations)));
    with_clients(files, clients)
}

/// TLS of the door for operators: a client certificate of `operators`, and of
/// nobody else, or no connection. As [`server_config`] otherwise.
///
/// # Errors
/// [`TlsError`] names the file; [`TlsError::SharedCa`] where the operators' CA
/// is the gateways' root.
pub fn operators_tls(
    files: &TlsFiles<'_>,
    operators: &OperatorsCa,
) -> Result<Arc<ServerConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    let gateways = certificates("root-ca.pem", files.client_root)?;
    for ca in operators.certificates() {
        if gateways.iter().any(|root| same_key(root, ca)) {
            return Err(TlsError::SharedCa);
        }
        roots
            .add(ca.clone())
            .map_err(|e| TlsError::OperatorsCa(e.to_string()))?;
    }
    let provider = Arc::new(default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|e| TlsError::OperatorsCa(e.to_string()))?;
    with_clients(files, clients)
}

/// Whether two CA certificates are of one key.
fn same_key(one: &CertificateDer<'_>, other: &CertificateDer<'_>) -> bool {
    let key = |der| {
        webpki::anchor_from_trusted_cert(der)
            .map(|anchor| anchor.subject_public_key_info.as_ref().to_vec())
    };
    matches!((key(one), key(other)), (Ok(a), Ok(b)) if a == b)
}

fn with_clients(
    files: &TlsFiles<'_>,
    clients: Arc<dyn ClientCertVerifier>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates("server.pem", files.server)?;
    let key = PrivateKeyDer::from_pem_slice(files.server_key.as_bytes()).map_err(|source| {
        TlsError::Pem {
            file: "server.key.pem",
            source,
        }
    })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Server)?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .map_err(TlsError::Server)?;
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn certificates(file: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::Pem { file, source })?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate { file });
    }
    Ok(found)
}
