//! A19: every RPC × every identity over real connections, deny by default; and
//! the LDevID of one gateway used for another. (Roles of people come with the
//! admin door over mTLS; here the admin service is not on the wire at all.)

use std::path::Path;

use anyhow::{Context, Result, ensure};
use holdfast_attester::attestation;
use holdfast_attester::client::{Connection, Identity, Trust, connect};
use holdfast_attester::state::{Enrolled, Server};
use holdfast_integration::scene::{dial, enrol, ready_to_attest};
use holdfast_integration::{Gateway, Refusal, Scene, oracle};
use holdfast_proto::grpc::v1;
use holdfast_proto::grpc::v1::admin_client::AdminClient;
use holdfast_proto::grpc::v1::attestation_client::AttestationClient;
use holdfast_proto::grpc::v1::enrollment_client::EnrollmentClient;
use tonic::{Code, Status};

/// Refused before anything of the message was looked at.
const UNIMPLEMENTED: &str = "no such service on the wire";

/// What each RPC answers to an identity, with a message that holds nothing.
async fn every_rpc(connection: &Connection) -> Vec<(&'static str, Result<(), Status>)> {
    let channel = || connection.channel.clone();
    let (mut enrollment, mut attestation, mut admin) = (
        EnrollmentClient::new(channel()),
        AttestationClient::new(channel()),
        AdminClient::new(channel()),
    );
    macro_rules! calls {
        ($($client:ident . $call:ident ( $message:expr )),+ $(,)?) => {
            vec![$((stringify!($call), $client.$call($message).await.map(drop))),+]
        };
    }
    calls![
        enrollment.request_challenge(v1::RequestChallengeRequest::default()),
        enrollment.enroll(v1::EnrollRequest::default()),
        enrollment.request_recovery_challenge(v1::RequestChallengeRequest::default()),
        enrollment.recover(v1::EnrollRequest::default()),
        attestation.request_attestation_challenge(v1::RequestAttestationChallengeRequest {}),
        attestation.attest(v1::AttestRequest::default()),
        attestation.get_status(v1::GetStatusRequest {}),
        admin.create_token(v1::CreateTokenRequest::default()),
        admin.import_endorsements(v1::ImportEndorsementsRequest::default()),
        admin.list_endorsements(v1::ListEndorsementsRequest {}),
        admin.import_reference_values(v1::ImportReferenceValuesRequest::default()),
        admin.list_gateways(v1::ListGatewaysRequest::default()),
        admin.get_gateway(v1::GetGatewayRequest::default()),
        admin.suspend_gateway(v1::SuspendGatewayRequest::default()),
        admin.resume_gateway(v1::ResumeGatewayRequest::default()),
        admin.revoke_gateway(v1::RevokeGatewayRequest::default()),
    ]
}

const ENROLLMENT: [&str; 4] = [
    "request_challenge",
    "enroll",
    "request_recovery_challenge",
    "recover",
];
const ATTESTATION: [&str; 3] = ["request_attestation_challenge", "attest", "get_status"];

/// `attestation` is what the three Attestation RPCs must meet; `None` for the
/// one identity that they are for.
async fn table(who: &str, connection: &Connection, attestation: Option<Refusal>) -> Result<()> {
    for (call, answer) in every_rpc(connection).await {
        let what = format!("{call} by {who}");
        if ENROLLMENT.contains(&call) {
            // For everybody, and an empty message gets nobody anywhere.
            let status = answer.err().with_context(|| format!("{what}: answered"))?;
            ensure!(status.code() == Code::InvalidArgument, "{what}: {status:?}");
        } else if ATTESTATION.contains(&call) {
            match (attestation, answer) {
                (Some(refusal), Err(status)) => refusal.expect(&status).context(what)?,
                (None, Err(status)) if call == "attest" => {
                    ensure!(status.code() == Code::InvalidArgument, "{what}: {status:?}");
                }
                (None, Ok(())) => {}
                (_, answer) => anyhow::bail!("{what}: {answer:?}"),
            }
        } else {
            let status = answer.err().with_context(|| format!("{what}: answered"))?;
            ensure!(
                status.code() == Code::Unimplemented,
                "{what}: {UNIMPLEMENTED}, but {status:?}"
            );
        }
    }
    Ok(())
}

async fn as_gateway(gateway: &Gateway, enrolled: &Enrolled) -> Result<Connection> {
    Ok(attestation::exchange::connect(gateway.tpm(), enrolled).await?)
}

