//! From one generation to the next, with a crash at each step.

use holdfast_proto::tpm::{HashAlg, Name, PcrSelection, PcrSet};

use super::*;
use crate::{
    freshness::{AttestationState, Challenge, ChallengeSealer, FreshnessError},
    identity::{CaSigner as _, IssuingCa, RequestedKey},
};

fn key_ids(keys: &Keys, kind: KeyKind) -> Vec<(String, bool)> {
    keys.named
        .iter()
        .filter(|(of, ..)| *of == kind)
        .map(|(_, id, current)| (id.clone(), *current))
        .collect()
}

fn authority(dir: &Dir) -> crate::identity::Authority {
    let root = OfflineRoot::root(dir.home.dir()).unwrap();
    root.authority(Some(&dir.home), None).unwrap()
}

fn server_authority(dir: &Dir) -> crate::identity::Authority {
    let root = OfflineRoot::server_ca(dir.home.dir()).unwrap();
    root.authority(Some(&dir.home), None).unwrap()
}

fn rotate(dir: &Dir, mut rotation: Rotation<'_>, kind: KeyKind) -> Result<Rotated, CustodyError> {
    match kind {
        KeyKind::Token => rotation.token(3600),
        KeyKind::Heartbeat => rotation.heartbeat(3600),
        KeyKind::Result => rotation.result(3600),
        KeyKind::Seal => rotation.seal(&dir.custodian(), 3600),
        KeyKind::Secrets => rotation.secrets(&dir.custodian()),
        KeyKind::Issuing => rotation.issuing(&dir.custodian(), &authority(dir), 3600),
        KeyKind::Server => rotation.server(
            &server_authority(dir),
            &[ServerName::parse("verifier.example").unwrap()],
        ),
    }
}

/// A directory with a key of this kind: some are made by use.
fn with_one_of(kind: KeyKind) -> Dir {
    let dir = Dir::new();
    if by_use(kind) {
        rotate(&dir, dir.rotation(), kind).unwrap();
    }
    dir
}

fn by_use(kind: KeyKind) -> bool {
    matches!(kind, KeyKind::Seal | KeyKind::Secrets | KeyKind::Heartbeat)
}

/// As `seal delegate` of older versions left it, with a crash at each step of
/// taking it over: the key is never lost, and ends in the keyring alone.
#[test]
fn a_policy_key_in_a_plain_file_is_taken_over() {
    let passphrase = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(passphrase.path(), "correct horse").unwrap();
    let source = format!("file:{}", passphrase.path().display());
    for crash_at in 0.. {
        let mut config = Config::default();
        config.ca.passphrase = Some(source.parse().unwrap());
        let dir = Dir::with(config);
        let key = crate::identity::SecretKey::generate(&SystemRandom::new()).unwrap();
        let expected = FileSigner::from_pkcs8(key.expose_der()).unwrap();
        dir.home
            .write_new(file::SEAL_KEY, key.expose_pem().as_bytes(), 0o600)
            .unwrap();
        let mut count = 0;
        let mut begun = Rotation::begin_telling(&dir.home, NOW, |_| {
            count += 1;
            if count > crash_at {
                return Err(CustodyError::NoRandomness);
            }
            Ok(())
        })
        .unwrap();
        let done = begun.adopt_seal(&dir.custodian()).is_ok();
        drop(begun);
        dir.rotation().adopt_seal(&dir.custodian()).unwrap();
        assert!(!dir.path(file::SEAL_KEY).exists());
        let signers = dir.custodian().seal_signers(NOW).unwrap();
        assert_eq!(signers.len(), 1);
        assert_eq!(signers[0].public(), expected.public());
        let ring = Cabinet::new(&dir.home).read().unwrap();
        let KeyPlace::File(name) = &ring.current(KeyKind::Seal).key else {
            panic!("in a file");
        };
        assert!(is_encrypted(
            &std::fs::read_to_string(dir.path(name)).unwrap()
        ));
        if done {
            assert!(crash_at >= 4, "{crash_at}");
            return;
        }
    }
}

