//! A program of your own that proves itself by the gateway's LDevID: mutual TLS
//! 1.3 with rustls, and each handshake signed by the TPM.
//!
//! ```text
//! cargo run -p holdfast-attester --example mutual_tls -- \
//!     STATE-DIR TCTI SERVER-NAME HOST:PORT CA.pem
//! ```
//! Sends what it reads from stdin, and prints what the server answers.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use holdfast_attester::keys::Ldevid;
use holdfast_attester::state::StateView;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const USAGE: &str = "usage: mutual_tls STATE-DIR TCTI SERVER-NAME HOST:PORT CA.pem";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [state, tcti, name, address, ca] = arguments.as_slice() else {
        return Err(USAGE.into());
    };
    // Opens the TPM, and holds it to the storage root that the enrolment pinned.
    let ldevid = Ldevid::open(&StateView::open(Path::new(state))?, &tcti.parse()?)?;

    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(ldevid));
    // A resumed session would not ask the TPM: each connection proves itself.
    config.resumption = Resumption::disabled();

    let server = ServerName::try_from(name.clone())?;
    let connection = ClientConnection::new(Arc::new(config), server)?;
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address)?);
    let mut request = Vec::new();
    std::io::stdin().read_to_end(&mut request)?;
    stream.write_all(&request)?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        // Many servers close without TLS's own farewell.
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {}
        other => drop(other?),
    }
    std::io::stdout().write_all(&answer)?;
    Ok(())
}
