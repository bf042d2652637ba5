//! OpenSSL and GnuTLS, asked.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use tempfile::TempDir;

use crate::time::UnixTime;

pub(super) struct Oracle(TempDir);

impl Oracle {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    pub(super) fn run(&self, program: &str, args: &[&str]) -> Output {
        Command::new(program)
            .current_dir(self.0.path())
            .args(args)
            .output()
            .unwrap()
    }

    pub(super) fn openssl(&self, args: &[&str]) -> String {
        let out = self.run("openssl", args);
        assert!(out.status.success(), "openssl {args:?}: {}", text(&out));
        text(&out)
    }
}

/// certtool knows no other time than the present one.
pub(super) fn today() -> UnixTime {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    UnixTime::from_seconds(since.as_secs().try_into().unwrap())
}

/// GnuTLS is a second opinion where it is installed.
pub(super) fn has_certtool() -> bool {
    Command::new("certtool")
        .arg("--version")
        .output()
        .is_ok_and(|out| out.status.success())
}

pub(super) fn text(out: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    )
}
