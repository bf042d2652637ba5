//! No package panics, or takes more than its limits.
#![no_main]

use holdfast_verifier::reference_values::{allow_list::AllowListBuilder, import::deb};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let mut list = AllowListBuilder::new();
    // A megabyte: the limit itself is not what is looked for here.
    let _ = deb::read_within(input, 1024 * 1024, &mut list);
});
