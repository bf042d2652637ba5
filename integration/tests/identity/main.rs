//! Identity and trust: endorsements, `DevIDs`, the CA, revocation, events, backup.

mod backup;
mod ca_devices;
mod ca_rotation;
mod devid;
mod devid_wrapped;
mod endorsement;
mod events;
mod ldevid_profile;
mod oem_desk;
mod oem_lists;
mod revocation;
mod tpm_clear;
