//! Drift for people: gathers what `drift` compares. For the owner alone; a
//! gateway learns the PCRs.

use std::sync::Arc;

use tracing::{info, warn};

use super::{Shared, error::Refusal};
use crate::{
    drift::{Boots, Drift},
    freshness::Class,
    store::{APPROVABLE, BootLogRef, QuotedPcrs, Reason, Sha256},
    time::UnixTime,
};

/// What a boot is compared with.
pub(super) struct Compared {
    pub(super) drift: Drift,
    /// Whose log it was, in words; empty for none.
    pub(super) with: String,
}

/// Whose boot, and what of it is known.
pub(super) struct Subject<'a> {
    /// The class to compare with.
    pub(super) class: &'a Class,
    pub(super) quoted: QuotedPcrs,
    pub(super) log: Option<BootLogRef>,
    /// The gateway's log when it was last affirmed: stands in for a golden one.
    pub(super) affirmed_log: Option<Sha256>,
}

/// Compares with the golden log of the class, or with the gateway's own last
/// good one.
pub(super) async fn compare(
    shared: &Arc<Shared>,
    subject: Subject<'_>,
    now: UnixTime,
) -> Result<Compared, Refusal> {
    let store = &shared.store;
    let Subject {
        class,
        quoted,
        log,
        affirmed_log,
    } = subject;
    let accepted = shared.references.of(class).await?;
    let newest = store.reference_values(class.as_str()).await?;
    let golden =
        newest.and_then(|n| Some((n.version, n.golden?.gateway, n.golden?.boot_log_sha256?)));
    let (with, golden) = match (golden, affirmed_log) {
        (Some((version, gateway, sha256)), _) => (
            format!("the golden boot of version {version}, captured from gateway {gateway}"),
            store.boot_log(&sha256).await?,
        ),
        (None, Some(sha256)) => (
            "the boot that this gateway was last affirmed with".to_owned(),
            store.boot_log(&sha256).await?,
        ),
        (None, None) => (String::new(), None),
    };
    let log = match log {
        None => None,
        Some(BootLogRef::Content { bytes, .. }) => Some(bytes),
        Some(BootLogRef::Known(sha256)) => store.boot_log(&sha256).await?,
    };
    let with = if golden.is_some() {
        with
    } else {
        String::new()
    };
    // Replaying two logs is hashing, of up to 2 MiB.
    let drift = shared
        .limits
        .crypto(move || {
            let in_force = accepted.as_ref().map(|set| set.at(now).0);
            Ok(Drift::of(&Boots {
                bank: quoted.bank,
                quoted: &quoted.values,
                log: log.as_deref(),
                accepted: in_force.as_deref(),
                golden: golden.as_deref(),
            }))
        })
        .await?;
    Ok(Compared { drift, with })
}

/// The words to record beside a refusal, if it is one that words can be found
/// for. A failure to find them is told in the log; the refusal stands.
pub(super) async fn words(
    shared: &Arc<Shared>,
    gateway: &holdfast_proto::binding::Ueid,
    subject: Subject<'_>,
    reasons: &[Reason],
    now: UnixTime,
) -> Vec<String> {
    let about_pcrs = |reason: &Reason| APPROVABLE.contains(&reason.code.as_str());
    if !reasons.iter().any(about_pcrs) {
        return Vec::new();
    }
    match compare(shared, subject, now).await {
        Ok(compared) => {
            let lines = compared.drift.lines();
            for line in &lines {
                info!(gateway = %gateway, drift = line, "drift");
            }
            lines
        }
        Err(error) => {
            warn!(gateway = %gateway, %error, "no words for the drift");
            Vec::new()
        }
    }
}
