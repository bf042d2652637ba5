//! Who may enrol: named devices, those that wait, replacements of broken ones.

use holdfast_proto::{
    binding::Ueid,
    bundle::{Bundle, JoinToken},
    grpc::v1,
};
use tracing::info;

use super::{AdminService, class, gateway_id, page::Page, reason};
use crate::{
    service::error::Refusal,
    store::{AdmittedDevice, DeviceName, PendingGateway, Replacement},
};

/// Lifetime of a bundle without a token (admin.proto): it only pins.
const BUNDLE_VALID_FOR: std::ops::RangeInclusive<u32> = 60..=2 * 365 * 86_400;

impl AdminService {
    pub(super) async fn bundle_without_token(
        &self,
        request: v1::CreateBundleRequest,
    ) -> Result<v1::CreateBundleResponse, Refusal> {
        let shared = &self.shared;
        let class = class(&request.class)?;
        if !BUNDLE_VALID_FOR.contains(&request.valid_for_seconds) {
            return Err(Refusal::AdminInput(
                "a bundle without a token is valid for 60 s to 2 years".to_owned(),
            ));
        }
        let now = shared.clock.now();
        let expires = now.plus(i64::from(request.valid_for_seconds)).seconds();
        let (server, server_name) = self.dial(&request.server_url)?;
        let bundle = Bundle {
            server,
            server_name,
            server_ca_der: shared.bundle.server_ca.clone(),
            join_token: JoinToken::none(),
            policy_root_name: shared.bundle.policy_root.clone(),
            class: class.as_str().to_owned(),
            expires,
        };
        let text = bundle
            .encode()
            .map_err(|e| Refusal::AdminInput(e.to_string()))?;
        Ok(v1::CreateBundleResponse {
            bundle: text.as_str().to_owned(),
            expires,
        })
    }

    pub(super) async fn admit(
        &self,
        by: &str,
        request: v1::AdmitDeviceRequest,
    ) -> Result<v1::AdmitDeviceResponse, Refusal> {
        let name = device_name(&request.kind, &request.value)?;
        let class = class(&request.class)?;
        let now = self.shared.clock.now().seconds();
        let admitted = self
            .shared
            .store
            .admit_device(&name, class.as_str(), reason(&request.note)?, by, now)
            .await?;
        info!(by, device = %name, %class, "admitted");
        Ok(v1::AdmitDeviceResponse {
            device: Some(device(admitted)),
        })
    }

    pub(super) async fn remove_admitted(
        &self,
        by: &str,
        request: v1::RemoveDeviceRequest,
    ) -> Result<v1::RemoveDeviceResponse, Refusal> {
        let name = device_name(&request.kind, &request.value)?;
        let now = self.shared.clock.now().seconds();
        self.shared.store.remove_device(&name, by, now).await?;
        info!(by, device = %name, "admission taken back");
        Ok(v1::RemoveDeviceResponse {})
    }

    pub(super) async fn admitted_page(
        &self,
        request: v1::ListDevicesRequest,
    ) -> Result<v1::ListDevicesResponse, Refusal> {
        let page = Page::parse(request.page_size, &request.page_token)?;
        let rows = self
            .shared
            .store
            .admitted_devices(page.from.unwrap_or(0), page.fetch())
            .await?;
        let (rows, next_page_token) = page.cut(rows, |row| row.number);
        Ok(v1::ListDevicesResponse {
            devices: rows.into_iter().map(device).collect(),
            next_page_token,
        })
    }

    pub(super) async fn pending_page(
        &self,
        request: v1::ListPendingRequest,
    ) -> Result<v1::ListPendingResponse, Refusal> {
        let page = Page::parse(request.page_size, &request.page_token)?;
        let now = self.shared.clock.now().seconds();
        let rows = self
            .shared
            .store
            .pending_gateways(page.from.unwrap_or(0), page.fetch(), now)
            .await?;
        let (rows, next_page_token) = page.cut(rows, |row| row.number);
        Ok(v1::ListPendingResponse {
            pending: rows.into_iter().map(pending).collect(),
            next_page_token,
        })
    }

