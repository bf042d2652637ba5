//! The policies of the library over the simulated gateway's log, and over logs
//! of real machines.

use std::path::{Path, PathBuf};

use holdfast_proto::boot_log::BootLog;
use holdfast_proto::result::Tier;

use super::{
    super::Floor,
    boot_log::{Draft, GOLDEN, encode, facts_of, golden, tree},
    *,
};

const SECURE_BOOT: &str = include_str!("../../../policies/secure-boot.rego");
const MEASURED_BOOT: &str = include_str!("../../../policies/measured-boot.rego");
const HARDWARE_ONLY: &str = include_str!("../../../policies/hardware-only.rego");
const BANK: HashAlg = HashAlg::Sha256;

fn compile(source: &str) -> Policy {
    Policy::compile(source).unwrap()
}

fn with(source: &str, changes: &[(&str, &str)]) -> Policy {
    let mut text = source.to_owned();
    for (default, wanted) in changes {
        assert!(text.contains(default), "{default}");
        text = text.replace(default, wanted);
    }
    compile(&text)
}

/// A gateway that booted otherwise, and says so.
fn booted(change: impl FnOnce(&mut Vec<Draft>)) -> Facts {
    let mut events = golden();
    change(&mut events);
    let log = encode(&events);
    facts_of(&log, &log, &SELECTION)
}

fn cover(draft: &mut Draft) {
    draft.sha256 = BANK.digest(&[&draft.data]).as_bytes().to_vec();
}

fn at(events: &[Draft], what: impl Fn(&Draft) -> bool) -> usize {
    events.iter().position(what).unwrap()
}

/// GRUB's text in place of the kernel's command line.
fn command_line(line: &str) -> Facts {
    booted(|events| {
        let at = at(events, |draft| draft.data.starts_with(b"kernel_cmdline: "));
        events[at].data = [b"kernel_cmdline: ", line.as_bytes(), b"\0"].concat();
        events[at].sha256 = BANK.digest(&[line.as_bytes()]).as_bytes().to_vec();
    })
}

/// One more command of GRUB, before the kernel's command line.
fn grub_command(line: &str) -> Facts {
    booted(|events| {
        let at = at(events, |draft| draft.data.starts_with(b"kernel_cmdline: "));
        let mut command = events[at].clone();
        command.data = [b"grub_cmd: ", line.as_bytes(), b"\0"].concat();
        command.sha256 = BANK.digest(&[line.as_bytes()]).as_bytes().to_vec();
        events.insert(at, command);
    })
}

fn refused(policy: &Policy, facts: &Facts, code: &str) {
    let verdict = judge(policy, facts, None);
    assert_ne!(verdict.status, Tier::Affirming, "{code}");
    let codes = codes(&verdict);
    assert!(codes.contains(&code), "{code}: {:?}", verdict.reasons);
    assert!(!codes.contains(&"policy-error"), "{:?}", verdict.reasons);
}

#[test]
fn secure_boot_affirms_the_golden_boot() {
    let policy = compile(SECURE_BOOT);
    assert_eq!(policy.floor(), Floor::BootLog);
    let verdict = judge(&policy, &facts_of(GOLDEN, GOLDEN, &SELECTION), None);
    assert_eq!(
        (verdict.status, codes(&verdict)),
        (Tier::Affirming, vec![]),
        "{verdict:?}"
    );
}

