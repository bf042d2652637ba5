//! Arbitrary TPM structures, every one of them well-formed.
#![allow(dead_code, reason = "no test uses all of them")]

use holdfast_proto::tpm::{
    AsymScheme, Attest, Attested, ClockInfo, Digest, EccCurve, HashAlg, KeyedHashScheme, Name,
    ObjectAttributes, Parameters, PcrSelection, PcrSet, Public, Signature, Symmetric, Unique,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

pub(crate) fn hash() -> impl Strategy<Value = HashAlg> {
    select(HashAlg::ALL.as_slice())
}

pub(crate) fn name() -> impl Strategy<Value = Name> {
    (hash(), any::<[u8; 64]>()).prop_map(|(alg, seed)| {
        let digest = alg.digest(&[&seed]);
        Name::parse(&[alg.id().to_be_bytes().as_slice(), digest.as_bytes()].concat()).unwrap()
    })
}

pub(crate) fn public() -> impl Strategy<Value = Public> {
    (hash(), any::<u32>(), any::<bool>()).prop_flat_map(|(name_alg, attributes, with_policy)| {
        let policy_len = if with_policy {
            name_alg.digest_len()
        } else {
            0
        };
        let body = prop_oneof![rsa(), ecc(), keyed_hash(name_alg)];
        (vec(any::<u8>(), policy_len), body).prop_map(move |(auth_policy, (parameters, unique))| {
            Public {
                name_alg,
                attributes: ObjectAttributes::from_bits(attributes),
                auth_policy,
                parameters,
                unique,
            }
        })
    })
}

fn symmetric() -> impl Strategy<Value = Symmetric> {
    select(
        [
            Symmetric::Null,
            Symmetric::Aes { key_bits: 128 },
            Symmetric::Aes { key_bits: 192 },
            Symmetric::Aes { key_bits: 256 },
        ]
        .as_slice(),
    )
}

fn rsa() -> BoxedStrategy<(Parameters, Unique)> {
    let scheme = prop_oneof![
        Just(AsymScheme::Null),
        Just(AsymScheme::RsaEs),
        hash().prop_map(AsymScheme::RsaSsa),
        hash().prop_map(AsymScheme::RsaPss),
        hash().prop_map(AsymScheme::Oaep),
    ];
    (
        symmetric(),
        scheme,
        select([1024u16, 2048, 3072, 4096].as_slice()),
        any::<u32>(),
    )
        .prop_flat_map(|(symmetric, scheme, key_bits, exponent)| {
            let parameters = Parameters::Rsa {
                symmetric,
                scheme,
                key_bits,
                exponent,
            };
            vec(any::<u8>(), 0..=usize::from(key_bits / 8))
                .prop_map(move |modulus| (parameters, Unique::Rsa(modulus)))
        })
        .boxed()
}

fn ecc() -> BoxedStrategy<(Parameters, Unique)> {
    let scheme = prop_oneof![Just(AsymScheme::Null), hash().prop_map(AsymScheme::Ecdsa)];
    let curve = select([EccCurve::P256, EccCurve::P384, EccCurve::P521].as_slice());
    (symmetric(), scheme, curve)
        .prop_flat_map(|(symmetric, scheme, curve)| {
            let parameters = Parameters::Ecc {
                symmetric,
                scheme,
                curve,
            };
            let coordinate = || vec(any::<u8>(), 0..=curve.coordinate_len());
            (coordinate(), coordinate()).prop_map(move |(x, y)| (parameters, Unique::Ecc { x, y }))
        })
        .boxed()
}

fn keyed_hash(name_alg: HashAlg) -> BoxedStrategy<(Parameters, Unique)> {
    let scheme = prop_oneof![
        Just(KeyedHashScheme::Null),
        hash().prop_map(KeyedHashScheme::Hmac)
    ];
    (scheme, any::<bool>(), any::<[u8; 64]>())
        .prop_map(move |(scheme, filled, seed)| {
            let digest = name_alg.digest(&[&seed]);
            let unique = if filled {
                digest.as_bytes().to_vec()
            } else {
                Vec::new()
            };
            (Parameters::KeyedHash { scheme }, Unique::KeyedHash(unique))
        })
        .boxed()
}

fn clock_info() -> impl Strategy<Value = ClockInfo> {
    any::<(u64, u32, u32, bool)>().prop_map(|(clock, reset_count, restart_count, safe)| ClockInfo {
        clock,
        reset_count,
        restart_count,
        safe,
    })
}

fn selection() -> impl Strategy<Value = PcrSelection> {
    (hash(), 0u32..1 << 24).prop_map(|(hash, bits)| PcrSelection {
        hash,
        pcrs: PcrSet::from_indices((0..24).filter(|index| bits & (1 << index) != 0)).unwrap(),
    })
}

pub(crate) fn attest() -> impl Strategy<Value = Attest> {
    let attested = prop_oneof![
        (vec(selection(), 0..=8), vec(any::<u8>(), 0..=64)).prop_map(|(selection, pcr_digest)| {
            Attested::Quote {
                selection,
                pcr_digest,
            }
        }),
        (name(), name()).prop_map(|(name, qualified_name)| Attested::Certify {
            name,
            qualified_name
        }),
        (name(), vec(any::<u8>(), 0..=64)).prop_map(|(object_name, creation_hash)| {
            Attested::Creation {
                object_name,
                creation_hash,
            }
        }),
        (any::<u64>(), clock_info(), any::<u64>()).prop_map(
            |(time, clock_info, firmware_version)| {
                Attested::Time {
                    time,
                    clock_info,
                    firmware_version,
                }
            }
        ),
    ];
    (
        name(),
        vec(any::<u8>(), 0..=66),
        clock_info(),
        any::<u64>(),
        attested,
    )
        .prop_map(
            |(signer, extra_data, clock_info, firmware_version, attested)| Attest {
                qualified_signer: signer.as_bytes().to_vec(),
                extra_data,
                clock_info,
                firmware_version,
                attested,
            },
        )
}

pub(crate) fn signature() -> impl Strategy<Value = Signature> {
    let rsa = || vec(any::<u8>(), 0..=512);
    let scalar = || vec(any::<u8>(), 0..=66);
    prop_oneof![
        (hash(), rsa()).prop_map(|(hash, sig)| Signature::RsaSsa { hash, sig }),
        (hash(), rsa()).prop_map(|(hash, sig)| Signature::RsaPss { hash, sig }),
        (hash(), scalar(), scalar()).prop_map(|(hash, r, s)| Signature::Ecdsa { hash, r, s }),
        (hash(), any::<[u8; 64]>()).prop_map(|(hash, seed): (HashAlg, [u8; 64])| {
            let digest: Digest = hash.digest(&[&seed]);
            Signature::Hmac { digest }
        }),
    ]
}
