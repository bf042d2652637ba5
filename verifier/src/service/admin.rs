//! The owner's calls, over the admin socket.

mod admissions;
mod allow_lists;
mod audit;
mod bundle;
mod endorsements;
mod keys;
mod oems;
mod operators;
mod page;
mod policies;
mod references;
mod restore;
mod secrets;
mod watch;

use std::{net::SocketAddr, sync::Arc};

use holdfast_proto::{
    binding::Ueid,
    grpc::v1::{self, admin_server::Admin},
};
use tonic::{Request, Response, Status, Streaming};
use tracing::info;

pub use self::oems::build_oems;
use super::{
    Shared,
    caller::{Caller, actor},
    convert,
    error::Refusal,
};
use crate::{
    appraisal::ImaState, exchange::Class, identity::RevocationReason, store::SuspensionKind,
};

/// Gateways on one page (admin.proto; CVE class of SPIRE 1.9.3).
const PAGE_MAX: u32 = 1000;
const PAGE_DEFAULT: u32 = 100;
/// A reason is a line for the audit log.
const REASON_MAX: usize = 500;

/// Handlers of `holdfast.v1.Admin`.
pub(super) struct AdminService {
    shared: Arc<Shared>,
    listening: SocketAddr,
    /// Places for streams of events.
    watchers: Arc<watch::Watchers>,
    importing_oems: Arc<tokio::sync::Mutex<()>>,
}

