//! Reference values in use: parsed once for each class, replaced by an import
//! without a restart.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::RwLock;

use super::error::Refusal;
use crate::{
    freshness::Class,
    reference_values::ReferenceValues,
    store::{ReferenceRecord, Store},
    time::UnixTime,
};

/// Reference values by class. Classes are made by the owner alone, so the map
/// is as large as the owner makes it.
pub struct References {
    store: Arc<dyn Store>,
    by_class: RwLock<HashMap<Class, Option<Arc<ReferenceValues>>>>,
}

impl References {
    /// Over what the store holds.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            by_class: RwLock::default(),
        }
    }

    /// Those of a class; `None` where the owner has imported none.
    pub(super) async fn of(&self, class: &Class) -> Result<Option<Arc<ReferenceValues>>, Refusal> {
        if let Some(known) = self.by_class.read().await.get(class) {
            return Ok(known.clone());
        }
        // Read under the write lock: an import cannot slip in between reading
        // the store and remembering what was read.
        let mut by_class = self.by_class.write().await;
        if let Some(known) = by_class.get(class) {
            return Ok(known.clone());
        }
        let values = match self.store.reference_values(class.as_str()).await? {
            None => None,
            Some(record) => Some(Arc::new(parse(&record.document)?)),
        };
        by_class.insert(class.clone(), values.clone());
        Ok(values)
    }

    /// Checks, records and takes into use.
    pub(super) async fn import(
        &self,
        class: &Class,
        document: &str,
        by: &str,
        now: UnixTime,
    ) -> Result<ReferenceRecord, Refusal> {
        let values = ReferenceValues::parse(document)
            .map_err(|e| Refusal::AdminInput(format!("reference values: {e}")))?;
        let mut by_class = self.by_class.write().await;
        // Forgotten first: where recording fails after the commit reached the
        // disk, the next look-up reads the store.
        by_class.remove(class);
        let record = self
            .store
            .import_reference_values(class.as_str(), document, by, now.seconds())
            .await?;
        by_class.insert(class.clone(), Some(Arc::new(values)));
        Ok(record)
    }
}

fn parse(document: &str) -> Result<ReferenceValues, Refusal> {
    ReferenceValues::parse(document)
        .map_err(|e| Refusal::Internal(format!("recorded reference values: {e}")))
}
