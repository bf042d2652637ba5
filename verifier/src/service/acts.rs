//! Acts of people that were refused, for the audit log. What was done is
//! recorded by the transaction that did it.

use std::sync::Arc;

use tracing::{error, warn};

use super::{Shared, error::Refusal};
use crate::store::AuditEntry;

/// Longest account of a refusal.
const DETAIL_MAX: usize = 300;

/// Records a call that the gate turned away for who made it.
pub(super) async fn refused_at_the_gate(shared: &Arc<Shared>, path: &str, refusal: &Refusal) {
    let caller = match refusal {
        Refusal::NoRole(caller)
        | Refusal::RoleTooLow { caller, .. }
        | Refusal::OperatorNotGood { caller, .. } => caller,
        // Nobody's act: no such method, no place, a fault of ours.
        _ => return,
    };
    refused(shared, path, caller, &refusal.to_string()).await;
}

/// Records a call that its handler refused.
pub(super) async fn refused(shared: &Arc<Shared>, path: &str, caller: &str, why: &str) {
    // Else whoever is refused could fill the disk; the service's log has all.
    if shared.limits.refused_act(caller).is_err() {
        warn!(caller, path, "refused too often to be recorded each time");
        return;
    }
    let entry = AuditEntry {
        at: shared.clock.now().seconds(),
        actor: caller.to_owned(),
        action: "refused".to_owned(),
        // A path that has a row: the table's own text.
        subject: path.rsplit('/').next().unwrap_or_default().to_owned(),
        detail: why
            .chars()
            .flat_map(char::escape_debug)
            .take(DETAIL_MAX)
            .collect(),
    };
    if let Err(error) = shared.store.record_act(entry).await {
        error!(%error, caller, path, "a refused act could not be recorded");
    }
}
