//! Every policy that comes with Holdfast does what its examples say.

use std::{collections::BTreeMap, fs, path::PathBuf};

use super::super::*;

fn policies() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("policies")
}

fn examples(name: &str) -> Vec<Example> {
    let folder = policies().join("examples").join(name);
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        files.insert(file, fs::read_to_string(&path).unwrap());
    }
    Example::parse_all(&files).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn the_library_has_every_policy_of_the_folder() {
    let mut found: Vec<String> = fs::read_dir(policies())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "rego"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort_unstable();
    let mut listed: Vec<&str> = LIBRARY.iter().map(|shipped| shipped.name).collect();
    listed.sort_unstable();
    assert_eq!(found, listed);
}

/// Each affirms something, and shows each refusal that it has with a next step.
#[test]
fn every_policy_does_what_its_examples_say() {
    for shipped in LIBRARY {
        let policy = Policy::compile(shipped.source).unwrap();
        let examples = examples(shipped.name);
        let mut affirmed = 0;
        for example in &examples {
            let trial = example.run(&policy);
            assert!(
                example.agrees(&trial),
                "{} {}: {trial:#?}",
                shipped.name,
                example.file
            );
            assert!(!trial.policy_failed(), "{} {}", shipped.name, example.file);
            affirmed += usize::from(trial.status == Tier::Affirming);
        }
        // It accepts nothing before the owner filled its lists: its own tests
        // (`boot_policies`) fill them.
        if shipped.name == "measured-boot" {
            assert_eq!(affirmed, 0);
            continue;
        }
        assert!(examples.len() >= 3, "{} has too few", shipped.name);
        assert!(affirmed >= 1, "{} affirms nothing", shipped.name);
        assert!(
            affirmed < examples.len(),
            "{} refuses nothing",
            shipped.name
        );
    }
}

/// Every code that a policy can give is shown by an example of its; but for
/// those that need a list of the owner's (`boot_policies` has them).
#[test]
fn every_refusal_has_an_example() {
    for shipped in LIBRARY.iter().filter(|shipped| !shipped.lists) {
        let shown: std::collections::BTreeSet<String> = examples(shipped.name)
            .iter()
            .flat_map(|example| example.expected().1.clone())
            .collect();
        for code in shipped
            .source
            .split("\"code\": \"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
        {
            assert!(shown.contains(code), "{}: {code}", shipped.name);
        }
    }
}

/// Nothing known: no policy affirms it, none fails on it.
#[test]
fn where_nothing_is_known_nothing_is_affirmed() {
    for shipped in LIBRARY {
        let policy = Policy::compile(shipped.source).unwrap();
        let trial = policy.try_on(&nothing_known());
        assert_ne!(trial.status, Tier::Affirming, "{}", shipped.name);
        assert!(!trial.policy_failed(), "{}: {trial:#?}", shipped.name);
    }
}
