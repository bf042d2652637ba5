//! The TPM room on a live swtpm.
#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

mod support;

use holdfast_attester::tpm::{AttestationKey, EkChoice, Settings, Tpm, TpmError};
use holdfast_proto::tpm::templates::{AkAlg, EkTemplate, srk_template};
use holdfast_proto::tpm::{
    AsymScheme, Attest, Attested, EccCurve, HashAlg, Hierarchy, Name, Parameters, PcrSelection,
    PcrSet, Public, Signature, Symmetric, Unique,
};
use ring::signature::{self, UnparsedPublicKey};
use support::{Swtpm, make_credential};

fn selection(indices: impl IntoIterator<Item = u32>) -> PcrSelection {
    PcrSelection {
        hash: HashAlg::Sha256,
        pcrs: PcrSet::from_indices(indices).unwrap(),
    }
}

fn ak(alg: AkAlg) -> AttestationKey {
    AttestationKey {
        alg,
        unique: [7; 32],
    }
}

/// Checks a TPMT_SIGNATURE with ring.
fn verify(public: &Public, message: &[u8], signature: &[u8]) {
    match Signature::parse(signature).unwrap() {
        signature @ Signature::Ecdsa { hash, .. } => {
            let (curve, alg): (_, &dyn signature::VerificationAlgorithm) = match hash {
                HashAlg::Sha384 => (EccCurve::P384, &signature::ECDSA_P384_SHA384_FIXED),
                _ => (EccCurve::P256, &signature::ECDSA_P256_SHA256_FIXED),
            };
            let fixed = signature.ecdsa_fixed(curve).unwrap();
            UnparsedPublicKey::new(alg, public.to_ec_point().unwrap())
                .verify(message, &fixed)
                .unwrap();
        }
        Signature::RsaSsa { sig, .. } => UnparsedPublicKey::new(
            &signature::RSA_PKCS1_2048_8192_SHA256,
            public.to_rsa_public_key_der().unwrap(),
        )
        .verify(message, &sig)
        .unwrap(),
        // ring insists on a salt of the hash's length; libtpms uses the
        // longest: the integration tests check it with another verifier.
        Signature::RsaPss { sig, .. } => assert_eq!(sig.len(), 256),
        other => panic!("{other:?}"),
    }
}

#[test]
fn srk_is_made_once_and_pinned() {
    let swtpm = Swtpm::start();
    let made = swtpm.open().storage_root(None).unwrap();
    assert!(made.created);
    let tpm = swtpm.open();
    let found = tpm.storage_root(Some(&made.name)).unwrap();
    assert_eq!((found.created, &found.name), (false, &made.name));
    let other = Name::parse(&[&[0, 0x0B][..], &[1; 32]].concat()).unwrap();
    assert!(matches!(
        tpm.storage_root(Some(&other)),
        Err(TpmError::OtherStorageRoot { .. })
    ));
    // The right one still works afterwards.
    tpm.storage_root(Some(&made.name)).unwrap();
    tpm.create_ldevid().unwrap();
}

#[test]
fn an_rsa_storage_root_serves_as_well() {
    let swtpm = Swtpm::start();
    let area = Public {
        parameters: Parameters::Rsa {
            symmetric: Symmetric::Aes { key_bits: 128 },
            scheme: AsymScheme::Null,
            key_bits: 2048,
            exponent: 0,
        },
        unique: Unique::Rsa(Vec::new()),
        ..srk_template()
    };
    persist(&swtpm, &area);
    let tpm = swtpm.open();
    let root = tpm.storage_root(None).unwrap();
    assert!(!root.created);
    let key = tpm.create_ldevid().unwrap();
    tpm.sign(&key, [1; 32]).unwrap();
}

