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

// ---- values with an end

const END: &str = "2026-12-01T00:00:00Z";
const END_SECONDS: i64 = 1_796_083_200;

fn end() -> UnixTime {
    UnixTime::from_seconds(END_SECONDS)
}

fn with_window(end: &str, base: &str, window: &str) -> String {
    format!(
        r#"{{"pcrs":{{"sha256":{{"4":{base}}}}},"until":[{{"end":"{end}","pcrs":{{"sha256":{{"4":{window}}}}}}}]}}"#
    )
}

fn accepts(set: &ReferenceValues, now: UnixTime, value: &str) -> bool {
    let (in_force, _) = set.at(now);
    in_force
        .accepted(HashAlg::Sha256, 4)
        .is_some_and(|values| values.contains(&hex::decode(value).unwrap()))
}

#[test]
fn a_value_with_an_end_is_accepted_before_it_and_not_at_it() {
    let document = with_window(END, &format!(r#"["{A}"]"#), &format!(r#"["{B}"]"#));
    let set = ReferenceValues::parse(&document).unwrap();
    assert_eq!(set.canonical_json(), document);
    assert_eq!(set.ends().collect::<Vec<_>>(), [end()]);
    for (now, b) in [
        (end().plus(-1), true),
        (end(), false),
        (end().plus(1), false),
    ] {
        assert!(accepts(&set, now, A));
        assert_eq!(accepts(&set, now, B), b, "{now}");
        let (in_force, next) = set.at(now);
        assert_eq!(next, b.then_some(end()));
        assert_eq!(in_force.digest(), set.digest(), "one id for the whole set");
    }
    // Whoever does not ask for a time gets too little, not too much.
    assert_eq!(set.accepted(HashAlg::Sha256, 4).unwrap().len(), 1);
}

#[test]
fn a_set_without_ends_is_written_and_named_as_before() {
    let plain = one(&format!(r#"["{A}"]"#));
    let set = ReferenceValues::parse(&plain).unwrap();
    assert_eq!(set.canonical_json(), plain);
    for also in [
        plain.replacen("}}}", r#"}},"until":[]}"#, 1),
        // Accepted for ever: an end adds nothing.
        with_window(END, &format!(r#"["{A}"]"#), &format!(r#"["{A}"]"#)),
    ] {
        let also = ReferenceValues::parse(&also).unwrap();
        assert_eq!(also.digest(), set.digest());
        assert_eq!(also.canonical_json(), plain);
    }
}

#[test]
fn refuses_ends_that_are_not_what_they_seem() {
    let (a, b) = (format!(r#"["{A}"]"#), format!(r#"["{B}"]"#));
    for end in [
        "",
        "2026-12-01",
        "2026-12-01T00:00:00",
        "2026-12-01T00:00:00+00:00",
        "2026-12-01T01:00:00+01:00",
        "2026-12-01T00:00:00.5Z",
        "2026-12-01t00:00:00Z",
        "2026-13-01T00:00:00Z",
    ] {
        assert_eq!(
            refuse(&with_window(end, &a, &b)),
            ReferenceValuesError::BadEnd(end.to_owned())
        );
    }
    let window = format!(r#"{{"end":"{END}","pcrs":{{"sha256":{{"4":{b}}}}}}}"#);
    let twice = format!(r#"{{"pcrs":{{"sha256":{{"4":{a}}}}},"until":[{window},{window}]}}"#);
    assert_eq!(refuse(&twice), ReferenceValuesError::RepeatedEnd(end()));
    let many: Vec<String> = (0..=MAX_WINDOWS)
        .map(|n| window.replace("T00:00:00", &format!("T00:00:{n:02}")))
        .collect();
    let many = format!(
        r#"{{"pcrs":{{"sha256":{{"4":{a}}}}},"until":[{}]}}"#,
        many.join(",")
    );
    assert_eq!(
        refuse(&many),
        ReferenceValuesError::TooManyWindows(MAX_WINDOWS + 1)
    );
    let unknown = window.replace("\"pcrs\"", "\"start\":0,\"pcrs\"");
    let unknown = format!(r#"{{"pcrs":{{"sha256":{{"4":{a}}}}},"until":[{unknown}]}}"#);
    assert!(matches!(refuse(&unknown), ReferenceValuesError::Json(_)));
    assert_eq!(
        refuse(&with_window(END, &a, "[]")),
        ReferenceValuesError::NoValues(Place {
            bank: HashAlg::Sha256,
            index: 4
        })
    );
}

#[test]
fn the_limit_on_values_is_on_all_of_a_pcr_together() {
    let list = |from: usize, to: usize| {
        let values: Vec<String> = (from..to).map(|n| format!("\"{n:064x}\"")).collect();
        format!("[{}]", values.join(","))
    };
    let (half, max) = (MAX_VALUES_PER_PCR / 2, MAX_VALUES_PER_PCR);
    assert!(ReferenceValues::parse(&with_window(END, &list(0, half), &list(half, max))).is_ok());
    assert_eq!(
        refuse(&with_window(END, &list(0, half), &list(half, max + 1))),
        ReferenceValuesError::TooManyValues(
            Place {
                bank: HashAlg::Sha256,
                index: 4
            },
            max + 1
        )
    );
}

#[test]
fn a_change_does_what_it_says() {
    let (a, b) = (hex::decode(A).unwrap(), hex::decode(B).unwrap());
    let now = end().plus(-100);
    // PCR 0 is not quoted: whatever happens, it stays.
    let before = ReferenceValues::parse(&format!(
        r#"{{"pcrs":{{"sha256":{{"0":["{B}"],"4":["{A}"]}}}}}}"#
    ))
    .unwrap();
    let quoted = BTreeMap::from([(4, b)]);
    let make =
        |change| ReferenceValues::changed(Some(&before), HashAlg::Sha256, &quoted, change, now);
    let state = |set: &ReferenceValues, at| {
        let (in_force, _) = set.at(at);
        assert_eq!(in_force.accepted(HashAlg::Sha256, 0).unwrap().len(), 1);
        (accepts(set, at, A), accepts(set, at, B))
    };
    let cases = [
        (Change::Add, (true, true), (true, true)),
        (Change::AddUntil(end()), (true, true), (true, false)),
        (Change::Replace, (false, true), (false, true)),
        (Change::ReplaceUntil(end()), (true, true), (false, true)),
    ];
    for (change, during, after) in cases {
        let set = make(change).unwrap();
        assert_eq!(state(&set, now), during, "{change:?}");
        assert_eq!(state(&set, end()), after, "{change:?}");
    }
    assert_eq!(
        make(Change::AddUntil(now)),
        Err(ReferenceValuesError::EndPassed(now))
    );
    // Replaced for good: an end that a value had does not keep it.
    let windowed = make(Change::ReplaceUntil(end())).unwrap();
    let again = ReferenceValues::changed(
        Some(&windowed),
        HashAlg::Sha256,
        &quoted,
        Change::Replace,
        now,
    )
    .unwrap();
    assert!(!accepts(&again, now, A));
    // Nor one that was to come later, until the new end.
    let long = ReferenceValues::parse(&with_window(
        "2027-12-01T00:00:00Z",
        &format!(r#"["{B}"]"#),
        &format!(r#"["{A}"]"#),
    ))
    .unwrap();
    let shorter = ReferenceValues::changed(
        Some(&long),
        HashAlg::Sha256,
        &quoted,
        Change::ReplaceUntil(end()),
        now,
    )
    .unwrap();
    assert!(accepts(&shorter, now, A));
    assert!(!accepts(&shorter, end(), A), "{}", shorter.canonical_json());
    // What has ended is not carried along.
    let later = ReferenceValues::changed(
        Some(&windowed),
        HashAlg::Sha256,
        &quoted,
        Change::Add,
        end(),
    )
    .unwrap();
    assert_eq!(later.ends().count(), 0);
    // The first set of a class.
    let first = BTreeMap::from([(4, a)]);
    let set =
        ReferenceValues::changed(None, HashAlg::Sha256, &first, Change::Replace, now).unwrap();
    assert_eq!(set.canonical_json(), one(&format!(r#"["{A}"]"#)));
    assert_eq!(
        ReferenceValues::changed(None, HashAlg::Sha256, &first, Change::AddUntil(end()), now),
        Err(ReferenceValuesError::Empty)
    );
}

fn values() -> impl Strategy<Value = BTreeMap<u32, Vec<u8>>> {
    prop::collection::btree_map(0..4_u32, 0..3_u8, 1..4).prop_map(|pcrs| {
        pcrs.into_iter()
            .map(|(index, value)| (index, vec![value; 32]))
            .collect()
    })
}

proptest! {
    /// Any sequence of changes gives a set whose canonical form reads back as
    /// that set, and in which, from one end to the next, nothing changes.
    #[test]
    fn sets_with_ends_read_back_and_change_at_their_ends_only(
        changes in prop::collection::vec((values(), 0..4_u8, 1..50_i64), 1..6),
        probes in prop::collection::vec(0..60_i64, 8),
    ) {
        let start = end();
        let mut set: Option<ReferenceValues> = None;
        for (quoted, kind, until) in changes {
            let until = start.plus(until);
            let change = match kind {
                0 => Change::Add,
                1 => Change::AddUntil(until),
                2 => Change::Replace,
                _ => Change::ReplaceUntil(until),
            };
            if let Ok(next) =
                ReferenceValues::changed(set.as_ref(), HashAlg::Sha256, &quoted, change, start)
            {
                let (in_force, _) = next.at(start);
                for (index, value) in &quoted {
                    prop_assert!(in_force.accepted(HashAlg::Sha256, *index).unwrap().contains(value));
                }
                set = Some(next);
            }
        }
        prop_assume!(set.is_some());
        let set = set.unwrap();
        let canonical = set.canonical_json();
        let back = ReferenceValues::parse(&canonical).unwrap();
        prop_assert_eq!(&back, &set);
        prop_assert_eq!(back.canonical_json(), canonical);
        for probe in probes {
            let at = start.plus(probe);
            let (in_force, next) = set.at(at);
            prop_assert!(next.is_none_or(|next| next > at));
            let later = next.map_or(at.plus(1000), |next| next.plus(-1));
            prop_assert_eq!(&in_force.banks, &set.at(later).0.banks);
            // Ends only take away.
            let (after, _) = set.at(later.plus(1));
            let fewer = after.pcrs(HashAlg::Sha256).all(|(index, values)| {
                in_force.accepted(HashAlg::Sha256, index).is_some_and(|all| values.is_subset(all))
            });
            prop_assert!(fewer);
            prop_assert!(next.is_none() || after.banks != in_force.banks, "an end that ends nothing");
        }
    }
}
