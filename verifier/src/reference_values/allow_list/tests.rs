use std::{fs, process::Command};

use proptest::prelude::*;

use super::*;

const A: [u8; 32] = [0xAA; 32];
const B: [u8; 32] = [0xBB; 32];

fn list(entries: &[(&[u8], &[u8; 32])]) -> AllowList {
    let mut builder = AllowListBuilder::new();
    for (path, digest) in entries {
        builder.add(path, HashAlg::Sha256, *digest).unwrap();
    }
    builder.finish().unwrap()
}

fn document(lines: &str) -> Vec<u8> {
    [HEADER, lines.as_bytes()].concat()
}

fn line(digest: u8, rest: &str) -> String {
    format!("{}  {rest}\n", hex::encode([digest; 32]))
}

#[test]
fn a_file_is_known_by_path_and_digest_together() {
    let list = list(&[(b"/usr/bin/a", &A), (b"/usr/bin/b", &B)]);
    let judge = |path: &str, digest: &[u8]| list.judge(path.as_bytes(), HashAlg::Sha256, digest);
    assert_eq!(judge("/usr/bin/a", &A), Judgement::Known);
    assert_eq!(judge("/usr/bin/a", &B), Judgement::Mismatched);
    assert_eq!(judge("/usr/bin/b", &A), Judgement::Mismatched);
    assert_eq!(judge("/usr/bin/c", &A), Judgement::Unknown);
    assert_eq!(judge("/usr/bin", &A), Judgement::Unknown);
    assert_eq!(judge("/usr/bin/aa", &A), Judgement::Unknown);
}

#[test]
fn a_path_may_have_several_digests_of_several_algorithms() {
    let mut builder = AllowListBuilder::new();
    for (alg, digest) in [
        (HashAlg::Sha256, &[1; 64][..32]),
        (HashAlg::Sha384, &[1; 64][..48]),
        (HashAlg::Sha512, &[1; 64][..]),
        (HashAlg::Sha256, &[2; 32][..]),
    ] {
        builder.add(b"/sbin/init", alg, digest).unwrap();
    }
    let list = builder.finish().unwrap();
    assert_eq!(list.len(), 4);
    let judge = |alg, digest: &[u8]| list.judge(b"/sbin/init", alg, digest);
    assert_eq!(judge(HashAlg::Sha256, &[1; 32]), Judgement::Known);
    assert_eq!(judge(HashAlg::Sha256, &[2; 32]), Judgement::Known);
    assert_eq!(judge(HashAlg::Sha384, &[1; 48]), Judgement::Known);
    assert_eq!(judge(HashAlg::Sha512, &[1; 64]), Judgement::Known);
    assert_eq!(judge(HashAlg::Sha512, &[2; 64]), Judgement::Mismatched);
    // A digest under another algorithm's name, and SHA-1, are never known.
    assert_eq!(judge(HashAlg::Sha512, &[1; 32]), Judgement::Mismatched);
    assert_eq!(judge(HashAlg::Sha1, &[1; 20]), Judgement::Mismatched);
    assert_eq!(judge(HashAlg::Sha1, &[1; 32]), Judgement::Mismatched);
    assert_eq!(judge(HashAlg::Sha256, &[]), Judgement::Mismatched);
}

#[test]
fn spaces_are_what_the_kernel_makes_of_them() {
    let list = list(&[(b"/opt/a b/c d", &A), (b"/opt/a_b/c_d", &B)]);
    assert_eq!(list.len(), 2);
    for logged in ["/opt/a_b/c_d", "/opt/a b/c d"] {
        for digest in [A, B] {
            let judged = list.judge(logged.as_bytes(), HashAlg::Sha256, &digest);
            assert_eq!(judged, Judgement::Known);
        }
    }
}

#[test]
fn names_that_need_escaping_come_back() {
    let odd: &[u8] = b"/opt/back\\slash\nline\rreturn \xFF";
    let list = list(&[(odd, &A)]);
    assert_eq!(list.judge(odd, HashAlg::Sha256, &A), Judgement::Known);
    assert_eq!(list.entries().next().unwrap().path, odd);
    assert_eq!(AllowList::parse(list.document().to_vec()).unwrap(), list);
}