/// Makes a primary in the owner hierarchy and leaves it at 0x81000001.
fn persist(swtpm: &Swtpm, area: &Public) {
    use tss_esapi::interface_types::resource_handles::{Hierarchy, Provision};
    let mut context = swtpm.context();
    let area = tss_esapi::traits::UnMarshall::unmarshall(&area.encode()).unwrap();
    context.execute_with_session(
        Some(tss_esapi::interface_types::session_handles::AuthSession::Password),
        |context| {
            let key = context
                .create_primary(Hierarchy::Owner, area, None, None, None, None)
                .unwrap();
            let handle = tss_esapi::handles::PersistentTpmHandle::new(0x8100_0001).unwrap();
            context
                .evict_control(Provision::Owner, key.key_handle.into(), handle.into())
                .unwrap();
        },
    );
}

#[test]
fn an_occupied_handle_is_left_alone() {
    let swtpm = Swtpm::start();
    // A signing primary at the handle: not a storage key.
    persist(&swtpm, &ak(AkAlg::EcdsaP256).template());
    let error = swtpm.open().storage_root(None).unwrap_err();
    assert!(
        matches!(
            error,
            TpmError::HandleOccupied {
                handle: 0x8100_0001,
                ..
            }
        ),
        "{error}"
    );
    let settings = Settings {
        srk_handle: 0x8100_0002,
        ..Settings::default()
    };
    let tpm = Tpm::open_with(&swtpm.tcti(), settings).unwrap();
    assert!(tpm.storage_root(None).unwrap().created);
}

#[test]
fn every_ek_kind_is_found_by_its_certificate() {
    let swtpm = Swtpm::start();
    let kinds = [
        (EkChoice::Rsa2048, EkTemplate::L1),
        (EkChoice::EccP256, EkTemplate::L2),
        (EkChoice::EccP384, EkTemplate::H3),
        (EkChoice::Rsa3072, EkTemplate::H6),
    ];
    assert!(matches!(
        swtpm.open().endorsement_key(EkChoice::Auto),
        Err(TpmError::NoEkCertificate { .. })
    ));
    for (choice, template) in kinds {
        let bare = swtpm.open().endorsement_key(choice).unwrap();
        assert!(bare.certificate_chain.is_empty());
        assert!(
            bare.public.matches_template(&template.public()),
            "{choice:?}"
        );
    }
    let rsa = swtpm.certify_ek(EkTemplate::L1);
    assert_eq!(
        swtpm
            .open()
            .endorsement_key(EkChoice::Auto)
            .unwrap()
            .certificate_chain,
        vec![rsa.clone()]
    );
    let mut expected = vec![(EkTemplate::L1, rsa)];
    for (_, template) in &kinds[1..] {
        expected.push((*template, swtpm.certify_ek(*template)));
    }
    // Chain: two certificates, the second goes over into the next index.
    let (first, second) = (support::sequence(&[1; 300]), support::sequence(&[2; 500]));
    let chain = [first.clone(), second.clone(), vec![0; 30]].concat();
    let (head, tail) = chain.split_at(400);
    swtpm.write_nv(0x01C0_0100, head);
    swtpm.write_nv(0x01C0_0101, tail);
    let tpm = swtpm.open();
    for ((choice, _), (template, certificate)) in kinds.iter().zip(&expected) {
        let ek = tpm.endorsement_key(*choice).unwrap();
        assert_eq!(EkTemplate::matching(&ek.public), Some(*template));
        assert_eq!(
            ek.certificate_chain,
            vec![certificate.clone(), first.clone(), second.clone()]
        );
    }
    // ECC is preferred: it costs milliseconds.
    let auto = tpm.endorsement_key(EkChoice::Auto).unwrap();
    assert_eq!(EkTemplate::matching(&auto.public), Some(EkTemplate::L2));
    let found = tpm.ek_certificates().unwrap();
    assert_eq!(found.leaves.len(), 4);
    assert!(found.problems.is_empty());
}

