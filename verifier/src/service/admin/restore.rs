//! The doors of a verifier that was restored from a backup.

use holdfast_proto::grpc::v1;
use tracing::info;

use super::{AdminService, Refusal, to_its_end};
use crate::custody::rotate_commands;

impl AdminService {
    pub(super) async fn confirm_restored(
        &self,
        by: &str,
        request: v1::ConfirmRestoreRequest,
    ) -> Result<v1::ConfirmRestoreResponse, Refusal> {
        let backup = request.backup;
        if backup.len() != 64
            || !backup
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(Refusal::AdminInput(
                "name the backup by its id: 64 lower-case hex digits, as `restore` printed it"
                    .to_owned(),
            ));
        }
        let (shared, actor) = (std::sync::Arc::clone(&self.shared), by.to_owned());
        // What the keyring names now is in use before the doors open.
        to_its_end(async move { shared.keys.reload(&shared, &actor).await }).await?;
        let shared = &self.shared;
        let (dir, void) = shared.keys.void().map_err(Refusal::Keys)?;
        if !void.is_empty() {
            return Err(Refusal::AdminInput(format!(
                "keys in use are of the backup, and may have been retired since; replace them \
                 first:\n{}",
                rotate_commands(&dir, &void)
            )));
        }
        let now = shared.clock.now().seconds();
        let confirmed = shared.store.confirm_restore(&backup, by, now).await?;
        info!(by, backup, "restore confirmed: gateways enrol and recover");
        Ok(v1::ConfirmRestoreResponse {
            gateways: confirmed.gateways,
            devices: confirmed.devices,
            serials: confirmed.serials,
        })
    }
}
