//! A policy's own examples: an input, and what the policy must say of it. In:
//! the JSON files of one folder. Out: [`Example`]s, to be run against a policy.
//! `docs/policy.md` has the format.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_proto::result::Tier;
use serde::Deserialize;
use serde_json::Value;

use super::{Policy, Trial};

/// Most examples in one folder.
pub const MAX_EXAMPLES: usize = 1000;

/// One example.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// What it shows, in words.
    pub name: String,
    /// The file that it is in.
    pub file: String,
    input: Value,
    status: Tier,
    codes: BTreeSet<String>,
}

/// What is wrong with a folder of examples.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExampleError {
    /// More than [`MAX_EXAMPLES`].
    #[error("{0} examples: at most {MAX_EXAMPLES} are taken")]
    TooMany(usize),
    /// Not JSON of the shape.
    #[error("{file}: not an example: {cause}")]
    Json {
        /// Which file.
        file: String,
        /// Why.
        cause: String,
    },
    /// Neither `input` nor `base`, or both.
    #[error(
        "{file}: needs either `input`, or `base` with the name of another example's file to start from"
    )]
    NoInput {
        /// Which file.
        file: String,
    },
    /// `base` names no example that has an `input` of its own.
    #[error("{file}: base {base:?} is no file here with an `input` of its own")]
    NoBase {
        /// Which file.
        file: String,
        /// What it names.
        base: String,
    },
    /// A pointer that leads nowhere.
    #[error("{file}: {pointer:?} leads to nothing in the base: write it as /quote/pcrs/4/value")]
    NoPlace {
        /// Which file.
        file: String,
        /// The pointer (RFC 6901).
        pointer: String,
    },
    /// Not a tier.
    #[error("{file}: status {status:?} is none of affirming, warning, contraindicated, none")]
    Status {
        /// Which file.
        file: String,
        /// What it says.
        status: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    input: Option<Value>,
    base: Option<String>,
    #[serde(default)]
    set: BTreeMap<String, Value>,
    #[serde(default)]
    remove: Vec<String>,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    status: String,
    codes: BTreeSet<String>,
}

impl Example {
    /// From the files of a folder, by name.
    ///
    /// # Errors
    /// [`ExampleError`] names the file and the rule.
    pub fn parse_all(files: &BTreeMap<String, String>) -> Result<Vec<Self>, ExampleError> {
        if files.len() > MAX_EXAMPLES {
            return Err(ExampleError::TooMany(files.len()));
        }
        let written = files
            .iter()
            .map(|(file, text)| {
                let written = serde_json::from_str(text).map_err(|error| ExampleError::Json {
                    file: file.clone(),
                    cause: error.to_string(),
                })?;
                Ok((file.as_str(), written))
            })
            .collect::<Result<BTreeMap<&str, Written>, ExampleError>>()?;
        written
            .iter()
            .map(|(file, one)| Self::of(file, one, &written))
            .collect()
    }

    fn of(
        file: &str,
        written: &Written,
        all: &BTreeMap<&str, Written>,
    ) -> Result<Self, ExampleError> {
        let name = || file.to_owned();
        let mut input = match (&written.input, &written.base) {
            (Some(input), None) => input.clone(),
            (None, Some(base)) => all
                .get(base.as_str())
                .and_then(|base| base.input.clone())
                .ok_or_else(|| ExampleError::NoBase {
                    file: name(),
                    base: base.clone(),
                })?,
            _ => return Err(ExampleError::NoInput { file: name() }),
        };
        for (pointer, value) in &written.set {
            change(&mut input, pointer, Some(value.clone())).ok_or_else(|| {
                ExampleError::NoPlace {
                    file: name(),
                    pointer: pointer.clone(),
                }
            })?;
        }
        for pointer in &written.remove {
            change(&mut input, pointer, None).ok_or_else(|| ExampleError::NoPlace {
                file: name(),
                pointer: pointer.clone(),
            })?;
        }
        let status =
            Tier::from_name(&written.expect.status).ok_or_else(|| ExampleError::Status {
                file: name(),
                status: written.expect.status.clone(),
            })?;
        Ok(Self {
            name: written.name.clone(),
            file: name(),
            input,
            status,
            codes: written.expect.codes.clone(),
        })
    }

