//! A stand-in for the Verifier: checks what the attester binds, with an
//! independent reading, and can be told to lose answers. It decides nothing
//! about trust; the real one has its own tests.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use holdfast_attester::enrolment::exchange::{Binding, Plan};
use holdfast_attester::state::Server;
use holdfast_proto::binding::{EXPORTER_LABEL, certify_extra_data, gateway_id, quote_extra_data};
use holdfast_proto::claims::{Claims, Purpose, SignedClaims};
use holdfast_proto::grpc::v1::attestation_server::{Attestation, AttestationServer};
use holdfast_proto::grpc::v1::enrollment_server::{Enrollment, EnrollmentServer};
use holdfast_proto::grpc::v1::*;
use holdfast_proto::tpm::templates::srk_template;
use holdfast_proto::tpm::{Attest, Attested, EccCurve, HashAlg, Public, Signature};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};

use super::Swtpm;

pub const NONCE: [u8; 32] = [0x11; 32];
pub const SECRET: [u8; 32] = [0x5E; 32];
pub const JOIN_TOKEN: [u8; 32] = [0x70; 32];

/// What happens to calls, and what was seen.
#[derive(Default)]
pub struct Script {
    /// Enroll: grant, record, and let the connection break before the answer.
    pub lose_answers: u32,
    /// Enroll: let the connection break before anything is recorded.
    pub lose_requests: u32,
    /// Verdict to give.
    pub refuse: bool,
    /// Grant a certificate for another key.
    pub wrong_key: bool,
    /// Grant bytes that hold our key and are no certificate.
    pub no_certificate: bool,
    /// Connections accepted.
    pub connections: u32,
    /// Enroll requests, in order.
    pub enrolls: Vec<EnrollRequest>,
    /// Recorded grants.
    pub granted: Vec<(EnrollRequest, EnrollResponse)>,
    /// SHA-256 of the boot log sent before.
    pub boot_log: Vec<u8>,
    /// Say that it is known, and not find it.
    pub lost_log: bool,
    /// Client certificate of the last mutual connection.
    pub client: Option<Vec<u8>>,
    pub attests: Vec<AttestRequest>,
}

pub struct Verifier {
    pub server: Server,
    pub script: Arc<Mutex<Script>>,
    pub ldevid_ca: Vec<u8>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Verifier {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub struct Ca {
    pub der: Vec<u8>,
    pub issuer: Issuer<'static, KeyPair>,
}

pub fn ca() -> Ca {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let der = params.self_signed(&key).unwrap().der().to_vec();
    Ca {
        der,
        issuer: Issuer::new(params, key),
    }
}

impl Verifier {
    pub async fn start() -> Self {
        Self::start_as("verifier.test").await
    }

    pub async fn start_as(certified_name: &str) -> Self {
        let (server_ca, ldevid_ca) = (ca(), ca());
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![certified_name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &server_ca.issuer).unwrap();
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from(ldevid_ca.der.clone()))
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .allow_unauthenticated()
                .build()
                .unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let script = Arc::new(Mutex::new(Script::default()));
        let der = ldevid_ca.der.clone();
        let service = Service {
            script: Arc::clone(&script),
            maker: Arc::new(Mutex::new(Swtpm::start())),
            ldevid_ca: Arc::new(ldevid_ca),
        };
        let incoming = incoming(listener, config, Arc::clone(&script));
        let task = tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_service(EnrollmentServer::new(service.clone()))
                .add_service(AttestationServer::new(service))
                .serve_with_incoming(incoming)
                .await
                .unwrap();
        });
        let server = Server {
            address,
            name: "verifier.test".into(),
            ca_der: server_ca.der,
        };
        Self {
            server,
            script,
            ldevid_ca: der,
            task,
        }
    }

    pub fn plan(&self, choice: holdfast_attester::enrolment::KeyChoice) -> Plan {
        Plan {
            binding: Binding::default(),
            replace: false,
            server: self.server.clone(),
            purpose: Purpose::Enrol,
            join_token: JOIN_TOKEN.to_vec().into(),
            class: "default".into(),
            policy_root_name: srk_template().name(),
            choice,
            road: holdfast_attester::enrolment::Road::default(),
            boot_log: "/nonexistent".into(),
            ima_log: "/nonexistent".into(),
            evidence_dir: None,
        }
    }
}

