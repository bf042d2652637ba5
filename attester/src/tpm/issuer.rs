//! Who issued the certificates in NV, as they say themselves: so that `doctor`
//! can name the one that the verifier's owner has to import. Nothing here is
//! verified; that is the verifier's.

/// The issuer of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// Its name, for people: `CN=…`, escaped.
    pub name: String,
    /// authorityKeyIdentifier (RFC 5280 §4.2.1.1), lower-case hex; empty where
    /// there is none.
    pub key_id: String,
    /// caIssuers of authorityInfoAccess (§4.2.2.1): where it says that the
    /// issuer's certificate is. Visible ASCII; never followed.
    pub url: Option<String>,
    /// Whether the certificate names itself: it is a root.
    pub is_self: bool,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
const AUTHORITY_KEY_ID: &[u8] = &[0x55, 0x1D, 0x23];
const AUTHORITY_INFO_ACCESS: &[u8] = &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x01];
const CA_ISSUERS: &[u8] = &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x02];
/// Longest address and name shown.
const MAX_URL: usize = 200;
const MAX_NAME: usize = 300;

/// The issuer that no certificate of `chain` is: above it, the verifier must
/// know the way. `None` where the certificate cannot be read.
pub(crate) fn missing(leaf: &[u8], chain: &[Vec<u8>]) -> Option<Issuer> {
    let mut top = Fields::of(leaf)?;
    let above: Vec<Fields<'_>> = chain.iter().filter_map(|der| Fields::of(der)).collect();
    // Each step goes up by one certificate, so that a loop of issuers ends.
    for _ in 0..above.len() {
        let next = |c: &&Fields<'_>| c.subject == top.issuer && c.subject != c.issuer;
        match above.iter().find(next) {
            Some(next) => top = *next,
            None => break,
        }
    }
    Some(top.issuer_facts())
}

/// The parts of a certificate that matter here, as DER.
#[derive(Clone, Copy)]
struct Fields<'a> {
    issuer: &'a [u8],
    subject: &'a [u8],
    /// Content of the list of extensions.
    extensions: &'a [u8],
}

impl<'a> Fields<'a> {
    fn of(der: &'a [u8]) -> Option<Self> {
        let (tbs, _) = enter(enter(der, SEQUENCE)?.0, SEQUENCE)?;
        // version [0], serialNumber, signature.
        let rest = skip(skip(skip(tbs)?)?)?;
        let (issuer, rest) = whole(rest)?;
        // validity.
        let (subject, rest) = whole(skip(rest)?)?;
        // subjectPublicKeyInfo, unique identifiers.
        let mut rest = skip(rest)?;
        while rest.first().is_some_and(|tag| *tag != 0xA3) {
            rest = skip(rest)?;
        }
        let extensions = match rest {
            [] => &[][..],
            _ => enter(enter(rest, 0xA3)?.0, SEQUENCE)?.0,
        };
        Some(Self {
            issuer,
            subject,
            extensions,
        })
    }

    fn issuer_facts(&self) -> Issuer {
        let key_id = self
            .extension(AUTHORITY_KEY_ID)
            .and_then(|value| enter(enter(value, SEQUENCE)?.0, 0x80))
            .map(|(id, _)| hex::encode(id));
        Issuer {
            name: name(self.issuer),
            key_id: key_id.unwrap_or_default(),
            url: self.extension(AUTHORITY_INFO_ACCESS).and_then(ca_issuers),
            is_self: self.issuer == self.subject,
        }
    }

    fn extension(&self, wanted: &[u8]) -> Option<&'a [u8]> {
        let mut list = self.extensions;
        while !list.is_empty() {
            let (extension, rest) = enter(list, SEQUENCE)?;
            let (id, value) = enter(extension, OID)?;
            let value = match value.first() {
                Some(&BOOLEAN) => skip(value)?,
                _ => value,
            };
            if id == wanted {
                return enter(value, OCTET_STRING).map(|(content, _)| content);
            }
            list = rest;
        }
        None
    }
}

fn ca_issuers(value: &[u8]) -> Option<String> {
    let (mut list, _) = enter(value, SEQUENCE)?;
    while !list.is_empty() {
        let (description, rest) = enter(list, SEQUENCE)?;
        let (method, location) = enter(description, OID)?;
        if method == CA_ISSUERS
            && let Some((url, _)) = enter(location, 0x86)
        {
            let text = std::str::from_utf8(url).ok()?;
            let plain = (1..=MAX_URL).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
            return plain.then(|| text.to_owned());
        }
        list = rest;
    }
    None
}

