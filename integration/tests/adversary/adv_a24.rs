//! A24: a recorder sits on the TPM's bus while a gateway does all that it does
//! with secrets. Nothing of them goes by in clear.

use anyhow::{Context, Result, ensure};
use holdfast_attester::enrolment::{Enrolment, KeyChoice};
use holdfast_attester::sealing::{self, Policy, SecretName};
use holdfast_attester::secrets;
use holdfast_attester::state::StateView;
use holdfast_attester::tpm::{EkChoice, ImportedUse, PinnedEk, Tpm};
use holdfast_integration::Scene;
use holdfast_integration::bus::RecordedBus;
use holdfast_integration::scene::{dial, granted, request_challenge, send_enroll};
use holdfast_proto::binding::gateway_id;
use holdfast_proto::tpm::{HashAlg, PcrSelection, PcrSet};
use holdfast_verifier::endorsement::{EkKnownBy, EkLink};
use holdfast_verifier::heartbeat::{Epoch, MasterKey};
use holdfast_verifier::wrapping::{WrapRecipient, wrap_heartbeat_key, wrap_secret};
use ring::hkdf;
use ring::rand::SystemRandom;

const IMPORT: u32 = 0x156;
const ACTIVATE_CREDENTIAL: u32 = 0x147;
const CREATE: u32 = 0x153;
const UNSEAL: u32 = 0x15E;
const SEALED: &[u8] = b"sealed here, 32 bytes, no longer";
const DELIVERED: &[u8] = b"delivered under a key of its own";
const WRAPPED: &[u8] = b"wrapped as it is, 32 bytes as it";

/// Enrolment, by hand, over the recorded bus: the activation secret.
#[tokio::test(flavor = "multi_thread")]
async fn adv_a24_the_activation_secret_is_not_in_clear_on_the_bus() -> Result<()> {
    let scene = Scene::new()?;
    let bus = RecordedBus::before(&scene.gateway.sim().tcti())?;
    let bundle = scene.deployment.bundle()?;
    let tcti = bus.tcti().parse()?;
    let Scene {
        gateway,
        deployment,
    } = scene;
    let (platform, mut gateway) = (gateway.platform()?, gateway);
    // swtpm serves one connection: the gateway's own is given up meanwhile.
    let activated = gateway.with_sim(|_| -> Result<Vec<u8>> {
        let handle = tokio::runtime::Handle::current();
        let tpm = Tpm::open(&tcti)?;
        let enrolment = Enrolment::new(&tpm, KeyChoice::default(), None)?;
        let asked = enrolment.challenge_request(bundle.join_token.expose());
        let (public, request) = tokio::task::block_in_place(|| {
            handle.block_on(async {
                let connection = dial(&bundle).await?;
                let challenge = request_challenge(&connection, asked).await?;
                let request = enrolment.complete(&challenge, &connection.exporter, &platform)?;
                granted(send_enroll(&connection, request.clone()).await)?;
                anyhow::Ok((challenge.encrypted_secret, request))
            })
        })?;
        // The second parameter of the command, which no session encrypts.
        ensure!(bus.saw(&public), "the recorder sees nothing");
        Ok(request.activated_secret)
    })?;
    ensure!(activated.len() == 32);
    ensure!(bus.count(ACTIVATE_CREDENTIAL) > 0);
    ensure!(!bus.saw(&activated), "the activation secret went by");
    drop(deployment);
    Ok(())
}

