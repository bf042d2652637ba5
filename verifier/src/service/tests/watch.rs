//! The stream of events: what the store has, at the consumer's pace.

use std::time::Duration;

use holdfast_proto::grpc::v1::{self, WatchRequest};
use tokio_stream::StreamExt as _;
use tonic::Code;

use super::matrix::kind;
use super::*;
use crate::{
    reference_values::allow_list::AllowListBuilder,
    service::{
        admin::AdminService,
        caller::Caller,
        roles::{Access, table},
    },
    store::SuspensionKind,
};

fn service(server: &TestServer) -> AdminService {
    AdminService::new(Arc::clone(&server.shared), server.address)
}

fn after(sequence: u64) -> WatchRequest {
    WatchRequest {
        after_sequence: Some(sequence),
        gateway_id: String::new(),
    }
}

fn caller(name: &str) -> Caller {
    Caller::local(name, Role::Viewer)
}

/// Gateway 1, and this many suspensions, each lifted.
async fn with_events(pairs: u32) -> TestServer {
    let server = TestServer::start().await;
    server.record(1, &server.clients.issue()).await;
    let (store, id, now) = (&server.shared.store, fixtures::id(1), fixtures::NOW);
    for _ in 0..pairs {
        let kind = SuspensionKind::Operator;
        store.suspend(&id, kind, "", "test", now).await.unwrap();
        store.resume(&id, "", "test", now).await.unwrap();
    }
    server
}

