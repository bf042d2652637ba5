//! Known answers: templates, policies, Names, SPKI, and every refusal of the
//! TPM parsers, each from a good structure with one thing changed.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a test's helper is a failed test"
)]

use holdfast_proto::tpm::templates::{
    AkAlg, EkTemplate, POLICY_A_SHA256, POLICY_B_SHA256, POLICY_B_SHA384, ak_template,
    ldevid_template, srk_template,
};
use holdfast_proto::tpm::{
    AsymScheme, Attest, Attested, ClockInfo, EccCurve, HashAlg, Hierarchy, Name, ObjectAttributes,
    Parameters, ParseError, PcrSelection, PcrSet, Public, Signature, Unique,
};

const EK_X: &str = "0dcc7648c78a3118f2612866fe83ef19f40304f623399e1211a10f2b3d1c05cf";
const EK_Y: &str = "30e8027677bcb912943e99ff71140ea9bc24713be1b75c31ff4054724c4f9d00";

/// The P-256 EK with private key 0x1111.
fn ek() -> Public {
    let unique = Unique::Ecc {
        x: hex::decode(EK_X).unwrap(),
        y: hex::decode(EK_Y).unwrap(),
    };
    Public {
        unique,
        ..EkTemplate::L2.public()
    }
}

#[test]
fn l2_name_and_qualified_name() {
    let ek = ek();
    assert_eq!(ek.encode().len(), 122);
    let name = ek.name();
    assert_eq!(
        name.to_string(),
        "000bca9cb40c838a5901cc7881e0b413ae31ee1e077817d1588c23ad00e54f88818f"
    );
    assert_eq!(
        Name::qualified_primary(Hierarchy::Endorsement, &name).to_string(),
        "000b28b9e4d21524dfe061f2fb009bbf5833642dc8165dce26ae2748fc4ef2193ad1"
    );
}

#[test]
fn l2_public_bytes() {
    let expected = format!(
        "0023000b000300b20020{}0006008000430010000300100020{EK_X}0020{EK_Y}",
        hex::encode(POLICY_A_SHA256)
    );
    assert_eq!(hex::encode(ek().encode()), expected);
    assert_eq!(hex::encode(ek().encode_tpm2b()), format!("007a{expected}"));
}

/// The policies recomputed from the commands' definitions (Part 3 §23).
#[test]
fn ek_policies() {
    for (alg, nv_index, policy_a, policy_b) in [
        (
            HashAlg::Sha256,
            0x01C0_7F01u32,
            Some(&POLICY_A_SHA256),
            POLICY_B_SHA256.as_slice(),
        ),
        (
            HashAlg::Sha384,
            0x01C0_7F02,
            None,
            POLICY_B_SHA384.as_slice(),
        ),
    ] {
        let zero = vec![0; alg.digest_len()];
        let be = u32::to_be_bytes;
        let secret = alg.digest(&[&zero, &be(0x151), &be(0x4000_000B)]);
        let a = alg.digest(&[secret.as_bytes()]);
        if let Some(expected) = policy_a {
            assert_eq!(a.as_bytes(), expected);
        }

        let digest_len = u16::try_from(alg.digest_len()).unwrap();
        let nv_public = [
            be(nv_index).as_slice(),
            &alg.id().to_be_bytes(),
            &be(0x220F_1008),
            &digest_len.to_be_bytes(),
            a.as_bytes(),
            &(digest_len + 2).to_be_bytes(),
        ]
        .concat();
        let nv_name = [
            &alg.id().to_be_bytes(),
            alg.digest(&[&nv_public]).as_bytes(),
        ]
        .concat();
        let c = alg.digest(&[&zero, &be(0x192), &nv_name]);
        let b = alg.digest(&[&zero, &be(0x171), a.as_bytes(), c.as_bytes()]);
        assert_eq!(b.as_bytes(), policy_b);
    }
}

