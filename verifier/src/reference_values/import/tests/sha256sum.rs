//! Against coreutils: whatever it prints is read as what it hashed.

use std::{fs, path::Path, process::Command};

use holdfast_proto::tpm::HashAlg;
use proptest::prelude::*;

use crate::reference_values::{
    allow_list::{AllowList, AllowListBuilder, AllowListError, Judgement, LineFault, PathFault},
    import::sha256sum::{ChecksumError, looks_like_one, read},
};

const ODD: [&str; 6] = [
    "plain",
    "two  spaces",
    "back\\slash",
    "new\nline",
    "return\rhere",
    ") = (",
];

fn parsed(text: &[u8], prefix: Option<&str>) -> Result<AllowList, ChecksumError> {
    let mut list = AllowListBuilder::new();
    read(text, prefix, &mut list)?;
    Ok(list.finish().unwrap())
}

fn hash(alg: HashAlg, path: &Path) -> Vec<u8> {
    let content = fs::read(path).unwrap();
    alg.digest(&[&content]).as_bytes().to_vec()
}

#[test]
fn reads_what_coreutils_print() {
    let folder = tempfile::tempdir().unwrap();
    for name in ODD {
        fs::write(folder.path().join(name), name).unwrap();
    }
    let tools = [
        ("sha256sum", HashAlg::Sha256),
        ("sha384sum", HashAlg::Sha384),
        ("sha512sum", HashAlg::Sha512),
    ];
    for (tool, alg) in tools {
        for form in [&[][..], &["--binary"], &["--tag"]] {
            let paths = ODD.iter().map(|name| folder.path().join(name));
            let out = Command::new(tool).args(form).args(paths).output().unwrap();
            assert!(out.status.success());
            assert!(looks_like_one(&out.stdout), "{tool} {form:?}");
            let list = parsed(&out.stdout, None).unwrap();
            assert_eq!(list.len(), ODD.len());
            for name in ODD {
                let path = folder.path().join(name);
                let judged = list.judge(path.to_str().unwrap().as_bytes(), alg, &hash(alg, &path));
                assert_eq!(judged, Judgement::Known, "{tool} {form:?} {name:?}");
            }
        }
    }
}

#[test]
fn relative_names_are_below_the_root_or_the_prefix() {
    let digest = "a".repeat(64);
    let known = |text: &str, prefix, path: &str| {
        let list = parsed(text.as_bytes(), prefix).unwrap();
        assert_eq!(
            list.judge(path.as_bytes(), HashAlg::Sha256, &[0xAA; 32]),
            Judgement::Known,
            "{text}"
        );
    };
    known(&format!("{digest}  ./usr/a\n"), None, "/usr/a");
    known(&format!("{digest}  ./a\n"), Some("/usr/"), "/usr/a");
    known(&format!("{digest}  a"), Some("/usr"), "/usr/a");
    known(&format!("{digest}  /a\r\n"), Some("/usr"), "/a");
    let relative = parsed(format!("{digest}  usr/a\n").as_bytes(), None);
    assert_eq!(relative.unwrap_err(), ChecksumError::Relative(1));
}

#[test]
fn refuses_what_is_no_checksum_file() {
    let digest = "a".repeat(64);
    let refuse = |text: &str| parsed(text.as_bytes(), None).unwrap_err();
    let line = |number, fault| ChecksumError::Line { number, fault };
    assert_eq!(refuse(""), ChecksumError::Empty);
    assert_eq!(refuse("# nothing\n\n"), ChecksumError::Empty);
    assert_eq!(
        refuse(&format!("\n{}  /a\n", "a".repeat(40))),
        line(2, LineFault::WeakDigest)
    );
    assert_eq!(refuse("MD5 (/a) = 00\n"), line(1, LineFault::WeakDigest));
    assert_eq!(refuse("hello\n"), line(1, LineFault::Digest));
    assert_eq!(
        refuse(&format!("{digest} /a\n")),
        line(1, LineFault::Separator)
    );
    assert_eq!(
        refuse(&format!("SHA256 (/a) : {digest}\n")),
        line(1, LineFault::Separator)
    );
    assert_eq!(refuse("SHA256 (/a) = aa\n"), line(1, LineFault::Digest));
    assert_eq!(
        refuse(&format!("\\{digest}  /a\\t\n")),
        line(1, LineFault::Escape)
    );
    let source = AllowListError::Line(1, LineFault::Path(PathFault::NotNormal));
    assert_eq!(
        refuse(&format!("{digest}  /a/../b\n")),
        ChecksumError::List { number: 1, source }
    );
    assert_eq!(
        refuse(&format!("{digest}  /{}\n", "a".repeat(9000))),
        line(1, LineFault::TooLong)
    );
}

#[test]
fn a_list_of_ours_reads_as_one() {
    let digest = "a".repeat(64);
    let list = parsed(format!("{digest}  /a b\\c\n").as_bytes(), None).unwrap();
    assert!(looks_like_one(list.document()));
    assert_eq!(parsed(list.document(), None).unwrap(), list);
}

proptest! {
    #[test]
    fn no_text_panics(text in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parsed(&text, Some("/"));
        let tagged = [b"SHA256 (", text.as_slice()].concat();
        let _ = parsed(&tagged, None);
    }
}