impl AdminService {
    pub(super) fn new(shared: Arc<Shared>, listening: SocketAddr) -> Self {
        Self {
            shared,
            listening,
            watchers: watch::watchers(),
            importing_oems: Arc::default(),
        }
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    type WatchStream = watch::WatchStream;

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let caller = Caller::of(&request)
            .map_err(Refusal::into_admin_status)?
            .clone();
        answer(self.watch_events(&caller, request.into_inner()).await)
    }

    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.token(&by, request.into_inner()).await)
    }

    async fn import_endorsements(
        &self,
        request: Request<v1::ImportEndorsementsRequest>,
    ) -> Result<Response<v1::ImportEndorsementsResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.import_endorsements_of(&by, request.into_inner()).await)
    }

    async fn list_endorsements(
        &self,
        request: Request<v1::ListEndorsementsRequest>,
    ) -> Result<Response<v1::ListEndorsementsResponse>, Status> {
        actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.list_endorsements_of().await)
    }

    async fn apply_endorsements(
        &self,
        request: Request<v1::ApplyEndorsementsRequest>,
    ) -> Result<Response<v1::ApplyEndorsementsResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.apply_endorsements_of(&by, request.into_inner()).await)
    }

    async fn import_reference_values(
        &self,
        request: Request<v1::ImportReferenceValuesRequest>,
    ) -> Result<Response<v1::ImportReferenceValuesResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.import_references(&by, request.into_inner()).await)
    }

    async fn list_reference_values(
        &self,
        request: Request<v1::ListReferenceValuesRequest>,
    ) -> Result<Response<v1::ListReferenceValuesResponse>, Status> {
        actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.list_references(request.into_inner()).await)
    }

    async fn propose_reference_values(
        &self,
        request: Request<v1::ProposeReferenceValuesRequest>,
    ) -> Result<Response<v1::ProposeReferenceValuesResponse>, Status> {
        actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.propose_references(request.into_inner()).await)
    }

    async fn diff_gateway(
        &self,
        request: Request<v1::DiffGatewayRequest>,
    ) -> Result<Response<v1::DiffGatewayResponse>, Status> {
        actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.diff(request.into_inner()).await)
    }

    async fn approve_gateway(
        &self,
        request: Request<v1::ApproveGatewayRequest>,
    ) -> Result<Response<v1::ApproveGatewayResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.approve(&by, request.into_inner()).await)
    }

    async fn import_allow_list(
        &self,
        request: Request<Streaming<v1::ImportAllowListRequest>>,
    ) -> Result<Response<v1::ImportAllowListResponse>, Status> {
        let caller = Caller::of(&request).map_err(Refusal::into_admin_status)?;
        let caller = caller.clone();
        answer(self.receive_allow_list(&caller, request.into_inner()).await)
    }

    async fn list_allow_lists(
        &self,
        request: Request<v1::ListAllowListsRequest>,
    ) -> Result<Response<v1::ListAllowListsResponse>, Status> {
        actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.allow_list_versions(request.into_inner()).await)
    }

    async fn apply_policy(
        &self,
        request: Request<v1::ApplyPolicyRequest>,
    ) -> Result<Response<v1::ApplyPolicyResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        answer(Self::apply_policy(self, &by, request.into_inner()).await)
    }

    async fn get_policy(
        &self,
        request: Request<v1::GetPolicyRequest>,
    ) -> Result<Response<v1::GetPolicyResponse>, Status> {
        actor(&request).map_err(Refusal::into_admin_status)?;
        answer(Self::get_policy(self, request.into_inner()).await)
    }

    async fn list_policies(
        &self,
        request: Request<v1::ListPoliciesRequest>,
    ) -> Result<Response<v1::ListPoliciesResponse>, Status> {
        actor(&request).map_err(Refusal::into_admin_status)?;
        answer(Self::list_policies(self).await)
    }

    async fn list_gateways(
        &self,
        request: Request<v1::ListGatewaysRequest>,
    ) -> Result<Response<v1::ListGatewaysResponse>, Status> {
        actor(&request).map_err(Refusal::into_admin_status)?;
        let request = request.into_inner();
        let list = async {
            let size = match request.page_size {
                0 => PAGE_DEFAULT,
                size if size <= PAGE_MAX => size,
                _ => {
                    return Err(Refusal::AdminInput(
                        "a page has at most 1000 gateways".to_owned(),
                    ));
                }
            };
            // The token is the last id of the page before.
            let after = match request.page_token.as_str() {
                "" => None,
                text => Some(gateway_id(text)?),
            };
            let page = self.shared.store.gateways(after.as_ref(), size).await?;
            Ok(v1::ListGatewaysResponse {
                gateways: page.gateways.into_iter().map(convert::gateway).collect(),
                next_page_token: page.next.map(|id| id.to_string()).unwrap_or_default(),
            })
        };
        answer(list.await)
    }

    async fn get_gateway(
        &self,
        request: Request<v1::GetGatewayRequest>,
    ) -> Result<Response<v1::GetGatewayResponse>, Status> {
        actor(&request).map_err(Refusal::into_admin_status)?;
        let get = async {
            let id = gateway_id(&request.get_ref().gateway_id)?;
            let record = self
                .shared
                .store
                .gateway(&id)
                .await?
                .ok_or(crate::store::StoreError::UnknownGateway { id })?;
            let quote = self.shared.store.last_quote(&id).await?;
            let ima = self.shared.store.ima_state(&id).await?;
            let ima = ima.as_deref().and_then(ImaState::parse);
            let evidence = quote
                .as_ref()
                .map(|quote| convert::evidence_seen(quote, ima.as_ref()));
            let drift = quote.map(|quote| quote.drift).unwrap_or_default();
            let replacements = self.shared.store.replacements(&id).await?;
            let rules = &self.shared.silence;
            let awaited = self.shared.store.awaited(&id, rules).await?;
            Ok(v1::GetGatewayResponse {
                gateway: Some(v1::Gateway {
                    drift,
                    evidence,
                    awaited: awaited.map(convert::awaited),
                    replacements: replacements
                        .into_iter()
                        .map(admissions::replacement)
                        .collect(),
                    ..convert::gateway(record)
                }),
            })
        };
        answer(get.await)
    }

    async fn suspend_gateway(
        &self,
        request: Request<v1::SuspendGatewayRequest>,
    ) -> Result<Response<v1::SuspendGatewayResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        let request = request.into_inner();
        let suspend = async {
            let (id, reason) = (gateway_id(&request.gateway_id)?, reason(&request.reason)?);
            let now = self.shared.clock.now().seconds();
            let store = &self.shared.store;
            let record = store
                .suspend(&id, SuspensionKind::Operator, reason, &by, now)
                .await?;
            self.shared.revocations.refresh().await?;
            info!(by, gateway = %id, "suspended");
            Ok(v1::SuspendGatewayResponse {
                gateway: Some(convert::gateway(record)),
            })
        };
        answer(suspend.await)
    }

    async fn resume_gateway(
        &self,
        request: Request<v1::ResumeGatewayRequest>,
    ) -> Result<Response<v1::ResumeGatewayResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        let request = request.into_inner();
        let resume = async {
            let (id, reason) = (gateway_id(&request.gateway_id)?, reason(&request.reason)?);
            let now = self.shared.clock.now().seconds();
            let record = self.shared.store.resume(&id, reason, &by, now).await?;
            info!(by, gateway = %id, "resumed");
            Ok(v1::ResumeGatewayResponse {
                gateway: Some(convert::gateway(record)),
            })
        };
        answer(resume.await)
    }

    async fn reset_gateway_clock(
        &self,
        request: Request<v1::ResetGatewayClockRequest>,
    ) -> Result<Response<v1::ResetGatewayClockResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        let request = request.into_inner();
        let reset = async {
            let (id, reason) = (gateway_id(&request.gateway_id)?, reason(&request.reason)?);
            if reason.is_empty() {
                return Err(Refusal::AdminInput(
                    "a reason: why may this TPM's clock be behind?".to_owned(),
                ));
            }
            let now = self.shared.clock.now().seconds();
            let store = &self.shared.store;
            let record = store.reset_clock(&id, reason, &by, now).await?;
            self.shared.revocations.refresh().await?;
            info!(by, gateway = %id, "clock reset");
            Ok(v1::ResetGatewayClockResponse {
                gateway: Some(convert::gateway(record)),
            })
        };
        answer(reset.await)
    }

    async fn revoke_gateway(
        &self,
        request: Request<v1::RevokeGatewayRequest>,
    ) -> Result<Response<v1::RevokeGatewayResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        let request = request.into_inner();
        let revoke = async {
            let (id, reason) = (gateway_id(&request.gateway_id)?, reason(&request.reason)?);
            let now = self.shared.clock.now().seconds();
            let code = u8::try_from(request.reason_code)
                .ok()
                .and_then(RevocationReason::from_code)
                .ok_or_else(|| {
                    Refusal::AdminInput(
                    "a reason code is one of RFC 5280 §5.3.1 that is of an LDevID: 0, 1, 3, 4, 5, 9"
                        .to_owned(),
                )
                })?;
            let store = &self.shared.store;
            let record = store.revoke(&id, code, reason, &by, now).await?;
            self.shared.revocations.refresh().await?;
            info!(by, gateway = %id, %code, "revoked");
            Ok(v1::RevokeGatewayResponse {
                gateway: Some(convert::gateway(record)),
            })
        };
        answer(revoke.await)
    }

    async fn who_am_i(
        &self,
        request: Request<v1::WhoAmIRequest>,
    ) -> Result<Response<v1::WhoAmIResponse>, Status> {
        answer(Caller::of(&request).map(|caller| v1::WhoAmIResponse {
            name: caller.name().to_owned(),
            role: caller.role().name().to_owned(),
        }))
    }

    async fn add_operator(
        &self,
        request: Request<v1::AddOperatorRequest>,
    ) -> Result<Response<v1::AddOperatorResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        answer(
            self.add_operator_certificate(&by, request.into_inner())
                .await,
        )
    }

    async fn list_operators(
        &self,
        request: Request<v1::ListOperatorsRequest>,
    ) -> Result<Response<v1::ListOperatorsResponse>, Status> {
        actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.operators_page(request.into_inner()).await)
    }

    async fn revoke_operator(
        &self,
        request: Request<v1::RevokeOperatorRequest>,
    ) -> Result<Response<v1::RevokeOperatorResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        answer(
            self.revoke_operator_certificate(&by, request.into_inner())
                .await,
        )
    }

    async fn list_audit(
        &self,
        request: Request<v1::ListAuditRequest>,
    ) -> Result<Response<v1::ListAuditResponse>, Status> {
        actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.audit_page(request.into_inner()).await)
    }

    async fn reload_keys(
        &self,
        request: Request<v1::ReloadKeysRequest>,
    ) -> Result<Response<v1::ReloadKeysResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        answer(Self::reload_keys(self, by).await)
    }

    async fn confirm_restore(
        &self,
        request: Request<v1::ConfirmRestoreRequest>,
    ) -> Result<Response<v1::ConfirmRestoreResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.confirm_restored(&by, request.into_inner()).await)
    }

    async fn create_bundle(
        &self,
        request: Request<v1::CreateBundleRequest>,
    ) -> Result<Response<v1::CreateBundleResponse>, Status> {
        actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.bundle_without_token(request.into_inner()).await)
    }

    async fn admit_device(
        &self,
        request: Request<v1::AdmitDeviceRequest>,
    ) -> Result<Response<v1::AdmitDeviceResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.admit(&by, request.into_inner()).await)
    }

    async fn remove_device(
        &self,
        request: Request<v1::RemoveDeviceRequest>,
    ) -> Result<Response<v1::RemoveDeviceResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.remove_admitted(&by, request.into_inner()).await)
    }

    async fn list_devices(
        &self,
        request: Request<v1::ListDevicesRequest>,
    ) -> Result<Response<v1::ListDevicesResponse>, Status> {
        actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.admitted_page(request.into_inner()).await)
    }

    async fn list_pending(
        &self,
        request: Request<v1::ListPendingRequest>,
    ) -> Result<Response<v1::ListPendingResponse>, Status> {
        actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.pending_page(request.into_inner()).await)
    }

    async fn approve_pending(
        &self,
        request: Request<v1::ApprovePendingRequest>,
    ) -> Result<Response<v1::ApprovePendingResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.approve_waiting(&by, request.into_inner()).await)
    }

    async fn deny_pending(
        &self,
        request: Request<v1::DenyPendingRequest>,
    ) -> Result<Response<v1::DenyPendingResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.deny_waiting(&by, request.into_inner()).await)
    }

    async fn replace_gateway(
        &self,
        request: Request<v1::ReplaceGatewayRequest>,
    ) -> Result<Response<v1::ReplaceGatewayResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.replace(&by, request.into_inner()).await)
    }

    async fn import_oem_anchors(
        &self,
        request: Request<v1::ImportOemAnchorsRequest>,
    ) -> Result<Response<v1::ImportOemAnchorsResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.oem_anchors(&by, request.into_inner()).await)
    }

    async fn list_oem_anchors(
        &self,
        request: Request<v1::ListOemAnchorsRequest>,
    ) -> Result<Response<v1::ListOemAnchorsResponse>, Status> {
        actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.known_oem_anchors().await)
    }

    async fn allow_oem_serials(
        &self,
        request: Request<v1::AllowOemSerialsRequest>,
    ) -> Result<Response<v1::AllowOemSerialsResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.allow_serials(&by, request.into_inner()).await)
    }

    async fn withdraw_oem(
        &self,
        request: Request<v1::WithdrawOemRequest>,
    ) -> Result<Response<v1::WithdrawOemResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.withdraw(&by, request.into_inner()).await)
    }

    async fn remove_oem_serials(
        &self,
        request: Request<v1::RemoveOemSerialsRequest>,
    ) -> Result<Response<v1::RemoveOemSerialsResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.remove_serials(&by, request.into_inner()).await)
    }

    async fn list_oem_serials(
        &self,
        request: Request<v1::ListOemSerialsRequest>,
    ) -> Result<Response<v1::ListOemSerialsResponse>, Status> {
        actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.serials(request.into_inner()).await)
    }

    async fn put_secret(
        &self,
        request: Request<v1::PutSecretRequest>,
    ) -> Result<Response<v1::PutSecretResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.put(&by, request.into_inner()).await)
    }

    async fn revoke_secret(
        &self,
        request: Request<v1::RevokeSecretRequest>,
    ) -> Result<Response<v1::RevokeSecretResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.revoke(&by, request.into_inner()).await)
    }

    async fn list_secrets(
        &self,
        request: Request<v1::ListSecretsRequest>,
    ) -> Result<Response<v1::ListSecretsResponse>, Status> {
        actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.secrets(request.into_inner()).await)
    }
}

