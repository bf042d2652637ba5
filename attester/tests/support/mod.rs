//! A software TPM for tests, and what a vendor would have put into it.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its own part"
)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic here is a failed test"
)]

pub mod interposer;
pub mod verifier;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use holdfast_attester::tpm::{TctiName, Tpm};
use holdfast_proto::tpm::templates::EkTemplate;
use holdfast_proto::tpm::{Name, Parameters, Public};
use tempfile::TempDir;
use tss_esapi::attributes::NvIndexAttributesBuilder;
use tss_esapi::handles::{NvIndexHandle, NvIndexTpmHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles::{NvAuth, Provision};
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::NvPublicBuilder;
use tss_esapi::{Context, TctiNameConf};

/// One swtpm, killed by its pid when dropped.
pub struct Swtpm {
    child: Child,
    port: u16,
    dir: TempDir,
}

impl Swtpm {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (child, port) = Self::launch(&dir);
        Self { child, port, dir }
    }

    fn launch(dir: &TempDir) -> (Child, u16) {
        // Another test may take the ports between the probe and swtpm's bind.
        for _ in 0..20 {
            let port = free_pair();
            let mut child = spawn(port, dir);
            if answers(&mut child, port) {
                return (child, port);
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("no swtpm would start");
    }

    pub fn tcti(&self) -> TctiName {
        TctiName::Swtpm {
            host: "127.0.0.1".into(),
            port: self.port,
        }
    }

    pub fn open(&self) -> Tpm {
        Tpm::open(&self.tcti()).unwrap()
    }

    /// A context of the test's own. Close it before the next connection:
    /// swtpm serves one at a time.
    pub fn context(&self) -> Context {
        let name: TctiNameConf = self.tcti().to_string().parse().unwrap();
        Context::new(name).unwrap()
    }

    /// Sends raw commands and shuts the socket, as a killed process does:
    /// what they load stays in the TPM.
    pub fn send_raw(&self, commands: &[Vec<u8>]) {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        for command in commands {
            socket.write_all(command).unwrap();
            let mut header = [0; 10];
            socket.read_exact(&mut header).unwrap();
            assert_eq!(header[6..], [0; 4], "TPM_RC_SUCCESS");
            let size = u32::from_be_bytes(header[2..6].try_into().unwrap());
            let mut rest = vec![0; usize::try_from(size).unwrap() - header.len()];
            socket.read_exact(&mut rest).unwrap();
        }
    }

    /// The whole answer to one raw command.
    pub fn ask_raw(&self, command: &[u8]) -> Vec<u8> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        socket.write_all(command).unwrap();
        let mut answer = vec![0; 10];
        socket.read_exact(&mut answer).unwrap();
        let size = u32::from_be_bytes(answer[2..6].try_into().unwrap());
        answer.resize(usize::try_from(size).unwrap(), 0);
        socket.read_exact(&mut answer[10..]).unwrap();
        answer
    }

    /// Hard power cycle: same TPM, new reset count.
    pub fn restart(&mut self) {
        self.stop();
        let again = Self::launch(&self.dir);
        (self.child, self.port) = again;
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Defines an NV index as a vendor does, and fills it.
    pub fn write_nv(&self, index: u32, content: &[u8]) {
        let mut context = self.context();
        let nv = define(&mut context, index, content.len());
        context.execute_with_session(Some(AuthSession::Password), |context| {
            for (n, part) in content.chunks(512).enumerate() {
                let offset = u16::try_from(n * 512).unwrap();
                context
                    .nv_write(NvAuth::Owner, nv, part.try_into().unwrap(), offset)
                    .unwrap();
            }
        });
    }

    /// Defines an NV index and leaves it unwritten.
    pub fn define_nv(&self, index: u32, size: usize) {
        define(&mut self.context(), index, size);
    }

    /// Puts a stand-in for an EK certificate into NV: DER that holds the key,
    /// with padding after it. The attester does not read more of it.
    pub fn certify_ek(&self, template: EkTemplate) -> Vec<u8> {
        let tpm = self.open();
        let public = tpm.endorsement_public(&template.public()).unwrap();
        drop(tpm);
        let certificate = stand_in_certificate(&public);
        let mut padded = certificate.clone();
        padded.extend([0xFF; 40]);
        self.write_nv(template.cert_nv_index(), &padded);
        certificate
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.stop();
    }
}

fn define(context: &mut Context, index: u32, size: usize) -> NvIndexHandle {
    let attributes = NvIndexAttributesBuilder::new()
        .with_owner_write(true)
        .with_owner_read(true)
        .with_auth_read(true)
        .with_no_da(true)
        .build()
        .unwrap();
    let public = NvPublicBuilder::new()
        .with_nv_index(NvIndexTpmHandle::new(index).unwrap())
        .with_index_name_algorithm(HashingAlgorithm::Sha256)
        .with_index_attributes(attributes)
        .with_data_area_size(size)
        .build()
        .unwrap();
    context.execute_with_session(Some(AuthSession::Password), |context| {
        context
            .nv_define_space(Provision::Owner, None, public)
            .unwrap()
    })
}

/// TPM2_MakeCredential on another TPM.
pub fn make_credential(
    maker: &Swtpm,
    ek: &Public,
    ak_name: &Name,
    secret: [u8; 32],
) -> (Vec<u8>, Vec<u8>) {
    use tss_esapi::interface_types::resource_handles::Hierarchy;
    let mut context = maker.context();
    let public = tss_esapi::traits::UnMarshall::unmarshall(&ek.encode()).unwrap();
    let ek = context
        .load_external_public(public, Hierarchy::Owner)
        .unwrap();
    let name = ak_name.as_bytes().to_vec().try_into().unwrap();
    let (blob, encrypted) = context
        .make_credential(ek, secret.as_slice().try_into().unwrap(), name)
        .unwrap();
    (blob.to_vec(), encrypted.to_vec())
}

pub fn stand_in_certificate(public: &Public) -> Vec<u8> {
    let key = match public.parameters {
        Parameters::Ecc { .. } => public.to_ec_point().unwrap(),
        _ => public.to_rsa_public_key_der().unwrap(),
    };
    sequence(&key)
}

pub fn sequence(content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len()).unwrap();
    let mut der = match len {
        0..=0x7F => vec![0x30, u8::try_from(len).unwrap()],
        0x80..=0xFF => vec![0x30, 0x81, u8::try_from(len).unwrap()],
        _ => {
            let [high, low] = len.to_be_bytes();
            vec![0x30, 0x82, high, low]
        }
    };
    der.extend(content);
    der
}

/// A command without sessions (TPM 2.0 Library Part 1 §18.4).
pub fn raw_command(code: u32, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(10 + body.len()).unwrap();
    [
        &[0x80, 0x01][..],
        &size.to_be_bytes(),
        &code.to_be_bytes(),
        body,
    ]
    .concat()
}

/// TPM2_PCR_Extend of the SHA-256 bank, with an empty password.
pub fn extend_command(pcr: u32, digest: [u8; 32]) -> Vec<u8> {
    let body = [
        &pcr.to_be_bytes()[..],
        &9u32.to_be_bytes(),
        &[0x40, 0, 0, 9, 0, 0, 1, 0, 0],
        &[0, 0, 0, 1, 0, 0x0B],
        &digest,
    ]
    .concat();
    let mut command = raw_command(0x182, &body);
    command[1] = 0x02; // TPM_ST_SESSIONS
    command
}

/// Two listeners on consecutive ports, as libtss2 wants them.
pub fn listen_pair() -> (TcpListener, TcpListener) {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX
            && let Ok(second) = TcpListener::bind(("127.0.0.1", port + 1))
        {
            return (first, second);
        }
    }
}

fn free_pair() -> u16 {
    listen_pair().0.local_addr().unwrap().port()
}

fn spawn(port: u16, dir: &TempDir) -> Child {
    Command::new("swtpm")
        .args(["socket", "--tpm2"])
        .args([
            "--server",
            &format!("type=tcp,port={port},bindaddr=127.0.0.1"),
        ])
        .args([
            "--ctrl",
            &format!("type=tcp,port={},bindaddr=127.0.0.1", port + 1),
        ])
        .args(["--flags", "not-need-init,startup-clear"])
        .args(["--tpmstate", &format!("dir={}", dir.path().display())])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("swtpm is installed (apt-get install swtpm)")
}

/// swtpm binds its control port last; connecting there disturbs nothing.
fn answers(child: &mut Child, port: u16) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if TcpStream::connect(("127.0.0.1", port + 1)).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    false
}
