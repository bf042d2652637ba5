//! Custody on disk, with OpenSSL as judge of what is written, and crashes at
//! every step of a change.

mod device;
mod files;
mod rotation;
mod source;
mod tpm;

use std::{path::PathBuf, process::Command};

use ring::rand::SystemRandom;
use tempfile::TempDir;

use super::*;
use crate::{
    config::{Config, Home, home::file},
    identity::{CaSettings, FileSigner, Initial, ServerName, ca_init},
    time::UnixTime,
};

/// 2026-11-24T08:00:00Z
pub(crate) const NOW: UnixTime = UnixTime::from_seconds(1_795_507_200);

/// A directory with the keys of a new verifier, root and server CA's too.
pub(crate) struct Dir {
    pub(crate) home: Home,
    config: Config,
    initial: Initial,
    dir: TempDir,
}

impl Dir {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let settings = CaSettings {
            organization: "Wasserwerk Süd".to_owned(),
            server_names: vec![ServerName::parse("verifier.example").unwrap()],
        };
        let initial = ca_init(&settings, NOW, &SystemRandom::new()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(dir.path(), private).unwrap();
        let home = Home::open(dir.path()).unwrap();
        for (certificate, key, keyed) in [
            (file::ROOT_CA, file::ROOT_CA_KEY, &initial.root),
            (file::ISSUING_CA, file::ISSUING_CA_KEY, &initial.issuing),
            (file::SERVER_CA, file::SERVER_CA_KEY, &initial.server_ca),
            (file::SERVER, file::SERVER_KEY, &initial.server),
        ] {
            let certificate_pem = keyed.certificate_pem();
            home.write_new(certificate, certificate_pem.as_bytes(), 0o644)
                .unwrap();
            home.write_new(key, keyed.key.expose_pem().as_bytes(), 0o600)
                .unwrap();
        }
        let result = initial.result_key.expose_pem();
        home.write_new(file::RESULT_KEY, result.as_bytes(), 0o600)
            .unwrap();
        let public = initial.result_public_pem.as_bytes();
        home.write_new(file::RESULT_PUBLIC, public, 0o644).unwrap();
        home.write_new(file::TOKEN_KEY, "07".repeat(32).as_bytes(), 0o600)
            .unwrap();
        Self {
            home,
            config,
            initial,
            dir,
        }
    }

    fn custodian(&self) -> Custodian {
        Custodian::new(self.home.clone(), &self.config)
    }

    pub(crate) fn open(&self) -> Keys {
        self.custodian().open(NOW).unwrap()
    }

    fn rotation(&self) -> Rotation<'_> {
        Rotation::begin(&self.home, NOW).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path(name)
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

/// Runs openssl in `dir`; what it says, where it succeeds.
fn openssl(dir: &Dir, args: &[&str]) -> Result<String, String> {
    let out = Command::new("openssl")
        .args(args)
        .current_dir(dir.dir.path())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if out.status.success() {
        Ok(text(&out.stdout))
    } else {
        Err(text(&out.stderr))
    }
}
