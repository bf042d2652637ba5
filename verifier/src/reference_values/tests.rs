use std::io::Write as _;

use proptest::prelude::*;

use super::*;

const A: &str = "aa00000000000000000000000000000000000000000000000000000000000000";
const B: &str = "bb00000000000000000000000000000000000000000000000000000000000000";

fn refuse(document: &str) -> ReferenceValuesError {
    ReferenceValues::parse(document).unwrap_err()
}

fn one(values: &str) -> String {
    format!(r#"{{"pcrs":{{"sha256":{{"4":{values}}}}}}}"#)
}

#[test]
fn reads_and_looks_up() {
    let set = ReferenceValues::parse(&format!(
        r#"{{"pcrs":{{"sha256":{{"4":["{B}","{A}"],"0":["{A}"]}}}}}}"#
    ))
    .unwrap();
    assert_eq!(set.accepted(HashAlg::Sha256, 4).unwrap().len(), 2);
    assert!(
        set.accepted(HashAlg::Sha256, 0)
            .unwrap()
            .contains(&hex::decode(A).unwrap())
    );
    assert!(set.accepted(HashAlg::Sha256, 1).is_none());
    assert!(set.accepted(HashAlg::Sha384, 4).is_none());
    assert_eq!(
        set.pcrs(HashAlg::Sha256)
            .map(|(index, _)| index)
            .collect::<Vec<_>>(),
        [0, 4]
    );
}

#[test]
fn the_id_names_the_content_not_the_writing() {
    let one = ReferenceValues::parse(&format!(
        r#"{{"pcrs":{{"sha256":{{"10":["{A}"],"4":["{B}","{A}","{A}"]}}}}}}"#
    ))
    .unwrap();
    let other = ReferenceValues::parse(&format!(
        "{{ \"pcrs\" : {{\"sha256\":{{\"4\":[\"{A}\",\"{}\"],\n\"10\":[\"{A}\"]}}}}}}",
        B.to_uppercase()
    ))
    .unwrap();
    assert_eq!(one.digest(), other.digest());
    assert_eq!(
        one.canonical_json(),
        format!(r#"{{"pcrs":{{"sha256":{{"4":["{A}","{B}"],"10":["{A}"]}}}}}}"#)
    );
}

#[test]
fn the_id_is_what_openssl_computes() {
    let set = ReferenceValues::parse(&one(&format!(r#"["{A}"]"#))).unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(set.canonical_json().as_bytes()).unwrap();
    let out = std::process::Command::new("openssl")
        .args(["dgst", "-sha256", "-r"])
        .arg(file.path())
        .output()
        .unwrap();
    assert!(
        String::from_utf8(out.stdout)
            .unwrap()
            .starts_with(&hex::encode(set.digest()))
    );
}

#[test]
fn refuses_what_is_too_long() {
    let long = " ".repeat(MAX_DOCUMENT_BYTES + 1);
    assert_eq!(
        refuse(&long),
        ReferenceValuesError::TooLong(MAX_DOCUMENT_BYTES + 1)
    );
}

#[test]
fn refuses_other_shapes() {
    for document in [
        "",
        "[]",
        "{}",
        r#"{"pcrs":{},"more":1}"#,
        r#"{"pcrs":{"sha256":[]}}"#,
        r#"{"pcrs":{}} x"#,
    ] {
        assert!(
            matches!(refuse(document), ReferenceValuesError::Json(_)),
            "{document}"
        );
    }
    assert!(matches!(refuse(&one("[1]")), ReferenceValuesError::Json(_)));
    assert!(matches!(
        refuse(&one("\"x\"")),
        ReferenceValuesError::Json(_)
    ));
}

#[test]
fn refuses_a_key_that_occurs_twice() {
    for document in [
        format!(r#"{{"pcrs":{{"sha256":{{"4":["{A}"],"4":["{B}"]}}}}}}"#),
        format!(r#"{{"pcrs":{{"sha256":{{"4":["{A}"]}},"sha256":{{"4":["{B}"]}}}}}}"#),
        format!(r#"{{"pcrs":{{"sha256":{{"4":["{A}"]}}}},"pcrs":{{"sha256":{{"4":["{B}"]}}}}}}"#),
    ] {
        match refuse(&document) {
            ReferenceValuesError::Json(why) => {
                assert!(
                    why.contains("twice") || why.contains("duplicate field"),
                    "{why}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn refuses_a_set_that_could_never_match() {
    assert_eq!(refuse(r#"{"pcrs":{}}"#), ReferenceValuesError::Empty);
    assert_eq!(
        refuse(r#"{"pcrs":{"sha256":{}}}"#),
        ReferenceValuesError::EmptyBank("sha256")
    );
    let place = Place {
        bank: HashAlg::Sha256,
        index: 4,
    };
    assert_eq!(refuse(&one("[]")), ReferenceValuesError::NoValues(place));
}

#[test]
fn refuses_banks_that_nothing_may_rest_on() {
    let sha1 = format!(r#"{{"pcrs":{{"sha1":{{"4":["{}"]}}}}}}"#, "a".repeat(40));
    assert_eq!(refuse(&sha1), ReferenceValuesError::WeakBank);
    let unknown = format!(r#"{{"pcrs":{{"SHA256":{{"4":["{A}"]}}}}}}"#);
    assert_eq!(
        refuse(&unknown),
        ReferenceValuesError::UnknownBank("SHA256".into())
    );
}

#[test]
fn refuses_indices_that_are_not_plain() {
    for index in [
        "24",
        "-1",
        "04",
        "+4",
        "4 ",
        "",
        "4294967296",
        "\\u001b[31m",
    ] {
        let document = format!(r#"{{"pcrs":{{"sha256":{{"{index}":["{A}"]}}}}}}"#);
        assert!(
            matches!(
                refuse(&document),
                ReferenceValuesError::BadIndex("sha256", _)
            ),
            "{index}"
        );
    }
}

#[test]
fn refuses_values_of_another_length() {
    for value in ["", "aa", &A[2..], &format!("{A}00"), &A.replace('a', "g")] {
        let refused = refuse(&one(&format!(r#"["{A}","{value}"]"#)));
        assert!(
            matches!(refused, ReferenceValuesError::BadValue { .. }),
            "{value}"
        );
    }
}

#[test]
fn refuses_more_values_than_the_cap() {
    let list = |n: usize| {
        let values: Vec<String> = (0..n).map(|i| format!("\"{i:064x}\"")).collect();
        one(&format!("[{}]", values.join(",")))
    };
    assert!(ReferenceValues::parse(&list(MAX_VALUES_PER_PCR)).is_ok());
    let place = Place {
        bank: HashAlg::Sha256,
        index: 4,
    };
    let n = MAX_VALUES_PER_PCR + 1;
    assert_eq!(
        refuse(&list(n)),
        ReferenceValuesError::TooManyValues(place, n)
    );
}

#[test]
fn messages_are_inert() {
    let refused = refuse(&one("[\"\\u001b[31m\"]")).to_string();
    assert!(!refused.chars().any(char::is_control), "{refused}");
}

proptest! {
    #[test]
    fn canonical_form_reads_back_as_itself(
        pcrs in proptest::collection::btree_map(0u32..=23, proptest::collection::vec(any::<[u8; 32]>(), 1..4), 1..8)
    ) {
        let body: Vec<String> = pcrs.iter().map(|(index, values)| {
            let values: Vec<String> = values.iter().map(|v| format!("\"{}\"", hex::encode(v))).collect();
            format!("\"{index}\":[{}]", values.join(","))
        }).collect();
        let set = ReferenceValues::parse(&format!(r#"{{"pcrs":{{"sha256":{{{}}}}}}}"#, body.join(","))).unwrap();
        let again = ReferenceValues::parse(&set.canonical_json()).unwrap();
        prop_assert_eq!(&again, &set);
        prop_assert_eq!(again.canonical_json(), set.canonical_json());
    }

    #[test]
    fn never_panics(document in ".{0,200}") {
        let _ = ReferenceValues::parse(&document);
    }
}
