use proptest::prelude::*;

use super::*;

fn csr() -> IdevidCsr {
    IdevidCsr {
        hash: HashAlg::Sha256,
        product_model: b"GW-100".to_vec(),
        product_serial: b"GW-0001".to_vec(),
        ca_data: Vec::new(),
        boot_event_log: Vec::new(),
        ek_certificate: vec![0x30; 7],
        attest_public: vec![1; 9],
        attest_creation_ticket: Vec::new(),
        attest_certify_info: Vec::new(),
        attest_certify_signature: Vec::new(),
        signing_public: vec![2; 3],
        signing_certify_info: vec![3; 5],
        signing_certify_signature: vec![4; 8],
    }
}

fn signed() -> SignedIdevidCsr {
    SignedIdevidCsr::new(csr(), vec![5; 70])
}

/// The layout, octet by octet, by hand.
#[test]
fn the_layout_is_the_standards() {
    let contents = csr().encode();
    assert_eq!(contents[..12], [0, 0, 1, 0, 0, 0, 0, 0x0B, 0, 0, 0, 32]);
    let sizes: Vec<u8> = [6, 7, 0, 0, 7, 9, 0, 0, 0, 3, 5, 8, 3]
        .iter()
        .flat_map(|n: &u32| n.to_be_bytes())
        .collect();
    assert_eq!(contents[44..44 + 52], sizes);
    assert_eq!(&contents[96..109], b"GW-100GW-0001");
    // 96 and 45 octets of fields: 3 more to 144.
    assert_eq!(contents.len(), 144);
    let digest = HashAlg::Sha256.digest(&[&contents[44..]]);
    assert_eq!(contents[12..44], *digest.as_bytes());
}

#[test]
fn each_rule_refuses() {
    let good = signed().encode();
    assert_eq!(SignedIdevidCsr::parse(&good), Ok(signed()));
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        SignedIdevidCsr::parse(&bytes)
    };
    assert!(matches!(
        changed(3, 1),
        Err(CsrError::Version {
            field: "structVer",
            ..
        })
    ));
    assert!(matches!(
        changed(15, 1),
        Err(CsrError::Version {
            field: "csrContents.structVer",
            ..
        })
    ));
    assert_eq!(changed(19, 4), Err(CsrError::Hash(4)));
    assert_eq!(
        changed(23, 48),
        Err(CsrError::HashSize {
            got: 48,
            expected: 32
        })
    );
    assert_eq!(changed(60, 1), Err(CsrError::Digest));
    assert_eq!(changed(110, 1), Err(CsrError::Digest));
    let long = [good.as_slice(), &[0]].concat();
    assert_eq!(
        SignedIdevidCsr::parse(&long),
        Err(CsrError::TrailingBytes(1))
    );
    assert_eq!(
        SignedIdevidCsr::parse(&good[..good.len() - 1]),
        Err(CsrError::CutOff("signature"))
    );
    assert!(matches!(
        SignedIdevidCsr::parse(&vec![0; MAX_LEN + 1]),
        Err(CsrError::TooLong(_))
    ));
}

/// With a digest that is right, so that nothing else can notice.
#[test]
fn sizes_and_padding_are_exact() {
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut contents = csr().encode();
        change(&mut contents);
        let digest = HashAlg::Sha256.digest(&[&contents[44..]]);
        contents[12..44].copy_from_slice(digest.as_bytes());
        IdevidCsr::parse(&contents)
    };
    assert_eq!(with(&|_| ()), Ok(csr()));
    assert_eq!(
        with(&|c| *c.last_mut().unwrap() = 1),
        Err(CsrError::Padding)
    );
    assert_eq!(
        with(&|c| c[44 + 51] = 16),
        Err(CsrError::FieldTooLong {
            field: "padSz",
            len: 16,
            max: 15
        })
    );
    assert_eq!(
        with(&|c| c[44 + 2] = 1),
        Err(CsrError::FieldTooLong {
            field: "prodModel",
            len: 262,
            max: 255
        })
    );
    assert_eq!(
        with(&|c| c[44 + 3] = 200),
        Err(CsrError::CutOff("prodModel"))
    );
    assert_eq!(
        with(&|c| c.resize(160, 0)),
        Err(CsrError::TrailingBytes(16))
    );
    assert_eq!(with(&|c| c.truncate(143)), Err(CsrError::CutOff("pad")));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        short in proptest::collection::vec(any::<u8>(), 0..40),
        long in proptest::collection::vec(any::<u8>(), 0..600),
        signature in proptest::collection::vec(any::<u8>(), 0..100),
        hash in proptest::sample::select(&[HashAlg::Sha256, HashAlg::Sha384, HashAlg::Sha512][..]),
    ) {
        let csr = IdevidCsr {
            hash,
            product_serial: short.clone(),
            ca_data: long.clone(),
            boot_event_log: [long, short].concat(),
            ..csr()
        };
        let signed = SignedIdevidCsr::new(csr, signature);
        let bytes = signed.encode();
        prop_assert_eq!(SignedIdevidCsr::parse(&bytes), Ok(signed));
    }

    #[test]
    fn what_is_read_is_written_the_same(
        at in 0usize..200, bit in 0u8..8, bytes in proptest::collection::vec(any::<u8>(), 0..300)
    ) {
        let mut changed = signed().encode();
        if let Some(byte) = changed.get_mut(at) {
            *byte ^= 1 << bit;
        }
        for input in [changed, bytes] {
            if let Ok(parsed) = SignedIdevidCsr::parse(&input) {
                prop_assert_eq!(parsed.encode(), input);
            }
        }
    }
}
