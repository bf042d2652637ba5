//! The owner's calls about allow lists.

use std::sync::Arc;

use holdfast_proto::grpc::v1;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;
use tracing::info;

use super::{
    AdminService, class,
    page::{VERSIONS_FETCH, cut_versions},
    to_its_end,
};
use crate::{
    operators::Role,
    reference_values::allow_list::MAX_LIST_BYTES,
    service::{caller::Caller, error::Refusal},
    store::AllowListVersion,
};

/// What sending one needs: as in the table (`roles`), which a test holds it to.
const NEEDED: Role = Role::Operator;

impl AdminService {
    /// Takes a document in chunks, so that no message of the admin socket is
    /// larger than others; in all at most [`MAX_LIST_BYTES`].
    pub(super) async fn receive_allow_list(
        &self,
        caller: &Caller,
        mut chunks: impl Stream<Item = Result<v1::ImportAllowListRequest, Status>> + Unpin,
    ) -> Result<v1::ImportAllowListResponse, Refusal> {
        let mut head: Option<(String, Vec<u8>)> = None;
        let mut document = Vec::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| Refusal::Invalid("the list did not arrive whole"))?;
            match &head {
                None => head = Some((chunk.class, chunk.statement)),
                Some(_) if chunk.class.is_empty() && chunk.statement.is_empty() => {}
                Some(_) => {
                    return Err(Refusal::Invalid(
                        "class and statement belong into the first message only",
                    ));
                }
            }
            if chunk.chunk.len() > MAX_LIST_BYTES.saturating_sub(document.len()) {
                return Err(Refusal::Invalid("an allow list has at most 64 MiB"));
            }
            document.extend_from_slice(&chunk.chunk);
        }
        let (name, statement) = head.ok_or(Refusal::Invalid("nothing was sent"))?;
        let class = class(&name)?;
        let (shared, sender) = (Arc::clone(&self.shared), caller.clone());
        let (version, changed) = to_its_end(async move {
            let (now, lists) = (shared.clock.now(), &shared.allow_lists);
            // What was sent for minutes is not begun by whom the gate let in.
            let still = sender.still(&shared, NEEDED);
            lists
                .import(&class, document, statement, sender.name(), now, still)
                .await
        })
        .await?;
        let by = caller.name();
        if changed {
            info!(
                by,
                class = version.class,
                version = version.version,
                digest = hex::encode(version.sha256),
                "allow list imported"
            );
        }
        Ok(v1::ImportAllowListResponse {
            list: Some(shown(version)),
            changed,
        })
    }

    pub(super) async fn allow_list_versions(
        &self,
        request: v1::ListAllowListsRequest,
    ) -> Result<v1::ListAllowListsResponse, Refusal> {
        let class = Some(request.class.as_str()).filter(|class| !class.is_empty());
        let lists = self.shared.store.allow_lists(class, VERSIONS_FETCH).await?;
        let (lists, cut) = cut_versions(lists);
        Ok(v1::ListAllowListsResponse {
            lists: lists.into_iter().map(shown).collect(),
            cut,
        })
    }
}

fn shown(version: AllowListVersion) -> v1::AllowListVersion {
    v1::AllowListVersion {
        class: version.class,
        version: version.version,
        digest: hex::encode(version.sha256),
        bytes: version.bytes,
        entries: version.entries,
        keys: version.keys,
        imported_at: version.imported_at,
        imported_by: version.imported_by,
    }
}
