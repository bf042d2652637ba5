//! Readers of what others publish: CoRIM, checksum files, Debian packages.
//! Each gives what an owner may then sign; none of them is asked by a gateway.

pub mod corim;
pub mod deb;
pub mod sha256sum;

#[cfg(test)]
mod tests;