/// One that was put back beside the keyring's own is not taken for it.
#[test]
fn a_strange_policy_key_beside_the_keyring_is_refused_and_kept() {
    let dir = with_one_of(KeyKind::Seal);
    let key = crate::identity::SecretKey::generate(&SystemRandom::new()).unwrap();
    dir.home
        .write_new(file::SEAL_KEY, key.expose_pem().as_bytes(), 0o600)
        .unwrap();
    let refused = dir.rotation().adopt_seal(&dir.custodian());
    assert!(
        matches!(refused, Err(CustodyError::Place(_))),
        "{refused:?}"
    );
    assert!(dir.path(file::SEAL_KEY).exists());
}

#[test]
fn a_directory_without_a_keyring_is_its_first_generation() {
    let dir = Dir::new();
    assert!(!dir.path(file::KEYRING).exists());
    let keys = dir.open();
    for kind in KeyKind::ALL {
        let expected = usize::from(!by_use(kind));
        assert_eq!(key_ids(&keys, kind).len(), expected, "{kind}");
    }
    assert_eq!(
        keys.issuing.current().certificate(),
        dir.initial.issuing.certificate
    );
}

#[test]
fn each_kind_has_a_successor_and_the_one_of_before_counts_for_the_overlap() {
    for kind in KeyKind::ALL {
        let dir = with_one_of(kind);
        let before = dir.open();
        let rotated = rotate(&dir, dir.rotation(), kind).unwrap();
        let after = dir.open();
        let old = key_ids(&before, kind).remove(0).0;
        assert_ne!(rotated.current.id, old);
        let mut expected = vec![(rotated.current.id.clone(), true)];
        if !matches!(kind, KeyKind::Server | KeyKind::Secrets) {
            expected.push((old, false));
        }
        assert_eq!(key_ids(&after, kind), expected, "{kind}");
        let later = dir.custodian().open(NOW.plus(3600)).unwrap();
        assert_eq!(
            key_ids(&later, kind),
            [(rotated.current.id, true)],
            "{kind}"
        );
        for other in KeyKind::ALL.into_iter().filter(|other| *other != kind) {
            assert_eq!(key_ids(&before, other), key_ids(&after, other), "{kind}");
        }
    }
}

/// A crash at each step: afterwards the directory opens, with the old key or
/// the new one, and the same rotation then succeeds and leaves no strays.
#[test]
fn a_crash_at_any_step_leaves_a_directory_that_works() {
    for kind in KeyKind::ALL {
        let mut crashes = 0;
        for crash_at in 0.. {
            let dir = with_one_of(kind);
            let old = key_ids(&dir.open(), kind).remove(0).0;
            let (mut count, mut seen) = (0, Vec::new());
            let begun = Rotation::begin_telling(&dir.home, NOW, |step| {
                seen.push(step);
                count += 1;
                if count > crash_at {
                    return Err(CustodyError::NoRandomness);
                }
                Ok(())
            });
            let done = rotate(&dir, begun.unwrap(), kind).is_ok();
            let keys = dir.open();
            let current = key_ids(&keys, kind).remove(0).0;
            let switched = seen.contains(&Step::Switched);
            assert_eq!(current != old, switched, "{kind} at {seen:?}");
            published_is_current(&dir, &keys);
            if done {
                crashes = crash_at;
                break;
            }
            rotate(&dir, dir.rotation(), kind).unwrap();
            let cabinet = Cabinet::new(&dir.home);
            let ring = cabinet.read().unwrap();
            assert_eq!(cabinet.strays(&ring).unwrap(), Vec::<String>::new());
            dir.open();
        }
        // Files, switch, published, cleared.
        assert!(crashes >= 4, "{kind}: {crashes}");
    }
}

fn published_is_current(dir: &Dir, keys: &Keys) {
    let pem = std::fs::read_to_string(dir.path(file::RESULT_PUBLIC)).unwrap();
    assert_eq!(pem, keys.result.public_pem());
}

