//! Requests of a stranger: refused by kind, with nothing recorded.

use holdfast_proto::{
    grpc::v1::{self, EnrollRequest, RequestChallengeRequest},
    tpm::HashAlg,
};
use tonic::{Code, Status};

use super::*;
use crate::{
    identity::RevocationReason,
    reference_values::{Change, ReferenceValues},
    time::UnixTime,
};

fn kind(status: &Status) -> &str {
    status
        .metadata()
        .get("holdfast-kind")
        .unwrap()
        .to_str()
        .unwrap()
}

#[tokio::test]
async fn a_malformed_request_is_refused_by_kind_with_a_request_id() {
    let server = TestServer::start().await;
    let mut client = server.enrollment().await;
    let status = client
        .request_challenge(RequestChallengeRequest::default())
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), kind(&status)),
        (Code::InvalidArgument, "invalid-request")
    );
    assert!(status.metadata().contains_key("x-request-id"));
    let status = client.enroll(EnrollRequest::default()).await.unwrap_err();
    assert_eq!(
        (status.code(), kind(&status)),
        (Code::InvalidArgument, "invalid-request")
    );
    let status = client.recover(EnrollRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn the_same_request_again_gets_the_recorded_answer_before_anything_else() {
    let server = TestServer::start().await;
    // Nothing about this request would pass a check, and it comes over
    // another connection than any that the first could have come over.
    let request = EnrollRequest {
        token: vec![1, 2, 3],
        ..EnrollRequest::default()
    };
    let answer = v1::EnrollResponse {
        gateway_id: vec![9; 33],
        ..v1::EnrollResponse::default()
    };
    let record = |purpose, n: u8| {
        let mut refused = fixtures::refused(n, n);
        refused.answer.request_sha256 = convert::request_digest(purpose, None, &request);
        refused.answer.response = prost::Message::encode_to_vec(&answer);
        refused
    };
    let store = &server.shared.store;
    let _ = store
        .record_refusal(record(b"enrol", 1), fixtures::NOW)
        .await
        .unwrap();
    let mut client = server.enrollment().await;
    let again = client.enroll(request.clone()).await.unwrap().into_inner();
    assert_eq!(again, answer);
    // One bit more is another request; so is the same in the other flow.
    let mut other = request.clone();
    other.token.push(0);
    client.enroll(other).await.unwrap_err();
    client.recover(request).await.unwrap_err();
}

#[tokio::test]
async fn adv_a19_nobody_gets_the_recorded_answer_of_another() {
    let server = TestServer::start().await;
    let (one, two) = (server.clients.issue(), server.clients.issue());
    server.record(1, &one).await;
    server.record(2, &two).await;
    let request = v1::AttestRequest {
        token: vec![1, 2, 3],
        ..v1::AttestRequest::default()
    };
    let mut affirmed = fixtures::affirmed(1, 77);
    affirmed.channel_certificate = convert::sha256(&one.der);
    affirmed.answer.request_sha256 =
        convert::request_digest(b"attest", Some(&fixtures::id(1)), &request);
    affirmed.answer.response = Vec::new();
    let _ = server
        .shared
        .store
        .record_affirmation(affirmed, fixtures::NOW)
        .await
        .unwrap();
    server
        .attestation(Some(&one))
        .await
        .attest(request.clone())
        .await
        .unwrap();
    server
        .attestation(Some(&two))
        .await
        .attest(request)
        .await
        .unwrap_err();
}

#[tokio::test]
async fn adv_a21_a_message_beyond_the_cap_is_refused_and_the_server_lives() {
    let server = TestServer::start().await;
    let mut client = server.enrollment().await;
    let huge = EnrollRequest {
        token: vec![0; 3 << 20],
        ..EnrollRequest::default()
    };
    let status = client.enroll(huge).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    client.enroll(EnrollRequest::default()).await.unwrap_err();
    assert!(
        server.shared.store.audit(10).await.unwrap().is_empty(),
        "nothing was recorded"
    );
}

#[tokio::test]
async fn a_token_made_on_the_admin_socket_is_a_whole_bundle() {
    let server = TestServer::start().await;
    let mut admin = server.admin().await;
    let request = v1::CreateTokenRequest {
        class: "default".to_owned(),
        uses: 2,
        valid_for_seconds: 3600,
        server_url: "https://Verifier.test:7443".to_owned(),
    };
    let made = admin
        .create_token(request.clone())
        .await
        .unwrap()
        .into_inner();
    let bundle = holdfast_proto::bundle::Bundle::parse(&made.bundle).unwrap();
    assert_eq!(
        (bundle.server.as_str(), bundle.server_name.as_str()),
        ("Verifier.test:7443", "verifier.test")
    );
    assert_eq!(bundle.server_ca_der, server.server_ca);
    assert_eq!(bundle.expires, fixtures::NOW + 3600);
    let id = convert::sha256(bundle.join_token.expose());
    assert_eq!(made.token_id, hex::encode(id));
    assert_eq!(
        server
            .shared
            .store
            .join_token(&id)
            .await
            .unwrap()
            .unwrap()
            .uses_left,
        2
    );

    for (change, field) in [
        (
            (|r| r.class = "A b".to_owned()) as fn(&mut v1::CreateTokenRequest),
            "class",
        ),
        (|r| r.uses = 0, "uses"),
        (|r| r.uses = 1_000_001, "uses"),
        (|r| r.valid_for_seconds = 59, "valid_for"),
        (|r| r.valid_for_seconds = 30 * 86_400 + 1, "valid_for"),
        (|r| r.server_url = "nowhere".to_owned(), "server"),
    ] {
        let mut bad = request.clone();
        change(&mut bad);
        let status = admin.create_token(bad).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{field}");
    }
}

#[tokio::test]
async fn reference_values_are_checked_before_they_are_recorded() {
    let server = TestServer::start().await;
    let mut admin = server.admin().await;
    let import = |document: &str| v1::ImportReferenceValuesRequest {
        class: "default".to_owned(),
        document: document.to_owned(),
        statement: server.state("default", 1, document),
        ..Default::default()
    };
    let status = admin
        .import_reference_values(import("{}"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let good = format!(
        "{{\"pcrs\":{{\"sha256\":{{\"0\":[\"{}\"]}}}}}}",
        "ab".repeat(32)
    );
    let done = admin
        .import_reference_values(import(&good))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((done.class.as_str(), done.version), ("default", 1));
    let class = Class::parse("default").unwrap();
    assert!(
        server.shared.references.of(&class).await.unwrap().is_some(),
        "in use at once"
    );
}

#[tokio::test]
async fn adv_a26_reference_values_are_the_owners_or_nobodys() {
    let server = TestServer::start().await;
    let mut admin = server.admin().await;
    let document = |byte: &str| {
        let value = byte.repeat(32);
        format!("{{\"pcrs\":{{\"sha256\":{{\"0\":[\"{value}\"]}}}}}}")
    };
    let (one, two) = (document("ab"), document("cd"));
    let import = |document: &str, statement: Vec<u8>| v1::ImportReferenceValuesRequest {
        class: "default".to_owned(),
        document: document.to_owned(),
        statement,
        ..Default::default()
    };
    let class = Class::parse("default").unwrap();
    let stranger = KeyPair::generate().unwrap();
    let rng = &server.shared.rng;
    let stranger = OwnerSigner::from_pkcs8(stranger.serialized_der(), rng).unwrap();
    let kind = Kind::ReferenceValues;
    for statement in [
        vec![],
        vec![0xd2],
        stranger
            .state(kind, "default", 1, one.as_bytes(), rng)
            .unwrap(),
        server.state("other", 1, &one),
        server.state("default", 1, &two),
        server
            .owner
            .state(Kind::AllowList, "default", 1, one.as_bytes(), rng)
            .unwrap(),
    ] {
        let status = admin
            .import_reference_values(import(&one, statement))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
        assert!(server.shared.references.of(&class).await.unwrap().is_none());
    }
    let signed =
        |version, document: &str| import(document, server.state("default", version, document));
    for (version, document, code) in [
        (2, &one, Code::FailedPrecondition),
        (1, &one, Code::Ok),
        (1, &one, Code::Ok),
        (1, &two, Code::FailedPrecondition),
        (2, &two, Code::Ok),
        (1, &one, Code::FailedPrecondition),
    ] {
        let done = admin
            .import_reference_values(signed(version, document))
            .await;
        let got = done.map_or_else(|status| status.code(), |_| Code::Ok);
        assert_eq!(got, code, "version {version}");
    }
    let list = admin
        .list_reference_values(v1::ListReferenceValuesRequest::default())
        .await
        .unwrap()
        .into_inner();
    let listed: Vec<_> = list
        .versions
        .iter()
        .map(|v| (v.version, v.in_force))
        .collect();
    assert_eq!(listed, [(2, true), (1, false)]);

    // Who can write the store is not the owner: a record of another's, and one
    // of the owner's under another version.
    for (version, statement) in [
        (
            3,
            stranger
                .state(kind, "default", 3, one.as_bytes(), rng)
                .unwrap(),
        ),
        (4, server.state("default", 1, &one)),
    ] {
        let new = crate::store::NewReferenceValues {
            class: "default".to_owned(),
            version,
            document: one.clone(),
            statement,
            captured: None,
        };
        let store = &server.shared.store;
        store.import_reference_values(new, "x", 0).await.unwrap();
        let owner = server.owner.public().clone();
        let read_again = References::new(Arc::clone(store), owner);
        assert!(
            read_again.of(&class).await.unwrap().is_none(),
            "version {version}"
        );
    }
}

#[tokio::test]
async fn a_proposal_and_an_approval_are_about_a_gateway_that_quoted() {
    let server = TestServer::start().await;
    let mut admin = server.admin().await;
    server.record(1, &server.clients.issue()).await;
    let id = fixtures::id(1).to_string();
    let change = v1::propose_reference_values_request::Change::Replace;
    let propose = |gateway_id: &str, drift_only| v1::ProposeReferenceValuesRequest {
        gateway_id: gateway_id.to_owned(),
        class: "learned".to_owned(),
        change: change.into(),
        until: 0,
        drift_only,
    };
    let proposal = admin
        .propose_reference_values(propose(&id, false))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((proposal.base_version, proposal.same), (0, false));
    assert_eq!(proposal.drift.unwrap().pcrs.len(), 2);
    let mut learn = v1::ImportReferenceValuesRequest {
        class: "learned".to_owned(),
        statement: server.state("learned", 1, &proposal.document),
        document: proposal.document,
        captured_gateway_id: id.clone(),
        captured_quote_sha256: vec![0; 32],
    };
    let status = admin
        .import_reference_values(learn.clone())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "another quote");
    learn.captured_quote_sha256 = proposal.quote_sha256;
    admin.import_reference_values(learn).await.unwrap();
    let again = admin
        .propose_reference_values(propose(&id, false))
        .await
        .unwrap()
        .into_inner();
    assert!(again.same && again.base_version == 1);

    let status = admin
        .propose_reference_values(propose(&id, true))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "not suspended");
    let stranger = fixtures::id(9).to_string();
    let status = admin
        .propose_reference_values(propose(&stranger, false))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound);

    // An approval of a document that does not accept what was quoted.
    let store = &server.shared.store;
    let against = fixtures::contraindicated(1, 2);
    let quote = against.quote.sha256().to_vec();
    let _ = store
        .record_contraindication(against, fixtures::NOW)
        .await
        .unwrap();
    let document = format!(
        "{{\"pcrs\":{{\"sha256\":{{\"0\":[\"{}\"]}}}}}}",
        "ab".repeat(32)
    );
    let status = admin
        .approve_gateway(v1::ApproveGatewayRequest {
            gateway_id: id.clone(),
            statement: server.state("default", 1, &document),
            document,
            quote_sha256: quote,
            reason: String::new(),
        })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let record = store.gateway(&fixtures::id(1)).await.unwrap().unwrap();
    assert_eq!(record.lifecycle.name(), "suspended");

    // Nothing is learned from one that is never to be trusted again.
    let revoked = fixtures::id(1);
    let _ = store
        .revoke(
            &revoked,
            RevocationReason::Unspecified,
            "",
            "x",
            fixtures::NOW,
        )
        .await
        .unwrap();
    let status = admin
        .propose_reference_values(propose(&id, false))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
}

