//! Every method × every kind of caller (ADVERSARY A19), by the role table
//! itself: an empty message over a real connection, whatever the method.

use tonic::{Code, Status, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};
use tonic_prost::ProstCodec;

use super::*;
use crate::service::roles::{Access, table};

/// What is said where it is a matter of who calls.
const WHO: [&str; 7] = [
    "not-served",
    "no-ldevid",
    "ldevid-not-good",
    "blocked",
    "no-role",
    "role-too-low",
    "operator-not-good",
];

/// Calls `method` with one empty message.
pub(super) async fn call(channel: &Channel, method: &str) -> Result<(), Status> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path = PathAndQuery::try_from(format!("/{method}")).unwrap();
    let message = tonic::Request::new(tokio_stream::once(()));
    let codec = ProstCodec::<(), ()>::default();
    client.streaming(message, path, codec).await.map(drop)
}

pub(super) fn kind(status: &Status) -> &str {
    status
        .metadata()
        .get("holdfast-kind")
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default()
}

/// Calls every method and holds the answer to `expected`: a code and kind, or `None` for whatever the handler says to an empty message, which
/// is never a matter of who calls.
pub(super) async fn hold(
    who: &str,
    channel: &Channel,
    expected: impl Fn(Access) -> Option<(Code, &'static str)>,
) {
    for (method, access) in table() {
        let answer = call(channel, method).await;
        let told = answer.as_ref().err().map(|s| (s.code(), kind(s)));
        match expected(*access) {
            Some(refusal) => assert_eq!(told, Some(refusal), "{method} by {who}"),
            None => {
                let (code, kind) = told.unwrap_or((Code::Ok, ""));
                assert!(!WHO.contains(&kind), "{method} by {who}: {answer:?}");
                assert_ne!(code, Code::Unauthenticated, "{method} by {who}");
                assert_ne!(code, Code::Unimplemented, "{method} by {who}");
            }
        }
    }
}

const NOT_SERVED: Option<(Code, &str)> = Some((Code::Unimplemented, "not-served"));

#[tokio::test]
async fn adv_a19_every_method_by_a_stranger_and_by_a_gateway() {
    let server = TestServer::start().await;
    hold(
        "nobody",
        &server.channel(None).await.0,
        |access| match access {
            Access::Anyone => None,
            Access::Gateway => Some((Code::Unauthenticated, "no-ldevid")),
            Access::Person(_) => NOT_SERVED,
        },
    )
    .await;

    let forged = server.clients.issue();
    hold(
        "an LDevID that was never recorded",
        &server.channel(Some(&forged)).await.0,
        |access| match access {
            Access::Anyone => None,
            Access::Gateway => Some((Code::Unauthenticated, "ldevid-not-good")),
            Access::Person(_) => NOT_SERVED,
        },
    )
    .await;

    let identity = server.clients.issue();
    server.record(1, &identity).await;
    hold(
        "a gateway",
        &server.channel(Some(&identity)).await.0,
        |access| match access {
            Access::Anyone | Access::Gateway => None,
            Access::Person(_) => NOT_SERVED,
        },
    )
    .await;
}

#[tokio::test]
async fn adv_a19_every_method_by_the_verifiers_own_user() {
    let server = TestServer::start().await;
    hold(
        "the own user",
        &server.admin_channel().await,
        |access| match access {
            Access::Anyone | Access::Gateway => NOT_SERVED,
            Access::Person(_) => None,
        },
    )
    .await;
}

#[tokio::test]
async fn adv_a19_a_method_without_a_row_is_served_nowhere() {
    let server = TestServer::start().await;
    let network = server.channel(None).await.0;
    let local = server.admin_channel().await;
    for method in [
        "holdfast.v1.Admin/DropEverything",
        "holdfast.v1.Admin/listgateways",
        "x/y",
    ] {
        for channel in [&network, &local] {
            let status = call(channel, method).await.unwrap_err();
            assert_eq!(
                (status.code(), kind(&status)),
                (Code::Unimplemented, "not-served"),
                "{method}"
            );
        }
    }
}

/// The role of a row, as the caller of `role` meets it on the door for
/// operators.
fn by_role(role: Role) -> impl Fn(Access) -> Option<(Code, &'static str)> {
    move |access| match access {
        Access::Anyone | Access::Gateway => NOT_SERVED,
        Access::Person(needed) if needed <= role => None,
        Access::Person(_) => Some((Code::PermissionDenied, "role-too-low")),
    }
}

#[tokio::test]
async fn adv_a19_every_method_by_every_role() {
    let server = TestServer::start().await;
    for role in Role::ALL {
        let identity = server.operator(role, role.name()).await;
        let channel = server.operators_channel(&identity).await.unwrap();
        hold(role.name(), &channel, by_role(role)).await;
    }
    // Those of the same names are not served where gateways call.
    let rows = server.shared.store.audit_page(None, 1000).await.unwrap();
    let refused = rows
        .iter()
        .filter(|row| row.entry.action == "refused" && row.entry.actor.contains("cert:viewer/"))
        .count();
    assert!(
        refused > 10,
        "acts beyond the role are on record: {refused}"
    );
}

#[tokio::test]
async fn adv_a19_every_method_by_an_operator_that_is_not_on_record_revoked_or_expired() {
    let server = TestServer::start().await;
    let not_good = |access| match access {
        Access::Anyone | Access::Gateway => NOT_SERVED,
        Access::Person(_) => Some((Code::Unauthenticated, "operator-not-good")),
    };
    let unknown = server.operators.issue_operator("admin", "mallory");
    let channel = server.operators_channel(&unknown).await.unwrap();
    hold("an unrecorded certificate", &channel, not_good).await;

    let identity = server.operator(Role::Admin, "alice").await;
    let channel = server.operators_channel(&identity).await.unwrap();
    call(&channel, "holdfast.v1.Admin/ListGateways")
        .await
        .unwrap();
    let serial = server.shared.store.operators(0, 10).await.unwrap()[0]
        .serial
        .clone();
    server
        .shared
        .store
        .revoke_operator(&serial, "left", "test", fixtures::NOW)
        .await
        .unwrap();
    // On the open connection.
    hold("a revoked operator", &channel, not_good).await;
    let again = server.operators_channel(&identity).await.unwrap();
    hold("a revoked operator", &again, not_good).await;
}

/// `method` with one empty message and a deadline of a nanosecond, by a client
/// that does not keep it itself.
async fn in_a_nanosecond<S>(stream: S, method: &str) -> String
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let stream = TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = http::Request::post(format!("http://verifier.test/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "1n")
        .body(http_body_util::Full::new(hyper::body::Bytes::from_static(
            &[0; 5],
        )))
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let status = answer.headers().get("grpc-status").unwrap();
    status.to_str().unwrap().to_owned()
}

/// Who gives up before he is refused is on record all the same.
#[tokio::test]
async fn adv_a19_an_act_that_is_refused_is_recorded_also_where_its_caller_has_gone() {
    // An id that is none: refused by the handler, where not for the role.
    const METHOD: &str = "holdfast.v1.Admin/RevokeGateway";
    let server = TestServer::start().await;
    for (role, name) in [(Role::Viewer, "bob"), (Role::Admin, "alice")] {
        let identity = server.operator(role, name).await;
        let config = server.client_config(Some(&identity), &[&rustls::version::TLS13]);
        let stream = server.operators_handshake(config).await.unwrap();
        in_a_nanosecond(stream, METHOD).await;
    }
    let socket = server.dir.path().join("admin.sock");
    let stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    in_a_nanosecond(stream, METHOD).await;

    let mut actors = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let rows = server.shared.store.audit_page(None, 1000).await.unwrap();
        actors = rows
            .into_iter()
            .filter(|row| row.entry.action == "refused" && row.entry.subject == "RevokeGateway")
            .map(|row| row.entry.actor)
            .collect();
        if actors.len() == 3 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("on record are only {actors:?}");
}

/// TLS 1.3: a client learns that its certificate is refused with its first
/// read.
async fn alert(server: &TestServer, identity: Option<&Identity>) -> String {
    use tokio::io::AsyncReadExt as _;
    let mut stream = server
        .operators_handshake(server.client_config(identity, &[&rustls::version::TLS13]))
        .await
        .unwrap();
    // The server begins HTTP/2 with its settings, or else ends.
    let mut byte = [0; 1];
    match stream.read_exact(&mut byte).await {
        Err(error) => error.to_string(),
        Ok(_) => "let in".to_owned(),
    }
}

#[tokio::test]
async fn adv_a19_no_certificate_an_ldevid_and_another_cas_end_in_the_handshake() {
    let server = TestServer::start().await;
    let ldevid = server.clients.issue();
    server.record(1, &ldevid).await;
    let foreign = TestCa::new().issue_operator("admin", "mallory");
    for (who, identity, expected) in [
        ("nobody", None, "CertificateRequired"),
        ("a gateway's LDevID", Some(&ldevid), "UnknownCA"),
        ("a certificate of another CA", Some(&foreign), "UnknownCA"),
        (
            "an expired certificate",
            Some(&server.operators.expired_operator()),
            "CertificateExpired",
        ),
    ] {
        let told = alert(&server, identity).await;
        assert!(told.contains(expected), "{who}: {told}");
    }
    let good = server.operator(Role::Viewer, "bob").await;
    assert_eq!(alert(&server, Some(&good)).await, "let in");
}

#[tokio::test]
async fn adv_a19_an_operators_certificate_is_no_gateways() {
    let server = TestServer::start().await;
    let identity = server.operator(Role::Admin, "alice").await;
    let mut stream = server
        .handshake(server.client_config(Some(&identity), &[&rustls::version::TLS13]))
        .await
        .unwrap();
    let mut byte = [0; 1];
    let error = tokio::io::AsyncReadExt::read_exact(&mut stream, &mut byte)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("UnknownCA"), "{error}");
}
