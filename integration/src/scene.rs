//! A deployment, a gateway that it trusts, and good messages ready to be sent,
//! or to have one thing changed first.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use holdfast_attester::attestation::{self, Reattestation};
use holdfast_attester::client::{Connection, Trust, connect};
use holdfast_attester::enrolment::{self, Enrolment, KeyChoice};
use holdfast_attester::evidence::{self, Challenge, Platform};
use holdfast_attester::state::{Enrolled, Keys};
use holdfast_attester::tpm::Tpm;
use holdfast_proto::binding::quote_extra_data;
use holdfast_proto::bundle::Bundle;
use holdfast_proto::claims::{self, Claims, CoseAlg, Purpose, SignedClaims};
use holdfast_proto::grpc::v1;
use holdfast_proto::grpc::v1::attestation_client::AttestationClient;
use holdfast_proto::grpc::v1::enrollment_client::EnrollmentClient;
use holdfast_proto::tpm::{EccCurve, HashAlg, PcrSelection, PcrSet};
use holdfast_tpm_sim::SimOptions;
use tonic::Status;

use crate::gateway::Gateway;
use crate::refusal::{Record, Refusal};
use crate::{Deployment, TokenOptions};

/// A serving verifier and a booted gateway: the gateway's vendor is endorsed,
/// its boot is the reference for the class `default`.
#[derive(Debug)]
pub struct Scene {
    /// The gateway.
    pub gateway: Gateway,
    /// The owner's side.
    pub deployment: Deployment,
}

impl Scene {
    /// The usual scene.
    ///
    /// # Errors
    /// Where a program is not built, or swtpm is not installed.
    pub fn new() -> Result<Self> {
        Self::with(|_| {}, |configuration| configuration)
    }

