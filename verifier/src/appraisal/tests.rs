//! The default policy and the floor, from a good state with one thing
//! changed; hostile policies (A26); the memo.

mod boot_log;
mod boot_policies;
mod default_policy;
mod floors;
mod hostile;
mod ima;
mod library;
mod memory;
mod opinions;
mod reads;

use std::collections::BTreeMap;

use holdfast_proto::{binding::Ueid, tpm::HashAlg};

use super::{facts::Facts, floor::Verdict, input::Branches, policy::Policy};
use crate::{endorsement::TpmFacts, reference_values::ReferenceValues, time::UnixTime};

const NOW: UnixTime = UnixTime::from_seconds(1_795_507_200);
/// The selection that `init` asks for.
const SELECTION: [u32; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14];

fn value(index: u32) -> Vec<u8> {
    vec![u8::try_from(index).unwrap(); 32]
}

fn facts() -> Facts {
    let mut id = [7; 33];
    id[0] = 1;
    Facts {
        gateway: Ueid::parse(&id).unwrap(),
        class: "default".into(),
        tpm: TpmFacts {
            manufacturer: "id:49465800".into(),
            model: "SLB 9670".into(),
            version: "id:00070055".into(),
            issuer: "CN=Simulated TPM vendor".into(),
            ek_certificate_serial: "01".into(),
            ek_certificate_aki: "02".into(),
            ek_certificate_sha256: "03".into(),
            ek_template: "L-2".into(),
            known_by: crate::endorsement::EkKnownBy::EkCertificate,
            leniencies: Vec::new(),
            path: Vec::new(),
            devid: None,
        },
        standing: crate::endorsement::EndorsementStanding::default(),
        ak: "000b11".into(),
        ldevid: "000b22".into(),
        bank: HashAlg::Sha256,
        pcrs: SELECTION
            .into_iter()
            .map(|index| (index, value(index)))
            .collect(),
        reset_count: 4,
        restart_count: 0,
        clock_safe: true,
        firmware_version: 0x0007_0055_0000_0000,
        software_name: "holdfast-attester".into(),
        software_version: "0.1.0".into(),
        boot_log_sha256: Some([5; 32]),
        ima: None,
        boot_log: None,
    }
}

/// Reference values from pairs of PCR and accepted values.
fn references(pcrs: &BTreeMap<u32, Vec<Vec<u8>>>) -> ReferenceValues {
    let body: Vec<String> = pcrs
        .iter()
        .map(|(index, values)| {
            let values: Vec<String> = values
                .iter()
                .map(|v| format!("\"{}\"", hex::encode(v)))
                .collect();
            format!("\"{index}\":[{}]", values.join(","))
        })
        .collect();
    ReferenceValues::parse(&format!(
        r#"{{"pcrs":{{"sha256":{{{}}}}}}}"#,
        body.join(",")
    ))
    .unwrap()
}

fn good_references() -> ReferenceValues {
    references(
        &SELECTION
            .into_iter()
            .map(|index| (index, vec![value(index)]))
            .collect(),
    )
}

fn judge(policy: &Policy, facts: &Facts, references: Option<&ReferenceValues>) -> Verdict {
    Verdict::clone(&policy.verdict(facts, references, NOW))
}

fn codes(verdict: &Verdict) -> Vec<&str> {
    verdict
        .reasons
        .iter()
        .map(|reason| reason.code.as_str())
        .collect()
}
