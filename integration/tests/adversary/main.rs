//! The adversary catalogue against real programs, real gRPC and swtpm: one
//! module a row, named as `ADVERSARY.md` numbers it. One binary, since each
//! links all of Holdfast.

mod adv_a01;
mod adv_a02;
mod adv_a03;
mod adv_a04;
mod adv_a05;
mod adv_a05_idevid_as_iak;
mod adv_a06;
mod adv_a07;
mod adv_a08;
mod adv_a09;
mod adv_a10;
mod adv_a11;
mod adv_a12;
mod adv_a13;
mod adv_a14;
mod adv_a15;
mod adv_a16;
mod adv_a17;
mod adv_a18;
mod adv_a18_admission;
mod adv_a18_second_ek;
mod adv_a19;
mod adv_a19_roles;
mod adv_a20;
mod adv_a24;
mod adv_a25;
mod adv_a26;
mod adv_a26_references;
mod adv_a27;
mod adv_a28;
mod adv_c17;
mod adv_c20;
mod adv_c40;
mod adv_heartbeats;
mod cve_c10;
mod cve_c33;
mod review_verifier;