fn incoming(
    listener: TcpListener,
    config: ServerConfig,
    script: Arc<Mutex<Script>>,
) -> impl tokio_stream::Stream<Item = std::io::Result<Io>> {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(tcp).await {
                let (_, tls) = stream.get_ref();
                let exporter = tls
                    .export_keying_material([0; 32], EXPORTER_LABEL, None)
                    .unwrap();
                let client = tls.peer_certificates().map(|chain| chain[0].to_vec());
                {
                    let mut script = script.lock().unwrap();
                    script.connections += 1;
                    script.client = client;
                }
                let (end, ended) = tokio::sync::watch::channel(false);
                let io = Io {
                    stream,
                    channel: Channel { exporter, end },
                    ended,
                };
                let _ = sender.send(Ok(io)).await;
            }
        }
    });
    tokio_stream::wrappers::ReceiverStream::new(receiver)
}

/// A connection that a handler can break.
pub struct Io {
    stream: TlsStream<TcpStream>,
    channel: Channel,
    ended: tokio::sync::watch::Receiver<bool>,
}

#[derive(Clone)]
pub struct Channel {
    exporter: [u8; 32],
    end: tokio::sync::watch::Sender<bool>,
}

impl Connected for Io {
    type ConnectInfo = Channel;

    fn connect_info(&self) -> Channel {
        self.channel.clone()
    }
}

impl Io {
    fn broken(&self) -> Option<std::io::Error> {
        (*self.ended.borrow()).then(|| std::io::ErrorKind::ConnectionReset.into())
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.broken() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut self.stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.broken() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut self.stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[derive(Clone)]
struct Service {
    script: Arc<Mutex<Script>>,
    maker: Arc<Mutex<Swtpm>>,
    ldevid_ca: Arc<Ca>,
}

struct LdevidKey(Vec<u8>);

impl PublicKeyData for LdevidKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

pub fn sha256(bytes: &[u8]) -> Vec<u8> {
    ring::digest::digest(&ring::digest::SHA256, bytes)
        .as_ref()
        .to_vec()
}

fn selection() -> PcrSelection {
    PcrSelection {
        hash_alg: 0x0B,
        pcr_indices: vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14],
    }
}

impl Service {
    fn challenge(&self, request: &RequestChallengeRequest) -> RequestChallengeResponse {
        let ek = Public::parse(&request.ek_public).unwrap();
        let ak = Public::parse(&request.ak_public).unwrap();
        let maker = self.maker.lock().unwrap();
        let (credential_blob, encrypted_secret) =
            super::make_credential(&maker, &ek, &ak.name(), SECRET);
        RequestChallengeResponse {
            nonce: NONCE.to_vec(),
            credential_blob,
            encrypted_secret,
            pcr_selection: Some(selection()),
            token: b"sealed".to_vec(),
            expires: i64::MAX,
            ..Default::default()
        }
    }

    /// Checks every binding of ARCHITECTURE §4, and gives the claims.
    fn check(
        &self,
        exporter: [u8; 32],
        ak: &Public,
        ldevid: &Public,
        certification: Option<&KeyCertification>,
        evidence: &Evidence,
    ) -> Result<Claims, Status> {
        let signed = SignedClaims::parse(&evidence.claims).unwrap();
        assert_eq!(signed.kid(), ldevid.name().as_bytes());
        let claims = signed
            .open(|_, tbs, signature| {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, ldevid.to_ec_point().unwrap())
                    .verify(tbs, signature)
            })
            .unwrap();
        if claims.exporter != exporter {
            return Err(Status::failed_precondition(
                "claims are of another connection",
            ));
        }
        assert_eq!(claims.nonce, NONCE);
        verify(ak, &evidence.quote_attest, &evidence.quote_signature);
        let attest = Attest::parse(&evidence.quote_attest).unwrap();
        assert_eq!(attest.extra_data, quote_extra_data(&evidence.claims));
        let Attested::Quote {
            selection: quoted,
            pcr_digest,
        } = attest.attested
        else {
            panic!("not a quote")
        };
        assert_eq!(quoted.len(), 1);
        let indices: Vec<u32> = evidence.pcr_values.iter().map(|p| p.index).collect();
        assert_eq!(indices, selection().pcr_indices);
        let values: Vec<&[u8]> = evidence
            .pcr_values
            .iter()
            .map(|p| p.value.as_slice())
            .collect();
        assert_eq!(pcr_digest, HashAlg::Sha256.digest(&values).as_bytes());
        match certification {
            Some(certification) => {
                verify(ak, &certification.attest, &certification.signature);
                let attest = Attest::parse(&certification.attest).unwrap();
                let expected = certify_extra_data(&NONCE, &ak.name(), &ldevid.name());
                assert_eq!(attest.extra_data, expected);
                assert!(
                    matches!(attest.attested, Attested::Certify { name, .. } if name == ldevid.name())
                );
                let digest = sha256(&certification.attest);
                assert_eq!(claims.certify_sha256.unwrap().as_slice(), digest);
            }
            None => assert_eq!(claims.certify_sha256, None),
        }
        Ok(claims)
    }

