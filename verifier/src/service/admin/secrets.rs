//! Secrets for gateways: put, revoked, listed. None is ever given out here.

use std::sync::Arc;

use holdfast_proto::{grpc::v1, secrets::SecretName};
use tracing::info;
use zeroize::Zeroizing;

use super::{AdminService, class, reason, to_its_end};
use crate::{
    secrets::{Secret, SecretId},
    service::error::Refusal,
    store::{NewSecret, SecretRecord, StoreError},
};

/// In one answer: of names as of versions.
const LIST_MAX: u32 = 1000;
/// How often to put a secret again that another one overtook.
const TRIES: u32 = 8;

impl AdminService {
    pub(super) async fn put(
        &self,
        by: &str,
        request: v1::PutSecretRequest,
    ) -> Result<v1::PutSecretResponse, Refusal> {
        let v1::PutSecretRequest {
            class: of,
            name: named,
            secret,
        } = request;
        let secret = Secret::new(Zeroizing::new(secret))?;
        let (class, name) = (class(&of)?, name(&named)?);
        let (shared, by_them) = (Arc::clone(&self.shared), by.to_owned());
        let record = to_its_end(async move {
            shared.keys.first_kek(&shared, &by_them).await?;
            let mut tries = TRIES;
            loop {
                tries -= 1;
                let count = shared.store.secrets_in_force(class.as_str()).await?.count;
                let id = SecretId {
                    class: class.clone(),
                    name: name.clone(),
                    version: count.saturating_add(1),
                };
                let stored = shared.secrets.get().seal(&id, &secret, &shared.rng)?;
                let new = NewSecret {
                    id,
                    size: secret.expose().len(),
                    stored,
                };
                let now = shared.clock.now().seconds();
                match shared.store.put_secret(new, &by_them, now).await {
                    Err(StoreError::SecretsChanged { .. }) if tries > 0 => {}
                    put => break Ok(put?),
                }
            }
        })
        .await?;
        let SecretId {
            class,
            name,
            version,
        } = &record.id;
        info!(by, %class, %name, version, "secret put");
        Ok(v1::PutSecretResponse {
            secret: Some(message(record)),
        })
    }

    pub(super) async fn revoke(
        &self,
        by: &str,
        request: v1::RevokeSecretRequest,
    ) -> Result<v1::RevokeSecretResponse, Refusal> {
        let (class, name) = (class(&request.class)?, name(&request.name)?);
        let why = reason(&request.reason)?;
        let now = self.shared.clock.now().seconds();
        let store = &self.shared.store;
        let record = store
            .revoke_secret(class.as_str(), &name, why, by, now)
            .await?;
        let version = record.id.version;
        info!(by, %class, %name, version, "secret revoked");
        Ok(v1::RevokeSecretResponse {
            secret: Some(message(record)),
        })
    }

    pub(super) async fn secrets(
        &self,
        request: v1::ListSecretsRequest,
    ) -> Result<v1::ListSecretsResponse, Refusal> {
        let store = &self.shared.store;
        let of = match request.class.as_str() {
            "" => None,
            text => Some(class(text)?),
        };
        if request.name.is_empty() {
            let of = of.as_ref().map(|class| class.as_str());
            let records = store.secrets(of, LIST_MAX).await?;
            return Ok(v1::ListSecretsResponse {
                secrets: records.into_iter().map(message).collect(),
            });
        }
        let of = of
            .ok_or_else(|| Refusal::AdminInput("a name is one of a class: say which".to_owned()))?;
        let name = name(&request.name)?;
        let records = store.secret_versions(of.as_str(), &name, LIST_MAX).await?;
        if records.is_empty() {
            return Err(StoreError::UnknownSecret {
                class: of.as_str().to_owned(),
                name,
            }
            .into());
        }
        let mut secrets = Vec::with_capacity(records.len());
        let mut room = LIST_MAX;
        for record in records {
            let gateways = store.secret_gateways(&record.id, room).await?;
            room = room.saturating_sub(u32::try_from(gateways.len()).unwrap_or(u32::MAX));
            secrets.push(v1::Secret {
                gateways: gateways.iter().map(ToString::to_string).collect(),
                ..message(record)
            });
        }
        Ok(v1::ListSecretsResponse { secrets })
    }
}

fn name(text: &str) -> Result<SecretName, Refusal> {
    text.parse::<SecretName>()
        .map_err(|e| Refusal::AdminInput(e.to_string()))
}

fn message(record: SecretRecord) -> v1::Secret {
    let (ended_at, ended_by, reason) = record.ended.unwrap_or_default();
    v1::Secret {
        class: record.id.class.as_str().to_owned(),
        name: record.id.name.to_string(),
        version: record.id.version,
        state: record.state.name().to_owned(),
        size: record.size,
        put_at: record.put_at,
        put_by: record.put_by,
        ended_at,
        ended_by,
        reason,
        delivered: record.delivered,
        gateways: Vec::new(),
        key_id: record.key_id.unwrap_or_default(),
    }
}