    /// A scene with another gateway or configuration. One TPM is here made to
    /// enrol more often in a minute than the default limit on challenges for
    /// one EK allows, so that limit is lifted before `configuration` sees it.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with(
        gateway: impl FnOnce(&mut SimOptions),
        configuration: impl FnOnce(String) -> String,
    ) -> Result<Self> {
        Self::of(
            Deployment::start_with(|text| configuration(for_tests(text)))?,
            gateway,
        )
    }

    /// A scene about a deployment that was made otherwise.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of(deployment: Deployment, gateway: impl FnOnce(&mut SimOptions)) -> Result<Self> {
        let gateway = boot(&deployment, "gateway", gateway)?;
        let described = gateway.sim().describe();
        deployment.import_endorsements(&[&described.vendor_root])?;
        deployment.import_references("default", &described.reference_values)?;
        Ok(Self {
            gateway,
            deployment,
        })
    }

    /// A second gateway by the same vendor.
    ///
    /// # Errors
    /// Where swtpm does not start.
    pub fn another_gateway(&self, name: &str) -> Result<Gateway> {
        boot(&self.deployment, name, |_| {})
    }

    /// A second gateway, changed by `edit`.
    ///
    /// # Errors
    /// Where swtpm does not start.
    pub fn another_gateway_with(
        &self,
        name: &str,
        edit: impl FnOnce(&mut SimOptions),
    ) -> Result<Gateway> {
        boot(&self.deployment, name, edit)
    }

    // ---- enrolment

    /// A good enrolment of the scene's gateway, with its usual keys and a fresh
    /// bundle: everything is done but sending `Enroll`.
    ///
    /// # Errors
    /// Where step 1 fails.
    pub async fn ready_to_enrol(&self) -> Result<ReadyEnrolment> {
        let bundle = self.deployment.bundle()?;
        ready_to_enrol(&self.gateway, bundle, KeyChoice::default()).await
    }

    /// Enrols the scene's gateway as the program does, state directory
    /// included.
    ///
    /// # Errors
    /// Where it is not granted.
    pub async fn enrol(&self) -> Result<Enrolled> {
        let bundle = self.deployment.bundle_with(&TokenOptions::default())?;
        enrol(&self.gateway, &bundle).await
    }

    /// Sends an enrolment in which something is wrong: it must meet `refusal`,
    /// change nothing on record, and leave the bundle good for the honest run,
    /// which is made here, by the same gateway.
    ///
    /// # Errors
    /// Says what was not as it must be.
    pub async fn assert_refused(&self, attack: ReadyEnrolment, refusal: Refusal) -> Result<()> {
        let before = Record::of(&self.deployment)?;
        match attack.send().await {
            Err(status) => refusal.expect(&status)?,
            Ok(answer) => bail!("the attack was answered: {answer:?}"),
        }
        before.unchanged(&self.deployment)?;
        self.assert_good_run(attack.bundle.clone()).await
    }

    /// The same for step 1.
    ///
    /// # Errors
    /// Says what was not as it must be.
    pub async fn assert_challenge_refused(
        &self,
        request: v1::RequestChallengeRequest,
        bundle: Bundle,
        refusal: Refusal,
    ) -> Result<()> {
        let before = Record::of(&self.deployment)?;
        let connection = dial(&bundle).await?;
        match request_challenge(&connection, request).await {
            Err(status) => refusal.expect(&status)?,
            Ok(_) => bail!("a challenge was made"),
        }
        before.unchanged(&self.deployment)?;
        self.assert_good_run(bundle).await
    }

    /// Runs `attack`, in which the verifier must log `cause` as a reason why it
    /// refused: the peer is told the kind alone, and many checks share one.
    ///
    /// # Errors
    /// Those of `attack`; shows what was logged instead.
    pub async fn because<T>(
        &self,
        cause: &str,
        attack: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let before = self.deployment.log().len();
        let done = attack.await.with_context(|| cause.to_owned())?;
        let log = self.deployment.log();
        let refusals: Vec<&str> = log[before..]
            .lines()
            .filter(|line| line.contains("cause="))
            .collect();
        ensure!(
            refusals.iter().any(|line| line.contains(cause)),
            "expected {cause:?} as the cause, the log has {refusals:#?} of {}",
            &log[before..]
        );
        Ok(done)
    }

    /// That the scene's gateway can enrol with `bundle`.
    ///
    /// # Errors
    /// Says why it cannot.
    pub async fn assert_good_run(&self, bundle: Bundle) -> Result<()> {
        let good = ready_to_enrol(&self.gateway, bundle, KeyChoice::default())
            .await
            .context("the good run after the attack")?;
        granted(good.send().await).context("the good run after the attack")?;
        Ok(())
    }

    // ---- attestation

    /// A good re-attestation, with everything done but sending `Attest`.
    ///
    /// # Errors
    /// Where the connection or the challenge fails.
    pub async fn ready_to_attest(
        &self,
        enrolled: &Enrolled,
        renew: bool,
    ) -> Result<ReadyAttestation> {
        ready_to_attest(&self.gateway, enrolled, renew).await
    }

    /// Sends a re-attestation in which something is wrong: it must meet
    /// `refusal` and change nothing on record, and an honest one must be
    /// affirmed afterwards.
    ///
    /// # Errors
    /// Says what was not as it must be.
    pub async fn assert_attest_refused(
        &self,
        attack: ReadyAttestation,
        refusal: Refusal,
    ) -> Result<()> {
        let before = Record::of(&self.deployment)?;
        match attack.send().await {
            Err(status) => refusal.expect(&status)?,
            Ok(answer) => bail!("the attack was answered: {answer:?}"),
        }
        before.unchanged(&self.deployment)?;
        let good = self.ready_to_attest(&attack.enrolled, false).await?;
        let answer = good.send().await?;
        let verdict = answer.verdict.context("no verdict")?;
        ensure!(
            verdict.affirming,
            "the good run after the attack: {:?}",
            verdict.reasons
        );
        Ok(())
    }
}

/// An enrolment that lacks nothing but to be sent on its connection.
#[derive(Debug)]
pub struct ReadyEnrolment {
    /// What admits it.
    pub bundle: Bundle,
    /// Its keys.
    pub enrolment: Enrolment,
    /// What was sent in step 1.
    pub challenge_request: v1::RequestChallengeRequest,
    /// What came back.
    pub challenge: v1::RequestChallengeResponse,
    /// The connection of both steps; the claims hold its exporter.
    pub connection: Connection,
    /// What the platform says.
    pub platform: Platform,
    /// Step 2: good, to be sent or altered.
    pub request: v1::EnrollRequest,
    tpm: Tpm,
}

impl ReadyEnrolment {
    /// Sends [`request`](Self::request).
    ///
    /// # Errors
    /// The refusal.
    pub async fn send(&self) -> Result<v1::EnrollResponse, Status> {
        send_enroll(&self.connection, self.request.clone()).await
    }

