//! Against dpkg-deb and sha256sum: what they unpack and hash is what we list.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use holdfast_proto::tpm::HashAlg;

use crate::reference_values::{
    allow_list::{AllowList, AllowListBuilder, Judgement},
    import::deb::{self, DebError, Package},
};

fn read(package: &[u8]) -> Result<(Package, AllowList), DebError> {
    let mut list = AllowListBuilder::new();
    let package = deb::read(package, &mut list)?;
    Ok((package, list.finish().unwrap()))
}

fn run(command: &mut Command) -> Vec<u8> {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {out:?}");
    out.stdout
}

fn have(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        println!("skipped: no {tool} here");
    }
    found
}

/// A package of a few files, as dpkg-deb builds it.
fn build(folder: &Path, compression: &[&str]) -> PathBuf {
    let root = folder.join("root");
    let long = format!("usr/share/{}/{}", "d".repeat(120), "f".repeat(120));
    let files: [(&str, &[u8]); 6] = [
        ("DEBIAN/control", b"Package: holdfast-test\nVersion: 1.2-3\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: test\n"),
        ("usr/bin/tool", b"#!/bin/sh\n"),
        ("usr/share/with space/a\\b", b"odd"),
        ("usr/share/empty", b""),
        ("lib/modules/x.ko", &[7; 200_000]),
        (&long, b"long"),
    ];
    for (path, content) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    fs::set_permissions(root.join("DEBIAN"), fs::Permissions::from_mode(0o755)).unwrap();
    let tool = root.join("usr/bin/tool");
    let _ = fs::hard_link(&tool, root.join("usr/bin/tool-too"));
    let _ = symlink("tool", root.join("usr/bin/tool-link"));
    let package = folder.join("test.deb");
    run(Command::new("dpkg-deb")
        .args(["--root-owner-group"])
        .args(compression)
        .arg("--build")
        .args([&root, &package]));
    package
}

/// What dpkg-deb unpacks and sha256sum makes of it, by absolute path.
fn oracle(folder: &Path, package: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let root = folder.join("unpacked");
    run(Command::new("dpkg-deb")
        .arg("--extract")
        .args([package, &root]));
    let find = "find . -type f -exec sha256sum --zero {} +";
    let out = run(Command::new("sh").args(["-c", find]).current_dir(&root));
    let lines = out.split(|byte| *byte == 0).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let (hex, path) = line.split_at(64);
            (path[3..].to_vec(), hex::decode(hex).unwrap())
        })
        .collect()
}

/// The same files with the same digests, and those of /lib and the like below
/// /usr too.
fn agree(list: &AllowList, oracle: &BTreeMap<Vec<u8>, Vec<u8>>) {
    let mut expected = BTreeMap::new();
    for (path, digest) in oracle {
        expected.insert(path.clone(), digest.clone());
        let moved = ["/bin/", "/sbin/", "/lib/", "/lib64/"];
        if moved
            .iter()
            .any(|prefix| path.starts_with(prefix.as_bytes()))
        {
            expected.insert([b"/usr", path.as_slice()].concat(), digest.clone());
        }
    }
    let listed: BTreeMap<Vec<u8>, Vec<u8>> = list
        .entries()
        .map(|entry| (entry.path.into_owned(), hex::decode(entry.hex).unwrap()))
        .collect();
    assert_eq!(listed, expected);
}

#[test]
fn every_compression_gives_what_dpkg_unpacks() {
    if !have("dpkg-deb") {
        return;
    }
    for compression in [
        &["-Znone"][..],
        &["-Zgzip"],
        &["-Zxz"],
        &["-Zxz", "-z9", "-Sextreme"],
        &["-Zzstd"],
        &["-Zzstd", "-z19"],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let package = build(folder.path(), compression);
        let (about, list) = read(&fs::read(&package).unwrap()).unwrap();
        assert_eq!(about.control.package, "holdfast-test");
        assert_eq!(about.control.version, "1.2-3");
        assert_eq!(about.control.architecture, "all");
        assert_eq!(about.files, 6, "{compression:?}");
        agree(&list, &oracle(folder.path(), &package));
        let module = HashAlg::Sha256.digest(&[&[7; 200_000]]);
        for path in [&b"/lib/modules/x.ko"[..], b"/usr/lib/modules/x.ko"] {
            let judged = list.judge(path, HashAlg::Sha256, module.as_bytes());
            assert_eq!(judged, Judgement::Known);
        }
    }
}

/// Two packages of Debian's own, where its archive can be reached.
#[test]
fn packages_of_debian_give_what_dpkg_unpacks() {
    if !have("dpkg-deb") || !have("apt-get") {
        return;
    }
    for name in ["hostname", "libc-bin"] {
        let folder = tempfile::tempdir().unwrap();
        let got = Command::new("apt-get")
            .args(["-o", "APT::Sandbox::User=root", "-qq", "download", name])
            .current_dir(folder.path())
            .output();
        let package = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|e| e == "deb"));
        let Some(package) = package.filter(|_| got.is_ok_and(|out| out.status.success())) else {
            println!("skipped: {name} cannot be downloaded here");
            return;
        };
        let (about, list) = read(&fs::read(&package).unwrap()).unwrap();
        assert_eq!(about.control.package, name);
        agree(&list, &oracle(folder.path(), &package));
        println!("{name} {}: {} files", about.control.version, about.files);
    }
}