    pub(super) async fn approve_waiting(
        &self,
        by: &str,
        request: v1::ApprovePendingRequest,
    ) -> Result<v1::ApprovePendingResponse, Refusal> {
        let id = gateway_id(&request.gateway_id)?;
        let now = self.shared.clock.now().seconds();
        let store = &self.shared.store;
        let class = match request.class.as_str() {
            // As it was proposed.
            "" => {
                store
                    .pending_gateway(&id, now)
                    .await?
                    .ok_or(crate::store::StoreError::UnknownPending { id })?
                    .class
            }
            text => class(text)?.as_str().to_owned(),
        };
        let admitted = store.approve_pending(&id, &class, by, now).await?;
        info!(by, gateway = %id, class, "approved");
        Ok(v1::ApprovePendingResponse {
            device: Some(device(admitted)),
        })
    }

    pub(super) async fn deny_waiting(
        &self,
        by: &str,
        request: v1::DenyPendingRequest,
    ) -> Result<v1::DenyPendingResponse, Refusal> {
        let id = gateway_id(&request.gateway_id)?;
        let now = self.shared.clock.now().seconds();
        let store = &self.shared.store;
        if request.forget {
            store.forget_pending(&id, by, now).await?;
            info!(by, gateway = %id, "forgotten");
            return Ok(v1::DenyPendingResponse {
                pending: None,
                suspended: false,
            });
        }
        let denied = store
            .deny_pending(&id, reason(&request.reason)?, by, now)
            .await?;
        info!(by, gateway = %id, suspended = denied.suspended, "denied");
        Ok(v1::DenyPendingResponse {
            suspended: denied.suspended,
            pending: Some(pending(denied.pending)),
        })
    }

    pub(super) async fn replace(
        &self,
        by: &str,
        request: v1::ReplaceGatewayRequest,
    ) -> Result<v1::ReplaceGatewayResponse, Refusal> {
        let old = gateway_id(&request.gateway_id)?;
        let new = replacing(&request.by)?;
        let why = reason(&request.reason)?;
        if why.is_empty() {
            return Err(Refusal::AdminInput(
                "say why with --reason: a replacement cannot be undone".to_owned(),
            ));
        }
        let now = self.shared.clock.now().seconds();
        let done = self
            .shared
            .store
            .replace_gateway(&old, &new, why, by, now)
            .await?;
        info!(by, gateway = %old, %new, "replaced");
        Ok(v1::ReplaceGatewayResponse {
            replacement: Some(replacement(done)),
        })
    }
}

/// A gateway's id, or the SHA-256 of an EK that makes one.
fn replacing(text: &str) -> Result<Ueid, Refusal> {
    match text.len() {
        64 => gateway_id(&format!("01{text}")),
        _ => gateway_id(text),
    }
}

fn device_name(kind: &str, value: &str) -> Result<DeviceName, Refusal> {
    DeviceName::parse(kind, value).ok_or_else(|| {
        Refusal::AdminInput("a device is named by ek-sha256: 64 lower-case hex digits".to_owned())
    })
}

fn device(device: AdmittedDevice) -> v1::AdmittedDevice {
    v1::AdmittedDevice {
        kind: device.name.kind().to_owned(),
        value: device.name.value(),
        class: device.class,
        note: device.note,
        added_at: device.added_at,
        added_by: device.added_by,
    }
}

fn pending(pending: PendingGateway) -> v1::PendingGateway {
    v1::PendingGateway {
        gateway_id: pending.id.to_string(),
        denied: pending.denied,
        class: pending.class,
        tpm: pending.tpm,
        address: pending.address,
        first_seen: pending.first_seen,
        last_seen: pending.last_seen,
        expires: pending.expires,
        reason: pending.reason,
    }
}

/// As it is told.
pub(super) fn replacement(replacement: Replacement) -> v1::Replacement {
    v1::Replacement {
        old_gateway_id: replacement.old.to_string(),
        new_gateway_id: replacement.new.to_string(),
        at: replacement.at,
        by: replacement.by,
        reason: replacement.reason,
    }
}
