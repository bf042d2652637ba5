//! A26: policies that are wrong, lax, endless or malformed.

use std::time::Instant;

use holdfast_proto::result::{Claim, Tier};

use super::{
    super::{MAX_SOURCE_BYTES, PolicyError, TIME_LIMIT},
    *,
};

fn policy(body: &str) -> Policy {
    Policy::compile(&source(body)).unwrap()
}

fn source(body: &str) -> String {
    format!("package holdfast.appraisal\nimport rego.v1\n{body}\n")
}

const AFFIRM_ALL: &str = r#"result := {"reasons": [], "vector":
    {"instance-identity": 2, "hardware": 2, "executables": 2, "configuration": 2}}"#;

/// Judges a good state: only the policy is at fault.
fn judge_good(policy: &Policy) -> Verdict {
    judge(policy, &facts(), Some(&good_references()))
}

fn assert_policy_error(verdict: &Verdict, detail: &str) {
    assert_eq!(codes(verdict), ["policy-error"], "{verdict:?}");
    assert_eq!(verdict.status, Tier::None);
    assert!(verdict.is_malfunction());
    let reason = &verdict.reasons[0];
    assert!(reason.detail.contains(detail), "{}", reason.detail);
    assert!(
        !reason.detail.chars().any(char::is_control),
        "{}",
        reason.detail
    );
    assert!(!reason.next_step.is_empty());
}

#[test]
fn adv_a26_affirms_everything_without_looking() {
    let lax = policy(AFFIRM_ALL);
    assert_eq!(judge_good(&lax).status, Tier::Affirming);
    // The floor compares by itself.
    let mut changed = facts();
    changed.pcrs.insert(4, vec![0xBA; 32]);
    let verdict = judge(&lax, &changed, Some(&good_references()));
    assert_eq!(
        (verdict.status, codes(&verdict)),
        (Tier::Warning, vec!["pcr-mismatch"])
    );
    assert_eq!(verdict.vector.executables, 33);
    assert_eq!(verdict.vector.configuration, 2);
    assert!(verdict.reasons[0].detail.contains(&format!(
        "expected {}, got {}",
        "04".repeat(32),
        "ba".repeat(32)
    )));
    let verdict = judge(&lax, &facts(), None);
    assert_eq!(
        (verdict.status, codes(&verdict)),
        (Tier::Warning, vec!["no-reference-values"])
    );
    let some = SELECTION
        .into_iter()
        .skip(1)
        .map(|index| (index, vec![value(index)]))
        .collect();
    let verdict = judge(&lax, &facts(), Some(&references(&some)));
    assert_eq!(
        (verdict.status, codes(&verdict)),
        (Tier::Warning, vec!["pcr-not-covered"])
    );
}

#[test]
fn adv_a26_the_floor_says_what_the_policy_says() {
    let standard = Policy::standard().unwrap();
    let lax = policy(AFFIRM_ALL);
    for change in 0u32..4 {
        let mut facts = facts();
        let mut set = Some(good_references());
        match change {
            0 => drop(facts.pcrs.insert(7, vec![1; 32])),
            1 => set = None,
            2 => set = Some(references(&[(0, vec![value(0)])].into())),
            _ => {
                set = Some(references(
                    &SELECTION
                        .into_iter()
                        .map(|i| (i, vec![vec![9; 32], vec![8; 32], vec![7; 32]]))
                        .collect(),
                ))
            }
        }
        let (ours, theirs) = (
            judge(&lax, &facts, set.as_ref()),
            judge(&standard, &facts, set.as_ref()),
        );
        let sorted = |verdict: &Verdict| {
            let mut details: Vec<_> = verdict
                .reasons
                .iter()
                .map(|r| (r.code.clone(), r.detail.clone(), r.next_step.clone()))
                .collect();
            details.sort();
            details
        };
        assert_eq!(
            sorted(&ours),
            sorted(&theirs),
            "one text for one fact, case {change}"
        );
        assert_eq!(ours.status, theirs.status);
    }
}

#[test]
fn adv_a26_an_endless_policy_meets_the_timer() {
    let nested: String = (0..12).map(|n| format!("some x{n} in xs; ")).collect();
    let endless = policy(&format!(
        "xs := [v | some v in input.quote.pcrs]\nresult := {{\"vector\": {{}}, \"reasons\": [1 | {nested} x0 == 1]}}"
    ));
    let started = Instant::now();
    let verdict = judge_good(&endless);
    assert!(
        started.elapsed() < TIME_LIMIT * 20,
        "{:?}",
        started.elapsed()
    );
    assert_policy_error(&verdict, "ran longer than 250 ms");
    // A failure is not remembered: the policy is asked again.
    assert_eq!(endless.memo_len(), 0);
}

