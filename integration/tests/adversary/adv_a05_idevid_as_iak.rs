//! A05 and A18 on the IAK road: the OEM's certificate for the IDevID key, shown
//! as an IAK's. The IDevID key is not restricted, so that root on the device
//! signs with it whatever a TPM could have stated: quotes of any PCRs, and
//! certifications of keys that no TPM holds.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use holdfast_attester::client::Connection;
use holdfast_integration::gateway::Gateway;
use holdfast_integration::refusal::Record;
use holdfast_integration::scene::{dial, granted, request_challenge, selection, send_enroll};
use holdfast_integration::{Refusal, Scene, oracle, skip};
use holdfast_proto::binding::{
    certify_ek_extra_data, certify_extra_data, certify_idevid_extra_data, gateway_id,
    quote_extra_data,
};
use holdfast_proto::claims::{self, Claims, CoseAlg, Purpose};
use holdfast_proto::grpc::v1;
use holdfast_proto::tpm::devid::{DevidKey, DevidTemplate, DevidUnique, IDEVID_HANDLE};
use holdfast_proto::tpm::templates::{EkTemplate, ldevid_template};
use holdfast_proto::tpm::{
    Attest, Attested, ClockInfo, HashAlg, Hierarchy, Name, PcrSelection, Public, Unique,
};
use holdfast_tpm_sim::{DevidCertificate, OemOptions};
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use tonic::Status;

/// Root on a gateway: speaks to its TPM with tpm2-tools.
struct Root {
    folder: PathBuf,
    tcti: String,
}

impl Root {
    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// A signature by the IDevID key: a TPMT_SIGNATURE. Nothing in the TPM
    /// looks at what it is over.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let (digest, signature) = (self.file("digest"), self.file("signature"));
        fs::write(&digest, HashAlg::Sha256.digest(&[message]).as_bytes())?;
        let key = format!("{IDEVID_HANDLE:#x}");
        let arguments = [
            "-T", &self.tcti, "-c", &key, "-g", "sha256", "-d", "-f", "tss", "-o", &signature,
            &digest,
        ];
        oracle::run("tpm2_sign", arguments)?;
        Ok(fs::read(&signature)?)
    }

    fn attest(&self, attest: &Attest) -> Result<v1::KeyCertification> {
        let attest = attest.encode();
        Ok(v1::KeyCertification {
            signature: self.sign(&attest)?,
            attest,
        })
    }
}

/// An EK in software: nobody certifies EKs on this road.
struct SoftwareEk {
    key: EphemeralPrivateKey,
    area: Public,
}

impl SoftwareEk {
    fn new() -> Result<Self> {
        let key = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new());
        let key = key.ok().context("a key")?;
        let public = key.compute_public_key().ok().context("its public key")?;
        let area = Public {
            unique: coordinates(public.as_ref()),
            ..EkTemplate::L2.public()
        };
        Ok(Self { key, area })
    }

    /// As TPM2_ActivateCredential (Part 1 §24): a credential for `name`, opened
    /// by who has the private key.
    fn activate(
        self,
        name: &Name,
        challenge: &v1::RequestChallengeResponse,
        folder: &Path,
    ) -> Result<Vec<u8>> {
        let Unique::Ecc { x: ours, .. } = &self.area.unique else {
            anyhow::bail!("not an ECC key");
        };
        let (x, y) = {
            let mut rest = challenge.encrypted_secret.as_slice();
            (sized(&mut rest)?, sized(&mut rest)?)
        };
        let peer = UnparsedPublicKey::new(&ECDH_P256, [&[4], x, y].concat());
        // KDFe, then KDFa (Part 1 §11.4.10).
        let seed = agree_ephemeral(self.key, &peer, |z| {
            HashAlg::Sha256.digest(&[&[0, 0, 0, 1], z, b"IDENTITY\0", x, ours])
        });
        let seed = seed.ok().context("no point")?;
        let hmac = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, seed.as_bytes());
        let stream = [
            &[0, 0, 0, 1],
            &b"STORAGE\0"[..],
            name.as_bytes(),
            &[0, 0, 0, 128],
        ];
        let key = ring::hmac::sign(&hmac, &stream.concat());
        let mut rest = challenge.credential_blob.as_slice();
        let _integrity = sized(&mut rest)?;
        let [closed, open] = ["identity.enc", "identity"].map(|name| folder.join(name));
        fs::write(&closed, rest)?;
        let (key, iv) = (hex::encode(&key.as_ref()[..16]), hex::encode([0; 16]));
        let closed = closed.display().to_string();
        oracle::run(
            "openssl",
            [
                "enc",
                "-d",
                "-aes-128-cfb",
                "-K",
                &key,
                "-iv",
                &iv,
                "-in",
                &closed,
                "-out",
                &open.display().to_string(),
            ],
        )?;
        let opened = fs::read(&open)?;
        Ok(sized(&mut opened.as_slice())?.to_vec())
    }
}

