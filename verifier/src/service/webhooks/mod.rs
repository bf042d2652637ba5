//! Webhooks: the outbox, pushed. Each receiver has a task, a place in the
//! order of events, and a connection of its own, so that one that is dead holds
//! up no other and nothing else.
//!
//! An event is sent until the receiver takes it (any 2xx), and only then the
//! next one: at least once, in order. The place is recorded after the event was
//! taken, so that a crash in between sends it again, under the same id.

mod client;
mod secret;
mod url;

use std::{sync::Arc, time::Duration};

use ring::rand::SecureRandom as _;
use serde_json::{Value, json};
use tracing::{info, warn};

use self::client::{Delivery, NotTaken};
pub use self::{
    client::{WebhookTlsError, webhook_tls},
    secret::{BadSecret, WebhookSecret},
    url::{BadWebhookUrl, WebhookUrl},
};
use super::Shared;
use crate::{
    store::{Event, EventKind, StoreError},
    time::UnixTime,
};

/// Events read at once.
const BATCH: u32 = 64;
/// Asked this often for what another process wrote.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// After a first failure; doubled with each that follows.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause: a receiver that comes back waits no longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// A receiver.
#[derive(Debug)]
pub struct Webhook {
    /// Where.
    pub url: WebhookUrl,
    /// What signs.
    pub secret: WebhookSecret,
    /// What it is told.
    pub events: Vec<EventKind>,
    /// Which CAs may vouch for it.
    pub tls: Arc<rustls::ClientConfig>,
}

/// Tells one receiver, for ever.
pub(super) async fn tell(shared: Arc<Shared>, webhook: Webhook) {
    let mut teller = Teller {
        shared,
        webhook,
        failures: 0,
    };
    let mut changed = teller.shared.store.changed();
    loop {
        match teller.round().await {
            Ok(()) => {}
            Err(error) => warn!(webhook = %teller.webhook.url, %error, "webhook"),
        }
        let pause = teller.pause();
        if pause > Duration::ZERO {
            tokio::time::sleep(pause).await;
            continue;
        }
        tokio::select! {
            _ = changed.changed() => {}
            () = tokio::time::sleep(POLL_EVERY) => {}
        }
    }
}

struct Teller {
    shared: Arc<Shared>,
    webhook: Webhook,
    /// In a row.
    failures: u32,
}

impl Teller {
    /// Sends what there is, until there is none or one is not taken.
    async fn round(&mut self) -> Result<(), StoreError> {
        let url = self.webhook.url.as_str().to_owned();
        let now = || self.shared.clock.now().seconds();
        let mut position = self.shared.store.webhook_position(&url, now()).await?;
        loop {
            let store = &self.shared.store;
            let events = store.events_after(position, None, BATCH).await?;
            let (Some(first), Some(last)) = (events.first(), events.last()) else {
                return Ok(());
            };
            let lost = first.sequence.saturating_sub(position.saturating_add(1));
            if lost > 0 {
                warn!(webhook = %self.webhook.url, lost, "events were swept before the webhook took them");
            }
            let last = last.sequence;
            for event in events {
                let sequence = event.sequence;
                if !self.webhook.events.contains(&event.kind) {
                    position = sequence;
                    continue;
                }
                if let Err(why) = self.deliver(&event).await {
                    // What was passed over before it need not be read again.
                    store.advance_webhook(&url, position, now()).await?;
                    self.failed(&why, sequence).await;
                    return Ok(());
                }
                if self.failures > 0 {
                    info!(webhook = %self.webhook.url, failures = self.failures, "the webhook takes events again");
                    self.failures = 0;
                }
                position = sequence;
                self.shared
                    .store
                    .advance_webhook(&url, position, self.shared.clock.now().seconds())
                    .await?;
            }
            self.shared
                .store
                .advance_webhook(&url, last, self.shared.clock.now().seconds())
                .await?;
        }
    }

    async fn deliver(&self, event: &Event) -> Result<(), NotTaken> {
        let id = format!("evt_{}", hex::encode(event.id));
        let body = body(event).to_string();
        let timestamp = self.shared.clock.now().seconds();
        Delivery {
            url: &self.webhook.url,
            tls: &self.webhook.tls,
            signature: &self.webhook.secret.sign(&id, timestamp, &body),
            id: &id,
            timestamp,
            body,
        }
        .send()
        .await
    }

    async fn failed(&mut self, why: &NotTaken, sequence: u64) {
        self.failures = self.failures.saturating_add(1);
        let backlog = match self.shared.store.events_kept().await {
            Ok(kept) => kept.newest.saturating_sub(sequence).saturating_add(1),
            Err(_) => 1,
        };
        warn!(
            webhook = %self.webhook.url,
            %why,
            failures = self.failures,
            backlog,
            "an event was not taken; it is sent again"
        );
    }

    /// 1 s, 2 s, 4 s, … 5 min, each between half of it and all of it.
    fn pause(&self) -> Duration {
        let Some(doublings) = self.failures.checked_sub(1) else {
            return Duration::ZERO;
        };
        let factor = 2_u32.checked_pow(doublings).unwrap_or(u32::MAX);
        let pause = FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE);
        // Receivers that failed together do not come back together.
        let mut random = [0; 1];
        let _ = self.shared.rng.fill(&mut random);
        let [random] = random;
        pause / 2 + pause / 2 * u32::from(random) / 255
    }
}

/// The body: docs/revocation.md.
fn body(event: &Event) -> Value {
    let mut data: Value = serde_json::from_str(&event.detail).unwrap_or_else(|_| json!({}));
    if let Some(data) = data.as_object_mut() {
        data.insert("gateway_id".to_owned(), event.gateway.to_string().into());
        data.insert("number".to_owned(), event.number.into());
        data.insert("sequence".to_owned(), event.sequence.into());
    }
    json!({
        "type": event.kind.name(),
        "timestamp": UnixTime::from_seconds(event.at).to_string(),
        "data": data,
    })
}