#[test]
fn adv_a26_functions_that_call_themselves_are_refused_at_load() {
    for (body, name) in [
        ("f(x) := f(x + 1)\nresult := f(0)", "f"),
        (
            "f(x) := g(x)\ng(x) := h(x) + 1\nh(x) := f(x)\nresult := f(0)",
            "f",
        ),
        ("f(x) := [y | y := f(x)]\nresult := f(0)", "f"),
        ("f(x) := 1 if every y in [x] { f(y) }\nresult := f(0)", "f"),
        (
            "f(x) := {\"a\": data.holdfast.appraisal.f(x)}\nresult := f(0)",
            "f",
        ),
        ("default f(_) := 1\nf(x) := f(x)\nresult := 1", "f"),
        ("f(x) := 1 if x == 1 else := f(x - 1)\nresult := f(0)", "f"),
    ] {
        let refused = Policy::compile(&source(body)).map(|_| ()).unwrap_err();
        assert_eq!(refused, PolicyError::Recursion(name.into()), "{body}");
    }
    let fine = "f(x) := g(x) + g(x)\ng(x) := x + 1\nresult := f(0)";
    assert!(Policy::compile(&source(fine)).is_ok());
    let with = "f(x) := g(x)\ng(x) := x\nresult := x if { x := f(0) with g as f }";
    assert_eq!(
        Policy::compile(&source(with)).unwrap_err(),
        PolicyError::With
    );
}

#[test]
fn adv_a26_rules_that_need_themselves_affirm_nothing() {
    for body in [
        "a := b\nb := a\nresult := a",
        "f(x) := r\nr := f(1)\nresult := r",
    ] {
        match Policy::compile(&source(body)) {
            Ok(policy) => assert_policy_error(&judge_good(&policy), "the policy"),
            Err(error) => assert!(matches!(error, PolicyError::Source(_)), "{error:?}"),
        }
    }
}

#[test]
fn adv_a26_a_policy_that_errors_affirms_nothing() {
    for body in [
        "result := upper(1)",
        "result := 1 / 0",
        "result := input.nothing.there",
        "result := 1 if false",
        "result := x",
        "result := count(1)",
    ] {
        assert_policy_error(&judge_good(&policy(body)), "the policy");
    }
}

#[test]
fn adv_a26_a_broken_policy_hides_no_change_of_state() {
    let broken = policy("result := upper(1)");
    let mut changed = facts();
    changed.pcrs.insert(4, vec![0xBA; 32]);
    let verdict = judge(&broken, &changed, Some(&good_references()));
    assert_eq!(codes(&verdict), ["policy-error", "pcr-mismatch"]);
    assert_eq!(verdict.status, Tier::Warning);
    assert!(!verdict.is_malfunction(), "the gateway is at fault too");
    assert_eq!(verdict.vector.executables, 33);
    assert_eq!(verdict.vector.configuration, -1);
}

/// A gateway that makes its policy say too much is not spared as one whose
/// policy is broken.
#[test]
fn adv_a26_an_answer_that_is_too_large_counts_against_the_gateway() {
    let loud = |reasons: &str| {
        policy(&format!(
            r#"result := {{"vector": {{}}, "reasons": {reasons}}}
            said(text) := {{"code": "c", "claims": ["hardware"], "detail": text, "next_step": "n"}}
            long := concat("", [sprintf("%999d", [1]), sprintf("%999d", [1])])"#
        ))
    };
    let many = "[said(sprintf(\"%d\", [n])) | some n in [0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,\
                18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,\
                45,46,47,48,49,50,51,52,53,54,55,56,57,58,59,60,61,62,63,64]]";
    for reasons in ["[said(long)]", many] {
        let verdict = judge_good(&loud(reasons));
        assert_eq!(
            codes(&verdict),
            ["policy-answer-too-large"],
            "{reasons}: {verdict:?}"
        );
        assert_eq!(verdict.status, Tier::None);
        assert!(!verdict.is_malfunction());
        // Where somebody tries the policy out, it is the policy that failed.
        assert!(
            loud(reasons)
                .try_on(&super::super::nothing_known())
                .policy_failed()
        );
    }
}