/// The next buffer with a UINT16 size before it.
fn sized<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8]> {
    let (size, rest) = bytes.split_first_chunk::<2>().context("a size")?;
    let size = u16::from_be_bytes(*size).into();
    let (content, rest) = rest.split_at_checked(size).context("a buffer")?;
    *bytes = rest;
    Ok(content)
}

fn coordinates(point: &[u8]) -> Unique {
    let (x, y) = point[1..].split_at(32);
    Unique::Ecc {
        x: x.to_vec(),
        y: y.to_vec(),
    }
}

/// A key in software, and the public half as an area has it.
fn software_key() -> Result<(EcdsaKeyPair, Unique)> {
    let rng = SystemRandom::new();
    let alg = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(alg, &rng)
        .ok()
        .context("a key")?;
    let key = EcdsaKeyPair::from_pkcs8(alg, pkcs8.as_ref(), &rng)
        .ok()
        .context("a key")?;
    let unique = coordinates(key.public_key().as_ref());
    Ok((key, unique))
}

/// What is shown to the verifier for IAK and IDevID.
struct Shown {
    iak: Public,
    iak_chain: Vec<Vec<u8>>,
    idevid: Public,
    idevid_chain: Vec<Vec<u8>>,
}

/// The whole attack: quotes of the state that the owner accepts, signed by the
/// IDevID key, for an LDevID key in software.
async fn attack(
    scene: &mut Scene,
    good: &GoodState,
    shown: &Shown,
) -> Result<Result<v1::EnrollResponse, Status>> {
    let bundle = scene.deployment.bundle()?;
    let connection: Connection = dial(&bundle).await?;
    let ek = SoftwareEk::new()?;
    let (ldevid_key, unique) = software_key()?;
    let ldevid = Public {
        unique,
        ..ldevid_template()
    };
    let ask = v1::RequestChallengeRequest {
        ek_public: ek.area.encode(),
        ek_certificate_chain: Vec::new(),
        ak_public: shown.iak.encode(),
        ldevid_public: ldevid.encode(),
        join_token: bundle.join_token.expose().to_vec(),
        iak_certificate_chain: shown.iak_chain.clone(),
        idevid_certificate_chain: shown.idevid_chain.clone(),
        idevid_public: shown.idevid.encode(),
        further_eks: Vec::new(),
    };
    let challenge = match request_challenge(&connection, ask.clone()).await {
        Ok(challenge) => challenge,
        Err(status) => return Ok(Err(status)),
    };
    let nonce: [u8; 32] = challenge.nonce.as_slice().try_into()?;
    let iak = shown.iak.name();
    let states = |extra_data: [u8; 32], attested| Attest {
        qualified_signer: place(&iak).as_bytes().to_vec(),
        extra_data: extra_data.to_vec(),
        clock_info: ClockInfo {
            clock: 1_000_000,
            reset_count: 7,
            restart_count: 0,
            safe: true,
        },
        firmware_version: 1 << 32,
        attested,
    };
    let certifies = |name: Name| Attested::Certify {
        qualified_name: place(&name),
        name,
    };
    let certifies_under = |parent: &Name, name: Name| Attested::Certify {
        qualified_name: Name::qualified(parent.as_bytes(), &name),
        name,
    };
    let scratch = scene.deployment.scratch().join("root-on-the-gateway");
    let mut request = None;
    let asked = selection(&challenge.pcr_selection)?;
    scene.gateway.with_sim(|sim| {
        let root = Root {
            folder: scratch,
            tcti: sim.tcti(),
        };
        fs::create_dir_all(&root.folder)?;
        let ek_name = ek.area.name();
        let secret = ek.activate(&iak, &challenge, &root.folder)?;
        let of_ldevid = certify_extra_data(&nonce, &iak, &ldevid.name());
        let ldevid_certification = root.attest(&states(of_ldevid, certifies(ldevid.name())))?;
        let of_idevid = certify_idevid_extra_data(&nonce, &iak, &shown.idevid.name());
        let idevid_certification =
            root.attest(&states(of_idevid, certifies(shown.idevid.name())))?;
        let of_ek = certify_ek_extra_data(&nonce, &iak, &ek_name);
        let under_ek = certifies_under(&place(&ek_name), ldevid.name());
        let ek_certification = root.attest(&states(of_ek, under_ek))?;
        let sha256 = |bytes: &[u8]| -> Result<[u8; 32]> {
            Ok(HashAlg::Sha256.digest(&[bytes]).as_bytes().try_into()?)
        };
        let claims = Claims {
            nonce,
            ueid: gateway_id(&shown.iak)?,
            issued_at: good.issued_at,
            purpose: Purpose::Enrol,
            exporter: connection.exporter,
            certify_sha256: Some(sha256(&ldevid_certification.attest)?),
            boot_log_sha256: Some(sha256(&good.boot_log)?),
            software_name: "holdfast-attester".to_owned(),
            software_version: "0.1.0".to_owned(),
            uptime_seconds: None,
        };
        let signed = claims::sign(
            &claims,
            CoseAlg::Esp256,
            ldevid.name().as_bytes(),
            |to_be_signed| {
                let signature = ldevid_key.sign(&SystemRandom::new(), to_be_signed);
                anyhow::Ok(signature.ok().context("a signature")?.as_ref().to_vec())
            },
        )?;
        let quote = root.attest(&states(quote_extra_data(&signed), good.quoted(&asked)?))?;
        request = Some(v1::EnrollRequest {
            token: challenge.token.clone(),
            activated_secret: secret,
            ek_public: ask.ek_public.clone(),
            ek_certificate_chain: Vec::new(),
            ak_public: ask.ak_public.clone(),
            ldevid_public: ask.ldevid_public.clone(),
            ldevid_certification: Some(ldevid_certification),
            evidence: Some(v1::Evidence {
                claims: signed,
                quote_attest: quote.attest,
                quote_signature: quote.signature,
                pcr_values: good.values(&asked)?,
                boot_log: Some(v1::BootLog {
                    log: Some(v1::boot_log::Log::Content(good.boot_log.clone())),
                }),
                ima_log: None,
            }),
            iak_certificate_chain: ask.iak_certificate_chain.clone(),
            idevid_certificate_chain: ask.idevid_certificate_chain.clone(),
            idevid_public: ask.idevid_public.clone(),
            idevid_certification: Some(idevid_certification),
            further_eks: Vec::new(),
            ek_certification: Some(ek_certification),
        });
        anyhow::Ok(())
    })?;
    let request = request.context("the attack's own request")?;
    Ok(send_enroll(&connection, request).await)
}

