//! What a file that an owner imports holds: certificates and CRLs, in PEM, DER
//! or PKCS#7. Reading proves nothing.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use thiserror::Error;

use super::{
    der::{self, Reader},
    pkcs7::{self, Pkcs7Error},
};

/// Certificates and CRLs in one file; all vendors' together have some hundred.
pub const MAX_ITEMS: usize = 10_000;

/// One of them, as DER that is still to be parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A certificate.
    Certificate(Vec<u8>),
    /// A CRL.
    Crl(Vec<u8>),
}

/// Why a file gives nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FileError {
    /// Nothing in it.
    #[error("no certificate, CRL or PKCS#7 in it")]
    Nothing,
    /// More than [`MAX_ITEMS`].
    #[error("more than 10,000 certificates and CRLs in it; import them in parts")]
    TooMany,
    /// PEM of something else.
    #[error("\"{0}\" is not for import: only CERTIFICATE, X509 CRL and PKCS7 are")]
    Label(String),
    /// A PEM block that does not end, or whose content is not base64.
    #[error("not PEM: block {0} is cut off or is not base64")]
    Pem(usize),
    /// Neither PEM nor DER.
    #[error("neither PEM nor DER")]
    Unknown,
    /// A PKCS#7 file that is not read.
    #[error("PKCS#7: {0}")]
    Pkcs7(#[from] Pkcs7Error),
    /// Bytes after the DER that are no filling.
    #[error("{0} bytes follow the certificate")]
    TrailingBytes(usize),
}

/// What the bytes of a file hold, in order. Vendors' files have a newline or
/// filling after the DER: that is left out.
///
/// # Errors
/// [`FileError`]; all or nothing.
pub fn items(bytes: &[u8]) -> Result<Vec<Item>, FileError> {
    let mut found = Vec::new();
    // DER begins with a SEQUENCE; PEM text never with 0x30 ("0").
    if bytes.first() == Some(&der::SEQUENCE) {
        of_der(bytes, &mut found)?;
    } else {
        let text = std::str::from_utf8(bytes).map_err(|_| FileError::Unknown)?;
        for (at, block) in blocks(text).enumerate() {
            let (label, content) = block.ok_or(FileError::Pem(at))?;
            match label {
                "CERTIFICATE" | "X509 CERTIFICATE" => found.push(Item::Certificate(content)),
                "X509 CRL" => found.push(Item::Crl(content)),
                "PKCS7" | "CMS" => of_bag(&content, &mut found)?,
                other => {
                    let shown = other.escape_default().take(40).collect();
                    return Err(FileError::Label(shown));
                }
            }
            if found.len() > MAX_ITEMS {
                return Err(FileError::TooMany);
            }
        }
    }
    match found.len() {
        0 => Err(FileError::Nothing),
        1..=MAX_ITEMS => Ok(found),
        _ => Err(FileError::TooMany),
    }
}

fn of_der(bytes: &[u8], found: &mut Vec<Item>) -> Result<(), FileError> {
    let mut rest = Reader::new(bytes);
    while rest.peek() == Some(der::SEQUENCE) {
        let element = rest.next().map_err(|_| FileError::Unknown)?;
        match kind(element.content) {
            Kind::Certificate => found.push(Item::Certificate(element.whole.to_vec())),
            Kind::Crl => found.push(Item::Crl(element.whole.to_vec())),
            Kind::Pkcs7 => of_bag(element.whole, found)?,
        }
    }
    let filling = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0 | 0xFF);
    if rest.rest().iter().all(filling) {
        Ok(())
    } else {
        Err(FileError::TrailingBytes(rest.rest().len()))
    }
}

fn of_bag(content: &[u8], found: &mut Vec<Item>) -> Result<(), FileError> {
    let bag = pkcs7::parse(content)?;
    let owned = |der: &&[u8]| der.to_vec();
    found.extend(bag.certificates.iter().map(owned).map(Item::Certificate));
    found.extend(bag.crls.iter().map(owned).map(Item::Crl));
    Ok(())
}