#[test]
fn adv_a26_two_values_for_one_rule_affirm_nothing() {
    let conflicting = policy(&format!(
        "{AFFIRM_ALL}\nresult := {{\"vector\": {{}}, \"reasons\": []}}"
    ));
    assert_policy_error(&judge_good(&conflicting), "the policy");
}

#[test]
fn adv_a26_an_answer_of_another_shape_affirms_nothing() {
    let good =
        "{\"instance-identity\": 2, \"hardware\": 2, \"executables\": 2, \"configuration\": 2}";
    for result in [
        "true".to_owned(),
        "\"affirming\"".to_owned(),
        format!("{{\"vector\": {good}}}"),
        format!("{{\"vector\": {good}, \"reasons\": [], \"status\": \"affirming\"}}"),
        format!("{{\"vector\": {good}, \"reasons\": {{}}}}"),
        format!("{{\"vector\": {good}, \"reasons\": [{{\"code\": \"x\"}}]}}"),
        "{\"vector\": {\"hardware\": 128}, \"reasons\": []}".to_owned(),
        "{\"vector\": {\"hardware\": 2.5}, \"reasons\": []}".to_owned(),
        "{\"vector\": {\"hardwear\": 2}, \"reasons\": []}".to_owned(),
    ] {
        assert_policy_error(&judge_good(&policy(&format!("result := {result}"))), "");
    }
}

#[test]
fn every_mandatory_claim_must_be_made() {
    for claim in super::super::Floor::ReferenceValues
        .mandatory()
        .iter()
        .copied()
    {
        let others: Vec<String> = super::super::Floor::ReferenceValues
            .mandatory()
            .iter()
            .filter(|other| **other != claim)
            .map(|other| format!("\"{}\": 2", other.name()))
            .collect();
        let partial = policy(&format!(
            "result := {{\"vector\": {{{}}}, \"reasons\": []}}",
            others.join(", ")
        ));
        let verdict = judge_good(&partial);
        assert_eq!(
            (verdict.status, codes(&verdict)),
            (Tier::None, vec!["claim-not-made"]),
            "{}",
            claim.name()
        );
        assert_eq!(verdict.reasons[0].claims, [claim]);
    }
}

#[test]
fn a_claim_that_is_not_affirmed_needs_a_reason() {
    let silent = policy(&AFFIRM_ALL.replace("\"hardware\": 2", "\"hardware\": 32"));
    let verdict = judge_good(&silent);
    assert_eq!(
        (verdict.status, codes(&verdict)),
        (Tier::Warning, vec!["policy-error"])
    );
    assert_eq!(verdict.reasons[0].claims, [Claim::Hardware]);
    // Also one that is not mandatory.
    let silent =
        policy(&AFFIRM_ALL.replace("\"hardware\": 2", "\"hardware\": 2, \"file-system\": 96"));
    let verdict = judge_good(&silent);
    assert_eq!(
        (verdict.status, codes(&verdict)),
        (Tier::Contraindicated, vec!["policy-error"])
    );
}

#[test]
fn a_stricter_policy_is_heard() {
    let strict = policy(
        r#"result := {"vector": {"instance-identity": 2, "hardware": 32, "executables": 2, "configuration": 2},
            "reasons": [{"code": "old-firmware", "claims": ["hardware"],
                "detail": sprintf("firmware %s", [input.quote.firmware_version]), "next_step": "Update the TPM."}]}"#,
    );
    let verdict = judge_good(&strict);
    assert_eq!(
        (verdict.status, codes(&verdict)),
        (Tier::Warning, vec!["old-firmware"])
    );
    assert_eq!(verdict.reasons[0].detail, "firmware 0007005500000000");
}

#[test]
fn what_is_not_a_policy_is_refused_at_load() {
    let refuse = |text: &str| Policy::compile(text).map(|_| ()).unwrap_err();
    for text in ["", "not rego", "package holdfast.appraisal\nresult := {"] {
        let refused = refuse(text);
        assert!(
            matches!(refused, PolicyError::Source(_)),
            "{text}: {refused:?}"
        );
        assert!(!refused.to_string().contains('\n'));
    }
    assert_eq!(
        refuse("package other\nimport rego.v1\nresult := 1"),
        PolicyError::Package("other".into())
    );
    assert_eq!(refuse(&source("verdict := 1")), PolicyError::NoResult);
    assert_eq!(
        refuse(&" ".repeat(MAX_SOURCE_BYTES + 1)),
        PolicyError::TooLong(MAX_SOURCE_BYTES + 1)
    );
}

