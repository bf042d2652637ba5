//! The figures that Holdfast holds itself to, each a ratio or a byte count of
//! one run on one machine, so that they mean the same on any.
//!
//! `make bench` writes them to `target/bench/summary.json`. A missed bar is
//! reported, not hidden: the program ends with 0, and the summary says `met:
//! false`.

mod core;
mod logs;
mod stand;
mod summary;
mod wire;

use anyhow::Result;
use criterion::Criterion;

fn main() -> Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    let stand = stand::Stand::new()?;
    core::quote(&mut criterion, &stand);
    core::reattest(&mut criterion, &stand);
    logs::boot_log(&mut criterion);
    logs::ima_log(&mut criterion);
    criterion.final_summary();
    drop(stand);

    let runtime = tokio::runtime::Runtime::new()?;
    let wire = runtime.block_on(wire::measure())?;
    summary::write(&wire)
}
