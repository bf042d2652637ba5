//! A backup is restored as it was, or it is refused.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use ring::rand::SystemRandom;
use tempfile::TempDir;

use super::{contents::Name, *};
use crate::{
    config::{Home, HomeError, home::file},
    store::{
        Admissions as _, Admittance, Events as _, Lifecycle, NewPending, PendingBounds,
        Restorations as _, Restored, Store as _, StoreError,
        fixtures::{NOW, TOKEN, answer, certificate, enrolled, id, join_token},
        sqlite::SqliteStore,
    },
};

const PASSPHRASE: &str = "correct horse battery";

struct Fixture {
    dir: TempDir,
    home: Home,
}

impl Fixture {
    /// A directory with plain files, keys and gateway 1.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(&dir.path().join("home")).unwrap();
        home.write_new(file::CONFIG, b"listen = 1", 0o644).unwrap();
        home.write_new(file::RESULT_KEY, b"a key", 0o600).unwrap();
        home.write_new(file::LOCK, b"", 0o600).unwrap();
        fs::create_dir(home.path("older")).unwrap();
        home.write_new("older/ca.key.pem", b"an old key", 0o600)
            .unwrap();
        home.write_new("older/ca.pem", b"an old CA", 0o644).unwrap();
        let store = SqliteStore::open(&home.prepare_store().unwrap())
            .await
            .unwrap();
        store
            .create_join_token(join_token(9), "uid:0", NOW)
            .await
            .unwrap();
        let _ = store.record_enrolment(enrolled(1), NOW).await.unwrap();
        store.close().await;
        Self { dir, home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn backup(&self, passphrase: Option<&str>) -> Result<(PathBuf, Made), BackupError> {
        let output = self.path("backup.tar");
        let made = make(&self.home, &output, passphrase, NOW, &SystemRandom::new()).await?;
        Ok((output, made))
    }

    async fn restore(
        &self,
        backup: &Path,
        passphrase: Option<&str>,
    ) -> Result<(Home, Vec<Name>), BackupError> {
        let _ = fs::remove_dir_all(self.path("restored"));
        let home = Home::create(&self.path("restored")).unwrap();
        let absent = open(backup, None)?.unpack(&home, passphrase).await?;
        Ok((home, absent))
    }
}

fn names(home: &Home) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(home.dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[tokio::test]
async fn without_a_passphrase_keys_stay_outside() {
    let f = Fixture::new().await;
    let (backup, made) = f.backup(None).await.unwrap();
    assert_eq!(mode(&backup), 0o600);
    let bytes = fs::read(&backup).unwrap();
    assert!(!bytes.windows(5).any(|w| w == b"a key" || w == b"d key"));
    assert_eq!(
        names(&f.home).len(),
        5,
        "nothing is left behind in the directory"
    );

    let (home, absent) = f.restore(&backup, None).await.unwrap();
    assert_eq!(names(&home), [file::CONFIG, file::STORE, "older"]);
    assert_eq!(fs::read(home.path(file::CONFIG)).unwrap(), b"listen = 1");
    assert_eq!(fs::read(home.path("older/ca.pem")).unwrap(), b"an old CA");
    assert_eq!(mode(&home.path(file::CONFIG)), 0o644);
    assert_eq!(mode(&home.path(file::STORE)), 0o600);
    assert_eq!(mode(&home.path("older")), 0o700);
    let absent: Vec<&str> = absent.iter().map(Name::as_str).collect();
    assert_eq!(absent, ["older/ca.key.pem", file::RESULT_KEY]);
    assert_eq!(made.manifest.store.holds.gateways, 1);
    let store = SqliteStore::open(&home.path(file::STORE)).await.unwrap();
    assert!(store.gateway(&id(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn with_a_passphrase_keys_are_back() {
    let f = Fixture::new().await;
    let (backup, _) = f.backup(Some(PASSPHRASE)).await.unwrap();
    let bytes = fs::read(&backup).unwrap();
    assert!(!bytes.windows(5).any(|w| w == b"a key" || w == b"d key"));
    let (home, absent) = f.restore(&backup, Some(PASSPHRASE)).await.unwrap();
    assert!(absent.is_empty());
    for (key, content) in [
        (file::RESULT_KEY, &b"a key"[..]),
        ("older/ca.key.pem", b"an old key"),
    ] {
        assert_eq!(fs::read(home.path(key)).unwrap(), content);
        assert_eq!(mode(&home.path(key)), 0o600);
    }
}

#[tokio::test]
async fn passphrases_are_told_apart() {
    let f = Fixture::new().await;
    let short = f.backup(Some("hunter2")).await;
    assert!(matches!(short, Err(BackupError::WeakPassphrase(7))));
    let (backup, _) = f.backup(Some(PASSPHRASE)).await.unwrap();
    let none = f.restore(&backup, None).await;
    assert!(matches!(none, Err(BackupError::PassphraseNeeded)));
    let other = f.restore(&backup, Some("correct horse bakery")).await;
    assert!(matches!(other, Err(BackupError::WrongPassphrase)));

    fs::remove_file(&backup).unwrap();
    let (plain, _) = f.backup(None).await.unwrap();
    let unused = f.restore(&plain, Some(PASSPHRASE)).await;
    assert!(matches!(unused, Err(BackupError::PassphraseUnused)));
}

/// Trustee: inverted overwrite logic, and a silent overwrite.
#[tokio::test]
async fn cve_c38_nothing_is_overwritten() {
    let f = Fixture::new().await;
    fs::write(f.path("backup.tar"), "precious").unwrap();
    let refused = f.backup(None).await;
    assert!(matches!(
        refused,
        Err(BackupError::Home(HomeError::Exists { .. }))
    ));
    assert_eq!(fs::read(f.path("backup.tar")).unwrap(), b"precious");

    fs::remove_file(f.path("backup.tar")).unwrap();
    let (backup, _) = f.backup(None).await.unwrap();
    let again = open(&backup, None).unwrap().unpack(&f.home, None).await;
    assert!(matches!(again, Err(BackupError::Io { .. })), "{again:?}");
    assert_eq!(fs::read(f.home.path(file::CONFIG)).unwrap(), b"listen = 1");
}

#[tokio::test]
async fn any_changed_byte_is_seen_or_means_nothing() {
    let f = Fixture::new().await;
    let (backup, made) = f.backup(Some(PASSPHRASE)).await.unwrap();
    let good = fs::read(&backup).unwrap();
    let (home, _) = f.restore(&backup, Some(PASSPHRASE)).await.unwrap();
    let config = fs::read(home.path(file::CONFIG)).unwrap();
    let store = fs::read(home.path(file::STORE)).unwrap();
    let altered = f.path("altered.tar");
    let mut seen = 0;
    // Every byte would take minutes: PBKDF2 is slow on purpose.
    for at in (0..good.len()).step_by(4099) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        fs::write(&altered, &bytes).unwrap();
        match f.restore(&altered, Some(PASSPHRASE)).await {
            Err(_) => seen += 1,
            Ok((home, _)) => {
                assert_eq!(fs::read(home.path(file::CONFIG)).unwrap(), config);
                assert_eq!(fs::read(home.path(file::STORE)).unwrap(), store);
                assert_eq!(fs::read(home.path(file::RESULT_KEY)).unwrap(), b"a key");
            }
        }
    }
    assert!(
        seen > good.len() / 4099 / 2,
        "{seen} of {}",
        good.len() / 4099
    );

    // Without a passphrase the id does it: another manifest has another.
    let expected = hex::encode(made.id);
    assert!(open(&backup, Some(&expected)).is_ok());
    let other = "00".repeat(32);
    assert!(matches!(
        open(&backup, Some(&other)),
        Err(BackupError::OtherBackup { .. })
    ));
}

#[tokio::test]
async fn parts_that_differ_from_the_manifest_are_named() {
    let f = Fixture::new().await;
    let (backup, _) = f.backup(None).await.unwrap();
    let good = fs::read(&backup).unwrap();
    let at = good
        .windows(10)
        .position(|w| w == b"listen = 1")
        .expect("the plain file is plain");
    let altered = f.path("altered.tar");
    let mut bytes = good.clone();
    bytes[at] ^= 1;
    fs::write(&altered, bytes).unwrap();
    match f.restore(&altered, None).await {
        Err(BackupError::Damaged { part, .. }) => assert_eq!(part, "files/config.toml"),
        other => panic!("{other:?}"),
    }
    fs::write(&altered, &good[..good.len() / 2]).unwrap();
    assert!(f.restore(&altered, None).await.is_err(), "cut off");
    fs::write(&altered, b"").unwrap();
    assert!(matches!(
        open(&altered, None),
        Err(BackupError::Malformed(_))
    ));
}

#[test]
fn names_stay_in_the_directory() {
    for good in ["config.toml", "older/ca.pem", "A-b_c.9"] {
        assert!(Name::try_from(good.to_owned()).is_ok(), "{good}");
    }
    for bad in [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "a/b/c",
        ".hidden",
        "a/.b",
        "a//b",
        "a b",
        "a\u{0}b",
        "a\n",
        file::STORE,
        "holdfast.db-wal",
        file::KEYRING_LOCK,
        file::LOCK,
        file::ADMIN_SOCKET,
        &"a".repeat(91),
    ] {
        assert!(Name::try_from(bad.to_owned()).is_err(), "{bad:?}");
    }
}

/// With `edit` made to the manifest's text, and all else as it was.
fn remade(backup: &Path, to: &Path, edit: impl Fn(String) -> String) {
    let mut archive = tar::Archive::new(fs::File::open(backup).unwrap());
    let mut new = tar::Builder::new(fs::File::create(to).unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        if name == "manifest.json" {
            bytes = edit(String::from_utf8(bytes).unwrap()).into_bytes();
        }
        let mut header = entry.header().clone();
        header.set_size(bytes.len() as u64);
        new.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    new.finish().unwrap();
}

#[tokio::test]
async fn manifests_of_others_are_refused() {
    let f = Fixture::new().await;
    let (backup, _) = f.backup(None).await.unwrap();
    let altered = f.path("altered.tar");
    let with = |from: &'static str, to: &'static str| {
        remade(&backup, &altered, |text| {
            assert!(text.contains(from));
            text.replacen(from, to, 1)
        });
        open(&altered, None)
    };
    let later = with("\"holdfast_backup\": 1", "\"holdfast_backup\": 2");
    assert!(matches!(later, Err(BackupError::Format { format: 2, .. })));
    let later = with("\"schema\": ", "\"schema\": 99");
    assert!(matches!(later, Err(BackupError::NewerSchema { .. })));
    for (from, to) in [
        ("\"config.toml\"", "\"../config.toml\""),
        ("\"config.toml\"", "\"older/ca.pem\""),
        ("\"config.toml\"", "\"holdfast.db\""),
        ("\"made_at\"", "\"unknown\""),
    ] {
        let refused = with(from, to);
        assert!(matches!(refused, Err(BackupError::Malformed(_))), "{to}");
    }
    // In the manifest and in the archive: not the same.
    with("\"config.toml\"", "\"config.tomb\"").unwrap();
    let refused = f.restore(&altered, None).await;
    assert!(matches!(refused, Err(BackupError::Malformed(_))));
    with("\"gateways\": 1", "\"gateways\": 2").unwrap();
    let refused = f.restore(&altered, None).await;
    assert!(matches!(refused, Err(BackupError::Damaged { .. })));
}

#[tokio::test]
async fn links_and_strangers_in_the_directory_are_refused() {
    let f = Fixture::new().await;
    std::os::unix::fs::symlink("/etc/passwd", f.home.path("linked.pem")).unwrap();
    let refused = f.backup(None).await;
    assert!(matches!(
        refused,
        Err(BackupError::Home(HomeError::NotPlain { .. }))
    ));
    assert!(!f.path("backup.tar").exists());
    fs::remove_file(f.home.path("linked.pem")).unwrap();
    fs::write(f.home.path("large.bin"), vec![0; 2 << 20]).unwrap();
    fs::set_permissions(f.home.path("large.bin"), fs::Permissions::from_mode(0o644)).unwrap();
    let refused = f.backup(None).await;
    assert!(matches!(
        refused,
        Err(BackupError::Home(HomeError::TooLarge { .. }))
    ));
    assert_eq!(fs::read_dir(f.dir.path()).unwrap().count(), 1, "no remains");
}

#[tokio::test]
async fn a_backup_while_others_write_is_of_one_moment() {
    let f = Fixture::new().await;
    let store = SqliteStore::open(&f.home.path(file::STORE)).await.unwrap();
    let answered = Arc::new(AtomicU8::new(1));
    let writer = tokio::spawn({
        let (store, answered) = (store.clone(), Arc::clone(&answered));
        async move {
            for n in 2..=60 {
                let mut new = enrolled(n);
                new.boot_log = None;
                match store.record_enrolment(new, NOW).await {
                    Ok(_) => answered.store(n, Ordering::SeqCst),
                    Err(StoreError::JoinTokenSpent) => {
                        let mut token = join_token(9);
                        token.secret_sha256 = [n; 32];
                        store.create_join_token(token, "uid:0", NOW).await.unwrap();
                    }
                    Err(e) => panic!("{e}"),
                }
            }
        }
    });
    for round in 0..5 {
        let before = answered.load(Ordering::SeqCst);
        let (backup, _) = f.backup(None).await.unwrap();
        let (home, _) = f.restore(&backup, None).await.unwrap();
        let restored = SqliteStore::open(&home.path(file::STORE)).await.unwrap();
        let page = restored.gateways(None, 100).await.unwrap().gateways;
        for n in 1..=before {
            assert!(page.iter().any(|g| g.id == id(n)), "round {round}: {n}");
        }
        // Each with its certificate, or not at all.
        assert!(page.iter().all(|g| g.certificate.is_some()));
        restored.close().await;
        fs::remove_file(backup).unwrap();
        fs::remove_dir_all(f.path("restored")).unwrap();
    }
    writer.await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn where_nothing_happened_since_everything_stays() {
    let f = Fixture::new().await;
    let store = SqliteStore::open(&f.home.path(file::STORE)).await.unwrap();
    let kept = store.restored("id", false, NOW).await.unwrap();
    assert_eq!(kept, Restored::default());
    assert_eq!(store.unconfirmed_restore().await.unwrap(), None);
    let gateway = store.gateway(&id(1)).await.unwrap().unwrap();
    assert!(gateway.has_valid_certificate(NOW));
    let _ = store.record_enrolment(enrolled(2), NOW).await.unwrap();
}

/// By record: also on a machine whose clock is ten years fast, or slow.
#[tokio::test]
async fn what_may_have_ended_since_is_void_whatever_the_clock_says() {
    for now in [NOW, NOW + 10 * 365 * 86_400, 1] {
        let f = Fixture::new().await;
        let store = SqliteStore::open(&f.home.path(file::STORE)).await.unwrap();
        let bounds = PendingBounds {
            all: 9,
            per_address: 9,
        };
        for n in [7, 8] {
            let pending = NewPending {
                id: id(n),
                class: "default".to_owned(),
                tpm: String::new(),
                address: "192.0.2.1".to_owned(),
                expires: NOW + 60,
            };
            store.note_pending(pending, bounds, NOW).await.unwrap();
        }
        store.deny_pending(&id(8), "", "uid:0", NOW).await.unwrap();

        let void = store.restored("id", true, now).await.unwrap();
        let expected = Restored {
            certificates: 1,
            join_tokens: 1,
            pending: 1,
            operators: 0,
        };
        assert_eq!(void, expected, "{now}");
        let gateway = store.gateway(&id(1)).await.unwrap().unwrap();
        assert_eq!(gateway.lifecycle, Lifecycle::Active);
        assert!(!gateway.has_valid_certificate(NOW));
        assert_eq!(store.join_token(&TOKEN).await.unwrap(), None);
        let left = store.pending_gateways(0, 9, NOW).await.unwrap();
        assert!(left.len() == 1 && left[0].denied, "a denial stays");
        let audit = store.audit(1).await.unwrap();
        assert_eq!(
            (audit[0].action.as_str(), audit[0].subject.as_str()),
            ("verifier-restored", "id")
        );
    }
}

#[tokio::test]
async fn nobody_enrols_or_recovers_before_a_restore_is_confirmed() {
    let f = Fixture::new().await;
    let store = SqliteStore::open(&f.home.path(file::STORE)).await.unwrap();
    store.restored("id", true, NOW).await.unwrap();
    store
        .create_join_token(join_token(9), "uid:0", NOW)
        .await
        .unwrap();
    let recovery = || {
        let mut recovery = enrolled(1);
        recovery.admittance = Admittance::Recovery;
        recovery.answer = answer(10);
        recovery.certificate = certificate(10);
        recovery
    };
    for refused in [enrolled(2), recovery()] {
        let refused = store.record_enrolment(refused, NOW).await;
        assert!(
            matches!(refused, Err(StoreError::RestoreUnconfirmed { .. })),
            "{refused:?}"
        );
    }
    let other = store.confirm_restore("other", "uid:0", NOW).await;
    assert!(matches!(other, Err(StoreError::UnknownRestore { .. })));
    let confirmed = store.confirm_restore("id", "uid:0", NOW).await.unwrap();
    assert_eq!(confirmed.gateways, 1);
    assert_eq!(store.audit(1).await.unwrap()[0].action, "restore-confirmed");
    let _ = store.record_enrolment(enrolled(2), NOW).await.unwrap();
    let _ = store.record_enrolment(recovery(), NOW).await.unwrap();
    // What was told after the backup is not told again under the same number.
    let events = store.events_after(0, None, 100).await.unwrap();
    let recovered = events.iter().rfind(|e| e.gateway == id(1)).unwrap();
    assert!(recovered.sequence > 1 << 30 && recovered.number > 1 << 30);
    let again = store.confirm_restore("id", "uid:0", NOW).await;
    assert!(matches!(again, Err(StoreError::UnknownRestore { .. })));
}