#[test]
fn two_changes_at_once_do_not_happen() {
    let dir = Dir::new();
    let first = dir.rotation();
    let second = Rotation::begin(&dir.home, NOW).err().unwrap();
    assert!(matches!(second, CustodyError::Busy(path) if path == dir.path(file::KEYRING_LOCK)));
    drop(first);
    dir.rotation();
}

#[test]
fn openssl_verifies_chains_of_both_generations() {
    let dir = Dir::new();
    let mut chains = vec![dir.initial.issuing.certificate_pem()];
    let rotated = rotate(&dir, dir.rotation(), KeyKind::Issuing).unwrap();
    let name = rotated.current.certificate.unwrap();
    chains.push(std::fs::read_to_string(dir.path(&name)).unwrap());
    for (n, pem) in chains.iter().enumerate() {
        let chain = format!("chain{n}.pem");
        dir.write(&chain, pem.as_bytes());
        let verified = openssl(
            &dir,
            &[
                "verify",
                "-x509_strict",
                "-attime",
                "1795507300",
                "-CAfile",
                file::ROOT_CA,
                &chain,
            ],
        );
        assert!(verified.unwrap().contains("OK"));
    }
    assert_ne!(chains[0], chains[1]);
}

#[test]
fn challenges_of_the_old_key_are_opened_until_the_overlap_ends() {
    let dir = Dir::new();
    let seal = |keys: &Keys| {
        let name = Name::parse(&[&[0, 0x0b][..], &[7; 32]].concat()).unwrap();
        let challenge = Challenge {
            gateway: format!("01{}", "ab".repeat(32)).parse().unwrap(),
            ak: name.clone(),
            ldevid: name,
            nonce: [3; 32],
            selection: PcrSelection {
                hash: HashAlg::Sha256,
                pcrs: PcrSet::from_indices([0]).unwrap(),
            },
            policy_id: [4; 32],
            issued: NOW,
            expires: keys.sealer.expiry(NOW),
        };
        let state = AttestationState { challenge };
        keys.sealer.seal(&state, &SystemRandom::new()).unwrap()
    };
    let opens = |sealer: &ChallengeSealer, token: &[u8], at: UnixTime| {
        sealer.open_attestation(token, at).map(|_| ())
    };
    let token = seal(&dir.open());
    dir.rotation().token(120).unwrap();
    let keys = dir.open();
    assert_eq!(opens(&keys.sealer, &token, NOW.plus(119)), Ok(()));
    // Its own lifetime is five minutes: this is the overlap's end.
    assert_eq!(
        opens(&keys.sealer, &token, NOW.plus(120)),
        Err(FreshnessError::UnknownKey)
    );
    let new = seal(&keys);
    assert_eq!(opens(&keys.sealer, &new, NOW.plus(120)), Ok(()));
    let id = |token: &[u8]| token[2..10].to_vec();
    assert_ne!(id(&new), id(&token));
}

#[test]
fn results_of_both_generations_verify_with_the_published_keys() {
    let dir = Dir::new();
    let old = dir.open().result;
    let rotated = dir.rotation().result(600).unwrap();
    let new = dir.open().result;
    assert_ne!(old.id(), new.id());
    // The old private key is gone from the disk, its public half is not.
    assert_eq!(rotated.previous.unwrap().key, KeyPlace::Destroyed);
    assert!(!dir.path(file::RESULT_KEY).exists());
    let jwks: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.path(file::RESULT_JWKS)).unwrap()).unwrap();
    let kids: Vec<&str> = jwks["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["kid"].as_str().unwrap())
        .collect();
    assert_eq!(kids, [hex::encode(new.id()), hex::encode(old.id())]);
    let cose: ciborium::Value =
        ciborium::from_reader(&std::fs::read(dir.path(file::RESULT_COSE)).unwrap()[..]).unwrap();
    assert_eq!(cose.as_array().unwrap().len(), 2);
    // When the overlap has ended the next start publishes the new one alone.
    dir.custodian().open(NOW.plus(600)).unwrap();
    let jwks = std::fs::read_to_string(dir.path(file::RESULT_JWKS)).unwrap();
    assert!(!jwks.contains(&hex::encode(old.id())));
    assert!(jwks.contains(&hex::encode(new.id())));
}

