//! subjectAltName: the TPM, and the names of the gateway.

use picky_asn1::wrapper::{ObjectIdentifierAsn1, OctetStringAsn1};
use picky_asn1_x509::GeneralName;
use serde::Deserialize;

use super::{Expectation, LintError};
use crate::identity::oid;

/// HardwareModuleName (RFC 4108 §5), to be read.
#[derive(Deserialize)]
struct HardwareModuleName {
    hw_type: ObjectIdentifierAsn1,
    hw_serial_num: OctetStringAsn1,
}

pub(super) fn subject_alt_name(
    names: &[GeneralName],
    expected: &Expectation,
) -> Result<(), LintError> {
    let wanted = DeviceNames {
        hardware_serial: expected.hardware_serial.clone(),
        spiffe_id: expected.spiffe_id.clone(),
        dns_names: expected.additions.dns_names.clone(),
        uris: expected.additions.uris.clone(),
    };
    if device_names(names) == Some(wanted) {
        Ok(())
    } else {
        Err(LintError::SubjectAltName)
    }
}

/// What a subjectAltName of the profile holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::identity) struct DeviceNames {
    pub(in crate::identity) hardware_serial: String,
    pub(in crate::identity) spiffe_id: Option<String>,
    pub(in crate::identity) dns_names: Vec<String>,
    pub(in crate::identity) uris: Vec<String>,
}

/// Names that are one HardwareModuleName of a TPM 2.0, then a SPIFFE ID or
/// none, then DNS names, then other URIs, and nothing else.
pub(in crate::identity) fn device_names(names: &[GeneralName]) -> Option<DeviceNames> {
    let (module, rest) = names.split_first()?;
    let GeneralName::OtherName(module) = module else {
        return None;
    };
    let kind: String = (&module.type_id.0).into();
    let value: HardwareModuleName = picky_asn1_der::from_bytes(&module.value.0.0).ok()?;
    let hw_type: String = (&value.hw_type.0).into();
    if kind != oid::dotted(oid::HARDWARE_MODULE_NAME) || hw_type != oid::dotted(oid::TPM_2_0) {
        return None;
    }
    let mut found = DeviceNames {
        hardware_serial: String::from_utf8(value.hw_serial_num.0).ok()?,
        ..DeviceNames::default()
    };
    for (position, name) in rest.iter().enumerate() {
        match name {
            GeneralName::Uri(uri) => {
                let uri = String::from_utf8(uri.as_bytes().to_vec()).ok()?;
                match uri.starts_with("spiffe:") {
                    true if position == 0 => found.spiffe_id = Some(uri),
                    true => return None,
                    false => found.uris.push(uri),
                }
            }
            GeneralName::DnsName(name) if found.uris.is_empty() => {
                found
                    .dns_names
                    .push(String::from_utf8(name.as_bytes().to_vec()).ok()?);
            }
            _ => return None,
        }
    }
    Some(found)
}
