//! A key in a device: what it costs others when it hangs, loses its signature
//! or is exchanged.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, channel},
    },
    time::{Duration, Instant},
};

use super::*;
use crate::identity::{CaPublic, CaSigner, SignError};

/// Signs in software; before that it waits for a word, where it is told to.
struct Soft {
    key: ring::signature::EcdsaKeyPair,
    wait: Option<Receiver<()>>,
    asked: Arc<AtomicUsize>,
    fault: Option<DeviceError>,
}

impl Device for Soft {
    fn sign(&mut self, digest: &[u8]) -> Result<Vec<u8>, DeviceError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if let Some(wait) = &self.wait {
            let _ = wait.recv();
        }
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        // ring hashes by itself: what is signed is of no matter here.
        let signature = self.key.sign(&SystemRandom::new(), digest).unwrap();
        Ok(signature.as_ref().to_vec())
    }
}

fn soft() -> (CaPublic, Soft) {
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    let rng = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &rng);
    let key = key.unwrap();
    let public = CaPublic::from_point(key.public_key().as_ref()).unwrap();
    let soft = Soft {
        key,
        wait: None,
        asked: Arc::default(),
        fault: None,
    };
    (public, soft)
}

const PATIENCE: Duration = Duration::from_millis(200);

#[test]
fn a_device_that_hangs_holds_up_nobody_else() {
    let (public, mut device) = soft();
    let (release, wait) = channel();
    device.wait = Some(wait);
    let asked = Arc::clone(&device.asked);
    let signer = DeviceSigner::attend_for(public, "key".to_owned(), device, PATIENCE).unwrap();
    let began = Instant::now();
    assert_eq!(signer.sign(b"m"), Err(SignError::TimedOut));
    assert!(began.elapsed() >= PATIENCE);
    // From here on nobody waits.
    let began = Instant::now();
    for _ in 0..100 {
        assert_eq!(signer.sign(b"m"), Err(SignError::Busy));
    }
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    // It answers again.
    release.send(()).unwrap();
    drop(release);
    let deadline = Instant::now() + Duration::from_secs(10);
    while signer.sign(b"m").is_err() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_went_wrong_is_told_with_the_name_of_the_key() {
    for (fault, substituted) in [
        (DeviceError::WrongPin, false),
        (DeviceError::NoKey("07".to_owned()), false),
        (
            DeviceError::Substituted {
                expected: "a".to_owned(),
                found: "b".to_owned(),
            },
            true,
        ),
    ] {
        let (public, mut device) = soft();
        let text = fault.to_string();
        device.fault = Some(fault);
        let signer = DeviceSigner::attend(public, "key 07".to_owned(), device).unwrap();
        let told = signer.sign(b"m").unwrap_err();
        assert_eq!(matches!(told, SignError::Substituted(_)), substituted);
        assert!(told.to_string().contains("key 07") && told.to_string().contains(&text));
    }
}

#[test]
fn a_signature_is_der_of_two_positive_integers() {
    use crate::identity::CaCurve;
    let mut raw = [0xff_u8; 64];
    raw[32] = 0;
    raw[33] = 0x01;
    let der = CaCurve::P256.signature_der(&raw).unwrap();
    let r = [&[0x02, 33, 0x00][..], &[0xff; 32]].concat();
    let s = [&[0x02, 31, 0x01][..], &[0xff; 30]].concat();
    let expected = [
        &[0x30, u8::try_from(r.len() + s.len()).unwrap()][..],
        &r,
        &s,
    ]
    .concat();
    assert_eq!(der, expected);
    assert_eq!(CaCurve::P256.signature_der(&raw[1..]), None);
    assert_eq!(CaCurve::P384.signature_der(&raw), None);
}
