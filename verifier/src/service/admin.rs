//! The owner's calls, over the admin socket.

mod allow_lists;
mod bundle;
mod endorsements;
mod policies;
mod references;

use std::{net::SocketAddr, sync::Arc};

use holdfast_proto::{
    binding::Ueid,
    grpc::v1::{self, admin_server::Admin},
};
use tonic::{Request, Response, Status, Streaming};
use tracing::info;

pub use self::endorsements::build_anchors;
use super::{Shared, admin_socket::actor, convert, error::Refusal};
use crate::{exchange::Class, store::SuspensionKind};

/// Gateways on one page (admin.proto; CVE class of SPIRE 1.9.3).
const PAGE_MAX: u32 = 1000;
const PAGE_DEFAULT: u32 = 100;
/// A reason is a line for the audit log.
const REASON_MAX: usize = 500;

/// Handlers of `holdfast.v1.Admin`.
pub(super) struct AdminService {
    shared: Arc<Shared>,
    listening: SocketAddr,
    /// Imports of endorsements, one at a time: each reads all anchors back.
    importing: tokio::sync::Mutex<()>,
}

impl AdminService {
    pub(super) fn new(shared: Arc<Shared>, listening: SocketAddr) -> Self {
        Self {
            shared,
            listening,
            importing: tokio::sync::Mutex::default(),
        }
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
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
        answer(self.endorsements(&by, request.into_inner()).await)
    }

    async fn list_endorsements(
        &self,
        request: Request<v1::ListEndorsementsRequest>,
    ) -> Result<Response<v1::ListEndorsementsResponse>, Status> {
        actor(&request).map_err(Refusal::into_admin_status)?;
        let anchors = self.shared.store.anchors().await.map_err(Refusal::from);
        answer(anchors.map(|anchors| {
            v1::ListEndorsementsResponse {
                endorsements: anchors
                    .into_iter()
                    .map(|a| v1::Endorsement {
                        sha256: hex::encode(a.sha256),
                        subject: a.subject,
                        root: a.root,
                        not_after: a.not_after,
                    })
                    .collect(),
            }
        }))
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
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.receive_allow_list(&by, request.into_inner()).await)
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
            let drift = quote.map(|quote| quote.drift).unwrap_or_default();
            Ok(v1::GetGatewayResponse {
                gateway: Some(v1::Gateway {
                    drift,
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

    async fn revoke_gateway(
        &self,
        request: Request<v1::RevokeGatewayRequest>,
    ) -> Result<Response<v1::RevokeGatewayResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        let request = request.into_inner();
        let revoke = async {
            let (id, reason) = (gateway_id(&request.gateway_id)?, reason(&request.reason)?);
            let now = self.shared.clock.now().seconds();
            let record = self.shared.store.revoke(&id, reason, &by, now).await?;
            info!(by, gateway = %id, "revoked");
            Ok(v1::RevokeGatewayResponse {
                gateway: Some(convert::gateway(record)),
            })
        };
        answer(revoke.await)
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
