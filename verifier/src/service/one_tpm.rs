//! One TPM, one record: asked of every EK that an enrolment shows, once its TPM
//! has answered for all of them.

use holdfast_proto::binding::Ueid;

use super::{Shared, error::Refusal};
use crate::{
    exchange::{OpenedEnrolment, UnixTime},
    store::{OwnedKey, StoreError},
};

/// No EK is on the record of another gateway, whatever became of that one, and
/// none was denied as a gateway of its own. The recording transaction asks again;
/// this spares public-key work, and keeps out of the queue for approval whom
/// nobody could let in. Only one who holds the EK gets this far, so it may be
/// told.
///
/// # Errors
/// [`StoreError::KeyOfAnother`], [`StoreError::PendingDenied`].
pub(super) async fn expect(
    shared: &Shared,
    opened: &OpenedEnrolment,
    now: UnixTime,
) -> Result<(), Refusal> {
    let id = opened.gateway_id();
    for ek in opened.eks_sha256() {
        let owner = shared.store.owner_of_ek(&ek).await?;
        if let Some(owner) = owner.filter(|owner| owner != id) {
            let key = OwnedKey::Ek;
            return Err(StoreError::KeyOfAnother { key, owner }.into());
        }
        not_denied(shared, &Ueid::from_digest(&ek), now).await?;
    }
    Ok(())
}

/// The owner did not deny this gateway.
///
/// # Errors
/// [`StoreError::PendingDenied`].
pub(super) async fn not_denied(shared: &Shared, id: &Ueid, now: UnixTime) -> Result<(), Refusal> {
    let pending = shared.store.pending_gateway(id, now.seconds()).await?;
    match pending.filter(|pending| pending.denied) {
        None => Ok(()),
        Some(_) => Err(StoreError::PendingDenied { id: *id }.into()),
    }
}
