//! One event of a TCG crypto-agile log and its encoding (TCG PC Client
//! Platform Firmware Profile §10.2). All integers are little-endian.

use holdfast_proto::tpm::{Digest, HashAlg};

/// The PCR banks of a simulated gateway, in the order of the log's digests.
pub const BANKS: [HashAlg; 2] = [HashAlg::Sha1, HashAlg::Sha256];

/// `TCG_EVENTTYPE` values that the simulated firmware and loaders use.
#[allow(missing_docs, reason = "the names are the specification's own")]
pub mod event_type {
    pub const EV_NO_ACTION: u32 = 0x3;
    pub const EV_SEPARATOR: u32 = 0x4;
    pub const EV_EVENT_TAG: u32 = 0x6;
    pub const EV_S_CRTM_VERSION: u32 = 0x8;
    pub const EV_IPL: u32 = 0xD;
    pub const EV_EFI_VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
    pub const EV_EFI_VARIABLE_BOOT: u32 = 0x8000_0002;
    pub const EV_EFI_BOOT_SERVICES_APPLICATION: u32 = 0x8000_0003;
    pub const EV_EFI_BOOT_SERVICES_DRIVER: u32 = 0x8000_0004;
    pub const EV_EFI_GPT_EVENT: u32 = 0x8000_0006;
    pub const EV_EFI_ACTION: u32 = 0x8000_0007;
    pub const EV_EFI_PLATFORM_FIRMWARE_BLOB: u32 = 0x8000_0008;
    pub const EV_EFI_HANDOFF_TABLES: u32 = 0x8000_0009;
    pub const EV_EFI_VARIABLE_AUTHORITY: u32 = 0x8000_00E0;
}

/// `TCG_PCR_EVENT2`. Its fields are open, so that a test can forge any of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// PCR index.
    pub pcr: u32,
    /// `TCG_EVENTTYPE`; see [`event_type`]. No digest covers it.
    pub event_type: u32,
    /// What is extended, one digest for each of [`BANKS`].
    pub digests: Vec<Digest>,
    /// The event field.
    pub data: Vec<u8>,
}

impl Event {
    /// An event whose digest is that of its own data.
    #[must_use]
    pub fn of_data(pcr: u32, event_type: u32, data: Vec<u8>) -> Self {
        Self {
            pcr,
            event_type,
            digests: digests_of(&data),
            data,
        }
    }

    /// An event whose data only describes what was `measured`.
    #[must_use]
    pub fn of(pcr: u32, event_type: u32, measured: &[u8], data: Vec<u8>) -> Self {
        Self {
            pcr,
            event_type,
            digests: digests_of(measured),
            data,
        }
    }

    /// Whether a TPM is extended with it: `EV_NO_ACTION` only informs (§9.4.5).
    #[must_use]
    pub fn is_extended(&self) -> bool {
        self.event_type != event_type::EV_NO_ACTION
    }

    /// Its bytes in the log.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.pcr.to_le_bytes());
        bytes.extend(self.event_type.to_le_bytes());
        bytes.extend(len32(self.digests.len()));
        for digest in &self.digests {
            bytes.extend(digest.alg().id().to_le_bytes());
            bytes.extend(digest.as_bytes());
        }
        bytes.extend(len32(self.data.len()));
        bytes.extend(&self.data);
        bytes
    }
}

/// The log's first record: a SHA-1 format `TCG_PCR_EVENT` that holds the
/// `TCG_EfiSpecIDEvent`, which declares the banks (§10.4.5.1).
#[must_use]
pub(super) fn spec_id_record() -> Vec<u8> {
    let mut spec = b"Spec ID Event03\0".to_vec();
    spec.extend(0u32.to_le_bytes()); // platformClass: client
    spec.extend([0, 2, 0, 2]); // version 2.0, errata 0, uintnSize: 64-bit
    spec.extend(len32(BANKS.len()));
    for bank in BANKS {
        spec.extend(bank.id().to_le_bytes());
        let len = u16::try_from(bank.digest_len()).expect("a digest has at most 64 bytes");
        spec.extend(len.to_le_bytes());
    }
    spec.push(0); // vendorInfoSize

    let mut record = Vec::new();
    record.extend(0u32.to_le_bytes());
    record.extend(event_type::EV_NO_ACTION.to_le_bytes());
    record.extend([0; 20]);
    record.extend(len32(spec.len()));
    record.extend(spec);
    record
}

/// The all-zero value that a PCR of `bank` starts from.
#[must_use]
pub(super) fn zeros(bank: HashAlg) -> Digest {
    Digest::filled(bank, 0)
}

/// A length as the `UINT32` that the log uses.
pub(super) fn len32(len: usize) -> [u8; 4] {
    u32::try_from(len)
        .expect("the simulator writes short logs")
        .to_le_bytes()
}

fn digests_of(measured: &[u8]) -> Vec<Digest> {
    BANKS.iter().map(|bank| bank.digest(&[measured])).collect()
}
