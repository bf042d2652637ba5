//! Secrets on their way to gateways: what is sent with the answer to a fresh
//! attestation that was affirmed and recorded.
//!
//! They are no part of what is recorded as the answer: the same request again is
//! answered without, so that what was revoked meanwhile is sent no more. The
//! gateway says in its next attestation what it has.

use std::sync::Arc;

use holdfast_proto::{grpc::v1, secrets::MAX_NAMES};
use tracing::{error, info, warn};

use super::{
    Shared,
    convert::recipient,
    error::{Refusal, chain},
};
use crate::{
    appraisal::SecretRelease,
    secrets::{Delivery, SecretId, SecretsError, deliver},
    store::{SecretInForce, SecretsInForce, StoreError},
    time::UnixTime,
    wrapping::WrapError,
};

/// What to send to the gateway that `release` is for, which has `held`. `None`
/// for nothing new. A verdict is not lost because secrets cannot be delivered:
/// that is told in the log.
pub(super) async fn news(
    shared: &Arc<Shared>,
    release: SecretRelease,
    held: Option<v1::HeldSecrets>,
    now: UnixTime,
) -> Option<v1::SecretDelivery> {
    let id = *release.gateway_id();
    match attempt(shared, release, held.unwrap_or_default(), now).await {
        Ok(delivery) => delivery,
        // A record of before the IAK certified it.
        Err(Refusal::Secrets(SecretsError::Wrap(WrapError::EkNotCertified))) => {
            info!(gateway = %id, "no secrets until it enrols anew: its IAK did not certify its EK");
            None
        }
        // Changed this very moment: with the next attestation.
        Err(Refusal::Store(
            why @ (StoreError::SecretsChanged { .. }
            | StoreError::RedeliverySpent { .. }
            | StoreError::Blocked { .. }
            | StoreError::KeysChanged { .. }),
        )) => {
            warn!(gateway = %id, cause = chain(&why), "secrets are not delivered this time");
            None
        }
        Err(why) => {
            error!(gateway = %id, cause = chain(&why), "secrets are not delivered");
            None
        }
    }
}

async fn attempt(
    shared: &Arc<Shared>,
    release: SecretRelease,
    held: v1::HeldSecrets,
    now: UnixTime,
) -> Result<Option<v1::SecretDelivery>, Refusal> {
    // More than a gateway can have is nothing that one of ours says.
    let held = match held.held.len() {
        0..=MAX_NAMES => held,
        _ => v1::HeldSecrets::default(),
    };
    let class = release.class().to_owned();
    let SecretsInForce { count, secrets } = shared.store.secrets_in_force(&class).await?;
    let has_news = held.class != class
        || held.count != count
        || secrets.iter().any(|secret| !holds(&held, &class, secret))
        || held.held.len() != secrets.len();
    if count == 0 || !has_news {
        return Ok(None);
    }
    let id = *release.gateway_id();
    let record = shared.store.gateway(&id).await?;
    let record = record.ok_or(StoreError::UnknownGateway { id })?;
    let current = secrets.iter().map(|secret| version(&secret.id)).collect();
    let mut wanted: Vec<SecretInForce> = secrets
        .into_iter()
        .filter(|secret| !holds(&held, &class, secret))
        .collect();
    let ids: Vec<SecretId> = wanted.iter().map(|secret| secret.id.clone()).collect();
    let sent = shared.store.deliverable(&id, ids).await?;
    if sent.len() < wanted.len() {
        let withheld = wanted.len() - sent.len();
        warn!(gateway = %id, withheld, "says again that it lost secrets: it gets them later");
        wanted.retain(|secret| sent.contains(&secret.id));
    }
    let worker = Arc::clone(shared);
    let (delivery, secrets) = shared
        .limits
        .crypto(move || {
            let recipient = recipient(&record).map_err(SecretsError::from)?;
            let delivery = Delivery::new(release, recipient)?;
            let keks = worker.secrets.get();
            let secrets = wanted
                .iter()
                .map(|SecretInForce { id, stored }| {
                    deliver(&delivery, id, &keks.open(id, stored)?, &worker.rng)
                })
                .collect::<Result<Vec<_>, SecretsError>>()?;
            Ok((delivery, secrets))
        })
        .await?;
    // On record before it is on the wire: who has what is known of a secret that
    // is revoked one day.
    let (to, class) = (delivery.gateway_id(), delivery.class());
    shared
        .store
        .record_delivery(to, class, count, &sent, now.seconds())
        .await?;
    info!(gateway = %to, secrets = sent.len(), count, "secrets delivered");
    Ok(Some(v1::SecretDelivery {
        class: class.to_owned(),
        count,
        current,
        secrets,
    }))
}

fn holds(held: &v1::HeldSecrets, class: &str, secret: &SecretInForce) -> bool {
    held.class == class && held.held.contains(&version(&secret.id))
}

fn version(id: &SecretId) -> v1::SecretVersion {
    v1::SecretVersion {
        name: id.name.to_string(),
        version: id.version,
    }
}

/// Puts every secret under the current key, where one is under another. Called
/// whenever keys are taken up.
///
/// # Errors
/// [`Refusal::Store`]; a secret that does not decrypt is told in the log and
/// left as it is.
pub async fn rewrap(shared: &Arc<Shared>, by: &str) -> Result<u64, Refusal> {
    let keks = shared.secrets.get();
    if keks.current().is_none() {
        return Ok(0);
    }
    let mut rewrapped = Vec::new();
    for SecretInForce { id, stored } in shared.store.all_secrets().await? {
        match keks.rewrap(&id, &stored, &shared.rng) {
            Ok(Some(stored)) => rewrapped.push(SecretInForce { id, stored }),
            Ok(None) => {}
            Err(why) => error!(
                class = id.class.as_str(),
                name = id.name.as_str(),
                version = id.version,
                cause = chain(&why),
                "a secret is not put under the current key"
            ),
        }
    }
    if rewrapped.is_empty() {
        return Ok(0);
    }
    let now = shared.clock.now().seconds();
    let changed = shared.store.rewrap_secrets(rewrapped, by, now).await?;
    info!(secrets = changed, "secrets are under the current key");
    Ok(changed)
}
