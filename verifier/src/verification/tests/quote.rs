//! ADVERSARY A09 and A10: quotes with one thing spoiled.

use holdfast_proto::tpm::{
    Attest, Attested, HashAlg, ParseError, PcrSelection, PcrSet, templates::AkAlg,
};

use super::soft_tpm::{SoftTpm, selection};
use crate::verification::{AkPublic, Quote, SignatureFault, VerificationError, verify_quote};

const EXTRA: &[u8] = &[0xEE; 32];

struct Run {
    tpm: SoftTpm,
    attest: Attest,
    values: Vec<(u32, Vec<u8>)>,
}

impl Run {
    fn new(alg: AkAlg) -> Self {
        let tpm = SoftTpm::new(alg);
        let values = selection()
            .pcrs
            .iter()
            .map(|i| (i, tpm.pcrs[&i].as_bytes().to_vec()))
            .collect();
        Self {
            attest: tpm.quote(EXTRA, &selection()),
            values,
            tpm,
        }
    }

    fn verify(self) -> Result<Quote, VerificationError> {
        let bytes = self.attest.encode();
        let signature = self.tpm.ak.sign(&bytes).encode();
        let ak = AkPublic::new(self.tpm.ak_public).unwrap();
        verify_quote(&ak, &bytes, &signature, EXTRA, &selection(), self.values)
    }

    fn quoted(mut self, new: Vec<PcrSelection>) -> Result<Quote, VerificationError> {
        let Attested::Quote { selection, .. } = &mut self.attest.attested else {
            unreachable!()
        };
        *selection = new;
        self.verify()
    }
}

fn bank(hash: HashAlg, pcrs: &[u32]) -> PcrSelection {
    PcrSelection {
        hash,
        pcrs: PcrSet::from_indices(pcrs.iter().copied()).unwrap(),
    }
}

#[test]
fn a_good_quote_of_every_scheme() {
    for alg in AkAlg::ALL {
        let quote = Run::new(alg).verify().unwrap();
        assert_eq!(quote.pcrs().selection(), &selection());
        assert_eq!(
            quote.pcrs().iter().map(|(i, _)| i).collect::<Vec<_>>(),
            [0, 1, 7, 14]
        );
        assert_eq!(quote.pcrs().get(7).map(<[u8]>::len), Some(32));
        assert_eq!(quote.pcrs().get(8), None);
    }
}

#[test]
fn adv_a09_certify_sent_as_quote() {
    let mut run = Run::new(AkAlg::EcdsaP256);
    run.attest = run.tpm.certify(&[0; 32]);
    run.attest.extra_data = EXTRA.to_vec();
    assert!(matches!(run.verify(), Err(VerificationError::NotAQuote)));
}

#[test]
fn adv_a09_extra_data() {
    for other in [vec![], vec![0xEE; 31], vec![0xEE; 33], vec![0xEF; 32]] {
        let mut run = Run::new(AkAlg::EcdsaP256);
        run.attest.extra_data = other;
        assert!(matches!(run.verify(), Err(VerificationError::QuoteBinding)));
    }
}

#[test]
fn adv_a09_magic_trailing_bytes_and_size() {
    let run = Run::new(AkAlg::EcdsaP256);
    let ak = AkPublic::new(run.tpm.ak_public.clone()).unwrap();
    let verify = |bytes: &[u8], signature: &[u8]| {
        verify_quote(
            &ak,
            bytes,
            signature,
            EXTRA,
            &selection(),
            run.values.clone(),
        )
        .unwrap_err()
    };
    let good = run.attest.encode();
    let sign = |bytes: &[u8]| run.tpm.ak.sign(bytes).encode();

    let mut magic = good.clone();
    magic[0] ^= 1;
    assert!(matches!(
        verify(&magic, &sign(&magic)),
        VerificationError::Structure {
            field: "quote_attest",
            source: ParseError::NotTpmGenerated(_)
        }
    ));
    let trailing = [&good[..], &[0]].concat();
    assert!(matches!(
        verify(&trailing, &sign(&trailing)),
        VerificationError::Structure {
            source: ParseError::TrailingBytes { .. },
            ..
        }
    ));
    let oversized = vec![0; 1025];
    assert!(matches!(
        verify(&oversized, &sign(&oversized)),
        VerificationError::TooLong {
            field: "quote_attest",
            len: 1025,
            max: 1024
        }
    ));
    assert!(matches!(
        verify(&good, &vec![0; 769]),
        VerificationError::TooLong {
            field: "quote_signature",
            ..
        }
    ));
    assert!(matches!(
        verify(&good, &[&sign(&good)[..], &[0]].concat()),
        VerificationError::Structure {
            field: "quote_signature",
            ..
        }
    ));
}

