//! A live swtpm and its EK.

use std::{
    fs,
    io::Read as _,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use holdfast_proto::tpm::{Public, templates::EkTemplate};

/// An swtpm of its own, ended with the value.
pub(crate) struct Tpm {
    swtpm: Child,
    dir: tempfile::TempDir,
    port: u16,
}

impl Tpm {
    pub(crate) fn start() -> Self {
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

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a tpm2-tools command in the TPM's folder; `Err` holds what it said.
    pub(crate) fn run(&self, command: &str) -> Result<(), String> {
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

/// tpm2_createek makes low-range EKs; the high range by its template.
pub(crate) fn create_ek(tpm: &Tpm, template: EkTemplate) -> Public {
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

/// Runs `command`, which uses the EK, with the EK's authorisation: by policy for
/// the low range (`-P session:session.ctx` is added), by its empty authValue for
/// the high range.
pub(crate) fn as_ek(tpm: &Tpm, template: EkTemplate, command: &str) -> Result<(), String> {
    match template {
        EkTemplate::L1 | EkTemplate::L2 => {
            tpm.run("tpm2_startauthsession --policy-session -S session.ctx")?;
            tpm.run("tpm2_policysecret -S session.ctx -c e")?;
            let outcome = tpm.run(&format!("{command} -P session:session.ctx"));
            tpm.run("tpm2_flushcontext session.ctx")?;
            outcome
        }
        _ => tpm.run(command),
    }
}
