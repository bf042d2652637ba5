//! The approvals of a class on their way to its gateways. They are files that
//! the owner's command line replaces whole, read when they are sent; what is in
//! them is public, and the gateways' TPMs check it.

use holdfast_proto::{grpc::v1, sealing::Approvals};
use prost::Message as _;
use tracing::warn;

use crate::{
    config::{Home, home::file},
    digest::sha256,
    freshness::Class,
};

/// Where they are.
#[derive(Debug)]
pub struct SealApprovals {
    /// `None` for a service without a directory, in tests.
    home: Option<Home>,
}

impl SealApprovals {
    /// In the verifier's directory.
    #[must_use]
    pub const fn new(home: Home) -> Self {
        Self { home: Some(home) }
    }

    /// None, ever.
    #[cfg(test)]
    pub(crate) const fn none() -> Self {
        Self { home: None }
    }

    /// What to send to a gateway of `class` that has `known` (SHA-256 of the
    /// encoded message, or anything else for none). Reads a file.
    pub(super) fn news(&self, class: &Class, known: &[u8]) -> Option<v1::SealApprovals> {
        let home = self.home.as_ref()?;
        let name = file::seal_approvals(class.as_str());
        if !home.path(&name).exists() {
            return None;
        }
        let read = home
            .read_trusted(&name)
            .map_err(|e| e.to_string())
            .and_then(|text| Approvals::from_text(&text).map_err(|e| e.to_string()));
        match read {
            Ok(approvals) => {
                let message = approvals.to_message();
                (sha256(&[&message.encode_to_vec()]) != known).then_some(message)
            }
            Err(error) => {
                warn!(class = class.as_str(), %error, "approvals for sealing are not sent");
                None
            }
        }
    }
}
