//! Reference values: proposed here, signed by the owner elsewhere, imported.

use std::sync::Arc;

use holdfast_proto::{binding::Ueid, grpc::v1};
use tracing::info;

use super::{
    AdminService, class, gateway_id,
    page::{VERSIONS_FETCH, cut_versions},
    reason, to_its_end,
};
use crate::{
    appraisal,
    exchange::Class,
    reference_values::{Change, Loss, ReferenceValues},
    service::{
        convert,
        drift::{self, Compared, Subject},
        error::Refusal,
        references::Signed,
    },
    store::{
        Blocked, BootLogRef, Captured, GatewayRecord, LastQuote, Lifecycle, Sha256, StoreError,
    },
    time::UnixTime,
    verification::IMA_PCR,
};

impl AdminService {
    pub(super) async fn import_references(
        &self,
        by: &str,
        request: v1::ImportReferenceValuesRequest,
    ) -> Result<v1::ImportReferenceValuesResponse, Refusal> {
        let class = class(&request.class)?;
        let captured = match request.captured_gateway_id.as_str() {
            "" => None,
            id => Some(Captured {
                gateway: gateway_id(id)?,
                quote_sha256: digest(&request.captured_quote_sha256)?,
            }),
        };
        let (shared, by_them) = (Arc::clone(&self.shared), by.to_owned());
        let record = to_its_end(async move {
            let signed = Signed {
                class: &class,
                document: &request.document,
                statement: &request.statement,
                captured,
            };
            let now = shared.clock.now();
            shared.references.import(&signed, &by_them, now).await
        })
        .await?;
        info!(
            by,
            class = record.class,
            version = record.version,
            "reference values imported"
        );
        Ok(v1::ImportReferenceValuesResponse {
            class: record.class,
            version: record.version,
            digest: hex::encode(record.sha256),
        })
    }

    pub(super) async fn list_references(
        &self,
        request: v1::ListReferenceValuesRequest,
    ) -> Result<v1::ListReferenceValuesResponse, Refusal> {
        let shared = &self.shared;
        let one = match request.class.as_str() {
            "" => None,
            text => Some(class(text)?),
        };
        let all = shared
            .store
            .reference_versions(one.as_ref().map(Class::as_str), VERSIONS_FETCH)
            .await?;
        let (all, cut) = cut_versions(all);
        let mut versions: Vec<v1::ReferenceVersion> = Vec::with_capacity(all.len());
        for version in all {
            let newest = versions.last().is_none_or(|v| v.class != version.class);
            let in_use = if newest {
                shared
                    .references
                    .of(&convert::class(&version.class)?)
                    .await?
            } else {
                None
            };
            let captured = version.golden.as_ref();
            versions.push(v1::ReferenceVersion {
                class: version.class,
                version: version.version,
                digest: hex::encode(version.sha256),
                imported_at: version.imported_at,
                imported_by: version.imported_by,
                captured_gateway_id: captured.map(|g| g.gateway.to_string()).unwrap_or_default(),
                golden_boot_log_sha256: captured
                    .and_then(|g| g.boot_log_sha256)
                    .map(hex::encode)
                    .unwrap_or_default(),
                in_force: in_use.is_some(),
                ends: in_use
                    .map(|set| set.ends().map(UnixTime::seconds).collect())
                    .unwrap_or_default(),
            });
        }
        Ok(v1::ListReferenceValuesResponse { versions, cut })
    }

