//! What a policy may be made of, seen before it is run.
//!
//! The interpreter's timer looks at the clock between steps. Some things
//! would slip past it, and are refused at load: functions that call one
//! another in a ring (the stack ends, and the process with it), built-in
//! functions outside a short list (one call may build a value of any size,
//! or answer differently tomorrow, and verdicts are memoised), formats that
//! ask for any width, and `with` and imports of `data`, which put one name in
//! place of another.

mod reads;
pub(super) mod size;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Expr, Module, Rule, RuleHead};

pub(super) use self::reads::reads;
use self::walk::Node;
use super::{Floor, PolicyError};

/// In front of the policy's own names.
const OWN_PACKAGE: &str = "data.holdfast.appraisal.";

/// Built-in functions that a policy may call: each gives the same answer
/// whenever it is asked, and one no larger than its arguments call for.
pub(super) const BUILT_INS: [&str; 54] = [
    "abs",
    "array.concat",
    "array.reverse",
    "array.slice",
    "bits.and",
    "bits.negate",
    "bits.or",
    "bits.rsh",
    "bits.xor",
    "ceil",
    "concat",
    "contains",
    "count",
    "endswith",
    "floor",
    "format_int",
    "indexof",
    "intersection",
    "is_array",
    "is_boolean",
    "is_null",
    "is_number",
    "is_object",
    "is_set",
    "is_string",
    "json.filter",
    "json.remove",
    "lower",
    "max",
    "min",
    "object.filter",
    "object.get",
    "object.keys",
    "object.remove",
    "object.subset",
    "object.union",
    "replace",
    "round",
    "sort",
    "split",
    "sprintf",
    "startswith",
    "strings.any_prefix_match",
    "strings.any_suffix_match",
    "strings.count",
    "strings.reverse",
    "substring",
    "sum",
    "trim",
    "trim_prefix",
    "trim_space",
    "trim_suffix",
    "union",
    "upper",
];

/// Most digits of a width in a format: 999 columns.
const MAX_WIDTH_DIGITS: usize = 3;

/// Refuses a policy that the timer could not hold.
pub(super) fn check(module: &Module) -> Result<(), PolicyError> {
    size::bound_rules(module)?;
    for import in &module.imports {
        let path = path(&import.refr);
        if path.split('.').next() == Some("data") {
            return Err(PolicyError::Import(super::policy::one_line(&path)));
        }
    }
    let own: BTreeSet<&str> = module
        .policy
        .iter()
        .filter_map(|rule| match function_ref(rule)? {
            Expr::Var { span, .. } => Some(span.text()),
            _ => None,
        })
        .collect();
    let functions: BTreeSet<String> = module
        .policy
        .iter()
        .filter_map(|rule| function_name(rule))
        .collect();
    let mut calls: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for rule in &module.policy {
        let found = calls_of(rule)?;
        for name in &found {
            // By its whole name: `numbers.range` is not the policy's `range`.
            let plain = name.strip_prefix(OWN_PACKAGE).unwrap_or(name);
            if !own.contains(plain) && !BUILT_INS.contains(&name.as_str()) {
                return Err(PolicyError::Forbidden(super::policy::one_line(name)));
            }
        }
        if let Some(function) = function_name(rule) {
            let called = found.iter().map(|name| last(name).to_owned());
            calls
                .entry(function)
                .or_default()
                .extend(called.filter(|name| functions.contains(name)));
        }
    }
    // A function that does not call another one can be forgotten, again and
    // again; what is left then calls in a ring.
    loop {
        let before = calls.len();
        let left: BTreeSet<String> = calls.keys().cloned().collect();
        calls.retain(|_, called| called.iter().any(|name| left.contains(name)));
        if calls.len() == before {
            break;
        }
    }
    match calls.into_keys().next() {
        Some(name) => Err(PolicyError::Recursion(name)),
        None => Ok(()),
    }
}

