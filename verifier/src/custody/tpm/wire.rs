//! TPM commands and answers as octets (TPM 2.0 Library Part 1 §18), over the
//! kernel's resource manager or a software TPM's socket. A connection is kept
//! for one act only: then others get their turn, and what the act left in the
//! TPM goes with it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs as _},
    path::PathBuf,
    str::FromStr,
    thread,
    time::Duration,
};

use zeroize::Zeroizing;

use crate::custody::DeviceError;

/// Longest that a software TPM may keep us; the kernel's device has no time-out
/// of ours, and is waited for on a thread of its own.
const PATIENCE: Duration = Duration::from_secs(4);
/// No answer to our commands is longer.
const ANSWER_MAX: usize = 4096;
/// A TPM that says "again" is asked so often, at this distance.
const RETRIES: usize = 40;
const RETRY_AFTER: Duration = Duration::from_millis(25);

const TPM_ST_NO_SESSIONS: u16 = 0x8001;
const TPM_ST_SESSIONS: u16 = 0x8002;
const TPM_RS_PW: u32 = 0x4000_0009;
/// TPM_RC_YIELDED, TPM_RC_TESTING, TPM_RC_RETRY (Part 2 §6.6.3).
const AGAIN: [u32; 3] = [0x908, 0x90A, 0x922];
const HEADER: usize = 10;

/// Where a TPM answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// `device:/dev/tpmrm0`
    Device(PathBuf),
    /// `swtpm:HOST:PORT`
    Swtpm(String, u16),
}

impl FromStr for Endpoint {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let bad = || {
            DeviceError::Unreachable(format!(
                "{text:?} names no TPM: use device:/dev/tpmrm0 or swtpm:HOST:PORT"
            ))
        };
        match text.split_once(':').ok_or_else(bad)? {
            ("device", path) if path.starts_with('/') => Ok(Self::Device(PathBuf::from(path))),
            ("swtpm", rest) => {
                let (host, port) = rest.rsplit_once(':').ok_or_else(bad)?;
                let port = port.parse().map_err(|_| bad())?;
                Ok(Self::Swtpm(host.to_owned(), port))
            }
            _ => Err(bad()),
        }
    }
}

/// A command.
pub(super) struct Command<'a> {
    pub(super) name: &'static str,
    pub(super) code: u32,
    pub(super) handles: &'a [u32],
    /// Password of the first handle's session; `None`: it needs none.
    pub(super) password: Option<&'a [u8]>,
    pub(super) parameters: &'a [u8],
}

impl Command<'_> {
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut body = Zeroizing::new(self.code.to_be_bytes().to_vec());
        for handle in self.handles {
            body.extend_from_slice(&handle.to_be_bytes());
        }
        let tag = match self.password {
            None => TPM_ST_NO_SESSIONS,
            Some(password) => {
                // handle, nonce (empty), attributes (none), password
                let length = u32::try_from(4 + 2 + 1 + 2 + password.len()).unwrap_or(u32::MAX);
                body.extend_from_slice(&length.to_be_bytes());
                body.extend_from_slice(&TPM_RS_PW.to_be_bytes());
                body.extend_from_slice(&[0, 0, 0]);
                body.extend_from_slice(&sized(password));
                TPM_ST_SESSIONS
            }
        };
        body.extend_from_slice(self.parameters);
        let size = u32::try_from(body.len() + 6).unwrap_or(u32::MAX);
        let mut command = Zeroizing::new(tag.to_be_bytes().to_vec());
        command.extend_from_slice(&size.to_be_bytes());
        command.extend_from_slice(&body);
        command
    }
}

/// `TPM2B`
pub(super) fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), bytes].concat()
}

/// Why a command gave no answer that can be used.
#[derive(Debug)]
pub(super) enum Failure {
    /// The TPM answered with this code.
    Code(&'static str, u32),
    /// It did not answer, or not as a TPM does.
    Silent(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Silent(error.to_string())
    }
}

impl From<Failure> for DeviceError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Code(command, code) => Self::Refused(format!("{command} answers {code:#05x}")),
            Failure::Silent(why) => Self::Unreachable(why),
        }
    }
}

