//! Reference values in use: verified to be the owner's and parsed once for each
//! class, replaced by an import without a restart.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::RwLock;
use tracing::error;

use super::error::Refusal;
use crate::{
    freshness::Class,
    owner::{Kind, OwnerKey, Succession},
    reference_values::ReferenceValues,
    store::{
        Approval, Captured, GatewayRecord, NewReferenceValues, ReferenceRecord, Store, StoreError,
    },
    time::UnixTime,
    verification::IMA_PCR,
};

/// Reference values by class. Classes are made by the owner alone, so the map
/// is as large as the owner makes it.
pub struct References {
    store: Arc<dyn Store>,
    owner: OwnerKey,
    by_class: RwLock<HashMap<Class, Option<Arc<ReferenceValues>>>>,
}

/// A document that the owner is said to have signed.
pub(super) struct Signed<'a> {
    pub(super) class: &'a Class,
    pub(super) document: &'a str,
    pub(super) statement: &'a [u8],
    /// Where it was captured, if it was.
    pub(super) captured: Option<Captured>,
}

impl References {
    /// Over what the store holds, and what of it `owner` has signed.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, owner: OwnerKey) -> Self {
        Self {
            store,
            owner,
            by_class: RwLock::default(),
        }
    }

    /// Reads those of every class, so that what is not used is told when
    /// serving begins and not when the first gateway is refused. Returns the
    /// classes that have values in force.
    ///
    /// # Errors
    /// The store's.
    pub async fn load(&self) -> Result<Vec<String>, Refusal> {
        let mut in_force = Vec::new();
        let mut classes = self.store.reference_versions(None, u32::MAX).await?;
        classes.dedup_by(|a, b| a.class == b.class);
        for version in classes {
            let class = super::convert::class(&version.class)?;
            if self.of(&class).await?.is_some() {
                in_force.push(version.class);
            }
        }
        Ok(in_force)
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
            Some(record) => self.read(class, &record)?.map(Arc::new),
        };
        by_class.insert(class.clone(), values.clone());
        Ok(values)
    }

    /// Whoever can write the store is not the owner: what the owner has not
    /// signed is not there, and its class is not affirmed.
    fn read(
        &self,
        class: &Class,
        record: &ReferenceRecord,
    ) -> Result<Option<ReferenceValues>, Refusal> {
        let stated = self.owner.verify(
            &record.statement,
            Kind::ReferenceValues,
            class.as_str(),
            record.document.as_bytes(),
        );
        match stated {
            Ok(stated) if stated.version() == record.version => {
                ReferenceValues::parse(&record.document)
                    .map(Some)
                    .map_err(|e| Refusal::Internal(format!("recorded reference values: {e}")))
            }
            Ok(stated) => {
                let (version, stated) = (record.version, stated.version());
                error!(
                    class = class.as_str(),
                    version, stated, "reference values not used: signed as another version"
                );
                Ok(None)
            }
            Err(cause) => {
                let version = record.version;
                error!(class = class.as_str(), version, %cause, "reference values not used: import them again");
                Ok(None)
            }
        }
    }

    /// Verifies, records and takes into use.
    pub(super) async fn import(
        &self,
        signed: &Signed<'_>,
        by: &str,
        now: UnixTime,
    ) -> Result<ReferenceRecord, Refusal> {
        let mut by_class = self.by_class.write().await;
        let (new, values) = self.new_values(signed).await?;
        // Forgotten first: where recording fails after the commit reached the
        // disk, the next look-up reads the store.
        by_class.remove(signed.class);
        let record = self
            .store
            .import_reference_values(new, by, now.seconds())
            .await?;
        by_class.insert(signed.class.clone(), Some(Arc::new(values)));
        Ok(record)
    }

    /// Verifies, records, resumes and takes into use.
    pub(super) async fn approve(
        &self,
        gateway: &GatewayRecord,
        signed: &Signed<'_>,
        reason: &str,
        by: &str,
        now: UnixTime,
    ) -> Result<(ReferenceRecord, GatewayRecord), Refusal> {
        let id = gateway.id;
        let captured = signed
            .captured
            .ok_or_else(|| Refusal::Internal("an approval of no quote".to_owned()))?;
        let mut by_class = self.by_class.write().await;
        let (values, parsed) = self.new_values(signed).await?;
        // What does not accept the quote would resume the gateway for nothing.
        let quote = self.store.last_quote(&id).await?;
        let quote = quote
            .filter(|quote| quote.quoted.sha256() == captured.quote_sha256)
            .ok_or(StoreError::QuoteChanged { id })?;
        let (in_force, _) = parsed.at(now);
        let accepts = |index: u32, value: &Vec<u8>| {
            in_force
                .accepted(quote.quoted.bank, index)
                .is_some_and(|values| values.contains(value))
        };
        // PCR 10 changes with each file that is measured: its log explains it, and
        // a value of it is never what is approved.
        if let Some(value) = quote.quoted.values.get(&IMA_PCR)
            && accepts(IMA_PCR, value)
        {
            return Err(Refusal::AdminInput(
                "the document accepts the quoted value of PCR 10, which changes with each file \
                 that is measured: approve what was proposed"
                    .to_owned(),
            ));
        }
        let mut of_the_boot = quote.quoted.values.iter();
        if !of_the_boot.all(|(index, value)| *index == IMA_PCR || accepts(*index, value)) {
            return Err(Refusal::AdminInput(
                "the document does not accept what the gateway quoted: approve what was proposed"
                    .to_owned(),
            ));
        }
        by_class.remove(signed.class);
        let approval = Approval {
            id,
            quote_sha256: captured.quote_sha256,
            values,
            reason: reason.to_owned(),
        };
        let done = self.store.approve(approval, by, now.seconds()).await?;
        by_class.insert(signed.class.clone(), Some(Arc::new(parsed)));
        Ok(done)
    }

    /// The owner's word first; then whether it comes next, and what it says.
    async fn new_values(
        &self,
        signed: &Signed<'_>,
    ) -> Result<(NewReferenceValues, ReferenceValues), Refusal> {
        let Signed {
            class,
            document,
            statement,
            captured,
        } = signed;
        let stated = self.owner.verify(
            statement,
            Kind::ReferenceValues,
            class.as_str(),
            document.as_bytes(),
        )?;
        let newest = self.store.reference_values(class.as_str()).await?;
        let last = newest.as_ref().map(|n| (n.version, &n.sha256));
        match stated.after(last)? {
            // The store says which of the two, in the transaction.
            Succession::Same | Succession::Next => {}
        }
        let values = ReferenceValues::parse(document)
            .map_err(|e| Refusal::AdminInput(format!("reference values: {e}")))?;
        let new = NewReferenceValues {
            class: class.as_str().to_owned(),
            version: stated.version(),
            document: (*document).to_owned(),
            statement: statement.to_vec(),
            captured: *captured,
        };
        Ok((new, values))
    }
}
