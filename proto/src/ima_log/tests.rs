//! IMA logs built by hand, in both formats.

mod entries;
mod properties;
mod replay;

use super::{Extend, Format, ImaLog, Replay};
use crate::boot_log::Cause;
use crate::tpm::{Digest, HashAlg};

/// An entry before it is bytes: its template data is `fields`.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) pcr: u32,
    pub(super) template: &'static str,
    pub(super) fields: Vec<Vec<u8>>,
    /// The fields as the kernel prints them.
    pub(super) ascii: Vec<String>,
    pub(super) violation: bool,
}

impl Draft {
    pub(super) fn new(template: &'static str, fields: &[(&[u8], &str)]) -> Self {
        Self {
            pcr: 10,
            template,
            fields: fields.iter().map(|(field, _)| field.to_vec()).collect(),
            ascii: fields
                .iter()
                .map(|(_, ascii)| (*ascii).to_owned())
                .collect(),
            violation: false,
        }
    }

    /// An ima-ng entry of a file with these contents.
    pub(super) fn file(path: &str, contents: &[u8]) -> Self {
        let digest = HashAlg::Sha256.digest(&[contents]);
        Self::new(
            "ima-ng",
            &[
                (&d_ng(digest), &format!("sha256:{digest}")),
                (&n_ng(path), path),
            ],
        )
    }

    pub(super) fn data(&self) -> Vec<u8> {
        match (self.template, self.fields.as_slice()) {
            ("ima", [digest, name]) => [digest, len32(name.len()).as_slice(), name].concat(),
            (_, fields) => {
                let fields = fields
                    .iter()
                    .map(|field| [&len32(field.len()), field.as_slice()].concat());
                fields.collect::<Vec<_>>().concat()
            }
        }
    }

    /// What the kernel hashes.
    pub(super) fn hash(&self, alg: HashAlg) -> Digest {
        match (self.template, self.fields.as_slice()) {
            ("ima", [digest, name]) => {
                let mut padded = name.clone();
                padded.resize(256, 0);
                alg.digest(&[digest, &padded])
            }
            _ => alg.digest(&[&self.data()]),
        }
    }

    fn logged(&self, alg: HashAlg) -> Vec<u8> {
        match self.violation {
            true => vec![0; alg.digest_len()],
            false => self.hash(alg).as_bytes().to_vec(),
        }
    }

    pub(super) fn binary(&self, alg: HashAlg) -> Vec<u8> {
        let data = self.data();
        let len = match self.template {
            "ima" => Vec::new(),
            _ => len32(data.len()).to_vec(),
        };
        [
            self.pcr.to_le_bytes().as_slice(),
            &self.logged(alg),
            &len32(self.template.len()),
            self.template.as_bytes(),
            &len,
            &data,
        ]
        .concat()
    }

    pub(super) fn line(&self, alg: HashAlg) -> Vec<u8> {
        let (digest, fields) = (hex::encode(self.logged(alg)), self.ascii.join(" "));
        format!("{:2} {digest} {} {fields}\n", self.pcr, self.template).into_bytes()
    }
}

pub(super) fn len32(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap().to_le_bytes()
}

pub(super) fn d_ng(digest: Digest) -> Vec<u8> {
    [format!("{}:\0", digest.alg()).as_bytes(), digest.as_bytes()].concat()
}

pub(super) fn n_ng(path: &str) -> Vec<u8> {
    format!("{path}\0").into_bytes()
}

/// One entry of each of the kernel's templates, and of an owner's own.
pub(super) fn all_templates() -> Vec<Draft> {
    let sha1 = HashAlg::Sha1.digest(&[b"one"]);
    let sha256 = HashAlg::Sha256.digest(&[b"one"]);
    let (d_text, d) = (format!("sha256:{sha256}"), d_ng(sha256));
    let (v2_text, v2) = (format!("ima:{d_text}"), [b"ima:", d.as_slice()].concat());
    let verity = [b"verity:", d.as_slice()].concat();
    let verity_text = format!("verity:{d_text}");
    let name = n_ng("/usr/bin/one");
    let digest = (d.as_slice(), d_text.as_str());
    let name = (name.as_slice(), "/usr/bin/one");
    let sig: (&[u8], &str) = (&[3, 2, 4, 1, 2, 3, 4, 0, 1, 0xaa], "030204010203040001aa");
    let none: (&[u8], &str) = (&[], "");
    vec![
        Draft::new(
            "ima",
            &[
                (sha1.as_bytes(), &sha1.to_string()),
                (b"/usr/bin/one", "/usr/bin/one"),
            ],
        ),
        Draft::new("ima-ng", &[digest, name]),
        Draft::new("ima-ngv2", &[(&v2, &v2_text), name]),
        Draft::new("ima-sig", &[digest, name, sig]),
        Draft::new("ima-sig", &[digest, name, none]),
        Draft::new("ima-sigv2", &[(&verity, &verity_text), name, sig]),
        Draft::new(
            "ima-buf",
            &[
                digest,
                (b"kexec-cmdline\0", "kexec-cmdline"),
                (b"one", "6f6e65"),
            ],
        ),
        Draft::new(
            "ima-modsig",
            &[digest, name, none, digest, (&[9, 9], "0909")],
        ),
        Draft::new("ima-modsig", &[digest, name, sig, none, none]),
        Draft::new(
            "evm-sig",
            &[
                digest,
                name,
                sig,
                (
                    b"security.ima|security.capability\0",
                    "security.ima|security.capability",
                ),
                (&[1, 0, 0, 0], "01000000"),
                (&[7], "07"),
                (&1000u32.to_le_bytes(), "1000"),
                (&[0; 4], "0"),
                (&0o100_755u16.to_le_bytes(), "33261"),
            ],
        ),
        Draft::new("d-ng|n-ng|iuid", &[digest, name, (&[1, 0, 0, 0], "1")]),
        Draft::new("n-ng|d-ng", &[name, digest]),
        Draft::file("/a path/with spaces", b"two"),
    ]
}
