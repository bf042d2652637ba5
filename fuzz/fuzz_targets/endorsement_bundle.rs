//! No text panics as an endorsement bundle; what is read makes anchors.
#![no_main]

use holdfast_verifier::endorsement::{Anchors, EndorsementBundle, Rules};

libfuzzer_sys::fuzz_target!(|input: &str| {
    if let Ok(bundle) = EndorsementBundle::parse(input) {
        let anchors = Anchors::new(bundle.roots().to_vec(), bundle.intermediates().to_vec());
        // The bundle's own checks are those of the anchors.
        let anchors = anchors.expect("a bundle holds what can serve");
        let (anchors, _) = anchors
            .with_rules(bundle.rules(&Rules::default()))
            .with_good_crls(bundle.crls());
        let _ = anchors.is_empty();
    }
});
