//! What the verifier makes for TPMs, against real ones: for each EK template
//! that Holdfast knows, a live swtpm, driven by tpm2-tools (an independent
//! implementation of the other half).

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests: a panic is a failed test"
)]

mod activation;
mod import;
mod live;
mod parent;
