//! The Holdfast Verifier: appraises Evidence from gateways and grants LDevIDs.
//!
//! The core (`endorsement`, `freshness`, `verification`, `reference_values`,
//! `appraisal`, `drift`, `identity`, put together by `exchange`; `owner`) is pure and
//! synchronous: time, randomness and trust anchors are arguments. The shell
//! (`store`, `service`, `cli`, `config`) keeps state, speaks gRPC and reads
//! files.

pub mod appraisal;
pub mod cli;
pub mod config;
mod digest;
pub mod drift;
pub mod endorsement;
pub mod exchange;
pub mod freshness;
pub mod identity;
pub mod inspect;
pub mod owner;
pub mod reference_values;
pub mod service;
pub mod store;
pub mod time;
pub mod verification;
