//! Heartbeats: between full attestations, quotes by a key that the Verifier made
//! for this TPM alone, on one long-lived stream.
//!
//! The key is kept in memory: a process that starts again gets it once more.

use std::time::Duration;

use holdfast_proto::binding::beat_extra_data;
use holdfast_proto::grpc::v1::beat_request::Frame as Sent;
use holdfast_proto::grpc::v1::beat_response::Frame as Answer;
use holdfast_proto::grpc::v1::{self, BeatRequest};
use holdfast_proto::tpm::{Name, PcrSelection};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::AttesterError;
use crate::attestation::exchange::connect;
use crate::client::{ClientError, Connection};
use crate::enrolment::parse_selection;
use crate::state::Enrolled;
use crate::tpm::{Attestation, ImportedObject, ImportedUse, PinnedEk, Tpm, TpmError};

const CALL: &str = "Beat";
/// Limit for one answer: the Verifier has an HMAC to compute.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Shortest time between two beats, whatever the Verifier says.
const LEAST_EVERY: Duration = Duration::from_secs(1);
/// Longest: a day.
const MOST_EVERY: u32 = 86_400;

/// A gateway's heart: it holds the key from one stream to the next. The TPM is
/// an argument: who beats seldom need not keep it.
#[derive(Debug)]
pub struct Heart {
    enrolled: Enrolled,
    key: Option<ImportedObject>,
}

/// Why a stream ended, where nothing failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The Verifier wants a full attestation, within so long.
    AttestNow {
        /// Why, stable, kebab-case.
        code: String,
        /// Without it the gateway is suspended then.
        within: Duration,
    },
    /// The Verifier wants the stream to be begun anew: at once.
    BeginAgain,
}

/// A stream that the Verifier has begun.
#[derive(Debug)]
pub struct Beating {
    srk_name: Name,
    ek: PinnedEk,
    key: ImportedObject,
    nonce: [u8; 32],
    selection: PcrSelection,
    every: Duration,
    within: Duration,
    counter: u32,
    line: Line,
}

/// What a hello came to.
#[derive(Debug)]
pub enum Begun {
    /// Beats are awaited.
    Beating(Box<Beating>),
    /// Nothing to beat for.
    Ended(Ended),
}

impl Heart {
    /// For this enrolment.
    #[must_use]
    pub fn new(enrolled: &Enrolled) -> Self {
        Self {
            enrolled: enrolled.clone(),
            key: None,
        }
    }

    /// The enrolment that it is for.
    #[must_use]
    pub const fn enrolled(&self) -> &Enrolled {
        &self.enrolled
    }

    /// Begins a stream: connects by mutual TLS, says hello, and imports the key
    /// where the Verifier gives a new one.
    ///
    /// # Errors
    /// [`AttesterError`]; what [`ClientError::is_passing`] says of it holds.
    pub async fn begin(&mut self, tpm: &Tpm) -> Result<Begun, AttesterError> {
        let ek = self.enrolled.pinned_ek()?;
        storage_root(tpm, &self.enrolled.keys.srk_name).await?;
        let mut line = Line::open(connect(tpm, &self.enrolled).await?).await?;
        let key_name = self.key.as_ref().map(|key| key.name().as_bytes().to_vec());
        let hello = v1::BeatHello {
            key_name: key_name.unwrap_or_default(),
        };
        let begin = match line.ask(Sent::Hello(hello)).await {
            Ok(Answer::Begin(begin)) => begin,
            Ok(Answer::AttestNow(told)) => return Ok(Begun::Ended(attest_now(told))),
            Ok(Answer::Alive(_)) => return Err(bad("answers a hello as if it were a beat")),
            Err(error) => return begin_again(error).map(Begun::Ended),
        };
        let nonce = <[u8; 32]>::try_from(begin.nonce.as_slice())
            .map_err(|_| bad("begins with a nonce that is not of 32 bytes"))?;
        let selection = parse_selection(begin.pcr_selection.as_ref())?;
        if let Some(wrapped) = &begin.key {
            self.import(tpm, &ek, wrapped).await?;
        }
        let Some(key) = self.key.clone() else {
            return Err(bad("begins without a key, which this gateway has not"));
        };
        let every = Duration::from_secs(begin.every_seconds.min(MOST_EVERY).into());
        Ok(Begun::Beating(Box::new(Beating {
            srk_name: self.enrolled.keys.srk_name.clone(),
            ek,
            key,
            nonce,
            selection,
            every: every.max(LEAST_EVERY),
            within: Duration::from_secs(begin.within_seconds.into()),
            counter: 0,
            line,
        })))
    }