/// A connection.
pub(super) enum Link {
    Device(File),
    Swtpm(TcpStream),
}

impl Link {
    pub(super) fn open(endpoint: &Endpoint) -> Result<Self, Failure> {
        match endpoint {
            Endpoint::Device(path) => OpenOptions::new()
                .read(true)
                .write(true)
                .open(path)
                .map(Self::Device)
                .map_err(|e| Failure::Silent(format!("{}: {e}", path.display()))),
            Endpoint::Swtpm(host, port) => {
                connect(host, *port).map_err(|e| Failure::Silent(format!("{host}:{port}: {e}")))
            }
        }
    }

    /// Runs a command; so many handles are in its answer before its parameters.
    pub(super) fn run(
        &mut self,
        command: &Command<'_>,
        handles: usize,
    ) -> Result<(Vec<u32>, Vec<u8>), Failure> {
        let octets = command.encode();
        for _ in 0..RETRIES {
            let answer = self.exchange(&octets)?;
            let mut answer = Answer(&answer);
            let (tag, _size, code) = (answer.u16()?, answer.u32()?, answer.u32()?);
            match code {
                0 => {
                    let handles = (0..handles)
                        .map(|_| answer.u32())
                        .collect::<Result<_, _>>()?;
                    let parameters = if tag == TPM_ST_SESSIONS {
                        let length = answer.u32()?;
                        answer.take(usize::try_from(length).unwrap_or(usize::MAX))?
                    } else {
                        answer.0
                    };
                    return Ok((handles, parameters.to_vec()));
                }
                code if AGAIN.contains(&code) => thread::sleep(RETRY_AFTER),
                code => return Err(Failure::Code(command.name, code)),
            }
        }
        Err(Failure::Silent("the TPM is busy".to_owned()))
    }

    /// One round trip: the whole answer, as long as its header says.
    fn exchange(&mut self, command: &[u8]) -> Result<Vec<u8>, Failure> {
        let answer = match self {
            // The kernel takes a command in one write and gives its answer in
            // one read.
            Self::Device(device) => {
                device.write_all(command)?;
                let mut answer = vec![0; ANSWER_MAX];
                let length = device.read(&mut answer)?;
                answer.truncate(length);
                answer
            }
            Self::Swtpm(stream) => {
                stream.write_all(command)?;
                let mut answer = vec![0; HEADER];
                stream.read_exact(&mut answer)?;
                let length = size_of_answer(&answer)?;
                answer.resize(length, 0);
                stream.read_exact(answer.get_mut(HEADER..).unwrap_or_default())?;
                answer
            }
        };
        if size_of_answer(&answer)? == answer.len() {
            Ok(answer)
        } else {
            Err(Failure::Silent(
                "an answer of another length than it says".to_owned(),
            ))
        }
    }
}

fn connect(host: &str, port: u16) -> io::Result<Link> {
    let address = (host, port)
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such host"))?;
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(Link::Swtpm(stream))
}

fn size_of_answer(answer: &[u8]) -> Result<usize, Failure> {
    let mut header = Answer(answer);
    header.u16()?;
    let size = usize::try_from(header.u32()?).unwrap_or(usize::MAX);
    if (HEADER..=ANSWER_MAX).contains(&size) {
        Ok(size)
    } else {
        Err(Failure::Silent(format!("an answer of {size} octets")))
    }
}

/// Reads from the front.
pub(super) struct Answer<'a>(pub(super) &'a [u8]);

impl<'a> Answer<'a> {
    pub(super) fn u16(&mut self) -> Result<u16, Failure> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Failure> {
        self.array().map(u32::from_be_bytes)
    }

    /// Content of a `TPM2B`.
    pub(super) fn sized(&mut self) -> Result<&'a [u8], Failure> {
        let length = self.u16()?;
        self.take(length.into())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        let (head, tail) = self.0.split_first_chunk().ok_or_else(short)?;
        self.0 = tail;
        Ok(*head)
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Failure> {
        let (head, tail) = self.0.split_at_checked(length).ok_or_else(short)?;
        self.0 = tail;
        Ok(head)
    }
}

fn short() -> Failure {
    Failure::Silent("the TPM's answer ends early".to_owned())
}
