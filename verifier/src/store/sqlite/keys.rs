//! Which keys there are.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sqlx::{Row, SqliteConnection};

use super::{
    SqliteStore,
    admin::{AuditWrite, audit},
};
use crate::store::{KeyChange, KeyState, Keys, NamedKey, Seconds, StoreError};

#[async_trait]
impl Keys for SqliteStore {
    async fn record_keys(
        &self,
        keys: &[NamedKey],
        by: &str,
        now: Seconds,
    ) -> Result<Vec<KeyChange>, StoreError> {
        let mut tx = self.begin().await?;
        let changes = changes(&mut tx, keys).await?;
        for change in &changes {
            record(&mut tx, change, by, now).await?;
        }
        tx.commit().await?;
        Ok(changes)
    }
}

async fn changes(
    conn: &mut SqliteConnection,
    keys: &[NamedKey],
) -> Result<Vec<KeyChange>, StoreError> {
    let mut recorded = BTreeMap::new();
    for row in sqlx::query("SELECT kind, id, state FROM keys")
        .fetch_all(conn)
        .await?
    {
        let key: (String, String) = (row.try_get("kind")?, row.try_get("id")?);
        recorded.insert(key, row.try_get::<String, _>("state")?);
    }
    let mut changes = Vec::new();
    for key in keys {
        let state = if key.current {
            KeyState::Current
        } else {
            KeyState::Ending
        };
        let name = (key.kind.to_owned(), key.id.clone());
        if recorded.remove(&name).as_deref() != Some(state.name()) {
            changes.push(KeyChange {
                kind: name.0,
                id: name.1,
                state,
            });
        }
    }
    let gone = KeyState::Gone;
    changes.extend(
        recorded
            .into_iter()
            .filter(|(_, state)| state != gone.name())
            .map(|((kind, id), _)| KeyChange {
                kind,
                id,
                state: gone,
            }),
    );
    Ok(changes)
}

async fn record(
    conn: &mut SqliteConnection,
    change: &KeyChange,
    by: &str,
    now: Seconds,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO keys (kind, id, state, changed_at) VALUES (?, ?, ?, ?) \
         ON CONFLICT (kind, id) DO UPDATE SET state = excluded.state, changed_at = excluded.changed_at",
    )
    .bind(&change.kind)
    .bind(&change.id)
    .bind(change.state.name())
    .bind(now)
    .execute(&mut *conn)
    .await?;
    let entry = AuditWrite {
        at: now,
        actor: by,
        action: match change.state {
            KeyState::Current => "key-in-use",
            KeyState::Ending => "key-ending",
            KeyState::Gone => "key-gone",
        },
        subject: &change.kind,
        detail: &change.id,
    };
    audit(conn, entry).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store as _;

    fn key(kind: &'static str, id: &str, current: bool) -> NamedKey {
        NamedKey {
            kind,
            id: id.to_owned(),
            current,
        }
    }

    #[tokio::test]
    async fn each_change_of_a_key_is_on_record_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("holdfast.db"))
            .await
            .unwrap();
        let steps: [(&[NamedKey], &[&str]); 5] = [
            (
                &[key("token", "a", true), key("result", "r", true)],
                &["token a current", "result r current"],
            ),
            (&[key("token", "a", true), key("result", "r", true)], &[]),
            (
                &[
                    key("token", "b", true),
                    key("token", "a", false),
                    key("result", "r", true),
                ],
                &["token b current", "token a ending"],
            ),
            (
                &[key("token", "b", true), key("result", "r", true)],
                &["token a gone"],
            ),
            (&[key("token", "b", true), key("result", "r", true)], &[]),
        ];
        let mut rows = 0;
        for (keys, expected) in steps {
            let changes = store.record_keys(keys, "uid:0", 7).await.unwrap();
            let told: Vec<String> = changes
                .iter()
                .map(|c| format!("{} {} {}", c.kind, c.id, c.state.name()))
                .collect();
            assert_eq!(told, expected);
            rows += expected.len();
            assert_eq!(store.audit(100).await.unwrap().len(), rows);
        }
        let last = store.audit(1).await.unwrap().remove(0);
        assert_eq!(
            (
                last.action.as_str(),
                last.subject.as_str(),
                last.detail.as_str()
            ),
            ("key-gone", "token", "a")
        );
        assert_eq!((last.actor.as_str(), last.at), ("uid:0", 7));
    }
}
