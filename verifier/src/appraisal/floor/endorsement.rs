//! Whether the TPM's endorsement stands: no policy can wave this through.

use holdfast_proto::result::Claim;

use super::{Findings, Reason};
use crate::endorsement::{EndorsementStanding, Finding, FindingCode};

/// AR4SI hardware: genuine, with known weaknesses.
const HARDWARE_UNSAFE: i8 = 32;
/// AR4SI hardware: recognised, and not to be trusted.
const HARDWARE_CONTRAINDICATED: i8 = 96;

/// The value of the hardware claim under a finding with this code.
pub(super) fn hardware(code: &str) -> i8 {
    let unsafe_or_unknown = [FindingCode::FirmwareFloor, FindingCode::PathUnknown];
    if unsafe_or_unknown.map(FindingCode::name).contains(&code) {
        HARDWARE_UNSAFE
    } else {
        HARDWARE_CONTRAINDICATED
    }
}

impl Findings {
    pub(super) fn add_standing(&mut self, standing: &EndorsementStanding) {
        for finding in standing.findings() {
            let list = if finding.code.is_against() {
                &mut self.against
            } else {
                &mut self.told
            };
            list.push(reason(finding));
        }
    }
}

fn reason(finding: &Finding) -> Reason {
    Reason {
        code: finding.code.name().to_owned(),
        claims: vec![Claim::Hardware],
        detail: finding.detail.clone(),
        next_step: finding.next_step.to_owned(),
    }
}
