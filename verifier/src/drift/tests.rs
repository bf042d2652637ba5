//! A golden log and one with something changed, event by event.

use proptest::prelude::*;

use super::*;

const SHA256: HashAlg = HashAlg::Sha256;
const S_CRTM_VERSION: u32 = 0x08;
const SEPARATOR: u32 = 0x04;
const IPL: u32 = 0x0d;
const VARIABLE: u32 = 0x8000_0001;
const GPT: u32 = 0x8000_0006;
const AUTHORITY: u32 = 0x8000_00e0;

/// A crypto-agile log of one bank.
#[derive(Clone)]
struct Log(Vec<(u32, u32, Vec<u8>, Vec<u8>)>);

impl Log {
    /// An event whose digest covers its data.
    fn data(&mut self, pcr: u32, kind: u32, data: &[u8]) {
        self.other(pcr, kind, data, data);
    }

    /// An event whose digest covers something else.
    fn other(&mut self, pcr: u32, kind: u32, measured: &[u8], data: &[u8]) {
        self.0.push((pcr, kind, measured.to_vec(), data.to_vec()));
    }

    fn encode(&self) -> Vec<u8> {
        let spec_id = [
            &b"Spec ID Event03\0"[..],
            &[0; 4],
            &[0, 2, 0, 2],
            &1_u32.to_le_bytes(),
            &0x000b_u16.to_le_bytes(),
            &32_u16.to_le_bytes(),
            &[0],
        ]
        .concat();
        let mut log = [0_u32.to_le_bytes(), 3_u32.to_le_bytes()].concat();
        log.extend([0; 20]);
        log.extend(u32::try_from(spec_id.len()).unwrap().to_le_bytes());
        log.extend(spec_id);
        for (pcr, kind, measured, data) in &self.0 {
            log.extend(pcr.to_le_bytes());
            log.extend(kind.to_le_bytes());
            log.extend(1_u32.to_le_bytes());
            log.extend(0x000b_u16.to_le_bytes());
            log.extend(SHA256.digest(&[measured]).as_bytes());
            log.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
            log.extend(data);
        }
        log
    }

