//! Where relying parties find what a CA says of its certificates: the URLs in
//! an LDevID, and the division of a CA's certificates among its CRLs.

use super::IdentityError;

/// The most CRLs that a CA's certificates are divided among.
pub const MAX_CRL_PARTS: u16 = 256;
/// Longest base URL: with the longest path below it, under the 255 octets that
/// small TLS stacks take.
const MAX_URL: usize = 160;

/// Base of the URLs: `http://host[:port][/path]`, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// `http` only: to check a server's certificate over https one would need
    /// the very answer that is asked for (RFC 5280 §8), and what is served is
    /// signed.
    ///
    /// # Errors
    /// [`IdentityError::BadPublicUrl`] for anything but ASCII letters, digits
    /// and `.-_~:/[]` after `http://`.
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        let bad = || IdentityError::BadPublicUrl(text.escape_debug().to_string());
        let rest = text.strip_prefix("http://").ok_or_else(bad)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_~:/[]".contains(c);
        let host = rest.split('/').next().unwrap_or_default();
        let empty_segment = rest.split('/').any(str::is_empty);
        if host.is_empty() || text.len() > MAX_URL || empty_segment || !rest.chars().all(allowed) {
            return Err(bad());
        }
        Ok(Self(text.to_owned()))
    }

    /// Its path, "" or beginning with a slash: what comes before ours.
    #[must_use]
    pub fn path(&self) -> &str {
        let rest = self.0.get("http://".len()..).unwrap_or_default();
        rest.find('/')
            .and_then(|slash| rest.get(slash..))
            .unwrap_or_default()
    }

    /// Of a CRL, by the CA's key identifier.
    #[must_use]
    pub fn crl(&self, key_identifier: &[u8], part: CrlPart) -> String {
        format!("{}{}", self.0, crl_path(key_identifier, part))
    }

    /// What a certificate of this CA says.
    #[must_use]
    pub fn urls(&self, key_identifier: &[u8], part: CrlPart) -> RevocationUrls {
        RevocationUrls {
            crl: self.crl(key_identifier, part),
            ocsp: format!("{}{OCSP_PATH}", self.0),
            issuer: format!("{}{}", self.0, issuer_path(key_identifier)),
        }
    }
}

/// Path of the OCSP responder.
pub const OCSP_PATH: &str = "/ocsp";

/// Path of a CRL: `/crl/ID.crl` for the full one, `/crl/ID/PART.crl` for a part.
#[must_use]
pub fn crl_path(key_identifier: &[u8], part: CrlPart) -> String {
    let id = hex::encode(key_identifier);
    if part == CrlPart::FULL {
        format!("/crl/{id}.crl")
    } else {
        format!("/crl/{id}/{}.crl", part.number())
    }
}

/// Path of a CA's certificate.
#[must_use]
pub fn issuer_path(key_identifier: &[u8]) -> String {
    format!("/ca/{}.cer", hex::encode(key_identifier))
}

/// What an LDevID says of where its revocation is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationUrls {
    /// cRLDistributionPoints (RFC 5280 §4.2.1.13).
    pub crl: String,
    /// authorityInfoAccess, id-ad-ocsp (§4.2.2.1).
    pub ocsp: String,
    /// authorityInfoAccess, id-ad-caIssuers.
    pub issuer: String,
}

/// One CRL of a CA. Numbered as a heap is: 1 is the full one; with `n` parts,
/// part `i` is `n + i`. So a part keeps its number, and what it covers, when
/// later certificates are divided among more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CrlPart(u16);

impl CrlPart {
    /// Covers every certificate of the CA.
    pub const FULL: Self = Self(1);

    /// By its number, 1 to 511.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        (1..2 * MAX_CRL_PARTS)
            .contains(&number)
            .then_some(Self(number))
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Where a new certificate goes, by a random octet of its serial number.
    #[must_use]
    pub fn of(parts: CrlParts, random: u8) -> Self {
        Self(parts.0 + u16::from(random) % parts.0)
    }
}

/// Among how many CRLs new certificates are divided: a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrlParts(u16);

impl CrlParts {
    /// One: the full CRL.
    pub const ONE: Self = Self(1);

    /// Enough that none answers for more than `most` of `certificates`, as far
    /// as [`MAX_CRL_PARTS`] goes.
    #[must_use]
    pub fn for_certificates(certificates: u64, most: u64) -> Self {
        let parts = certificates.div_ceil(most.max(1)).max(1);
        let parts = u16::try_from(parts).unwrap_or(MAX_CRL_PARTS);
        Self(parts.min(MAX_CRL_PARTS).next_power_of_two())
    }

    /// By their number.
    #[must_use]
    pub fn from_count(count: u16) -> Option<Self> {
        (count.is_power_of_two() && count <= MAX_CRL_PARTS).then_some(Self(count))
    }

    /// How many.
    #[must_use]
    pub const fn count(self) -> u16 {
        self.0
    }

    /// All of them.
    pub fn all(self) -> impl Iterator<Item = CrlPart> + Clone {
        (self.0..2 * self.0).map(CrlPart)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_plain_http() {
        let url = PublicUrl::parse("http://crl.example.org:8080/hf").unwrap();
        assert_eq!(url.path(), "/hf");
        assert_eq!(PublicUrl::parse("http://[::1]:80").unwrap().path(), "");
        let part = CrlPart::from_number(6).unwrap();
        assert_eq!(
            url.urls(&[0xAB; 2], part),
            RevocationUrls {
                crl: "http://crl.example.org:8080/hf/crl/abab/6.crl".to_owned(),
                ocsp: "http://crl.example.org:8080/hf/ocsp".to_owned(),
                issuer: "http://crl.example.org:8080/hf/ca/abab.cer".to_owned(),
            }
        );
        for bad in [
            "",
            "https://crl.example.org",
            "http://",
            "http:///x",
            "http://a/",
            "http://a//b",
            "http://a b",
            "http://a?x",
            "http://u@a",
            "http://ä",
        ] {
            assert!(
                matches!(PublicUrl::parse(bad), Err(IdentityError::BadPublicUrl(_))),
                "{bad}"
            );
        }
        assert!(PublicUrl::parse(&format!("http://{}", "a".repeat(154))).is_err());
    }

    #[test]
    fn no_crl_answers_for_more_than_was_said() {
        let count = |certificates| CrlParts::for_certificates(certificates, 10_000).count();
        assert_eq!(count(0), 1);
        assert_eq!(count(10_000), 1);
        assert_eq!(count(10_001), 2);
        assert_eq!(count(20_001), 4);
        assert_eq!(count(u64::MAX), MAX_CRL_PARTS);
    }

    #[test]
    fn parts_are_numbered_without_overlap() {
        let mut seen = std::collections::BTreeSet::new();
        for count in [1, 2, 4, 256] {
            let parts = CrlParts::from_count(count).unwrap();
            let all: Vec<CrlPart> = parts.all().collect();
            assert_eq!(all.len(), usize::from(count));
            for part in &all {
                assert!(seen.insert(*part));
                assert_eq!(CrlPart::from_number(part.number()), Some(*part));
            }
            for random in 0..=255 {
                assert!(all.contains(&CrlPart::of(parts, random)));
            }
        }
        assert_eq!(CrlPart::from_number(0), None);
        assert_eq!(CrlPart::from_number(512), None);
        assert_eq!(CrlParts::from_count(3), None);
        assert_eq!(CrlParts::from_count(512), None);
    }
}
