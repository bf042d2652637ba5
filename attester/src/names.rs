//! Names of algorithms, as on the command line and in files.

use holdfast_proto::tpm::templates::AkAlg;

use crate::tpm::Ak;

/// The AK algorithm's name.
#[must_use]
pub const fn ak_alg(alg: AkAlg) -> &'static str {
    match alg {
        AkAlg::EcdsaP256 => "ecdsa-p256",
        AkAlg::EcdsaP384 => "ecdsa-p384",
        AkAlg::Rsa2048 => "rsassa-2048",
        AkAlg::RsaPss2048 => "rsapss-2048",
    }
}

/// What stands for the OEM's IAK in the place of an algorithm.
pub const IAK: &str = "iak";

/// The AK's name: of its algorithm where it is ours, else [`IAK`].
#[must_use]
pub const fn ak(ak: &Ak) -> &'static str {
    match ak {
        Ak::Own(key) => ak_alg(key.alg),
        Ak::Iak { .. } => IAK,
    }
}

/// The inverse of [`ak_alg`].
///
/// # Errors
/// Lists the names where `name` is none of them.
pub fn parse_ak_alg(name: &str) -> Result<AkAlg, String> {
    AkAlg::ALL
        .into_iter()
        .find(|alg| ak_alg(*alg) == name)
        .ok_or_else(|| {
            format!("{name:?} is not one of ecdsa-p256, ecdsa-p384, rsassa-2048, rsapss-2048")
        })
}