    fn grant(&self, ldevid: &Public) -> Grant {
        let mut point = ldevid.to_ec_point().unwrap();
        if self.script.lock().unwrap().wrong_key {
            point = KeyPair::generate().unwrap().der_bytes().to_vec();
        }
        let params = CertificateParams::new(Vec::new()).unwrap();
        let leaf = params
            .signed_by(&LdevidKey(point), &self.ldevid_ca.issuer)
            .unwrap();
        let mut leaf = leaf.der().to_vec();
        if self.script.lock().unwrap().no_certificate {
            leaf = [&[0x04, 0x60][..], &ldevid.to_spki_der().unwrap(), b"?"].concat();
        }
        Grant {
            ldevid_chain: vec![leaf, self.ldevid_ca.der.clone()],
            renew_after: 2_000_000_000,
            not_after: 2_100_000_000,
        }
    }

    fn verdict(&self) -> Verdict {
        let affirming = !self.script.lock().unwrap().refuse;
        let reason = Reason {
            code: "pcr-mismatch".into(),
            detail: "PCR 4\u{1b}[31m".into(),
            next_step: "boot the known kernel".into(),
        };
        Verdict {
            ear_jwt: "e.a.r".into(),
            ear_cwt: Vec::new(),
            affirming,
            reasons: if affirming { Vec::new() } else { vec![reason] },
        }
    }

    fn enrol(
        &self,
        purpose: Purpose,
        request: Request<EnrollRequest>,
    ) -> Result<Response<EnrollResponse>, Status> {
        let channel = request.extensions().get::<Channel>().unwrap().clone();
        let request = request.into_inner();
        {
            let mut script = self.script.lock().unwrap();
            script.enrolls.push(request.clone());
            if script.lose_requests > 0 {
                script.lose_requests -= 1;
                let _ = channel.end.send(true);
                return Err(Status::internal("never seen"));
            }
            if let Some((_, answer)) = script.granted.iter().find(|(r, _)| *r == request) {
                return Ok(Response::new(answer.clone()));
            }
        }
        assert_eq!(request.token, b"sealed");
        assert_eq!(request.activated_secret, SECRET);
        let ak = Public::parse(&request.ak_public).unwrap();
        let ldevid = Public::parse(&request.ldevid_public).unwrap();
        let evidence = request.evidence.as_ref().unwrap();
        let certification = request.ldevid_certification.as_ref();
        assert!(certification.is_some());
        let claims = self.check(channel.exporter, &ak, &ldevid, certification, evidence)?;
        assert_eq!(claims.purpose, purpose);
        let id = gateway_id(&Public::parse(&request.ek_public).unwrap()).unwrap();
        assert_eq!(claims.ueid, id);
        let verdict = self.verdict();
        let grant = verdict.affirming.then(|| self.grant(&ldevid));
        let answer = EnrollResponse {
            verdict: Some(verdict),
            grant,
            gateway_id: id.as_bytes().to_vec(),
            seal_approvals: None,
            secrets: None,
            heartbeats_within_seconds: 0,
        };
        let mut script = self.script.lock().unwrap();
        if let Some(BootLog {
            log: Some(boot_log::Log::Content(log)),
        }) = &evidence.boot_log
        {
            assert_eq!(claims.boot_log_sha256.unwrap().as_slice(), sha256(log));
            script.boot_log = sha256(log);
        }
        script.granted.push((request, answer.clone()));
        if script.lose_answers > 0 {
            script.lose_answers -= 1;
            let _ = channel.end.send(true);
        }
        Ok(Response::new(answer))
    }
}

