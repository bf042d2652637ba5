//! UEFI structures that firmware measures, as bytes (UEFI Specification 2.10;
//! TCG PC Client Platform Firmware Profile §10.2.6 on). Little-endian.

use super::event::len32;

/// A GUID in its mixed-endian memory form.
pub(super) type Guid = [u8; 16];

/// `EFI_GLOBAL_VARIABLE`
pub(super) const GLOBAL_VARIABLE: Guid = guid(0x8be4_df61, 0x93ca, 0x11d2, 0xaa0d_00e0_9803_2b8c);
/// `EFI_IMAGE_SECURITY_DATABASE_GUID`: db and dbx
pub(super) const SECURITY_DATABASE: Guid = guid(0xd719_b2cb, 0x3d3a, 0x4596, 0xa3bc_dad0_0e67_656f);
/// `SHIM_LOCK_GUID`
pub(super) const SHIM_LOCK: Guid = guid(0x605d_ab50, 0xe046, 0x4300, 0xabb6_3dd8_10dd_8b23);
/// `EFI_CERT_X509_GUID`
const CERT_X509: Guid = guid(0xa5c0_59a1, 0x94e4, 0x4aa7, 0x87b5_ab15_5c2b_f072);
/// `EFI_CERT_SHA256_GUID`
const CERT_SHA256: Guid = guid(0xc1c4_1626, 0x504c, 0x4092, 0xaca9_41f9_3693_4328);
/// `SMBIOS3_TABLE_GUID`
const SMBIOS3_TABLE: Guid = guid(0xf2fd_1544, 0x9794, 0x4a2c, 0x992e_e5bb_cf20_e394);
/// EFI system partition, by partition type
const ESP_TYPE: Guid = guid(0xc12a_7328, 0xf81f, 0x11d2, 0xba4b_00a0_c93e_c93b);
/// Linux file system data, by partition type
const LINUX_TYPE: Guid = guid(0x0fc6_3daf, 0x8483, 0x4772, 0x8e79_3d69_d847_7de4);
/// Owner of the simulated platform's signatures
const OWNER: Guid = guid(0x6f1c_3a52, 0x0d7e, 0x4b19, 0x9c41_686f_6c64_6661);
const DISK: Guid = guid(0x3f5e_6a01, 0x7c2d, 0x4e8b, 0xa1d4_686f_6c64_0001);
const ESP: Guid = guid(0x3f5e_6a01, 0x7c2d, 0x4e8b, 0xa1d4_686f_6c64_0002);
const ROOT: Guid = guid(0x3f5e_6a01, 0x7c2d, 0x4e8b, 0xa1d4_686f_6c64_0003);

const ESP_FIRST_LBA: u64 = 2048;
const ESP_LAST_LBA: u64 = 1_050_623;
const LAST_USABLE_LBA: u64 = 31_116_254;

/// From the fields as they are written: `data1-data2-data3-data4`, the last
/// group being both of its dashed halves.
const fn guid(data1: u32, data2: u16, data3: u16, data4: u64) -> Guid {
    let [a, b, c, d] = data1.to_le_bytes();
    let [e, f] = data2.to_le_bytes();
    let [g, h] = data3.to_le_bytes();
    let [i, j, k, l, m, n, o, p] = data4.to_be_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

/// UTF-16 without a terminator.
fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// UTF-16 with a terminator, as firmware keeps strings.
pub(super) fn utf16_z(text: &str) -> Vec<u8> {
    [utf16(text), vec![0, 0]].concat()
}

/// `UEFI_VARIABLE_DATA`
pub(super) fn variable(vendor: Guid, name: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = vendor.to_vec();
    bytes.extend(len64(name.encode_utf16().count()));
    bytes.extend(len64(data.len()));
    bytes.extend(utf16(name));
    bytes.extend(data);
    bytes
}

/// `EFI_SIGNATURE_DATA` that holds a certificate.
pub(super) fn signature_data(certificate: &[u8]) -> Vec<u8> {
    [OWNER.as_slice(), certificate].concat()
}

/// `EFI_SIGNATURE_LIST` of one X.509 certificate.
pub(super) fn certificate_list(certificate: &[u8]) -> Vec<u8> {
    signature_list(CERT_X509, &[signature_data(certificate)])
}

/// `EFI_SIGNATURE_LIST` of image hashes: dbx.
pub(super) fn hash_list(hashes: &[[u8; 32]]) -> Vec<u8> {
    let entries: Vec<_> = hashes.iter().map(|hash| signature_data(hash)).collect();
    signature_list(CERT_SHA256, &entries)
}

/// All entries of one list have one size.
fn signature_list(signature_type: Guid, entries: &[Vec<u8>]) -> Vec<u8> {
    const LIST_HEADER: usize = 16 + 3 * 4;
    let entry_len = entries.first().map_or(0, Vec::len);
    let mut bytes = signature_type.to_vec();
    bytes.extend(len32(LIST_HEADER + entries.len() * entry_len));
    bytes.extend(len32(0)); // SignatureHeaderSize
    bytes.extend(len32(entry_len));
    bytes.extend(entries.concat());
    bytes
}

/// `UEFI_IMAGE_LOAD_EVENT` of an image that was loaded to `address`.
pub(super) fn image_load(address: u64, length: usize, device_path: &[u8]) -> Vec<u8> {
    let mut bytes = address.to_le_bytes().to_vec();
    bytes.extend(len64(length));
    bytes.extend(0u64.to_le_bytes()); // ImageLinkTimeAddress
    bytes.extend(len64(device_path.len()));
    bytes.extend(device_path);
    bytes
}

/// Device path of a file on the EFI system partition: `HD(…)/File(…)`.
pub(super) fn esp_file(path: &str) -> Vec<u8> {
    let mut partition = 1u32.to_le_bytes().to_vec();
    partition.extend(ESP_FIRST_LBA.to_le_bytes());
    partition.extend((ESP_LAST_LBA + 1 - ESP_FIRST_LBA).to_le_bytes());
    partition.extend(ESP);
    partition.extend([2, 2]); // GPT; signature is a GUID
    [
        device_node(4, 1, &partition),
        device_node(4, 4, &utf16_z(path)),
        end_of_path(),
    ]
    .concat()
}

/// Device path of a card's option ROM: `PciRoot(0)/Pci(2,0)/Offset(…)`.
pub(super) fn option_rom() -> Vec<u8> {
    let root = [0xd0, 0x41, 0x03, 0x0a, 0, 0, 0, 0]; // ACPI PNP0A03, UID 0
    let offsets = [
        [0; 4].as_slice(),
        &0u64.to_le_bytes(),
        &0xfdffu64.to_le_bytes(),
    ]
    .concat();
    [
        device_node(2, 1, &root),
        device_node(1, 1, &[0, 2]),
        device_node(4, 8, &offsets),
        end_of_path(),
    ]
    .concat()
}

fn device_node(node_type: u8, subtype: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len() + 4).expect("the simulator's device paths are short");
    [&[node_type, subtype], len.to_le_bytes().as_slice(), body].concat()
}