enum Kind {
    Certificate,
    Crl,
    Pkcs7,
}

/// By the shape of what is in the outer SEQUENCE. What has no known shape is
/// taken for a certificate, to be refused as one.
fn kind(content: &[u8]) -> Kind {
    let mut outer = Reader::new(content);
    let Ok(first) = outer.next() else {
        return Kind::Certificate;
    };
    if first.tag == der::OID {
        return Kind::Pkcs7;
    }
    // TBSCertList: version, algorithm, issuer, and then a time.
    let mut tbs = Reader::new(first.content);
    let tags: Vec<u8> = std::iter::from_fn(|| tbs.next().ok())
        .take(4)
        .map(|element| element.tag)
        .collect();
    match tags.as_slice() {
        [
            der::INTEGER,
            der::SEQUENCE,
            der::SEQUENCE,
            der::UTC_TIME | der::GENERALIZED_TIME,
        ] => Kind::Crl,
        _ => Kind::Certificate,
    }
}

/// PEM blocks (RFC 7468 §3, laxly: any line length, text between blocks).
/// `None` for one that is broken, after which there are no more.
fn blocks(text: &str) -> impl Iterator<Item = Option<(&str, Vec<u8>)>> {
    const DASHES: &str = "-----";
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let (_, from_begin) = rest.take()?.split_once("-----BEGIN ")?;
        let block = || {
            let (label, body) = from_begin.split_once(DASHES)?;
            let end = format!("-----END {label}{DASHES}");
            let (body, after) = body.split_once(&end)?;
            let base64: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            Some((label, BASE64.decode(base64).ok()?, after))
        };
        Some(block().map(|(label, content, after)| {
            rest = Some(after);
            (label, content)
        }))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::endorsement::tests::pki::Vendor;

    fn pem(label: &str, der: &[u8]) -> String {
        format!(
            "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
            BASE64.encode(der)
        )
    }

    #[test]
    fn pem_and_der_of_several() {
        let vendor = Vendor::new();
        let both = vec![
            Item::Certificate(vendor.root.clone()),
            Item::Certificate(vendor.issuing.clone()),
        ];
        let text = format!(
            "subject=Vendor\n{}\n# and\n{}",
            pem("CERTIFICATE", &vendor.root),
            pem("X509 CERTIFICATE", &vendor.issuing)
        );
        assert_eq!(items(text.as_bytes()), Ok(both.clone()));
        let der = [vendor.root, vendor.issuing, vec![b'\n', 0, 0xFF]].concat();
        assert_eq!(items(&der), Ok(both));
    }

    #[test]
    fn each_refusal_says_why() {
        let root = Vendor::new().root;
        let good = pem("CERTIFICATE", &root);
        let cut = good.get(..good.len() - 10).unwrap();
        for (bytes, expected) in [
            (Vec::new(), FileError::Nothing),
            (b"text only".to_vec(), FileError::Nothing),
            (vec![0xFF, 0xFE], FileError::Unknown),
            (vec![0x30, 0x82], FileError::Unknown),
            (cut.as_bytes().to_vec(), FileError::Pem(0)),
            (
                [good.as_bytes(), b"-----BEGIN CERTIFICATE-----\n!!\n"].concat(),
                FileError::Pem(1),
            ),
            (
                pem("PRIVATE KEY", &[1]).into_bytes(),
                FileError::Label("PRIVATE KEY".into()),
            ),
            ([root, vec![7]].concat(), FileError::TrailingBytes(1)),
            (
                pem("PKCS7", &[0x30, 0]).into_bytes(),
                FileError::Pkcs7(Pkcs7Error::Malformed("contentType")),
            ),
        ] {
            assert_eq!(items(&bytes), Err(expected));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, text in "(-----(BEGIN|END) [A-Z7 ]{0,6}-----|[A-Za-z\n]{0,9}){0,8}") {
            let _ = items(&bytes);
            let _ = items(&[&[0x30, 0x82][..], &bytes].concat());
            let _ = items(text.as_bytes());
        }
    }
}