/// PCR 10 changes with each file that is measured: no value of it becomes a
/// reference value by the approval of a drift, and a drift beside it can be
/// approved.
#[tokio::test]
async fn no_approval_makes_a_value_of_pcr_10_good() {
    let server = TestServer::start().await;
    let mut admin = server.admin().await;
    server.record(1, &server.clients.issue()).await;
    let id = fixtures::id(1).to_string();
    let store = &server.shared.store;
    let mut against = fixtures::contraindicated(1, 2);
    against.quote.values.insert(10, vec![0x10; 32]);
    let _ = store
        .record_contraindication(against.clone(), fixtures::NOW)
        .await
        .unwrap();
    let change = v1::propose_reference_values_request::Change::Replace;
    let propose = v1::ProposeReferenceValuesRequest {
        gateway_id: id.clone(),
        class: String::new(),
        change: change.into(),
        until: 0,
        drift_only: true,
    };
    let proposal = admin
        .propose_reference_values(propose)
        .await
        .unwrap()
        .into_inner();
    let drifted = proposal.drift.as_ref().unwrap().pcrs.iter();
    assert_eq!(drifted.map(|pcr| pcr.index).collect::<Vec<_>>(), [0, 4]);
    let proposed = ReferenceValues::parse(&proposal.document).unwrap();
    assert!(proposed.accepted(HashAlg::Sha256, 4).is_some());
    assert!(proposed.accepted(HashAlg::Sha256, 10).is_none());

    let approve = |document: String| v1::ApproveGatewayRequest {
        gateway_id: id.clone(),
        statement: server.state("default", 1, &document),
        document,
        quote_sha256: proposal.quote_sha256.clone(),
        reason: "update".to_owned(),
    };
    // Somebody else's proposal.
    let with_pcr_10 = ReferenceValues::changed(
        None,
        HashAlg::Sha256,
        &against.quote.values,
        Change::Add,
        UnixTime::from_seconds(fixtures::NOW),
    )
    .unwrap();
    let status = admin
        .approve_gateway(approve(with_pcr_10.canonical_json()))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("PCR 10"), "{status}");
    admin
        .approve_gateway(approve(proposal.document.clone()))
        .await
        .unwrap();
    let record = store.gateway(&fixtures::id(1)).await.unwrap().unwrap();
    assert_eq!(record.lifecycle.name(), "active");
}

