//! A revoked LDevID at the door, and one that is revoked while inside.

use std::time::{Duration, Instant};

use holdfast_proto::grpc::v1::{
    GetStatusRequest, RevokeGatewayRequest, SuspendGatewayRequest, admin_client::AdminClient,
    attestation_client::AttestationClient, enrollment_client::EnrollmentClient,
};
use rustls::version::TLS13;
use tokio::io::AsyncReadExt as _;
use tonic::Code;

use super::*;

/// What docs/revocation.md promises.
const BOUND: Duration = Duration::from_secs(1);

/// The alert that the server ends a handshake of `identity` with; none where
/// it lets it in.
async fn alert(server: &TestServer, identity: &Identity) -> Option<String> {
    let config = server.client_config(Some(identity), &[&TLS13]);
    // In TLS 1.3 the client learns of it with its first read.
    let mut stream = match server.handshake(config).await {
        Ok(stream) => stream,
        Err(error) => return Some(error.to_string()),
    };
    match tokio::time::timeout(Duration::from_millis(200), stream.read_u8()).await {
        Err(_) | Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
    }
}

#[tokio::test]
async fn adv_a19_a_revoked_ldevid_does_not_pass_the_handshake_once_revoke_is_answered() {
    let server = TestServer::start().await;
    let (identity, other) = (server.clients.issue(), server.clients.issue());
    server.record(1, &identity).await;
    server.record(2, &other).await;
    assert_eq!(alert(&server, &identity).await, None);

    let mut admin = server.admin().await;
    let request = RevokeGatewayRequest {
        gateway_id: fixtures::id(1).to_string(),
        ..RevokeGatewayRequest::default()
    };
    admin.revoke_gateway(request).await.unwrap();
    // No waiting: the answer comes after the acceptor knows.
    let refused = alert(&server, &identity).await.unwrap();
    assert!(refused.contains("CertificateRevoked"), "{refused}");
    assert_eq!(alert(&server, &other).await, None);
}

#[tokio::test]
async fn adv_a19_a_connection_is_cut_within_the_bound_and_does_nothing_meanwhile() {
    let server = TestServer::start().await;
    let identity = server.clients.issue();
    server.record(1, &identity).await;
    let (channel, _) = server.channel(Some(&identity)).await;
    let mut attestation = AttestationClient::new(channel.clone());
    attestation.get_status(GetStatusRequest {}).await.unwrap();

    let mut admin = server.admin().await;
    let request = SuspendGatewayRequest {
        gateway_id: fixtures::id(1).to_string(),
        ..SuspendGatewayRequest::default()
    };
    admin.suspend_gateway(request).await.unwrap();
    let answered = Instant::now();
    // Still connected, and refused whatever it calls.
    let status = attestation
        .get_status(GetStatusRequest {})
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let status = EnrollmentClient::new(channel)
        .request_challenge(holdfast_proto::grpc::v1::RequestChallengeRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(
        status.metadata().get("holdfast-kind").unwrap(),
        "ldevid-not-good"
    );
    // Then there is no connection any more.
    while answered.elapsed() < BOUND {
        let status = attestation
            .get_status(GetStatusRequest {})
            .await
            .unwrap_err();
        if status.code() != Code::PermissionDenied {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the connection outlived its LDevID by {BOUND:?}");
}

#[tokio::test]
async fn adv_a20_nobody_with_a_certificate_gets_in_where_the_view_is_too_old() {
    let server = TestServer::start().await;
    let identity = server.clients.issue();
    server.record(1, &identity).await;
    // The server goes on asking four times a second, so: older than that.
    server.shared.revocations.age();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let refused = alert(&server, &identity).await.unwrap();
    assert!(refused.contains("AccessDenied"), "{refused}");
    // Enrolment needs no certificate, and goes on.
    server.channel(None).await;
}

#[tokio::test]
async fn adv_a19_an_ldevid_that_ended_since_the_handshake_does_nothing() {
    // The handshake goes by the machine's clock, calls by the server's, which
    // is ahead of it: the certificate ends in between.
    let server = TestServer::start().await;
    let ends = time::OffsetDateTime::from_unix_timestamp(fixtures::NOW - 1).unwrap();
    let identity = server.clients.issue_until(ends);
    server.record(1, &identity).await;
    let (channel, _) = server.channel(Some(&identity)).await;
    let status = AttestationClient::new(channel)
        .get_status(GetStatusRequest {})
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(
        status.metadata().get("holdfast-kind").unwrap(),
        "ldevid-not-good"
    );
}

/// CVE-2025-66406: revocation by whoever asks. Nobody on the gateways' port
/// revokes, whatever certificate he has, that of the very gateway included.
#[tokio::test]
async fn cve_c32_revocation_is_not_for_whoever_reaches_the_port() {
    let server = TestServer::start().await;
    let (own, other) = (server.clients.issue(), server.clients.issue());
    server.record(1, &own).await;
    server.record(2, &other).await;
    for identity in [None, Some(&own), Some(&other)] {
        let mut admin = AdminClient::new(server.channel(identity).await.0);
        let request = RevokeGatewayRequest {
            gateway_id: fixtures::id(1).to_string(),
            ..RevokeGatewayRequest::default()
        };
        let status = admin.revoke_gateway(request).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented);
        assert_eq!(
            status.metadata().get("holdfast-kind").unwrap(),
            "not-served"
        );
    }
    let record = server.shared.store.gateway(&fixtures::id(1)).await.unwrap();
    assert_eq!(record.unwrap().lifecycle.name(), "active");
    assert_eq!(alert(&server, &own).await, None);
}
