//! What whoever reaches the HTTP door may cost.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::*;

fn settings(connections: usize, per_minute: u32) -> PublicationSettings {
    PublicationSettings {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        crl_seconds: 3600,
        ocsp_seconds: 300,
        cache_seconds: 60,
        crl_certificates: 10_000,
        connections,
        requests_per_minute_per_address: NonZeroU32::new(per_minute).unwrap(),
    }
}

async fn publishing(connections: usize, per_minute: u32) -> TestServer {
    TestServer::with(Changes {
        publication: Some(settings(connections, per_minute)),
        ..Changes::default()
    })
    .await
}

/// What comes back until the connection ends; none where it never does.
async fn exchange(server: &TestServer, request: &[u8]) -> Option<String> {
    let mut stream = TcpStream::connect(server.publication.unwrap())
        .await
        .unwrap();
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    timeout(Duration::from_secs(5), read).await.ok()?.ok();
    Some(String::from_utf8_lossy(&answer).into_owned())
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes()
}

fn crl_path(server: &TestServer) -> String {
    let cas = server.shared.issuer.cas();
    let id = cas.current().key_identifier().to_vec();
    crate::identity::crl_path(&id, crate::identity::CrlPart::FULL)
}

#[tokio::test]
async fn the_full_crl_is_there_from_the_start_also_where_no_ldevid_names_it() {
    let server = publishing(16, 100).await;
    let answer = exchange(&server, &get(&crl_path(&server))).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("max-age=60"), "{answer}");
}

#[tokio::test]
async fn adv_a21_an_address_that_asks_too_often_gets_429() {
    let server = publishing(16, 2).await;
    let path = crl_path(&server);
    for _ in 0..2 {
        let answer = exchange(&server, &get(&path)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let answer = exchange(&server, &get(&path)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    assert!(
        answer.to_lowercase().contains("retry-after: 60"),
        "{answer}"
    );
}

#[tokio::test]
async fn adv_a21_an_address_gets_a_quarter_of_the_connections() {
    let server = publishing(8, 100).await;
    let mut silent = Vec::new();
    for _ in 0..2 {
        let stream = TcpStream::connect(server.publication.unwrap()).await;
        silent.push(stream.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let answer = exchange(&server, &get("/")).await.unwrap();
    assert_eq!(answer, "", "a third is dropped");
    drop(silent);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let answer = exchange(&server, &get("/")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

#[tokio::test]
async fn adv_a21_a_long_head_is_refused() {
    let server = publishing(16, 100).await;
    let answer = exchange(&server, &get(&format!("/{}", "x".repeat(9000))))
        .await
        .unwrap();
    let refused = ["HTTP/1.1 431", "HTTP/1.1 414"];
    assert!(
        refused.iter().any(|status| answer.starts_with(status)),
        "{answer}"
    );
}