#[test]
fn an_offline_root_signs_in_three_steps() {
    let dir = Dir::new();
    let custodian = dir.custodian();
    let request = dir.rotation().request(&custodian).unwrap();
    // The service goes on meanwhile, as before.
    assert_eq!(
        dir.open().issuing.current().certificate(),
        dir.initial.issuing.certificate
    );
    dir.write("next.csr", request.as_bytes());
    openssl(&dir, &["req", "-in", "next.csr", "-verify", "-noout"]).unwrap();
    let requested = RequestedKey::parse(&request).unwrap();
    let rng = SystemRandom::new();
    let sign = |key, dir: &Dir| {
        authority(dir)
            .certify_ca(key, "Wasserwerk Süd", "Issuing CA", NOW, &rng)
            .unwrap()
    };
    let certificate = sign(requested.public(), &dir);
    let install = |der: &[u8]| dir.rotation().install(&custodian, der, 3600);

    // Of another root; for another key; not for now.
    let stranger = Dir::new();
    let strange = sign(requested.public(), &stranger);
    assert!(matches!(
        install(&strange).unwrap_err(),
        CustodyError::Identity {
            source: IdentityError::NotBelow,
            ..
        }
    ));
    let other = FileSigner::from_pkcs8(dir.initial.server.key.expose_der()).unwrap();
    let others = sign(other.public(), &dir);
    assert!(matches!(
        install(&others).unwrap_err(),
        CustodyError::NotThePending { .. }
    ));
    let late = Rotation::begin(&dir.home, NOW.plus(6 * 365 * 86_400))
        .unwrap()
        .install(&custodian, &certificate, 3600);
    assert!(matches!(
        late.unwrap_err(),
        CustodyError::Identity {
            source: IdentityError::CaNotValid { .. },
            ..
        }
    ));

    let rotated = install(&certificate).unwrap();
    assert_eq!(
        rotated.current.id,
        hex::encode(requested.public().key_identifier())
    );
    assert_eq!(dir.open().issuing.current().certificate(), certificate);
    assert!(matches!(
        install(&certificate).unwrap_err(),
        CustodyError::NothingPending
    ));
}

#[test]
fn a_certificate_by_openssl_from_the_request_is_taken() {
    let dir = Dir::new();
    let request = dir.rotation().request(&dir.custodian()).unwrap();
    dir.write("next.csr", request.as_bytes());
    dir.write(
        "ca.ext",
        b"basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n\
          subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n",
    );
    let issue = |extensions: &str, out: &str| {
        openssl(
            &dir,
            &[
                "x509",
                "-req",
                "-in",
                "next.csr",
                "-CA",
                file::ROOT_CA,
                "-CAkey",
                file::ROOT_CA_KEY,
                "-days",
                "300",
                "-extfile",
                extensions,
                "-out",
                out,
                "-set_serial",
                "0x1234567890",
            ],
        )
        .unwrap();
        openssl(
            &dir,
            &["x509", "-in", out, "-outform", "DER", "-out", "next.der"],
        )
        .unwrap();
        std::fs::read(dir.path("next.der")).unwrap()
    };
    dir.write("leaf.ext", b"basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n");
    // OpenSSL dates by the machine's clock, a moment later.
    let now = crate::service::Clock::system().now().plus(60);
    let install = |der: &[u8]| {
        Rotation::begin(&dir.home, now)
            .unwrap()
            .install(&dir.custodian(), der, 3600)
    };
    let unbounded = issue("leaf.ext", "leaf.pem");
    assert!(matches!(
        install(&unbounded).unwrap_err(),
        CustodyError::Identity {
            source: IdentityError::BadCaCertificate(_),
            ..
        }
    ));
    let good = issue("ca.ext", "next.pem");
    install(&good).unwrap();
    assert_eq!(
        dir.custodian()
            .open(now)
            .unwrap()
            .issuing
            .current()
            .certificate(),
        good
    );
}