#[test]
fn coreutils_checks_the_document() {
    let folder = tempfile::tempdir().unwrap();
    let mut builder = AllowListBuilder::new();
    for name in ["plain", "with space", "back\\slash", "new\nline", "tab\t"] {
        let path = folder.path().join(name);
        fs::write(&path, name).unwrap();
        let digest = sha256(&[name.as_bytes()]);
        let path = path.to_str().unwrap().as_bytes().to_vec();
        builder.add(&path, HashAlg::Sha256, &digest).unwrap();
    }
    let list = builder.finish().unwrap();
    let file = folder.path().join("list");
    fs::write(&file, list.document()).unwrap();
    let check = |file: &std::path::Path| {
        Command::new("sha256sum")
            .args(["--check", "--strict", "--quiet"])
            .arg(file)
            .output()
            .unwrap()
            .status
            .success()
    };
    assert!(check(&file));
    fs::write(folder.path().join("plain"), "changed").unwrap();
    assert!(!check(&file));
    let id = Command::new("sha256sum").arg(&file).output().unwrap();
    let id = String::from_utf8(id.stdout).unwrap();
    assert!(id.starts_with(&hex::encode(list.digest())));
}

#[test]
fn refuses_what_is_not_canonical() {
    let parse = |lines: &str| AllowList::parse(document(lines)).unwrap_err();
    let fault = |lines: &str| match parse(lines) {
        AllowListError::Line(2, fault) => fault,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        AllowList::parse(line(1, "/a").into_bytes()),
        Err(AllowListError::Header)
    );
    assert_eq!(parse(""), AllowListError::Empty);
    assert_eq!(
        parse(line(1, "/a").trim_end()),
        AllowListError::NoNewline(2)
    );
    for two in [
        [line(1, "/b"), line(1, "/a")],
        [line(2, "/a"), line(1, "/a")],
        [line(1, "/a"), line(1, "/a")],
    ] {
        assert_eq!(parse(&two.concat()), AllowListError::Order(3));
    }
    assert_eq!(fault(&line(0xAB, "/a").to_uppercase()), LineFault::Digest);
    assert_eq!(fault("aabb  /a\n"), LineFault::Digest);
    assert_eq!(fault(&format!("{:040x}  /a\n", 1)), LineFault::WeakDigest);
    assert_eq!(fault(&format!("{:064x} */a\n", 1)), LineFault::Separator);
    assert_eq!(fault("\n"), LineFault::Separator);
    for escape in ["/a\\n", "/a\\x"] {
        assert_eq!(fault(&line(1, escape)), LineFault::Escape);
    }
    assert_eq!(fault(&format!("\\{}", line(1, "/a"))), LineFault::Escape);
    assert_eq!(fault(&format!("\\{}", line(1, "/a\\x"))), LineFault::Escape);
    assert_eq!(fault(&line(1, "/a\r")), LineFault::Escape);
    for (path, wrong) in [
        ("a", PathFault::NotAbsolute),
        ("", PathFault::NotAbsolute),
        ("/", PathFault::NotNormal),
        ("/a/", PathFault::NotNormal),
        ("/a//b", PathFault::NotNormal),
        ("/a/../b", PathFault::NotNormal),
        ("/./b", PathFault::NotNormal),
        ("/a\0", PathFault::Nul),
        (
            &format!("/{}", "a".repeat(MAX_PATH_BYTES)),
            PathFault::TooLong,
        ),
    ] {
        assert_eq!(fault(&line(1, path)), LineFault::Path(wrong), "{path:?}");
    }
    // A comment that is no key is no line of a list.
    assert!(matches!(
        parse(&format!("# more\n{}", line(1, "/a"))),
        AllowListError::Line(2, _)
    ));
}

