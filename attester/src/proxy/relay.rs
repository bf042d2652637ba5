//! Bytes from one side to the other, both ways, until both have ended or
//! neither has said anything for too long.

use std::io;
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::local::Duplex;

/// Per direction and connection.
const BUFFER: usize = 16 * 1024;

/// When either side last said something.
struct Clock(Mutex<Instant>);

impl Clock {
    fn touch(&self) {
        if let Ok(mut last) = self.0.lock() {
            *last = Instant::now();
        }
    }

    async fn idle_for(&self, limit: Duration) {
        loop {
            let end = match self.0.lock() {
                Ok(last) => *last + limit,
                Err(_) => return,
            };
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

/// An end on one side is passed on; the other direction goes on without it.
pub(super) async fn relay(near: impl Duplex, far: impl Duplex, idle: Duration) -> io::Result<()> {
    let clock = Clock(Mutex::new(Instant::now()));
    let (near_read, near_write) = tokio::io::split(near);
    let (far_read, far_write) = tokio::io::split(far);
    let both = async {
        tokio::try_join!(
            copy(near_read, far_write, &clock),
            copy(far_read, near_write, &clock),
        )
        .map(drop)
    };
    tokio::select! {
        outcome = both => outcome,
        () = clock.idle_for(idle) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    clock: &Clock,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        clock.touch();
        let Some(read) = buffer.get(..read).filter(|read| !read.is_empty()) else {
            return to.shutdown().await;
        };
        to.write_all(read).await?;
        // TLS holds back what it has not been told to send.
        to.flush().await?;
        clock.touch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_end_is_passed_on_and_the_answer_still_comes() {
        let (mut client, near) = tokio::io::duplex(64);
        let (far, mut server) = tokio::io::duplex(64);
        let relayed = tokio::spawn(relay(near, far, Duration::from_secs(60)));
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut heard = String::new();
        server.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "question");
        server.write_all(b"answer").await.unwrap();
        drop(server);
        heard.clear();
        client.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "answer");
        relayed.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it_and_a_word_puts_that_off() {
        let (mut client, near) = tokio::io::duplex(64);
        let (far, _server) = tokio::io::duplex(64);
        let began = Instant::now();
        let relayed = tokio::spawn(relay(near, far, Duration::from_secs(10)));
        tokio::time::sleep(Duration::from_secs(8)).await;
        client.write_all(b"word").await.unwrap();
        let error = relayed.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= Duration::from_secs(18));
        assert!(began.elapsed() < Duration::from_secs(19));
    }
}
