//! Tests of verification. Whole exchanges, with one thing spoiled each, are in
//! `exchange::tests`; here are the parts that stand alone.

mod boot_log;
pub(crate) mod corpus;
mod credential;
mod keys;
mod quote;
mod road;
mod signature;
pub(crate) mod soft_tpm;