#[test]
fn ek_templates_are_told_apart_and_matched_but_for_unique() {
    for template in EkTemplate::ALL {
        let mut public = template.public();
        let high = !matches!(template, EkTemplate::L1 | EkTemplate::L2);
        assert_eq!(
            public.attributes.bits(),
            if high { 0x0003_00F2 } else { 0x0003_00B2 }
        );
        assert_eq!(public.auth_policy.len(), public.name_alg.digest_len());
        match &mut public.unique {
            Unique::Rsa(modulus) => *modulus = vec![0xAB; 256],
            Unique::Ecc { x, y } => (*x, *y) = (vec![1], vec![2]),
            Unique::KeyedHash(_) => unreachable!("no EK is a keyed hash"),
        }
        assert_eq!(EkTemplate::matching(&public), Some(template));
        for changed in every_change_but_unique(&public) {
            assert_eq!(EkTemplate::matching(&changed), None, "{changed:?}");
        }
    }
}

fn every_change_but_unique(public: &Public) -> Vec<Public> {
    let mut policy = public.auth_policy.clone();
    policy[0] ^= 1;
    let parameters = match public.parameters {
        Parameters::Rsa {
            symmetric,
            scheme,
            key_bits,
            ..
        } => Parameters::Rsa {
            symmetric,
            scheme,
            key_bits,
            exponent: 65_537,
        },
        Parameters::Ecc {
            symmetric, curve, ..
        } => Parameters::Ecc {
            symmetric,
            scheme: AsymScheme::Ecdsa(HashAlg::Sha256),
            curve,
        },
        other @ Parameters::KeyedHash { .. } => other,
    };
    let bits = ObjectAttributes::from_bits(public.attributes.bits() ^ (1 << 30));
    vec![
        Public {
            name_alg: HashAlg::Sha1,
            ..public.clone()
        },
        Public {
            attributes: bits,
            ..public.clone()
        },
        Public {
            auth_policy: policy,
            ..public.clone()
        },
        Public {
            auth_policy: Vec::new(),
            ..public.clone()
        },
        Public {
            parameters,
            ..public.clone()
        },
        Public {
            unique: Unique::KeyedHash(Vec::new()),
            ..public.clone()
        },
    ]
}

#[test]
fn holdfasts_own_templates() {
    assert_eq!(srk_template().attributes.bits(), 0x0003_0472);
    assert_eq!(ldevid_template().attributes.bits(), 0x0004_0472);
    for alg in AkAlg::ALL {
        let ak = ak_template(alg, &[7; 32]);
        assert_eq!(ak.attributes.bits(), 0x0005_0472, "{alg:?}");
        assert_eq!(Public::parse(&ak.encode()), Ok(ak.clone()), "{alg:?}");
        assert_eq!(AkAlg::matching(&ak), Some(alg));
    }
    assert_eq!(AkAlg::matching(&ldevid_template()), None);
}

#[test]
fn spki_pads_what_the_tpm_stripped() {
    let mut ek = ek();
    let padded = ek.to_spki_der().unwrap();
    assert_eq!(
        hex::encode(&padded),
        format!("3059301306072a8648ce3d020106082a8648ce3d03010703420004{EK_X}{EK_Y}")
    );
    ek.unique = Unique::Ecc {
        x: vec![5; 31],
        y: vec![6; 30],
    };
    let point = ek.to_ec_point().unwrap();
    assert_eq!(point, [&[4, 0][..], &[5; 31], &[0, 0], &[6; 30]].concat());
}

#[test]
fn spki_of_rsa() {
    let mut ek = EkTemplate::L1.public();
    ek.unique = Unique::Rsa(vec![0xC5; 256]);
    let der = ek.to_spki_der().unwrap();
    let expected = format!(
        "30820122300d06092a864886f70d01010105000382010f003082010a0282010100{}0203010001",
        "c5".repeat(256)
    );
    assert_eq!(hex::encode(der), expected);
}

