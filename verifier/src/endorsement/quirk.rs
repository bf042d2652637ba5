//! Finds the encodings in a certificate that are not DER, or not of the
//! profile, and yet can mean only one thing.

use std::collections::BTreeSet;

use super::{
    der::{self, Element, NotDer, Reader},
    leniency::Leniency,
    oid,
};

/// What a certificate's parts need to be excused.
#[derive(Default)]
pub(super) struct Quirks(BTreeSet<Leniency>);

impl Quirks {
    pub(super) fn into_set(self) -> BTreeSet<Leniency> {
        self.0
    }

    fn note(&mut self, found: bool, leniency: Leniency) {
        if found {
            self.0.insert(leniency);
        }
    }

    /// Content of the serial number's INTEGER.
    pub(super) fn of_serial(&mut self, content: &[u8]) {
        let padded = match content {
            [0x00, next, ..] => next & 0x80 == 0,
            [0xFF, next, ..] => next & 0x80 != 0,
            _ => false,
        };
        self.note(padded, Leniency::SerialPadding);
    }

    /// Whole DER of SubjectPublicKeyInfo.
    pub(super) fn of_key(&mut self, spki: &[u8]) {
        let algorithm = || -> Result<&[u8], NotDer> {
            let mut info = Reader::new(spki).enter(der::SEQUENCE)?;
            Ok(info.enter(der::SEQUENCE)?.tagged(der::OID)?.content)
        };
        let oaep = algorithm().is_ok_and(|oid| oid == oid::RSAES_OAEP);
        self.note(oaep, Leniency::RsaesOaepKey);
    }

    /// Whole DER of a Name.
    pub(super) fn of_name(&mut self, name: &[u8]) {
        self.note(has_unsorted_rdn(name).unwrap_or(false), Leniency::SetOrder);
    }

    /// An extension's `critical` as it is written, and its value.
    pub(super) fn of_extension(&mut self, id: &[u8], critical: Option<&Element<'_>>, value: &[u8]) {
        self.note(
            critical.is_some_and(|b| b.content == [0]),
            Leniency::EncodedDefault,
        );
        if id == oid::BASIC_CONSTRAINTS {
            self.note(says_not_ca(value), Leniency::EncodedDefault);
        }
        if id == oid::SUBJECT_ALT_NAME
            && let Ok(content) = der::only(value, der::SEQUENCE)
        {
            let mut names = Reader::new(content);
            while let Ok(name) = names.next() {
                if name.tag == der::constructed(4) {
                    self.of_name(name.content);
                }
            }
        }
    }
}

/// X.690 §11.6: the elements of a SET OF ascend, as octet strings.
fn has_unsorted_rdn(name: &[u8]) -> Result<bool, NotDer> {
    let mut rdns = Reader::new(der::only(name, der::SEQUENCE)?);
    while !rdns.is_empty() {
        let mut rdn = rdns.enter(der::SET)?;
        let mut before: Option<&[u8]> = None;
        while !rdn.is_empty() {
            let attribute = rdn.next()?.whole;
            if before.is_some_and(|before| before > attribute) {
                return Ok(true);
            }
            before = Some(attribute);
        }
    }
    Ok(false)
}

/// basicConstraints with cA FALSE written out.
fn says_not_ca(value: &[u8]) -> bool {
    let ca = || -> Result<Option<Element<'_>>, NotDer> {
        Reader::new(value)
            .enter(der::SEQUENCE)?
            .optional(der::BOOLEAN)
    };
    ca().is_ok_and(|ca| ca.is_some_and(|ca| ca.content == [0]))
}
