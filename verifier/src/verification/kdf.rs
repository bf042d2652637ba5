//! The TPM's key derivation functions (TPM 2.0 Part 1 §11.4.10).

use holdfast_proto::tpm::HashAlg;
use ring::{digest, hmac};
use zeroize::Zeroizing;

/// KDFa: SP 800-108 counter mode with HMAC. Gives `bits` bits, right-aligned
/// in whole octets; `label` is without its terminating zero.
#[must_use]
pub fn kdf_a(
    hash: HashAlg,
    key: &[u8],
    label: &[u8],
    context_u: &[u8],
    context_v: &[u8],
    bits: u16,
) -> Zeroizing<Vec<u8>> {
    let key = hmac::Key::new(hmac_alg(hash), key);
    let size = u32::from(bits).to_be_bytes();
    expand(bits, |counter| {
        let mut mac = hmac::Context::with_key(&key);
        for part in [&counter[..], label, &[0], context_u, context_v, &size[..]] {
            mac.update(part);
        }
        mac.sign().as_ref().to_vec()
    })
}

/// KDFe: SP 800-56A concatenation KDF. Gives `bits` bits, right-aligned in
/// whole octets, from the shared x-coordinate `z`; `usage` is without its
/// terminating zero; `party_u` and `party_v` are the x-coordinates, padded to
/// the curve's size.
#[must_use]
pub fn kdf_e(
    hash: HashAlg,
    z: &[u8],
    usage: &[u8],
    party_u: &[u8],
    party_v: &[u8],
    bits: u16,
) -> Zeroizing<Vec<u8>> {
    let alg = digest_alg(hash);
    expand(bits, |counter| {
        let mut context = digest::Context::new(alg);
        for part in [&counter[..], z, usage, &[0], party_u, party_v] {
            context.update(part);
        }
        context.finish().as_ref().to_vec()
    })
}

/// Digest length in bits, as the KDFs count.
pub(super) const fn digest_bits(hash: HashAlg) -> u16 {
    match hash {
        HashAlg::Sha1 => 160,
        HashAlg::Sha256 => 256,
        HashAlg::Sha384 => 384,
        HashAlg::Sha512 => 512,
    }
}

/// Blocks for counters 1, 2, … until there are `bits`; surplus bits of the
/// first octet are cleared (§11.4.10.2).
fn expand(bits: u16, block: impl Fn([u8; 4]) -> Vec<u8>) -> Zeroizing<Vec<u8>> {
    let len = usize::from(bits.div_ceil(8));
    let mut out = Zeroizing::new(Vec::with_capacity(len + 64));
    for counter in 1_u32.. {
        if out.len() >= len {
            break;
        }
        out.extend_from_slice(&Zeroizing::new(block(counter.to_be_bytes())));
    }
    out.truncate(len);
    if let Some(first) = out.first_mut() {
        *first &= 0xFF >> ((8 - bits % 8) % 8);
    }
    out
}

pub(super) fn hmac_alg(hash: HashAlg) -> hmac::Algorithm {
    match hash {
        HashAlg::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        HashAlg::Sha256 => hmac::HMAC_SHA256,
        HashAlg::Sha384 => hmac::HMAC_SHA384,
        HashAlg::Sha512 => hmac::HMAC_SHA512,
    }
}

fn digest_alg(hash: HashAlg) -> &'static digest::Algorithm {
    match hash {
        HashAlg::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        HashAlg::Sha256 => &digest::SHA256,
        HashAlg::Sha384 => &digest::SHA384,
        HashAlg::Sha512 => &digest::SHA512,
    }
}
