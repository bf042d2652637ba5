//! MakeCredential against real TPMs: for each EK template that Holdfast knows,
//! a live swtpm makes the EK and an AK, and `tpm2_activatecredential` (an
//! independent implementation of the other half) must find our secret.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests: a panic is a failed test"
)]

use std::{
    fs,
    io::Read as _,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use holdfast_proto::tpm::{Public, templates::EkTemplate};
use holdfast_verifier::{
    endorsement::EkPublic,
    verification::{Credential, make_credential},
};
use ring::rand::SystemRandom;

/// An swtpm of its own, ended with the value.
struct Tpm {
    swtpm: Child,
    dir: tempfile::TempDir,
    port: u16,
}

impl Tpm {
    fn start() -> Self {
        // Two ports are needed, and another process may take one between our
        // look and swtpm's bind: try again.
        for _ in 0..10 {
            if let Some(tpm) = Self::try_start() {
                return tpm;
            }
        }
        panic!("no swtpm: is it installed? `make test` installs it (apt-get install swtpm)");
    }

    fn try_start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (port, control) = free_ports();
        let swtpm = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "startup-clear", "--tpmstate"])
            .arg(format!("dir={}", dir.path().display()))
            .args([
                "--server",
                &format!("type=tcp,bindaddr=127.0.0.1,port={port}"),
            ])
            .args([
                "--ctrl",
                &format!("type=tcp,bindaddr=127.0.0.1,port={control}"),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("swtpm: apt-get install swtpm");
        let mut tpm = Self { swtpm, dir, port };
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if tpm.swtpm.try_wait().unwrap().is_some() {
                return None;
            }
            // The control port: a connection to the server port would be the
            // TPM's one client.
            if TcpStream::connect(("127.0.0.1", control)).is_ok() {
                return Some(tpm);
            }
            thread::sleep(Duration::from_millis(20));
        }
        None
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a tpm2-tools command in the TPM's folder; `Err` holds what it said.
    fn run(&self, command: &str) -> Result<(), String> {
        let mut words = command.split_whitespace();
        let mut child = Command::new(words.next().unwrap())
            .args(words)
            .env(
                "TPM2TOOLS_TCTI",
                format!("swtpm:host=127.0.0.1,port={}", self.port),
            )
            .env("TSS2_LOG", "all+NONE")
            .current_dir(self.dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tpm2-tools: apt-get install tpm2-tools");
        let mut said = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        if child.wait().unwrap().success() {
            Ok(())
        } else {
            Err(format!("{command}: {said}"))
        }
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = self.swtpm.kill();
        let _ = self.swtpm.wait();
    }
}

/// tpm2-tools' TCTI wants the control port to be the server's plus one.
fn free_ports() -> (u16, u16) {
    loop {
        let server = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = server.local_addr().unwrap().port();
        if let Some(control) = port.checked_add(1)
            && TcpListener::bind(("127.0.0.1", control)).is_ok()
        {
            return (port, control);
        }
    }
}

/// As `tpm2_activatecredential -i` takes it: u32 magic, u32 version 1, 2B
/// credential, 2B secret.
fn write_credential(path: &Path, credential: &Credential) {
    let mut file = 0xBADC_C0DE_u32.to_be_bytes().to_vec();
    file.extend(1_u32.to_be_bytes());
    for part in [&credential.id_object, &credential.encrypted_secret] {
        file.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
        file.extend(part);
    }
    fs::write(path, file).unwrap();
}

/// tpm2_createek makes low-range EKs; the high range by its template.
fn create_ek(tpm: &Tpm, template: EkTemplate) -> Public {
    match template {
        EkTemplate::L1 => tpm.run("tpm2_createek -G rsa -c ek.ctx -u ek.pub").unwrap(),
        EkTemplate::L2 => tpm.run("tpm2_createek -G ecc -c ek.ctx -u ek.pub").unwrap(),
        high => {
            let public = high.public();
            fs::write(tpm.path("policy"), &public.auth_policy).unwrap();
            let algorithm = match high {
                EkTemplate::H1 => "rsa2048:null:aes128cfb -g sha256",
                EkTemplate::H2 => "ecc256:null:aes128cfb -g sha256",
                EkTemplate::H3 => "ecc384:null:aes256cfb -g sha384",
                _ => "rsa3072:null:aes256cfb -g sha384",
            };
            tpm.run(&format!(
                "tpm2_createprimary -C e -G {algorithm} -c ek.ctx -L policy -a \
                 fixedtpm|fixedparent|sensitivedataorigin|userwithauth|adminwithpolicy|\
                 restricted|decrypt"
            ))
            .unwrap();
            tpm.run("tpm2_readpublic -c ek.ctx -o ek.pub").unwrap();
        }
    }
    tpm.run("tpm2_flushcontext -t").unwrap();
    Public::parse_tpm2b(&fs::read(tpm.path("ek.pub")).unwrap()).unwrap()
}

fn create_ak(tpm: &Tpm, name: &str) -> Public {
    tpm.run(&format!(
        "tpm2_createprimary -C e -G ecc256:ecdsa-sha256:null -c {name}.ctx -a \
         fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign --unique-data {name}.u"
    ))
    .unwrap();
    tpm.run(&format!("tpm2_readpublic -c {name}.ctx -o {name}.pub"))
        .unwrap();
    tpm.run("tpm2_flushcontext -t").unwrap();
    Public::parse_tpm2b(&fs::read(tpm.path(&format!("{name}.pub"))).unwrap()).unwrap()
}

/// `unique` for tpm2_createprimary: 2B x, 2B y, little-endian sizes, so that
/// two AKs differ.
fn write_unique(tpm: &Tpm, name: &str) {
    let mut unique = vec![32, 0];
    unique.extend(name.bytes().cycle().take(32));
    unique.extend([32, 0]);
    unique.extend([0; 32]);
    fs::write(tpm.path(&format!("{name}.u")), unique).unwrap();
}

/// TPM2_ActivateCredential: by policy for the low range, by the EK's empty
/// authValue for the high range.
fn activate(tpm: &Tpm, template: EkTemplate, ak: &str) -> Result<Vec<u8>, String> {
    let outcome = match template {
        EkTemplate::L1 | EkTemplate::L2 => {
            tpm.run("tpm2_startauthsession --policy-session -S session.ctx")?;
            tpm.run("tpm2_policysecret -S session.ctx -c e")?;
            let outcome = tpm.run(&format!(
                "tpm2_activatecredential -c {ak}.ctx -C ek.ctx -i cred -o secret -P session:session.ctx"
            ));
            tpm.run("tpm2_flushcontext session.ctx")?;
            outcome
        }
        _ => tpm.run(&format!(
            "tpm2_activatecredential -c {ak}.ctx -C ek.ctx -i cred -o secret"
        )),
    };
    tpm.run("tpm2_flushcontext -t")?;
    outcome.map(|()| fs::read(tpm.path("secret")).unwrap())
}

fn live(template: EkTemplate) {
    let tpm = Tpm::start();
    let public = create_ek(&tpm, template);
    assert_eq!(EkTemplate::matching(&public), Some(template), "{public:?}");
    let ek = EkPublic::parse(&public.encode()).unwrap();
    write_unique(&tpm, "ak");
    write_unique(&tpm, "other");
    let ak = create_ak(&tpm, "ak");
    let other = create_ak(&tpm, "other");
    assert_ne!(ak.name(), other.name());

    let secret = [0xA7; 32];
    for _ in 0..3 {
        let credential = make_credential(&ek, &ak.name(), &secret, &SystemRandom::new()).unwrap();
        write_credential(&tpm.path("cred"), &credential);
        assert_eq!(activate(&tpm, template, "ak").unwrap(), secret);
    }
    // For another AK the same TPM gives nothing (A03).
    let refusal = activate(&tpm, template, "other").unwrap_err();
    assert!(refusal.contains("integrity"), "{refusal}");
    // One bit of the blob (A04).
    let mut spoiled = make_credential(&ek, &ak.name(), &secret, &SystemRandom::new()).unwrap();
    *spoiled.id_object.last_mut().unwrap() ^= 1;
    write_credential(&tpm.path("cred"), &spoiled);
    activate(&tpm, template, "ak").unwrap_err();
}

#[test]
fn rsa_2048_low_range() {
    live(EkTemplate::L1);
}

#[test]
fn rsa_2048_high_range() {
    live(EkTemplate::H1);
}

#[test]
fn rsa_3072() {
    live(EkTemplate::H6);
}

#[test]
fn p256_low_range() {
    live(EkTemplate::L2);
}

#[test]
fn p256_high_range() {
    live(EkTemplate::H2);
}

#[test]
fn p384() {
    live(EkTemplate::H3);
}
