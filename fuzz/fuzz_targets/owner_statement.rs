//! No input panics as an owner's statement; what is read writes the same bytes.
#![no_main]

use holdfast_proto::statement::SignedStatement;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(signed) = SignedStatement::parse(input) {
        let key = <[u8; 32]>::try_from(signed.key_id()).expect("the parser says 32 bytes");
        let mut signature = Vec::new();
        let opened = signed.open(|_, given| {
            signature = given.to_vec();
            Ok::<(), ()>(())
        });
        if let Ok(statement) = opened {
            let again = statement.sign(&key, |_| Ok::<_, ()>(signature));
            // ES256 is read as ESP256, and written as that.
            let again = again.expect("signing does not fail");
            let read = SignedStatement::parse(&again).expect("ours is read");
            assert_eq!(read.open(|_, _| Ok::<(), ()>(())), Ok(statement));
        }
    }
});