fn verify(ak: &Public, message: &[u8], signature: &[u8]) {
    let signature = Signature::parse(signature)
        .unwrap()
        .ecdsa_fixed(EccCurve::P256)
        .unwrap();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, ak.to_ec_point().unwrap())
        .verify(message, &signature)
        .unwrap();
}

#[tonic::async_trait]
impl Enrollment for Service {
    async fn request_challenge(
        &self,
        request: Request<RequestChallengeRequest>,
    ) -> Result<Response<RequestChallengeResponse>, Status> {
        if request.get_ref().join_token != JOIN_TOKEN {
            return Err(Status::permission_denied("not admitted\u{1b}[31m"));
        }
        Ok(Response::new(self.challenge(request.get_ref())))
    }

    async fn enroll(
        &self,
        request: Request<EnrollRequest>,
    ) -> Result<Response<EnrollResponse>, Status> {
        self.enrol(Purpose::Enrol, request)
    }

    async fn request_recovery_challenge(
        &self,
        request: Request<RequestChallengeRequest>,
    ) -> Result<Response<RequestChallengeResponse>, Status> {
        assert!(request.get_ref().join_token.is_empty());
        Ok(Response::new(self.challenge(request.get_ref())))
    }

    async fn recover(
        &self,
        request: Request<EnrollRequest>,
    ) -> Result<Response<EnrollResponse>, Status> {
        self.enrol(Purpose::Recover, request)
    }
}

impl Service {
    /// The grant whose certificate the caller showed.
    fn caller(&self) -> Result<EnrollRequest, Status> {
        let script = self.script.lock().unwrap();
        let client = script
            .client
            .clone()
            .ok_or_else(|| Status::unauthenticated("no LDevID"))?;
        script
            .granted
            .iter()
            .find(|(_, a)| {
                a.grant
                    .as_ref()
                    .is_some_and(|g| g.ldevid_chain[0] == client)
            })
            .map(|(request, _)| request.clone())
            .ok_or_else(|| Status::unauthenticated("unknown LDevID"))
    }
}

#[tonic::async_trait]
impl Attestation for Service {
    async fn request_attestation_challenge(
        &self,
        _: Request<RequestAttestationChallengeRequest>,
    ) -> Result<Response<RequestAttestationChallengeResponse>, Status> {
        self.caller()?;
        Ok(Response::new(RequestAttestationChallengeResponse {
            nonce: NONCE.to_vec(),
            pcr_selection: Some(selection()),
            token: b"sealed".to_vec(),
            expires: i64::MAX,
            known_boot_log_sha256: self.script.lock().unwrap().boot_log.clone(),
            known_ima: None,
        }))
    }

    async fn attest(
        &self,
        request: Request<AttestRequest>,
    ) -> Result<Response<AttestResponse>, Status> {
        let enrolled = self.caller()?;
        let channel = request.extensions().get::<Channel>().unwrap().clone();
        let request = request.into_inner();
        let ak = Public::parse(&enrolled.ak_public).unwrap();
        let ldevid = Public::parse(&enrolled.ldevid_public).unwrap();
        let certification = request.ldevid_certification.as_ref();
        let evidence = request.evidence.as_ref().unwrap();
        let claims = self.check(channel.exporter, &ak, &ldevid, certification, evidence)?;
        let renew = certification.is_some();
        assert_eq!(
            claims.purpose,
            if renew {
                Purpose::Renew
            } else {
                Purpose::Attest
            }
        );
        let by_hash = matches!(
            &evidence.boot_log,
            Some(BootLog {
                log: Some(boot_log::Log::Sha256(_)),
            })
        );
        let mut script = self.script.lock().unwrap();
        script.attests.push(request.clone());
        if script.lost_log && by_hash {
            let mut status = Status::failed_precondition("send it whole");
            let kind = "boot-log-unknown".parse().unwrap();
            status.metadata_mut().insert("holdfast-kind", kind);
            return Err(status);
        }
        drop(script);
        let verdict = self.verdict();
        let grant = (renew && verdict.affirming).then(|| self.grant(&ldevid));
        Ok(Response::new(AttestResponse {
            verdict: Some(verdict),
            grant,
            seal_approvals: None,
            secrets: None,
            heartbeats_within_seconds: 0,
        }))
    }

    async fn get_status(
        &self,
        _: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        self.caller()?;
        Ok(Response::new(GetStatusResponse {
            state: "active".into(),
            ..Default::default()
        }))
    }
}