    /// The evidence, for changes that need no new signature.
    ///
    /// # Panics
    /// Where an earlier change took it away.
    pub fn evidence(&mut self) -> &mut v1::Evidence {
        self.request
            .evidence
            .as_mut()
            .expect("no change took it away")
    }

    /// Changes the claims, signs them with the LDevID key in the TPM, and
    /// quotes over them: all is good again but for the change.
    ///
    /// # Errors
    /// Those of the TPM.
    pub fn resign_claims(&mut self, change: impl FnOnce(&mut Claims)) -> Result<()> {
        let claims = self.evidence().claims.clone();
        let signed = resign(&self.tpm, self.enrolment.keys(), &claims, change)?;
        self.replace_claims(signed)
    }

    /// Sends these bytes as the claims, quoted over like good ones.
    ///
    /// # Errors
    /// Those of the TPM.
    pub fn replace_claims(&mut self, cose_sign1: Vec<u8>) -> Result<()> {
        self.evidence().claims = cose_sign1;
        let selection = selection(&self.challenge.pcr_selection)?;
        self.requote(&selection, |extra_data| extra_data)
    }

    /// Quotes again, over another selection or with other extra data; PCR
    /// values as the TPM has them.
    ///
    /// # Errors
    /// Those of the TPM.
    pub fn requote(
        &mut self,
        selection: &PcrSelection,
        extra_data: impl FnOnce([u8; 32]) -> [u8; 32],
    ) -> Result<()> {
        let bound = extra_data(quote_extra_data(&self.evidence().claims));
        let quote = self
            .tpm
            .quote(&self.enrolment.keys().ak, selection, bound)?;
        let values = self.tpm.read_pcrs(selection)?;
        let evidence = self.evidence();
        evidence.quote_attest = quote.attest;
        evidence.quote_signature = quote.signature;
        evidence.pcr_values = values
            .into_iter()
            .map(|(index, value)| v1::PcrValue { index, value })
            .collect();
        Ok(())
    }

    /// Collects all evidence again, for a challenge changed by `change`: other
    /// nonce, purpose, exporter or selection.
    ///
    /// # Errors
    /// Those of the TPM.
    pub fn recollect(&mut self, change: impl FnOnce(&mut Challenge)) -> Result<()> {
        let mut asked = Challenge {
            nonce: self.nonce()?,
            selection: selection(&self.challenge.pcr_selection)?,
            exporter: self.connection.exporter,
            purpose: self.enrolment.purpose(),
            known_boot_log: None,
            known_ima: None,
        };
        change(&mut asked);
        let certification = self.request.ldevid_certification.clone().map(|c| {
            holdfast_attester::tpm::Attestation {
                attest: c.attest,
                signature: c.signature,
            }
        });
        self.request.evidence = Some(evidence::collect(
            &self.tpm,
            self.enrolment.keys(),
            self.enrolment.gateway_id(),
            &asked,
            certification.as_ref(),
            &self.platform,
        )?);
        Ok(())
    }

    /// The challenge's nonce.
    ///
    /// # Errors
    /// Where it has not 32 bytes.
    pub fn nonce(&self) -> Result<[u8; 32]> {
        self.challenge
            .nonce
            .as_slice()
            .try_into()
            .context("nonce of the challenge")
    }

    /// The TPM that made it.
    #[must_use]
    pub fn tpm(&self) -> &Tpm {
        &self.tpm
    }

    /// Writes what would be sent as files, as the attester does.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write_evidence(&mut self, folder: &std::path::Path) -> Result<PathBuf> {
        let bank = selection(&self.challenge.pcr_selection)?.hash;
        let (nonce, evidence) = (self.challenge.nonce.clone(), self.evidence().clone());
        let log = self.platform.boot_log.as_deref();
        evidence::write_files(
            folder,
            self.enrolment.ak_public(),
            bank,
            &nonce,
            &evidence,
            log,
        )?;
        Ok(folder.to_path_buf())
    }
}

/// A re-attestation that lacks nothing but to be sent on its connection.
#[derive(Debug)]
pub struct ReadyAttestation {
    /// What is on record.
    pub enrolled: Enrolled,
    /// The keys at work.
    pub reattestation: Reattestation,
    /// The verifier's challenge.
    pub challenge: v1::RequestAttestationChallengeResponse,
    /// Mutual TLS with the LDevID.
    pub connection: Connection,
    /// Good, to be sent or altered.
    pub request: v1::AttestRequest,
}

