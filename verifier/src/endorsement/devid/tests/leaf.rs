//! What the leaf certificates and the keys must be, each alone.

use super::*;

/// RSA keys whose factors can be found, in either place.
#[test]
fn cve_c28_roca_iak_and_idevid_are_refused() {
    let Unique::Rsa(modulus) = pki::rsa_ek().unique else {
        unreachable!()
    };
    let rsa = |of, modulus: Vec<u8>| Public {
        unique: Unique::Rsa(modulus),
        ..DevidTemplate::H1.public(of, DevidUnique::Zeros)
    };
    let with = |of, modulus: Vec<u8>| {
        changed(|d| match of {
            DevidKey::Iak => {
                d.iak = rsa(of, modulus);
                d.iak_spec = d.oem.spec(of, &d.iak);
            }
            DevidKey::Idevid => {
                d.idevid = rsa(of, modulus);
                d.idevid_spec = d.oem.spec(of, &d.idevid);
            }
        })
    };
    for of in [DevidKey::Iak, DevidKey::Idevid] {
        let _ = with(of, modulus.clone()).unwrap();
        let flawed = crate::endorsement::roca::tests::flawed(&modulus);
        refused!(with(of, flawed), DevidError::Roca { of: got } if got == of);
        let mut even = modulus.clone();
        *even.last_mut().unwrap() &= 0xFE;
        refused!(with(of, even), DevidError::UnsoundKey { of: got } if got == of);
    }
}

/// The IDevID's own certificate, and its key under the IAK's area: its key
/// would sign a quote of any PCRs.
#[test]
fn adv_a05_an_idevid_certificate_is_no_iak_certificate() {
    let attack = |d: &Device, idevid: &Public, idevid_chain: &[Vec<u8>]| {
        let forged = public(DevidKey::Iak, d.idevid.unique.clone());
        ClaimedDevid::parse(
            &forged.encode(),
            &d.oem.chain(&d.idevid_spec),
            &idevid.encode(),
            idevid_chain,
        )
    };
    // As all OEMs write it, without purpose or policy; with an IDevID's own.
    for more in [vec![], vec![policies(&[FIXED])], vec![policies(&[])]] {
        let mut d = Device::new();
        d.idevid_spec.extensions.extend(more);
        let _ = d.endorse().unwrap();
        let own = d.oem.chain(&d.idevid_spec);
        refused!(attack(&d, &d.idevid, &own), DevidError::NotForAttestation);
        let iak = public(DevidKey::Idevid, d.iak.unique.clone());
        let chain = d.oem.chain(&d.iak_spec);
        refused!(attack(&d, &iak, &chain), DevidError::NotForAttestation);
    }
    let mut d = Device::new();
    d.idevid_spec.extensions.push(eku(CLIENT_AUTH));
    let own = d.oem.chain(&d.idevid_spec);
    refused!(
        attack(&d, &d.idevid, &own),
        DevidError::ExtendedKeyUsage {
            of: DevidKey::Iak,
            ..
        }
    );
}

#[test]
fn an_iak_certificate_says_that_its_key_attests() {
    let iak = |more: Option<Vec<u8>>| {
        changed(|d| {
            d.iak_spec = d.iak_spec.clone().replace(EKU, None);
            d.iak_spec.extensions.extend(more);
        })
    };
    let _ = iak(Some(purposes(&[CLIENT_AUTH, AIK]))).unwrap();
    let _ = iak(Some(policies(&[FIXED, RESTRICTED]))).unwrap();
    // Resident and fixed is every IDevID's key; anyPolicy says nothing.
    let any_policy: &[u8] = &[0x55, 0x1D, 0x20, 0x00];
    for nothing in [
        None,
        Some(policies(&[FIXED])),
        Some(policies(&[any_policy])),
    ] {
        refused!(iak(nothing), DevidError::NotForAttestation);
    }
    // The policy does not mend a purpose that is another.
    refused!(
        changed(|d| {
            d.iak_spec = d.iak_spec.clone().replace(EKU, Some(eku(CLIENT_AUTH)));
            d.iak_spec.extensions.push(policies(&[RESTRICTED]));
        }),
        DevidError::ExtendedKeyUsage {
            of: DevidKey::Iak,
            ..
        }
    );
}

#[test]
fn an_idevid_certificate_says_nothing_of_attestation() {
    let attests = [
        eku(AIK),
        purposes(&[CLIENT_AUTH, AIK]),
        policies(&[RESTRICTED]),
        policies(&[FIXED, RESTRICTED]),
    ];
    for says in attests {
        refused!(
            changed(|d| d.idevid_spec.extensions.push(says)),
            DevidError::ForAttestation { .. }
        );
    }
}

