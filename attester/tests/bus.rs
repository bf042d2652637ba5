//! A24: somebody sits on the bus between this program and its TPM, reads all
//! and changes what it likes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic here is a failed test"
)]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use holdfast_attester::tpm::{
    AttestationKey, AuthValue, EkChoice, Settings, TctiName, Tpm, TpmError,
};
use holdfast_proto::tpm::templates::AkAlg;
use support::{Swtpm, make_credential};

const ACTIVATE_CREDENTIAL: u32 = 0x147;
const CERTIFY: u32 = 0x148;

#[derive(Default)]
struct Seen {
    bytes: Vec<u8>,
    /// Flip the last bit but the session area's of the answer to this command.
    alter: Option<u32>,
}

/// Forwards the command channel byte for byte, and the control channel.
struct Interposer {
    port: u16,
    seen: Arc<Mutex<Seen>>,
}

impl Interposer {
    fn before(swtpm: &Swtpm) -> Self {
        let (commands, control) = support::listen_pair();
        let port = commands.local_addr().unwrap().port();
        let TctiName::Swtpm { port: target, .. } = swtpm.tcti() else {
            unreachable!()
        };
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        serve(commands, target, move |near, far| {
            relay_commands(near, far, &shared)
        });
        serve(control, target + 1, relay_control);
        Self { port, seen }
    }

    fn tcti(&self) -> TctiName {
        TctiName::Swtpm {
            host: "127.0.0.1".into(),
            port: self.port,
        }
    }

    fn saw(&self, secret: &[u8]) -> bool {
        self.seen
            .lock()
            .unwrap()
            .bytes
            .windows(secret.len())
            .any(|window| window == secret)
    }
}

/// The threads end with the test's process.
fn serve(
    listener: TcpListener,
    target: u16,
    relay: impl Fn(TcpStream, TcpStream) + Send + 'static,
) {
    std::thread::spawn(move || {
        for near in listener.incoming() {
            let far = TcpStream::connect(("127.0.0.1", target)).unwrap();
            relay(near.unwrap(), far);
        }
    });
}

fn relay_commands(mut near: TcpStream, mut far: TcpStream, seen: &Mutex<Seen>) {
    while let Some(command) = message(&mut near) {
        let code = u32::from_be_bytes(command[6..10].try_into().unwrap());
        far.write_all(&command).unwrap();
        let Some(mut answer) = message(&mut far) else {
            break;
        };
        let mut seen = seen.lock().unwrap();
        seen.bytes.extend(&command);
        seen.bytes.extend(&answer);
        if seen.alter == Some(code) {
            // Header 10, parameterSize 4, then the first parameter.
            answer[20] ^= 1;
        }
        near.write_all(&answer).unwrap();
    }
    let _ = far.shutdown(Shutdown::Both);
}

fn message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut message = vec![0; 10];
    stream.read_exact(&mut message).ok()?;
    let size = u32::from_be_bytes(message[2..6].try_into().unwrap());
    message.resize(usize::try_from(size).unwrap(), 0);
    stream.read_exact(&mut message[10..]).ok()?;
    Some(message)
}

fn relay_control(near: TcpStream, far: TcpStream) {
    let (mut near_read, mut far_write) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut near_read, &mut far_write);
        let _ = far_write.shutdown(Shutdown::Write);
    });
    let (mut far, mut near) = (far, near);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut far, &mut near);
    });
}

#[test]
fn adv_a24_no_secret_is_in_clear_on_the_bus() {
    use std::os::unix::fs::PermissionsExt;
    const AUTH: &[u8] = b"endorsement-auth";
    let (swtpm, maker) = (Swtpm::start(), Swtpm::start());
    swtpm.context().execute_with_session(
        Some(tss_esapi::interface_types::session_handles::AuthSession::Password),
        |context| {
            let handle = tss_esapi::handles::AuthHandle::Endorsement;
            context
                .hierarchy_change_auth(handle, AUTH.try_into().unwrap())
                .unwrap();
        },
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("auth");
    std::fs::write(&file, AUTH).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let settings = Settings {
        endorsement_auth: Some(AuthValue::from_file(&file).unwrap()),
        ..Settings::default()
    };
    let bus = Interposer::before(&swtpm);
    let tpm = Tpm::open_with(&bus.tcti(), settings).unwrap();
    tpm.storage_root(None).unwrap();
    let ak = AttestationKey {
        alg: AkAlg::EcdsaP256,
        unique: [3; 32],
    };
    let name = tpm.attestation_key(&ak).unwrap().name();
    let secret = *b"the Verifier's activation secret";
    for choice in [EkChoice::EccP256, EkChoice::EccP384] {
        let ek = tpm.endorsement_key(choice).unwrap();
        let (blob, encrypted) = make_credential(&maker, &ek.public, &name, secret);
        let got = tpm
            .activate_credential(&ek.template, &ak, &blob, &encrypted)
            .unwrap();
        assert_eq!(got.as_slice(), secret);
    }
    assert!(bus.saw(name.as_bytes().get(2..).unwrap()), "the tap works");
    assert!(!bus.saw(&secret));
    assert!(!bus.saw(AUTH));
}

#[test]
fn adv_a24_altered_answers_are_detected() {
    let (swtpm, maker) = (Swtpm::start(), Swtpm::start());
    let bus = Interposer::before(&swtpm);
    let ak = AttestationKey {
        alg: AkAlg::EcdsaP256,
        unique: [3; 32],
    };
    for command in [ACTIVATE_CREDENTIAL, CERTIFY] {
        let tpm = Tpm::open(&bus.tcti()).unwrap();
        let name = tpm.attestation_key(&ak).unwrap().name();
        let key = tpm.create_ldevid().unwrap();
        let ek = tpm.endorsement_key(EkChoice::EccP256).unwrap();
        let (blob, encrypted) = make_credential(&maker, &ek.public, &name, [1; 32]);
        let both = |tpm: &Tpm| {
            tpm.activate_credential(&ek.template, &ak, &blob, &encrypted)?;
            tpm.certify(&key, &ak, [1; 32])
        };
        bus.seen.lock().unwrap().alter = Some(command);
        let error = both(&tpm).unwrap_err();
        assert!(matches!(error, TpmError::ResponseAltered { .. }), "{error}");
        // Nothing more is said over that connection.
        bus.seen.lock().unwrap().alter = None;
        let sent = tpm.command_count();
        assert!(matches!(both(&tpm), Err(TpmError::ResponseAltered { .. })));
        assert_eq!(tpm.command_count(), sent);
        drop(tpm);
        // Left alone, all goes well over a new one.
        let tpm = Tpm::open(&bus.tcti()).unwrap();
        both(&tpm).unwrap();
    }
}
