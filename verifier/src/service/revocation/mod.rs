//! Revocation at work: the acceptor's view of it, and what relying parties
//! are told.

mod handshake;
mod view;

pub(super) use handshake::RevocationAware;
pub(super) use view::Live;
pub use view::RevocationView;
