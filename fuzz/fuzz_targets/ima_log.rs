//! No input panics, in either format; what is read replays.
#![no_main]

use holdfast_proto::ima_log::{Extend, ImaLog, Replay};
use holdfast_proto::tpm::HashAlg;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let mut replay = Replay::from_boot(HashAlg::Sha256, Extend::Native);
    for entry in ImaLog::new(input).entries().map_while(Result::ok) {
        let _ = format!("{entry:?} {:?}", entry.signature());
        assert_eq!(entry.fields().count(), entry.template().fields().len());
        replay.push(&entry);
    }
});
