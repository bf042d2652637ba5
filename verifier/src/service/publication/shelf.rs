//! What is ready to be handed out, by path.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use hyper::body::Bytes;

use crate::{digest::sha256, store::Seconds};

/// One document.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) body: Bytes,
    pub(super) content_type: &'static str,
    /// A strong entity tag, quotes included.
    pub(super) etag: String,
    pub(super) last_modified: Seconds,
    /// From when on it does not count any more.
    pub(super) expires: Seconds,
}

impl Item {
    pub(super) fn new(
        body: Vec<u8>,
        content_type: &'static str,
        last_modified: Seconds,
        expires: Seconds,
    ) -> Self {
        let digest = hex::encode(sha256(&[&body]));
        let short = digest.get(..32).unwrap_or(&digest);
        Self {
            etag: format!("\"{short}\""),
            body: Bytes::from(body),
            content_type,
            last_modified,
            expires,
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Shelf(RwLock<HashMap<String, Arc<Item>>>);

impl Shelf {
    pub(super) fn put(&self, path: String, item: Item) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(path, Arc::new(item));
    }

    pub(super) fn get(&self, path: &str) -> Option<Arc<Item>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(path)
            .cloned()
    }
}