#[test]
fn template_and_nonce_in_nv_make_another_ek() {
    let swtpm = Swtpm::start();
    let standard = swtpm.open().endorsement_key(EkChoice::EccP256).unwrap();
    swtpm.write_nv(
        EkTemplate::L2.template_nv_index(),
        &EkTemplate::L2.public().encode(),
    );
    swtpm.write_nv(EkTemplate::L2.nonce_nv_index().unwrap(), &[9; 32]);
    let special = swtpm.open().endorsement_key(EkChoice::EccP256).unwrap();
    assert_ne!(standard.public, special.public);
    assert_eq!(EkTemplate::matching(&special.public), Some(EkTemplate::L2));
    // A certificate for the standard key wins over the template in NV.
    swtpm.write_nv(
        EkTemplate::L2.cert_nv_index(),
        &support::stand_in_certificate(&standard.public),
    );
    let chosen = swtpm.open().endorsement_key(EkChoice::EccP256).unwrap();
    assert_eq!(chosen.public, standard.public);
}

#[test]
fn damaged_certificates_are_reported() {
    let swtpm = Swtpm::start();
    swtpm.write_nv(EkTemplate::L2.cert_nv_index(), &[0xFF; 64]);
    let found = swtpm.open().ek_certificates().unwrap();
    assert!(found.leaves.is_empty());
    assert_eq!(found.problems.len(), 1);
    assert_eq!(found.problems[0].0, EkTemplate::L2.cert_nv_index());
}

#[test]
fn credential_is_activated_by_every_ek_kind() {
    let swtpm = Swtpm::start();
    let maker = Swtpm::start();
    let tpm = swtpm.open();
    let key = ak(AkAlg::EcdsaP256);
    let ak_name = tpm.attestation_key(&key).unwrap().name();
    for choice in [
        EkChoice::Rsa2048,
        EkChoice::EccP256,
        EkChoice::EccP384,
        EkChoice::Rsa3072,
    ] {
        let ek = tpm.endorsement_key(choice).unwrap();
        let secret = [0x5A; 32];
        let (blob, encrypted) = make_credential(&maker, &ek.public, &ak_name, secret);
        let got = tpm
            .activate_credential(&ek.template, &key, &blob, &encrypted)
            .unwrap();
        assert_eq!(got.as_slice(), secret, "{choice:?}");
        // For another AK: refused, and the session slots are back.
        let other = AttestationKey {
            alg: AkAlg::EcdsaP256,
            unique: [8; 32],
        };
        assert!(
            tpm.activate_credential(&ek.template, &other, &blob, &encrypted)
                .is_err()
        );
        tpm.activate_credential(&ek.template, &key, &blob, &encrypted)
            .unwrap();
    }
}

#[test]
fn quote_and_certify_verify() {
    let swtpm = Swtpm::start();
    let tpm = swtpm.open();
    let blob = tpm.create_ldevid().unwrap();
    for alg in AkAlg::ALL {
        let key = ak(alg);
        let public = tpm.attestation_key(&key).unwrap();
        assert_eq!(AkAlg::matching(&public), Some(alg));
        let signer = Name::qualified_primary(Hierarchy::Endorsement, &public.name());

        let selection = selection([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 23]);
        let values = tpm.read_pcrs(&selection).unwrap();
        assert_eq!(values.len(), 12);
        let quote = tpm.quote(&key, &selection, [1; 32]).unwrap();
        verify(&public, &quote.attest, &quote.signature);
        let attest = Attest::parse(&quote.attest).unwrap();
        assert_eq!(attest.extra_data, [1; 32]);
        assert_eq!(attest.qualified_signer, signer.as_bytes());
        let parts: Vec<&[u8]> = values.values().map(Vec::as_slice).collect();
        let digest = key.hash().digest(&parts);
        assert_eq!(
            attest.attested,
            Attested::Quote {
                selection: vec![selection],
                pcr_digest: digest.as_bytes().to_vec()
            }
        );

        let certify = tpm.certify(&blob, &key, [2; 32]).unwrap();
        verify(&public, &certify.attest, &certify.signature);
        let attest = Attest::parse(&certify.attest).unwrap();
        assert_eq!(attest.extra_data, [2; 32]);
        assert!(matches!(attest.attested, Attested::Certify { name, .. } if name == blob.name()));
    }
}

