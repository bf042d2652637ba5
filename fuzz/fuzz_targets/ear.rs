//! No input panics as an attestation result, JWT or CWT; what is read writes and
//! reads the same again.
#![no_main]

use holdfast_proto::result::SignedEar;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let jwt = std::str::from_utf8(input)
        .ok()
        .and_then(|text| SignedEar::parse_jwt(text).ok());
    if let Some(signed) = jwt {
        let (form, kid) = (signed.form(), signed.key_id().to_vec());
        let ear = open(signed);
        let again = ear
            .sign_jwt_as(form, &kid, |_| Ok::<_, ()>(vec![0; 64]))
            .expect("signing does not fail");
        let again = SignedEar::parse_jwt(&again).expect("ours is read");
        assert_eq!((again.form(), open(again)), (form, ear));
    }
    if let Ok(signed) = SignedEar::parse_cwt(input) {
        let (form, kid) = (signed.form(), signed.key_id().to_vec());
        let ear = open(signed);
        let again = ear
            .sign_cwt_as(form, &kid, |_| Ok::<_, ()>(vec![0; 64]))
            .expect("signing does not fail");
        let again = SignedEar::parse_cwt(&again).expect("ours is read");
        assert_eq!((again.form(), open(again)), (form, ear));
    }
});

fn open(signed: SignedEar) -> holdfast_proto::result::Ear {
    signed
        .open(|_, _| Ok::<(), ()>(()))
        .expect("the signature is not looked at")
}
