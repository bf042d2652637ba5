//! The log that the verifier's own tests work on is the one that a simulated
//! gateway writes: this is its generator.

use anyhow::{Result, ensure};
use holdfast_tpm_sim::BootImage;

#[test]
fn the_verifiers_golden_log_is_that_of_the_golden_image() -> Result<()> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../verifier/src/appraisal/tests/data/golden.log"
    );
    let golden = BootImage::golden().boot().encode();
    if std::env::var_os("HOLDFAST_WRITE_FIXTURES").is_some() {
        std::fs::write(path, &golden)?;
    }
    ensure!(
        std::fs::read(path)? == golden,
        "{path} is of another image: run this test with HOLDFAST_WRITE_FIXTURES=1"
    );
    Ok(())
}
