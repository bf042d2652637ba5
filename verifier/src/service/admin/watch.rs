//! `Watch`: the outbox as a stream, from any sequence that is still kept. What
//! is sent is read from the store as the consumer takes it: nothing waits in
//! memory but [`AHEAD`] events, and a consumer that takes none for
//! [`PATIENCE`] is told to come again. Whether the caller still has its role is
//! asked again all the while.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use holdfast_proto::{binding::Ueid, grpc::v1};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::Status;
use tracing::info;

use super::{AdminService, gateway_id};
use crate::{
    operators::Role,
    service::{
        Shared,
        caller::Caller,
        error::Refusal,
        shares::{Full, Place, Shares},
    },
    store::Event,
};

/// Events read at once.
const BATCH: u32 = 64;
/// Events that wait to be taken.
const AHEAD: usize = 64;
/// How long one may wait.
const PATIENCE: Duration = Duration::from_secs(30);
/// Asked this often for what another process wrote.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// Asked this often whether the caller may still watch: half of the second that
/// docs/roles.md promises.
const STANDING_EVERY: Duration = Duration::from_millis(500);
/// What it needs: as in the table (`roles`), which a test holds it to.
const NEEDED: Role = Role::Viewer;
/// Streams at once: people and their programs.
const WATCHERS: usize = 32;
/// Of one caller: nobody keeps the others from watching.
const WATCHERS_OF_CALLER: usize = 8;

/// Places for streams, by the caller's name.
pub(super) type Watchers = Shares<String>;

pub(super) fn watchers() -> Arc<Watchers> {
    Shares::new(WATCHERS, WATCHERS_OF_CALLER)
}

/// A stream of events, and how it ends.
pub(crate) struct WatchStream {
    events: mpsc::Receiver<v1::WatchResponse>,
    end: Arc<Mutex<Option<End>>>,
    ended: bool,
}

/// Why a stream ends.
struct End {
    why: Refusal,
    /// What waits is not sent any more.
    at_once: bool,
}

impl WatchStream {
    // The slot is whole at all times: it is filled once and emptied once.
    fn end(&self, when: impl FnOnce(&End) -> bool) -> Option<Refusal> {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        end.take_if(|end| when(end)).map(|end| end.why)
    }
}

impl Stream for WatchStream {
    type Item = Result<v1::WatchResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let why = match self.end(|end| end.at_once) {
            Some(why) => why,
            None => match self.events.poll_recv(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(event)) => return Poll::Ready(Some(Ok(event))),
                Poll::Ready(None) => self
                    .end(|_| true)
                    .unwrap_or(Refusal::Overloaded("the stream ended early")),
            },
        };
        self.ended = true;
        self.events.close();
        Poll::Ready(Some(Err(why.into_admin_status())))
    }
}

impl AdminService {
    pub(super) async fn watch_events(
        &self,
        caller: &Caller,
        request: v1::WatchRequest,
    ) -> Result<WatchStream, Refusal> {
        self.watch_with(caller, request, PATIENCE).await
    }

    /// As [`watch_events`](Self::watch_events), with less patience: for tests.
    pub(in crate::service) async fn watch_with(
        &self,
        caller: &Caller,
        request: v1::WatchRequest,
        patience: Duration,
    ) -> Result<WatchStream, Refusal> {
        let gateway = match request.gateway_id.as_str() {
            "" => None,
            text => Some(gateway_id(text)?),
        };
        let place = self
            .watchers
            .take(&caller.name().to_owned())
            .map_err(|full| {
                Refusal::Overloaded(match full {
                    Full::Share => "the caller has 8 streams open already",
                    Full::All => "32 streams are open already",
                })
            })?;
        let kept = self.shared.store.events_kept().await?;
        let after = request.after_sequence.unwrap_or(kept.newest);
        // 0 stands for whatever there is.
        let after = if after == 0 {
            kept.oldest.saturating_sub(1)
        } else {
            after
        };
        if !kept.goes_on_from(after) {
            return Err(Refusal::EventsGone {
                after,
                oldest: kept.oldest,
                newest: kept.newest,
            });
        }
        let (sender, events) = mpsc::channel(AHEAD);
        let end = Arc::new(Mutex::new(None));
        let mut watcher = Watcher {
            shared: Arc::clone(&self.shared),
            gateway,
            after,
            sender,
            patience,
            _place: place,
        };
        let lost = standing_lost(Arc::clone(&self.shared), caller.clone());
        let ending = Arc::clone(&end);
        tokio::spawn(async move {
            let ended = tokio::select! {
                biased;
                why = lost => Some(End { why, at_once: true }),
                why = watcher.run() => why.map(|why| End { why, at_once: false }),
            };
            *ending.lock().unwrap_or_else(PoisonError::into_inner) = ended;
            // The stream sees the end of the channel after this.
            drop(watcher);
        });
        Ok(WatchStream {
            events,
            end,
            ended: false,
        })
    }
}

