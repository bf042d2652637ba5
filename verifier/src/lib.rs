//! The Holdfast Verifier: appraises Evidence from gateways and grants LDevIDs.
//!
//! The core (`endorsement`, `freshness`, `verification`, `reference_values`,
//! `appraisal`, `drift`, `identity`, put together by `exchange`; `owner`, `sealing`, `wrapping`, `heartbeat`, `secrets`) is pure and
//! synchronous: time, randomness and trust anchors are arguments. The shell
//! (`store`, `service`, `custody`, `cli`, `config`, `backup`) keeps state, speaks
//! gRPC, holds keys and reads files.

pub mod appraisal;
pub mod backup;
pub mod cli;
pub mod config;
pub mod custody;
mod digest;
pub mod drift;
pub mod endorsement;
pub mod exchange;
pub mod freshness;
pub mod heartbeat;
pub mod identity;
pub mod inspect;
pub mod oem;
pub mod operators;
pub mod owner;
pub mod reference_values;
pub mod sealing;
pub mod secrets;
pub mod service;
pub mod silence;
pub mod store;
pub mod swap;
pub mod time;
pub mod verification;
pub mod wrapping;
