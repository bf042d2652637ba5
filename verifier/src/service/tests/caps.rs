//! What one call may ask for and bring: tokens that end, pages and messages
//! that are bounded (C35: SPIRE 1.11.3, 1.9.3); and what one user may have open.

use holdfast_proto::grpc::v1;
use tonic::Code;

use super::{matrix::kind, *};

#[tokio::test]
async fn cve_c35_a_token_without_an_end_or_without_uses_cannot_be_made() {
    let server = TestServer::start().await;
    let mut admin = server.admin().await;
    let ask = |valid_for_seconds, uses| v1::CreateTokenRequest {
        class: "default".to_owned(),
        uses,
        valid_for_seconds,
        server_url: String::new(),
    };
    for (seconds, uses) in [
        (0, 1),
        (59, 1),
        (30 * 86_400 + 1, 1),
        (u32::MAX, 1),
        (60, 0),
        (60, 1_000_001),
    ] {
        let status = admin.create_token(ask(seconds, uses)).await.unwrap_err();
        assert_eq!(
            (status.code(), kind(&status)),
            (Code::InvalidArgument, "invalid-request"),
            "{seconds} s, {uses} uses"
        );
    }
    let made = admin.create_token(ask(60, 1)).await.unwrap().into_inner();
    assert_eq!(made.expires, fixtures::NOW + 60);
}

#[tokio::test]
async fn cve_c35_no_page_is_larger_than_the_cap() {
    let server = TestServer::start().await;
    let mut admin = server.admin().await;
    for page_size in [1001, u32::MAX] {
        let page_token = String::new();
        let gateways = v1::ListGatewaysRequest {
            page_size,
            page_token: page_token.clone(),
        };
        let operators = v1::ListOperatorsRequest {
            page_size,
            page_token: page_token.clone(),
        };
        let audit = v1::ListAuditRequest {
            page_size,
            page_token,
        };
        for status in [
            admin.list_gateways(gateways).await.unwrap_err(),
            admin.list_operators(operators).await.unwrap_err(),
            admin.list_audit(audit).await.unwrap_err(),
        ] {
            assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        }
    }
}

#[tokio::test]
async fn cve_c35_pages_of_the_audit_log_follow_each_other() {
    let server = TestServer::start().await;
    for n in 0..5 {
        server
            .shared
            .store
            .record_act(crate::store::AuditEntry {
                at: fixtures::NOW,
                actor: "test".to_owned(),
                action: "refused".to_owned(),
                subject: n.to_string(),
                detail: String::new(),
            })
            .await
            .unwrap();
    }
    let mut admin = server.admin().await;
    let (mut subjects, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = admin
            .list_audit(v1::ListAuditRequest {
                page_size: 2,
                page_token,
            })
            .await
            .unwrap()
            .into_inner();
        assert!(page.records.len() <= 2);
        subjects.extend(page.records.into_iter().map(|r| r.subject));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(subjects, ["4", "3", "2", "1", "0"]);
}

#[tokio::test]
async fn cve_c35_a_message_beyond_the_cap_is_refused_on_every_door() {
    let server = TestServer::start().await;
    let request = v1::ImportEndorsementsRequest {
        certificates: vec![vec![0; 17 * 1024 * 1024]],
        as_roots: false,
    };
    let identity = server.operator(Role::Admin, "alice").await;
    let channel = server.operators_channel(&identity).await.unwrap();
    let remote = v1::admin_client::AdminClient::new(channel);
    for mut client in [server.admin().await, remote] {
        let status = client
            .import_endorsements(request.clone())
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
        // And it lives.
        client.who_am_i(v1::WhoAmIRequest {}).await.unwrap();
    }
}

#[tokio::test]
async fn adv_a21_a_user_has_a_share_of_the_admin_socket_and_no_more() {
    use tokio::{io::AsyncReadExt as _, net::UnixStream};
    let server = TestServer::start().await;
    let path = server.dir.path().join("admin.sock");
    // Each is served, as the first byte of HTTP/2's settings shows.
    let mut held = Vec::new();
    for _ in 0..64 {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.read_u8().await.unwrap();
        held.push(stream);
    }
    let mut beyond = UnixStream::connect(&path).await.unwrap();
    assert!(beyond.read_u8().await.is_err(), "a 65th is served");
    drop(held);
    // As soon as the server has seen that they are gone.
    for _ in 0..100 {
        let mut again = UnixStream::connect(&path).await.unwrap();
        if again.read_u8().await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("places are not given back");
}