#[test]
fn adv_a10_selection_must_be_equal() {
    let good = selection();
    let cases = [
        vec![],
        vec![bank(HashAlg::Sha256, &[])],
        vec![bank(HashAlg::Sha256, &[0, 1, 7])],
        vec![bank(HashAlg::Sha256, &[0, 1, 7, 14, 16])],
        vec![bank(HashAlg::Sha1, &[0, 1, 7, 14])],
        vec![bank(HashAlg::Sha384, &[0, 1, 7, 14])],
        vec![good, bank(HashAlg::Sha1, &[0])],
        vec![bank(HashAlg::Sha1, &[0]), good],
        vec![good, good],
    ];
    for case in cases {
        let error = Run::new(AkAlg::EcdsaP256).quoted(case.clone()).unwrap_err();
        assert!(
            matches!(&error, VerificationError::Selection { required, .. } if required == "sha256:0,1,7,14"),
            "{case:?}: {error:?}"
        );
    }
}

#[test]
fn adv_a10_list_must_be_the_selection() {
    type List = Vec<(u32, Vec<u8>)>;
    let changes: [fn(&mut List); 6] = [
        |v| v.truncate(3),
        |v| v.clear(),
        |v| v.push((16, vec![0; 32])),
        |v| v.swap(0, 1),
        |v| v[3].0 = 15,
        |v| v.insert(0, v[0].clone()),
    ];
    for change in changes {
        let mut run = Run::new(AkAlg::EcdsaP256);
        change(&mut run.values);
        assert!(matches!(
            run.verify(),
            Err(VerificationError::PcrList { .. })
        ));
    }
}

#[test]
fn adv_a10_borders_between_values() {
    // The digest is over the concatenation: only the lengths hold it apart.
    let mut run = Run::new(AkAlg::EcdsaP256);
    let moved = run.values[1].1.remove(0);
    run.values[0].1.push(moved);
    assert!(matches!(
        run.verify(),
        Err(VerificationError::PcrLength { index: 0, len: 33 })
    ));
}

#[test]
fn adv_a10_values() {
    let mut run = Run::new(AkAlg::EcdsaP256);
    run.values[2].1[31] ^= 1;
    assert!(matches!(run.verify(), Err(VerificationError::PcrDigest)));

    // pcrDigest is by the scheme's hash, not by the bank's.
    let mut run = Run::new(AkAlg::EcdsaP384);
    let values: Vec<&[u8]> = run.values.iter().map(|(_, v)| v.as_slice()).collect();
    let by_bank = HashAlg::Sha256.digest(&values).as_bytes().to_vec();
    let Attested::Quote { pcr_digest, .. } = &mut run.attest.attested else {
        unreachable!()
    };
    *pcr_digest = by_bank;
    assert!(matches!(run.verify(), Err(VerificationError::PcrDigest)));
}

#[test]
fn adv_a11_signature_over_other_bytes() {
    let run = Run::new(AkAlg::EcdsaP256);
    let ak = AkPublic::new(run.tpm.ak_public.clone()).unwrap();
    let signature = run.tpm.ak.sign(&run.attest.encode()).encode();
    // A field that nothing else compares: the firmware version.
    let altered = Attest {
        firmware_version: 1,
        ..run.attest
    };
    assert!(matches!(
        verify_quote(
            &ak,
            &altered.encode(),
            &signature,
            EXTRA,
            &selection(),
            run.values
        ),
        Err(VerificationError::QuoteSignature(SignatureFault::Invalid))
    ));
}
