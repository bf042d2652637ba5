//! `SIGNED{}` read: the signed part, the algorithm and the signature of a
//! certificate or certification request, as the octets that they are. Strict
//! DER lengths (X.690 §10.1), nothing after the end.

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
/// More than any certificate or request of a CA has.
const LENGTH_OCTETS_MAX: u8 = 2;

/// The three parts.
pub(super) struct Signed<'a> {
    /// Whole, as it was signed.
    pub(super) to_be_signed: &'a [u8],
    /// DER AlgorithmIdentifier, whole.
    pub(super) algorithm: &'a [u8],
    /// Octets of the BIT STRING.
    pub(super) signature: &'a [u8],
}

impl<'a> Signed<'a> {
    pub(super) fn parse(der: &'a [u8]) -> Option<Self> {
        let (outer, rest) = element(der, SEQUENCE)?;
        let (to_be_signed, after) = element(outer.content, SEQUENCE)?;
        let (algorithm, after) = element(after, SEQUENCE)?;
        let (signature, end) = element(after, BIT_STRING)?;
        // No unused bits: a DER signature is whole octets.
        let (&unused, signature) = signature.content.split_first()?;
        (rest.is_empty() && end.is_empty() && unused == 0).then_some(Self {
            to_be_signed: to_be_signed.whole,
            algorithm: algorithm.whole,
            signature,
        })
    }
}

/// One element.
pub(super) struct Element<'a> {
    pub(super) content: &'a [u8],
    pub(super) whole: &'a [u8],
}

/// The element with this tag that `der` begins with, and what follows it.
pub(super) fn element(der: &[u8], tag: u8) -> Option<(Element<'_>, &[u8])> {
    let (&found, after_tag) = der.split_first()?;
    let (&first, after_first) = after_tag.split_first()?;
    let (length, after_length) = match first {
        short @ 0..0x80 => (usize::from(short), after_first),
        long => {
            let octets = usize::from(long & 0x7F);
            if octets == 0 || octets > usize::from(LENGTH_OCTETS_MAX) {
                return None;
            }
            let (length, rest) = after_first.split_at_checked(octets)?;
            let length = length
                .iter()
                .fold(0, |sum: usize, &octet| sum << 8 | usize::from(octet));
            let shortest = if octets == 1 { 0x80 } else { 0x100 };
            if length < shortest {
                return None;
            }
            (length, rest)
        }
    };
    let (content, rest) = after_length.split_at_checked(length)?;
    let (whole, _) = der.split_at_checked(der.len().checked_sub(rest.len())?)?;
    (found == tag).then_some((Element { content, whole }, rest))
}
