//! `/etc/holdfast/verifier.toml`: where this machine's verifier is, so that its
//! commands need no `--dir`. The service's own settings are in that directory.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::unistd::Uid;
use serde::Deserialize;

use super::files::{open_plain, read_text};

/// Where the file is, unless the variable names another.
pub const MACHINE_FILE: &str = "/etc/holdfast/verifier.toml";
/// Names another file in place of [`MACHINE_FILE`], which must then exist.
pub const MACHINE_VARIABLE: &str = "HOLDFAST_VERIFIER_CONFIG";

/// Where this machine's verifier is. Both keys may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Machine {
    /// The directory that commands without `--dir` mean; absolute.
    pub dir: Option<PathBuf>,
    /// The account that the service runs as: `init` by root gives it the
    /// directory.
    pub user: Option<String>,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct MachineError {
    path: PathBuf,
    problem: String,
}

impl Machine {
    /// Reads the file; without one, nothing is set.
    ///
    /// # Errors
    /// [`MachineError`] where it is malformed, or somebody other than root and
    /// this user could have written it.
    pub fn load() -> Result<Self, MachineError> {
        match std::env::var_os(MACHINE_VARIABLE) {
            Some(path) => Self::read(Path::new(&path)),
            None if fs::symlink_metadata(MACHINE_FILE).is_err() => Ok(Self::default()),
            None => Self::read(Path::new(MACHINE_FILE)),
        }
    }

    fn read(path: &Path) -> Result<Self, MachineError> {
        let bad = |problem: String| MachineError {
            path: path.to_owned(),
            problem,
        };
        let (file, meta) = open_plain(path).map_err(|e| match e {
            super::HomeError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                bad("there is no such file".to_owned())
            }
            other => bad(other.to_string()),
        })?;
        let owners = [0, Uid::effective().as_raw()];
        if !owners.contains(&meta.uid()) || meta.mode() & 0o022 != 0 {
            return Err(bad(format!(
                "others than root can write it (uid {}, mode {:04o}); run: chown 0 and chmod go-w on it",
                meta.uid(),
                meta.mode() & 0o7777
            )));
        }
        let text = read_text(path, file, &meta).map_err(|e| bad(e.to_string()))?;
        Self::from_toml(&text).map_err(bad)
    }

    /// From the file's text.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        let machine: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        match &machine.dir {
            Some(dir) if !dir.is_absolute() => {
                Err(format!("dir is {}: write an absolute path", dir.display()))
            }
            _ => Ok(machine),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn unknown_keys_and_relative_directories_are_refused() {
        assert_eq!(Machine::from_toml("").unwrap(), Machine::default());
        let full = Machine::from_toml("dir = \"/var/lib/v\"\nuser = \"v\"\n").unwrap();
        assert_eq!(full.dir.as_deref(), Some(Path::new("/var/lib/v")));
        for (text, why) in [
            ("dirr = \"/v\"", "unknown field `dirr`"),
            ("dir = \"v\"", "absolute"),
            ("user = 7", "expected a string"),
        ] {
            let error = Machine::from_toml(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    /// The package's conffile, and the unit that goes with it.
    #[test]
    fn the_sample_parses_and_is_what_the_unit_serves() {
        let sample = include_str!("../../../packaging/etc/verifier.toml");
        let machine = Machine::from_toml(sample).unwrap();
        let (dir, user) = (machine.dir.unwrap(), machine.user.unwrap());
        let unit = include_str!("../../../packaging/systemd/holdfast-verifier.service");
        for line in [
            format!(
                "ExecStart=/usr/bin/holdfast-verifier serve --dir {}",
                dir.display()
            ),
            format!("ConditionPathExists={}/config.toml", dir.display()),
            format!("User={user}"),
        ] {
            assert!(unit.lines().any(|l| l == line), "{line}");
        }
    }

    /// It decides which directory is believed.
    #[test]
    fn a_file_that_others_can_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("verifier.toml");
        fs::write(&path, "dir = \"/v\"\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Machine::read(&path).is_ok());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
        let error = Machine::read(&path).unwrap_err().to_string();
        assert!(error.contains("chmod go-w"), "{error}");
        assert!(Machine::read(&folder.path().join("absent")).is_err());
    }
}