#[tokio::test]
async fn adv_a21_a_consumer_that_takes_nothing_is_told_to_come_again() {
    let server = with_events(50).await;
    let patience = Duration::from_millis(100);
    let mut stream = service(&server)
        .watch_with(&caller("uid:0"), after(0), patience)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    // What waited is still there, in order, and then the reason.
    let mut last = 0;
    let status = loop {
        match stream.next().await.unwrap() {
            Ok(answer) => {
                let sequence = answer.event.unwrap().sequence;
                assert_eq!(sequence, last + 1);
                last = sequence;
            }
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(
        status.metadata().get("holdfast-kind").unwrap(),
        "slow-consumer"
    );
    assert!(status.message().contains(&format!("after {last}")));
    assert!((64..101).contains(&last), "{last}");
    assert!(stream.next().await.is_none());
    // And it goes on from there.
    let mut stream = service(&server)
        .watch_with(&caller("uid:0"), after(last), patience)
        .await
        .unwrap();
    let next = stream.next().await.unwrap().unwrap();
    assert_eq!(next.event.unwrap().sequence, last + 1);
}

#[tokio::test]
async fn what_was_swept_is_said_to_be_gone() {
    let server = with_events(2).await;
    let swept = server.shared.store.sweep_events(fixtures::NOW + 1).await;
    assert_eq!(swept.unwrap(), 5);
    let service = service(&server);
    let patience = Duration::from_secs(1);
    for gone in [1, 4, 6] {
        let refusal = service
            .watch_with(&caller("uid:0"), after(gone), patience)
            .await
            .err();
        assert!(
            matches!(
                refusal,
                Some(Refusal::EventsGone {
                    oldest: 6,
                    newest: 5,
                    ..
                })
            ),
            "{gone}: {refusal:?}"
        );
    }
    for goes_on in [0, 5] {
        assert!(
            service
                .watch_with(&caller("uid:0"), after(goes_on), patience)
                .await
                .is_ok()
        );
    }
}

/// Swept while the consumer is behind: of one gateway too it is told, and what
/// others did is no gap.
#[tokio::test]
async fn a_stream_of_one_gateway_is_told_of_a_gap() {
    let server = with_events(100).await;
    server.record(2, &server.clients.issue()).await;
    let service = service(&server);
    let store = &server.shared.store;
    let of = |n| WatchRequest {
        gateway_id: fixtures::id(n).to_string(),
        ..after(0)
    };
    let patience = Duration::from_secs(30);
    let mut behind = service
        .watch_with(&caller("uid:0"), of(1), patience)
        .await
        .unwrap();
    let mut quiet = service
        .watch_with(&caller("uid:0"), of(2), patience)
        .await
        .unwrap();
    quiet.next().await.unwrap().unwrap();
    // The one has what it can hold, the other all that there is.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    store.sweep_events(fixtures::NOW + 1).await.unwrap();
    for n in [1, 2] {
        let (id, kind_of) = (fixtures::id(n), SuspensionKind::Operator);
        let later = fixtures::NOW + 2;
        store
            .suspend(&id, kind_of, "", "test", later)
            .await
            .unwrap();
    }
    let mut last = 0;
    let status = loop {
        match behind.next().await.unwrap() {
            Ok(answer) => {
                let event = answer.event.unwrap();
                assert_eq!(event.number, last + 1, "a gap, and nothing said");
                last = event.number;
            }
            Err(status) => break status,
        }
    };
    assert_eq!(kind(&status), "events-gone");
    let next = quiet.next().await.unwrap().unwrap().event.unwrap();
    assert_eq!(next.kind, "gateway.suspended");
}

#[tokio::test]
async fn adv_a21_streams_are_counted_by_caller_and_in_all() {
    let server = with_events(0).await;
    let service = service(&server);
    let patience = Duration::from_secs(1);
    let mut open = Vec::new();
    for n in 0..32 {
        let caller = caller(&format!("uid:{}", n / 8));
        let stream = service.watch_with(&caller, after(0), patience).await;
        open.push(stream.unwrap());
        let refusal = service.watch_with(&caller, after(0), patience).await;
        match (n % 8, refusal) {
            (7, Err(Refusal::Overloaded("the caller has 8 streams open already"))) => {}
            (7, other) => panic!("{n}: {:?}", other.err()),
            // Dropped: its place is free again once its task has seen that.
            (_, stream) => {
                drop(stream);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    let another = caller("cert:bob/01");
    let refusal = service.watch_with(&another, after(0), patience).await.err();
    assert!(
        matches!(
            refusal,
            Some(Refusal::Overloaded("32 streams are open already"))
        ),
        "{refusal:?}"
    );
}

/// The one who is revoked hears nothing of what happens after that, also where
/// he has not yet taken what happened before.
#[tokio::test]
async fn adv_a19_a_revoked_operators_stream_ends_within_a_second() {
    let server = with_events(40).await;
    let identity = server.operator(Role::Viewer, "bob").await;
    let channel = server.operators_channel(&identity).await.unwrap();
    let mut client = v1::admin_client::AdminClient::new(channel);
    let mut stream = client.watch(after(0)).await.unwrap().into_inner();
    for _ in 0..81 {
        stream.message().await.unwrap().unwrap();
    }
    // It goes on while he may: looked at more than once.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let (store, id, now) = (&server.shared.store, fixtures::id(1), fixtures::NOW);
    let kind_of = SuspensionKind::Operator;
    store.suspend(&id, kind_of, "", "test", now).await.unwrap();
    stream.message().await.unwrap().unwrap();

    let serial = store.operators(0, 10).await.unwrap()[0].serial.clone();
    store
        .revoke_operator(&serial, "left", "test", now)
        .await
        .unwrap();
    let began = tokio::time::Instant::now();
    let status = stream.message().await.unwrap_err();
    // One second is promised; this machine may be busy with other tests.
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(
        (status.code(), kind(&status)),
        (Code::Unauthenticated, "operator-not-good")
    );
}

#[tokio::test]
async fn adv_a19_what_waits_for_one_who_is_revoked_is_not_sent() {
    let server = with_events(10).await;
    let identity = server.operator(Role::Viewer, "bob").await;
    let shown = convert::sha256(&identity.der);
    let caller = Caller::of_certificate(&server.shared, Some(shown))
        .await
        .unwrap();
    let patience = Duration::from_secs(30);
    let mut stream = service(&server)
        .watch_with(&caller, after(0), patience)
        .await
        .unwrap();
    stream.next().await.unwrap().unwrap();
    let store = &server.shared.store;
    let serial = store.operators(0, 10).await.unwrap()[0].serial.clone();
    store
        .revoke_operator(&serial, "left", "test", fixtures::NOW)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let status = stream.next().await.unwrap().unwrap_err();
    assert_eq!(kind(&status), "operator-not-good");
    assert!(stream.next().await.is_none());
}

fn allow_list() -> Vec<u8> {
    let mut list = AllowListBuilder::new();
    list.add(b"/usr/bin/tool", HashAlg::Sha256, &[1; 32])
        .unwrap();
    list.finish().unwrap().document().to_vec()
}

/// An upload that goes on over the revocation of who sends it.
#[tokio::test]
async fn adv_a19_an_upload_of_a_revoked_operator_is_refused_at_its_end() {
    let server = with_events(0).await;
    let identity = server.operator(Role::Operator, "bob").await;
    let channel = server.operators_channel(&identity).await.unwrap();
    let mut client = v1::admin_client::AdminClient::new(channel);
    let (chunks, sent) = tokio::sync::mpsc::channel(1);
    let upload = tokio::spawn(async move {
        let sent = tokio_stream::wrappers::ReceiverStream::new(sent);
        client.import_allow_list(sent).await
    });
    let document = allow_list();
    let first = v1::ImportAllowListRequest {
        class: "default".to_owned(),
        statement: server
            .owner
            .state(Kind::AllowList, "default", 1, &document, &server.shared.rng)
            .unwrap(),
        chunk: Vec::new(),
    };
    chunks.send(first).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let store = &server.shared.store;
    let serial = store.operators(0, 10).await.unwrap()[0].serial.clone();
    store
        .revoke_operator(&serial, "left", "test", fixtures::NOW)
        .await
        .unwrap();
    let rest = v1::ImportAllowListRequest {
        chunk: document,
        ..v1::ImportAllowListRequest::default()
    };
    chunks.send(rest).await.unwrap();
    drop(chunks);
    let status = upload.await.unwrap().unwrap_err();
    assert_eq!(kind(&status), "operator-not-good");
    assert_eq!(store.allow_lists(None, 1).await.unwrap(), []);
}

#[test]
fn what_is_asked_again_is_what_the_table_says() {
    for (method, needed) in [
        ("holdfast.v1.Admin/Watch", Role::Viewer),
        ("holdfast.v1.Admin/ImportAllowList", Role::Operator),
    ] {
        let (_, access) = table().iter().find(|row| row.0 == method).unwrap();
        assert_eq!(*access, Access::Person(needed), "{method}");
    }
}
