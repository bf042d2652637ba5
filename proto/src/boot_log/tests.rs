//! Logs built by hand, honest and not.

mod facts;
mod properties;
mod refusals;
mod replay;
mod structures;

use super::decode::Guid;
use super::{BootLog, Cause, EventType, Finding};
use crate::tpm::HashAlg;

pub(super) const BANKS: [HashAlg; 2] = [HashAlg::Sha1, HashAlg::Sha256];
pub(super) const SHA256: HashAlg = HashAlg::Sha256;

/// An event before it is bytes.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) pcr: u32,
    pub(super) event_type: EventType,
    pub(super) digests: Vec<(u16, Vec<u8>)>,
    pub(super) data: Vec<u8>,
}

impl Draft {
    /// Its digests are those of `measured`.
    pub(super) fn of(pcr: u32, event_type: EventType, measured: &[u8], data: &[u8]) -> Self {
        let digests = BANKS.map(|bank| (bank.id(), bank.digest(&[measured]).as_bytes().to_vec()));
        Self {
            pcr,
            event_type,
            digests: digests.to_vec(),
            data: data.to_vec(),
        }
    }

    pub(super) fn covered(pcr: u32, event_type: EventType, data: &[u8]) -> Self {
        Self::of(pcr, event_type, data, data)
    }

    pub(super) fn no_action(pcr: u32, data: &[u8]) -> Self {
        let digests = BANKS.map(|bank| (bank.id(), vec![0; bank.digest_len()]));
        Self {
            pcr,
            event_type: EventType::EV_NO_ACTION,
            digests: digests.to_vec(),
            data: data.to_vec(),
        }
    }

    pub(super) fn separator(pcr: u32) -> Self {
        Self::covered(pcr, EventType::EV_SEPARATOR, &[0; 4])
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = head(self.pcr, self.event_type);
        bytes.extend(len32(self.digests.len()));
        for (id, digest) in &self.digests {
            bytes.extend(id.to_le_bytes());
            bytes.extend(digest);
        }
        bytes.extend(len32(self.data.len()));
        bytes.extend(&self.data);
        bytes
    }
}

pub(super) fn len32(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap().to_le_bytes()
}

pub(super) fn len64(len: usize) -> [u8; 8] {
    u64::try_from(len).unwrap().to_le_bytes()
}

pub(super) fn head(pcr: u32, event_type: EventType) -> Vec<u8> {
    [pcr.to_le_bytes(), event_type.0.to_le_bytes()].concat()
}

pub(super) fn sha1_event(pcr: u32, event_type: EventType, data: &[u8]) -> Vec<u8> {
    let digest = match event_type {
        EventType::EV_NO_ACTION => vec![0; 20],
        _ => HashAlg::Sha1.digest(&[data]).as_bytes().to_vec(),
    };
    [
        head(pcr, event_type),
        digest,
        len32(data.len()).to_vec(),
        data.to_vec(),
    ]
    .concat()
}

pub(super) fn spec_id(algorithms: &[(u16, u16)]) -> Vec<u8> {
    let mut spec = b"Spec ID Event03\0".to_vec();
    spec.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    spec.extend(len32(algorithms.len()));
    for (id, size) in algorithms {
        spec.extend(id.to_le_bytes());
        spec.extend(size.to_le_bytes());
    }
    spec.push(0);
    sha1_event(0, EventType::EV_NO_ACTION, &spec)
}

pub(super) const BOTH: [(u16, u16); 2] = [(0x0004, 20), (0x000B, 32)];

pub(super) fn log(events: &[Draft]) -> Vec<u8> {
    let events = events.iter().flat_map(Draft::encode);
    spec_id(&BOTH).into_iter().chain(events).collect()
}

pub(super) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

pub(super) fn utf16_z(text: &str) -> Vec<u8> {
    [utf16(text), vec![0, 0]].concat()
}

pub(super) fn variable(vendor: Guid, name: &str, data: &[u8]) -> Vec<u8> {
    let name = utf16(name);
    [
        vendor.0.as_slice(),
        &len64(name.len() / 2),
        &len64(data.len()),
        &name,
        data,
    ]
    .concat()
}

/// A certificate as far as a log goes: one SEQUENCE of `len` bytes.
pub(super) fn certificate(len: u16) -> Vec<u8> {
    let [high, low] = len.to_be_bytes();
    [vec![0x30, 0x82, high, low], vec![0x5a; usize::from(len)]].concat()
}