#[tokio::test]
async fn adv_a19_every_rpc_by_every_identity() -> Result<()> {
    let scene = Scene::new()?;
    table(
        "nobody",
        &dial(&scene.deployment.bundle()?).await?,
        Some(Refusal::NO_LDEVID),
    )
    .await?;

    let first = scene.enrol().await?;
    table(
        "an active gateway",
        &as_gateway(&scene.gateway, &first).await?,
        None,
    )
    .await?;

    // The LDevID before the last one.
    let second = scene.enrol().await?;
    table(
        "a superseded LDevID",
        &as_gateway(&scene.gateway, &first).await?,
        Some(Refusal::LDEVID_NOT_GOOD),
    )
    .await?;

    let id = second.gateway_id.to_string();
    let open_before = as_gateway(&scene.gateway, &second).await?;
    scene.deployment.run(&["gateway", "suspend", &id])?;
    table(
        "a suspended gateway",
        &as_gateway(&scene.gateway, &second).await?,
        Some(Refusal::BLOCKED),
    )
    .await?;
    table(
        "a gateway suspended since it connected",
        &open_before,
        Some(Refusal::BLOCKED),
    )
    .await?;
    scene.deployment.run(&["gateway", "revoke", &id])?;
    table(
        "a revoked gateway",
        &as_gateway(&scene.gateway, &second).await?,
        Some(Refusal::BLOCKED),
    )
    .await?;
    table(
        "a gateway revoked since it connected",
        &open_before,
        Some(Refusal::BLOCKED),
    )
    .await
}

/// The right key, certified by somebody else: it does not get past TLS.
#[tokio::test]
async fn adv_a19_certificate_of_another_ca() -> Result<()> {
    let scene = Scene::new()?;
    let enrolled = scene.enrol().await?;
    let forged = foreign_certificate(scene.deployment.scratch(), &enrolled)?;
    let identity = Identity::new(scene.gateway.tpm(), &enrolled.keys.ldevid, &[forged]);
    let Server {
        address,
        name,
        ca_der,
    } = enrolled.server.clone();
    let trust = Trust {
        server_name: name,
        ca_der,
    };
    // TLS 1.3: the client may learn of the refusal with its first call only.
    if let Ok(connection) = connect(&address, &trust, Some(&identity)).await {
        for (call, answer) in every_rpc(&connection).await {
            ensure!(
                answer.is_err(),
                "{call} was answered to a certificate of another CA"
            );
        }
    }
    table(
        "the LDevID itself",
        &as_gateway(&scene.gateway, &enrolled).await?,
        None,
    )
    .await
}

/// A self-signed CA's certificate for the LDevID key, by OpenSSL.
fn foreign_certificate(folder: &Path, enrolled: &Enrolled) -> Result<Vec<u8>> {
    let path = |name: &str| folder.join(name).display().to_string();
    let spki = enrolled.keys.ldevid.public().to_spki_der()?;
    std::fs::write(path("ldevid.spki"), spki)?;
    let run = |arguments: &str| oracle::run("openssl", arguments.split_whitespace());
    let (spki, key) = (path("ldevid.spki"), path("ldevid.spki.pem"));
    run(&format!(
        "pkey -pubin -inform DER -in {spki} -pubout -out {key}"
    ))?;
    let (ca, ca_key) = (path("foreign.pem"), path("foreign.key"));
    run(&format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=foreign \
         -keyout {ca_key} -out {ca}"
    ))?;
    let (csr, leaf) = (path("foreign.csr"), path("forged.der"));
    run(&format!(
        "req -new -key {ca_key} -subj /CN=gateway -out {csr}"
    ))?;
    run(&format!(
        "x509 -req -in {csr} -CA {ca} -CAkey {ca_key} -force_pubkey {key} -days 1 \
         -outform DER -out {leaf}"
    ))?;
    Ok(std::fs::read(leaf)?)
}

/// A's connection carries what is B's: B's token with B's evidence, and B's
/// token with A's. Neither attests, renews, revokes or shows B (or A).
#[tokio::test]
async fn adv_a19_ldevid_of_a_used_for_b() -> Result<()> {
    let scene = Scene::new()?;
    let a = scene.enrol().await?;
    let other = scene.another_gateway("other")?;
    let b = enrol(&other, &scene.deployment.bundle()?).await?;
    for renew in [false, true] {
        let of_b = ready_to_attest(&other, &b, renew).await?;

        let mut attack = scene.ready_to_attest(&a, renew).await?;
        attack.request = of_b.request.clone();
        scene
            .because(
                "the challenge was made for another gateway",
                scene.assert_attest_refused(attack, Refusal::NOT_AUTHENTIC),
            )
            .await?;

        let mut attack = scene.ready_to_attest(&a, renew).await?;
        attack.request.token = of_b.request.token.clone();
        scene
            .because(
                "the challenge was made for another gateway",
                scene.assert_attest_refused(attack, Refusal::NOT_AUTHENTIC),
            )
            .await?;

        let answer = of_b.send().await?;
        ensure!(answer.verdict.context("verdict")?.affirming, "B afterwards");
    }
    let status = AttestationClient::new(as_gateway(&scene.gateway, &a).await?.channel)
        .get_status(v1::GetStatusRequest {})
        .await?
        .into_inner();
    ensure!(
        status.gateway_id == a.gateway_id.as_bytes(),
        "A was shown another's status"
    );
    Ok(())
}
