use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use holdfast_proto::claims::{Purpose, Ueid};
use holdfast_proto::grpc::v1::EnrollRequest;
use holdfast_proto::tpm::templates::{
    AkAlg, EkTemplate, ak_template, ldevid_template, srk_template,
};

use super::*;
use crate::tpm::{AttestationKey, KeyBlob};

fn keys(unique: u8) -> Keys {
    let public = ldevid_template().encode_tpm2b();
    Keys {
        srk_handle: 0x8100_0001,
        srk_name: srk_template().name(),
        ek_template: EkTemplate::L2.public(),
        ek_ueid: None,
        ak: AttestationKey {
            alg: AkAlg::EcdsaP384,
            unique: [unique; 32],
        }
        .into(),
        ak_name: ak_template(AkAlg::EcdsaP384, &[unique; 32]).name(),
        ldevid: KeyBlob::parse(&public, &[0, 3, unique, 2, 3]).unwrap(),
    }
}

fn server() -> Server {
    Server {
        address: "v.example:8443".into(),
        name: "v.example".into(),
        ca_der: vec![0x30, 0],
    }
}

fn enrolled(unique: u8) -> Enrolled {
    Enrolled {
        server: server(),
        gateway_id: format!("01{}", "ab".repeat(32)).parse().unwrap(),
        class: "default".into(),
        policy_root_name: srk_template().name(),
        keys: keys(unique),
        ldevid_chain: vec![vec![0x30, 1, unique], vec![0x30, 0]],
        renew_after: 1_800_000_000,
        not_after: 1_900_000_000,
    }
}

fn pending(unique: u8) -> Pending {
    Pending {
        server: server(),
        purpose: Purpose::Recover,
        class: "default".into(),
        policy_root_name: srk_template().name(),
        keys: keys(unique),
        request: EnrollRequest {
            token: vec![unique; 9],
            ..EnrollRequest::default()
        },
    }
}

fn fresh() -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("state");
    (parent, path)
}

/// The largest request that an enrolment makes is found again after a crash.
#[test]
fn a_pending_request_may_hold_both_logs() {
    use crate::evidence::{MAX_BOOT_LOG, MAX_IMA_LOG_AT_ENROLMENT};
    use holdfast_proto::grpc::v1;

    let (_parent, path) = fresh();
    let state = StateDir::open(&path).unwrap();
    let mut pending = pending(1);
    pending.request.evidence = Some(v1::Evidence {
        boot_log: Some(v1::BootLog {
            log: Some(v1::boot_log::Log::Content(vec![7; MAX_BOOT_LOG])),
        }),
        ima_log: Some(v1::ImaLog {
            offset: 0,
            content: vec![7; MAX_IMA_LOG_AT_ENROLMENT].into(),
        }),
        ..v1::Evidence::default()
    });
    state.set_pending(&pending).unwrap();
    assert!(state.pending().unwrap() == Some(pending));
}

#[test]
fn what_is_written_comes_back() {
    let (_parent, path) = fresh();
    let state = StateDir::open(&path).unwrap();
    assert!(matches!(
        state.require_enrolled(),
        Err(StateError::NotEnrolled(_))
    ));
    state.set_pending(&pending(1)).unwrap();
    assert_eq!(state.pending().unwrap(), Some(pending(1)));
    assert_eq!(state.pinned_root().unwrap(), Some(srk_template().name()));
    state.promote(&enrolled(1)).unwrap();
    state.write_ear("a.b.c").unwrap();
    drop(state);
    let state = StateDir::open(&path).unwrap();
    assert_eq!(state.enrolled().unwrap(), Some(enrolled(1)));
    assert_eq!(state.pending().unwrap(), None);
    let pem = fs::read_to_string(path.join("ldevid.pem")).unwrap();
    assert_eq!(pem.matches("BEGIN CERTIFICATE").count(), 2);
    assert_eq!(fs::read(path.join("ldevid.priv")).unwrap(), [0, 3, 1, 2, 3]);
    assert_eq!(
        fs::read(path.join("ldevid.pub")).unwrap(),
        ldevid_template().encode_tpm2b()
    );
}

