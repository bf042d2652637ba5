//! Several issuing CAs, on both curves.

use super::{
    super::{Authority, CaPublic, IdentityError, MAX_ISSUING_CAS, signer::generate_pkcs8_on},
    oracle::Oracle,
    *,
};
use crate::identity::{CaCurve, CaSigner, SignError};

/// A root, and issuing CAs below it.
fn below_one_root(curves: &[CaCurve]) -> (Vec<u8>, Vec<IssuingCa>) {
    let rng = SystemRandom::new();
    let (root, keyed) = Authority::new_root("Owner", "Root CA", 1, NOW, &rng).unwrap();
    let issuing = curves.iter().map(|&curve| {
        let key = generate_pkcs8_on(curve, &rng).unwrap();
        let signer = Arc::new(FileSigner::from_pkcs8(&key).unwrap());
        let certificate = root
            .certify_ca(signer.public(), "Owner", "Issuing CA", NOW, &rng)
            .unwrap();
        IssuingCa::open(&certificate, signer).unwrap()
    });
    (keyed.certificate, issuing.collect())
}

#[test]
fn openssl_accepts_chains_below_the_old_and_the_new_ca_on_either_curve() {
    let (root, mut cas) = below_one_root(&[CaCurve::P256, CaCurve::P384]);
    let new = cas.pop().unwrap();
    let old = cas.pop().unwrap();
    let issuer = Issuer::new(IssuingCas::only(old), Profile::standard());
    let old = issuer.cas();
    let before = Issuer::write(old.current(), expectation(&issuer), &SystemRandom::new()).unwrap();
    // Taken up between the two steps of an issuance: that one is finished.
    let (_, mut spare) = below_one_root(&[CaCurve::P256]);
    issuer.replace_cas(IssuingCas::new(new, vec![spare.pop().unwrap()]).unwrap());
    let cas = issuer.cas();
    let after = Issuer::write(cas.current(), expectation(&issuer), &SystemRandom::new()).unwrap();
    let oracle = Oracle::new();
    oracle.file(
        "root.pem",
        crate::identity::pem::encode("CERTIFICATE", &root),
    );
    for (linted, ca, algorithm) in [
        (before, old.current(), "ecdsa-with-SHA256"),
        (after, cas.current(), "ecdsa-with-SHA384"),
    ] {
        let ldevid = linted.sign().unwrap();
        assert_eq!(ldevid.chain[1], ca.certificate());
        assert_eq!(ldevid.issuer_key_id, ca.key_identifier());
        oracle.file("chain.pem", ldevid.chain_pem());
        let verified = oracle.openssl(&[
            "verify",
            "-x509_strict",
            "-attime",
            "1795507300",
            "-purpose",
            "sslclient",
            "-CAfile",
            "root.pem",
            "-untrusted",
            "chain.pem",
            "chain.pem",
        ]);
        assert!(verified.contains("OK"), "{verified}");
        let shown = oracle.openssl(&["x509", "-in", "chain.pem", "-noout", "-text"]);
        assert!(shown.contains(algorithm), "{shown}");
    }
}

#[test]
fn the_ca_of_a_certificate_is_found_by_its_key() {
    let (_, mut cas) = below_one_root(&[CaCurve::P256, CaCurve::P256]);
    let (new, old) = (cas.pop().unwrap(), cas.pop().unwrap());
    let (new_id, old_id) = (new.key_identifier().to_vec(), old.key_identifier().to_vec());
    let cas = IssuingCas::new(new, vec![old]).unwrap();
    assert_eq!(cas.current().key_identifier(), new_id);
    assert_eq!(new_id.len(), 20);
    let found = |id: &[u8]| {
        cas.by_key_identifier(id)
            .map(|ca| ca.key_identifier().to_vec())
    };
    assert_eq!(found(&old_id), Some(old_id.clone()));
    assert_eq!(found(&new_id), Some(new_id));
    assert_eq!(found(&[0; 20]), None);
}

#[test]
fn no_ca_twice_and_not_too_many() {
    let (_, mut cas) = below_one_root(&[CaCurve::P256; MAX_ISSUING_CAS + 1]);
    let current = cas.pop().unwrap();
    assert_eq!(
        IssuingCas::new(current, cas).unwrap_err(),
        IdentityError::IssuingCas(MAX_ISSUING_CAS + 1)
    );
    let initial = initial();
    let open = || {
        let signer = Arc::new(signer(&initial));
        IssuingCa::open(&initial.issuing.certificate, signer).unwrap()
    };
    assert_eq!(
        IssuingCas::new(open(), vec![open()]).unwrap_err(),
        IdentityError::IssuingCas(2)
    );
}

/// A token that holds another key than the certificate's.
#[derive(Debug)]
struct Swapped(FileSigner, FileSigner);

impl CaSigner for Swapped {
    fn public(&self) -> &CaPublic {
        self.0.public()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.1.sign(message)
    }
}

#[test]
fn no_signature_of_another_key_leaves() {
    let (one, two) = (initial(), initial());
    let ca = IssuingCa::open(
        &one.issuing.certificate,
        Arc::new(Swapped(signer(&one), signer(&two))),
    )
    .unwrap();
    assert_eq!(ca.sign(b"crl").unwrap_err(), IdentityError::BadSignature);
    assert_eq!(ca.signed(b"crl").unwrap_err(), IdentityError::BadSignature);
}

#[test]
fn public_keys_are_read_as_they_are_written() {
    for curve in [CaCurve::P256, CaCurve::P384] {
        let key = generate_pkcs8_on(curve, &SystemRandom::new()).unwrap();
        let public = FileSigner::from_pkcs8(&key).unwrap().public().clone();
        assert_eq!(public.curve(), curve);
        let spki = public.spki();
        assert_eq!(CaPublic::from_spki(&spki).unwrap(), public);
        for changed in [&spki[1..], &spki[..spki.len() - 1], public.point(), &[]] {
            assert_eq!(
                CaPublic::from_spki(changed).unwrap_err(),
                IdentityError::BadPublicKey
            );
        }
        let mut compressed = public.point().to_vec();
        compressed[0] = 2;
        assert_eq!(
            CaPublic::from_point(&compressed).unwrap_err(),
            IdentityError::BadPublicKey
        );
    }
}