    fn pcrs(&self) -> BTreeMap<u32, Vec<u8>> {
        let bytes = self.encode();
        let replay = BootLog::parse(&bytes).unwrap().replay(SHA256);
        replay
            .iter()
            .map(|(index, value)| (index, value.as_bytes().to_vec()))
            .collect()
    }
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn variable(guid: &str, name: &str, data: &[u8]) -> Vec<u8> {
    let name = utf16(name);
    let mut bytes = hex::decode(guid).unwrap();
    bytes.extend(u64::try_from(name.len() / 2).unwrap().to_le_bytes());
    bytes.extend(u64::try_from(data.len()).unwrap().to_le_bytes());
    [bytes, name, data.to_vec()].concat()
}

/// EFI_GLOBAL_VARIABLE and EFI_IMAGE_SECURITY_DATABASE_GUID in memory form.
const GLOBAL: &str = "61dfe48bca93d211aa0d00e098032b8c";
const DATABASE: &str = "cbb219d73a3d9645a3bcdad00e67656f";

/// An EFI_SIGNATURE_LIST of SHA-256 hashes.
fn hashes(entries: std::ops::Range<u8>) -> Vec<u8> {
    let count = u32::try_from(entries.len()).unwrap();
    let mut list = hex::decode("2616c4c14c509240aca941f936934328").unwrap();
    for size in [28 + 48 * count, 0, 48] {
        list.extend(size.to_le_bytes());
    }
    for entry in entries {
        list.extend([0; 16]);
        list.extend([entry; 32]);
    }
    list
}

struct Image {
    firmware: &'static str,
    secure_boot: u8,
    dbx: u8,
    kernel: &'static str,
    options: &'static str,
}

const GOLDEN: Image = Image {
    firmware: "Firmware 2.7",
    secure_boot: 1,
    dbx: 3,
    kernel: "6.1.0-31-amd64",
    options: "root=/dev/sda1 ro",
};

impl Image {
    fn log(&self) -> Log {
        let mut log = Log(Vec::new());
        log.data(0, S_CRTM_VERSION, &utf16(&format!("{}\0", self.firmware)));
        let secure_boot = variable(GLOBAL, "SecureBoot", &[self.secure_boot]);
        log.data(7, VARIABLE, &secure_boot);
        log.data(
            7,
            VARIABLE,
            &variable(DATABASE, "dbx", &hashes(0..self.dbx)),
        );
        for pcr in [0, 7] {
            log.data(pcr, SEPARATOR, &[0; 4]);
        }
        let kernel = format!("/boot/vmlinuz-{}", self.kernel);
        let line = format!("{kernel} {}", self.options);
        let command = format!("linux {line}");
        log.other(
            8,
            IPL,
            command.as_bytes(),
            format!("grub_cmd: {command}\0").as_bytes(),
        );
        log.other(
            8,
            IPL,
            line.as_bytes(),
            format!("kernel_cmdline: {line}\0").as_bytes(),
        );
        log.other(9, IPL, kernel.as_bytes(), format!("{kernel}\0").as_bytes());
        log
    }
}

fn accepting(pcrs: &BTreeMap<u32, Vec<u8>>) -> ReferenceValues {
    let now = crate::time::UnixTime::from_seconds(0);
    ReferenceValues::changed(
        None,
        SHA256,
        pcrs,
        crate::reference_values::Change::Add,
        now,
    )
    .unwrap()
}

/// From golden to `log`, which the quote is of.
fn drift(log: &Log) -> Drift {
    quoting(&log.pcrs(), Some(&log.encode()))
}

fn quoting(quoted: &BTreeMap<u32, Vec<u8>>, log: Option<&[u8]>) -> Drift {
    let golden = GOLDEN.log();
    Drift::of(&Boots {
        bank: SHA256,
        quoted,
        log,
        accepted: Some(&accepting(&golden.pcrs())),
        golden: Some(&golden.encode()),
    })
}

#[test]
fn what_is_accepted_has_no_drift() {
    assert!(drift(&GOLDEN.log()).is_empty());
    assert_eq!(drift(&GOLDEN.log()).lines(), [""; 0]);
}

/// PCR 10 is the IMA log's to tell, unless the owner gave it a value.
#[test]
fn pcr_10_drifts_only_where_it_has_a_value() {
    let log = GOLDEN.log();
    let mut quoted = log.pcrs();
    quoted.insert(10, vec![7; 32]);
    assert!(quoting(&quoted, Some(&log.encode())).is_empty());
    let mut accepted = quoted.clone();
    accepted.insert(10, vec![8; 32]);
    let drift = Drift::of(&Boots {
        bank: SHA256,
        quoted: &quoted,
        log: None,
        accepted: Some(&accepting(&accepted)),
        golden: None,
    });
    assert_eq!(
        drift.pcrs.iter().map(|pcr| pcr.index).collect::<Vec<_>>(),
        [10]
    );
}

#[test]
fn each_change_has_its_words() {
    let cases = [
        (
            Image {
                firmware: "Firmware 2.8",
                ..GOLDEN
            },
            vec!["firmware version changed from Firmware 2.7 to Firmware 2.8 [proven]"],
        ),
        (
            Image {
                secure_boot: 0,
                ..GOLDEN
            },
            vec!["Secure Boot was switched off [proven]"],
        ),
        (
            Image { dbx: 6, ..GOLDEN },
            vec!["dbx grew by 3 entries (3 → 6) [proven]"],
        ),
        (
            Image { dbx: 2, ..GOLDEN },
            vec!["dbx lost 1 entry (3 → 2) [proven]"],
        ),
        (
            Image {
                kernel: "6.1.0-32-amd64",
                ..GOLDEN
            },
            vec![
                "kernel changed from 6.1.0-31-amd64 to 6.1.0-32-amd64 [claimed]",
                "kernel command line: \"/boot/vmlinuz-6.1.0-31-amd64 root=/dev/sda1 ro\" became \
                 \"/boot/vmlinuz-6.1.0-32-amd64 root=/dev/sda1 ro\" [proven]",
                "boot loader commands changed with the kernel, its command line or its initrd [proven]",
            ],
        ),
        (
            Image {
                options: "init=/bin/sh",
                ..GOLDEN
            },
            vec![
                "kernel command line: \"/boot/vmlinuz-6.1.0-31-amd64 root=/dev/sda1 ro\" became \
                 \"/boot/vmlinuz-6.1.0-31-amd64 init=/bin/sh\" [proven]",
                "boot loader commands changed with the kernel, its command line or its initrd [proven]",
            ],
        ),
    ];
    for (image, lines) in cases {
        assert_eq!(drift(&image.log()).lines(), lines);
    }
}

#[test]
fn the_gravest_comes_first() {
    let all = Image {
        firmware: "F",
        secure_boot: 0,
        dbx: 4,
        kernel: "7",
        options: "x",
    };
    let drift = drift(&all.log());
    let first: Vec<_> = drift
        .changes
        .iter()
        .map(|c| c.text.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        first,
        ["Secure", "dbx", "firmware", "kernel", "kernel", "boot"]
    );
    let pcrs: Vec<_> = drift
        .pcrs
        .iter()
        .map(|pcr| (pcr.index, pcr.silent))
        .collect();
    assert_eq!(pcrs, [(0, None), (7, None), (8, None), (9, None)]);
}

#[test]
fn content_under_the_same_name_is_told() {
    let mut log = GOLDEN.log();
    log.0.last_mut().unwrap().2 = b"trojan".to_vec();
    assert_eq!(
        drift(&log).lines(),
        ["kernel 6.1.0-31-amd64 has other content under the same name [claimed]"]
    );
}

#[test]
fn what_is_new_and_what_is_gone_is_told() {
    let mut log = GOLDEN.log();
    log.data(7, AUTHORITY, &variable(DATABASE, "db", &[9; 40]));
    log.other(9, IPL, b"x", b"/boot/extra.cfg\0");
    let lines = drift(&log).lines();
    assert!(
        lines.contains(&"file /boot/extra.cfg is new [claimed]".to_owned()),
        "{lines:?}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("authority db is new")),
        "{lines:?}"
    );
    let mut log = GOLDEN.log();
    log.0.pop();
    // A PCR that is not extended is not replayed: it has no quoted value here.
    log.other(9, IPL, b"y", b"/boot/other.cfg\0");
    let lines = drift(&log).lines();
    assert_eq!(
        lines,
        [
            "kernel 6.1.0-31-amd64 is gone [claimed]",
            "file /boot/other.cfg is new [claimed]"
        ]
    );
}

#[test]
fn a_log_that_is_not_of_the_quote_says_nothing() {
    // The gateway booted something else, and sends the golden log.
    let mut quoted = GOLDEN.log().pcrs();
    quoted.insert(9, vec![0x66; 32]);
    let golden = GOLDEN.log().encode();
    assert_eq!(
        quoting(&quoted, Some(&golden)).lines(),
        [
            "PCR 9 (files that the boot loader read: kernel, initrd) changed and the log does not \
             say why (it does not replay to the quoted value)"
        ]
    );
    // Or a log that tells a nicer story than the quote.
    let mut nicer = Image {
        kernel: "6.1.0-32-amd64",
        ..GOLDEN
    }
    .log();
    nicer.other(9, IPL, b"z", b"harmless\0");
    let lines = quoting(&quoted, Some(&nicer.encode())).lines();
    assert!(
        !lines.iter().any(|line| line.contains("harmless")),
        "{lines:?}"
    );
}

#[test]
fn why_there_are_no_words_is_said() {
    let log = Image { dbx: 4, ..GOLDEN }.log();
    let (quoted, bytes) = (log.pcrs(), log.encode());
    let silent = |drift: Drift| drift.pcrs.first().unwrap().silent;
    assert_eq!(silent(quoting(&quoted, None)), Some(Silence::NoLog));
    assert_eq!(
        silent(quoting(&quoted, Some(b"x"))),
        Some(Silence::Unreadable)
    );
    let accepted = accepting(&GOLDEN.log().pcrs());
    let boots = Boots {
        bank: SHA256,
        quoted: &quoted,
        log: Some(&bytes),
        accepted: Some(&accepted),
        golden: None,
    };
    assert_eq!(silent(Drift::of(&boots)), Some(Silence::NoGolden));
    // The golden log is of a boot that is not accepted any more.
    let boots = Boots {
        golden: Some(&bytes),
        ..boots
    };
    assert_eq!(silent(Drift::of(&boots)), Some(Silence::Same));
    // Without values everything differs.
    let boots = Boots {
        accepted: None,
        ..boots
    };
    assert_eq!(Drift::of(&boots).pcrs.len(), quoted.len());
}

#[test]
fn a_golden_log_that_is_not_of_accepted_values_proves_nothing() {
    let log = Image { dbx: 4, ..GOLDEN }.log();
    let mut accepted = GOLDEN.log().pcrs();
    accepted.insert(7, vec![0x55; 32]);
    let drift = Drift::of(&Boots {
        bank: SHA256,
        quoted: &log.pcrs(),
        log: Some(&log.encode()),
        accepted: Some(&accepting(&accepted)),
        golden: Some(&GOLDEN.log().encode()),
    });
    assert_eq!(drift.lines(), ["dbx grew by 1 entry (3 → 4) [claimed]"]);
}

#[test]
fn relabelled_events_are_claims() {
    // The very digests of the changed log, under other types.
    let honest = Image {
        kernel: "6.1.0-32-amd64",
        ..GOLDEN
    }
    .log();
    let mut log = honest.clone();
    for event in log.0.iter_mut().filter(|event| event.0 == 9) {
        event.3 = b"/boot/vmlinuz-6.1.0-31-amd64\0".to_vec();
    }
    assert_eq!(log.pcrs(), honest.pcrs());
    let lines = drift(&log).lines();
    assert_eq!(
        lines.first().unwrap(),
        "kernel 6.1.0-31-amd64 has other content under the same name [claimed]"
    );
}

/// A12: a variable that is measured as before under a changed type is not
/// proven to be gone.
#[test]
fn adv_a12_what_is_relabelled_is_not_proven_to_be_gone() {
    let grown = Image { dbx: 5, ..GOLDEN }.log();
    let honest = drift(&grown).lines();
    assert!(
        honest
            .iter()
            .any(|line| line.contains("dbx grew") && line.contains("[proven")),
        "{honest:?}"
    );
    let mut log = grown.clone();
    let is_dbx = |data: &[u8]| data.get(32..38) == Some(b"d\0b\0x\0");
    let dbx = log.0.iter_mut().find(|event| is_dbx(&event.3));
    dbx.unwrap().1 = IPL;
    assert_eq!(log.pcrs(), grown.pcrs());
    let lines = drift(&log).lines();
    assert!(
        lines.contains(&"dbx is gone [claimed]".to_owned()),
        "{lines:?}"
    );
    // Where all of the PCR is proven, so is what is not there.
    let mut without = GOLDEN.log();
    without.0.retain(|event| !is_dbx(&event.3));
    let lines = drift(&without).lines();
    assert_eq!(lines, ["dbx is gone [proven]"]);
}

#[test]
fn adv_a27_words_of_devices_are_inert_and_cut() {
    let mut log = GOLDEN.log();
    let long = format!("/boot/\u{1b}[2J\u{202e}{}\0", "a".repeat(10_000));
    log.other(9, IPL, b"x", long.as_bytes());
    let lines = drift(&log).lines();
    let line = lines.first().unwrap();
    assert!(
        !line.chars().any(|c| c.is_control() || c == '\u{202e}'),
        "{line}"
    );
    assert!(line.chars().count() < 400, "{line}");
}

#[test]
fn a_log_of_many_changes_is_bounded() {
    let mut log = GOLDEN.log();
    for n in 0..7_000_u32 {
        let name = format!("/{n}");
        log.other(9, IPL, name.as_bytes(), name.as_bytes());
        log.data(5, GPT, &n.to_le_bytes());
    }
    let mut quoted = log.pcrs();
    let started = std::time::Instant::now();
    let drift = quoting(&quoted, Some(&log.encode()));
    assert_eq!(drift.changes.len(), MAX_CHANGES);
    assert!(drift.untold > 6_000);
    assert!(drift.lines().len() < MAX_CHANGES + 10);
    assert!(started.elapsed().as_secs() < 20, "linear");
    quoted.clear();
    assert!(quoting(&quoted, None).is_empty());
}

proptest! {
    /// Whatever a gateway sends: no panic, every PCR that is not accepted is
    /// told of, and nothing can fool a terminal.
    #[test]
    fn every_drifted_pcr_is_accounted_for(
        events in prop::collection::vec(
            (0..24_u32, prop::sample::select(vec![1, 4, 5, 8, 13, 0x8000_0001, 0x8000_0002,
                0x8000_0003, 0x8000_0006, 0x8000_0007, 0x8000_0008, 0x8000_00e0]),
             prop::collection::vec(any::<u8>(), 0..80)), 0..20),
        flip in any::<bool>(),
    ) {
        let mut log = GOLDEN.log();
        for (pcr, kind, data) in events {
            log.data(pcr, kind, &data);
        }
        let mut quoted = log.pcrs();
        if flip && let Some(value) = quoted.get_mut(&9) {
            value[0] ^= 1;
        }
        let drift = quoting(&quoted, Some(&log.encode()));
        for pcr in &drift.pcrs {
            let told = drift.changes.iter().any(|change| change.pcrs.contains(&pcr.index));
            prop_assert!(told != pcr.silent.is_some(), "PCR {}", pcr.index);
        }
        for line in drift.lines() {
            prop_assert!(!line.chars().any(char::is_control));
        }
    }
}
