//! No input panics, neither in parsing nor in what is made of it.
#![no_main]

use holdfast_proto::boot_log::BootLog;
use holdfast_proto::tpm::HashAlg;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(log) = BootLog::parse(input) {
        for bank in HashAlg::ALL {
            let facts = log.facts(bank).filter(|fact| fact.proven).count();
            std::hint::black_box((facts, log.replay(bank), log.findings(bank)));
        }
    }
});