#[test]
fn secure_boot_refuses_by_what_was_measured() {
    let policy = compile(SECURE_BOOT);
    let off = booted(|events| {
        let at = at(events, |draft| draft.pcr == 7);
        *events[at].data.last_mut().unwrap() = 0;
        cover(&mut events[at]);
    });
    refused(&policy, &off, "secure-boot-off");
    // Off, and the log says on.
    let mut events = golden();
    let first = at(&events, |draft| draft.pcr == 7);
    let mut data = events[first].data.clone();
    *data.last_mut().unwrap() = 0;
    events[first].sha256 = BANK.digest(&[&data]).as_bytes().to_vec();
    let log = encode(&events);
    let lying = facts_of(&log, &log, &SELECTION);
    refused(&policy, &lying, "secure-boot-off");
    refused(&policy, &lying, "secure-boot-unproven");
    // Not quoted, so not known.
    let unquoted = facts_of(GOLDEN, GOLDEN, &[0, 1, 2, 3, 4, 5, 6, 8, 9, 14]);
    refused(&policy, &unquoted, "secure-boot-off");

    let relabelled = booted(|events| {
        let at = at(events, |draft| draft.event_type == 0x8000_00E0);
        events[at].event_type = 5;
    });
    refused(&policy, &relabelled, "secure-boot-unproven");
    let insecure = booted(|events| {
        let sbat = at(events, |draft| {
            draft.event_type == 0x8000_00E0 && draft.data.len() > 200
        });
        let mut state = events[sbat].clone();
        let name: Vec<u8> = "MokSBState"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        state.data = [
            &state.data[..16],
            &10u64.to_le_bytes(),
            &1u64.to_le_bytes(),
            &name,
            &[1],
        ]
        .concat();
        cover(&mut state);
        events.insert(sbat + 1, state);
    });
    refused(&policy, &insecure, "shim-validation-off");
    let empty_dbx = booted(|events| {
        let at = at(events, |draft| {
            draft.pcr == 7 && draft.data.get(32..38) == Some(b"d\0b\0x\0")
        });
        let data = &mut events[at].data;
        data.truncate(38);
        data[24..32].fill(0);
        cover(&mut events[at]);
    });
    refused(&policy, &empty_dbx, "dbx-too-old");
    let debug = booted(|events| {
        let mut action = events[at(events, |draft| draft.event_type == 0x8000_0007)].clone();
        action.pcr = 7;
        action.data = b"UEFI Debug Mode".to_vec();
        cover(&mut action);
        events.insert(0, action);
    });
    refused(&policy, &debug, "firmware-weakened");
    let open = booted(|events| {
        let at = at(events, |draft| draft.pcr == 4 && draft.event_type == 4);
        drop(events.remove(at));
    });
    refused(&policy, &open, "separator-not-proven");
    // No log at all.
    let mut none = facts_of(GOLDEN, GOLDEN, &SELECTION);
    none.boot_log = None;
    refused(&policy, &none, "boot-log-missing");
}