fn place(name: &Name) -> Name {
    Name::qualified_primary(Hierarchy::Endorsement, name)
}

/// PCRs as they were before anything was tampered with, and the boot log.
struct GoodState {
    pcrs: std::collections::BTreeMap<u32, Vec<u8>>,
    boot_log: Vec<u8>,
    issued_at: i64,
}

impl GoodState {
    fn of(gateway: &Gateway) -> Result<Self> {
        let all = holdfast_proto::tpm::PcrSet::from_indices(0..24)?;
        let bank = PcrSelection {
            hash: HashAlg::Sha256,
            pcrs: all,
        };
        let platform = gateway.platform()?;
        Ok(Self {
            pcrs: gateway.tpm().read_pcrs(&bank)?.into_iter().collect(),
            boot_log: platform.boot_log.context("a boot log")?,
            issued_at: platform.issued_at,
        })
    }

    fn values(&self, asked: &PcrSelection) -> Result<Vec<v1::PcrValue>> {
        let value = |index| {
            let value = self.pcrs.get(&index).context("a PCR")?.clone();
            Ok(v1::PcrValue { index, value })
        };
        asked.pcrs.iter().map(value).collect()
    }

    fn quoted(&self, asked: &PcrSelection) -> Result<Attested> {
        let values = self.values(asked)?;
        let values: Vec<&[u8]> = values.iter().map(|v| v.value.as_slice()).collect();
        Ok(Attested::Quote {
            selection: vec![*asked],
            pcr_digest: HashAlg::Sha256.digest(&values).as_bytes().to_vec(),
        })
    }
}

