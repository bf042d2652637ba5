//! The verifier's directory: one that is there already, and one that others reach.

use std::os::unix::fs::symlink;

use anyhow::{Result, ensure};

use crate::judge::{
    REFUSED, SECRETS, chmod, contents, folder, initialised, refused, refused_serve, serves, text,
    verifier,
};

/// Directories that `init` must leave alone.
#[test]
fn verifier_init_overwrites_nothing() -> Result<()> {
    let folder = folder()?;
    let taken = folder.path().join("taken");
    std::fs::create_dir(&taken)?;
    std::fs::write(taken.join("precious"), "precious")?;
    let file = folder.path().join("file");
    std::fs::write(&file, "precious")?;
    let link = folder.path().join("link");
    std::fs::create_dir(folder.path().join("empty"))?;
    symlink(folder.path().join("empty"), &link)?;
    let before = contents(folder.path())?;
    for (path, words) in [
        (&taken, "exists already and is not overwritten"),
        (&file, "is not a plain directory"),
        (&link, "is not a plain directory"),
    ] {
        let path = text(path)?;
        refused(
            &mut verifier(&["init", "--dir", path])?,
            REFUSED,
            &[path, words],
        )?;
        let fresh = folder.path().join("fresh");
        refused(
            &mut verifier(&["init", "--dir", text(&fresh)?, "--root-ca-dir", path])?,
            REFUSED,
            &[path, words],
        )?;
    }
    refused(
        &mut verifier(&["init", "--dir", "/proc/self/nowhere/dir"])?,
        REFUSED,
        &["/proc/self/nowhere"],
    )?;
    ensure!(contents(folder.path())? == before, "something was changed");
    Ok(())
}

/// A25: a directory or a secret that others can get at, or that is somewhere
/// else. `serve` names the file and the remedy.
#[test]
fn adv_a25_verifier_directory_with_loose_modes() -> Result<()> {
    let folder = folder()?;
    let dir = initialised(folder.path())?;
    for mode in [0o755, 0o750, 0o701, 0o1777] {
        let (dir_text, mode_text) = (text(&dir)?, format!("mode {mode:04o}"));
        chmod(&dir, mode)?;
        for arguments in [&["serve"][..], &["gateway", "list"], &["token", "create"]] {
            refused(
                verifier(arguments)?.args(["--dir", dir_text]),
                REFUSED,
                &[dir_text, &mode_text, "chmod 0700"],
            )?;
        }
    }
    chmod(&dir, 0o700)?;
    for name in SECRETS {
        let path = dir.join(name);
        for mode in [0o640, 0o604, 0o622] {
            chmod(&path, mode)?;
            let mode_text = format!("mode {mode:04o}");
            refused_serve(&dir, REFUSED, &[text(&path)?, &mode_text, "chmod 0600"])?;
        }
        chmod(&path, 0o600)?;
    }
    // What is no secret may be read, but not written.
    for name in ["config.toml", "policy.rego", "root-ca.pem", "server.pem"] {
        let path = dir.join(name);
        chmod(&path, 0o666)?;
        refused_serve(&dir, REFUSED, &[text(&path)?, "mode 0666", "chmod 0644"])?;
        chmod(&path, 0o644)?;
    }
    // Links, at the directory and in it.
    let link = folder.path().join("link");
    symlink(&dir, &link)?;
    refused_serve(&link, REFUSED, &[text(&link)?, "links are not followed"])?;
    for name in ["token.key", "policy.rego", "server.pem"] {
        let (path, moved) = (dir.join(name), folder.path().join(name));
        std::fs::rename(&path, &moved)?;
        symlink(&moved, &path)?;
        refused_serve(&dir, REFUSED, &[text(&path)?, "links are not followed"])?;
        std::fs::remove_file(&path)?;
        std::fs::rename(&moved, &path)?;
    }
    // Another's, where this is root.
    if nix::unistd::geteuid().is_root() {
        let path = dir.join("token.key");
        std::os::unix::fs::chown(&path, Some(65534), None)?;
        refused_serve(
            &dir,
            REFUSED,
            &[text(&path)?, "belongs to uid 65534", "chown 0"],
        )?;
        std::os::unix::fs::chown(&path, Some(0), None)?;
    }
    serves(&dir)
}
