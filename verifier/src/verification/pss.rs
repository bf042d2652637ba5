//! EMSA-PSS with whatever salt length the signer took (RFC 8017 §9.1.2).
//!
//! TPM 2.0 Part 1 §B.7 lets the salt be as long as fits; TPMs in the field use
//! that or the hash's length. ring fixes salt = hash, so the check is here. The
//! salt's length proves nothing either way: it is public and the signer's
//! choice.

use holdfast_proto::tpm::HashAlg;
use rsa::BigUint;

use super::error::SignatureFault;

/// Verifies `sig`, as long as `modulus` and below it, over `message`.
pub(super) fn verify(
    hash: HashAlg,
    modulus: &[u8],
    exponent: &[u8],
    message: &[u8],
    sig: &[u8],
) -> Result<(), SignatureFault> {
    let n = BigUint::from_bytes_be(modulus);
    let e = BigUint::from_bytes_be(exponent);
    let representative = BigUint::from_bytes_be(sig).modpow(&e, &n);
    let em_bits = n.bits().checked_sub(1).ok_or(SignatureFault::Invalid)?;
    let em = to_octets(&representative, em_bits.div_ceil(8)).ok_or(SignatureFault::Invalid)?;
    let m_hash = hash.digest(&[message]);
    if matches(hash, &em, em_bits, m_hash.as_bytes()) {
        Ok(())
    } else {
        Err(SignatureFault::Invalid)
    }
}

/// I2OSP (RFC 8017 §4.1).
fn to_octets(value: &BigUint, len: usize) -> Option<Vec<u8>> {
    let bytes = value.to_bytes_be();
    let zeros = len.checked_sub(bytes.len())?;
    Some([vec![0; zeros], bytes].concat())
}

/// EMSA-PSS-VERIFY, steps numbered as in RFC 8017 §9.1.2. Only public values:
/// no need for constant time.
fn matches(hash: HashAlg, em: &[u8], em_bits: usize, m_hash: &[u8]) -> bool {
    let h_len = hash.digest_len();
    // Steps 3 to 5, with sLen >= 0: EM = maskedDB ‖ H ‖ BC.
    let Some((0xBC, rest)) = em.split_last() else {
        return false;
    };
    let Some(db_len) = rest.len().checked_sub(h_len).filter(|l| *l >= 1) else {
        return false;
    };
    let (masked_db, h) = rest.split_at(db_len);
    // Steps 6 to 9: the leftmost 8·emLen − emBits bits are zero before, and
    // are cleared after, unmasking.
    let unused = em.len().saturating_mul(8).saturating_sub(em_bits);
    let keep = 0xFF_u8
        .checked_shr(u32::try_from(unused).unwrap_or(8))
        .unwrap_or(0);
    let mut db: Vec<u8> = masked_db
        .iter()
        .zip(mgf1(hash, h, db_len))
        .map(|(byte, mask)| byte ^ mask)
        .collect();
    match (masked_db.first(), db.first_mut()) {
        (Some(masked), Some(first)) if masked & !keep == 0 => *first &= keep,
        _ => return false,
    }
    // Step 10: DB = zeros ‖ 01 ‖ salt; here the 01 says where the salt begins.
    let Some(one) = db.iter().position(|b| *b != 0) else {
        return false;
    };
    let Some((0x01, salt)) = db.get(one..).and_then(<[u8]>::split_first) else {
        return false;
    };
    // Steps 12 to 14.
    hash.digest(&[&[0; 8], m_hash, salt]).as_bytes() == h
}

/// MGF1 (RFC 8017 §B.2.1).
fn mgf1(hash: HashAlg, seed: &[u8], len: usize) -> Vec<u8> {
    let mut mask = Vec::with_capacity(len + hash.digest_len());
    for counter in 0_u32.. {
        if mask.len() >= len {
            break;
        }
        mask.extend_from_slice(hash.digest(&[seed, &counter.to_be_bytes()]).as_bytes());
    }
    mask.truncate(len);
    mask
}