#[tokio::test]
async fn endorsements_are_imported_and_each_file_is_told_of() {
    let server = TestServer::start().await;
    let mut admin = server.admin().await;
    let good = server.clients.pem.clone().into_bytes();
    let bad = |certificates| v1::ImportEndorsementsRequest {
        certificates,
        as_roots: false,
    };
    for nothing in [vec![], vec![vec![0x30, 0x01]], vec![b"text".to_vec()]] {
        let status = admin.import_endorsements(bad(nothing)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    assert!(server.shared.store.anchors().await.unwrap().is_empty());
    let request = v1::ImportEndorsementsRequest {
        certificates: vec![vec![0x30, 0x01], good],
        as_roots: false,
    };
    let done = admin
        .import_endorsements(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (done.roots, done.intermediates, done.already_known),
        (1, 0, 0)
    );
    assert_eq!((done.crls, done.refused), (0, 1));
    let told: Vec<_> = (done.files.iter())
        .map(|f| {
            let outcomes: Vec<_> = f.items.iter().map(|i| i.outcome.as_str()).collect();
            (f.reason.as_str(), outcomes)
        })
        .collect();
    assert_eq!(told, [("neither PEM nor DER", vec![]), ("", vec!["new"])]);
    let done = admin
        .import_endorsements(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!((done.roots, done.already_known), (0, 1));
}

fn fingerprints(of: &[u8]) -> String {
    let listed: Vec<_> = of
        .iter()
        .map(|n| serde_json::json!({ "spki_sha256": hex::encode([*n; 32]) }))
        .collect();
    serde_json::json!({ "format": "holdfast-endorsements-1", "fingerprints": listed }).to_string()
}

#[tokio::test]
async fn only_the_owners_next_endorsement_bundle_is_taken() {
    let server = TestServer::start().await;
    let mut admin = server.admin().await;
    let state = |document: &str, version, kind| {
        let bytes = document.as_bytes();
        let rng = SystemRandom::new();
        server.owner.state(kind, "*", version, bytes, &rng).unwrap()
    };
    let request = |document: &str, statement| v1::ApplyEndorsementsRequest {
        document: document.to_owned(),
        statement,
    };
    let (one, two) = (fingerprints(&[1]), fingerprints(&[1, 2]));
    let kind = Kind::Endorsements;
    for (bad, code) in [
        (request(&one, Vec::new()), Code::PermissionDenied),
        (
            request(&one, state(&one, 1, Kind::Policy)),
            Code::PermissionDenied,
        ),
        (request(&two, state(&one, 1, kind)), Code::PermissionDenied),
        (
            request(&one, state(&one, 2, kind)),
            Code::FailedPrecondition,
        ),
        (request("{}", state("{}", 1, kind)), Code::InvalidArgument),
    ] {
        let status = admin.apply_endorsements(bad).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
    }
    let request_list = || v1::ListEndorsementsRequest {};
    let none = admin.list_endorsements(request_list()).await.unwrap();
    assert_eq!(none.into_inner().bundle, None);
    for (version, document, changed) in [(1, &one, true), (1, &one, false), (2, &two, true)] {
        let request = request(document, state(document, version, kind));
        let done = admin
            .apply_endorsements(request)
            .await
            .unwrap()
            .into_inner();
        assert_eq!((done.version, done.changed), (version, changed));
    }
    let now = admin.list_endorsements(request_list()).await.unwrap();
    let now = now.into_inner();
    assert_eq!(now.bundle.unwrap().version, 2);
    assert_eq!(now.fingerprints, 2);
    // Back to the first, or another one as the second: a rollback.
    for (version, document) in [(1, &one), (2, &one)] {
        let request = request(document, state(document, version, kind));
        let status = admin.apply_endorsements(request).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    }
}

#[tokio::test]
async fn gateways_are_listed_in_pages_and_changed_by_id() {
    let server = TestServer::start().await;
    for n in 1..=3 {
        server.record(n, &server.clients.issue()).await;
    }
    let mut admin = server.admin().await;
    let page = |page_token: String| v1::ListGatewaysRequest {
        page_size: 2,
        page_token,
    };
    let first = admin
        .list_gateways(page(String::new()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first.gateways.len(), 2);
    let rest = admin
        .list_gateways(page(first.next_page_token))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (rest.gateways.len(), rest.next_page_token.as_str()),
        (1, "")
    );
    let too_large = v1::ListGatewaysRequest {
        page_size: 1001,
        page_token: String::new(),
    };
    let status = admin.list_gateways(too_large).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);

    let id = fixtures::id(1).to_string();
    let revoke = |gateway_id: &str, reason: &str| v1::RevokeGatewayRequest {
        gateway_id: gateway_id.to_owned(),
        reason: reason.to_owned(),
        ..v1::RevokeGatewayRequest::default()
    };
    let status = admin.revoke_gateway(revoke("../x", "")).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let status = admin
        .revoke_gateway(revoke(&id, "two\nlines"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let status = admin
        .revoke_gateway(revoke(&fixtures::id(9).to_string(), ""))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let done = admin
        .revoke_gateway(revoke(&id, "stolen"))
        .await
        .unwrap()
        .into_inner();
    let gateway = done.gateway.unwrap();
    assert_eq!(
        (gateway.state.as_str(), gateway.state_reason.as_str()),
        ("revoked", "stolen")
    );
    let resume = v1::ResumeGatewayRequest {
        gateway_id: id,
        reason: String::new(),
    };
    let status = admin.resume_gateway(resume).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let audit = server.shared.store.audit(2).await.unwrap();
    assert_eq!(
        (audit[0].action.as_str(), audit[0].subject.as_str()),
        ("refused", "ResumeGateway")
    );
    assert_eq!(audit[1].action, "revoked");
    assert!(audit.iter().all(|entry| entry.actor.starts_with("uid:")));
}
