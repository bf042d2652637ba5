//! The endorsement bundle: read, or refused for the entry that is wrong.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

use super::{
    path::crl,
    pki::{Vendor, chain, ecc_ek, ek},
    *,
};

fn parse(document: &Value) -> Result<EndorsementBundle, BundleError> {
    EndorsementBundle::parse(&document.to_string())
}

fn with(field: &str, value: Value) -> Value {
    let mut document = json!({ "format": BUNDLE_FORMAT });
    document[field] = value;
    document
}

#[test]
fn all_that_a_bundle_can_say() {
    let vendor = Vendor::new();
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        BASE64.encode(&vendor.issuing)
    );
    let document = json!({
        "format": BUNDLE_FORMAT,
        "roots": [BASE64.encode(&vendor.root)],
        "intermediates": [pem],
        "crls": [BASE64.encode(crl(Vendor::ISSUING, &vendor.issuing_key, 0x2A))],
        "leniencies": ["expired"],
        "stale_crl": "warn",
        "fingerprints": [
            { "spki_sha256": "01".repeat(32), "manufacturer": "id:49465800", "note": "rack 7" },
        ],
        "oem_tpms": [
            { "oem": "acme", "manufacturer": "IFX", "model": "SLB9670", "version": "id:00070055" },
            { "oem": "other", "manufacturer": "STM" },
        ],
        "denied_issuers": [
            { "certificate_sha256": "02".repeat(32), "reason": "a" },
            { "spki_sha256": "03".repeat(32), "reason": "b" },
            { "subject": "CN=X", "reason": "c" },
        ],
        "firmware_floors": [
            { "manufacturer": "IFX", "model": "SLB9670", "line": "0007",
              "quoted": "0007005500000000", "certified": "00070055", "reason": "d" },
        ],
    });
    let bundle = parse(&document).unwrap();
    assert_eq!(bundle.roots(), std::slice::from_ref(&vendor.root));
    assert_eq!(
        bundle.intermediates(),
        std::slice::from_ref(&vendor.issuing)
    );
    let rules = bundle.rules(&Rules::default());
    assert!(rules.leniencies.allow(Leniency::Expired));
    assert!(!rules.leniencies.allow(Leniency::SetOrder));
    assert_eq!(rules.stale_crl, StaleCrl::Warn);
    assert_eq!(rules.fingerprints.len(), 1);
    let tpm = &rules.oem_tpms[&OemName::parse("acme").unwrap()];
    assert_eq!(
        [&tpm.manufacturer, &tpm.model, &tpm.version],
        ["IFX", "SLB9670", "id:00070055"]
    );
    assert_eq!(rules.oem_tpms.len(), 2);
    assert_eq!(rules.denied.len(), 3);
    assert_eq!(rules.floors[0].quoted, Some(0x0007_0055_0000_0000));
    assert_eq!(rules.floors[0].line, Some(7));
    // It does what it says.
    let anchors = Anchors::new(bundle.roots().to_vec(), bundle.intermediates().to_vec())
        .unwrap()
        .with_crls(bundle.crls())
        .unwrap()
        .with_rules(rules);
    refused!(
        anchors.endorse(&chain(&vendor.certify(&ecc_ek())[..1]), ek(&ecc_ek()), NOW),
        EndorsementError::Revoked { .. }
    );
}

#[test]
fn what_it_does_not_say_stays_as_configured() {
    let configured = Rules {
        leniencies: Leniencies::from_iter([Leniency::Expired]),
        stale_crl: StaleCrl::Warn,
        ..Rules::default()
    };
    let rules = parse(&with("roots", json!([]))).unwrap().rules(&configured);
    assert_eq!(rules.leniencies, configured.leniencies);
    assert_eq!(rules.stale_crl, StaleCrl::Warn);
}