#[test]
fn ldevid_key_signs() {
    let swtpm = Swtpm::start();
    let tpm = swtpm.open();
    let blob = tpm.create_ldevid().unwrap();
    let digest = HashAlg::Sha256.digest(&[b"message"]);
    let signature = tpm
        .sign(&blob, digest.as_bytes().try_into().unwrap())
        .unwrap();
    verify(blob.public(), b"message", &signature.encode());
}

#[test]
fn a_bank_that_is_not_there_is_named() {
    let swtpm = Swtpm::start();
    let sha512 = PcrSelection {
        hash: HashAlg::Sha512,
        ..selection([3, 4])
    };
    match swtpm.open().read_pcrs(&sha512) {
        // swtpm 0.7 has all four banks; a TPM without says PcrMissing.
        Ok(values) => assert_eq!(values.len(), 2),
        Err(error) => assert!(matches!(
            error,
            TpmError::PcrMissing {
                bank: "sha512",
                index: 3
            }
        )),
    }
}

#[test]
fn ak_comes_back_after_a_power_cycle() {
    let mut swtpm = Swtpm::start();
    let before = swtpm.open().attestation_key(ak(AkAlg::EcdsaP256)).unwrap();
    let tpm = swtpm.open();
    swtpm.restart();
    // The old connection is gone, and says so.
    assert!(tpm.read_pcrs(&selection([0])).is_err());
    drop(tpm);
    let after = swtpm.open().attestation_key(ak(AkAlg::EcdsaP256)).unwrap();
    assert_eq!(before, after);
}

#[test]
fn two_hundred_failures_leave_no_slot_taken() {
    let swtpm = Swtpm::start();
    let stranger = Swtpm::start().open().create_ldevid().unwrap();
    let tpm = swtpm.open();
    tpm.storage_root(None).unwrap();
    let ek = tpm.endorsement_key(EkChoice::EccP256).unwrap();
    let key = ak(AkAlg::EcdsaP256);
    for n in 0..50 {
        assert!(matches!(
            tpm.sign(&stranger, [n; 32]),
            Err(TpmError::KeyOfAnotherTpm { .. })
        ));
        assert!(tpm.certify(&stranger, &key, [n; 32]).is_err());
        assert!(
            tpm.activate_credential(&ek.template, &key, &[n; 52], &[n; 68])
                .is_err()
        );
        assert!(tpm.storage_root(Some(&ek.public.name())).is_err());
    }
    tpm.storage_root(None).unwrap();
    let facts = tpm.facts().unwrap();
    assert_eq!(
        (facts.free_transient, facts.free_sessions),
        (Some(3), Some(3))
    );
    let blob = tpm.create_ldevid().unwrap();
    tpm.certify(&blob, &key, [1; 32]).unwrap();
    tpm.quote(&key, &selection([0]), [1; 32]).unwrap();
}

#[test]
fn what_a_killed_run_left_loaded_is_flushed() {
    let swtpm = Swtpm::start();
    let public = swtpm.open().attestation_key(ak(AkAlg::EcdsaP256)).unwrap();
    let null = [0x40, 0, 0, 7];
    // TPM2_LoadExternal of a public area.
    let load = [&[0, 0][..], &public.encode_tpm2b(), &null].concat();
    // TPM2_StartAuthSession: HMAC, no salt, no binding, 16-byte nonce.
    let start = [
        &null[..],
        &null,
        &[0, 16],
        &[7; 16],
        &[0, 0],
        &[0],
        &[0, 0x10],
        &[0, 0x0B],
    ]
    .concat();
    for _ in 0..3 {
        let load = support::raw_command(0x167, &load);
        swtpm.send_raw(&[load, support::raw_command(0x176, &start)]);
    }
    let tpm = swtpm.open();
    tpm.storage_root(None).unwrap();
    tpm.attestation_key(ak(AkAlg::EcdsaP256)).unwrap();
    let facts = tpm.facts().unwrap();
    assert_eq!(
        (facts.free_transient, facts.free_sessions),
        (Some(3), Some(3))
    );
}

