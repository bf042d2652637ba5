//! A policy is shown what it reads. Whatever it reads: a branch that were left
//! out would be undefined to it, and `not` of that is true.

use super::{
    super::{LIBRARY, input},
    *,
};

/// Rules that make `seen` true only where they can read the TPM's model, the
/// AK's name and the gateway's id, each in another place of the language.
const PLACES: [&str; 34] = [
    r#"seen if input.endorsement.model == model"#,
    r#"seen if model == input["endorsement"].model"#,
    r#"seen if input["endorsement"]["model"] == model"#,
    r#"seen if input["\u0065ndorsement"]["model"] == model"#,
    "seen if input[`endorsement`][`model`] == model",
    r#"seen if { some branch; input[branch].model == model }"#,
    r#"seen if { whole := input; whole.endorsement.model == model }"#,
    r#"seen if { some name, value in input; name == "endorsement"; value.model == model }"#,
    r#"seen if { some value in input; value.model == model }"#,
    "import input.endorsement\nseen if endorsement.model == model",
    "import input.endorsement as tpm\nseen if tpm.model == model",
    "import input as all\nseen if all.endorsement.model == model",
    "f(x) := x.endorsement.model\nseen if f(input) == model",
    "f(x) := x.model\nseen if f(input.endorsement) == model",
    "f(x) if x == input.endorsement.model\nseen if f(model)",
    "default found := false\nfound := input.endorsement.model == model\nseen if found",
    "found := {x | x := input.endorsement.model}\nseen if model in found",
    "found := [input.endorsement.model | true]\nseen if model in found",
    "found := {input.endorsement.model: 1 | true}\nseen if found[model]",
    "found := {1: input.endorsement.model}\nseen if found[1] == model",
    "found contains input.endorsement.model\nseen if found[model]",
    "found[input.endorsement.model] := 1\nseen if found[model]",
    "found := 1 if false else := input.endorsement.model\nseen if found == model",
    "found := 1 if false else := 2 if input.endorsement.model == model\nseen if found == 2",
    "seen if every x in [input.endorsement.model] { x == model }",
    "seen if every x in [1] { input.endorsement.model == model }",
    "seen if count({model, input.endorsement.model}) == 1",
    "seen if not input.endorsement.model != model",
    "seen if count({model} & {input.endorsement.model}) == 1",
    "seen if true == {model: true}[input.endorsement.model]",
    "seen if count(input.endorsement.model) - count(model) == 0",
    "seen if { input.ak.name == \"000b11\"; startswith(input.gateway.id, \"01\") }",
    "seen if { some k; input.ak[k] == \"000b11\" }",
    "seen if object.get(input.ldevid, \"name\", \"\") == \"000b22\"",
];

fn policy(place: &str) -> Policy {
    Policy::compile(&format!(
        "package holdfast.appraisal\nimport rego.v1\n{place}\nmodel := \"SLB 9670\"\n\
         result := {{\"reasons\": [], \"vector\": {{\"instance-identity\": 2, \"hardware\": 2, \"executables\": 2, \
         \"configuration\": 2}}}} if seen"
    ))
    .unwrap_or_else(|error| panic!("{place}: {error}"))
}

#[test]
fn wherever_it_reads_it_sees() {
    for place in PLACES {
        let policy = policy(place);
        let whole = policy.run(&input::text(&facts(), None, Branches::ALL));
        assert!(whole.is_ok(), "{place}: {whole:?}");
        let shown = input::text(&facts(), None, policy.reads());
        assert_eq!(policy.run(&shown), whole, "{place}: {shown}");
    }
}

#[test]
fn what_it_does_not_read_it_is_not_shown() {
    let text = |place| input::text(&facts(), None, policy(place).reads());
    assert_eq!(text("seen if 1 == 1"), "{}");
    assert_eq!(
        text("seen if input.ak.known_by"),
        r#"{"ak":{"known_by":"credential-activation"}}"#
    );
    assert_eq!(
        text("seen if input.ak.name"),
        r#"{"ak":{"known_by":"credential-activation","name":"000b11"}}"#
    );
    assert_eq!(
        text("seen if input.gateway.class"),
        r#"{"gateway":{"class":"default"}}"#
    );
    assert_eq!(text("seen if not input.unknown"), "{}");
}

/// The shipped policies name what they read: a fleet of equal gateways, and each
/// new key of one, costs one run. That they miss nothing, their examples show
/// (`library`), which are tried on what they are shown.
#[test]
fn the_shipped_policies_look_at_no_identity() {
    for shipped in LIBRARY {
        let policy = Policy::compile(shipped.source).unwrap();
        let text = input::text(&facts(), None, policy.reads());
        for identity in ["000b11", "000b22", &facts().gateway.to_string()] {
            assert!(!text.contains(identity), "{}: {text}", shipped.name);
        }
        assert!(text.contains("credential-activation"), "{}", shipped.name);
    }
}