#[test]
fn an_entry_that_cannot_serve_is_named() {
    let vendor = Vendor::new();
    let leaf = vendor.spec(&ecc_ek()).sign(&vendor.issuing_key);
    let base64 = |der: &[u8]| json!([BASE64.encode(der)]);
    let of_ca = crl("CA", &vendor.root_key, 1);
    let cases = [
        ("roots", base64(&leaf), "not a CA"),
        ("roots", json!(["!!"]), "neither PEM nor base64"),
        ("roots", base64(&of_ca), "a CRL"),
        ("intermediates", base64(&leaf), "not a CA"),
        ("intermediates", base64(&of_ca), "a CRL"),
        ("crls", base64(&vendor.root), "a certificate"),
        ("crls", base64(&of_ca[..60]), ""),
        ("fingerprints", json!([{ "spki_sha256": "00" }]), "SHA-256"),
        (
            "fingerprints",
            json!([{ "spki_sha256": "00".repeat(32), "model": "\u{1b}" }]),
            "visible",
        ),
        (
            "oem_tpms",
            json!([{ "oem": "Acme", "manufacturer": "IFX" }]),
            "OEM's name",
        ),
        (
            "oem_tpms",
            json!([{ "oem": "acme", "manufacturer": "" }]),
            "no manufacturer",
        ),
        (
            "oem_tpms",
            json!([{ "oem": "acme", "manufacturer": "IFX", "version": "\u{1b}" }]),
            "visible",
        ),
        ("denied_issuers", json!([{ "reason": "x" }]), "one of"),
        (
            "denied_issuers",
            json!([{ "subject": "a", "spki_sha256": "00".repeat(32), "reason": "x" }]),
            "one of",
        ),
        (
            "denied_issuers",
            json!([{ "subject": "a", "reason": "" }]),
            "text",
        ),
        (
            "firmware_floors",
            json!([{ "manufacturer": "IFX", "reason": "x" }]),
            "neither quoted nor certified",
        ),
        (
            "firmware_floors",
            json!([{ "manufacturer": "IFX", "quoted": "7", "reason": "x" }]),
            "16 hex digits",
        ),
        (
            "firmware_floors",
            json!([{ "manufacturer": "IFX", "certified": "+0000007", "reason": "x" }]),
            "not hex",
        ),
    ];
    for (field, value, words) in cases {
        match parse(&with(field, value)) {
            Err(BundleError::Entry { list, at: 0, why }) if list == field => {
                assert!(why.contains(words), "{field}: {why}");
            }
            other => panic!("{field}: {other:?}"),
        }
    }
    let twice = json!([{ "spki_sha256": "00".repeat(32) }, { "spki_sha256": "00".repeat(32) }]);
    assert!(matches!(
        parse(&with("fingerprints", twice)),
        Err(BundleError::Entry { at: 1, .. })
    ));
    let one = json!({ "oem": "acme", "manufacturer": "IFX" });
    assert!(matches!(
        parse(&with("oem_tpms", json!([one, one]))),
        Err(BundleError::Entry {
            list: "oem_tpms",
            at: 1,
            ..
        })
    ));
}

#[test]
fn other_documents_are_refused_as_such() {
    for text in ["", "[]", "{}", "{\"format\": 1}"] {
        assert!(matches!(
            EndorsementBundle::parse(text),
            Err(BundleError::Json(_))
        ));
    }
    assert!(matches!(
        parse(&json!({ "format": "holdfast-endorsements-2", "new": 1 })),
        Err(BundleError::Format(format)) if format == "holdfast-endorsements-2"
    ));
    for (field, value) in [
        ("unknown", json!(1)),
        ("leniencies", json!(["all"])),
        ("stale_crl", json!("ignore")),
        ("fingerprints", json!([{ "sha1": "x" }])),
    ] {
        assert!(
            matches!(parse(&with(field, value)), Err(BundleError::Json(_))),
            "{field}"
        );
    }
    let long = " ".repeat(MAX_BUNDLE_BYTES + 1);
    assert!(matches!(
        EndorsementBundle::parse(&long),
        Err(BundleError::TooLong(_))
    ));
}