    pub(super) async fn propose_references(
        &self,
        request: v1::ProposeReferenceValuesRequest,
    ) -> Result<v1::ProposeReferenceValuesResponse, Refusal> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let (gateway, quote) = self.quoted(&gateway_id(&request.gateway_id)?).await?;
        if gateway.lifecycle == Lifecycle::Revoked {
            let (id, blocked) = (gateway.id, Blocked::Revoked);
            return Err(StoreError::Blocked { id, blocked }.into());
        }
        if request.drift_only {
            gateway.may_be_approved()?;
        }
        let class = match request.class.as_str() {
            "" => convert::class(&gateway.class)?,
            text => class(text)?,
        };
        let until = UnixTime::from_seconds(request.until);
        let change = match (request.change(), request.until) {
            (v1::propose_reference_values_request::Change::Add, 0) => Change::Add,
            (v1::propose_reference_values_request::Change::Add, _) => Change::AddUntil(until),
            (v1::propose_reference_values_request::Change::Replace, 0) => Change::Replace,
            (v1::propose_reference_values_request::Change::Replace, _) => {
                Change::ReplaceUntil(until)
            }
            _ => return Err(Refusal::AdminInput("add, or replace?".to_owned())),
        };
        // Read first: where an import comes in between, what is proposed is
        // for a version that is taken, and not one that undoes the import.
        let newest = shared.store.reference_values(class.as_str()).await?;
        let Compared { drift, with } = self.compare(&class, &gateway, &quote, now).await?;
        let mut quoted = quote.quoted.values.clone();
        if request.drift_only {
            quoted.retain(|index, _| drift.pcrs.iter().any(|pcr| pcr.index == *index));
        }
        // Changes with each file that is measured: what is there now is no golden
        // value, and allow lists say what may be.
        quoted.remove(&IMA_PCR);
        if quoted.is_empty() {
            return Err(Refusal::AdminInput(
                "nothing that the gateway quoted can be a reference value: of PCR 10 no value is, \
                 as each file that is measured changes it (import an allow list, or take 10 out \
                 of `pcr_selection`)"
                    .to_owned(),
            ));
        }
        let before = shared.references.of(&class).await?;
        let bank = quote.quoted.bank;
        let set = ReferenceValues::changed(before.as_deref(), bank, &quoted, change, now)
            .map_err(|e| Refusal::AdminInput(e.to_string()))?;
        let losses = before.as_deref().map(|before| before.lost_in(&set, now));
        Ok(v1::ProposeReferenceValuesResponse {
            falling: losses.into_iter().flatten().map(falling).collect(),
            class: class.as_str().to_owned(),
            document: set.canonical_json(),
            base_version: newest.map_or(0, |newest| newest.version),
            quote_sha256: quote.quoted.sha256().to_vec(),
            same: before.is_some_and(|before| before.digest() == set.digest()),
            drift: Some(convert::drift(&gateway.id, &class, &quote, drift, with)),
        })
    }

    pub(super) async fn diff(
        &self,
        request: v1::DiffGatewayRequest,
    ) -> Result<v1::DiffGatewayResponse, Refusal> {
        let now = self.shared.clock.now();
        let (gateway, quote) = self.quoted(&gateway_id(&request.gateway_id)?).await?;
        let class = convert::class(&gateway.class)?;
        let Compared { drift, with } = self.compare(&class, &gateway, &quote, now).await?;
        Ok(v1::DiffGatewayResponse {
            drift: Some(convert::drift(&gateway.id, &class, &quote, drift, with)),
        })
    }

    pub(super) async fn approve(
        &self,
        by: &str,
        request: v1::ApproveGatewayRequest,
    ) -> Result<v1::ApproveGatewayResponse, Refusal> {
        let (gateway, _) = self.quoted(&gateway_id(&request.gateway_id)?).await?;
        let class = convert::class(&gateway.class)?;
        let quote_sha256 = digest(&request.quote_sha256)?;
        reason(&request.reason)?;
        let (shared, by_them) = (Arc::clone(&self.shared), by.to_owned());
        let (record, gateway) = to_its_end(async move {
            let signed = Signed {
                class: &class,
                document: &request.document,
                statement: &request.statement,
                captured: Some(Captured {
                    gateway: gateway.id,
                    quote_sha256,
                }),
            };
            let (now, reason) = (shared.clock.now(), &request.reason);
            let references = &shared.references;
            references
                .approve(&gateway, &signed, reason, &by_them, now)
                .await
        })
        .await?;
        info!(by, gateway = %gateway.id, version = record.version, "approved");
        Ok(v1::ApproveGatewayResponse {
            class: record.class,
            version: record.version,
            digest: hex::encode(record.sha256),
            gateway: Some(convert::gateway(gateway)),
        })
    }

    /// A gateway on record and what it quoted last.
    async fn quoted(&self, id: &Ueid) -> Result<(GatewayRecord, LastQuote), Refusal> {
        let store = &self.shared.store;
        let gateway = store
            .gateway(id)
            .await?
            .ok_or(StoreError::UnknownGateway { id: *id })?;
        let quote = store.last_quote(id).await?;
        Ok((gateway, quote.ok_or(StoreError::QuoteChanged { id: *id })?))
    }

    async fn compare(
        &self,
        class: &Class,
        gateway: &GatewayRecord,
        quote: &LastQuote,
        now: UnixTime,
    ) -> Result<Compared, Refusal> {
        let subject = Subject {
            class,
            quoted: quote.quoted.clone(),
            log: quote.boot_log_sha256.map(BootLogRef::Known),
            affirmed_log: gateway.boot_log_sha256,
        };
        drift::compare(&self.shared, subject, now).await
    }
}

fn digest(bytes: &[u8]) -> Result<Sha256, Refusal> {
    Sha256::try_from(bytes)
        .map_err(|_| Refusal::AdminInput("a quote's SHA-256 has 32 bytes".to_owned()))
}

fn falling(loss: Loss) -> v1::FallingValue {
    v1::FallingValue {
        bank: loss.bank.name().to_owned(),
        index: loss.pcr,
        measures: appraisal::measures(loss.pcr).to_owned(),
        value: hex::encode(loss.value),
        at: loss.at.map_or(0, UnixTime::seconds),
    }
}