fn answer<T>(result: Result<T, Refusal>) -> Result<Response<T>, Status> {
    result
        .map(Response::new)
        .map_err(Refusal::into_admin_status)
}

/// Makes a change to its end, also where the caller goes away meanwhile:
/// else the store could have what memory does not have.
async fn to_its_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::spawn(change)
        .await
        .map_err(|e| Refusal::Internal(format!("a change ended early: {e}")))?
}

fn class(text: &str) -> Result<Class, Refusal> {
    Class::parse(text).map_err(|e| Refusal::AdminInput(e.to_string()))
}

fn gateway_id(text: &str) -> Result<Ueid, Refusal> {
    text.parse().map_err(|_| {
        Refusal::AdminInput(
            "a gateway id is 66 lower-case hex digits, as `gateway list` shows them".to_owned(),
        )
    })
}

fn reason(text: &str) -> Result<&str, Refusal> {
    if text.len() > REASON_MAX || text.chars().any(char::is_control) {
        return Err(Refusal::AdminInput(
            "a reason is one line of at most 500 bytes".to_owned(),
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll};

    use tokio::sync::oneshot;

    use super::to_its_end;

    #[tokio::test]
    async fn a_change_is_made_where_nobody_waits_for_it_any_more() {
        let (done, made) = oneshot::channel();
        let mut change = Box::pin(to_its_end(async move {
            tokio::task::yield_now().await;
            let _ = done.send(());
            Ok(())
        }));
        // Looked at once, and let go.
        let pending = poll_fn(|cx| Poll::Ready(change.as_mut().poll(cx).is_pending())).await;
        assert!(pending);
        drop(change);
        made.await.unwrap();
    }
}