#[test]
fn the_builder_refuses_what_no_list_holds() {
    let mut builder = AllowListBuilder::new();
    let mut add = |path: &[u8], alg, digest: &[u8]| builder.add(path, alg, digest).unwrap_err();
    let fault = |fault| AllowListError::Line(1, fault);
    assert_eq!(
        add(b"/a", HashAlg::Sha1, &[0; 20]),
        fault(LineFault::WeakDigest)
    );
    assert_eq!(
        add(b"/a", HashAlg::Sha256, &[0; 20]),
        fault(LineFault::Digest)
    );
    let relative = LineFault::Path(PathFault::NotAbsolute);
    assert_eq!(add(b"a", HashAlg::Sha256, &A), fault(relative));
    assert_eq!(builder.finish().unwrap_err(), AllowListError::Empty);
}

fn key(args: &[&str]) -> ImaKey {
    let out = Command::new("openssl").args(args).output().unwrap();
    assert!(out.status.success(), "{args:?}");
    ImaKey::read(&out.stdout).unwrap()
}

/// A new private key's file, and what openssl says of its public key.
fn public_key(folder: &std::path::Path, name: &str, algorithm: &[&str]) -> ImaKey {
    let file = folder.join(name);
    let made = Command::new("openssl")
        .args(["genpkey", "-out"])
        .arg(&file)
        .args(algorithm)
        .output()
        .unwrap();
    assert!(made.status.success());
    key(&["pkey", "-pubout", "-in", file.to_str().unwrap()])
}

const P256: [&str; 4] = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const RSA: [&str; 4] = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];

#[test]
fn keys_are_in_the_list_and_named_by_their_id() {
    let folder = tempfile::tempdir().unwrap();
    let (ec, rsa) = (
        public_key(folder.path(), "ec", &P256),
        public_key(folder.path(), "rsa", &RSA),
    );
    let mut builder = AllowListBuilder::new();
    for key in [&ec, &rsa, &ec] {
        builder.add_key(key.clone());
    }
    let list = builder.finish().unwrap();
    assert!(list.is_empty());
    assert_eq!(list.keys().len(), 2);
    assert_eq!(list.keys_of(rsa.key_id()).collect::<Vec<_>>(), [&rsa]);
    assert_eq!(list.keys_of([0; 4]).count(), 0);
    assert_eq!(AllowList::parse(list.document().to_vec()).unwrap(), list);
    // Another list's keys and files come along.
    let mut both = AllowListBuilder::new();
    both.add(b"/a", HashAlg::Sha256, &A).unwrap();
    both.add_list(&list).unwrap();
    let both = both.finish().unwrap();
    assert_eq!((both.len(), both.keys().len()), (1, 2));
}

/// By openssl, which writes the subject key identifier that evmctl reads.
#[test]
fn a_certificates_key_id_is_the_end_of_its_subject_key_identifier() {
    let folder = tempfile::tempdir().unwrap();
    let bare = public_key(folder.path(), "key", &RSA);
    let file = folder.path().join("key");
    let certificate = |more: &[&str]| {
        let request = ["req", "-x509", "-new", "-subj", "/CN=ima", "-key"];
        let args = [&request[..], &[file.to_str().unwrap()], more].concat();
        key(&args)
    };
    // As openssl makes it: method 1, the same as of the bare key.
    let plain = certificate(&[]);
    assert_eq!(plain, bare);
    let other = certificate(&["-addext", "subjectKeyIdentifier=0102030405060708"]);
    assert_eq!(other.key_id(), [5, 6, 7, 8]);
    assert_eq!(other.spki_der(), bare.spki_der());
}

#[test]
fn refuses_other_keys() {
    let folder = tempfile::tempdir().unwrap();
    let public = |algorithm: &[&str]| {
        let file = folder.path().join("key");
        let file = file.to_str().unwrap();
        let openssl = |args: &[&str]| Command::new("openssl").args(args).output().unwrap();
        openssl(&[&["genpkey", "-out", file], algorithm].concat());
        openssl(&["pkey", "-pubout", "-in", file]).stdout
    };
    let short = public(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]);
    assert_eq!(ImaKey::read(&short), Err(ImaKeyError::Weak(1024)));
    let edwards = public(&["-algorithm", "ED25519"]);
    assert!(matches!(
        ImaKey::read(&edwards),
        Err(ImaKeyError::Unsupported(_))
    ));
    let good = public(&P256);
    assert_eq!(
        ImaKey::read(&[good.clone(), good].concat()),
        Err(ImaKeyError::Several(2))
    );
    assert_eq!(ImaKey::read(b""), Err(ImaKeyError::Unreadable));
    assert_eq!(ImaKey::read(b"key"), Err(ImaKeyError::Unreadable));
}

