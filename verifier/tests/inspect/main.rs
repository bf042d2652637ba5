//! `inspect`, and the import of CoRIMs, over the corpus of public projects, and
//! over what is made here:
//! every file is read, or judged, as its origin states, or is refused with a
//! reason; where we disagree, a table says why. The corpus is
//! `HOLDFAST_CORPUS`, or `shared/corpus` beside the project; where it is absent
//! these tests say so and pass.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a test's helper is a failed test"
)]

mod authorities;
mod command;
mod corim;
mod corpus;
mod diag;
mod ek_certificates;
mod logs;
mod quotes;
mod signed;