#[test]
fn functions_that_cannot_be_bounded_or_repeated_are_refused_at_load() {
    for (call, name) in [
        ("numbers.range(1, 1000000000000)", "numbers.range"),
        (
            "numbers.range_step(1, 1000000000000, 1)",
            "numbers.range_step",
        ),
        ("bits.lsh(1, 1000000000000)", "bits.lsh"),
        ("rand.intn(\"x\", 2)", "rand.intn"),
        ("[x | some x in numbers.range(1, 2)]", "numbers.range"),
        ("to_number(\"1e999999999\")", "to_number"),
        ("time.now_ns()", "time.now_ns"),
        ("http.send({})", "http.send"),
        ("opa.runtime()", "opa.runtime"),
        ("uuid.rfc4122(\"x\")", "uuid.rfc4122"),
    ] {
        let refused = Policy::compile(&source(&format!("result := {call}"))).map(|_| ());
        assert_eq!(refused, Err(PolicyError::Forbidden(name.into())), "{call}");
    }
    let spoken_of = r#"result := "numbers.range(1, 2)""#;
    assert!(Policy::compile(&source(spoken_of)).is_ok());
}

/// A function of the policy's own lends its name to no built-in one.
#[test]
fn adv_a26_a_built_in_function_is_not_called_under_the_name_of_another() {
    for (body, name) in [
        (
            "range(x) := x\nresult := numbers.range(1, 1000000000000)",
            "numbers.range",
        ),
        ("now_ns(x) := x\nresult := time.now_ns()", "time.now_ns"),
        (
            "numbers.range(x) := x\nresult := numbers.range(1, 1000000000000)",
            "numbers.range",
        ),
        ("a.trace(x) := x\nresult := trace(\"x\")", "trace"),
    ] {
        let refused = Policy::compile(&source(body)).map(|_| ());
        assert_eq!(refused, Err(PolicyError::Forbidden(name.into())), "{body}");
    }
    let own = "f(x) := x\nresult := data.holdfast.appraisal.f(1)";
    assert!(Policy::compile(&source(own)).is_ok());
}

/// By another name, a function could come to call itself unseen.
#[test]
fn adv_a26_an_import_gives_no_second_name() {
    for import in [
        "data.holdfast.appraisal.g as f",
        "data.holdfast.appraisal as strings",
        "data",
    ] {
        let body = format!("import {import}\nf(x) := 1\ng(x) := f(x)\nresult := g(0)");
        let refused = Policy::compile(&source(&body)).map(|_| ()).unwrap_err();
        assert!(
            matches!(refused, PolicyError::Import(_) | PolicyError::Source(_)),
            "{import}: {refused:?}"
        );
    }
    let fine = "import input.quote as quote\nresult := quote.nothing";
    assert!(Policy::compile(&source(fine)).is_ok());
}

#[test]
fn adv_a26_a_format_asks_for_no_gigabyte() {
    for call in [
        "sprintf(\"%1000000000d\", [1])",
        "sprintf(\"%.1000000000f\", [1.5])",
        "sprintf(concat(\"\", [\"%1000000000\", \"d\"]), [1])",
        "sprintf(input.gateway.class, [1])",
    ] {
        let refused = Policy::compile(&source(&format!("result := {call}"))).map(|_| ());
        assert_eq!(refused, Err(PolicyError::Format), "{call}");
    }
    let fine = source("result := sprintf(\"%016x %.2f %s 100%%\", [1, 1.5, \"x\"])");
    assert!(Policy::compile(&fine).is_ok());
}

/// Each of these ended the process: a stack that is used up is no panic.
#[test]
fn adv_a26_a_deep_policy_ends_no_process() {
    let functions: String = (0..990)
        .map(|n| format!("f{n}(x) := f{}(x)\n", n + 1))
        .collect();
    for body in [
        format!("{functions}f990(x) := x\nresult := f0(0)"),
        format!("result := {}1", "-\n".repeat(20_000)),
    ] {
        // Refused or at fault, as it may be.
        match Policy::compile(&source(&body)) {
            Ok(policy) => assert_policy_error(&judge_good(&policy), ""),
            Err(error) => assert!(matches!(error, PolicyError::Source(_)), "{error:?}"),
        }
    }
}

