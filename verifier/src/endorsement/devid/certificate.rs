//! What a DevID certificate says of its device (IEEE 802.1AR-2018 §8).

use holdfast_proto::tpm::devid::DevidKey;

use super::DevidError;
use crate::endorsement::{
    certificate::{self, Certificate},
    der::{self, Element, NotDer, Reader},
    oid,
};

/// serialNumber 2.5.4.5.
const SERIAL_NUMBER: &[u8] = &[0x55, 0x04, 0x05];
/// id-on-hardwareModuleName 1.3.6.1.5.5.7.8.4.
const HARDWARE_MODULE_NAME: &[u8] = &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x08, 0x04];
/// The longest serial number taken (RFC 5280 ub-serial-number).
const SERIAL_MAX: usize = 64;
/// HPE's profile has some 70 octets.
const HARDWARE_SERIAL_MAX: usize = 255;

/// The names in a DevID certificate. Untrusted until its path is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DevidNames {
    /// serialNumber of the subject, inert.
    pub(crate) serial: String,
    /// hwType, dotted, and hwSerialNum as shown.
    pub(crate) hardware: Option<(String, String)>,
    /// Issuer, for people; inert.
    pub(crate) issuer: String,
}

impl DevidNames {
    pub(super) fn read(leaf: &Certificate<'_>, of: DevidKey) -> Result<Self, DevidError> {
        let attributes = certificate::attributes(leaf.subject)
            .map_err(|NotDer| DevidError::SerialNumber { of })?;
        let mut serials = attributes
            .iter()
            .filter(|(oid, _)| *oid == SERIAL_NUMBER)
            .map(|(_, value)| value);
        let serial = match (serials.next(), serials.next()) {
            (Some(value), None) => text(value),
            _ => None,
        };
        let hardware = match leaf.extension(oid::SUBJECT_ALT_NAME) {
            Some(names) => {
                hardware(names).map_err(|NotDer| DevidError::HardwareModuleName { of })?
            }
            None => None,
        };
        Ok(Self {
            serial: serial.ok_or(DevidError::SerialNumber { of })?,
            hardware,
            issuer: certificate::display_name(leaf.issuer),
        })
    }
}

/// Visible ASCII and inner blanks: inert wherever it is shown, and the same
/// whether it was typed or read.
fn text(value: &Element<'_>) -> Option<String> {
    let text = std::str::from_utf8(value.content)
        .ok()
        .filter(|_| [der::PRINTABLE_STRING, der::UTF8_STRING].contains(&value.tag))?;
    is_product_serial(text).then(|| text.to_owned())
}

/// Whether a text can be a product's serial number here.
#[must_use]
pub fn is_product_serial(text: &str) -> bool {
    (1..=SERIAL_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
        && text.trim() == text
}

/// The one HardwareModuleName among the names, if there is one.
fn hardware(names: &[u8]) -> Result<Option<(String, String)>, NotDer> {
    let mut names = Reader::new(der::only(names, der::SEQUENCE)?);
    let mut found = None;
    while !names.is_empty() {
        let name = names.next()?;
        // otherName is [0], implicit: SEQUENCE { type-id, [0] EXPLICIT value }.
        if name.tag != der::constructed(0) {
            continue;
        }
        let mut other = Reader::new(name.content);
        if other.tagged(der::OID)?.content != HARDWARE_MODULE_NAME {
            continue;
        }
        let value = other.tagged(der::constructed(0))?.content;
        other.finish()?;
        let mut module = Reader::new(der::only(value, der::SEQUENCE)?);
        let kind = module.tagged(der::OID)?.content;
        let serial = module.tagged(der::OCTET_STRING)?.content;
        module.finish()?;
        if serial.is_empty() || serial.len() > HARDWARE_SERIAL_MAX {
            return Err(NotDer);
        }
        if found.replace((der::dotted(kind), shown(serial))).is_some() {
            return Err(NotDer);
        }
    }
    Ok(found)
}

/// As text where nobody could be fooled by it, else in hex.
fn shown(serial: &[u8]) -> String {
    match std::str::from_utf8(serial) {
        Ok(text) if text.bytes().all(|b| b.is_ascii_graphic()) => text.to_owned(),
        _ => format!("0x{}", hex::encode(serial)),
    }
}