#[test]
fn everything_is_ours_alone() {
    let (_parent, path) = fresh();
    let state = StateDir::open(&path).unwrap();
    state.promote(&enrolled(1)).unwrap();
    state.set_pending(&pending(2)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
    for entry in fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().mode() & 0o777,
            0o600,
            "{:?}",
            entry.path()
        );
    }
}

#[test]
fn adv_a25_loose_modes_are_refused() {
    let (_parent, path) = fresh();
    StateDir::open(&path)
        .unwrap()
        .promote(&enrolled(1))
        .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
    assert!(matches!(
        StateDir::open(&path),
        Err(StateError::Mode { mode: 0o750, .. })
    ));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    let file = path.join("state.json");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).unwrap();
    assert!(matches!(
        StateDir::open(&path),
        Err(StateError::Mode { path, mode: 0o604, .. }) if path == file
    ));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(
        StateDir::open(&path).unwrap().enrolled().unwrap(),
        Some(enrolled(1))
    );
}

#[test]
fn adv_a25_symlinks_are_refused() {
    let (parent, path) = fresh();
    StateDir::open(&path)
        .unwrap()
        .promote(&enrolled(1))
        .unwrap();
    let link = parent.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(matches!(StateDir::open(&link), Err(StateError::Symlink(p)) if p == link));
    let file = path.join("state.json");
    let elsewhere = parent.path().join("elsewhere");
    fs::rename(&file, &elsewhere).unwrap();
    symlink(&elsewhere, &file).unwrap();
    assert!(matches!(StateDir::open(&path), Err(StateError::Symlink(p)) if p == file));
}

#[test]
fn a_file_is_no_state_directory() {
    let (_parent, path) = fresh();
    fs::write(&path, b"").unwrap();
    assert!(matches!(
        StateDir::open(&path),
        Err(StateError::Kind {
            expected: "directory",
            ..
        })
    ));
}

#[test]
fn only_one_process_has_it() {
    let (_parent, path) = fresh();
    let first = StateDir::open(&path).unwrap();
    assert!(matches!(StateDir::open(&path), Err(StateError::Busy(_))));
    drop(first);
    StateDir::open(&path).unwrap();
}

#[test]
fn a_kill_between_rename_and_clean_up_is_finished() {
    let (_parent, path) = fresh();
    let state = StateDir::open(&path).unwrap();
    state.promote(&enrolled(1)).unwrap();
    // As if killed right after state.json of a second enrolment was renamed:
    // pending is still there, the copies are the first one's, and so is a
    // half-written file.
    state.dir.write(STATE, &enrolled(2).to_json()).unwrap();
    state.set_pending(&pending(2)).unwrap();
    fs::write(path.join(".ldevid.pem.new"), b"half").unwrap();
    drop(state);
    let state = StateDir::open(&path).unwrap();
    assert_eq!(state.enrolled().unwrap(), Some(enrolled(2)));
    assert_eq!(state.pending().unwrap(), None);
    assert_eq!(fs::read(path.join("ldevid.priv")).unwrap(), [0, 3, 2, 2, 3]);
}

#[test]
fn a_kill_before_the_answer_keeps_both() {
    let (_parent, path) = fresh();
    let state = StateDir::open(&path).unwrap();
    state.promote(&enrolled(1)).unwrap();
    state.set_pending(&pending(2)).unwrap();
    drop(state);
    let state = StateDir::open(&path).unwrap();
    assert_eq!(state.enrolled().unwrap(), Some(enrolled(1)));
    assert_eq!(state.pending().unwrap(), Some(pending(2)));
}

#[test]
fn damage_is_named() {
    let (_parent, path) = fresh();
    StateDir::open(&path)
        .unwrap()
        .promote(&enrolled(1))
        .unwrap();
    let file = path.join("state.json");
    let good = fs::read_to_string(&file).unwrap();
    for (from, to, named) in [
        ("\"version\": 1", "\"version\": 2", "version 2"),
        ("\"class\"", "\"clazz\"", "clazz"),
        ("ecdsa-p384", "ecdsa-p999", "ecdsa-p999"),
        ("\"ak_unique\": \"", "\"ak_unique\": \"00", "ak_unique"),
        ("\"gateway_id\": \"01", "\"gateway_id\": \"02", "gateway_id"),
    ] {
        fs::write(&file, good.replacen(from, to, 1)).unwrap();
        let error = StateDir::open(&path).unwrap_err();
        assert!(
            matches!(&error, StateError::Damaged { problem, .. } if problem.contains(named)),
            "{from}: {error}"
        );
    }
    fs::write(&file, &good[..good.len() / 2]).unwrap();
    assert!(matches!(
        StateDir::open(&path),
        Err(StateError::Damaged { .. })
    ));
    fs::write(&file, good).unwrap();
    StateDir::open(&path).unwrap();
}

