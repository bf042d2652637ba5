//! UEFI structures with sizes that lie, and text that deceives.

use super::*;
use crate::boot_log::decode::{
    DevicePath, DevicePathNode, Label, MAX_DEVICE_PATH_NODES, NoAction, SignatureLists, Utf16,
    Variable,
};

/// GHSA-9r4w-jg96-92mv: a signature header that is not skipped is read as
/// signatures, and puts an attacker's hash into the list.
#[test]
fn a_signature_header_is_skipped() {
    let header = [[0xee; 16].as_slice(), &[0x66; 32]].concat();
    let list = signature_list(CERT_SHA256, &header, &[&[1; 48], &[2; 48]]);
    let lists = SignatureLists::parse(&list).unwrap();
    let data: Vec<_> = lists.iter().map(|one| one.data.to_vec()).collect();
    assert_eq!(data, [vec![1; 32], vec![2; 32]]);
}

#[test]
fn signature_lists_with_lying_sizes() {
    let good = signature_list(CERT_SHA256, &[], &[&[1; 48], &[2; 48]]);
    assert!(SignatureLists::parse(&good).is_ok());
    let with = |at: usize, value: u32| {
        let mut list = good.clone();
        list[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let flaw = SignatureLists::parse(&list).unwrap_err();
        (flaw.field, flaw.offset)
    };
    const LIST: &str = "EFI_SIGNATURE_LIST.SignatureListSize";
    const SIZE: &str = "EFI_SIGNATURE_LIST.SignatureSize";
    assert_eq!(with(16, 27), (LIST, 16));
    assert_eq!(with(16, 0), (LIST, 16));
    assert_eq!(with(16, u32::MAX), ("EFI_SIGNATURE_LIST.Signatures", 28));
    assert_eq!(with(16, 123).0, SIZE);
    assert_eq!(with(20, 97).0, "EFI_SIGNATURE_LIST.SignatureHeaderSize");
    assert_eq!(with(24, 0), (SIZE, 24));
    assert_eq!(with(24, 16), (SIZE, 24));
    assert_eq!(with(24, 96), (SIZE, 24));
    for len in 1..good.len() {
        assert!(SignatureLists::parse(&good[..len]).is_err(), "{len}");
    }
    assert_eq!(SignatureLists::parse(&[]).unwrap().iter().count(), 0);
}

#[test]
fn device_paths() {
    let node = |kind: u8, subtype: u8, body: &[u8]| {
        let len = u16::try_from(body.len() + 4).unwrap();
        [&[kind, subtype], len.to_le_bytes().as_slice(), body].concat()
    };
    let path = [
        node(2, 1, &[0xd0, 0x41, 3, 0x0a, 0, 0, 0, 0]),
        node(1, 1, &[0, 2]),
        node(4, 4, &utf16_z("\\EFI\\BOOT\\BOOTX64.EFI")),
        node(0x7f, 0xff, &[]),
    ]
    .concat();
    let parsed = DevicePath::parse(&path).unwrap();
    assert_eq!(
        parsed.to_string(),
        "PciRoot(0x0)/Pci(0x2,0x0)/\\EFI\\BOOT\\BOOTX64.EFI"
    );
    assert!(parsed.file().unwrap().is("\\EFI\\BOOT\\BOOTX64.EFI"));
    let after_end = [path.clone(), node(1, 1, &[0, 0])].concat();
    assert_eq!(
        DevicePath::parse(&after_end).unwrap_err().cause,
        Cause::TrailingBytes(6)
    );
    let deep = node(1, 1, &[0, 0]).repeat(MAX_DEVICE_PATH_NODES);
    assert!(DevicePath::parse(&deep).is_ok());
    let deeper = node(1, 1, &[0, 0]).repeat(MAX_DEVICE_PATH_NODES + 1);
    assert!(matches!(
        DevicePath::parse(&deeper).unwrap_err().cause,
        Cause::OverLimit { .. }
    ));
    let wrong = Cause::WrongLength {
        len: 3,
        expected: 4,
    };
    assert_eq!(DevicePath::parse(&[1, 1, 3, 0]).unwrap_err().cause, wrong);
    // A known node of another shape is kept as it is.
    let odd = node(1, 1, &[1, 2, 3]);
    let nodes: Vec<_> = DevicePath::parse(&odd).unwrap().nodes().collect();
    assert!(matches!(
        nodes[..],
        [DevicePathNode::Other { node_type: 1, .. }]
    ));
}

#[test]
fn what_devices_say_is_shown_inert() {
    let text = utf16_z("a\u{1b}[31m\u{202e}b\n");
    assert_eq!(
        Utf16::until_nul(&text).to_string(),
        "a\\u{1b}[31m\\u{202e}b\\u{a}"
    );
    let text = b"grub_cmd: \x1b]0;x\x07\xff";
    let Label::Narrow(text) = Label::of(text) else {
        panic!();
    };
    assert_eq!(text.to_string(), "grub_cmd: \\u{1b}]0;x\\u{7}\\xff");
    assert_eq!(
        Guid::GLOBAL_VARIABLE.to_string(),
        "8be4df61-93ca-11d2-aa0d-00e098032b8c"
    );
    assert_eq!(EventType(0x1234).to_string(), "0x00001234");
    assert_eq!(
        NoAction::of(b"StartupLocality\0\x03"),
        NoAction::StartupLocality(3)
    );
}

#[test]
fn load_options() {
    let file = [&[4, 4, 8, 0], utf16_z("x").as_slice()].concat();
    let path = [file.as_slice(), &[0x7f, 0xff, 4, 0]].concat();
    let paths = path.repeat(2);
    let [low, high] = u16::try_from(paths.len()).unwrap().to_le_bytes();
    let option = [
        &[1, 0, 0, 0, low, high],
        utf16_z("debian").as_slice(),
        &paths,
        b"quiet",
    ]
    .concat();
    let read = |name: &str, data: &[u8]| {
        let bytes = variable(Guid::GLOBAL_VARIABLE, name, data);
        let variable = Variable::parse(&bytes).unwrap();
        variable.load_option().map(|option| {
            option.map(|option| {
                let [description, path] = [
                    option.description.to_string(),
                    option.device_path.to_string(),
                ];
                (description, path, option.optional_data.to_vec())
            })
        })
    };
    let stated = ("debian".to_owned(), "x".to_owned(), b"quiet".to_vec());
    assert_eq!(read("Boot001F", &option), Some(Ok(stated)));
    for other in ["BootOrder", "Boot01", "Boot00001", "BootX001"] {
        assert_eq!(read(other, &option), None, "{other}");
    }
    for len in 0..option.len() - 5 {
        assert!(
            matches!(read("Boot0001", &option[..len]), Some(Err(_))),
            "{len}"
        );
    }
}