/// The floor that a policy names, which must be a constant: one rule, whose
/// value is one of the names as they stand. So it cannot depend on what a
/// gateway sends.
pub(super) fn floor(module: &Module) -> Result<Floor, PolicyError> {
    let mut named = None;
    for rule in &module.policy {
        let (refr, value) = match rule.as_ref() {
            Rule::Spec {
                head: RuleHead::Compr { refr, assign, .. },
                bodies,
                ..
            } if bodies.is_empty() => (refr, assign.as_ref().map(|assign| &assign.value)),
            Rule::Spec {
                head:
                    RuleHead::Compr { refr, .. }
                    | RuleHead::Set { refr, .. }
                    | RuleHead::Func { refr, .. },
                ..
            }
            | Rule::Default { refr, .. } => (refr, None),
        };
        let path = path(refr);
        if path.split('.').next() != Some("floor") {
            continue;
        }
        let name = match value.map(|value| value.as_ref()) {
            Some(Expr::String { value, .. } | Expr::RawString { value, .. }) if path == "floor" => {
                value.as_string().ok()
            }
            _ => None,
        };
        let floor = name.and_then(|name| Floor::from_name(name));
        match (floor, named) {
            (Some(floor), None) => named = Some(floor),
            _ => return Err(PolicyError::Floor),
        }
    }
    Ok(named.unwrap_or_default())
}

/// Name of the function that a rule defines, without its package.
fn function_name(rule: &Rule) -> Option<String> {
    function_ref(rule).map(|refr| last(&path(refr)).to_owned())
}

fn function_ref(rule: &Rule) -> Option<&Expr> {
    match rule {
        Rule::Spec {
            head: RuleHead::Func { refr, .. },
            ..
        } => Some(refr),
        Rule::Default { refr, args, .. } if !args.is_empty() => Some(refr),
        _ => None,
    }
}

/// Refuses a call that alone could take long, or much memory, by what it is
/// given: `texts` are its arguments, where they stand in the policy as texts.
fn bound_call(name: &str, texts: &[Option<&str>]) -> Result<(), PolicyError> {
    match (name, texts) {
        ("sprintf", [Some(format), ..]) if is_plain_format(format) => Ok(()),
        ("sprintf", _) => Err(PolicyError::Format),
        // Each place is as long as before, or shorter.
        ("replace", [_, Some(old), Some(new)]) if !old.is_empty() && new.len() <= old.len() => {
            Ok(())
        }
        ("replace", _) => Err(PolicyError::Replace),
        // Each character is held against each of those.
        ("trim", [_, Some(_)]) => Ok(()),
        ("trim", _) => Err(PolicyError::Trim),
        _ => Ok(()),
    }
}

/// A text as it stands in the policy.
fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::String { value, .. } | Expr::RawString { value, .. } => {
            value.as_string().ok().map(AsRef::as_ref)
        }
        _ => None,
    }
}

/// Whether a format asks for no more columns than [`MAX_WIDTH_DIGITS`] can say.
/// One that is made by the policy could ask for a gigabyte of spaces.
fn is_plain_format(format: &str) -> bool {
    let wide = |verb: &str| {
        let width = verb.chars().take_while(|c| *c == '.' || c.is_numeric());
        width.count() > MAX_WIDTH_DIGITS
    };
    !format.split('%').skip(1).any(wide)
}

/// Dotted name of a reference; an index counts as a part of it, whatever it
/// is, so that `data.x["f"]` is seen as a call of `f`.
fn path(expr: &Expr) -> String {
    let mut parts = Vec::new();
    let mut at = expr;
    loop {
        match at {
            Expr::RefDot { refr, field, .. } => {
                parts.push(field.0.text().to_owned());
                at = refr;
            }
            Expr::RefBrack { refr, index, .. } => {
                parts.push(index.span().text().trim_matches(['"', '`']).to_owned());
                at = refr;
            }
            other => {
                parts.push(other.span().text().to_owned());
                break;
            }
        }
    }
    parts.reverse();
    parts.join(".")
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Every function that a rule names in a call. Without recursion: depth is
/// the policy's choice.
fn calls_of(rule: &Rule) -> Result<BTreeSet<String>, PolicyError> {
    let mut calls = BTreeSet::new();
    let mut todo = walk::start(rule);
    while let Some(node) = todo.pop() {
        match node {
            Node::Query(query) => size::bound_statements(query)?,
            Node::Expr(Expr::Call { fcn, params, .. }) => {
                let name = path(fcn);
                let texts: Vec<Option<&str>> = params.iter().map(|param| text(param)).collect();
                bound_call(&name, &texts)?;
                calls.insert(name);
            }
            Node::Expr(_) => {}
        }
        node.push_parts(&mut todo)?;
    }
    Ok(calls)
}