#[test]
fn no_secret_but_the_wrapped_key_is_in_the_state() {
    // What is needed to use the identity elsewhere is not there: the AK is a
    // recipe, the LDevID key a blob of the TPM. The rest is public.
    let json: serde_json::Value = serde_json::from_slice(&enrolled(1).to_json()).unwrap();
    let keys: Vec<&String> = json["keys"].as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "ak_alg",
            "ak_name",
            "ak_unique",
            "ek_template",
            "ldevid_private",
            "ldevid_public",
            "srk_handle",
            "srk_name"
        ]
    );
}

/// Both ways in which an OEM's IAK is had come back as they were.
#[test]
fn an_iak_is_remembered() {
    use crate::tpm::{Ak, DeviceKeySource};
    use holdfast_proto::tpm::devid::{DevidKey, DevidTemplate, DevidUnique};
    let area = DevidTemplate::H3.public(DevidKey::Iak, DevidUnique::LabelInBoth);
    for source in [
        DeviceKeySource::Template(Box::new(area.clone())),
        DeviceKeySource::Persistent {
            handle: 0x8102_0001,
            name: area.name(),
        },
    ] {
        let mut kept = enrolled(7);
        kept.keys.ak = Ak::Iak {
            source,
            template: DevidTemplate::H3,
        };
        kept.keys.ak_name = area.name();
        assert!(matches!(kept.pinned_ek(), Err(StateError::EkUnknown)));
        let own: Ueid = format!("01{}", "cd".repeat(32)).parse().unwrap();
        kept.keys.ek_ueid = Some(own);
        assert_eq!(kept.pinned_ek().unwrap().ueid, own);
        let json = kept.to_json();
        assert_eq!(Enrolled::from_json(&json).unwrap(), kept);
        let text = String::from_utf8(json).unwrap();
        let other = text.replace("\"iak\"", "\"ecdsa-p256\"");
        assert!(Enrolled::from_json(other.as_bytes()).is_err());
    }
}

/// On the EK road the id is the EK's own, and nothing else may say which it is.
#[test]
fn the_ek_of_an_id_is_not_said_twice() {
    let kept = enrolled(7);
    assert_eq!(kept.pinned_ek().unwrap().ueid, kept.gateway_id);
    let mut json: serde_json::Value = serde_json::from_slice(&kept.to_json()).unwrap();
    json["keys"]["ek_ueid"] = format!("01{}", "cd".repeat(32)).into();
    let refused = Enrolled::from_json(&serde_json::to_vec(&json).unwrap());
    assert!(refused.unwrap_err().contains("ek_ueid"));
}

/// `enroll` by root leaves a state that the daemon's account can go on with.
#[test]
fn what_root_writes_is_the_directory_owners() {
    const ACCOUNT: u32 = 65_534;
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root, to give a directory away");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("state");
    drop(StateDir::open(&dir).unwrap());
    for path in [dir.clone(), dir.join(LOCK)] {
        std::os::unix::fs::chown(path, Some(ACCOUNT), Some(ACCOUNT)).unwrap();
    }
    let state = StateDir::open(&dir).unwrap();
    state.promote(&enrolled(1)).unwrap();
    drop(state);
    for entry in fs::read_dir(&dir).unwrap() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        assert_eq!((meta.uid(), meta.gid()), (ACCOUNT, ACCOUNT), "{entry:?}");
        assert_eq!(meta.mode() & 0o777, 0o600, "{entry:?}");
    }
    assert!(StateDir::open(&dir).unwrap().enrolled().unwrap().is_some());

    // A third one's file is refused, by root too.
    std::os::unix::fs::chown(dir.join(STATE), Some(ACCOUNT - 1), None).unwrap();
    assert!(matches!(
        StateDir::open(&dir),
        Err(StateError::Owner { owner, own: ACCOUNT, .. }) if owner == ACCOUNT - 1
    ));
}
