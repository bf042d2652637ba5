//! Allow lists come from the owner alone: when they are imported, and whenever
//! they are loaded.

use std::{path::PathBuf, sync::Arc};

use holdfast_proto::tpm::HashAlg;
use ring::rand::SystemRandom;
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;

use crate::{
    freshness::Class,
    identity::SecretKey,
    owner::{Kind, OwnerError, OwnerSigner},
    reference_values::allow_list::{AllowList, AllowListBuilder, Judgement},
    service::{AllowLists, Refusal},
    store::{NewAllowList, Store, StoreError, sqlite::SqliteStore},
    time::UnixTime,
};

const NOW: UnixTime = UnixTime::from_seconds(1_700_000_000);

struct Fixture {
    store: Arc<dyn Store>,
    owner: OwnerSigner,
    lists: AllowLists,
    folder: TempDir,
}

fn signer() -> OwnerSigner {
    let rng = SystemRandom::new();
    let key = SecretKey::generate(&rng).unwrap();
    OwnerSigner::from_pkcs8(key.expose_der(), &rng).unwrap()
}

fn list(digest: u8) -> AllowList {
    let mut list = AllowListBuilder::new();
    list.add(b"/usr/bin/tool", HashAlg::Sha256, &[digest; 32])
        .unwrap();
    list.finish().unwrap()
}

fn class() -> Class {
    Class::parse("edge").unwrap()
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("holdfast.db"))
            .await
            .unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let owner = signer();
        Self {
            lists: AllowLists::new(Arc::clone(&store), owner.public().clone()),
            store,
            owner,
            folder,
        }
    }

    fn sign(&self, version: u64, list: &AllowList) -> Vec<u8> {
        let rng = SystemRandom::new();
        let kind = Kind::AllowList;
        self.owner
            .state(kind, "edge", version, list.document(), &rng)
            .unwrap()
    }

    async fn import(&self, version: u64, list: &AllowList) -> Result<(u64, bool), Refusal> {
        self.send(list, self.sign(version, list)).await
    }

    async fn send(&self, list: &AllowList, statement: Vec<u8>) -> Result<(u64, bool), Refusal> {
        let (class, document) = (class(), list.document().to_vec());
        let still = async { Ok(()) };
        let lists = &self.lists;
        let done = lists.import(&class, document, statement, "uid:0", NOW, still);
        done.await
            .map(|(version, changed)| (version.version, changed))
    }

    /// A service that was started anew.
    fn restarted(&self) -> AllowLists {
        AllowLists::new(Arc::clone(&self.store), self.owner.public().clone())
    }

    async fn tamper(&self, sql: &'static str) {
        let path: PathBuf = self.folder.path().join("holdfast.db");
        let url = format!("sqlite://{}", path.display());
        let mut conn = SqliteConnection::connect(&url).await.unwrap();
        sqlx::query(sql).execute(&mut conn).await.unwrap();
    }
}

async fn judged(lists: &AllowLists, digest: u8) -> Judgement {
    let list = lists.of(&class()).await.unwrap().unwrap();
    list.judge(b"/usr/bin/tool", HashAlg::Sha256, &[digest; 32])
}

#[tokio::test]
async fn the_newest_is_in_use_at_once_and_after_a_restart() {
    let f = Fixture::new().await;
    assert!(f.lists.of(&class()).await.unwrap().is_none());
    assert_eq!(f.import(1, &list(1)).await.unwrap(), (1, true));
    assert_eq!(judged(&f.lists, 1).await, Judgement::Known);
    assert_eq!(f.import(1, &list(1)).await.unwrap(), (1, false));
    assert_eq!(f.import(2, &list(2)).await.unwrap(), (2, true));
    for lists in [&f.lists, &f.restarted()] {
        assert_eq!(judged(lists, 1).await, Judgement::Mismatched);
        assert_eq!(judged(lists, 2).await, Judgement::Known);
        let other = Class::parse("other").unwrap();
        assert!(lists.of(&other).await.unwrap().is_none());
    }
    assert_eq!(f.restarted().load().await.unwrap(), ["edge"]);
    let versions = f.store.allow_lists(None, 10).await.unwrap();
    let told: Vec<(u64, u32)> = versions.iter().map(|v| (v.version, v.entries)).collect();
    assert_eq!(told, [(2, 1), (1, 1)]);
    assert_eq!(versions[0].sha256, *list(2).digest());
    let audit = f.store.audit(1).await.unwrap();
    assert_eq!(audit[0].action, "allow-list-imported");
}

