//! Stores and settings that older programs left behind (`stored/`): today's
//! program opens each, and every row of it can be read.
#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

use std::path::{Path, PathBuf};

use holdfast_proto::binding::Ueid;
use holdfast_verifier::{
    config::Config,
    endorsement::EkLink,
    identity::RevocationReason,
    store::{
        Eks as _, GatewayRecord, Lifecycle, Store as _, StoreError, SuspensionKind,
        sqlite::SqliteStore,
    },
};
use sqlx::{Connection as _, Executor as _, Row as _, SqliteConnection};
use tempfile::TempDir;

/// A week after the stores were left behind.
const NOW: i64 = 1_796_000_000;

fn stored(extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stored");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// The database that a dump was made of.
async fn database(dump: &Path) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("holdfast.db");
    let text = std::fs::read_to_string(dump).unwrap();
    let mut conn = connect(&path).await;
    conn.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(text)))
        .await
        .unwrap();
    conn.close().await.unwrap();
    (dir, path)
}

async fn connect(path: &Path) -> SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true);
    SqliteConnection::connect_with(&options).await.unwrap()
}

/// The gateway whose image was changed at the end of the demo.
async fn the_gateway(store: &SqliteStore) -> GatewayRecord {
    let page = store.gateways(None, 10).await.unwrap();
    assert_eq!(page.next, None);
    let mut suspended = page
        .gateways
        .into_iter()
        .filter(|gateway| gateway.lifecycle == Lifecycle::Suspended(SuspensionKind::Evidence));
    let gateway = suspended.next().unwrap();
    assert_eq!(suspended.next(), None);
    gateway
}

#[tokio::test]
async fn each_older_schema_opens_and_nothing_is_lost() {
    for dump in stored("sql") {
        let shown = dump.display();
        let (_dir, path) = database(&dump).await;
        let before = rows(&path).await;
        let store = SqliteStore::open(&path).await.unwrap();

        let gateway = the_gateway(&store).await;
        assert!(!gateway.last_reasons.is_empty(), "{shown}");
        let log = gateway.boot_log_sha256.unwrap();
        assert!(store.boot_log(&log).await.unwrap().is_some(), "{shown}");
        assert!(!store.anchors().await.unwrap().is_empty(), "{shown}");
        let class = &gateway.class;
        let references = store.reference_values(class).await.unwrap();
        assert!(references.is_some(), "{shown}");
        let versions = store.reference_versions(None, 10).await.unwrap();
        assert!(!versions.is_empty(), "{shown}");
        assert!(store.audit(100).await.unwrap().len() > 3, "{shown}");
        // The one EK that it had is on its record, and nobody else's.
        let eks: Vec<_> = gateway.eks.iter().map(|r| r.ek.spki_sha256).collect();
        assert_eq!(eks, [gateway.tpm.ek_spki_sha256], "{shown}");
        assert_eq!(gateway.eks[0].ek.tpm, gateway.tpm.facts, "{shown}");
        assert_eq!(gateway.tpm.ek_link, EkLink::Activation, "{shown}");
        let owner = store.owner_of_ek(&eks[0]).await.unwrap();
        assert_eq!(owner, Some(gateway.id), "{shown}");
        // What older programs did not record is not there, and no error.
        store.last_quote(&gateway.id).await.unwrap();
        store.policy(None).await.unwrap();
        store.ima_state(&gateway.id).await.unwrap();
        store.allow_list(class).await.unwrap();

        // And it can be worked with.
        store.resume(&gateway.id, "", "uid:0", NOW).await.unwrap();
        let why = RevocationReason::CessationOfOperation;
        store
            .revoke(&gateway.id, why, "", "uid:0", NOW)
            .await
            .unwrap();
        store.sweep(NOW).await.unwrap();
        store.close().await;

        let after = rows(&path).await;
        for (table, count) in before {
            let now = after.iter().find(|(name, _)| *name == table).unwrap().1;
            // Answers are of no use once their challenge ended: they are swept.
            assert!(now >= count || table == "answers", "{shown}: {table}");
        }
    }
}

/// Every table, and how many rows it has.
async fn rows(path: &Path) -> Vec<(String, i64)> {
    let mut conn = connect(path).await;
    let tables = sqlx::query("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .fetch_all(&mut conn)
        .await
        .unwrap();
    let mut rows = Vec::new();
    for table in tables {
        let name: String = table.get(0);
        let sql = format!("SELECT count(*) FROM {name}");
        let count = sqlx::query(sqlx::AssertSqlSafe(sql))
            .fetch_one(&mut conn)
            .await
            .unwrap();
        rows.push((name, count.get(0)));
    }
    conn.close().await.unwrap();
    rows
}

/// Keylime, CVE-2025-1057: stricter types after an upgrade, and one old row made
/// the whole service fail.
#[tokio::test]
async fn cve_c04_one_unreadable_old_row_does_not_hide_the_others() {
    for dump in stored("sql") {
        let (_dir, path) = database(&dump).await;
        let mut conn = connect(&path).await;
        let columns = "class, state, state_kind, state_reason, ak_public, ak_qualified_name, \
                       ldevid_public, ek_public, ek_chain_sha256, clock, reset_count, \
                       restart_count, clock_safe, firmware_version, boot_log_sha256, \
                       last_reasons, enrolled_at, last_affirmed";
        // A second gateway, whose row says things that no program of ours wrote.
        let sql = format!(
            "INSERT INTO gateways (id, ak_name, ldevid_name, ek_spki_sha256, tpm_facts, {columns}) \
             SELECT CAST(x'01' || zeroblob(32) AS BLOB), x'00', x'01', zeroblob(32), 'no JSON', {columns} \
             FROM gateways WHERE state_kind = 'evidence'"
        );
        conn.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
        conn.close().await.unwrap();

        let store = SqliteStore::open(&path).await.unwrap();
        let readable = the_gateway(&store).await;
        let unreadable = Ueid::parse(&[&[1][..], &[0; 32]].concat()).unwrap();
        assert_ne!(readable.id, unreadable);
        assert!(matches!(
            store.gateway(&unreadable).await,
            Err(StoreError::Corrupt {
                table: "gateways",
                ..
            })
        ));
        assert!(
            store
                .suspend(&readable.id, SuspensionKind::Operator, "", "uid:0", NOW)
                .await
                .is_ok()
        );
        store.close().await;
    }
}

#[tokio::test]
async fn a_store_of_a_later_program_is_refused() {
    let (_dir, path) = database(&stored("sql")[0]).await;
    let mut conn = connect(&path).await;
    conn.execute(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'of tomorrow', 1, x'00', 1)",
    )
    .await
    .unwrap();
    conn.close().await.unwrap();
    let refused = SqliteStore::open(&path).await;
    assert!(matches!(refused, Err(StoreError::Open(_))), "{refused:?}");
}

#[test]
fn settings_of_older_programs_are_read() {
    for file in stored("toml") {
        let text = std::fs::read_to_string(&file).unwrap();
        Config::from_toml(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }
}
