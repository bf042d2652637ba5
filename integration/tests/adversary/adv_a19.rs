//! A19: every RPC × every identity over real connections, deny by default; and
//! the LDevID of one gateway used for another. (Roles of people come with the
//! admin door over mTLS; here the admin service is not on the wire at all.)

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use holdfast_attester::attestation;
use holdfast_attester::client::{ClientError, Connection, Identity, connect_to};
use holdfast_attester::state::Enrolled;
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

    // The LDevID before the last one, and then that of a gateway in disgrace:
    // neither passes the handshake, and a connection that is open does nothing
    // more, and is soon no more.
    let open_before = as_gateway(&scene.gateway, &first).await?;
    let second = scene.enrol().await?;
    nothing(
        "a superseded LDevID, connected before",
        &open_before,
        Refusal::LDEVID_NOT_GOOD,
    )
    .await?;
    refused_by_tls("a superseded LDevID", &scene, &first).await?;

    let id = second.gateway_id.to_string();
    let open_before = as_gateway(&scene.gateway, &second).await?;
    scene.deployment.run(&["gateway", "suspend", &id])?;
    nothing(
        "a gateway suspended since it connected",
        &open_before,
        Refusal::BLOCKED,
    )
    .await?;
    refused_by_tls("a suspended gateway", &scene, &second).await?;

    scene.deployment.run(&["gateway", "resume", &id])?;
    let third = scene.enrol().await?;
    let open_before = as_gateway(&scene.gateway, &third).await?;
    scene.deployment.run(&["gateway", "revoke", &id])?;
    nothing(
        "a gateway revoked since it connected",
        &open_before,
        Refusal::BLOCKED,
    )
    .await?;
    refused_by_tls("a revoked gateway", &scene, &third).await
}

/// Whatever it calls is refused: as `attestation` where that needs an LDevID,
/// and else because it comes with one that is not good. Or the connection is
/// gone: it is cut within a second.
async fn nothing(who: &str, connection: &Connection, attestation: Refusal) -> Result<()> {
    for (call, answer) in every_rpc(connection).await {
        let what = format!("{call} by {who}");
        let status = answer.err().with_context(|| format!("{what}: answered"))?;
        let expected = if ATTESTATION.contains(&call) {
            attestation
        } else if ENROLLMENT.contains(&call) {
            Refusal::LDEVID_NOT_GOOD
        } else {
            Refusal::new(Code::Unimplemented, "not-served")
        };
        expected.expect_or_cut(&status).context(what)?;
    }
    Ok(())
}

async fn refused_by_tls(who: &str, scene: &Scene, enrolled: &Enrolled) -> Result<()> {
    // TLS 1.3: the client may learn of the refusal with its first call only.
    let refused = match connect_as(scene, enrolled, &enrolled.ldevid_chain).await {
        Err(error) => error.to_string(),
        Ok(connection) => {
            let answers = every_rpc(&connection).await;
            ensure!(
                answers.iter().all(|(_, a)| a.is_err()),
                "{who}: {answers:?}"
            );
            let gone = Status::unavailable("the connection ended");
            connection.failed("GetStatus", gone).to_string()
        }
    };
    ensure!(refused.contains("CertificateRevoked"), "{who}: {refused}");
    Ok(())
}

/// The right key, certified by somebody else: it does not get past TLS. Nor
/// does an LDevID of the owner's own CA that has expired.
#[tokio::test]
async fn adv_a19_certificate_of_another_ca_or_expired() -> Result<()> {
    let scene = Scene::new()?;
    let enrolled = scene.enrol().await?;
    let issuer = Issuer::foreign(scene.deployment.scratch())?;
    let foreign = issuer.certify(&enrolled, "1")?;
    let expired = Issuer::own(&scene).certify(&enrolled, "-1")?;
    for (who, leaf, alert) in [
        ("another CA", foreign, "UnknownCA"),
        ("an expired certificate", expired, "CertificateExpired"),
    ] {
        let chain = [vec![leaf], enrolled.ldevid_chain[1..].to_vec()].concat();
        // TLS 1.3: the client may learn of the refusal with its first call only.
        let refused = match connect_as(&scene, &enrolled, &chain).await {
            Err(error) => error.to_string(),
            Ok(connection) => {
                let answers = every_rpc(&connection).await;
                ensure!(
                    answers.iter().all(|(_, a)| a.is_err()),
                    "{who}: {answers:?}"
                );
                let gone = Status::unavailable("the connection ended");
                connection.failed("GetStatus", gone).to_string()
            }
        };
        ensure!(refused.contains(alert), "{who}: {refused}");
    }
    table(
        "the LDevID itself",
        &as_gateway(&scene.gateway, &enrolled).await?,
        None,
    )
    .await
}