    async fn import(
        &mut self,
        tpm: &Tpm,
        ek: &PinnedEk,
        wrapped: &v1::WrappedObject,
    ) -> Result<(), AttesterError> {
        let (ek, wrapped) = (ek.clone(), wrapped.clone());
        let before = self.key.take();
        let imported = tpm
            .offload(move |tpm| {
                if let Some(before) = before {
                    tpm.forget(&before)?;
                }
                tpm.import(&ek, ImportedUse::HeartbeatKey, &wrapped)
            })
            .await?;
        self.key = Some(imported);
        Ok(())
    }
}

impl Beating {
    /// How often to beat.
    #[must_use]
    pub const fn every(&self) -> Duration {
        self.every
    }

    /// Within how long after one beat the Verifier awaits the next: without it,
    /// it suspends this gateway.
    #[must_use]
    pub const fn within(&self) -> Duration {
        self.within
    }

    /// One beat, answered. None: still trusted.
    ///
    /// # Errors
    /// [`AttesterError`], where the stream is at its end.
    pub async fn beat(&mut self, tpm: &Tpm) -> Result<Option<Ended>, AttesterError> {
        let frame = self.quote(tpm).await?;
        self.send(frame).await
    }

    async fn quote(&mut self, tpm: &Tpm) -> Result<v1::BeatQuote, AttesterError> {
        storage_root(tpm, &self.srk_name).await?;
        let counter = self.counter.saturating_add(1);
        let (ek, key, selection) = (self.ek.clone(), self.key.clone(), self.selection);
        let bound = beat_extra_data(&self.nonce, counter);
        let Attestation { attest, signature } = tpm
            .offload(move |tpm| tpm.beat(&ek, &key, &selection, bound))
            .await?;
        self.counter = counter;
        Ok(v1::BeatQuote {
            counter,
            attest,
            signature,
        })
    }

    async fn send(&mut self, beat: v1::BeatQuote) -> Result<Option<Ended>, AttesterError> {
        let counter = beat.counter;
        match self.line.ask(Sent::Beat(beat)).await {
            Ok(Answer::Alive(alive)) if alive.counter == counter => Ok(None),
            Ok(Answer::AttestNow(told)) => Ok(Some(attest_now(told))),
            Ok(_) => Err(bad("does not answer the beat that was sent")),
            Err(error) => begin_again(error).map(Some),
        }
    }
}

/// One stream: a frame, and the answer to it.
#[derive(Debug)]
struct Line {
    connection: Connection,
    sender: mpsc::Sender<BeatRequest>,
    answers: Streaming<v1::BeatResponse>,
}

impl Line {
    async fn open(connection: Connection) -> Result<Self, ClientError> {
        let (sender, frames) = mpsc::channel(1);
        let answers = connection
            .heartbeat()
            .beat(ReceiverStream::new(frames))
            .await
            .map_err(|status| connection.failed(CALL, status))?
            .into_inner();
        Ok(Self {
            connection,
            sender,
            answers,
        })
    }

    async fn ask(&mut self, frame: Sent) -> Result<Answer, ClientError> {
        // Where nobody takes it the stream has ended, and says why.
        let _ = self.sender.send(BeatRequest { frame: Some(frame) }).await;
        let answer = tokio::time::timeout(ANSWER_LIMIT, self.answers.message()).await;
        let bad = |problem| ClientError::BadAnswer {
            call: CALL,
            problem,
        };
        match answer {
            Err(_) => Err(bad("did not come within 30 s")),
            Ok(Err(status)) => Err(self.connection.failed(CALL, status)),
            Ok(Ok(Some(v1::BeatResponse { frame: Some(frame) }))) => Ok(frame),
            Ok(Ok(_)) => Err(bad("is empty")),
        }
    }
}

/// The root that sessions are salted to, as it was pinned.
async fn storage_root(tpm: &Tpm, pinned: &Name) -> Result<(), TpmError> {
    let pinned = pinned.clone();
    tpm.offload(move |tpm| tpm.storage_root(Some(&pinned)))
        .await
        .map(drop)
}

fn attest_now(told: v1::AttestNow) -> Ended {
    Ended::AttestNow {
        code: crate::client::inert(&told.code),
        within: Duration::from_secs(told.within_seconds.into()),
    }
}

/// The kind by which the Verifier asks for a new stream is no failure.
fn begin_again(error: ClientError) -> Result<Ended, AttesterError> {
    match error.kind() {
        Some("begin-again") => Ok(Ended::BeginAgain),
        _ => Err(error.into()),
    }
}

fn bad(problem: &'static str) -> AttesterError {
    ClientError::BadAnswer {
        call: CALL,
        problem,
    }
    .into()
}
