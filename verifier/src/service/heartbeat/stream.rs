//! One gateway's stream, from its hello to its end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use holdfast_proto::{
    grpc::v1::{self, beat_request::Frame as Sent, beat_response::Frame as Answer},
    tpm::{ClockInfo, PcrSelection, PcrSet},
};
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Status, Streaming};
use tracing::{Instrument as _, info, warn};

use super::registry::OpenStream;
use crate::{
    digest::sha256,
    exchange::wire_selection,
    freshness::random_32,
    heartbeat::{Affirmed, BeatError, Epoch, Finding, HeartbeatKey, Pulse},
    service::{Shared, attestation::Caller, convert::recipient, error::Refusal},
    store::{CertificateRecord, GatewayRecord, SuspensionKind},
    verification::IMA_PCR,
    wrapping::{WrapRecipient, wrap_heartbeat_key},
};

/// How long a stream may be open without a hello.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// Beats that may come at once, after a silence...
const BURST: u32 = 8;
/// ...and how often one may come beyond.
const BEAT_EVERY_AT_MOST: Duration = Duration::from_millis(500);
/// An answer that is not taken for so long ends the stream.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Serves a stream; what comes out is answered.
pub(super) fn serve(
    shared: Arc<Shared>,
    caller: Caller,
    beats: Streaming<v1::BeatRequest>,
) -> impl Stream<Item = Result<v1::BeatResponse, Status>> + Send + 'static {
    let (answers, receiver) = mpsc::channel(1);
    let Caller {
        certificate,
        gateway,
    } = caller;
    let place = shared.heartbeats.open(gateway.id);
    let stream = BeatStream {
        shared,
        certificate,
        gateway,
        answers,
        place,
    };
    tokio::spawn(stream.run(beats).in_current_span());
    ReceiverStream::new(receiver)
}

struct BeatStream {
    shared: Arc<Shared>,
    certificate: CertificateRecord,
    gateway: GatewayRecord,
    answers: mpsc::Sender<Result<v1::BeatResponse, Status>>,
    place: OpenStream,
}

/// A stream that beats are awaited in.
struct Begun {
    pulse: Pulse,
    selection: PcrSelection,
    epoch: Epoch,
}

/// Why a stream ends.
enum End {
    /// The gateway hung up, or was told all that there is to tell.
    Quiet,
    Refused(Refusal),
}

impl<E: Into<Refusal>> From<E> for End {
    fn from(refusal: E) -> Self {
        Self::Refused(refusal.into())
    }
}

impl BeatStream {
    async fn run(self, mut beats: Streaming<v1::BeatRequest>) {
        let id = self.gateway.id;
        let ending = self.shared.ending.clone();
        let ended = tokio::select! {
            ended = self.converse(&mut beats) => ended,
            () = self.place.ended() => Err(Refusal::BeginAgain.into()),
            () = ending.cancelled() => {
                Err(Refusal::Overloaded("the verifier is shutting down").into())
            }
        };
        match ended {
            Ok(()) | Err(End::Quiet) => info!(gateway = %id, "beats ended"),
            Err(End::Refused(refusal)) => {
                let status = refusal.into_status();
                let _ = self.answers.send_timeout(Err(status), ANSWER_WITHIN).await;
            }
        }
    }

    async fn converse(&self, beats: &mut Streaming<v1::BeatRequest>) -> Result<(), End> {
        let hello = match next(beats, HELLO_WITHIN).await? {
            Sent::Hello(hello) => hello,
            Sent::Beat(_) => return Err(Refusal::Invalid("a beat before the hello").into()),
        };
        let Some(begun) = self.begin(&hello).await? else {
            return Ok(());
        };
        let Begun {
            mut pulse,
            selection,
            epoch,
        } = begun;
        let within = Duration::from_secs(self.shared.silence.beat_within().unsigned_abs());
        let mut pace = Pace::new(Instant::now());
        loop {
            let beat = match next(beats, within).await? {
                Sent::Beat(beat) => beat,
                Sent::Hello(_) => return Err(Refusal::Invalid("a second hello").into()),
            };
            pace.count(Instant::now())?;
            // A revoked one is cut off with its connection.
            if self.certificate.not_after < self.shared.clock.now().seconds() {
                return Err(Refusal::ExpiredLdevid(self.certificate.serial.clone()).into());
            }
            let beat = pulse.verify(&beat, &selection)?;
            match beat.finding() {
                None => {
                    self.place.mark(&epoch, beat.clock().clock);
                    let counter = beat.counter();
                    self.answer(Answer::Alive(v1::BeatAlive { counter }))
                        .await?;
                }
                Some(Finding::Rollback) => return Err(self.rolled_back().await),
                Some(finding) => {
                    warn!(gateway = %self.gateway.id, finding = finding.code(), "told to attest");
                    let now = self.shared.clock.now().seconds();
                    let store = &self.shared.store;
                    let (id, code) = (&self.gateway.id, finding.code());
                    let within = store
                        .doubt(id, *epoch.as_bytes(), code, &self.shared.silence, now)
                        .await?;
                    return self.attest_now(code, within).await;
                }
            }
        }
    }

