use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;

#[test]
fn sample_is_the_defaults_with_every_field() {
    let text = sample(&Config::default());
    assert_eq!(Config::from_toml(&text).unwrap(), Config::default());
    // Each key that the types know is in the sample: without one of them the
    // sample's table would differ from the one that a full set of keys makes.
    let table: toml::Table = toml::from_str(&text).unwrap();
    assert_eq!(table.len(), SETTINGS.len());
    for key in SETTINGS {
        assert!(table.contains_key(key), "{key}");
    }
    assert_eq!(table["limits"].as_table().unwrap().len(), 9);
    // Every key has a comment above it or above its group.
    assert!(text.lines().filter(|l| l.starts_with('#')).count() > 15);
}

#[test]
fn sample_quotes_what_it_is_given() {
    let config = Config {
        server_names: vec!["a\"b".to_owned()],
        ldevid: LdevidConfig {
            spiffe_trust_domain: "example.org".to_owned(),
            ..LdevidConfig::default()
        },
        ..Config::default()
    };
    assert_eq!(Config::from_toml(&sample(&config)).unwrap(), config);
}

#[test]
fn unknown_key_is_refused_by_name() {
    let error = Config::from_toml("lisen = \"127.0.0.1:1\"").unwrap_err();
    assert!(error.to_string().contains("lisen"), "{error}");
    let error = Config::from_toml("[limits]\nrequest = 1").unwrap_err();
    assert!(error.to_string().contains("request"), "{error}");
}

#[test]
fn no_or_an_unknown_ek_template_is_refused_and_one_is_the_default() {
    for bad in ["[]", "[\"L-9\"]", "[\"L-2\", \"rsa2048\"]"] {
        let error = Config::from_toml(&format!("accepted_eks = {bad}")).unwrap_err();
        assert!(
            matches!(
                error,
                ConfigError::OutOfRange {
                    key: "accepted_eks",
                    ..
                }
            ),
            "{bad}"
        );
    }
    assert!(Config::default().accepted_eks().unwrap().is_one_per_tpm());
}

#[test]
fn of_several_ek_templates_all_have_to_be_shown_unless_one_is_said_to_be_enough() {
    let with = |eks: &str| {
        Config::from_toml(&format!(
            "accepted_eks = [\"L-1\", \"H-6\"]\n[endorsement]\n{eks}"
        ))
    };
    let is_one_per_tpm = |eks| with(eks).unwrap().accepted_eks().unwrap().is_one_per_tpm();
    assert!(is_one_per_tpm(""));
    assert!(is_one_per_tpm("eks = \"all\""));
    assert!(!is_one_per_tpm("eks = \"any\""));
    for bad in ["\"ALL\"", "\"some\"", "true", "1", "[]"] {
        let error = with(&format!("eks = {bad}")).unwrap_err();
        assert!(error.to_string().contains("endorsement.eks"), "{error}");
    }
}

#[test]
fn resettable_unknown_repeated_or_no_pcr_is_refused() {
    for bad in ["[0, 16]", "[23]", "[24]", "[1, 1]", "[]"] {
        let error = Config::from_toml(&format!("pcr_selection = {bad}")).unwrap_err();
        assert!(
            matches!(
                error,
                ConfigError::OutOfRange {
                    key: "pcr_selection",
                    ..
                }
            ),
            "{bad}"
        );
    }
    let config = Config::from_toml("pcr_selection = [7, 0]").unwrap();
    assert_eq!(
        config
            .pcr_selection()
            .unwrap()
            .pcrs
            .iter()
            .collect::<Vec<_>>(),
        [0, 7]
    );
}

#[test]
fn value_out_of_range_is_refused_by_key() {
    let error = Config::from_toml("[limits]\nrequests = 0").unwrap_err();
    assert!(matches!(
        error,
        ConfigError::OutOfRange {
            key: "limits.requests",
            ..
        }
    ));
    let error = Config::from_toml("server_names = []").unwrap_err();
    assert!(matches!(
        error,
        ConfigError::OutOfRange {
            key: "server_names",
            ..
        }
    ));
}