fn member(name: &str, content: &[u8]) -> Vec<u8> {
    let header = format!(
        "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
        0,
        0,
        0,
        100_644,
        content.len()
    );
    let padding: &[u8] = if content.len() % 2 == 1 { b"\n" } else { b"" };
    [header.as_bytes(), content, padding].concat()
}

fn tar(entries: &[(tar::EntryType, &str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (kind, path, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_size(content.len().try_into().unwrap());
        if *kind == tar::EntryType::Link {
            header.set_size(0);
            header
                .set_link_name(std::str::from_utf8(content).unwrap())
                .unwrap();
        }
        // Not `set_path`, which refuses what is hostile.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        let content = if *kind == tar::EntryType::Link {
            &[][..]
        } else {
            content
        };
        tar.append(&header, content).unwrap();
    }
    tar.into_inner().unwrap()
}

const FILE: tar::EntryType = tar::EntryType::Regular;
const CONTROL: &[u8] = b"Package: p\nVersion: 1\nArchitecture: all\n";

fn package(data: &[u8]) -> Vec<u8> {
    [
        b"!<arch>\n".to_vec(),
        member("debian-binary", b"2.0\n"),
        member("_ignored", b"x"),
        member("control.tar/", &tar(&[(FILE, "./control", CONTROL)])),
        member("data.tar", data),
        member("_more", b""),
    ]
    .concat()
}

fn refuse(entries: &[(tar::EntryType, &str, &[u8])]) -> DebError {
    read(&package(&tar(entries))).unwrap_err()
}

#[test]
fn a_package_made_by_hand_reads() {
    let data = tar(&[
        (FILE, "./usr/a", b"a"),
        (tar::EntryType::Link, "./usr/b", b"./usr/a"),
    ]);
    let (about, list) = read(&package(&data)).unwrap();
    assert_eq!((about.files, list.len()), (2, 2));
}

#[test]
fn refuses_what_dpkg_does_not_unpack() {
    let pax = refuse(&[
        (tar::EntryType::XHeader, "x", b"11 path=/a\n"),
        (FILE, "./b", b""),
    ]);
    assert!(matches!(pax, DebError::EntryType('x')));
    let sparse = refuse(&[(tar::EntryType::GNUSparse, "./a", b"")]);
    assert!(matches!(sparse, DebError::EntryType('S')));
    let twice = refuse(&[(FILE, "./a", b"1"), (FILE, "a", b"2")]);
    assert!(matches!(twice, DebError::Twice(path) if path == "/a"));
    let dangling = refuse(&[(tar::EntryType::Link, "./b", b"./a")]);
    assert!(matches!(dangling, DebError::Dangling(path) if path == "/b"));
    let climbs = refuse(&[(FILE, "./usr/../../etc/shadow", b"")]);
    assert!(matches!(climbs, DebError::List { .. }));
    let long = vec![b'a'; 10_000];
    let long = refuse(&[
        (tar::EntryType::GNULongName, "././@LongLink", &long),
        (FILE, "a", b""),
    ]);
    assert!(matches!(long, DebError::LongName(_)));
}

#[test]
fn refuses_other_files_and_broken_ones() {
    assert!(matches!(read(b"").unwrap_err(), DebError::NotDeb));
    assert!(matches!(read(b"!<arch>\n").unwrap_err(), DebError::NotDeb));
    assert!(matches!(read(&[0; 100]).unwrap_err(), DebError::NotDeb));
    let ar = |members: &[Vec<u8>]| [b"!<arch>\n".to_vec(), members.concat()].concat();
    let version = member("debian-binary", b"2.0\n");
    assert!(matches!(
        read(&ar(&[member("debian-binary", b"3.0\n")])).unwrap_err(),
        DebError::NotDeb
    ));
    assert!(matches!(
        read(&ar(std::slice::from_ref(&version))).unwrap_err(),
        DebError::Missing("control.tar")
    ));
    assert!(matches!(
        read(&ar(&[version.clone(), member("control.tar.lzma", b"")])).unwrap_err(),
        DebError::Compression(form) if form == ".lzma"
    ));
    let good = package(&tar(&[(FILE, "./usr/a", &[1; 3000])]));
    // Cut anywhere before the end of the data member.
    let data = good.len() - member("_more", b"").len();
    for len in (0..data).step_by(61) {
        assert!(read(&good[..len]).is_err(), "{len}");
    }
}

/// What unpacks to more than it may is refused, whatever it claims; nothing is
/// allocated by a claim.
#[test]
fn bombs_are_refused() {
    use flate2::{Compression, write::GzEncoder};
    let mut zipped = GzEncoder::new(Vec::new(), Compression::best());
    let data = tar(&[(FILE, "./zeros", &vec![0; 4 * 1024 * 1024])]);
    io::copy(&mut data.as_slice(), &mut zipped).unwrap();
    let zipped = zipped.finish().unwrap();
    assert!(zipped.len() < 20_000);
    let bomb = [
        b"!<arch>\n".to_vec(),
        member("debian-binary", b"2.0\n"),
        member("control.tar", &tar(&[(FILE, "./control", CONTROL)])),
        member("data.tar.gz", &zipped),
    ]
    .concat();
    let mut list = AllowListBuilder::new();
    let within = deb::read_within(bomb.as_slice(), 1024 * 1024, &mut list);
    assert!(matches!(within, Err(DebError::TooLarge(1_048_576))));
    assert!(read(&bomb).is_ok());
    // A size that no file has.
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(u64::MAX / 2);
    header.set_cksum();
    assert!(read(&package(header.as_bytes())).is_err());
}