    /// Answers the hello. None where there is nothing that beats could be
    /// compared with: then a full attestation is asked for.
    async fn begin(&self, hello: &v1::BeatHello) -> Result<Option<Begun>, End> {
        let shared = &self.shared;
        let id = self.gateway.id;
        let selection = beat_selection(shared.verifier.selection());
        let last = shared.store.last_quote(&id).await?;
        let values = last
            .filter(|last| last.affirming && last.class == self.gateway.class)
            .filter(|last| last.quoted.bank == selection.hash)
            .and_then(|last| {
                let value = |index| last.quoted.values.get(&index).cloned();
                selection.pcrs.iter().map(value).collect::<Option<Vec<_>>>()
            })
            .filter(|values| !values.is_empty());
        let Some(values) = values else {
            self.attest_now("not-attested", 0).await?;
            return Ok(None);
        };
        // Before anything is awaited of it: who cannot be given a key cannot beat.
        let recipient = recipient(&self.gateway).map_err(Refusal::NoHeartbeats)?;
        let parts: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let (key, epoch, clock) = self.key().await?;
        let affirmed = Affirmed {
            pcr_digest: sha256(&parts),
            clock: ClockInfo {
                clock: clock.max(self.gateway.tpm.clock.clock),
                ..self.gateway.tpm.clock
            },
            firmware_version: self.gateway.tpm.firmware_version,
        };
        let nonce = random_32(&shared.rng).map_err(|e| Refusal::Internal(e.to_string()))?;
        let pulse = Pulse::begin(&key, nonce, &affirmed);
        let wrapped = match hello.key_name == key.public().name().as_bytes() {
            true => None,
            false => Some(self.wrap(recipient, key).await?),
        };
        let within = self.shared.silence.beat_within();
        self.answer(Answer::Begin(v1::BeatBegin {
            nonce: nonce.to_vec(),
            pcr_selection: Some(wire_selection(&selection)),
            key: wrapped,
            every_seconds: u32::try_from((within / 3).max(1)).unwrap_or(1),
            within_seconds: u32::try_from(within).unwrap_or(u32::MAX),
        }))
        .await?;
        info!(gateway = %id, "beats begin");
        Ok(Some(Begun {
            pulse,
            selection,
            epoch,
        }))
    }

    /// The key of the gateway's epoch, the epoch, and the TPM clock that it was
    /// last seen at; a new epoch since the last full attestation, or where the master key
    /// of the one on record is gone.
    async fn key(&self) -> Result<(HeartbeatKey, Epoch, u64), End> {
        let (shared, id) = (&self.shared, self.gateway.id);
        let derive = |master: &crate::heartbeat::NamedMaster, epoch: &Epoch| {
            master.key().derive(&id, &self.gateway.keys.ak_name, epoch)
        };
        let record = shared.store.heartbeat(&id).await?;
        let clock = record.as_ref().and_then(|r| r.clock).unwrap_or_default();
        let told = record.as_ref().and_then(|r| r.within);
        let known = record
            .and_then(|record| record.epoch)
            .and_then(|(epoch, master)| {
                let master = shared.heartbeats.master(&master, shared.clock.now())?;
                Some((Epoch::from_bytes(epoch), master))
            });
        let store = &shared.store;
        let within = self.shared.silence.beat_within();
        if let Some((epoch, master)) = known {
            // The settings may be others than when it was told before.
            if told != Some(within) {
                store
                    .begin_epoch(&id, *epoch.as_bytes(), master.id(), within)
                    .await?;
            }
            return Ok((derive(&master, &epoch), epoch, clock));
        }
        let master = shared
            .heartbeats
            .current_master()
            .ok_or_else(|| Refusal::Internal("there is no heartbeat master key".to_owned()))?;
        let epoch = Epoch::draw(&shared.rng).map_err(|e| Refusal::Internal(e.to_string()))?;
        store
            .begin_epoch(&id, *epoch.as_bytes(), master.id(), within)
            .await?;
        Ok((derive(&master, &epoch), epoch, 0))
    }