#[test]
fn requests_that_prove_nothing_are_refused() {
    let dir = Dir::new();
    let request = dir.rotation().request(&dir.custodian()).unwrap();
    let der = {
        use rustls_pki_types::{CertificateSigningRequestDer, pem::PemObject as _};
        CertificateSigningRequestDer::from_pem_slice(request.as_bytes())
            .unwrap()
            .to_vec()
    };
    let encode = |der: &[u8]| crate::identity::pem::encode("CERTIFICATE REQUEST", der);
    assert!(RequestedKey::parse(&encode(&der)).is_ok());
    for bit in 0..der.len() * 8 {
        let mut changed = der.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(
            matches!(
                RequestedKey::parse(&encode(&changed)),
                Err(IdentityError::BadRequest(_))
            ),
            "bit {bit}"
        );
    }
    assert!(RequestedKey::parse(&encode(&[&der[..], &[0]].concat())).is_err());
    openssl(
        &dir,
        &[
            "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-keyout", "k",
            "-out", "r",
        ],
    )
    .unwrap();
    let rsa = std::fs::read_to_string(dir.path("r")).unwrap();
    assert!(RequestedKey::parse(&rsa).is_err());
    // OpenSSL's own request for a P-256 key is as good as ours.
    openssl(
        &dir,
        &[
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=x",
            "-keyout",
            "k",
            "-out",
            "r",
        ],
    )
    .unwrap();
    let theirs = std::fs::read_to_string(dir.path("r")).unwrap();
    RequestedKey::parse(&theirs).unwrap();
}

#[test]
fn another_root_is_not_taken_for_ours() {
    let (dir, other) = (Dir::new(), Dir::new());
    let root = OfflineRoot::root(other.home.dir()).unwrap();
    assert!(matches!(
        root.authority(Some(&dir.home), None).unwrap_err(),
        CustodyError::OtherRoot { .. }
    ));
}

#[test]
fn a_key_goes_when_it_has_ended_or_by_explicit_word() {
    let dir = Dir::new();
    let old = rotate(&dir, dir.rotation(), KeyKind::Token)
        .unwrap()
        .previous
        .unwrap();
    let current = dir.rotation().ring().current(KeyKind::Token).id.clone();
    let retire = |id: &str, early, at| {
        let mut rotation = Rotation::begin(&dir.home, at).unwrap();
        rotation.retire(&dir.custodian(), KeyKind::Token, id, early)
    };
    let change = |outcome: Result<KeyEntry, CustodyError>| match outcome.unwrap_err() {
        CustodyError::Change(error) => error,
        other => panic!("{other}"),
    };
    assert!(matches!(
        change(retire(&current, true, NOW)),
        KeyringError::InUse { .. }
    ));
    assert!(matches!(
        change(retire("00", true, NOW)),
        KeyringError::Unknown { .. }
    ));
    assert!(matches!(
        change(retire(&old.id, false, NOW)),
        KeyringError::StillCounts { .. }
    ));
    retire(&old.id, false, NOW.plus(3600)).unwrap();
    assert!(!dir.path(file::TOKEN_KEY).exists());
    assert_eq!(key_ids(&dir.open(), KeyKind::Token).len(), 1);
    let next = rotate(&dir, dir.rotation(), KeyKind::Token)
        .unwrap()
        .previous
        .unwrap();
    retire(&next.id, true, NOW).unwrap();
    assert!(matches!(&next.key, KeyPlace::File(name) if !dir.path(name).exists()));
}

