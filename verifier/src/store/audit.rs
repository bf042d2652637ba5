//! The audit log: append-only, each row chained to the one before.

use async_trait::async_trait;
use sha2::{Digest as _, Sha256 as Hasher};

use super::{AuditEntry, Sha256, StoreError};

/// Separates these hashes from all others.
const DOMAIN: &[u8] = b"holdfast-audit-v1";
/// What the first row of a chain has before it.
pub const AUDIT_START: Sha256 = [0; 32];

/// A row of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// 1, 2, ... in order of writing.
    pub id: u64,
    /// What happened.
    pub entry: AuditEntry,
    /// [`audit_hash`] over this row and the one before. None in rows that were
    /// written before there were hashes.
    pub hash: Option<Sha256>,
}

/// The hash of a row: it fixes every row before it as well. Fields are preceded
/// by their length (u64, big-endian), so that none can run into the next.
#[must_use]
pub fn audit_hash(before: &Sha256, entry: &AuditEntry) -> Sha256 {
    let mut hash = Hasher::new();
    hash.update(DOMAIN);
    hash.update(before);
    hash.update(entry.at.to_be_bytes());
    for field in [&entry.actor, &entry.action, &entry.subject, &entry.detail] {
        // usize has at most 64 bits here.
        hash.update((field.len() as u64).to_be_bytes());
        hash.update(field.as_bytes());
    }
    hash.finalize().into()
}

/// Where a chain is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("row {id} of the audit log does not follow from the one before it")]
pub struct AuditBroken {
    /// The first row that does not fit.
    pub id: u64,
}

/// Walks a log, oldest row first.
#[derive(Debug, Default)]
pub struct AuditChain {
    head: Option<Sha256>,
}

impl AuditChain {
    /// Takes the next row.
    ///
    /// # Errors
    /// [`AuditBroken`] where it was changed, or something before it was changed
    /// or taken away, or has no hash though one before it has.
    pub fn follow(&mut self, row: &AuditRow) -> Result<(), AuditBroken> {
        let before = self.head.unwrap_or(AUDIT_START);
        match row.hash {
            None if self.head.is_none() => Ok(()),
            Some(hash) if hash == audit_hash(&before, &row.entry) => {
                self.head = Some(hash);
                Ok(())
            }
            _ => Err(AuditBroken { id: row.id }),
        }
    }

    /// The hash of the last row: it fixes the whole log up to there.
    #[must_use]
    pub fn head(&self) -> Option<Sha256> {
        self.head
    }
}

/// What is asked of the log. Rows are written in the transaction of the change
/// that they tell of; only what changed nothing is recorded by itself.
#[async_trait]
pub trait Audit: Send + Sync {
    /// Records an act that changed nothing: one that was refused.
    async fn record_act(&self, entry: AuditEntry) -> Result<(), StoreError>;

    /// Up to `limit` rows, newest first, those with an id below `before`.
    async fn audit_page(
        &self,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(n: u64) -> Vec<AuditRow> {
        let mut before = AUDIT_START;
        (1..=n)
            .map(|id| {
                let entry = AuditEntry {
                    at: i64::try_from(id).unwrap(),
                    actor: "uid:0".to_owned(),
                    action: "revoked".to_owned(),
                    subject: format!("gateway {id}"),
                    detail: String::new(),
                };
                before = audit_hash(&before, &entry);
                AuditRow {
                    id,
                    entry,
                    hash: Some(before),
                }
            })
            .collect()
    }

    fn walk(rows: &[AuditRow]) -> Result<Option<Sha256>, AuditBroken> {
        let mut chain = AuditChain::default();
        for row in rows {
            chain.follow(row)?;
        }
        Ok(chain.head())
    }

    #[test]
    fn a_whole_log_leads_to_the_hash_of_its_last_row() {
        let rows = rows(5);
        assert_eq!(walk(&rows), Ok(rows[4].hash));
        assert_eq!(walk(&[]), Ok(None));
    }

    #[test]
    fn a_changed_a_missing_and_an_unhashed_row_break_it() {
        let good = rows(5);
        let mut changed = good.clone();
        changed[2].entry.actor = "uid:1".to_owned();
        assert_eq!(walk(&changed), Err(AuditBroken { id: 3 }));
        let mut missing = good.clone();
        missing.remove(2);
        assert_eq!(walk(&missing), Err(AuditBroken { id: 4 }));
        let mut unhashed = good.clone();
        unhashed[2].hash = None;
        assert_eq!(walk(&unhashed), Err(AuditBroken { id: 3 }));
        // Older rows may have none, before the first that has.
        let mut older = good[0].clone();
        older.hash = None;
        assert_eq!(
            walk(&[&[older], good.as_slice()].concat()),
            Ok(good[4].hash)
        );
    }

    #[test]
    fn no_field_runs_into_the_next() {
        let entry = |actor: &str, action: &str| AuditEntry {
            at: 1,
            actor: actor.to_owned(),
            action: action.to_owned(),
            subject: String::new(),
            detail: String::new(),
        };
        assert_ne!(
            audit_hash(&AUDIT_START, &entry("ab", "c")),
            audit_hash(&AUDIT_START, &entry("a", "bc"))
        );
    }
}