fn end_of_path() -> Vec<u8> {
    vec![0x7f, 0xff, 4, 0]
}

/// `EFI_LOAD_OPTION`: the value of a `Boot####` variable.
pub(super) fn load_option(description: &str, device_path: &[u8]) -> Vec<u8> {
    let len = u16::try_from(device_path.len()).expect("the simulator's device paths are short");
    let mut bytes = 1u32.to_le_bytes().to_vec(); // LOAD_OPTION_ACTIVE
    bytes.extend(len.to_le_bytes());
    bytes.extend(utf16_z(description));
    bytes.extend(device_path);
    bytes
}

/// `UEFI_PLATFORM_FIRMWARE_BLOB`
pub(super) fn firmware_blob(base: u64, length: u64) -> Vec<u8> {
    [base.to_le_bytes(), length.to_le_bytes()].concat()
}

/// `UEFI_HANDOFF_TABLE_POINTERS` to the SMBIOS table.
pub(super) fn smbios_pointer(address: u64) -> Vec<u8> {
    [len64(1).as_slice(), &SMBIOS3_TABLE, &address.to_le_bytes()].concat()
}

/// `TCG_PCClientTaggedEvent`
pub(super) fn tagged(id: u32, data: &[u8]) -> Vec<u8> {
    [id.to_le_bytes().as_slice(), &len32(data.len()), data].concat()
}

/// `UEFI_GPT_DATA`: the partition table's header and its used entries.
pub(super) fn gpt() -> Vec<u8> {
    let entries = [
        partition_entry(
            ESP_TYPE,
            ESP,
            ESP_FIRST_LBA,
            ESP_LAST_LBA,
            "EFI System Partition",
        ),
        partition_entry(LINUX_TYPE, ROOT, ESP_LAST_LBA + 1, LAST_USABLE_LBA, "root"),
    ];
    // The disk's table has 128 entries and its CRC is over them all.
    let mut table = entries.concat();
    table.resize(128 * 128, 0);
    let header = |header_crc: u32| {
        let mut bytes = b"EFI PART".to_vec();
        bytes.extend(0x0001_0000u32.to_le_bytes());
        bytes.extend(92u32.to_le_bytes());
        bytes.extend(header_crc.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        for lba in [1, LAST_USABLE_LBA + 33, 34, LAST_USABLE_LBA] {
            bytes.extend(lba.to_le_bytes());
        }
        bytes.extend(DISK);
        bytes.extend(2u64.to_le_bytes()); // PartitionEntryLBA
        bytes.extend(128u32.to_le_bytes());
        bytes.extend(128u32.to_le_bytes());
        bytes.extend(crc32(&table).to_le_bytes());
        bytes
    };
    // The header's CRC is made with its own field at zero.
    let header = header(crc32(&header(0)));
    [header, len64(entries.len()).to_vec(), entries.concat()].concat()
}

fn partition_entry(kind: Guid, unique: Guid, first: u64, last: u64, name: &str) -> Vec<u8> {
    let mut bytes = [kind, unique].concat();
    bytes.extend(first.to_le_bytes());
    bytes.extend(last.to_le_bytes());
    bytes.extend(0u64.to_le_bytes()); // Attributes
    bytes.extend(utf16(name));
    bytes.resize(128, 0);
    bytes
}

/// CRC-32 of IEEE 802.3, as the GPT uses it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    })
}

fn len64(len: usize) -> [u8; 8] {
    u64::try_from(len)
        .expect("usize has at most 64 bits")
        .to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guid_is_mixed_endian() {
        assert_eq!(
            hex::encode(GLOBAL_VARIABLE),
            "61dfe48bca93d211aa0d00e098032b8c"
        );
    }

    #[test]
    fn crc_known_answer() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn signature_lists_declare_their_true_sizes() {
        let list = hash_list(&[[1; 32], [2; 32]]);
        assert_eq!(list.len(), 28 + 2 * 48);
        assert_eq!(list[16..20], 124u32.to_le_bytes());
        assert_eq!(list[24..28], 48u32.to_le_bytes());
    }
}
