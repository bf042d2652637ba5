//! A man in the middle of the TPM's command channel.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use holdfast_attester::tpm::TctiName;

use super::Swtpm;

#[derive(Default)]
pub struct Script {
    /// All that went by.
    pub bytes: Vec<u8>,
    /// Commands that went by, whole.
    pub commands: Vec<Vec<u8>>,
    /// Command codes that went by.
    pub codes: Vec<u32>,
    /// Flip a bit in the first parameter of the answers to this command.
    pub alter: Option<u32>,
    /// Answer this command with this code, so many times.
    pub refuse: Option<(u32, u32, u32)>,
    /// Answer the next command of this code with these bytes, unasked.
    pub forge: Option<(u32, Vec<u8>)>,
    /// Before the next command of this code, send another one.
    pub first: Option<(u32, Vec<u8>)>,
}

/// Forwards the command channel byte for byte, and the control channel.
pub struct Interposer {
    port: u16,
    script: Arc<Mutex<Script>>,
}

impl Interposer {
    pub fn before(swtpm: &Swtpm) -> Self {
        let (commands, control) = super::listen_pair();
        let port = commands.local_addr().unwrap().port();
        let TctiName::Swtpm { port: target, .. } = swtpm.tcti() else {
            unreachable!()
        };
        let script = Arc::new(Mutex::new(Script::default()));
        let shared = Arc::clone(&script);
        serve(commands, target, move |near, far| {
            relay_commands(near, far, &shared)
        });
        serve(control, target + 1, relay_control);
        Self { port, script }
    }

    pub fn tcti(&self) -> TctiName {
        TctiName::Swtpm {
            host: "127.0.0.1".into(),
            port: self.port,
        }
    }

    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    pub fn saw(&self, secret: &[u8]) -> bool {
        self.script()
            .bytes
            .windows(secret.len())
            .any(|window| window == secret)
    }

    pub fn count(&self, code: u32) -> usize {
        self.script()
            .codes
            .iter()
            .filter(|seen| **seen == code)
            .count()
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

fn relay_commands(mut near: TcpStream, mut far: TcpStream, script: &Mutex<Script>) {
    while let Some(command) = message(&mut near) {
        let code = u32::from_be_bytes(command[6..10].try_into().unwrap());
        let mut script = script.lock().unwrap();
        script.codes.push(code);
        script.commands.push(command.clone());
        if let Some((_, first)) = script.first.take_if(|(before, _)| *before == code) {
            far.write_all(&first).unwrap();
            message(&mut far).unwrap();
        }
        let refusal = script.refuse.take_if(|(refused, ..)| *refused == code);
        let answer = if let Some((code, rc, left)) = refusal {
            script.refuse = (left > 1).then_some((code, rc, left - 1));
            Some([&[0x80, 0x01, 0, 0, 0, 10][..], &rc.to_be_bytes()].concat())
        } else if let Some((_, forged)) = script.forge.take_if(|(forged, _)| *forged == code) {
            Some(forged)
        } else {
            far.write_all(&command).unwrap();
            message(&mut far)
        };
        let Some(mut answer) = answer else { break };
        script.bytes.extend(&command);
        script.bytes.extend(&answer);
        if script.alter == Some(code) {
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
