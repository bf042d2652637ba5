//! Holdfast's simulated gateways, for tests and demonstrations: real TPM 2.0
//! behaviour by [swtpm](https://github.com/stefanberger/swtpm), EK certificates
//! of a simulated TPM vendor, and a boot that is measured into the PCRs.
//!
//! ```no_run
//! # fn main() -> Result<(), holdfast_tpm_sim::SimError> {
//! use holdfast_tpm_sim::{SimGateway, SimOptions};
//!
//! let mut gateway = SimGateway::start(SimOptions::new("/tmp/gateway"))?;
//! println!("TPM2TOOLS_TCTI={} tpm2_pcrread", gateway.tcti());
//! gateway.extend_pcr(9, b"a file that nobody released")?;
//! gateway.reboot()?; // good again
//! # Ok(())
//! # }
//! ```

pub mod boot_log;
mod error;
mod gateway;
pub mod ima;
mod oem;
pub mod process;
mod swtpm;
mod tpm;
mod vendor_ca;

pub use self::boot_log::{BootImage, BootLog, reference_values};
pub use self::error::SimError;
pub use self::gateway::{GatewayDescription, SimGateway, SimOptions};
pub use self::ima::{ImaEntry, ImaSigner};
pub use self::oem::{OemDescription, OemOptions, OemProvision};
pub use self::swtpm::Transport;
pub use self::vendor_ca::{
    DevidCertificate, EkCertOptions, Flaw, IssuedEk, OemCa, SanLayout, VendorCa,
};