impl ReadyAttestation {
    /// Sends [`request`](Self::request).
    ///
    /// # Errors
    /// The refusal.
    pub async fn send(&self) -> Result<v1::AttestResponse, Status> {
        AttestationClient::new(self.connection.channel.clone())
            .attest(self.request.clone())
            .await
            .map(tonic::Response::into_inner)
    }
}

// ---- the steps, for scenes of another kind

/// Connects to a bundle's verifier, without a client certificate.
///
/// # Errors
/// Where the connection fails.
pub async fn dial(bundle: &Bundle) -> Result<Connection> {
    let trust = Trust {
        server_name: bundle.server_name.clone(),
        ca_der: bundle.server_ca_der.clone(),
    };
    Ok(connect(&bundle.server, &trust, None).await?)
}

/// Sends step 1.
///
/// # Errors
/// The refusal.
pub async fn request_challenge(
    connection: &Connection,
    request: v1::RequestChallengeRequest,
) -> Result<v1::RequestChallengeResponse, Status> {
    EnrollmentClient::new(connection.channel.clone())
        .request_challenge(request)
        .await
        .map(tonic::Response::into_inner)
}

/// Sends step 2.
///
/// # Errors
/// The refusal.
pub async fn send_enroll(
    connection: &Connection,
    request: v1::EnrollRequest,
) -> Result<v1::EnrollResponse, Status> {
    EnrollmentClient::new(connection.channel.clone())
        .enroll(request)
        .await
        .map(tonic::Response::into_inner)
}

/// A good enrolment of `gateway`, with everything done but sending `Enroll`.
///
/// # Errors
/// Where step 1 fails.
pub async fn ready_to_enrol(
    gateway: &Gateway,
    bundle: Bundle,
    choice: KeyChoice,
) -> Result<ReadyEnrolment> {
    let enrolment = gateway.enrolment(choice)?;
    ready_by(gateway, bundle, enrolment, true).await
}

/// The same with keys that are made already; `admitted` shows the join token.
///
/// # Errors
/// Where step 1 fails.
pub async fn ready_by(
    gateway: &Gateway,
    bundle: Bundle,
    enrolment: Enrolment,
    admitted: bool,
) -> Result<ReadyEnrolment> {
    let challenge_request = match admitted {
        true => enrolment.challenge_request(bundle.join_token.expose()),
        false => enrolment.challenge_request(&[]),
    };
    let connection = dial(&bundle).await?;
    let challenge = request_challenge(&connection, challenge_request.clone()).await?;
    let platform = gateway.platform()?;
    let request = enrolment.complete(&challenge, &connection.exporter, &platform)?;
    let tpm = gateway.tpm().clone();
    Ok(ReadyEnrolment {
        bundle,
        enrolment,
        challenge_request,
        challenge,
        connection,
        platform,
        request,
        tpm,
    })
}

/// Enrols `gateway` as the program does.
///
/// # Errors
/// Where it is not granted.
pub async fn enrol(gateway: &Gateway, bundle: &Bundle) -> Result<Enrolled> {
    use enrolment::exchange::{Outcome, Plan};
    let mut plan = Plan::from_bundle(bundle, KeyChoice::default(), gateway.sim().boot_log());
    plan.ima_log = gateway.sim().ima_log();
    let state = gateway.state_dir()?;
    match enrolment::exchange::enrol(gateway.tpm(), &state, &plan, &mut |_| {}).await? {
        Outcome::Granted(enrolled, _) => Ok(*enrolled),
        Outcome::Refused(verdict) => bail!("not affirming: {:?}", verdict.reasons),
    }
}

/// A good re-attestation of `gateway`, with everything done but sending
/// `Attest`.
///
/// # Errors
/// Where the connection or the challenge fails.
pub async fn ready_to_attest(
    gateway: &Gateway,
    enrolled: &Enrolled,
    renew: bool,
) -> Result<ReadyAttestation> {
    let reattestation = Reattestation::new(gateway.tpm(), enrolled, renew)?;
    let connection = attestation::exchange::connect(gateway.tpm(), enrolled).await?;
    let challenge = AttestationClient::new(connection.channel.clone())
        .request_attestation_challenge(v1::RequestAttestationChallengeRequest {})
        .await?
        .into_inner();
    let request = reattestation.complete(&challenge, &connection.exporter, &gateway.platform()?)?;
    Ok(ReadyAttestation {
        enrolled: enrolled.clone(),
        reattestation,
        challenge,
        connection,
        request,
    })
}

