//! Commands and answers on swtpm's data socket: TPM command buffers, bare
//! (TPM 2.0 Library Part 1 §18).

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crate::SimError;

/// swtpm serves one client at a time, and the next waits in the socket's
/// backlog. A client that holds it longer than this is stuck.
const PATIENCE: Duration = Duration::from_secs(20);
/// No answer is longer on any TPM seen.
const MAX_ANSWER: u32 = 8192;

const TPM_ST_NO_SESSIONS: u16 = 0x8001;
const TPM_ST_SESSIONS: u16 = 0x8002;
const TPM_RC_RETRY: u32 = 0x922;
/// One password session (`TPM_RS_PW`) with an empty password.
const EMPTY_PASSWORD: [u8; 13] = [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 1, 0, 0];

/// Where a simulated TPM listens for commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Port on 127.0.0.1; control is on the next one.
    Tcp(u16),
    /// Socket; control is on the same path with `.ctrl` added.
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    /// As a TCTI name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(port) => write!(f, "swtpm:host=127.0.0.1,port={port}"),
            Self::Unix(path) => write!(f, "swtpm:path={}", path.display()),
        }
    }
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A connection to a simulated TPM.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
}

impl Wire {
    pub(crate) fn connect(endpoint: &Endpoint) -> io::Result<Self> {
        let stream: Box<dyn Stream> = match endpoint {
            Endpoint::Tcp(port) => {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
                let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
        };
        Ok(Self { stream })
    }

    /// Runs a command; `authorised` by the empty password for its first handle.
    pub(super) fn run(
        &mut self,
        command: &'static str,
        code: u32,
        handles: &[u32],
        authorised: bool,
        parameters: &[u8],
    ) -> Result<Answer, SimError> {
        let tag = if authorised {
            TPM_ST_SESSIONS
        } else {
            TPM_ST_NO_SESSIONS
        };
        let handles: Vec<u8> = handles
            .iter()
            .flat_map(|handle| handle.to_be_bytes())
            .collect();
        let session = if authorised {
            EMPTY_PASSWORD.as_slice()
        } else {
            &[]
        };
        let body = [&code.to_be_bytes(), handles.as_slice(), session, parameters].concat();
        let size = u32::try_from(body.len() + 6).expect("the simulator's commands are short");
        let buffer = [tag.to_be_bytes().as_slice(), &size.to_be_bytes(), &body].concat();
        loop {
            match self.exchange(&buffer).map_err(SimError::Silent)? {
                (0, bytes) => {
                    return Ok(Answer {
                        command,
                        sessions: authorised,
                        bytes: bytes.into(),
                    });
                }
                (TPM_RC_RETRY, _) => thread::sleep(Duration::from_millis(5)),
                (code, _) => return Err(SimError::Refused { command, code }),
            }
        }
    }

    /// One round trip: response code, and what follows it.
    fn exchange(&mut self, command: &[u8]) -> io::Result<(u32, Vec<u8>)> {
        self.stream.write_all(command)?;
        self.stream.flush()?;
        let mut header = [0; 10];
        self.stream.read_exact(&mut header)?;
        let [_, _, size @ .., a, b, c, d] = header;
        let size = u32::from_be_bytes(size);
        if !(10..=MAX_ANSWER).contains(&size) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("answer of {size} octets"),
            ));
        }
        let mut rest = vec![0; size as usize - 10];
        self.stream.read_exact(&mut rest)?;
        Ok((u32::from_be_bytes([a, b, c, d]), rest))
    }
}

/// An answer without its header, read from the front.
pub(super) struct Answer {
    command: &'static str,
    sessions: bool,
    bytes: VecDeque<u8>,
}

impl Answer {
    /// The handle that the command made; the parameters follow.
    pub(super) fn with_handle(mut self) -> Result<(u32, Self), SimError> {
        Ok((self.u32()?, self.parameters()?))
    }

    /// The parameters, without the session area after them.
    pub(super) fn parameters(mut self) -> Result<Self, SimError> {
        let len = if self.sessions {
            self.u32()? as usize
        } else {
            self.bytes.len()
        };
        let bytes = self.take(len)?.into();
        Ok(Self {
            sessions: false,
            bytes,
            ..self
        })
    }

    pub(super) fn take(&mut self, len: usize) -> Result<Vec<u8>, SimError> {
        if len > self.bytes.len() {
            return Err(SimError::Malformed {
                command: self.command,
            });
        }
        Ok(self.bytes.drain(..len).collect())
    }

    pub(super) fn u16(&mut self) -> Result<u16, SimError> {
        let octets = self.take(2)?;
        Ok(octets
            .into_iter()
            .fold(0, |value, octet| value << 8 | u16::from(octet)))
    }

    pub(super) fn u32(&mut self) -> Result<u32, SimError> {
        let octets = self.take(4)?;
        Ok(octets
            .into_iter()
            .fold(0, |value, octet| value << 8 | u32::from(octet)))
    }

    pub(super) fn tpm2b(&mut self) -> Result<Vec<u8>, SimError> {
        let len = self.u16()?;
        self.take(len.into())
    }
}

/// A buffer with its `UINT16` size.
pub(super) fn tpm2b(content: &[u8]) -> Vec<u8> {
    let size = u16::try_from(content.len()).expect("the simulator's buffers are short");
    [&size.to_be_bytes(), content].concat()
}
