//! Whole enrolments and re-attestations against the real verifier program: how
//! many bytes cross the wire, and what the attester adds to its TPM's time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use holdfast_integration::Scene;
use holdfast_integration::scene::{accepting, enrol};
use prost::Message;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

/// EKs that are shown: as `init` writes it.
const SHIPPED_EKS: (&str, &str) = ("[\"L-2\"]", "all");
/// Enrolments measured; the median counts.
const RUNS: usize = 15;

/// What was measured.
pub(crate) struct Wire {
    /// TCP payload of one enrolment, both directions, TLS included.
    pub(crate) enroll_bytes: u64,
    /// TCP payload of one re-attestation, both directions, TLS handshake
    /// included.
    pub(crate) reattest_bytes: u64,
    /// The gRPC messages in it, encoded.
    pub(crate) reattest_messages: usize,
    /// Wall time of an enrolment ÷ the sum of its TPM commands; median.
    pub(crate) enroll_tpm_ratio: f64,
    /// The sum of its TPM commands in the median run, in milliseconds.
    pub(crate) tpm_milliseconds: f64,
}

pub(crate) async fn measure() -> Result<Wire> {
    let mut scene = Scene::with(
        |_| {},
        // The bench enrols one gateway over and over, which is what the
        // limits are there to stop.
        |configuration| {
            accepting(&configuration, SHIPPED_EKS.0, SHIPPED_EKS.1)
                .replace(
                    "requests_per_minute_per_address = ",
                    "requests_per_minute_per_address = 10000 # ",
                )
                .replace(
                    "challenges_per_minute_per_ek = ",
                    "challenges_per_minute_per_ek = 10000 # ",
                )
        },
    )?;
    let meter = Meter::start(scene.deployment.address()).await?;

    let mut bundle = scene.deployment.bundle()?;
    bundle.server = meter.address.to_string();
    let enrolled = enrol(&scene.gateway, &bundle).await?;
    let enroll_bytes = meter.take();

    let ready = scene.ready_to_attest(&enrolled, false).await?;
    let answer = ready.send().await?;
    ensure!(
        answer.verdict.as_ref().is_some_and(|v| v.affirming),
        "an unchanged gateway must be affirmed"
    );
    let reattest_messages =
        ready.challenge.encoded_len() + ready.request.encoded_len() + answer.encoded_len();
    drop(ready);
    let reattest_bytes = meter.take();

    let mut ratios = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let bundle = scene.deployment.bundle()?;
        // As the program does: with a TPM connection that knows no key yet.
        scene.gateway.with_sim(|_| anyhow::Ok(()))?;
        let opening = scene.gateway.tpm().command_time();
        let start = Instant::now();
        enrol(&scene.gateway, &bundle).await?;
        let wall = start.elapsed().as_secs_f64();
        let tpm = (scene.gateway.tpm().command_time() - opening).as_secs_f64();
        ratios.push((wall / tpm, tpm * 1e3));
    }
    ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (enroll_tpm_ratio, tpm_milliseconds) = ratios.get(RUNS / 2).copied().context("no runs")?;
    Ok(Wire {
        enroll_bytes,
        reattest_bytes,
        reattest_messages,
        enroll_tpm_ratio,
        tpm_milliseconds,
    })
}

/// A forwarder on loopback that counts what it forwards.
struct Meter {
    address: SocketAddr,
    bytes: Arc<AtomicU64>,
}

impl Meter {
    async fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let bytes = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&bytes);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let counter = Arc::clone(&counter);
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(server).await else {
                        return;
                    };
                    let (mut client, mut server) = (
                        Counted {
                            inner: client,
                            bytes: counter.clone(),
                        },
                        server,
                    );
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Ok(Self { address, bytes })
    }

    /// The count since the last call.
    fn take(&self) -> u64 {
        self.bytes.swap(0, Ordering::Relaxed)
    }
}

/// The client's side of a forwarded connection: both directions pass it.
struct Counted {
    inner: TcpStream,
    bytes: Arc<AtomicU64>,
}

impl tokio::io::AsyncRead for Counted {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = std::pin::Pin::new(&mut self.inner).poll_read(cx, buffer);
        self.bytes
            .fetch_add((buffer.filled().len() - before) as u64, Ordering::Relaxed);
        polled
    }
}

impl tokio::io::AsyncWrite for Counted {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buffer: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        let polled = std::pin::Pin::new(&mut self.inner).poll_write(cx, buffer);
        if let std::task::Poll::Ready(Ok(written)) = &polled {
            self.bytes.fetch_add(*written as u64, Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
