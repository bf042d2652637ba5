//! Records for tests: gateway `n` differs from gateway `m` in every key.

use holdfast_proto::{
    binding::Ueid,
    tpm::{ClockInfo, HashAlg, Name},
};

use super::*;
use crate::{
    endorsement::{EkFacts, EkLink, TpmFacts},
    identity::CrlPart,
};

pub(crate) const NOW: Seconds = 1_800_000_000;
pub(crate) const ISSUER: KeyId = [0xCA; 20];
pub(crate) const TOKEN: Sha256 = [0xAA; 32];

pub(crate) fn id(n: u8) -> Ueid {
    Ueid::parse(&[&[1][..], &[n; 32]].concat()).unwrap()
}

pub(crate) fn name(n: u8) -> Name {
    Name::parse(&[&[0x00, 0x0b][..], &[n; 32]].concat()).unwrap()
}

pub(crate) fn join_token(uses_left: u32) -> JoinToken {
    JoinToken {
        secret_sha256: TOKEN,
        class: "default".to_owned(),
        uses_left,
        expires: NOW + 3600,
    }
}

pub(crate) fn answer(n: u8) -> Answer {
    Answer {
        request_sha256: [n; 32],
        token_id: [n ^ 0x80; 32],
        issued: NOW,
        expires: NOW + 300,
        response: vec![n; 100],
        basis: basis(0),
    }
}

/// Of class `default`, with that version of its reference values and no allow
/// list.
pub(crate) fn basis(references: u64) -> Basis {
    Basis {
        class: "default".to_owned(),
        policy_id: [0; 32],
        in_force: InForce {
            references,
            allow_list: 0,
        },
    }
}

pub(crate) fn certificate(n: u8) -> NewCertificate {
    NewCertificate {
        sha256: [n; 32],
        serial: format!("{n:02x}"),
        issuer: ISSUER,
        crl: CrlPart::FULL,
        der: vec![0x30, n],
        not_before: NOW - 300,
        not_after: NOW + 86_400,
    }
}

/// A quote that differs for each `n`.
pub(crate) fn quote(n: u8) -> QuotedPcrs {
    QuotedPcrs {
        bank: HashAlg::Sha256,
        values: [(0, vec![0; 32]), (4, vec![n; 32])].into(),
    }
}

/// Version `version` of the values of class `default`; the store does not look
/// into documents or statements.
pub(crate) fn reference_values(version: u64, document: &str) -> NewReferenceValues {
    NewReferenceValues {
        class: "default".to_owned(),
        version,
        document: document.to_owned(),
        statement: vec![1, 2, 3],
        captured: None,
    }
}

pub(crate) fn clock(reset_count: u32, clock: u64) -> ClockInfo {
    ClockInfo {
        clock,
        reset_count,
        restart_count: 0,
        safe: true,
    }
}

/// Another EK of gateway `n`, with digest `n + 200`.
pub(crate) fn further_ek(n: u8) -> EkFacts {
    let first = enrolled(n).tpm;
    EkFacts {
        spki_sha256: [n + 200; 32],
        public: vec![n, 5],
        chain_sha256: [n + 200; 32],
        tpm: TpmFacts {
            ek_template: "L-1".to_owned(),
            ..first.facts
        },
    }
}

/// Gateway `n`, whose AK is `n`, LDevID key `n + 100`.
pub(crate) fn enrolled(n: u8) -> Enrolled {
    Enrolled {
        answer: answer(n),
        admittance: Admittance::JoinToken(TOKEN),
        id: id(n),
        class: "default".to_owned(),
        keys: GatewayKeys {
            ak_public: vec![n, 1],
            ak_name: name(n),
            ak_qualified_name: vec![n, 2],
            ldevid_public: vec![n, 3],
            ldevid_name: name(n + 100),
        },
        tpm: TpmRecord {
            ek_public: vec![n, 4],
            ek_link: EkLink::Certification,
            ek_spki_sha256: [n; 32],
            ek_chain_sha256: [n; 32],
            facts: TpmFacts {
                manufacturer: "id:53544D20".to_owned(),
                model: "ST33".to_owned(),
                version: "id:00010002".to_owned(),
                issuer: "CN=Vendor".to_owned(),
                ek_certificate_serial: "01".to_owned(),
                ek_certificate_aki: String::new(),
                ek_certificate_sha256: "02".to_owned(),
                ek_template: "L-2".to_owned(),
                known_by: crate::endorsement::EkKnownBy::EkCertificate,
                leniencies: Vec::new(),
                path: Vec::new(),
                devid: None,
            },
            clock: clock(1, 1000),
            firmware_version: u64::MAX,
        },
        further_eks: Vec::new(),
        ima: None,
        quote: quote(n),
        boot_log: Some(BootLogRef::Content {
            sha256: [n; 32],
            bytes: vec![n; 10],
        }),
        certificate: certificate(n),
        reasons: Vec::new(),
        begin_beats: None,
    }
}

pub(crate) fn reason(code: &str) -> Reason {
    Reason {
        code: code.to_owned(),
        detail: "what".to_owned(),
        next_step: "do".to_owned(),
    }
}

/// Answer `request` of a re-attestation of gateway `n`.
pub(crate) fn affirmed(n: u8, request: u8) -> Affirmed {
    Affirmed {
        answer: answer(request),
        id: id(n),
        channel_certificate: [n; 32],
        ak_name: name(n),
        ldevid_name: name(n + 100),
        clock: clock(1, 2000),
        firmware_version: 7,
        ima: None,
        quote: quote(n),
        boot_log: Some(BootLogRef::Known([n; 32])),
        certificate: None,
        reasons: Vec::new(),
        begin_beats: None,
    }
}

pub(crate) fn contraindicated(n: u8, request: u8) -> Contraindicated {
    Contraindicated {
        answer: answer(request),
        id: id(n),
        class: "default".to_owned(),
        ak_name: name(n),
        ldevid_name: name(n + 100),
        against_gateway: true,
        quote: quote(n + 50),
        boot_log: Some(BootLogRef::Content {
            sha256: [n + 50; 32],
            bytes: vec![n + 50; 10],
        }),
        drift: vec!["kernel changed".to_owned()],
        reasons: vec![reason("pcr-mismatch")],
    }
}

pub(crate) fn refused(n: u8, request: u8) -> Refused {
    Refused {
        answer: answer(request),
        id: id(n),
        class: "default".to_owned(),
        against_gateway: true,
        quote: quote(n + 50),
        boot_log: Some(BootLogRef::Content {
            sha256: [n + 50; 32],
            bytes: vec![n + 50; 10],
        }),
        drift: vec!["kernel changed".to_owned()],
        reasons: vec![reason("pcr-mismatch")],
    }
}
