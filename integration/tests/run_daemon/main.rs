//! `holdfast-attester run` on a live software TPM and against the real
//! verifier: what it lives through, and what ends it.

mod beats;
mod bound;
mod copied;
mod ends;
mod lives;
mod network;
mod stand;
mod status;
mod tpm;
