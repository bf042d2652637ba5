//! Taking up keys that were rotated.

use holdfast_proto::grpc::v1;

use super::{AdminService, Refusal, to_its_end};

impl AdminService {
    pub(super) async fn reload_keys(&self, by: String) -> Result<v1::ReloadKeysResponse, Refusal> {
        let shared = std::sync::Arc::clone(&self.shared);
        let reloaded = to_its_end(async move { shared.keys.reload(&shared, &by).await }).await?;
        Ok(v1::ReloadKeysResponse {
            changes: reloaded
                .changes
                .into_iter()
                .map(|change| v1::KeyChange {
                    kind: change.kind,
                    key_id: change.id,
                    state: change.state.name().to_owned(),
                })
                .collect(),
            issuing_unavailable: reloaded.unreachable.unwrap_or_default(),
        })
    }
}
