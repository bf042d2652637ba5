//! What the acceptor takes and what it does not.

use std::time::Duration;

use holdfast_proto::grpc::v1::{GetStatusRequest, enrollment_client::EnrollmentClient};
use rustls::version::{TLS12, TLS13};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tonic::Code;

use super::*;
use crate::service::acceptor::ConnectionInfo;

/// Reads until the peer is gone; an error is as good as an end.
async fn is_closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> bool {
    let mut rest = Vec::new();
    timeout(Duration::from_secs(5), stream.read_to_end(&mut rest))
        .await
        .is_ok()
}

#[tokio::test]
async fn adv_a28_tls_1_2_is_refused() {
    let server = TestServer::start().await;
    server
        .handshake(server.client_config(None, &[&TLS12]))
        .await
        .unwrap_err();
    server
        .handshake(server.client_config(None, &[&TLS13]))
        .await
        .unwrap();
}

#[tokio::test]
async fn adv_a28_plaintext_is_refused() {
    let server = TestServer::start().await;
    let mut tcp = TcpStream::connect(server.address).await.unwrap();
    tcp.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    assert!(is_closed(&mut tcp).await);
}

#[tokio::test]
async fn another_protocol_than_http_2_is_refused() {
    let server = TestServer::start().await;
    let mut config = server.client_config(None, &[&TLS13]);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    server.handshake(config).await.unwrap_err();
    // Without ALPN the handshake succeeds, the connection does not.
    let mut config = server.client_config(None, &[&TLS13]);
    config.alpn_protocols.clear();
    let mut stream = server.handshake(config).await.unwrap();
    assert!(is_closed(&mut stream).await);
}

#[tokio::test]
async fn adv_a19_a_certificate_of_another_ca_is_refused() {
    let server = TestServer::start().await;
    let stranger = TestCa::new().issue();
    // In TLS 1.3 the client learns of it with its first read.
    if let Ok(mut stream) = server
        .handshake(server.client_config(Some(&stranger), &[&TLS13]))
        .await
    {
        let error = stream.read_u8().await.unwrap_err();
        assert!(error.to_string().contains("UnknownCA"), "{error}");
    }
}

#[tokio::test]
async fn the_exporter_is_of_the_connection_that_carries_the_call() {
    // The gate sees what handlers see: the acceptor's ConnectionInfo.
    let server = TestServer::start().await;
    let (_, one) = server.channel(None).await;
    let (_, other) = server.channel(None).await;
    assert_ne!(one, other);

    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let tls = {
        let settings = CaSettings {
            organization: "Test".to_owned(),
            server_names: vec![ServerName::parse("verifier.test").unwrap()],
        };
        let ca = ca_init(&settings, Clock::system().now(), &SystemRandom::new()).unwrap();
        let files = TlsFiles {
            server: &ca.server.certificate_pem(),
            server_key: &ca.server.key.expose_pem(),
            client_root: &server.clients.pem,
        };
        let config = server_config(&files, &server.shared.revocations).unwrap();
        (config, ca.server_ca.certificate)
    };
    let (ready, mut connections) = tokio::sync::mpsc::channel(1);
    let places = acceptor::Places {
        connections: Arc::new(tokio::sync::Semaphore::new(1)),
        handshakes: Arc::new(tokio::sync::Semaphore::new(1)),
        addresses: addresses::Addresses::new(addresses::Share {
            connections: 1,
            handshakes: 1,
            requests: 1,
        }),
    };
    let patience = acceptor::Patience {
        handshake: HANDSHAKE_TIMEOUT,
        idle: IDLE_TIMEOUT,
    };
    let revocations = Arc::clone(&server.shared.revocations);
    let second = TestServer {
        address: listener.local_addr().unwrap(),
        server_ca: tls.1,
        ..server
    };
    tokio::spawn(acceptor::accept(
        listener,
        Arc::new(Swap::from(tls.0)),
        places,
        patience,
        revocations,
        ready,
    ));
    let identity = second.clients.issue();
    let stream = second
        .handshake(second.client_config(Some(&identity), &[&TLS13]))
        .await
        .unwrap();
    let theirs = stream
        .get_ref()
        .1
        .export_keying_material([0; 32], holdfast_proto::binding::EXPORTER_LABEL, None)
        .unwrap();
    let connection = connections.recv().await.unwrap().unwrap();
    let info: ConnectionInfo = tonic::transport::server::Connected::connect_info(&connection);
    assert_eq!(info.exporter, theirs);
    assert_eq!(
        info.client_certificate,
        Some(convert::sha256(&identity.der))
    );
}

