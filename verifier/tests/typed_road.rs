//! The typed road (ARCHITECTURE): what must not compile. Each file tries one
//! short cut; the `.stderr` beside it says why the compiler refuses.

#[test]
fn no_short_cut_compiles() {
    trybuild::TestCases::new().compile_fail("tests/typed_road/*.rs");
}