#[test]
fn spki_refuses_what_is_no_key() {
    let none = |field| Err(ParseError::NoPublicKey { field });
    let rsa = |key_bits, exponent, modulus| {
        let parameters = match EkTemplate::L1.public().parameters {
            Parameters::Rsa {
                symmetric, scheme, ..
            } => Parameters::Rsa {
                symmetric,
                scheme,
                key_bits,
                exponent,
            },
            other => other,
        };
        let unique = Unique::Rsa(modulus);
        Public {
            parameters,
            unique,
            ..EkTemplate::L1.public()
        }
        .to_spki_der()
    };
    let field = "TPMT_PUBLIC.unique.rsa";
    assert_eq!(EkTemplate::L1.public().to_spki_der(), none(field));
    assert_eq!(
        EkTemplate::L2.public().to_spki_der(),
        none("TPMT_PUBLIC.unique.ecc.x")
    );
    assert_eq!(rsa(2048, 0, Vec::new()), none(field));
    assert_eq!(rsa(2048, 0, vec![0x7F; 256]), none(field));
    let short = ParseError::WrongLength {
        field,
        len: 255,
        expected: 256,
    };
    assert_eq!(rsa(2048, 0, vec![0xFF; 255]), Err(short));
    for exponent in [1, 2, 65_536] {
        let field = "TPMS_RSA_PARMS.exponent";
        let refused = ParseError::Unsupported {
            field,
            value: exponent.into(),
        };
        assert_eq!(rsa(2048, exponent, vec![0xFF; 256]), Err(refused));
    }
    assert!(rsa(2048, 3, vec![0xFF; 256]).is_ok());
}

#[test]
fn public_refusals() {
    let good = ek().encode();
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = good.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        Public::parse(&changed).unwrap_err()
    };
    let unsupported = |field, value| ParseError::Unsupported { field, value };
    assert_eq!(with(0, &[0, 0x25]), unsupported("TPMT_PUBLIC.type", 0x25));
    assert_eq!(
        with(2, &[0, 0x12]),
        unsupported("TPMT_PUBLIC.nameAlg", 0x12)
    );
    assert_eq!(
        with(2, &[0, 0x10]),
        unsupported("TPMT_PUBLIC.nameAlg", 0x10)
    );
    let field = "TPMT_PUBLIC.authPolicy";
    assert_eq!(
        with(8, &[0, 33]),
        ParseError::TooLong {
            field,
            len: 33,
            max: 32
        }
    );
    assert_eq!(
        with(8, &[0, 31]),
        ParseError::WrongLength {
            field,
            len: 31,
            expected: 32
        }
    );
    assert_eq!(
        with(42, &[0, 0x13]),
        unsupported("TPMT_SYM_DEF_OBJECT.algorithm", 0x13)
    );
    assert_eq!(
        with(44, &[0, 64]),
        unsupported("TPMT_SYM_DEF_OBJECT.keyBits", 64)
    );
    assert_eq!(
        with(46, &[0, 0x42]),
        unsupported("TPMT_SYM_DEF_OBJECT.mode", 0x42)
    );
    assert_eq!(
        with(48, &[0, 0x1A]),
        unsupported("TPMT_ECC_SCHEME.scheme", 0x1A)
    );
    assert_eq!(with(50, &[0, 1]), unsupported("TPMS_ECC_PARMS.curveID", 1));
    assert_eq!(
        with(52, &[0, 0x20]),
        unsupported("TPMS_ECC_PARMS.kdf", 0x20)
    );
    let field = "TPMT_PUBLIC.unique.ecc.x";
    assert_eq!(
        with(54, &[0, 33]),
        ParseError::TooLong {
            field,
            len: 33,
            max: 32
        }
    );
    assert_eq!(
        with(54, &[0xFF, 0xFF]),
        ParseError::TooLong {
            field,
            len: 65_535,
            max: 32
        }
    );

    let huge = ParseError::TooLong {
        field: "TPMT_PUBLIC",
        len: 2000,
        max: 1024,
    };
    assert_eq!(Public::parse(&[0; 2000]), Err(huge));
    let tpm2b = [&[0, 123][..], &good].concat();
    let early = ParseError::Truncated {
        field: "TPM2B_PUBLIC",
        missing: 1,
    };
    assert_eq!(Public::parse_tpm2b(&tpm2b), Err(early));
    let tpm2b = [&[0, 122][..], &good, &[0]].concat();
    let trailing = ParseError::TrailingBytes {
        structure: "TPM2B_PUBLIC",
        count: 1,
    };
    assert_eq!(Public::parse_tpm2b(&tpm2b), Err(trailing));
}

