//! ROCA (CVE-2017-15361): RSA keys of Infineon TPMs whose primes have a form
//! that lets them be found. Nemec, Sys, Svenda, Klinec, Matyas, "The Return of
//! Coppersmith's Attack" (CCS 2017), §2.3: the modulus of such a key is a power
//! of 65537 modulo every small prime.

/// Small primes modulo which not every number is a power of 65537.
const PRIMES: [u64; 17] = [
    11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157,
];
const GENERATOR: u64 = 65_537;

/// Whether the modulus (big-endian) has the form. Of moduli that do not come
/// from the flawed library, one in some hundred million has it by chance.
pub(crate) fn is_roca(modulus: &[u8]) -> bool {
    PRIMES
        .iter()
        .all(|prime| is_power_of_generator(remainder(modulus, *prime), *prime))
}

fn remainder(number: &[u8], prime: u64) -> u64 {
    number
        .iter()
        .fold(0, |rest, byte| (rest * 256 + u64::from(*byte)) % prime)
}

fn is_power_of_generator(number: u64, prime: u64) -> bool {
    let mut power = 1;
    // The powers come round again after at most `prime - 1` steps.
    for _ in 0..prime {
        if power == number {
            return true;
        }
        power = power * (GENERATOR % prime) % prime;
    }
    false
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::endorsement::tests::pki::rsa_ek;

    /// A modulus of 2048 bits like `like`, changed in its last 16 bytes so
    /// that it has the form. (Its factors have not: nobody needs them here.)
    pub(crate) fn flawed(like: &[u8]) -> Vec<u8> {
        let product: u128 = PRIMES.iter().map(|p| u128::from(*p)).product();
        // 65537^c modulo the product, for the first c with an odd result.
        let (high, _) = like.split_at(like.len() - 16);
        let shifted = [high, &[0; 16]].concat();
        let rest = shifted.iter().fold(0_u128, |rest, byte| {
            (rest * 256 + u128::from(*byte)) % product
        });
        let mut power = 1_u128;
        loop {
            power = power * u128::from(GENERATOR) % product;
            let low = (power + product - rest) % product;
            if low % 2 == 1 {
                return [high, &low.to_be_bytes()].concat();
            }
        }
    }

    fn modulus() -> Vec<u8> {
        match rsa_ek().unique {
            holdfast_proto::tpm::Unique::Rsa(n) => n,
            _ => unreachable!(),
        }
    }

    #[test]
    fn the_form_is_found_and_no_other_key() {
        let good = modulus();
        assert!(!is_roca(&good));
        let bad = flawed(&good);
        assert!(is_roca(&bad));
        // One modulo each prime is a power (the zeroth) of the generator.
        assert!(is_roca(&[1]));
        // Two more: no longer, as 65537 makes no subgroup with both.
        let mut near = bad;
        let last = near.last_mut().unwrap();
        *last = last.wrapping_add(2);
        assert!(!is_roca(&near));
    }

    #[test]
    fn each_prime_tells_something() {
        for prime in PRIMES {
            let members = (1..prime).filter(|n| is_power_of_generator(*n, prime));
            assert!(
                members.count() < usize::try_from(prime).unwrap() - 1,
                "{prime}"
            );
        }
    }
}