    /// What the policy must say: the tier, and the codes of its reasons.
    #[must_use]
    pub fn expected(&self) -> (Tier, &BTreeSet<String>) {
        (self.status, &self.codes)
    }

    /// What the policy does say.
    #[must_use]
    pub fn run(&self, policy: &Policy) -> Trial {
        policy.try_on(&self.input)
    }

    /// Whether that is what it must say.
    #[must_use]
    pub fn agrees(&self, trial: &Trial) -> bool {
        trial.status == self.status && trial.codes().into_iter().eq(&self.codes)
    }
}

/// Sets what a JSON pointer (RFC 6901) leads to, or removes it. A member may be
/// new, but what it is a member of must be there.
fn change(root: &mut Value, pointer: &str, value: Option<Value>) -> Option<()> {
    let (parent, last) = pointer.rsplit_once('/')?;
    let key = last.replace("~1", "/").replace("~0", "~");
    match (root.pointer_mut(parent)?, value) {
        (Value::Object(map), Some(value)) => {
            map.insert(key, value);
        }
        (Value::Object(map), None) => {
            map.remove(&key)?;
        }
        (Value::Array(list), Some(value)) => *list.get_mut(key.parse::<usize>().ok()?)? = value,
        (Value::Array(list), None) => {
            let at = key.parse::<usize>().ok()?;
            list.get(at)?;
            list.remove(at);
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn files(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        pairs.iter().map(owned).collect()
    }

    const BASE: &str = r#"{"name":"good","input":{"a":{"b":[1,2]},"c":1},"expect":{"status":"affirming","codes":[]}}"#;

    #[test]
    fn an_example_starts_from_another_and_changes_what_it_says() {
        let other = r#"{"name":"other","base":"good.json","set":{"/a/b/1":9,"/a/n":null,"/c":{}},
            "remove":["/a/b/0"],"expect":{"status":"warning","codes":["x","y"]}}"#;
        let examples =
            Example::parse_all(&files(&[("good.json", BASE), ("other.json", other)])).unwrap();
        let [good, other] = examples.as_slice() else {
            panic!("{examples:?}")
        };
        assert_eq!(good.input, json!({"a": {"b": [1, 2]}, "c": 1}));
        assert_eq!(other.input, json!({"a": {"b": [9], "n": null}, "c": {}}));
        assert_eq!(other.expected().0, Tier::Warning);
    }

    #[test]
    fn what_is_wrong_is_told_with_the_file() {
        let file = || "x.json".to_owned();
        let refused = |text: &str| {
            Example::parse_all(&files(&[("good.json", BASE), ("x.json", text)])).unwrap_err()
        };
        let of = |rest: &str| {
            refused(&format!(
                r#"{{"name":"x",{rest},"expect":{{"status":"none","codes":[]}}}}"#
            ))
        };
        assert!(matches!(refused("{"), ExampleError::Json { .. }));
        assert!(matches!(of(r#""inputs":{}"#), ExampleError::Json { .. }));
        assert_eq!(of(r#""remove":[]"#), ExampleError::NoInput { file: file() });
        assert_eq!(
            of(r#""input":{},"base":"good.json""#),
            ExampleError::NoInput { file: file() }
        );
        for base in ["none.json", "x.json"] {
            assert_eq!(
                of(&format!(r#""base":"{base}""#)),
                ExampleError::NoBase {
                    file: file(),
                    base: base.to_owned()
                }
            );
        }
        for pointer in ["a", "/z/y", "/c/d", "/a/b/7"] {
            assert_eq!(
                of(&format!(r#""base":"good.json","set":{{"{pointer}":1}}"#)),
                ExampleError::NoPlace {
                    file: file(),
                    pointer: pointer.to_owned()
                }
            );
        }
        assert!(matches!(
            of(r#""base":"good.json","remove":["/z"]"#),
            ExampleError::NoPlace { .. }
        ));
        assert_eq!(
            refused(r#"{"name":"x","input":{},"expect":{"status":"fine","codes":[]}}"#),
            ExampleError::Status {
                file: file(),
                status: "fine".to_owned()
            }
        );
    }
}
