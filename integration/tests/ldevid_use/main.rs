//! The LDevID in the hands of other people's programs: OpenSSL's tpm2
//! provider, nginx, curl. The private key is in the TPM alone.

mod daemons;
mod library;
mod openssl;
mod proxy;
mod stand;