#[test]
fn facts_of_swtpm() {
    let swtpm = Swtpm::start();
    swtpm.certify_ek(EkTemplate::L2);
    let facts = swtpm.open().facts().unwrap();
    assert_eq!(facts.make.manufacturer, "IBM");
    assert!(
        facts
            .pcr_banks
            .iter()
            .any(|bank| bank.alg == "sha256" && bank.pcrs == 24)
    );
    assert!(!facts.in_lockout && facts.endorsement_enabled && facts.owner_enabled);
    assert_eq!(facts.certificates.leaves.len(), 1);
    assert_eq!(facts.srk, holdfast_attester::tpm::SrkOccupant::Free);
}

#[test]
fn a_wrong_endorsement_auth_is_not_tried_twice() {
    use std::os::unix::fs::PermissionsExt;
    use tss_esapi::handles::AuthHandle;
    let swtpm = Swtpm::start();
    swtpm.context().execute_with_session(
        Some(tss_esapi::interface_types::session_handles::AuthSession::Password),
        |context| {
            let auth = b"right".as_slice().try_into().unwrap();
            context
                .hierarchy_change_auth(AuthHandle::Endorsement, auth)
                .unwrap();
        },
    );
    let dir = tempfile::tempdir().unwrap();
    let open = |auth: &str| {
        let path = dir.path().join("auth");
        std::fs::write(&path, auth).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let auth = holdfast_attester::tpm::AuthValue::from_file(&path).unwrap();
        let settings = Settings {
            endorsement_auth: Some(auth),
            ..Settings::default()
        };
        Tpm::open_with(&swtpm.tcti(), settings).unwrap()
    };
    let tpm = open("wrong");
    tpm.storage_root(None).unwrap();
    let key = ak(AkAlg::EcdsaP256);
    assert!(matches!(
        tpm.attestation_key(&key),
        Err(TpmError::AuthRefused { .. })
    ));
    let sent = tpm.command_count();
    let error = tpm.attestation_key(&key).unwrap_err();
    assert!(matches!(error, TpmError::AuthRefused { .. }));
    // Only the session was (re)started: the refused command did not go out.
    assert!(tpm.command_count() - sent <= 2);
    drop(tpm);
    let tpm = open("right");
    tpm.attestation_key(&key).unwrap();
    // The low-range EK's policy needs the same auth value.
    let maker = Swtpm::start();
    let ek = tpm.endorsement_key(EkChoice::EccP256).unwrap();
    let name = tpm.attestation_key(&key).unwrap().name();
    let (blob, encrypted) = make_credential(&maker, &ek.public, &name, [3; 32]);
    tpm.activate_credential(&ek.template, &key, &blob, &encrypted)
        .unwrap();
}

#[test]
fn unreachable_tpms_are_explained() {
    let error = Tpm::open(&"swtpm:host=127.0.0.1,port=1".parse().unwrap()).unwrap_err();
    assert!(matches!(&error, TpmError::Unreachable { reason, .. } if reason.contains("refused")));
    let error = Tpm::open(&"device:/nonexistent/tpm".parse().unwrap()).unwrap_err();
    assert!(matches!(&error, TpmError::Unreachable { reason, .. } if reason.contains("No such")));
}

#[test]
fn command_time_adds_up() {
    let swtpm = Swtpm::start();
    let tpm = swtpm.open();
    let started = std::time::Instant::now();
    let before = tpm.command_time();
    tpm.endorsement_key(EkChoice::Rsa2048).unwrap();
    let spent = tpm.command_time() - before;
    assert!(spent > std::time::Duration::ZERO && spent <= started.elapsed());
    // The primary is created once: the second time it is loaded.
    let before = tpm.command_count();
    tpm.endorsement_key(EkChoice::Rsa2048).unwrap();
    assert!(tpm.command_count() - before < 5);
}
