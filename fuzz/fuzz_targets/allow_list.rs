//! No checksum file and no list panics; what is read of a file is known, and
//! the list is its own canonical form.
#![no_main]

use holdfast_verifier::reference_values::{
    allow_list::{AllowList, AllowListBuilder, Judgement},
    import::sha256sum,
};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let mut builder = AllowListBuilder::new();
    if sha256sum::read(input, Some("/"), &mut builder).is_ok() {
        let list = builder.finish().unwrap();
        assert_eq!(AllowList::parse(list.document().to_vec()).as_ref(), Ok(&list));
        for entry in list.entries() {
            let digest = hex::decode(entry.hex).unwrap();
            let judged = list.judge(&entry.path, entry.alg, &digest);
            assert_eq!(judged, Judgement::Known);
        }
    }
    if let Ok(list) = AllowList::parse(input.to_vec()) {
        let mut builder = AllowListBuilder::new();
        builder.add_list(&list).unwrap();
        assert_eq!(builder.finish().as_ref(), Ok(&list));
    }
});