/// A Name for people, escaped; what cannot be read is left out.
fn name(der: &[u8]) -> String {
    let mut parts = Vec::new();
    let mut rdns = enter(der, SEQUENCE).map_or(&[][..], |(content, _)| content);
    while let Some((mut rdn, rest)) = enter(rdns, SET) {
        while let Some((pair, more)) = enter(rdn, SEQUENCE) {
            let attribute = || -> Option<String> {
                let (id, value) = enter(pair, OID)?;
                let key = match id {
                    [0x55, 0x04, 0x03] => "CN",
                    [0x55, 0x04, 0x06] => "C",
                    [0x55, 0x04, 0x0A] => "O",
                    [0x55, 0x04, 0x0B] => "OU",
                    _ => return None,
                };
                let (text, _) = element(value)?;
                let text = String::from_utf8_lossy(text);
                Some(format!("{key}={}", text.escape_default()))
            };
            parts.extend(attribute());
            rdn = more;
        }
        rdns = rest;
    }
    parts.join(", ").chars().take(MAX_NAME).collect()
}

// ---- as much DER as this needs: nothing is copied, nothing trusted

/// Content of the first element, and what follows it.
fn element(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, after_tag) = bytes.split_first()?;
    let (len, content) = match after_tag {
        [short @ 0..=0x7F, rest @ ..] => (usize::from(*short), rest),
        [0x81, len, rest @ ..] => (usize::from(*len), rest),
        [0x82, high, low, rest @ ..] => (usize::from(*high) << 8 | usize::from(*low), rest),
        _ => return None,
    };
    content.split_at_checked(len)
}

/// As [`element`], of this tag only.
fn enter(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    (bytes.first() == Some(&tag))
        .then(|| element(bytes))
        .flatten()
}

/// The first element with tag and length, and what follows it.
fn whole(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, rest) = element(bytes)?;
    bytes.split_at_checked(bytes.len().checked_sub(rest.len())?)
}

fn skip(bytes: &[u8]) -> Option<&[u8]> {
    element(bytes).map(|(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa,
        Issuer as Ca, KeyPair,
    };

    use super::*;

    fn params(cn: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, cn);
        params.use_authority_key_identifier_extension = true;
        params
    }

    fn ca(cn: &str) -> CertificateParams {
        let mut params = params(cn);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    /// Leaf, issuing CA, root.
    fn three() -> [Vec<u8>; 3] {
        let (root_key, ca_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root = ca("Vendor \u{1b}Root");
        let root_der = root.self_signed(&root_key).unwrap();
        let issuing = ca("Vendor EK CA");
        let issuing_der = issuing
            .signed_by(&ca_key, &Ca::from_params(&root, &root_key))
            .unwrap();
        let mut leaf = params("EK");
        let url = b"http://pki.example/ca.crt";
        let mut aia = vec![0x30, 0x27, 0x30, 0x25, 0x06, 0x08];
        aia.extend([CA_ISSUERS, &[0x86, 25], url].concat());
        leaf.custom_extensions = vec![CustomExtension::from_oid_content(
            &[1, 3, 6, 1, 5, 5, 7, 1, 1],
            aia,
        )];
        let key = KeyPair::generate().unwrap();
        let leaf = leaf
            .signed_by(&key, &Ca::from_params(&issuing, &ca_key))
            .unwrap();
        [
            leaf.der().to_vec(),
            issuing_der.der().to_vec(),
            root_der.der().to_vec(),
        ]
    }

    #[test]
    fn the_first_issuer_that_is_not_there_is_named() {
        let [leaf, issuing, root] = three();
        let alone = missing(&leaf, &[]).unwrap();
        assert_eq!(alone.name, "CN=Vendor EK CA");
        assert_eq!(alone.url.as_deref(), Some("http://pki.example/ca.crt"));
        assert_eq!(alone.key_id.len(), 40);
        let with = missing(&leaf, std::slice::from_ref(&issuing)).unwrap();
        assert_eq!(with.name, "CN=Vendor \\u{1b}Root");
        assert_eq!((with.url, with.is_self), (None, false));
        let all = missing(&leaf, &[issuing.clone(), root.clone()]).unwrap();
        assert!(all.name.starts_with("CN=Vendor"));
        assert!(missing(&root, &[]).unwrap().is_self);
    }

    #[test]
    fn nothing_panics() {
        let [leaf, issuing, _] = three();
        for len in 0..leaf.len() {
            let _ = missing(&leaf[..len], std::slice::from_ref(&issuing));
        }
        for at in 0..leaf.len() {
            let mut changed = leaf.clone();
            changed[at] ^= 0xFF;
            let _ = missing(&changed, std::slice::from_ref(&issuing));
        }
        assert_eq!(missing(b"text", &[]), None);
    }
}