#[test]
fn a_keyring_that_this_program_did_not_write_is_refused() {
    let dir = Dir::new();
    rotate(&dir, dir.rotation(), KeyKind::Token).unwrap();
    let text = std::fs::read_to_string(dir.path(file::KEYRING)).unwrap();
    let good = Keyring::parse(&text).unwrap();
    assert_eq!(Keyring::parse(&good.to_text()).unwrap(), good);
    let json = || serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut json = json();
        change(&mut json);
        Keyring::parse(&json.to_string()).unwrap_err()
    };
    assert_eq!(with(&|j| j["format"] = 2.into()), KeyringError::Format(2));
    assert!(matches!(
        with(&|j| j["extra"] = 1.into()),
        KeyringError::Malformed(_)
    ));
    assert_eq!(
        with(&|j| j["token"] = serde_json::json!([])),
        KeyringError::Order(KeyKind::Token)
    );
    assert_eq!(
        with(&|j| j["token"][0]["until"] = 5.into()),
        KeyringError::Order(KeyKind::Token)
    );
    assert!(matches!(
        with(&|j| j["token"][1]["id"] = j["token"][0]["id"].clone()),
        KeyringError::Twice {
            kind: KeyKind::Token,
            ..
        }
    ));
    assert!(matches!(
        with(&|j| j["token"][0]["key"] = serde_json::json!({"file": "../token.key"})),
        KeyringError::FileName(_)
    ));
    assert!(matches!(
        with(&|j| {
            j["issuing"][0]
                .as_object_mut()
                .unwrap()
                .remove("certificate");
        }),
        KeyringError::Incomplete {
            kind: KeyKind::Issuing,
            ..
        }
    ));
    // A file exchanged under it.
    dir.home
        .replace(
            file::ISSUING_CA,
            Dir::new().initial.issuing.certificate_pem().as_bytes(),
            0o644,
        )
        .unwrap();
    assert!(matches!(
        dir.custodian().open(NOW).unwrap_err(),
        CustodyError::Place(_)
    ));
}

#[test]
fn generations_are_bounded() {
    let dir = Dir::new();
    for _ in 1..GENERATIONS_MAX {
        dir.rotation().token(60).unwrap();
    }
    assert!(matches!(
        dir.rotation().token(60).unwrap_err(),
        CustodyError::Change(KeyringError::TooMany(KeyKind::Token))
    ));
}

#[test]
fn previous_issuing_cas_still_sign() {
    let dir = Dir::new();
    rotate(&dir, dir.rotation(), KeyKind::Issuing).unwrap();
    let keys = dir.open();
    let all: Vec<_> = keys.issuing.all().collect();
    assert_eq!(all.len(), 2);
    for ca in all {
        let ca: &IssuingCa = ca;
        let signature = ca.sign(b"crl").unwrap();
        ca.public().verify(b"crl", &signature).unwrap();
    }
    assert_eq!(
        keys.issuing.all().nth(1).unwrap().certificate(),
        dir.initial.issuing.certificate
    );
}

/// A backup's keys: each may have been retired since. None of them counts
/// beside its successor, whatever the overlap, but the CA that has to go on
/// saying what it revoked.
#[test]
fn keys_of_a_backup_are_void_until_they_are_replaced() {
    for kind in KeyKind::ALL {
        let dir = with_one_of(kind);
        rotate(&dir, dir.rotation(), kind).unwrap();
        let cabinet = Cabinet::new(&dir.home);
        let mut ring = cabinet.read().unwrap();
        ring.make_void(NOW);
        cabinet.write(&ring, &cabinet.lock().unwrap()).unwrap();
        let ring = cabinet.read().unwrap();
        if kind == KeyKind::Server {
            assert!(!ring.void_current().contains(&kind));
            continue;
        }
        assert!(ring.void_current().contains(&kind), "{kind}");
        let still = ring.previous(kind, NOW).count();
        assert_eq!(still, usize::from(kind == KeyKind::Issuing), "{kind}");

        let rotated = rotate(&dir, dir.rotation(), kind).unwrap();
        let ring = cabinet.read().unwrap();
        assert!(!ring.void_current().contains(&kind), "{kind}");
        let until = rotated.previous.unwrap().until.unwrap();
        let expected = match kind {
            KeyKind::Issuing => NOW.plus(3600),
            _ => NOW,
        };
        assert_eq!(until, expected.seconds(), "{kind}");
        // And it is opened so.
        let keys = dir.open();
        let voided: Vec<bool> = keys.issuing.all().map(|ca| ca.voided().is_some()).collect();
        assert_eq!(voided.last(), Some(&true));
        assert_eq!(voided[0], kind != KeyKind::Issuing);
    }
}