/// The grant of an answer that affirms.
///
/// # Errors
/// The refusal, or the reasons.
pub fn granted(answer: Result<v1::EnrollResponse, Status>) -> Result<v1::Grant> {
    let answer = answer?;
    let verdict = answer.verdict.context("no verdict")?;
    ensure!(verdict.affirming, "not affirming: {:?}", verdict.reasons);
    answer.grant.context("affirming, and no grant")
}

/// The PCR selection of a challenge.
///
/// # Errors
/// Where it is none.
pub fn selection(wire: &Option<v1::PcrSelection>) -> Result<PcrSelection> {
    let wire = wire
        .as_ref()
        .context("the challenge has no PCR selection")?;
    let hash = HashAlg::from_id(u16::try_from(wire.hash_alg)?).context("hash of the selection")?;
    let pcrs = PcrSet::from_indices(wire.pcr_indices.iter().copied())?;
    Ok(PcrSelection { hash, pcrs })
}

/// Claims taken out of `signed`, changed, and signed again by the LDevID key.
fn resign(
    tpm: &Tpm,
    keys: &Keys,
    signed: &[u8],
    change: impl FnOnce(&mut Claims),
) -> Result<Vec<u8>> {
    let parsed = SignedClaims::parse(signed)?;
    let mut claims = parsed
        .open(|_, _, _| Ok::<_, std::convert::Infallible>(()))
        .map_err(|error| anyhow::anyhow!("our own claims: {error:?}"))?;
    change(&mut claims);
    sign_claims(tpm, keys, &claims)
}

/// Signs claims with the LDevID key in the TPM, as the attester does.
///
/// # Errors
/// Those of the TPM.
pub fn sign_claims(tpm: &Tpm, keys: &Keys, claims: &Claims) -> Result<Vec<u8>> {
    claims::sign(
        claims,
        CoseAlg::Esp256,
        keys.ldevid.name().as_bytes(),
        |to_be_signed| sign_bytes(tpm, keys, to_be_signed),
    )
}

/// ECDSA P-256 over SHA-256 of `bytes` by the LDevID key in the TPM: r ‖ s.
///
/// # Errors
/// Those of the TPM.
pub fn sign_bytes(tpm: &Tpm, keys: &Keys, bytes: &[u8]) -> Result<Vec<u8>> {
    let digest = HashAlg::Sha256.digest(&[bytes]).as_bytes().try_into()?;
    Ok(tpm
        .sign(&keys.ldevid, digest)?
        .ecdsa_fixed(EccCurve::P256)?)
}

/// The purposes, for attacks that use one for another.
pub const PURPOSES: [Purpose; 4] = [
    Purpose::Enrol,
    Purpose::Recover,
    Purpose::Attest,
    Purpose::Renew,
];

/// Many exchanges of one gateway in a minute, and every kind of EK, one of which
/// is enough.
fn for_tests(configuration: String) -> String {
    [
        (
            "challenges_per_minute_per_ek = 12\n",
            "challenges_per_minute_per_ek = 1000\n",
        ),
        (
            "accepted_eks = [\"L-2\"]\n",
            "accepted_eks = [\"L-1\", \"L-2\", \"H-1\", \"H-2\", \"H-3\", \"H-6\"]\n",
        ),
        ("\neks = \"all\"\n", "\neks = \"any\"\n"),
    ]
    .into_iter()
    .fold(configuration, |text, (default, wanted)| {
        assert!(text.contains(default), "config.toml has changed:\n{text}");
        text.replace(default, wanted)
    })
}

/// A configuration that accepts these templates of EKs, as TOML has them, and
/// wants `all` of them or `any`.
#[must_use]
pub fn accepting(configuration: &str, templates: &str, eks: &str) -> String {
    let line = |line: &str| match line.split(" = ").next() {
        Some("accepted_eks") => format!("accepted_eks = {templates}\n"),
        Some("eks") => format!("eks = \"{eks}\"\n"),
        _ => format!("{line}\n"),
    };
    configuration.lines().map(line).collect()
}

fn boot(
    deployment: &Deployment,
    name: &str,
    edit: impl FnOnce(&mut SimOptions),
) -> Result<Gateway> {
    let vendor = deployment.scratch().join("vendor");
    Gateway::boot(&deployment.scratch().join(name), |options| {
        options.vendor_ca = Some(vendor);
        edit(options);
    })
}
