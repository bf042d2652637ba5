//! The measurement list of a simulated kernel (IMA), as Linux shows it in
//! `/sys/kernel/security/ima/binary_runtime_measurements`, and what it extends
//! PCR 10 with (Linux, `ima_template_lib.c`, `ima_queue.c`). Integers are
//! little-endian.

mod signer;

use holdfast_proto::tpm::{Digest, HashAlg};

pub use self::signer::ImaSigner;
use crate::boot_log::{BANKS, PcrValues};

/// The PCR that IMA extends.
pub const IMA_PCR: u32 = 10;

/// One entry. Its fields are open, so that a test can forge any of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImaEntry {
    /// PCR index.
    pub pcr: u32,
    /// Template name. No digest covers it.
    pub template: String,
    /// Template data: fields, each with its length before it.
    pub data: Vec<u8>,
    /// Whether it tells of a violation: zeros are logged, ones extended.
    pub violation: bool,
}

impl ImaEntry {
    /// A file that was executed or read: template `ima-ng`, SHA-256.
    #[must_use]
    pub fn file(path: &str, content: &[u8]) -> Self {
        Self::ng(path.as_bytes(), content)
    }

    /// The same, with a path that may be no text.
    #[must_use]
    pub fn ng(path: &[u8], content: &[u8]) -> Self {
        Self::of("ima-ng", &[d_ng(&sha256(content)), n_ng(path)])
    }

    /// A file with a signature: template `ima-sig`.
    #[must_use]
    pub fn signed(path: &str, content: &[u8], signature: &[u8]) -> Self {
        let fields = [
            d_ng(&sha256(content)),
            n_ng(path.as_bytes()),
            signature.to_vec(),
        ];
        Self::of("ima-sig", &fields)
    }

    /// A file that was written while measured.
    #[must_use]
    pub fn violation(path: &str) -> Self {
        // The kernel leaves room for a SHA-1 digest, whatever the algorithm.
        let digest = [b"sha256:\0".as_slice(), &[0; 20]].concat();
        Self {
            violation: true,
            ..Self::of("ima-ng", &[digest, n_ng(path.as_bytes())])
        }
    }

    /// The first entry of a boot: over PCRs 0 to 9 of the SHA-256 bank, where
    /// those that `values` lacks are zero.
    #[must_use]
    pub fn boot_aggregate(values: &PcrValues) -> Self {
        let zeros = [0; 32];
        let values: Vec<&[u8]> = (0..=9)
            .map(|pcr| values.get(&pcr).map_or(zeros.as_slice(), Digest::as_bytes))
            .collect();
        let digest = HashAlg::Sha256.digest(&values);
        let fields = [d_ng(digest.as_bytes()), n_ng(b"boot_aggregate")];
        Self::of("ima-ng", &fields)
    }

    /// Any template and fields.
    #[must_use]
    pub fn of(template: &str, fields: &[Vec<u8>]) -> Self {
        let data = fields
            .iter()
            .flat_map(|field| [&len32(field.len()), field.as_slice()].concat())
            .collect();
        Self {
            pcr: IMA_PCR,
            template: template.to_owned(),
            data,
            violation: false,
        }
    }

    /// Its bytes in the log.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let digest = HashAlg::Sha1.digest(&[&self.data]);
        let logged = if self.violation {
            vec![0; 20]
        } else {
            digest.as_bytes().to_vec()
        };
        [
            self.pcr.to_le_bytes().as_slice(),
            &logged,
            &len32(self.template.len()),
            self.template.as_bytes(),
            &len32(self.data.len()),
            &self.data,
        ]
        .concat()
    }

    /// What each of [`BANKS`] is extended with (Linux 5.8 and later).
    #[must_use]
    pub fn digests(&self) -> Vec<Digest> {
        let digest = |bank: &HashAlg| {
            if self.violation {
                Digest::filled(*bank, 0xff)
            } else {
                bank.digest(&[&self.data])
            }
        };
        BANKS.iter().map(digest).collect()
    }
}

/// Field `d-ng` with a SHA-256 digest.
fn d_ng(digest: &[u8]) -> Vec<u8> {
    [b"sha256:\0".as_slice(), digest].concat()
}

/// Field `n-ng`. The kernel replaces spaces.
fn n_ng(path: &[u8]) -> Vec<u8> {
    let mut name: Vec<u8> = path
        .iter()
        .map(|byte| if *byte == b' ' { b'_' } else { *byte })
        .collect();
    name.push(0);
    name
}

fn sha256(content: &[u8]) -> Vec<u8> {
    HashAlg::Sha256.digest(&[content]).as_bytes().to_vec()
}

fn len32(len: usize) -> [u8; 4] {
    u32::try_from(len)
        .expect("the simulator writes short entries")
        .to_le_bytes()
}

#[cfg(test)]
mod tests {
    use holdfast_proto::ima_log::{BootAggregate, Extend, ImaLog, Replay};

    use super::*;

    /// What is written reads back and replays to what is extended, in each bank.
    #[test]
    fn the_log_replays_to_what_is_extended() {
        let signer = ImaSigner::generate().unwrap();
        let mut values = PcrValues::new();
        values.insert(0, HashAlg::Sha256.digest(&[b"firmware"]));
        let entries = [
            ImaEntry::boot_aggregate(&values),
            ImaEntry::file("/usr/bin/a file", b"a"),
            ImaEntry::signed("/usr/bin/b", b"b", &signer.sign(b"b")),
            ImaEntry::violation("/var/log/c"),
        ];
        let log: Vec<u8> = entries.iter().flat_map(ImaEntry::encode).collect();
        for (at, bank) in BANKS.iter().enumerate() {
            let mut pcr = vec![0; bank.digest_len()];
            for entry in &entries {
                let digest = entry.digests()[at];
                pcr = bank.digest(&[&pcr, digest.as_bytes()]).as_bytes().to_vec();
            }
            let mut replay = Replay::from_boot(*bank, Extend::Native);
            for entry in ImaLog::new(&log).entries() {
                let entry = entry.unwrap();
                assert!(entry.is_as_logged());
                replay.push(&entry);
            }
            assert_eq!(replay.pcrs().value(10).unwrap().as_bytes(), pcr);
            assert_eq!((replay.entries(), replay.violations()), (4, 1));
        }
        let read: Vec<_> = ImaLog::new(&log).entries().map(Result::unwrap).collect();
        assert_eq!(read[1].name().unwrap().as_bytes(), b"/usr/bin/a_file");
        assert!(read[2].signature().is_some());
        let zero = Digest::from_bytes(HashAlg::Sha256, &[0; 32]).unwrap();
        let quoted = |pcr| Some(values.get(&pcr).copied().unwrap_or(zero));
        assert_eq!(
            BootAggregate::of(&read[0], HashAlg::Sha256, quoted),
            BootAggregate::Matches { last_pcr: 9 }
        );
    }
}