/// Seal, unseal, import, open, and a heartbeat key at work, with each kind of EK.
#[test]
fn adv_a24_no_secret_is_in_clear_on_the_bus_whatever_is_done_with_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut gateway = holdfast_integration::Gateway::boot(dir.path(), |_| {})?;
    let bus = RecordedBus::before(&gateway.sim().tcti())?;
    let tcti = bus.tcti().parse()?;
    let selection = PcrSelection {
        hash: HashAlg::Sha256,
        pcrs: PcrSet::from_indices([0, 7])?,
    };
    gateway.with_sim(|_| -> Result<()> {
        let tpm = Tpm::open(&tcti)?;
        tpm.storage_root(None)?;
        for choice in [
            EkChoice::EccP256,
            EkChoice::Rsa2048,
            EkChoice::EccP384,
            EkChoice::Rsa3072,
        ] {
            let ek = tpm.endorsement_key(choice)?;
            let id = gateway_id(&ek.public)?;
            let pin = PinnedEk {
                template: ek.template.clone(),
                ueid: id,
            };
            let rng = SystemRandom::new();
            let recipient = WrapRecipient::on_record(
                &ek.public.encode(),
                EkKnownBy::Fingerprint,
                EkLink::Certification,
                &id,
            )?;

            let wrapped = wrap_secret(&recipient, WRAPPED, &rng)?.into();
            let object = tpm.import(&pin, ImportedUse::Secret, &wrapped)?;
            ensure!(tpm.open_delivered(&pin, &object)?.as_slice() == WRAPPED);
            tpm.forget(&object)?;

            let (master, name, epoch) = ([1; 32], ek.public.name(), [2; 16]);
            let key = MasterKey::new(&master).derive(&id, &name, &Epoch::from_bytes(epoch));
            let wrapped = wrap_heartbeat_key(&recipient, &key, &rng)?.into();
            let object = tpm.import(&pin, ImportedUse::HeartbeatKey, &wrapped)?;
            tpm.beat(&pin, &object, &selection, [5; 32])?;
            tpm.forget(&object)?;
            // Derived once more, by hand (RFC 5869): key, then obfuscation.
            let mut material = [0; 64];
            hkdf::Salt::new(hkdf::HKDF_SHA256, b"holdfast-heartbeat-key-v1")
                .extract(&master)
                .expand(&[id.as_bytes(), name.as_bytes(), &epoch], Sixty4)
                .and_then(|okm| okm.fill(&mut material))
                .ok()
                .context("HKDF")?;
            for half in material.chunks(32) {
                ensure!(!bus.saw(half), "{choice:?}: of the heartbeat key");
            }

            let policy = [7; 32];
            tpm.seal(&pin, policy, zeroize::Zeroizing::new(SEALED.to_vec()))?;
            ensure!(bus.saw(&policy), "the recorder sees nothing");
        }
        Ok(())
    })?;
    for code in [IMPORT, UNSEAL, CREATE] {
        ensure!(bus.count(code) >= 4, "{code:#x}: {}", bus.count(code));
    }
    ensure!(!bus.saw(WRAPPED), "a delivered key went by");
    ensure!(!bus.saw(SEALED), "a sealed secret went by");
    Ok(())
}

struct Sixty4;

impl hkdf::KeyType for Sixty4 {
    fn len(&self) -> usize {
        64
    }
}

/// As the program does it: a secret of the owner's arrives and is read, another
/// is sealed and unsealed.
#[test]
fn adv_a24_delivered_and_sealed_secrets_are_not_in_clear_on_the_bus() -> Result<()> {
    let mut scene = Scene::new()?;
    holdfast_integration::story::enrol(&mut scene.gateway, &scene.deployment, "default")?;
    put(&scene, "vpn-key", DELIVERED)?;
    let bus = RecordedBus::before(&scene.gateway.sim().tcti())?;
    let state = scene.gateway.state_path().to_owned();
    let log = scene.gateway.sim().boot_log();
    let tcti = bus.tcti();
    scene.gateway.with_sim(|_| -> Result<()> {
        let output = std::process::Command::new(holdfast_integration::programs::program(
            "holdfast-attester",
        )?)
        .args(["--tcti", &tcti, "attest", "--boot-log"])
        .arg(&log)
        .arg("--state-dir")
        .arg(&state)
        .output()?;
        let said = holdfast_integration::story::printed(&output);
        ensure!(output.status.success(), "{said}");
        ensure!(said.contains("Secret vpn-key"), "{said}");

        let tpm = Tpm::open(&tcti.parse()?)?;
        let view = StateView::open(&state)?;
        let name: SecretName = "vpn-key".parse()?;
        ensure!(secrets::open(&tpm, &view, &name)?.as_slice() == DELIVERED);

        let own = holdfast_attester::state::StateDir::open(&state)?;
        let selection = PcrSelection {
            hash: HashAlg::Sha256,
            pcrs: PcrSet::from_indices([0, 7])?,
        };
        let policy = Policy::Current {
            selection,
            latch: None,
        };
        let name: SecretName = "disk-key".parse()?;
        sealing::seal(&tpm, &own, &name, policy, false, SEALED)?;
        ensure!(sealing::unseal(&tpm, &view, &name, None)?.as_slice() == SEALED);
        Ok(())
    })?;
    ensure!(bus.count(IMPORT) > 0 && bus.count(UNSEAL) >= 3);
    ensure!(!bus.saw(DELIVERED), "the delivered secret went by");
    ensure!(!bus.saw(SEALED), "the sealed secret went by");
    Ok(())
}

fn put(scene: &Scene, name: &str, secret: &[u8]) -> Result<()> {
    use std::io::Write as _;
    let mut child = std::process::Command::new(holdfast_integration::programs::program(
        "holdfast-verifier",
    )?)
    .args(["secret", "put", "--class", "default", name, "--dir"])
    .arg(scene.deployment.dir())
    .stdin(std::process::Stdio::piped())
    .stdout(std::process::Stdio::null())
    .spawn()?;
    child.stdin.take().context("stdin")?.write_all(secret)?;
    ensure!(child.wait()?.success());
    Ok(())
}
