//! The local endpoint: `GET /status` (JSON) and `GET /metrics` (Prometheus) over
//! HTTP/1 on a Unix socket, for whoever may open it. Nothing can be changed
//! through it, and what a caller can cost is bounded.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Semaphore;

use super::metrics;
use super::status::Status;
use crate::proxy::{LocalAddress, LocalListener, ProxyError};

/// For the owner and its group: monitoring runs as another user.
const MODE: u32 = 0o660;
/// Longest request head. Ours is one line.
const MAX_HEAD: usize = 4096;
/// For reading the request, and for writing the answer.
const LIMIT: Duration = Duration::from_secs(2);
/// Callers at a time; more are closed at once.
const MAX_CALLERS: usize = 8;

/// What the daemon last said of itself; clones share it.
#[derive(Clone, Debug)]
pub struct Board(Arc<Mutex<Status>>);

impl Board {
    pub(super) fn new(status: Status) -> Self {
        Self(Arc::new(Mutex::new(status)))
    }

    pub(super) fn update<T>(&self, change: impl FnOnce(&mut Status) -> T) -> T {
        // Nobody panics while holding it but by a bug; what it holds is whole.
        let mut status = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut status)
    }

    /// What it says now.
    #[must_use]
    pub fn read(&self) -> Status {
        self.update(|status| status.clone())
    }
}

/// Listening. The socket's file goes with it.
#[derive(Debug)]
pub struct Endpoint {
    listener: LocalListener,
}

impl Endpoint {
    /// Makes the socket, mode 0660, in a directory that only this user can write
    /// to.
    ///
    /// # Errors
    /// [`ProxyError`] says what is in the way.
    pub async fn bind(path: &Path) -> Result<Self, ProxyError> {
        let address = LocalAddress::Unix(path.to_owned());
        let listener = LocalListener::bind(&address).await?;
        std::fs::set_permissions(path, PermissionsExt::from_mode(MODE)).map_err(|source| {
            ProxyError::Listen {
                address: address.to_string(),
                source,
            }
        })?;
        Ok(Self { listener })
    }

    /// Serves until it is dropped.
    pub async fn serve(self, board: Board) {
        let callers = Arc::new(Semaphore::new(MAX_CALLERS));
        loop {
            let Ok(stream) = self.listener.accept().await else {
                // Out of descriptors: others will give theirs back.
                tokio::time::sleep(LIMIT).await;
                continue;
            };
            let Ok(permit) = Arc::clone(&callers).try_acquire_owned() else {
                continue;
            };
            let board = board.clone();
            tokio::spawn(async move {
                answer(stream, &board).await;
                drop(permit);
            });
        }
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, board: &Board) {
    let Ok(Some(head)) = tokio::time::timeout(LIMIT, read_head(&mut stream)).await else {
        return;
    };
    let response = respond(&head, board);
    let _ = tokio::time::timeout(LIMIT, async {
        stream.write_all(&response).await?;
        stream.shutdown().await
    })
    .await;
}

/// Up to the empty line; `None` where it does not come.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let length = stream.read(&mut buffer).await.ok()?;
        head.extend_from_slice(buffer.get(..length)?);
        if length == 0 || head.len() > MAX_HEAD {
            return None;
        }
    }
    Some(head)
}

fn respond(head: &[u8], board: &Board) -> Vec<u8> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target) = (words.next(), words.next());
    let plain = "text/plain; charset=utf-8";
    let (code, kind, body) = match (method, target) {
        (Some(b"GET"), Some(b"/status")) => ("200 OK", "application/json", board.read().to_json()),
        (Some(b"GET"), Some(b"/metrics")) => (
            "200 OK",
            "text/plain; version=0.0.4; charset=utf-8",
            metrics::render(&board.read(), true).into_bytes(),
        ),
        (Some(b"GET"), Some(_)) => (
            "404 Not Found",
            plain,
            b"there are /status and /metrics\n".to_vec(),
        ),
        _ => ("405 Method Not Allowed", plain, b"GET only\n".to_vec()),
    };
    let mut response = format!(
        "HTTP/1.1 {code}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    response.extend(body);
    response
}

/// Asks a daemon that runs, for `/status` or `/metrics`. Blocks for a moment.
///
/// # Errors
/// Where nobody listens there, or something else does.
pub fn ask(socket: &Path, target: &str) -> std::io::Result<Vec<u8>> {
    use std::io::{Error, ErrorKind, Read as _, Write as _};
    /// More than any answer has.
    const MAX_ANSWER: u64 = 1024 * 1024;
    let mut stream = std::os::unix::net::UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    let odd = || Error::new(ErrorKind::InvalidData, "something else answers there");
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        return Err(odd());
    }
    let head = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .ok_or_else(odd)?;
    Ok(answer.split_off(head + 4))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::MetadataExt as _;
    use std::os::unix::net::UnixStream;
    use std::path::PathBuf;

    use super::*;
    use crate::daemon::planner::Now;

    fn board() -> Board {
        let now = Now {
            boot: Duration::ZERO,
            wall: 7,
        };
        let tcti = "swtpm:".parse().unwrap();
        Board::new(Status::new(Path::new("/state"), &tcti, now))
    }

    /// Runs `call` off the runtime, against a serving endpoint.
    async fn with<T: Send + 'static>(call: impl FnOnce(PathBuf) -> T + Send + 'static) -> T {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status.sock");
        let endpoint = Endpoint::bind(&path).await.unwrap();
        let server = tokio::spawn(endpoint.serve(board()));
        let outcome = tokio::task::spawn_blocking(move || call(path))
            .await
            .unwrap();
        server.abort();
        outcome
    }

    fn raw(path: &Path, request: &[u8]) -> String {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    #[tokio::test]
    async fn status_and_metrics_are_told_to_owner_and_group() {
        let (mode, status, metrics) = with(|path| {
            let mode = std::fs::metadata(&path).unwrap().mode() & 0o7777;
            (mode, ask(&path, "/status"), ask(&path, "/metrics"))
        })
        .await;
        assert_eq!(mode, 0o660);
        assert_eq!(Status::parse(&status.unwrap()), Some(board().read()));
        let metrics = String::from_utf8(metrics.unwrap()).unwrap();
        assert!(metrics.contains("holdfast_attester_up 1"), "{metrics}");
    }

    #[tokio::test]
    async fn nothing_else_is_served() {
        let answers = with(|path| {
            [
                raw(&path, b"GET /other HTTP/1.1\r\n\r\n"),
                raw(&path, b"POST /status HTTP/1.1\r\n\r\n"),
                raw(&path, b"\r\n\r\n"),
            ]
        })
        .await;
        let codes = answers.each_ref().map(|answer| &answer[..12]);
        assert_eq!(codes, ["HTTP/1.1 404", "HTTP/1.1 405", "HTTP/1.1 405"]);
    }

    #[tokio::test]
    async fn a_caller_that_says_too_much_or_nothing_is_let_go() {
        let (long, mute, after) = with(|path| {
            let long = raw(&path, &[b'a'; 2 * MAX_HEAD]);
            let mut held: Vec<UnixStream> = (0..MAX_CALLERS)
                .map(|_| UnixStream::connect(&path).unwrap())
                .collect();
            let mut mute = String::new();
            let _ = held[0].read_to_string(&mut mute);
            drop(held);
            (long, mute, ask(&path, "/status").is_ok())
        })
        .await;
        assert_eq!((long.as_str(), mute.as_str(), after), ("", "", true));
    }
}