/// Each step is one, and takes three times as long as the one before.
#[test]
fn adv_a26_numbers_that_grow_meet_the_timer() {
    let mut body = "x0 := 99999999\n".to_owned();
    for n in 0..40 {
        body += &format!("x{} := x{n} * x{n}\n", n + 1);
    }
    let started = Instant::now();
    match Policy::compile(&source(&format!("{body}result := x40"))) {
        Ok(policy) => assert_policy_error(&judge_good(&policy), "the policy"),
        Err(error) => assert!(matches!(error, PolicyError::Source(_)), "{error:?}"),
    }
    assert!(
        started.elapsed() < TIME_LIMIT * 60,
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn every_function_that_may_be_called_exists() {
    for name in super::super::rego::BUILT_INS {
        let calls = (0..5).map(|n| format!("{name}({})", vec!["\"1\""; n].join(", ")));
        let exists = calls
            .map(|call| source(&format!("result := {call}")))
            .any(|text| match Policy::compile(&text) {
                Ok(policy) => !judge_good(&policy).reasons[0]
                    .detail
                    .contains("could not find function"),
                Err(_) => false,
            });
        assert!(exists, "{name}");
    }
}

/// What a source of the longest can make the compiler do: these took from two
/// seconds to more than anyone waited.
#[test]
fn adv_a26_no_policy_is_compiled_for_long() {
    let many = |count, one: &dyn Fn(usize) -> String| (0..count).map(one).collect::<String>();
    let deep = |open: &str, close: &str, depth| {
        format!("result := {}1{}", open.repeat(depth), close.repeat(depth))
    };
    let statements = many(4500, &|n| format!("x{} := x{n}\n", n + 1));
    for (body, refusal) in [
        (deep("[", "]", 400), PolicyError::Nesting(3)),
        (deep("{", "}", 16), PolicyError::Nesting(3)),
        (
            many(1000, &|n| format!("a{n} := [[[[[[[[1]]]]]]]]\n")),
            PolicyError::Nesting(131),
        ),
        (
            many(1001, &|n| format!("a{n} := 1\n")) + "result := 1",
            PolicyError::Rules(1002),
        ),
        (
            format!("result := 1 if {{ x0 := 1; {statements} }}"),
            PolicyError::Statements(4501),
        ),
        (
            format!("result := [1 | x0 := 1; {statements}]"),
            PolicyError::Statements(4501),
        ),
    ] {
        let started = Instant::now();
        let refused = Policy::compile(&source(&body)).map(|_| ());
        assert_eq!(refused, Err(refusal));
        assert!(
            started.elapsed() < TIME_LIMIT * 20,
            "{:?}",
            started.elapsed()
        );
    }
    // As much as is taken is compiled, and soon.
    let started = Instant::now();
    let large = deep("[", "]", 12) + "\n" + &many(998, &|n| format!("a{n} := a{}\n", n + 1));
    let taken = Policy::compile(&source(&large)).map(|_| ());
    assert_eq!(taken, Ok(()));
    let statements = many(198, &|n| format!("x{} := x{n}\n", n + 1));
    let bodies = many(27, &|n| format!("r{n} if {{ x0 := 1; {statements} }}\n"));
    let taken = Policy::compile(&source(&(bodies + "result := 1"))).map(|_| ());
    assert_eq!(taken, Ok(()));
    assert!(
        started.elapsed() < TIME_LIMIT * 40,
        "{:?}",
        started.elapsed()
    );
}

/// One call is one step to the timer.
#[test]
fn adv_a26_one_call_makes_no_gigabyte() {
    for (call, refusal) in [
        ("replace(\"aaaa\", \"a\", \"aa\")", PolicyError::Replace),
        ("replace(\"aaaa\", \"\", \"\")", PolicyError::Replace),
        (
            "replace(\"a\", input.gateway.class, \"\")",
            PolicyError::Replace,
        ),
        (
            "replace(\"a\", \"a\", input.gateway.class)",
            PolicyError::Replace,
        ),
        ("trim(\"a\", input.gateway.class)", PolicyError::Trim),
    ] {
        let refused = Policy::compile(&source(&format!("result := {call}"))).map(|_| ());
        assert_eq!(refused, Err(refusal), "{call}");
    }
    let fine = source("result := trim(replace(input.gateway.class, \"-\", \"_\"), \" /\")");
    assert!(Policy::compile(&fine).is_ok());
}