#[tokio::test]
async fn adv_a21_half_open_handshakes_of_one_address_do_not_lock_others_out() {
    let server = TestServer::with(Changes {
        handshakes: 16,
        ..Changes::default()
    })
    .await;
    // Another address, which takes all that it can get: two places of sixteen.
    let mut silent = Vec::new();
    for _ in 0..40 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
        silent.push(socket.connect(server.address).await.unwrap());
    }
    let mut refused = silent.split_off(2);
    for stream in &mut refused {
        assert!(is_closed(stream).await);
    }
    server.channel(None).await;
    assert!(
        !is_closed_now(&mut silent[0]).await,
        "its own two are still waited for"
    );
}

async fn is_closed_now(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    timeout(Duration::from_millis(50), stream.read(&mut byte))
        .await
        .is_ok()
}

#[tokio::test]
async fn adv_a21_an_address_gets_its_fill_of_connections_and_no_more() {
    let server = TestServer::with(Changes {
        connections_per_address: 3,
        ..Changes::default()
    })
    .await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(server.channel(None).await);
    }
    let mut more = TcpStream::connect(server.address).await.unwrap();
    assert!(is_closed(&mut more).await);
    // Its places come back when it lets go.
    drop(open);
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.channel(None).await;
}

#[tokio::test]
async fn adv_c06_a_peer_that_says_nothing_loses_its_place() {
    let server = TestServer::with(Changes {
        handshakes: 1,
        connections_per_address: 1,
        patience: Duration::from_millis(300),
        ..Changes::default()
    })
    .await;
    // Before the handshake, ...
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    assert!(is_closed(&mut silent).await);
    drop(silent);
    // ... and after it, before a word of HTTP/2.
    let config = server.client_config(None, &[&TLS13]);
    let mut silent = server.handshake(config).await.unwrap();
    assert!(is_closed(&mut silent).await);
    drop(silent);
    // The one place there is, is free again.
    server.channel(None).await;
}

#[tokio::test]
async fn adv_a21_an_address_that_asks_too_often_is_told_so() {
    let server = TestServer::with(Changes {
        requests_per_minute: 2,
        ..Changes::default()
    })
    .await;
    let mut client = server.attestation(None).await;
    for _ in 0..2 {
        let status = client.get_status(GetStatusRequest {}).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
    }
    let status = client.get_status(GetStatusRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(
        status.metadata().get("holdfast-kind").unwrap(),
        "rate-limited"
    );
}

#[tokio::test]
async fn a_shutdown_drains_and_takes_the_socket_away() {
    let mut server = TestServer::start().await;
    let client = server.attestation(None).await;
    server.stop.take().unwrap().send(()).unwrap();
    timeout(Duration::from_secs(5), &mut server.ended)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(!server.dir.path().join("admin.sock").exists());
    assert!(TcpStream::connect(server.address).await.is_err());
    drop(client);
}

#[tokio::test]
async fn health_and_reflection_answer() {
    let server = TestServer::start().await;
    let (channel, _) = server.channel(None).await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    for service in ["", "holdfast.v1.Enrollment", "holdfast.v1.Attestation"] {
        let request = tonic_health::pb::HealthCheckRequest {
            service: service.to_owned(),
        };
        let mut status = 0;
        for _ in 0..50 {
            if let Ok(answer) = health.check(request.clone()).await {
                status = answer.into_inner().status;
                if status == 1 {
                    break;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(status, 1, "{service:?} is SERVING");
    }
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel.clone())
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap()
        .into_inner();
    let answer = answers
        .message()
        .await
        .unwrap()
        .unwrap()
        .message_response
        .unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else {
        panic!("{answer:?}")
    };
    let names: Vec<_> = list.service.into_iter().map(|s| s.name).collect();
    assert!(
        names.contains(&"holdfast.v1.Enrollment".to_owned()),
        "{names:?}"
    );
    assert!(
        !names.contains(&"holdfast.v1.Admin".to_owned()),
        "{names:?}"
    );
    drop(EnrollmentClient::new(channel));
}