    /// Wraps the key for the gateway's TPM: public-key work, in the pool.
    async fn wrap(
        &self,
        recipient: WrapRecipient,
        key: HeartbeatKey,
    ) -> Result<v1::WrappedObject, End> {
        let shared = Arc::clone(&self.shared);
        let wrapped = self.shared.limits.crypto(move || {
            wrap_heartbeat_key(&recipient, &key, &shared.rng).map_err(Refusal::NoHeartbeats)
        });
        Ok(wrapped.await?.into())
    }

    /// A TPM that was put back, or a copy: suspended before it is told.
    async fn rolled_back(&self) -> End {
        let id = self.gateway.id;
        let (kind, now) = (SuspensionKind::Evidence, self.shared.clock.now().seconds());
        let reason = "tpm-rollback: the TPM's clock or reset counter fell";
        let suspended = self
            .shared
            .store
            .suspend(&id, kind, reason, "verifier", now);
        match suspended.await {
            Ok(_) => crate::store::StoreError::RolledBack { id }.into(),
            Err(error) => error.into(),
        }
    }

    async fn attest_now(&self, code: &str, within_seconds: u32) -> Result<(), End> {
        self.answer(Answer::AttestNow(v1::AttestNow {
            code: code.to_owned(),
            within_seconds,
        }))
        .await
    }

    async fn answer(&self, frame: Answer) -> Result<(), End> {
        let answer = v1::BeatResponse { frame: Some(frame) };
        self.answers
            .send_timeout(Ok(answer), ANSWER_WITHIN)
            .await
            .map_err(|_| End::Quiet)
    }
}

/// The next frame.
async fn next(beats: &mut Streaming<v1::BeatRequest>, within: Duration) -> Result<Sent, End> {
    match tokio::time::timeout(within, beats.message()).await {
        Err(_) => Err(Refusal::Silent.into()),
        Ok(Ok(None)) => Err(End::Quiet),
        Ok(Ok(Some(v1::BeatRequest { frame: Some(frame) }))) => Ok(frame),
        Ok(Ok(Some(_))) => Err(Refusal::Invalid("a frame without content").into()),
        // Too long, or no message; or the connection is gone, and nobody reads
        // what is answered.
        Ok(Err(_)) => Err(Refusal::Invalid("a frame that cannot be read").into()),
    }
}

/// The PCRs of beats: those of quotes but for IMA's, which moves by itself.
fn beat_selection(of_quotes: &PcrSelection) -> PcrSelection {
    let without = of_quotes.pcrs.iter().filter(|pcr| *pcr != IMA_PCR);
    PcrSelection {
        // A part of a set is a set.
        pcrs: PcrSet::from_indices(without).unwrap_or(of_quotes.pcrs),
        ..*of_quotes
    }
}

/// How quickly beats come: a bucket of [`BURST`].
struct Pace {
    full_at: Instant,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    fn count(&mut self, now: Instant) -> Result<(), Refusal> {
        let next = self.full_at.max(now) + BEAT_EVERY_AT_MOST;
        if next > now + BEAT_EVERY_AT_MOST * BURST {
            return Err(Refusal::RateLimited("beats of the gateway"));
        }
        self.full_at = next;
        Ok(())
    }
}

impl From<BeatError> for Refusal {
    fn from(error: BeatError) -> Self {
        Self::Beat(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adv_a21_a_flood_of_beats_is_refused() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for _ in 0..BURST {
            pace.count(start).unwrap();
        }
        assert!(matches!(pace.count(start), Err(Refusal::RateLimited(_))));
        let later = start + BEAT_EVERY_AT_MOST;
        pace.count(later).unwrap();
        assert!(pace.count(later).is_err());
    }

    #[test]
    fn beats_leave_out_what_ima_extends() {
        let quoted = PcrSelection {
            hash: holdfast_proto::tpm::HashAlg::Sha256,
            pcrs: PcrSet::from_indices([0, 7, 10]).unwrap(),
        };
        let beats: Vec<u32> = beat_selection(&quoted).pcrs.iter().collect();
        assert_eq!(beats, [0, 7]);
    }
}
