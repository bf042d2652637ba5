//! Certificates and CRLs in a PKCS#7 file: a "certs-only" SignedData (RFC 5652
//! §5.1, RFC 5751 §3.7), which nobody has signed. It is a bag, no more.

use thiserror::Error;

use super::{
    der::{self, NotDer, Reader},
    oid,
};

/// Why a PKCS#7 file is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Pkcs7Error {
    /// Not DER, or not a SignedData. BER with indefinite lengths is not read:
    /// `openssl pkcs7 -outform DER` makes DER of it.
    #[error("malformed {0}: not a SignedData in DER")]
    Malformed(&'static str),
    /// Another content type.
    #[error("its content is not SignedData")]
    NotSignedData,
    /// It has signers: what it holds besides certificates is not for us.
    #[error("it has signers: only a certs-only file is taken")]
    Signed,
    /// A certificate of another form (attribute certificate, PKCS#6).
    #[error("element {0} of its certificates is no X.509 certificate")]
    OtherCertificate(usize),
}

/// What it holds, as DER.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Bag<'a> {
    pub(super) certificates: Vec<&'a [u8]>,
    pub(super) crls: Vec<&'a [u8]>,
}

/// From the DER of a ContentInfo.
pub(super) fn parse(bytes: &[u8]) -> Result<Bag<'_>, Pkcs7Error> {
    let malformed = |part| move |_: NotDer| Pkcs7Error::Malformed(part);
    let mut info = Reader::new(der::only(bytes, der::SEQUENCE).map_err(malformed("ContentInfo"))?);
    let kind = info.tagged(der::OID).map_err(malformed("contentType"))?;
    if kind.content != oid::SIGNED_DATA {
        return Err(Pkcs7Error::NotSignedData);
    }
    let content = info
        .tagged(der::constructed(0))
        .map_err(malformed("content"))?;
    info.finish().map_err(malformed("ContentInfo"))?;
    let signed = der::only(content.content, der::SEQUENCE).map_err(malformed("SignedData"))?;
    let mut signed = Reader::new(signed);
    signed.tagged(der::INTEGER).map_err(malformed("version"))?;
    signed
        .tagged(der::SET)
        .map_err(malformed("digestAlgorithms"))?;
    signed
        .tagged(der::SEQUENCE)
        .map_err(malformed("encapContentInfo"))?;
    let mut bag = Bag::default();
    if let Some(list) = signed
        .optional(der::constructed(0))
        .map_err(malformed("certificates"))?
    {
        let mut list = Reader::new(list.content);
        while !list.is_empty() {
            let element = list.next().map_err(malformed("certificates"))?;
            if element.tag != der::SEQUENCE {
                return Err(Pkcs7Error::OtherCertificate(bag.certificates.len()));
            }
            bag.certificates.push(element.whole);
        }
    }
    if let Some(list) = signed
        .optional(der::constructed(1))
        .map_err(malformed("crls"))?
    {
        let mut list = Reader::new(list.content);
        while !list.is_empty() {
            let element = list.tagged(der::SEQUENCE).map_err(malformed("crls"))?;
            bag.crls.push(element.whole);
        }
    }
    let signers = signed.tagged(der::SET).map_err(malformed("signerInfos"))?;
    signed.finish().map_err(malformed("SignedData"))?;
    if !signers.content.is_empty() {
        return Err(Pkcs7Error::Signed);
    }
    Ok(bag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endorsement::tests::pki::{Vendor, der, integer, oid, seq};

    fn file(certificates: &[u8], signers: &[u8]) -> Vec<u8> {
        seq(&[
            &oid(oid::SIGNED_DATA),
            &der(
                0xA0,
                &[&seq(&[
                    &integer(&[1]),
                    &der(0x31, &[]),
                    &seq(&[&oid(&[
                        0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x07, 0x01,
                    ])]),
                    &der(0xA0, &[certificates]),
                    &der(0x31, &[signers]),
                ])],
            ),
        ])
    }

    #[test]
    fn a_bag_of_certificates_is_emptied() {
        let vendor = Vendor::new();
        let both = [vendor.root.clone(), vendor.issuing.clone()];
        let bytes = file(&both.concat(), &[]);
        let bag = parse(&bytes).unwrap();
        assert_eq!(bag.certificates, both);
        assert!(bag.crls.is_empty());
    }

    #[test]
    fn what_is_no_bag_is_refused() {
        let root = Vendor::new().root;
        let good = file(&root, &[]);
        assert_eq!(parse(&file(&root, &seq(&[]))), Err(Pkcs7Error::Signed));
        assert_eq!(
            parse(&file(&der(0xA1, &[]), &[])),
            Err(Pkcs7Error::OtherCertificate(0))
        );
        let other = seq(&[&oid(&[0x2A, 3]), &der(0xA0, &[&seq(&[])])]);
        assert_eq!(parse(&other), Err(Pkcs7Error::NotSignedData));
        let trailing = [good.clone(), vec![0]].concat();
        assert_eq!(parse(&trailing), Err(Pkcs7Error::Malformed("ContentInfo")));
        for cut in 0..good.len() {
            assert!(parse(&good[..cut]).is_err(), "{cut}");
        }
    }
}