/// Waits until the caller may not watch any more: its certificate was revoked,
/// or has ended. Also where that cannot be found out.
async fn standing_lost(shared: Arc<Shared>, caller: Caller) -> Refusal {
    loop {
        tokio::time::sleep(STANDING_EVERY).await;
        if let Err(refusal) = caller.still(&shared, NEEDED).await {
            info!(caller = caller.name(), %refusal, "a stream of events ends");
            return refusal;
        }
    }
}

/// Sends one consumer what it asked for.
struct Watcher {
    shared: Arc<Shared>,
    gateway: Option<Ueid>,
    after: u64,
    sender: mpsc::Sender<v1::WatchResponse>,
    patience: Duration,
    _place: Place<String>,
}

impl Watcher {
    /// Ends with the reason that the consumer is to be told; none where it has
    /// gone.
    async fn run(&mut self) -> Option<Refusal> {
        let mut changed = self.shared.store.changed();
        loop {
            match self.send_what_there_is().await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(refusal) => return Some(refusal),
            }
            tokio::select! {
                _ = changed.changed() => {}
                () = tokio::time::sleep(POLL_EVERY) => {}
                () = self.sender.closed() => return None,
                () = self.shared.ending.cancelled() => {
                    return Some(Refusal::Overloaded("the verifier is shutting down"));
                }
            }
        }
    }

    /// False where nobody listens any more.
    async fn send_what_there_is(&mut self) -> Result<bool, Refusal> {
        loop {
            let (events, kept) = self
                .shared
                .store
                .look_at_events(self.after, self.gateway.as_ref(), BATCH)
                .await?;
            let follows = |first: &Event| {
                self.gateway.is_some() || first.sequence == self.after.saturating_add(1)
            };
            // Swept while this consumer was behind. Of one gateway's events that
            // is said of all: which of them were its own is not known any more.
            if !kept.goes_on_from(self.after) || !events.first().is_none_or(follows) {
                return Err(Refusal::EventsGone {
                    after: self.after,
                    oldest: kept.oldest,
                    newest: kept.newest,
                });
            }
            if events.is_empty() {
                // What others did since is nothing that this one waits for.
                self.after = kept.newest;
                return Ok(true);
            }
            for event in events {
                let sequence = event.sequence;
                match self
                    .sender
                    .send_timeout(message(event), self.patience)
                    .await
                {
                    Ok(()) => self.after = sequence,
                    Err(mpsc::error::SendTimeoutError::Closed(_)) => return Ok(false),
                    Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                        info!(after = self.after, "a watcher is too slow");
                        return Err(Refusal::SlowConsumer { after: self.after });
                    }
                }
            }
        }
    }
}

fn message(event: Event) -> v1::WatchResponse {
    v1::WatchResponse {
        event: Some(v1::GatewayEvent {
            sequence: event.sequence,
            event_id: hex::encode(event.id),
            at: event.at,
            gateway_id: event.gateway.to_string(),
            number: event.number,
            kind: event.kind.name().to_owned(),
            detail_json: event.detail,
        }),
    }
}
