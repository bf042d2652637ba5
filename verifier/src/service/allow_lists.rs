//! Allow lists in use: verified to be the owner's and read once for each
//! class, replaced by an import without a restart.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::{Mutex, RwLock};
use tracing::error;

use super::{convert, error::Refusal};
use crate::{
    freshness::Class,
    owner::{Kind, OwnerKey, Stated, Succession},
    reference_values::allow_list::AllowList,
    store::{AllowListVersion, NewAllowList, Store},
    time::UnixTime,
};

/// Allow lists by class. Classes are made by the owner alone, so the map is as
/// large as the owner makes it.
pub struct AllowLists {
    store: Arc<dyn Store>,
    owner: OwnerKey,
    by_class: RwLock<HashMap<Class, Option<Arc<AllowList>>>>,
    /// Imports, one at a time: each holds a document of up to 64 MiB.
    importing: Mutex<()>,
}

impl AllowLists {
    /// Over what the store holds, by the word of `owner`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, owner: OwnerKey) -> Self {
        Self {
            store,
            owner,
            by_class: RwLock::default(),
            importing: Mutex::default(),
        }
    }

    /// Reads that of every class, so that what cannot be used is told when
    /// serving begins: requests of gateways of its class are refused until the
    /// owner imports another. Returns the classes that have one in use.
    ///
    /// # Errors
    /// The store's.
    pub async fn load(&self) -> Result<Vec<String>, Refusal> {
        let mut in_use = Vec::new();
        let mut classes = self.store.allow_lists(None, u32::MAX).await?;
        classes.dedup_by(|a, b| a.class == b.class);
        for version in classes {
            match self.of(&convert::class(&version.class)?).await {
                Ok(Some(_)) => in_use.push(version.class),
                Ok(None) => {}
                Err(Refusal::Internal(why)) => error!(why, "not used"),
                Err(other) => return Err(other),
            }
        }
        Ok(in_use)
    }

    /// That of a class; `None` where the owner has imported none.
    ///
    /// # Errors
    /// [`Refusal::Internal`] where the list on record is not what the owner
    /// signed: it is not used, and no older one in its place.
    pub async fn of(&self, class: &Class) -> Result<Option<Arc<AllowList>>, Refusal> {
        if let Some(known) = self.by_class.read().await.get(class) {
            return Ok(known.clone());
        }
        // Read under the write lock: an import cannot slip in between reading
        // the store and remembering what was read.
        let mut by_class = self.by_class.write().await;
        if let Some(known) = by_class.get(class) {
            return Ok(known.clone());
        }
        let list = match self.store.allow_list(class.as_str()).await? {
            None => None,
            Some(record) => {
                let read = self.read(class, record.document, record.statement).await?;
                let (stated, _, list) = read.map_err(|why| {
                    Refusal::Internal(format!(
                        "allow list of class {} on record, version {}: {why}. Somebody changed \
                         the store: restore it from a backup",
                        class.as_str(),
                        record.version
                    ))
                })?;
                if stated.version() != record.version {
                    return Err(Refusal::Internal(format!(
                        "allow list of class {} is kept as version {}, but the owner signed it \
                         as version {}. Somebody changed the store: restore it from a backup",
                        class.as_str(),
                        record.version,
                        stated.version()
                    )));
                }
                Some(Arc::new(list))
            }
        };
        by_class.insert(class.clone(), list.clone());
        Ok(list)
    }

    /// Verifies, reads, records and takes into use. Also says whether anything
    /// changed. `still`: whether whoever sends it may do so still, asked when
    /// all that takes long is done.
    pub(super) async fn import(
        &self,
        class: &Class,
        document: Vec<u8>,
        statement: Vec<u8>,
        by: &str,
        now: UnixTime,
        still: impl Future<Output = Result<(), Refusal>>,
    ) -> Result<(AllowListVersion, bool), Refusal> {
        let _one_at_a_time = self.importing.lock().await;
        let (stated, statement, list) = self.read(class, document, statement).await??;
        still.await?;
        let newest = self.store.allow_lists(Some(class.as_str()), 1).await?;
        let newest = newest.into_iter().next();
        let in_use = newest.as_ref().map(|last| (last.version, &last.sha256));
        let succession = stated.after(in_use)?;
        if let (Succession::Same, Some(newest)) = (succession, newest) {
            return Ok((newest, false));
        }
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let new = NewAllowList {
            class: class.as_str().to_owned(),
            version: stated.version(),
            sha256: *stated.sha256(),
            document: list.document().to_vec(),
            statement,
            entries: count(list.len()),
            keys: count(list.keys().len()),
        };
        let mut by_class = self.by_class.write().await;
        // Forgotten first: where recording fails after the commit reached the
        // disk, the next look-up reads the store.
        by_class.remove(class);
        let version = self.store.import_allow_list(new, by, now.seconds()).await?;
        by_class.insert(class.clone(), Some(Arc::new(list)));
        Ok((version, true))
    }

    /// The owner's word first, then the document: away from the threads that
    /// answer, for a large one takes a while.
    async fn read(
        &self,
        class: &Class,
        document: Vec<u8>,
        statement: Vec<u8>,
    ) -> Result<Result<(Stated, Vec<u8>, AllowList), Refusal>, Refusal> {
        let (owner, class) = (self.owner.clone(), class.clone());
        tokio::task::spawn_blocking(move || {
            let stated = owner.verify(&statement, Kind::AllowList, class.as_str(), &document)?;
            let list = AllowList::parse(document)
                .map_err(|e| Refusal::AdminInput(format!("allow list: {e}")))?;
            Ok((stated, statement, list))
        })
        .await
        .map_err(|e| Refusal::Internal(format!("reading an allow list: {e}")))
    }
}
