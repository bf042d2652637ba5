//! Where secrets come from, and who else may read them (A25).

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;
use crate::config::HomeError;

#[test]
fn sources_are_named_and_never_hold_the_secret() {
    for text in ["credential:ca", "env:CA_PASSPHRASE", "file:/run/secrets/ca"] {
        let source: SecretSource = text.parse().unwrap();
        assert_eq!(source.to_string(), text);
    }
    for bad in [
        "",
        "ca",
        "hunter2",
        "pass:hunter2",
        "credential:",
        "credential:../x",
        "credential:a/b",
        "credential:.x",
        "env:",
        "env:A=b",
        "file:relative",
        "file:/a/../b",
    ] {
        assert!(
            matches!(bad.parse::<SecretSource>(), Err(SecretError::Malformed(_))),
            "{bad}"
        );
    }
}

#[test]
fn adv_a25_a_secret_that_others_can_read_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pin");
    let source = SecretSource::File(path.clone());
    let refused = || match source.read().unwrap_err() {
        SecretError::File(error) => error,
        other => panic!("{other}"),
    };
    assert!(matches!(refused(), HomeError::Io { path: p, .. } if p == path));
    fs::write(&path, "1234\n").unwrap();
    for mode in [0o640, 0o604, 0o620, 0o666] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(
            matches!(refused(), HomeError::LooseMode { path: p, mode: m, .. } if p == path && m == mode)
        );
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(source.read().unwrap().as_str(), "1234");
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(matches!(
        SecretSource::File(link.clone()).read().unwrap_err(),
        SecretError::File(HomeError::NotPlain { path, .. }) if path == link
    ));
    for content in ["", "\n", "a\nb\n", "a\0b", &"a".repeat(1025)] {
        fs::write(&path, content).unwrap();
        assert!(matches!(
            source.read().unwrap_err(),
            SecretError::Unusable(named) if named == source
        ));
    }
}
