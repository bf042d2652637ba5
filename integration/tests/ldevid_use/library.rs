//! `holdfast_attester::keys` under rustls, against OpenSSL as the other side.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use anyhow::{Result, ensure};
use holdfast_attester::keys::Ldevid;
use holdfast_attester::state::StateView;
use holdfast_integration::skip;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::daemons::{Nginx, missing};
use crate::openssl::require_ldevids;
use crate::stand::Stand;

/// The same steps as `attester/examples/mutual_tls.rs`, handshake after handshake.
#[test]
fn a_rust_program_proves_itself_with_the_ldevid() -> Result<()> {
    if let Some(lacking) = missing(&["nginx"]) {
        skip!("{lacking}");
    }
    let mut stand = Stand::new()?;
    let (server_key, server_certificate) = stand.software_server()?;
    let server = require_ldevids(&server_certificate, &server_key, &stand.root());
    let nginx = Nginx::start(&stand.folder("nginx"), &server, &[])?;
    let state = stand.scene.gateway.state_path().to_owned();
    let id = stand.id.clone();
    stand.scene.gateway.with_sim(|sim| -> Result<()> {
        let view = StateView::open(&state)?;
        let enrolled = view.require_enrolled()?;
        let ldevid = Ldevid::open(&view, &sim.tcti().parse()?)?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&server_certificate)?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::new(ldevid.clone()));
        let config = Arc::new(config);
        for _ in 0..2 {
            let said = get(&config, nginx.port)?;
            ensure!(said.contains("SUCCESS"), "{said}");
            ensure!(said.contains(&id[2..]), "{said}");
        }
        ensure!(ldevid.current().cert.len() == enrolled.ldevid_chain.len());
        Ok(())
    })
}

fn get(config: &Arc<ClientConfig>, port: u16) -> Result<String> {
    let server = ServerName::try_from("localhost")?;
    let connection = ClientConnection::new(Arc::clone(config), server)?;
    let mut stream = StreamOwned::new(connection, TcpStream::connect(("127.0.0.1", port))?);
    stream.write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