/// Of a list that does not parse nobody can tell that it lacks something.
#[test]
fn lists_of_purposes_and_policies_that_do_not_parse_are_refused() {
    let bad_lists: [Vec<u8>; 4] = [
        extension(EKU, false, &seq(&[&der(0x04, &[AIK])])),
        extension(EKU, false, &[oid(AIK), vec![0]].concat()),
        extension(POLICIES, false, &seq(&[&oid(RESTRICTED)])),
        extension(
            POLICIES,
            false,
            &seq(&[&seq(&[&oid(FIXED), &seq(&[]), &oid(RESTRICTED)])]),
        ),
    ];
    for bad in bad_lists {
        for of in [DevidKey::Iak, DevidKey::Idevid] {
            let refused = changed(|d| match of {
                DevidKey::Iak => {
                    d.iak_spec = d.iak_spec.clone().replace(EKU, None);
                    d.iak_spec.extensions.push(bad.clone());
                }
                DevidKey::Idevid => d.idevid_spec.extensions.push(bad.clone()),
            });
            refused!(
                refused,
                DevidError::Certificate { of: got, source: EndorsementError::Malformed { .. } }
                    if got == of
            );
        }
    }
}

/// An OEM that certified one key as both: whatever the certificates say.
#[test]
fn iak_and_idevid_are_two_keys() {
    refused!(
        changed(|d| {
            d.idevid.unique = d.iak.unique.clone();
            d.idevid_spec = d.oem.spec(DevidKey::Idevid, &d.idevid);
        }),
        DevidError::SameKey
    );
}

#[test]
fn rules_of_the_leaf_certificates() {
    type Spoil = fn(Spec) -> Spec;
    let usage: Spoil = |s| s.replace(KEY_USAGE, Some(key_usage(0x08)));
    let purpose: Spoil = |s| {
        s.replace(
            EKU,
            Some(eku(&[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01])),
        )
    };
    let ca: Spoil = |s| s.replace(&[0], Some(pki::basic_constraints(true, None)));
    let none: Spoil = |s| Spec {
        subject: subject(&[]),
        ..s
    };
    let two: Spoil = |s| Spec {
        subject: subject(&[SERIAL, SERIAL]),
        ..s
    };
    let odd: Spoil = |s| Spec {
        subject: subject(&["GW\u{1b}[1m"]),
        ..s
    };
    let malformed: Spoil = |s| s.replace(SAN, Some(other_name(&der(0x04, &[b"1"]))));
    let ended: Spoil = |s| Spec {
        not_after: "250101000000Z",
        ..s
    };
    for of in [DevidKey::Iak, DevidKey::Idevid] {
        let spoilt = |spoil: Spoil| {
            changed(|d| {
                let spec = match of {
                    DevidKey::Iak => &mut d.iak_spec,
                    DevidKey::Idevid => &mut d.idevid_spec,
                };
                *spec = spoil(spec.clone());
            })
        };
        refused!(spoilt(usage), DevidError::KeyUsage { of: got } if got == of);
        refused!(spoilt(purpose), DevidError::ExtendedKeyUsage { of: got, .. } if got == of);
        refused!(
            spoilt(ca),
            DevidError::Certificate { of: got, source: EndorsementError::LeafIsCa } if got == of
        );
        for serial in [none, two, odd] {
            refused!(spoilt(serial), DevidError::SerialNumber { of: got } if got == of);
        }
        refused!(spoilt(malformed), DevidError::HardwareModuleName { of: got } if got == of);
        match (of, spoilt(ended).map(|_| ())) {
            (
                DevidKey::Iak,
                Err(DevidError::Certificate {
                    source: EndorsementError::Expired { .. },
                    ..
                }),
            )
            | (
                DevidKey::Idevid,
                Err(DevidError::OtherOem {
                    source: EndorsementError::Expired { .. },
                    ..
                }),
            ) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// swtpm before 2026 wrote the value without its tag: fails closed.
#[test]
fn a_hardware_module_name_without_its_explicit_tag_is_refused() {
    let id = oid(&[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x08, 0x04]);
    let value = seq(&[&oid(&[0x67, 0x81, 0x05, 0x01, 0x02]), &der(0x04, &[b"1"])]);
    let name = extension(SAN, false, &seq(&[&der(0xA0, &[&id, &value])]));
    refused!(
        changed(|d| d.idevid_spec = d.idevid_spec.clone().replace(SAN, Some(name))),
        DevidError::HardwareModuleName {
            of: DevidKey::Idevid
        }
    );
}
