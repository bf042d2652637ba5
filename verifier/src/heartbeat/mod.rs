//! Heartbeats: is the gateway still the one that was affirmed, in the same boot
//! state? In: the master key, a stream's nonce, bytes of a beat. Out:
//! [`HeartbeatKey`], and what a beat proves.
//!
//! Pure and synchronous, as all rooms of the core. A beat proves nothing to
//! third parties: whoever has the master key can make one.

mod key;
mod masters;
mod pulse;

pub use key::{Epoch, HeartbeatKey, MasterKey};
pub use masters::{MasterKeys, NamedMaster};
pub use pulse::{Affirmed, BeatError, FRAME_MAX, Finding, Pulse, VerifiedBeat};
