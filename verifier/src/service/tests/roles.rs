//! Every RPC with every kind of caller (ADVERSARY A19): deny by default.

use holdfast_proto::grpc::v1::{
    AttestRequest, GetStatusRequest, ListGatewaysRequest, RequestAttestationChallengeRequest,
    admin_client::AdminClient, attestation_client::AttestationClient,
};
use tonic::{Code, transport::Channel};

use super::*;
use crate::identity::RevocationReason;
use crate::store::SuspensionKind;

/// Codes of all three Attestation calls.
async fn codes(mut client: AttestationClient<Channel>) -> [Code; 3] {
    let code = |result: Result<(), tonic::Status>| result.map_or_else(|s| s.code(), |()| Code::Ok);
    [
        code(
            client
                .request_attestation_challenge(RequestAttestationChallengeRequest {})
                .await
                .map(drop),
        ),
        code(client.attest(AttestRequest::default()).await.map(drop)),
        code(client.get_status(GetStatusRequest {}).await.map(drop)),
    ]
}

/// Each call was denied by the gate; or the connection was cut meanwhile, and
/// the handshake of the next one refused: on a slow machine the cut of revoked
/// connections comes first.
fn assert_denied(codes: [Code; 3], by_gate: Code) {
    let cut = [
        Code::Unavailable,
        Code::Unknown,
        Code::Internal,
        Code::Cancelled,
    ];
    assert!(
        codes
            .iter()
            .all(|code| *code == by_gate || cut.contains(code)),
        "{codes:?}, not {by_gate:?}"
    );
}

#[tokio::test]
async fn adv_a19_attestation_without_an_ldevid_is_unauthenticated() {
    let server = TestServer::start().await;
    assert_eq!(
        codes(server.attestation(None).await).await,
        [Code::Unauthenticated; 3]
    );
}

#[tokio::test]
async fn adv_a19_an_ldevid_that_was_never_recorded_is_unauthenticated() {
    let server = TestServer::start().await;
    let forged = server.clients.issue();
    assert_eq!(
        codes(server.attestation(Some(&forged)).await).await,
        [Code::Unauthenticated; 3]
    );
}

#[tokio::test]
async fn adv_a19_a_gateway_sees_itself_and_no_other() {
    let server = TestServer::start().await;
    let (one, two) = (server.clients.issue(), server.clients.issue());
    server.record(1, &one).await;
    server.record(2, &two).await;
    for (n, identity) in [(1, &one), (2, &two)] {
        let mut client = server.attestation(Some(identity)).await;
        let status = client
            .get_status(GetStatusRequest {})
            .await
            .unwrap()
            .into_inner();
        assert_eq!(status.gateway_id, fixtures::id(n).as_bytes());
        assert_eq!(status.state, "active");
    }
}

#[tokio::test]
async fn adv_a19_a_suspended_or_revoked_gateway_is_denied_on_an_open_connection() {
    let server = TestServer::start().await;
    let identity = server.clients.issue();
    server.record(1, &identity).await;
    let client = server.attestation(Some(&identity)).await;
    client
        .clone()
        .get_status(GetStatusRequest {})
        .await
        .unwrap();

    let (store, id, now) = (&server.shared.store, fixtures::id(1), fixtures::NOW);
    store
        .suspend(&id, SuspensionKind::Operator, "", "test", now)
        .await
        .unwrap();
    assert_denied(codes(client.clone()).await, Code::PermissionDenied);
    // Resumed, its certificate stays revoked: only Recover leads back.
    store.resume(&id, "", "test", now).await.unwrap();
    assert_denied(codes(client.clone()).await, Code::Unauthenticated);
    store
        .revoke(&id, RevocationReason::Unspecified, "", "test", now)
        .await
        .unwrap();
    assert_denied(codes(client).await, Code::PermissionDenied);
}

#[tokio::test]
async fn adv_a19_an_expired_ldevid_is_unauthenticated_on_an_open_connection() {
    let server = TestServer::start().await;
    let identity = server.clients.issue();
    let mut enrolled = fixtures::enrolled(1);
    enrolled.certificate.sha256 = convert::sha256(&identity.der);
    enrolled.certificate.not_after = fixtures::NOW - 1;
    let store = &server.shared.store;
    store
        .create_join_token(fixtures::join_token(1), "test", fixtures::NOW)
        .await
        .unwrap();
    let _ = store
        .record_enrolment(enrolled, fixtures::NOW)
        .await
        .unwrap();
    assert_eq!(
        codes(server.attestation(Some(&identity)).await).await,
        [Code::Unauthenticated; 3]
    );
}

#[tokio::test]
async fn adv_c02_admin_is_not_served_on_the_network() {
    let server = TestServer::start().await;
    let identity = server.clients.issue();
    server.record(1, &identity).await;
    for identity in [None, Some(&identity)] {
        let (channel, _) = server.channel(identity).await;
        let status = AdminClient::new(channel)
            .list_gateways(ListGatewaysRequest::default())
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented);
    }
    server
        .admin()
        .await
        .list_gateways(ListGatewaysRequest::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_damaged_record_is_our_fault_and_is_told_as_such() {
    let server = TestServer::start().await;
    let identity = server.clients.issue();
    // The fixture's public areas are not TPM structures.
    server.record(1, &identity).await;
    let mut client = server.attestation(Some(&identity)).await;
    let status = client
        .request_attestation_challenge(RequestAttestationChallengeRequest {})
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(
        !status.message().contains("public"),
        "the cause is for the log: {status}"
    );
}