#[test]
fn rsa_key_sizes() {
    let mut good = EkTemplate::L1.public().encode();
    good.truncate(good.len() - 256 - 2 - 4 - 2);
    for key_bits in [512u16, 1023, 2047, 8192] {
        let public = [&good, key_bits.to_be_bytes().as_slice(), &[0; 6]].concat();
        let field = "TPMS_RSA_PARMS.keyBits";
        let refused = ParseError::Unsupported {
            field,
            value: key_bits.into(),
        };
        assert_eq!(Public::parse(&public), Err(refused));
    }
}

fn quote() -> Attest {
    Attest {
        qualified_signer: ek().name().as_bytes().to_vec(),
        extra_data: vec![9; 32],
        clock_info: ClockInfo {
            clock: 3530,
            reset_count: 2,
            restart_count: 1,
            safe: true,
        },
        firmware_version: 0x2019_1023_0016_3636,
        attested: Attested::Quote {
            selection: vec![PcrSelection {
                hash: HashAlg::Sha256,
                pcrs: PcrSet::from_indices([0, 1, 7, 14, 23]).unwrap(),
            }],
            pcr_digest: vec![8; 32],
        },
    }
}

#[test]
fn quote_bytes() {
    let expected = [
        "ff544347",
        "8018",
        "0022000bca9cb40c838a5901cc7881e0b413ae31ee1e077817d1588c23ad00e54f88818f",
        &format!("0020{}", "09".repeat(32)),
        "0000000000000dca",
        "00000002",
        "00000001",
        "01",
        "2019102300163636",
        "00000001000b03834080",
        &format!("0020{}", "08".repeat(32)),
    ];
    assert_eq!(hex::encode(quote().encode()), expected.concat());
}

/// A09: magic, type, flags and lengths of an attestation structure.
#[test]
fn adv_a09_attest_refusals() {
    let good = quote().encode();
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = good.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        Attest::parse(&changed).unwrap_err()
    };
    let unsupported = |field, value| ParseError::Unsupported { field, value };
    assert_eq!(with(0, &[0xFE]), ParseError::NotTpmGenerated(0xFE54_4347));
    assert_eq!(
        with(4, &[0x80, 0x14]),
        unsupported("TPMS_ATTEST.type", 0x8014)
    );
    // A quote relabelled as certify does not parse, nor the reverse.
    let relabelled = ParseError::Truncated {
        field: "TPM2B_NAME",
        missing: 2,
    };
    assert_eq!(with(4, &[0x80, 0x17]), relabelled);
    let field = "TPMS_ATTEST.qualifiedSigner";
    assert_eq!(
        with(6, &[0, 67]),
        ParseError::TooLong {
            field,
            len: 67,
            max: 66
        }
    );
    let field = "TPMS_ATTEST.extraData";
    assert_eq!(
        with(42, &[0xFF, 0xFF]),
        ParseError::TooLong {
            field,
            len: 65_535,
            max: 66
        }
    );
    assert_eq!(with(92, &[2]), unsupported("TPMS_CLOCK_INFO.safe", 2));
    let field = "TPML_PCR_SELECTION.count";
    assert_eq!(
        with(101, &[0, 0, 0, 9]),
        ParseError::TooLong {
            field,
            len: 9,
            max: 8
        }
    );
    assert_eq!(
        with(105, &[0, 0x12]),
        unsupported("TPMS_PCR_SELECTION.hash", 0x12)
    );
    assert_eq!(
        with(107, &[4]),
        unsupported("TPMS_PCR_SELECTION.sizeofSelect", 4)
    );
    let field = "TPMS_QUOTE_INFO.pcrDigest";
    assert_eq!(
        with(111, &[0, 65]),
        ParseError::TooLong {
            field,
            len: 65,
            max: 64
        }
    );
    assert_eq!(
        with(111, &[0, 33]),
        ParseError::Truncated { field, missing: 1 }
    );
    assert_eq!(
        with(111, &[0, 31]),
        ParseError::TrailingBytes {
            structure: "TPMS_ATTEST",
            count: 1
        }
    );
}

