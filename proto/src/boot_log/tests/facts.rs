//! What a log says, and what of it is proven.

use super::*;
use crate::boot_log::Coverage;
use crate::boot_log::decode::{
    Action, AuthorityEntry, FirmwareVersion, LoaderLabel, SectionPart, Separator, SignatureKind,
    Value,
};

#[test]
fn a_whole_boot_in_facts() {
    let bytes = log(&boot());
    let log = BootLog::parse(&bytes).unwrap();
    let findings: Vec<_> = log.findings(SHA256);
    assert_eq!(findings, []);
    let facts: Vec<_> = log.facts(SHA256).collect();
    let find = |wanted: &dyn Fn(&Value<'_>) -> bool| {
        facts
            .iter()
            .find(|fact| wanted(&fact.value))
            .copied()
            .unwrap()
    };

    let secure_boot = find(
        &|value| matches!(value, Value::SecureBootVariable(variable) if variable.secure_boot() == Some(true)),
    );
    assert!(secure_boot.proven);
    let Value::SecureBootVariable(dbx) = facts[7].value else {
        panic!("{:?}", facts[7].value);
    };
    let dbx = dbx.signatures().unwrap().unwrap();
    let hashes: Vec<_> = dbx
        .iter()
        .map(|one| (one.kind, one.data.to_vec()))
        .collect();
    assert_eq!(hashes, [(SignatureKind::Sha256, vec![3; 32])]);

    let authority = find(&|value| matches!(value, Value::Authority(_)));
    let Value::Authority(by) = authority.value else {
        unreachable!();
    };
    assert!(authority.proven);
    assert_eq!(by.owner, Some(Guid([7; 16])));
    assert!(matches!(by.entry, AuthorityEntry::Certificate(der) if der.len() == 304));

    let version = find(&|value| matches!(value, Value::FirmwareVersion(_)));
    assert!(version.proven);
    assert!(matches!(version.value,
        Value::FirmwareVersion(FirmwareVersion::Text(text)) if text.is("1.2.3")));

    // Covered by its value only: the name is not proven.
    let boot_order = find(&|value| matches!(value, Value::Variable(_)));
    assert_eq!(
        (boot_order.coverage, boot_order.proven),
        (Coverage::VariableData, false)
    );
    // Its value has a separator's digest, so that PCR 1's separator is unsure.
    let unsure: Vec<_> = facts
        .iter()
        .filter(|fact| matches!(fact.value, Value::Separator(_)) && !fact.proven)
        .map(|fact| fact.event.pcr())
        .collect();
    assert_eq!(unsure, [1]);

    let grub: Vec<_> = facts
        .iter()
        .filter_map(|fact| match fact.value {
            Value::LoaderText(text) => Some((text.claimed, text.text.as_str()?, fact.proven)),
            _ => None,
        })
        .collect();
    let stated = [
        (LoaderLabel::Command, "set default=0", true),
        (LoaderLabel::KernelCommandLine, "/vmlinuz ro", true),
    ];
    assert_eq!(grub, stated);
    let sections: Vec<_> = facts
        .iter()
        .filter_map(|fact| match fact.value {
            Value::UkiSection(section) if section.name.is(".linux") => {
                Some((section.part, fact.proven))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        sections,
        [(SectionPart::Name, true), (SectionPart::Contents, false)]
    );
    let line = find(&|value| matches!(value, Value::CommandLine(_)));
    assert!(line.proven);
    assert!(matches!(line.value, Value::CommandLine(text) if text.is("ro quiet")));
    let left = find(&|value| {
        matches!(value, Value::Action(action)
            if action.known == Some(Action::ExitBootServicesSucceeded))
    });
    assert!(left.proven);
    for fact in facts {
        if matches!(
            fact.value,
            Value::Image(_) | Value::Mok(_) | Value::LoaderFile(_)
        ) {
            assert!(!fact.proven);
        }
    }
}

/// Types are in no digest: a changed one takes proof away, and never gives any.
#[test]
fn a_relabelled_event_proves_nothing_new() {
    let events = boot();
    let bytes = log(&events);
    let honest = proven(&BootLog::parse(&bytes).unwrap());
    let replay = BootLog::parse(&bytes).unwrap().replay(SHA256);
    let types = (0..0x14)
        .chain(0x8000_0000..0x8000_0011)
        .chain(0x8000_00e0..0x8000_00e5);
    for event_type in types.map(EventType) {
        for index in 0..events.len() {
            let mut events = events.clone();
            events[index].event_type = event_type;
            let bytes = log(&events);
            let log = BootLog::parse(&bytes).unwrap();
            // To and from EV_NO_ACTION, and to H-CRTM, the replay tells.
            if log.replay(SHA256) != replay {
                continue;
            }
            for fact in proven(&log) {
                assert!(honest.contains(&fact), "{event_type} at {index}: {fact}");
            }
        }
    }
}

#[test]
fn changed_data_is_not_proven() {
    let events = boot();
    for index in 0..events.len() {
        for at in 0..events[index].data.len() {
            let mut events = events.clone();
            events[index].data[at] ^= 0x20;
            let bytes = log(&events);
            let log = BootLog::parse(&bytes).unwrap();
            let fact = log.facts(SHA256).nth(index + 1).unwrap();
            // A separator is told by its digest alone.
            if matches!(fact.value, Value::Separator(_)) {
                continue;
            }
            // What is left is the label of a text, which is not the text.
            if let (Value::LoaderText(_), true) = (fact.value, fact.proven) {
                panic!("{fact:?}");
            }
            assert!(!fact.proven, "{fact:?}");
        }
    }
}

#[test]
fn findings_of_edited_logs() {
    let find = |pcr: u32, event_type: EventType| {
        boot()
            .iter()
            .position(|one| one.pcr == pcr && one.event_type == event_type)
            .unwrap()
    };
    let edited = |edit: &dyn Fn(&mut Vec<Draft>)| {
        let mut events = boot();
        edit(&mut events);
        codes(&events)
    };
    let separator = find(7, EventType::EV_SEPARATOR);
    let secure_boot = find(7, EventType::EV_EFI_VARIABLE_DRIVER_CONFIG);
    assert_eq!(
        edited(&|events| drop(events.remove(separator))),
        ["separator-missing"]
    );
    let twice = |events: &mut Vec<Draft>| events.push(Draft::separator(7));
    assert_eq!(edited(&twice), ["separator-repeated"]);
    let relabel = |events: &mut Vec<Draft>| events[separator].event_type = EventType::EV_ACTION;
    assert_eq!(edited(&relabel), ["separator-relabelled"]);
    let forge = |events: &mut Vec<Draft>| {
        events[separator] = Draft::of(7, EventType::EV_SEPARATOR, b"x", &[0; 4]);
    };
    assert_eq!(edited(&forge), ["separator-forged", "separator-missing"]);
    let failed = |events: &mut Vec<Draft>| {
        events[separator] = Draft::of(7, EventType::EV_SEPARATOR, &[1, 0, 0, 0], b"it broke");
    };
    assert_eq!(edited(&failed), ["separator-error"]);
    let late = |events: &mut Vec<Draft>| {
        let moved = events.remove(secure_boot);
        events.push(moved);
    };
    assert_eq!(edited(&late), ["configuration-after-separator"]);
    let repeat = |events: &mut Vec<Draft>| events.insert(secure_boot, events[secure_boot].clone());
    assert_eq!(edited(&repeat), ["configuration-repeated"]);
    let change = |events: &mut Vec<Draft>| *events[secure_boot].data.last_mut().unwrap() = 0;
    assert_eq!(edited(&change), ["data-not-covered"]);
    let garble = |events: &mut Vec<Draft>| {
        events[secure_boot] = Draft::covered(7, EventType::EV_EFI_VARIABLE_DRIVER_CONFIG, b"x");
    };
    assert_eq!(edited(&garble), ["malformed-data"]);
    let informed = |events: &mut Vec<Draft>| events[0].digests[1].1[0] = 1;
    assert_eq!(edited(&informed), ["informative-digest"]);
    let gap = |events: &mut Vec<Draft>| drop(events[2].digests.pop());
    assert_eq!(edited(&gap), ["bank-incomplete"]);
    let cut = |events: &mut Vec<Draft>| drop(events.pop());
    assert_eq!(edited(&cut), ["exit-boot-services-missing"]);
    let bytes = log(&boot());
    let other = BootLog::parse(&bytes).unwrap().findings(HashAlg::Sha384);
    assert!(other.contains(&Finding::BankAbsent {
        bank: HashAlg::Sha384
    }));
    for finding in other {
        assert!(!finding.to_string().is_empty());
    }
}

/// A database before its separator, called an authority, is not one.
#[test]
fn a_database_is_no_authority() {
    let mut events = boot();
    let db = events
        .iter_mut()
        .find(|event| event.data.get(16) == Some(&2))
        .unwrap();
    db.event_type = EventType::EV_EFI_VARIABLE_AUTHORITY;
    let bytes = log(&events);
    let log = BootLog::parse(&bytes).unwrap();
    let facts = log
        .facts(SHA256)
        .filter(|fact| matches!(fact.value, Value::Authority(_)));
    assert_eq!(
        facts.map(|fact| fact.proven).collect::<Vec<_>>(),
        [false, true]
    );
}

#[test]
fn separators_by_value() {
    let ones = Draft::covered(6, EventType::EV_SEPARATOR, &[0xff; 4]);
    let bytes = log(&[ones]);
    let log = BootLog::parse(&bytes).unwrap();
    let fact = log.facts(SHA256).nth(1).unwrap();
    assert_eq!(
        (fact.value, fact.proven),
        (Value::Separator(Separator::Ready), true)
    );
}

/// A12: on a platform with an H-CRTM, events before a text that was extended
/// later are called H-CRTM too, so that it is the first of PCR 0.
#[test]
fn adv_a12_one_hcrtm_comes_before_the_firmware_version() {
    let version = |events: &[Draft]| {
        let bytes = log(events);
        let log = BootLog::parse(&bytes).unwrap();
        let version = log
            .facts(SHA256)
            .filter(|fact| matches!(fact.value, Value::FirmwareVersion(_)))
            .last();
        version.unwrap().proven
    };
    let hcrtm = |data: &[u8]| Draft::covered(0, EventType::EV_EFI_HCRTM_EVENT, data);
    let stated = Draft::covered(0, EventType::EV_S_CRTM_VERSION, &utf16_z("2.0"));
    assert!(version(&[hcrtm(b"HCRTM"), stated.clone()]));
    let hidden = hcrtm(&utf16_z("1.0"));
    assert!(!version(&[hcrtm(b"HCRTM"), hidden, stated]));
}

/// A12: whoever reads a text up to its NUL reads another than who reads all of
/// it: no text with one is proven, wherever its digest comes from.
#[test]
fn adv_a12_a_text_with_a_nul_in_it_is_not_proven() {
    let grub = |measured: &[u8], data: &[u8]| {
        let event = Draft::of(8, EventType::EV_IPL, measured, data);
        let bytes = log(&[event]);
        let log = BootLog::parse(&bytes).unwrap();
        let fact = log.facts(SHA256).nth(1).unwrap();
        (fact.proven, matches!(fact.value, Value::LoaderText(_)))
    };
    let text = b"/vmlinuz ro".as_slice();
    // GRUB's way, and that of RHEL 8, which measures the terminator too.
    assert_eq!(grub(text, b"kernel_cmdline: /vmlinuz ro\0"), (true, true));
    assert_eq!(
        grub(b"/vmlinuz ro\0", b"grub_kernel_cmdline /vmlinuz ro\0"),
        (true, true)
    );
    for hidden in [
        b"/vmlinuz ro\0init=/bin/sh".as_slice(),
        b"\0/vmlinuz init=/bin/sh",
        b"/vmlinuz ro\0\0",
    ] {
        let data = [b"kernel_cmdline: ", hidden].concat();
        let terminated = [data.as_slice(), b"\0"].concat();
        let measured = [hidden, b"\0"].concat();
        for (measured, data) in [
            (hidden, &data),
            (hidden, &terminated),
            (&measured, &terminated),
            (text, &data),
            (text, &terminated),
        ] {
            assert_eq!(grub(measured, data), (false, false), "{data:?}");
        }
    }
}

/// shim measures the hash that let an image run bare, without an owner.
#[test]
fn a_bare_hash_of_a_database_is_an_authority() {
    let entry = |name: &str, data: &[u8]| {
        let authority = Draft::covered(
            7,
            EventType::EV_EFI_VARIABLE_AUTHORITY,
            &variable(Guid::SHIM_LOCK, name, data),
        );
        let bytes = log(&[Draft::separator(7), authority]);
        let log = BootLog::parse(&bytes).unwrap();
        let fact = log.facts(SHA256).nth(2).unwrap();
        let Value::Authority(by) = fact.value else {
            panic!("{:?}", fact.value);
        };
        assert!(fact.proven);
        assert_eq!(by.owner, None);
        matches!(by.entry, AuthorityEntry::Hash(hash) if hash == data)
    };
    for name in ["db", "MokList", "vendor_db"] {
        assert!(entry(name, &[9; 32]), "{name}");
        assert!(!entry(name, &[9; 20]), "{name}");
    }
    assert!(!entry("SbatLevel", b"sbat,1,2022052400\ngrub,2\nshim,2\n"));
}
