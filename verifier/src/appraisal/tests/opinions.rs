use proptest::prelude::*;

use super::super::{
    MAX_REASONS,
    opinion::{Opinion, OpinionError},
};

fn with_reason(code: &str, claims: &str, detail: &str, next_step: &str) -> String {
    serde_json::json!({"vector": {}, "reasons": [{
        "code": code, "claims": serde_json::from_str::<serde_json::Value>(claims).unwrap(),
        "detail": detail, "next_step": next_step,
    }]})
    .to_string()
}

fn refuse(json: &str) -> OpinionError {
    Opinion::parse(json).unwrap_err()
}

#[test]
fn reads_what_is_documented() {
    let opinion = Opinion::parse(&with_reason("old-firmware", "[\"hardware\"]", "d", "n")).unwrap();
    assert_eq!(opinion.reasons[0].code, "old-firmware");
}

#[test]
fn each_rule_refuses() {
    assert!(matches!(refuse("[]"), OpinionError::Shape(_)));
    assert_eq!(
        refuse(r#"{"vector":{"x":1},"reasons":[]}"#),
        OpinionError::UnknownClaim("x".into())
    );
    for code in ["", "Old", "a b", "ü", "a\u{1b}", &"a".repeat(65)] {
        assert_eq!(
            refuse(&with_reason(code, "[\"hardware\"]", "d", "n")),
            OpinionError::BadCode(0),
            "{code:?}"
        );
    }
    for code in ["policy-error", "claim-not-made"] {
        let refused = refuse(&with_reason(code, "[\"hardware\"]", "d", "n"));
        assert_eq!(refused, OpinionError::ReservedCode(0, code));
    }
    for (detail, next_step, field) in [
        (&*"a".repeat(1025), "n", "detail"),
        ("d", &*"a".repeat(1025), "next_step"),
    ] {
        let refused = refuse(&with_reason("c", "[\"hardware\"]", detail, next_step));
        assert_eq!(refused, OpinionError::LongText(0, field));
        assert!(refused.is_of_size());
    }
    for text in ["", "a\nb", "\u{1b}[31m"] {
        assert_eq!(
            refuse(&with_reason("c", "[\"hardware\"]", text, "n")),
            OpinionError::BadText(0, "detail")
        );
        assert_eq!(
            refuse(&with_reason("c", "[\"hardware\"]", "d", text)),
            OpinionError::BadText(0, "next_step")
        );
    }
    assert_eq!(
        refuse(&with_reason("c", "[]", "d", "n")),
        OpinionError::NoClaim(0)
    );
    assert_eq!(
        refuse(&with_reason("c", "[\"x\"]", "d", "n")),
        OpinionError::UnknownClaim("x".into())
    );
    let reason = r#"{"code":"c","claims":["hardware"],"detail":"d","next_step":"n"}"#;
    let many = format!(
        r#"{{"vector":{{}},"reasons":[{}]}}"#,
        vec![reason; MAX_REASONS + 1].join(",")
    );
    assert_eq!(refuse(&many), OpinionError::TooManyReasons(MAX_REASONS + 1));
}

proptest! {
    #[test]
    fn never_panics(json in ".{0,200}") {
        let _ = Opinion::parse(&json);
    }
}
