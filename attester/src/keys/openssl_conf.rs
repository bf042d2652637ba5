//! The settings under which programs that use OpenSSL 3 use the key.

use std::path::Path;

use crate::tpm::TctiName;

/// What OpenSSL prefers the provider for: keys, and nothing else. Without the
/// exclusions it would also hash, encrypt and draw random numbers in the TPM
/// (seen with tpm2-openssl 1.1.1 and OpenSSL 3.0.19): each hash is a sequence
/// object there, which TLS needs to duplicate and a TPM has no room for
/// (TPM_RC_OBJECT_MEMORY, 0x902); and the provider's generator does not answer
/// `RAND_status`, so that curl ends with "Insufficient randomness".
pub const PROPERTY_QUERY: &str = "?provider=tpm2,tpm2.digest!=yes,tpm2.cipher!=yes,tpm2.rand!=yes";

/// The content of the file for OPENSSL_CONF.
#[must_use]
pub fn openssl_conf() -> String {
    format!(
        "# Written by `holdfast-attester key export`: set OPENSSL_CONF to this file, and\n\
         # TPM2OPENSSL_TCTI to where the TPM is (tpm2-openssl 1.1.1 reads it from there alone).\n\
         openssl_conf = openssl_init\n\
         \n\
         [openssl_init]\n\
         providers = provider_sect\n\
         alg_section = algorithm_sect\n\
         \n\
         [provider_sect]\n\
         default = default_sect\n\
         tpm2 = tpm2_sect\n\
         \n\
         [default_sect]\n\
         activate = 1\n\
         \n\
         [tpm2_sect]\n\
         activate = 1\n\
         \n\
         [algorithm_sect]\n\
         # Keys alone: hashes, ciphers and random numbers stay with OpenSSL.\n\
         default_properties = {PROPERTY_QUERY}\n"
    )
}

/// Environment for a shell or systemd's `EnvironmentFile=`: `conf` is where
/// [`openssl_conf`] lies, `tcti` where the TPM is.
#[must_use]
pub fn openssl_env(conf: &Path, tcti: &TctiName) -> String {
    format!(
        "OPENSSL_CONF=\"{}\"\nTPM2OPENSSL_TCTI=\"{tcti}\"\nTSS2_LOG=\"all+NONE\"\n",
        conf.display()
    )
}
