//! No policy, however odd, ends the process or outruns its timer; where nothing
//! is known, what it says is a proper answer or a policy error.
#![no_main]

use holdfast_verifier::appraisal::{Policy, nothing_known};

libfuzzer_sys::fuzz_target!(|source: &str| {
    if let Ok(policy) = Policy::compile(source) {
        std::hint::black_box(policy.try_on(&nothing_known()));
    }
});