#[tokio::test]
async fn adv_a26_only_the_owner_makes_one() {
    let f = Fixture::new().await;
    let refused = |done: Result<(u64, bool), Refusal>| match done.unwrap_err() {
        Refusal::Owner(error) => error,
        other => panic!("{other}"),
    };
    let document = list(1);
    assert_eq!(
        refused(f.send(&document, Vec::new()).await),
        OwnerError::Unsigned
    );
    let rng = SystemRandom::new();
    let stranger = signer();
    let theirs = stranger.state(Kind::AllowList, "edge", 1, document.document(), &rng);
    assert!(matches!(
        refused(f.send(&document, theirs.unwrap()).await),
        OwnerError::OtherKey { .. }
    ));
    for (kind, subject) in [(Kind::ReferenceValues, "edge"), (Kind::AllowList, "other")] {
        let signed = f.owner.state(kind, subject, 1, document.document(), &rng);
        assert!(matches!(
            refused(f.send(&document, signed.unwrap()).await),
            OwnerError::OtherKind { .. } | OwnerError::OtherSubject { .. }
        ));
    }
    assert!(matches!(
        refused(f.send(&list(2), f.sign(1, &document)).await),
        OwnerError::OtherDocument { .. }
    ));
    assert!(f.lists.of(&class()).await.unwrap().is_none());
    // A good one, then an older one, and one that leaves a version out.
    f.import(1, &document).await.unwrap();
    f.import(2, &list(2)).await.unwrap();
    assert!(matches!(
        refused(f.import(1, &document).await),
        OwnerError::Rollback { stated: 1, last: 2 }
    ));
    assert!(matches!(
        refused(f.import(4, &document).await),
        OwnerError::Gap { stated: 4, next: 3 }
    ));
    assert_eq!(judged(&f.lists, 2).await, Judgement::Known);
}

#[tokio::test]
async fn adv_a26_what_was_changed_in_the_store_is_not_used() {
    for sql in [
        "UPDATE allow_list_documents SET content = CAST(replace(content, '/usr/bin', '/opt/bin') AS BLOB)",
        "UPDATE allow_lists SET statement = x'00'",
        "UPDATE allow_lists SET version = 7",
    ] {
        let f = Fixture::new().await;
        f.import(1, &list(1)).await.unwrap();
        f.tamper(sql).await;
        let refused = f.restarted().of(&class()).await.unwrap_err();
        assert!(matches!(refused, Refusal::Internal(_)), "{sql}: {refused}");
        let in_use = f.restarted().load().await.unwrap();
        assert!(in_use.is_empty(), "{sql}: {in_use:?}");
    }
}

#[tokio::test]
async fn a_signed_document_that_is_no_list_is_refused() {
    let f = Fixture::new().await;
    let rng = SystemRandom::new();
    let document = b"no list".to_vec();
    let signed = f.owner.state(Kind::AllowList, "edge", 1, &document, &rng);
    let done = f
        .lists
        .import(&class(), document, signed.unwrap(), "uid:0", NOW, async {
            Ok(())
        })
        .await;
    assert!(matches!(done.unwrap_err(), Refusal::AdminInput(_)));
}

#[tokio::test]
async fn the_store_takes_the_next_version_only() {
    let f = Fixture::new().await;
    let new = |version| NewAllowList {
        class: "edge".to_owned(),
        version,
        sha256: *list(1).digest(),
        document: list(1).document().to_vec(),
        statement: vec![1],
        entries: 1,
        keys: 0,
    };
    let import = |version| f.store.import_allow_list(new(version), "uid:0", 1);
    assert!(matches!(
        import(2).await.unwrap_err(),
        StoreError::AllowListVersion {
            version: 2,
            last: 0
        }
    ));
    import(1).await.unwrap();
    assert!(import(1).await.is_err());
    // The same document again is kept once.
    import(2).await.unwrap();
    let record = f.store.allow_list("edge").await.unwrap().unwrap();
    assert_eq!((record.version, record.document), (2, new(1).document));
}

/// Asked last: who sends for minutes may have been revoked meanwhile.
#[tokio::test]
async fn adv_a19_nothing_is_imported_of_one_who_was_revoked_meanwhile() {
    let f = Fixture::new().await;
    let list = list(1);
    let (document, statement) = (list.document().to_vec(), f.sign(1, &list));
    let still = async { Err(Refusal::NoRole("cert:bob/01".to_owned())) };
    let (lists, class) = (&f.lists, class());
    let done = lists.import(&class, document, statement, "cert:bob/01", NOW, still);
    assert!(matches!(done.await, Err(Refusal::NoRole(_))));
    assert_eq!(f.store.allow_lists(None, 1).await.unwrap(), []);
}
