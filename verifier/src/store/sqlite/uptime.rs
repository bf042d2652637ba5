//! Up-time on its way to the record: every write transaction begins by marking
//! what went by, so that what it records is of now, and a verifier that is killed
//! loses no more than what went by since the last of them.

use std::{
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use sqlx::{Sqlite, SqliteConnection, Transaction};

use crate::store::StoreError;

/// Milliseconds that went by and are not on record yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Unmarked(Arc<AtomicI64>);

impl Unmarked {
    pub(super) fn pass(&self, time: Duration) {
        let milliseconds = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        self.0.fetch_add(milliseconds, Ordering::Relaxed);
    }

    pub(super) fn lose(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn take(&self) -> Taken {
        Taken {
            milliseconds: self.0.swap(0, Ordering::Relaxed),
            from: self.clone(),
        }
    }
}

/// Time that a transaction marks; it goes back where that does not commit.
#[derive(Debug)]
struct Taken {
    milliseconds: i64,
    from: Unmarked,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.from.0.fetch_add(self.milliseconds, Ordering::Relaxed);
    }
}

/// A write transaction.
#[derive(Debug)]
pub(super) struct WriteTx {
    tx: Transaction<'static, Sqlite>,
    time: Taken,
}

impl WriteTx {
    pub(super) async fn begin(
        mut tx: Transaction<'static, Sqlite>,
        unmarked: &Unmarked,
    ) -> Result<Self, StoreError> {
        let time = unmarked.take();
        if time.milliseconds > 0 {
            sqlx::query(
                "UPDATE uptime SET seconds = seconds + (milliseconds + ?1) / 1000, \
                 milliseconds = (milliseconds + ?1) % 1000",
            )
            .bind(time.milliseconds)
            .execute(&mut *tx)
            .await?;
        }
        Ok(Self { tx, time })
    }

    pub(super) async fn commit(self) -> Result<(), StoreError> {
        let Self { tx, mut time } = self;
        // Before it is sure: whoever drops this in the middle loses time, and
        // counts none twice.
        let milliseconds = std::mem::take(&mut time.milliseconds);
        if let Err(error) = tx.commit().await {
            time.milliseconds = milliseconds;
            return Err(error.into());
        }
        Ok(())
    }

    pub(super) async fn rollback(self) -> Result<(), StoreError> {
        Ok(self.tx.rollback().await?)
    }
}

impl Deref for WriteTx {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.tx
    }
}

impl DerefMut for WriteTx {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.tx
    }
}