#[test]
fn a_key_line_is_canonical() {
    let folder = tempfile::tempdir().unwrap();
    let key = public_key(folder.path(), "key", &P256);
    let good = format!("# ima-key {}\n", key.to_line());
    assert!(AllowList::parse(document(&good)).is_ok());
    let upper = good.replace(
        &hex::encode(key.key_id()),
        &hex::encode_upper(key.key_id()).replace(char::is_numeric, "A"),
    );
    for bad in [
        upper,
        good.replace("# ima-key ", "# ima-key  "),
        "# ima-key \n".into(),
    ] {
        assert_eq!(
            AllowList::parse(document(&bad)),
            Err(AllowListError::Key(2))
        );
    }
    let twice = [good.clone(), good].concat();
    assert_eq!(
        AllowList::parse(document(&twice)),
        Err(AllowListError::Order(3))
    );
}

/// Files cost the document and four bytes each.
#[test]
fn a_distribution_is_the_document_and_its_offsets() {
    let mut builder = AllowListBuilder::new();
    for number in 0..20_000_u32 {
        let path = format!("/usr/share/doc/package-{}/file-{number}", number / 40);
        let digest = sha256(&[&number.to_be_bytes()]);
        builder
            .add(path.as_bytes(), HashAlg::Sha256, &digest)
            .unwrap();
    }
    let list = builder.finish().unwrap();
    assert_eq!(list.lines.len(), 20_000);
    assert!(list.document().len() < 2_400_000);
    let last = sha256(&[&19_999_u32.to_be_bytes()]);
    let path = b"/usr/share/doc/package-499/file-19999";
    assert_eq!(list.judge(path, HashAlg::Sha256, &last), Judgement::Known);
}

fn paths() -> impl Strategy<Value = Vec<u8>> {
    // Letters that sort around what is special here.
    let byte = prop::sample::select(b"aA _.~\\\n\r\x01\xFF".to_vec());
    prop::collection::vec(prop::collection::vec(byte, 1..4), 1..4).prop_map(|parts| {
        parts.iter().fold(Vec::new(), |mut path, part| {
            path.push(b'/');
            path.extend(part);
            path
        })
    })
}

proptest! {
    /// Whatever is added is known, in whatever order; the document reads back
    /// as itself; nothing else is known.
    #[test]
    fn holds_what_was_added(
        entries in prop::collection::vec((paths(), 0_u8..4), 1..40),
        absent in paths(),
    ) {
        let mut builder = AllowListBuilder::new();
        let mut added = Vec::new();
        for (path, digest) in &entries {
            if builder.add(path, HashAlg::Sha256, &[*digest; 32]).is_ok() {
                added.push((path.clone(), *digest));
            }
        }
        prop_assume!(!added.is_empty());
        let list = builder.finish().unwrap();
        prop_assert_eq!(&AllowList::parse(list.document().to_vec()).unwrap(), &list);
        for (path, digest) in &added {
            prop_assert_eq!(list.judge(path, HashAlg::Sha256, &[*digest; 32]), Judgement::Known);
            prop_assert_eq!(list.judge(path, HashAlg::Sha256, &[9; 32]), Judgement::Mismatched);
        }
        let logged = |path: &[u8]| path.iter().map(|b| if *b == b' ' { b'_' } else { *b }).collect::<Vec<_>>();
        if !added.iter().any(|(path, _)| logged(path) == logged(&absent)) {
            prop_assert_eq!(list.judge(&absent, HashAlg::Sha256, &[0; 32]), Judgement::Unknown);
        }
        added.reverse();
        let mut again = AllowListBuilder::new();
        for (path, digest) in &added {
            again.add(path, HashAlg::Sha256, &[*digest; 32]).unwrap();
        }
        prop_assert_eq!(again.finish().unwrap(), list);
    }

    #[test]
    fn no_document_panics(lines in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = AllowList::parse(lines.clone());
        let _ = AllowList::parse([HEADER, &lines].concat());
    }
}