pub(super) fn signature_list(kind: Guid, header: &[u8], signatures: &[&[u8]]) -> Vec<u8> {
    let size = signatures.first().map_or(48, |one| one.len());
    let signatures = signatures.concat();
    [
        kind.0.as_slice(),
        &len32(28 + header.len() + signatures.len()),
        &len32(header.len()),
        &len32(size),
        header,
        &signatures,
    ]
    .concat()
}

pub(super) const CERT_SHA256: Guid = Guid::new(0xc1c4_1626, 0x504c, 0x4092, 0xaca9_41f9_3693_4328);

/// A whole boot: firmware, secure boot, GRUB, systemd-stub.
pub(super) fn boot() -> Vec<Draft> {
    let config = EventType::EV_EFI_VARIABLE_DRIVER_CONFIG;
    let entry = [[7; 16].as_slice(), &certificate(300)].concat();
    let database = |hash: u8| signature_list(CERT_SHA256, &[], &[&[hash; 48]]);
    let mut events = vec![
        Draft::no_action(0, b"StartupLocality\0\x03"),
        Draft::covered(0, EventType::EV_S_CRTM_VERSION, &utf16_z("1.2.3")),
        Draft::of(
            0,
            EventType::EV_EFI_PLATFORM_FIRMWARE_BLOB,
            b"blob",
            &[0; 16],
        ),
        Draft::covered(
            7,
            config,
            &variable(Guid::GLOBAL_VARIABLE, "SecureBoot", &[1]),
        ),
        Draft::covered(
            7,
            config,
            &variable(Guid::GLOBAL_VARIABLE, "PK", &database(1)),
        ),
        Draft::covered(
            7,
            config,
            &variable(Guid::SECURITY_DATABASE, "db", &database(2)),
        ),
        Draft::covered(
            7,
            config,
            &variable(Guid::SECURITY_DATABASE, "dbx", &database(3)),
        ),
        Draft::separator(7),
        Draft::of(
            1,
            EventType::EV_EFI_VARIABLE_BOOT,
            &[0; 4],
            &variable(Guid::GLOBAL_VARIABLE, "BootOrder", &[0; 4]),
        ),
        Draft::covered(
            4,
            EventType::EV_EFI_ACTION,
            b"Calling EFI Application from Boot Option",
        ),
    ];
    events.extend((0..7).map(Draft::separator));
    events.extend([
        Draft::covered(
            7,
            EventType::EV_EFI_VARIABLE_AUTHORITY,
            &variable(Guid::SECURITY_DATABASE, "db", &entry),
        ),
        Draft::of(
            4,
            EventType::EV_EFI_BOOT_SERVICES_APPLICATION,
            b"shim",
            &[0; 32],
        ),
        Draft::of(14, EventType::EV_IPL, b"MokList contents", b"MokList\0"),
        Draft::of(
            8,
            EventType::EV_IPL,
            b"set default=0",
            b"grub_cmd: set default=0\0",
        ),
        Draft::of(
            8,
            EventType::EV_IPL,
            b"/vmlinuz ro\0",
            b"grub_kernel_cmdline /vmlinuz ro\0",
        ),
        Draft::of(9, EventType::EV_IPL, b"kernel", b"/vmlinuz\0"),
        Draft::of(11, EventType::EV_IPL, b".linux\0", &utf16_z(".linux")),
        Draft::of(11, EventType::EV_IPL, b"a kernel", &utf16_z(".linux")),
        Draft::covered(12, EventType::EV_IPL, &utf16_z("ro quiet")),
        Draft::covered(
            5,
            EventType::EV_EFI_ACTION,
            b"Exit Boot Services Invocation",
        ),
        Draft::covered(
            5,
            EventType::EV_EFI_ACTION,
            b"Exit Boot Services Returned with Success",
        ),
    ]);
    events
}

pub(super) fn refused(bytes: &[u8]) -> (usize, &'static str, Cause) {
    let error = BootLog::parse(bytes).unwrap_err();
    (error.event, error.field, error.cause)
}

/// What is proven, without where.
pub(super) fn proven(log: &BootLog<'_>) -> Vec<String> {
    log.facts(SHA256)
        .filter(|fact| fact.proven)
        .map(|fact| format!("{} {:?}", fact.event.pcr(), fact.value))
        .collect()
}

pub(super) fn codes(events: &[Draft]) -> Vec<&'static str> {
    let bytes = log(events);
    let findings = BootLog::parse(&bytes).unwrap().findings(SHA256);
    findings.iter().map(Finding::code).collect()
}