/// A gateway of the OEM `acme`, which the owner trusts. Root has changed what
/// it boots.
fn taken_over() -> Result<(Scene, GoodState)> {
    let mut scene = Scene::with(
        |options| {
            options.ek_certificates = Vec::new();
            options.oem = Some(OemOptions {
                persistent: true,
                ..OemOptions::new()
            });
        },
        |configuration| configuration,
    )?;
    let root = scene.gateway.sim().describe().oem.context("an OEM")?.root;
    let root: &Path = &root;
    scene.deployment.run(&[
        "endorsement",
        "import",
        "--oem",
        "acme",
        &root.display().to_string(),
    ])?;
    let good = GoodState::of(&scene.gateway)?;
    scene
        .gateway
        .with_sim(|sim| sim.extend_pcr(4, b"another boot loader"))?;
    Ok((scene, good))
}

/// The key of `public` in the area of another role.
fn under(key: DevidKey, public: &Public) -> Public {
    Public {
        unique: public.unique.clone(),
        ..DevidTemplate::H2.public(key, DevidUnique::Zeros)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn adv_a05_the_idevids_certificate_as_an_iaks() -> Result<()> {
    if !oracle::present("tpm2_sign") {
        skip!("tpm2-tools are not installed");
    }
    let (mut scene, good) = taken_over()?;
    let identity = scene.gateway.tpm().device_identity()?;
    let (iak, idevid) = (&identity.iak, &identity.idevid);
    let forged = under(DevidKey::Iak, &idevid.public);
    let before = Record::of(&scene.deployment)?;

    // What the OEM certified, and no more: its own IDevID beside, or the IAK
    // with its certificate in the IDevID's place.
    let attacks = [
        Shown {
            iak: forged.clone(),
            iak_chain: idevid.certificate_chain.clone(),
            idevid: idevid.public.clone(),
            idevid_chain: idevid.certificate_chain.clone(),
        },
        Shown {
            iak: forged.clone(),
            iak_chain: idevid.certificate_chain.clone(),
            idevid: under(DevidKey::Idevid, &iak.public),
            idevid_chain: iak.certificate_chain.clone(),
        },
    ];
    for shown in &attacks {
        let log = scene.deployment.log().len();
        let answer = attack(&mut scene, &good, shown).await?;
        let status = answer.err().context("the attack was answered")?;
        Refusal::NOT_ENDORSED.expect(&status)?;
        let log = scene.deployment.log()[log..].to_owned();
        ensure!(
            log.contains("the IAK certificate has neither the purpose"),
            "{log}"
        );
    }
    before.unchanged(&scene.deployment)?;

    // The same attack where the OEM itself calls the key an IAK: all of it
    // works, so that nothing else stood in the way above.
    let oem = scene.gateway.sim().oem().context("an OEM")?;
    let issue = |key, area: &Public| -> Result<Vec<Vec<u8>>> {
        let wanted = DevidCertificate::new(key, area, &oem.serial, &oem.hardware_serial)?;
        let intermediate = oem.ca.intermediate_der().to_vec();
        Ok(vec![oem.ca.issue(&wanted)?, intermediate])
    };
    let (_, unique) = software_key()?;
    let other = Public {
        unique,
        ..DevidTemplate::H2.public(DevidKey::Idevid, DevidUnique::Zeros)
    };
    let shown = Shown {
        iak_chain: issue(DevidKey::Iak, &forged)?,
        iak: forged,
        idevid_chain: issue(DevidKey::Idevid, &other)?,
        idevid: other,
    };
    granted(attack(&mut scene, &good, &shown).await?)?;
    Ok(())
}
