//! Holdfast, end to end: the harness of the integration tests and benches.
//!
//! - [`Deployment`]: the real `holdfast-verifier` program on a directory of its
//!   own, with its command line, its log, and `kill -9`.
//! - [`Scene`]: a deployment, a gateway with a live software TPM that the
//!   deployment trusts, and messages made by the real attester, ready to be
//!   sent or to be altered first.
//! - [`Attacks`]: many attacks on one good run.
//! - [`refusal`]: what an attack must meet: the right code and kind, nothing
//!   granted, nothing lost, and a good run that still succeeds.
//! - [`story`]: the attester's program, as an operator runs it.
//! - [`ima`]: a scene whose gateway measures files.
//! - [`manual`]: manual pages and completions, for packages.
//! - [`oracle`]: OpenSSL, tpm2-tools and Python, as second opinions.
//!
//! An attack is three lines over a good run:
//! ```no_run
//! # async fn adv() -> anyhow::Result<()> {
//! use holdfast_integration::{Scene, Refusal};
//!
//! let scene = Scene::new()?;
//! let mut ready = scene.ready_to_enrol().await?;
//! ready.request.activated_secret[0] ^= 1;
//! scene.assert_refused(ready, Refusal::NOT_AUTHENTIC).await
//! # }
//! ```

pub mod attacks;
pub mod bus;
pub mod deployment;
pub mod forged_log;
pub mod gateway;
pub mod hsm;
pub mod ima;
pub mod manual;
pub mod oracle;
pub mod owner;
pub mod programs;
pub mod refusal;
pub mod scene;
mod skip;
pub mod story;

pub use attacks::Attacks;
pub use deployment::{Deployment, TokenOptions};
pub use gateway::Gateway;
pub use refusal::Refusal;
pub use scene::{ReadyAttestation, ReadyEnrolment, Scene};
pub use skip::Ending;