fn home() -> (tempfile::TempDir, Home) {
    let parent = tempfile::tempdir().unwrap();
    let home = Home::create(&parent.path().join("v")).unwrap();
    (parent, home)
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn new_files_have_their_mode_and_are_not_overwritten() {
    let (_parent, home) = home();
    home.write_new("a.key.pem", b"one", 0o600).unwrap();
    let error = home.write_new("a.key.pem", b"two", 0o600).unwrap_err();
    assert!(matches!(error, HomeError::Exists { .. }));
    assert_eq!(home.read_secret("a.key.pem").unwrap().as_str(), "one");
    assert_eq!(
        fs::read_dir(home.dir()).unwrap().count(),
        1,
        "nothing left over"
    );
}

#[test]
fn adv_a25_loose_secret_is_refused_with_the_chmod_to_run() {
    let (_parent, home) = home();
    home.write_new("token.key", b"x", 0o600).unwrap();
    let path = home.path("token.key");
    chmod(&path, 0o640);
    let error = home.read_secret("token.key").unwrap_err();
    assert!(matches!(
        error,
        HomeError::LooseMode {
            mode: 0o640,
            want: 0o600,
            ..
        }
    ));
    assert!(
        error
            .to_string()
            .contains(&format!("chmod 0600 {}", path.display())),
        "{error}"
    );
    assert!(matches!(
        home.inspect_secrets().unwrap_err(),
        HomeError::LooseMode { .. }
    ));
    chmod(&path, 0o600);
    home.inspect_secrets().unwrap();
}

#[test]
fn adv_a25_loose_directory_is_refused() {
    let (_parent, home) = home();
    chmod(home.dir(), 0o755);
    let error = Home::open(home.dir()).unwrap_err();
    assert!(matches!(
        error,
        HomeError::LooseMode {
            mode: 0o755,
            want: 0o700,
            ..
        }
    ));
}

#[test]
fn adv_a25_links_are_not_followed() {
    let (parent, home) = home();
    home.write_new("real", b"x", 0o600).unwrap();
    std::os::unix::fs::symlink(home.path("real"), home.path("token.key")).unwrap();
    let error = home.read_secret("token.key").unwrap_err();
    assert!(matches!(
        error,
        HomeError::NotPlain {
            expected: "file",
            ..
        }
    ));
    let link = parent.path().join("link");
    std::os::unix::fs::symlink(home.dir(), &link).unwrap();
    let error = Home::open(&link).unwrap_err();
    assert!(matches!(
        error,
        HomeError::NotPlain {
            expected: "directory",
            ..
        }
    ));
    std::os::unix::fs::symlink("/dev/null", home.path(file_store())).unwrap();
    assert!(matches!(
        home.prepare_store().unwrap_err(),
        HomeError::NotPlain { .. }
    ));
}

fn file_store() -> &'static str {
    home::file::STORE
}

#[test]
fn trusted_file_that_others_can_write_is_refused() {
    let (_parent, home) = home();
    home.write_new("policy.rego", b"x", 0o644).unwrap();
    assert_eq!(home.read_trusted("policy.rego").unwrap(), "x");
    chmod(&home.path("policy.rego"), 0o666);
    let error = home.read_trusted("policy.rego").unwrap_err();
    assert!(matches!(error, HomeError::LooseMode { want: 0o644, .. }));
}

#[test]
fn two_servers_never_share_a_directory() {
    let (_parent, home) = home();
    let held = home.lock().unwrap();
    assert!(matches!(home.lock().unwrap_err(), HomeError::InUse { .. }));
    drop(held);
    home.lock().unwrap();
}

#[test]
fn absent_directory_names_init() {
    let parent = tempfile::tempdir().unwrap();
    let error = Home::open(&parent.path().join("none")).unwrap_err();
    assert!(
        error.to_string().contains("holdfast-verifier init"),
        "{error}"
    );
}
