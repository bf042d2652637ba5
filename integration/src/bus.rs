//! A recorder on the bus between the attester and its TPM (A24): passes every
//! byte on, and keeps it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use holdfast_attester::tpm::TctiName;

/// The recorder. Its threads end with the test's process.
#[derive(Debug)]
pub struct RecordedBus {
    port: u16,
    seen: Arc<Mutex<Seen>>,
}

/// Both directions of the command channel, each as one stream.
#[derive(Debug, Default)]
struct Seen {
    commands: Vec<u8>,
    answers: Vec<u8>,
}

impl RecordedBus {
    /// Before the TPM that `tcti` names, which must be a swtpm.
    ///
    /// # Errors
    /// Where it is none, or no ports are to be had.
    pub fn before(tcti: &str) -> Result<Self> {
        let TctiName::Swtpm { host, port } = tcti.parse()? else {
            bail!("{tcti} is no swtpm");
        };
        let (commands, control) = listen_pair()?;
        let own = commands.local_addr()?.port();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let recorded = Arc::clone(&seen);
        serve(commands, (host.clone(), port), Some(recorded));
        serve(control, (host, port + 1), None);
        Ok(Self { port: own, seen })
    }

    /// What to give the attester as its TPM.
    #[must_use]
    pub fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// Whether these bytes went by, in either direction.
    #[must_use]
    pub fn saw(&self, bytes: &[u8]) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        [&seen.commands, &seen.answers]
            .into_iter()
            .any(|stream| stream.windows(bytes.len()).any(|window| window == bytes))
    }

    /// How often a command with this code went by. Counts what looks like its
    /// header: TPM_ST_SESSIONS, a size, the code.
    #[must_use]
    pub fn count(&self, code: u32) -> usize {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_header = |header: &&[u8]| {
            header.starts_with(&[0x80, 0x02, 0, 0]) && header.ends_with(&code.to_be_bytes())
        };
        seen.commands.windows(10).filter(is_header).count()
    }
}

fn serve(listener: TcpListener, target: (String, u16), seen: Option<Arc<Mutex<Seen>>>) {
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let Ok(far) = TcpStream::connect((target.0.as_str(), target.1)) else {
                return;
            };
            // swtpm serves one connection at a time: so does this.
            let _ = relay(near, far, seen.clone());
        }
    });
}

fn relay(near: TcpStream, far: TcpStream, seen: Option<Arc<Mutex<Seen>>>) -> Result<()> {
    let (near_reader, far_writer) = (near.try_clone()?, far.try_clone()?);
    let to_tpm = seen.clone();
    let up = std::thread::spawn(move || {
        copy(near_reader, far_writer, |bytes| {
            keep(to_tpm.as_ref(), |seen| &mut seen.commands, bytes);
        })
    });
    copy(far, near, |bytes| {
        keep(seen.as_ref(), |seen| &mut seen.answers, bytes);
    });
    up.join().ok().context("relay")?;
    Ok(())
}

fn keep(seen: Option<&Arc<Mutex<Seen>>>, stream: fn(&mut Seen) -> &mut Vec<u8>, bytes: &[u8]) {
    if let Some(seen) = seen {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        stream(&mut seen).extend_from_slice(bytes);
    }
}

/// Kept before it is passed on: what was answered to was seen.
fn copy(mut from: TcpStream, mut to: TcpStream, mut seen: impl FnMut(&[u8])) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let bytes = buffer.get(..read).unwrap_or_default();
        seen(bytes);
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

/// Two listeners on consecutive ports, as libtss2 wants them.
fn listen_pair() -> Result<(TcpListener, TcpListener)> {
    for _ in 0..100 {
        let first = TcpListener::bind("127.0.0.1:0")?;
        let port = first.local_addr()?.port();
        if let Some(next) = port.checked_add(1)
            && let Ok(second) = TcpListener::bind(("127.0.0.1", next))
        {
            return Ok((first, second));
        }
    }
    bail!("no two ports in a row are free")
}
