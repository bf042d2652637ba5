//! The gateway's side of Holdfast (RFC 9334: the Attester). Rooms: [`tpm`]
//! owns the TPM.

pub mod tpm;