/// Issued by the owner's own CA for the right key, in time, and never recorded:
/// what a thief of the issuing key would make. TLS lets it in; no call does.
#[tokio::test]
async fn adv_a19_certificate_that_was_never_recorded() -> Result<()> {
    let scene = Scene::new()?;
    let enrolled = scene.enrol().await?;
    let leaf = Issuer::own(&scene).certify(&enrolled, "1")?;
    let chain = [vec![leaf], enrolled.ldevid_chain[1..].to_vec()].concat();
    table(
        "a certificate that was never recorded",
        &connect_as(&scene, &enrolled, &chain).await?,
        Some(Refusal::LDEVID_NOT_GOOD),
    )
    .await?;
    table(
        "the LDevID itself",
        &as_gateway(&scene.gateway, &enrolled).await?,
        None,
    )
    .await
}

/// Mutual TLS with the gateway's LDevID key and this chain.
async fn connect_as(
    scene: &Scene,
    enrolled: &Enrolled,
    chain: &[Vec<u8>],
) -> Result<Connection, ClientError> {
    let identity = Identity::new(scene.gateway.tpm(), &enrolled.keys.ldevid, chain);
    connect_to(&enrolled.server, Some(&identity)).await
}

/// A CA at OpenSSL's hand.
struct Issuer {
    folder: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Issuer {
    /// Nobody's.
    fn foreign(folder: &Path) -> Result<Self> {
        let issuer = Self {
            folder: folder.to_owned(),
            certificate: folder.join("foreign.pem"),
            key: folder.join("foreign.key"),
        };
        openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=foreign \
             -keyout {} -out {}",
            issuer.key.display(),
            issuer.certificate.display()
        ))?;
        Ok(issuer)
    }

    /// The owner's, out of the verifier's directory.
    fn own(scene: &Scene) -> Self {
        Self {
            folder: scene.deployment.scratch().to_owned(),
            certificate: scene.deployment.dir().join("issuing-ca.pem"),
            key: scene.deployment.dir().join("issuing-ca.key.pem"),
        }
    }

    /// A certificate for the LDevID key that ends `days` from now; DER.
    fn certify(&self, enrolled: &Enrolled, days: &str) -> Result<Vec<u8>> {
        let path = |name: &str| self.folder.join(name).display().to_string();
        std::fs::write(
            path("ldevid.spki"),
            enrolled.keys.ldevid.public().to_spki_der()?,
        )?;
        std::fs::write(
            path("ldevid.ext"),
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
             extendedKeyUsage=clientAuth\n",
        )?;
        let (spki, key) = (path("ldevid.spki"), path("ldevid.spki.pem"));
        openssl(&format!(
            "pkey -pubin -inform DER -in {spki} -pubout -out {key}"
        ))?;
        let (ca, ca_key) = (self.certificate.display(), self.key.display());
        let (csr, leaf, ext) = (path("ldevid.csr"), path("leaf.der"), path("ldevid.ext"));
        openssl(&format!(
            "req -new -key {ca_key} -subj /CN=gateway -out {csr}"
        ))?;
        openssl(&format!(
            "x509 -req -in {csr} -CA {ca} -CAkey {ca_key} -force_pubkey {key} -days {days} \
             -set_serial 77 -extfile {ext} -outform DER -out {leaf}"
        ))?;
        Ok(std::fs::read(leaf)?)
    }
}

fn openssl(arguments: &str) -> Result<()> {
    oracle::run("openssl", arguments.split_whitespace()).map(drop)
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
