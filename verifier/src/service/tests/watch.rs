//! The stream of events: what the store has, at the consumer's pace.

use std::time::Duration;

use holdfast_proto::grpc::v1::{self, WatchRequest};
use tokio_stream::StreamExt as _;
use tonic::Code;

use super::matrix::kind;
use super::*;
use crate::{
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

#[test]
fn a_watcher_needs_what_the_table_says() {
    let row = |(method, _): &&(&str, Access)| *method == "holdfast.v1.Admin/Watch";
    let (_, access) = table().iter().find(row).unwrap();
    assert_eq!(*access, Access::Person(Role::Viewer));
}