#[test]
fn pcr_sets_ascend_within_range() {
    let set = PcrSet::from_indices([0, 7, 23]).unwrap();
    assert_eq!(set.iter().collect::<Vec<_>>(), [0, 7, 23]);
    assert_eq!(
        (set.bits(), set.len(), set.to_string()),
        (0x80_0081, 3, "0,7,23".to_owned())
    );
    let order = |index, previous| Err(ParseError::PcrOrder { index, previous });
    assert_eq!(PcrSet::from_indices([7, 7]), order(7, 7));
    assert_eq!(PcrSet::from_indices([7, 0]), order(0, 7));
    for index in [24, 32, u32::MAX] {
        let refused = ParseError::Unsupported {
            field: "PCR index",
            value: index.into(),
        };
        assert_eq!(PcrSet::from_indices([index]), Err(refused));
        assert!(!set.contains(index));
    }
}

/// A11: what r and s may be before any curve is asked.
#[test]
fn adv_a11_ecdsa_scalars() {
    let fixed = |r: &[u8], s: &[u8]| {
        Signature::Ecdsa {
            hash: HashAlg::Sha256,
            r: r.to_vec(),
            s: s.to_vec(),
        }
        .ecdsa_fixed(EccCurve::P256)
    };
    assert_eq!(
        fixed(&[1; 31], &[2; 32]),
        Ok([&[0][..], &[1; 31], &[2; 32]].concat())
    );
    let (r, s) = ("TPMT_SIGNATURE.signatureR", "TPMT_SIGNATURE.signatureS");
    let zero = |field| Err(ParseError::Unsupported { field, value: 0 });
    assert_eq!(fixed(&[], &[2; 32]), zero(r));
    assert_eq!(fixed(&[0; 32], &[2; 32]), zero(r));
    assert_eq!(fixed(&[1; 32], &[]), zero(s));
    let long = |field| {
        Err(ParseError::TooLong {
            field,
            len: 33,
            max: 32,
        })
    };
    assert_eq!(fixed(&[1; 33], &[2; 32]), long(r));
    assert_eq!(fixed(&[1; 32], &[0, 2].repeat(17)[..33]), long(s));
    let rsa = Signature::RsaSsa {
        hash: HashAlg::Sha256,
        sig: vec![1; 64],
    };
    let field = "TPMT_SIGNATURE.sigAlg";
    let refused = ParseError::Unsupported { field, value: 0x14 };
    assert_eq!(rsa.ecdsa_fixed(EccCurve::P256), Err(refused));
}

#[test]
fn signature_refusals() {
    let unsupported = |field, value| Err(ParseError::Unsupported { field, value });
    let null = Signature::parse(&[0, 0x10]);
    assert_eq!(null, unsupported("TPMT_SIGNATURE.sigAlg", 0x10));
    let ecdaa = Signature::parse(&[0, 0x1A, 0, 0x0B]);
    assert_eq!(ecdaa, unsupported("TPMT_SIGNATURE.sigAlg", 0x1A));
    let sm3 = Signature::parse(&[0, 0x18, 0, 0x12]);
    assert_eq!(sm3, unsupported("TPMT_SIGNATURE.hash", 0x12));
    let field = "TPMT_SIGNATURE.sig";
    let long = Signature::parse(&[0, 0x14, 0, 0x0B, 2, 1]);
    assert_eq!(
        long,
        Err(ParseError::TooLong {
            field,
            len: 513,
            max: 512
        })
    );
    let field = "TPMT_SIGNATURE.signatureR";
    let long = Signature::parse(&[0, 0x18, 0, 0x0B, 0, 67]);
    assert_eq!(
        long,
        Err(ParseError::TooLong {
            field,
            len: 67,
            max: 66
        })
    );
}

#[test]
fn hash_known_answers() {
    for (alg, expected) in [
        (HashAlg::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
        (
            HashAlg::Sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
    ] {
        assert_eq!(alg.digest(&[b"a", b"bc"]).to_string(), expected);
        assert_eq!(HashAlg::from_name(alg.name()), Some(alg));
    }
    assert_eq!(HashAlg::Sha384.digest(&[]).as_bytes().len(), 48);
    assert_eq!(HashAlg::Sha512.digest(&[]).as_bytes().len(), 64);
}