#[test]
fn secure_boot_takes_the_owners_lists() {
    let good = facts_of(GOLDEN, GOLDEN, &SELECTION);
    let other = (
        "accepted_authorities := []",
        r#"accepted_authorities := ["00"]"#,
    );
    refused(
        &with(SECURE_BOOT, &[other]),
        &good,
        "authority-not-accepted",
    );
    let tree = tree(&good);
    let used: Vec<&str> = tree["secure_boot"]["authorities"]
        .as_array()
        .unwrap()
        .iter()
        .map(|authority| authority["sha256"].as_str().unwrap())
        .collect();
    let listed = format!("accepted_authorities := {used:?}");
    let policy = with(SECURE_BOOT, &[("accepted_authorities := []", &listed)]);
    assert_eq!(judge(&policy, &good, None).status, Tier::Affirming);
    let keys = (r#""db": []}"#, r#""db": ["00"]}"#);
    refused(
        &with(SECURE_BOOT, &[keys]),
        &good,
        "secure-boot-keys-changed",
    );
    let more = ("least_dbx_entries := 1", "least_dbx_entries := 4");
    refused(&with(SECURE_BOOT, &[more]), &good, "dbx-too-old");
}

/// C40: words that open a shell, however they are written and whatever the
/// event is called.
#[test]
fn adv_c40_secure_boot_refuses_dangerous_command_lines() {
    let policy = compile(SECURE_BOOT);
    let fine = "/boot/vmlinuz root=/dev/sda1 ro quiet console=ttyS0,115200n8";
    assert_eq!(
        judge(&policy, &command_line(fine), None).status,
        Tier::Affirming
    );
    for word in [
        "init=/bin/sh",
        "\"init=/bin/sh\"",
        "init=\"/bin/sh\"",
        "rdinit=/bin/sh",
        "rd.break",
        "rd.break=pre-mount",
        "systemd.unit=emergency.target",
        "rd.systemd.unit=rescue.target",
        "systemd.debug-shell",
        "systemd.debug_shell=1",
        "single",
        "emergency",
        "S",
        "1",
        "break=premount",
        "rd.shell",
        "rd.shell=1",
        "rdshell",
        "rdbreak",
        "rd.emergency",
        "rd.rescue",
        "systemd.break=pre-basic",
        "rd.systemd.break=pre-udev",
        "systemd.crash-shell",
        "systemd.run=/x",
        "selinux=0",
        "selinux=00",
        "enforcing=off",
        "apparmor=n",
        "apparmor.enabled=N",
        "security=x",
        "lockdown=none",
        "systemd.setenv=SYSTEMD_SULOGIN_FORCE=1",
        "systemd.set_credential=passwd.plaintext-password.root:x",
        "systemd.mount-extra=/dev/sdb1:/usr",
        "rd.systemd.pull=raw,machine,verify=no:x:http://192.0.2.1/x",
        "initcall_blacklist=ima_init",
        "x=\"y rd.break\"",
    ] {
        let facts = command_line(&format!("/boot/vmlinuz root=/dev/sda1 {word} ro"));
        refused(&policy, &facts, "command-line-dangerous");
        let reasons = judge(&policy, &facts, None).reasons;
        assert!(reasons[0].detail.contains("PCR 8"), "{reasons:?}");
    }
    for word in [
        "rd.shell=0",
        "systemd.debug-shell=no",
        "selinux=1",
        "security=apparmor",
    ] {
        let facts = command_line(&format!("/boot/vmlinuz root=/dev/sda1 {word} ro"));
        assert_eq!(
            judge(&policy, &facts, None).status,
            Tier::Affirming,
            "{word}"
        );
    }
    // Started by other commands than `linux`, or from a list of blocks; and the
    // log calls all of them commands of GRUB.
    for line in [
        "chainloader /boot/vmlinuz init=/bin/sh",
        "chainloader --force (hd0,gpt2)/vmlinuz single",
        "legacy_kernel 0+9000 init=/bin/sh",
        "0+9000 root=/dev/sda1 init=/bin/sh",
    ] {
        let facts = grub_command(line);
        refused(&policy, &facts, "command-line-dangerous");
        refused(&measured_boot(), &facts, "command-line-not-accepted");
    }
    let harmless = grub_command("set default=single 1 init=/bin/sh");
    assert_eq!(judge(&policy, &harmless, None).status, Tier::Affirming);
    // Called a command of GRUB.
    let relabelled = booted(|events| {
        let at = at(events, |draft| draft.data.starts_with(b"kernel_cmdline: "));
        events[at].data = b"grub_cmd: /boot/vmlinuz init=/bin/sh\0".to_vec();
        events[at].sha256 = BANK
            .digest(&[b"/boot/vmlinuz init=/bin/sh"])
            .as_bytes()
            .to_vec();
    });
    refused(&policy, &relabelled, "command-line-dangerous");
    // Hidden behind another text.
    let hidden = booted(|events| {
        let at = at(events, |draft| draft.data.starts_with(b"kernel_cmdline: "));
        events[at].sha256 = BANK
            .digest(&[b"/boot/vmlinuz init=/bin/sh"])
            .as_bytes()
            .to_vec();
    });
    refused(&policy, &hidden, "command-line-hidden");
}

/// C40: a PCR 8 that nobody extended tells no command line; nor does one with
/// a NUL in its only text.
#[test]
fn adv_c40_boot_policies_need_a_command_line() {
    let empty = booted(|events| events.retain(|draft| draft.pcr != 8));
    let only_commands = booted(|events| {
        events.retain(|draft| !draft.data.starts_with(b"kernel_cmdline: "));
        let started = |draft: &Draft| draft.pcr == 8 && draft.data.starts_with(b"grub_cmd: linux");
        events.retain(|draft| !started(draft));
    });
    for facts in [empty, only_commands] {
        refused(&compile(SECURE_BOOT), &facts, "command-line-not-measured");
        refused(&measured_boot(), &facts, "command-line-not-measured");
        let unjudged = with(
            SECURE_BOOT,
            &[("needed_pcrs := [8]", "needed_pcrs := [12, 8]")],
        );
        refused(&unjudged, &facts, "command-line-not-measured");
        let unjudged = with(SECURE_BOOT, &[("needed_pcrs := [8]", "needed_pcrs := []")]);
        assert_eq!(judge(&unjudged, &facts, None).status, Tier::Affirming);
    }
    let cut = command_line("/boot/vmlinuz ro\0init=/bin/sh");
    refused(&compile(SECURE_BOOT), &cut, "command-line-hidden");
    refused(&measured_boot(), &cut, "command-line-hidden");
}

/// A12: a hash that lets an image run is measured bare, and
/// what is neither hash nor certificate lets one run all the same.
#[test]
fn adv_a12_every_authority_is_held_against_the_lists() {
    let let_run_by = |name: &str, value: &[u8]| {
        booted(|events| {
            let sbat = at(events, |draft| {
                draft.event_type == 0x8000_00E0 && draft.data.len() > 200
            });
            let mut entry = events[sbat].clone();
            let utf16: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
            entry.data = [
                &entry.data[..16],
                &u64::try_from(name.len()).unwrap().to_le_bytes(),
                &u64::try_from(value.len()).unwrap().to_le_bytes(),
                &utf16,
                value,
            ]
            .concat();
            cover(&mut entry);
            events.insert(sbat + 1, entry);
        })
    };
    let hash = let_run_by("MokList", &[9; 32]);
    let tree = tree(&hash);
    let authorities = tree["secure_boot"]["authorities"].as_array().unwrap();
    assert!(
        authorities
            .iter()
            .any(|one| one["kind"] == "image-hash" && one["sha256"] == hex::encode([9; 32])),
        "{authorities:?}"
    );
    let listed = with(
        SECURE_BOOT,
        &[(
            "accepted_authorities := []",
            r#"accepted_authorities := ["00"]"#,
        )],
    );
    refused(&listed, &hash, "authority-not-accepted");
    refused(&measured_boot(), &hash, "authority-not-accepted");
    for value in [[9; 20].as_slice(), &[9; 33]] {
        let other = let_run_by("db", value);
        refused(&compile(SECURE_BOOT), &other, "authority-not-accepted");
        refused(&measured_boot(), &other, "authority-not-accepted");
    }
}

/// What is not quoted, a log can leave out: neither policy takes that for
/// nothing having been measured.
#[test]
fn adv_c17_boot_policies_need_their_pcrs_quoted() {
    let without = |missing: &[u32]| {
        let pcrs: Vec<u32> = SELECTION
            .into_iter()
            .filter(|pcr| !missing.contains(pcr))
            .collect();
        let mut events = golden();
        events.retain(|draft| !missing.contains(&draft.pcr));
        facts_of(GOLDEN, &encode(&events), &pcrs)
    };
    refused(&compile(SECURE_BOOT), &without(&[8]), "claim-not-measured");
    for pcr in [0, 2, 4, 8, 9] {
        refused(&measured_boot(), &without(&[pcr]), "claim-not-measured");
    }
}

/// Every list filled with what the golden boot measured.
fn measured_boot() -> Policy {
    let tree = tree(&facts_of(GOLDEN, GOLDEN, &SELECTION));
    let digests = |pcrs: &[u32]| {
        let events = tree["events"].as_array().unwrap().iter();
        let of: Vec<&str> = events
            .filter(|event| pcrs.iter().any(|pcr| event["pcr"] == *pcr))
            .map(|event| event["digest"].as_str().unwrap())
            .collect();
        format!("{of:?}")
    };
    let secure_boot = &tree["secure_boot"];
    let used: Vec<&str> = secure_boot["authorities"]
        .as_array()
        .unwrap()
        .iter()
        .map(|authority| authority["sha256"].as_str().unwrap())
        .collect();
    let database = |name: &str| format!("[{}]", secure_boot["databases"][name]["sha256"]);
    let (pk, kek, db) = (database("PK"), database("KEK"), database("db"));
    with(
        MEASURED_BOOT,
        &[
            (
                "accepted_firmware := []",
                r#"accepted_firmware := ["Holdfast Simulated UEFI 2.7"]"#,
            ),
            (
                "accepted_images := []",
                &format!("accepted_images := {}", digests(&[0, 2, 4])),
            ),
            (
                "accepted_authorities := []",
                &format!("accepted_authorities := {used:?}"),
            ),
            (
                r#"{"PK": [], "KEK": [], "db": []}"#,
                &format!(r#"{{"PK": {pk}, "KEK": {kek}, "db": {db}}}"#),
            ),
            (
                "accepted_files := []",
                &format!("accepted_files := {}", digests(&[9])),
            ),
            (
                "accepted_words := []",
                r#"accepted_words := ["root=/dev/mapper/gateway-root", "ro", "quiet", "lockdown="]"#,
            ),
        ],
    )
}

#[test]
fn measured_boot_accepts_nothing_by_default_and_says_what_to_add() {
    let policy = compile(MEASURED_BOOT);
    let good = facts_of(GOLDEN, GOLDEN, &SELECTION);
    for code in [
        "firmware-not-accepted",
        "image-not-accepted",
        "authority-not-accepted",
        "file-not-accepted",
        "secure-boot-keys-changed",
        "command-line-not-accepted",
    ] {
        refused(&policy, &good, code);
    }
}

#[test]
fn measured_boot_affirms_exactly_what_is_listed() {
    let policy = measured_boot();
    let verdict = judge(&policy, &facts_of(GOLDEN, GOLDEN, &SELECTION), None);
    assert_eq!(
        (verdict.status, codes(&verdict)),
        (Tier::Affirming, vec![]),
        "{verdict:?}"
    );

    let other_image = booted(|events| {
        let at = at(events, |draft| draft.event_type == 0x8000_0003);
        events[at].sha256[0] ^= 1;
    });
    refused(&policy, &other_image, "image-not-accepted");
    // The same, and the log calls it an action.
    let hidden = booted(|events| {
        let at = at(events, |draft| draft.event_type == 0x8000_0003);
        events[at].sha256[0] ^= 1;
        events[at].event_type = 0x8000_0007;
        events[at].data = b"Calling EFI Application from Boot Option".to_vec();
    });
    refused(&policy, &hidden, "image-not-accepted");
    let other_kernel = booted(|events| {
        let at = at(events, |draft| draft.pcr == 9);
        events[at].sha256[0] ^= 1;
    });
    refused(&policy, &other_kernel, "file-not-accepted");
    let line = "/boot/vmlinuz-6.1.0-31-amd64 root=/dev/mapper/gateway-root ro quiet lockdown=none";
    assert_eq!(
        judge(&policy, &command_line(line), None).status,
        Tier::Affirming,
        "`lockdown=` takes any"
    );
    for word in ["debug", "root=/dev/sda", "/bin/sh", "quiet2"] {
        refused(
            &policy,
            &command_line(&format!("{line} {word}")),
            "command-line-not-accepted",
        );
    }
    let firmware = booted(|events| {
        events[0].data[0] ^= 2;
        cover(&mut events[0]);
    });
    refused(&policy, &firmware, "firmware-not-accepted");
}

#[test]
fn hardware_only_affirms_whatever_runs() {
    let policy = compile(HARDWARE_ONLY);
    assert_eq!(policy.floor(), Floor::Hardware);
    let verdict = judge(&policy, &facts(), None);
    assert_eq!((verdict.status, codes(&verdict)), (Tier::Affirming, vec![]));
    assert_eq!(
        (verdict.vector.executables, verdict.vector.configuration),
        (0, 0)
    );
    let listed = |maker| {
        with(
            HARDWARE_ONLY,
            &[("makers := []", &format!("makers := [{maker:?}]"))],
        )
    };
    assert_eq!(
        judge(&listed("id:49465800"), &facts(), None).status,
        Tier::Affirming
    );
    refused(&listed("id:00000000"), &facts(), "hardware-not-accepted");
}

/// Logs of real machines: every policy gives an opinion on each, in time, and
/// none of them is a malfunction. What is affirmed is written down here.
#[test]
fn corpus_logs_are_judged() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/uefi-eventlog");
    let logs = files_below(&folder);
    if logs.is_empty() {
        eprintln!("SKIPPED: no corpus at {}", folder.display());
        return;
    }
    let policies = [SECURE_BOOT, MEASURED_BOOT, HARDWARE_ONLY].map(compile);
    let (mut judged, mut on) = (0, Vec::new());
    for path in logs {
        let bytes = std::fs::read(&path).unwrap();
        let Ok(log) = BootLog::parse(&bytes) else {
            continue;
        };
        if !log.banks().any(|bank| bank == BANK) || bytes.len() > 1 << 20 {
            continue;
        }
        let facts = facts_of(&bytes, &bytes, &SELECTION);
        judged += 1;
        for policy in &policies {
            let started = std::time::Instant::now();
            let verdict = judge(policy, &facts, None);
            eprintln!("{:?}", started.elapsed());
            assert!(
                !codes(&verdict).contains(&"policy-error"),
                "{}: {:?}",
                path.display(),
                verdict.reasons
            );
        }
        let verdict = judge(&policies[0], &facts, None);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        eprintln!("{name}: {:?} {:?}", verdict.status, codes(&verdict));
        if verdict.status == Tier::Affirming {
            on.push(name);
        }
    }
    eprintln!("corpus: {judged} logs judged, secure-boot.rego affirms {on:?}");
    assert!(judged >= 10, "{judged}");
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                todo.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}
