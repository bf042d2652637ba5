//! A stream that remembers the peer's last word. In TLS 1.3 a server refuses a
//! client certificate after the client believes the handshake done, and HTTP/2
//! reports no more than "connection closed". It may even fail to write first:
//! the server has closed by then, and its alert lies unread.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The fatal alert that the peer sent, once it did.
pub(super) type Alert = Arc<OnceLock<String>>;

pub(super) struct Watched<S> {
    stream: S,
    alert: Alert,
    /// Why writing failed, kept back while the peer's last word is read.
    broken: Option<io::Error>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S) -> (Self, Alert) {
        let alert = Alert::default();
        (
            Self {
                stream,
                alert: Arc::clone(&alert),
                broken: None,
            },
            alert,
        )
    }

    fn note<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &outcome
            && let Some(rustls::Error::AlertReceived(alert)) = error
                .get_ref()
                .and_then(|e| e.downcast_ref::<rustls::Error>())
        {
            // The first one counts; later errors repeat it.
            let _ = self.alert.set(format!("{alert:?}"));
        }
        outcome
    }
}

impl<S: AsyncRead + Unpin> Watched<S> {
    /// After a failed write: reads to the end, and only then says that it
    /// failed. The peer is gone, so the end is near.
    fn hear_out<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match outcome {
            Poll::Ready(Err(error)) => self.broken = Some(error),
            other => return other,
        }
        self.last_word(cx).map(Err)
    }

    fn last_word(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let mut scratch = [0; 1024];
            let mut buf = ReadBuf::new(&mut scratch);
            let read = Pin::new(&mut self.stream).poll_read(cx, &mut buf);
            match self.note(read) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                Poll::Ready(_) => break,
            }
        }
        let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
        Poll::Ready(self.broken.take().unwrap_or_else(closed))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.note(outcome)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.broken.is_some() {
            return self.last_word(cx).map(Err);
        }
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.hear_out(cx, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken.is_some() {
            return self.last_word(cx).map(Err);
        }
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.hear_out(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use rustls::AlertDescription;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Refuses writes; its alert is there to be read a moment later.
    struct Refused {
        polled: bool,
    }

    impl AsyncRead for Refused {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if !std::mem::replace(&mut self.polled, true) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let alert = rustls::Error::AlertReceived(AlertDescription::CertificateExpired);
            Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, alert)))
        }
    }

    impl AsyncWrite for Refused {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn an_alert_is_heard_though_writing_failed_first() {
        let (mut stream, alert) = Watched::new(Refused { polled: false });
        let error = stream.write_all(b"PRI").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(alert.get().map(String::as_str), Some("CertificateExpired"));

        let (mut stream, alert) = Watched::new(Refused { polled: false });
        stream.flush().await.unwrap_err();
        assert!(alert.get().is_some());
    }

    #[tokio::test]
    async fn an_alert_is_heard_by_reading() {
        let (mut stream, alert) = Watched::new(Refused { polled: false });
        stream.read_u8().await.unwrap_err();
        assert!(alert.get().is_some());
    }
}
