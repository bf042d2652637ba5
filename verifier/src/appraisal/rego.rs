//! What a policy may be made of, seen before it is run.
//!
//! The interpreter's timer looks at the clock between steps. Some things
//! would slip past it, and are refused at load: functions that call one
//! another in a ring (the stack ends, and the process with it), built-in
//! functions outside a short list (one call may build a value of any size,
//! or answer differently tomorrow, and verdicts are memoised), formats that
//! ask for any width, and `with` and imports of `data`, which put one name in
//! place of another.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Expr, Literal, Module, Query, Rule, RuleAssign, RuleBody, RuleHead};

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

/// Whether a format stands in the policy and asks for no more columns than
/// [`MAX_WIDTH_DIGITS`] can say. One that is made by the policy could ask for
/// a gigabyte of spaces.
fn is_plain_format(format: Option<&Expr>) -> bool {
    let Some(Expr::String { value, .. } | Expr::RawString { value, .. }) = format else {
        return false;
    };
    let wide = |verb: &str| {
        let width = verb.chars().take_while(|c| *c == '.' || c.is_numeric());
        width.count() > MAX_WIDTH_DIGITS
    };
    let text = value.as_string();
    text.is_ok_and(|text| !text.split('%').skip(1).any(wide))
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

/// What is still to be looked at.
enum Node<'a> {
    Expr(&'a Expr),
    Query(&'a Query),
}

/// Every function that a rule names in a call. Without recursion: depth is
/// the policy's choice.
fn calls_of(rule: &Rule) -> Result<BTreeSet<String>, PolicyError> {
    let mut calls = BTreeSet::new();
    let mut todo = Vec::new();
    start(rule, &mut todo);
    while let Some(node) = todo.pop() {
        match node {
            Node::Query(query) => walk_query(query, &mut todo)?,
            Node::Expr(expr) => {
                if let Expr::Call { fcn, params, .. } = expr {
                    let name = path(fcn);
                    if name == "sprintf" && !is_plain_format(params.first().map(AsRef::as_ref)) {
                        return Err(PolicyError::Format);
                    }
                    calls.insert(name);
                }
                walk_expr(expr, &mut todo)?;
            }
        }
    }
    Ok(calls)
}

fn start<'a>(rule: &'a Rule, todo: &mut Vec<Node<'a>>) {
    let assigned =
        |assign: &'a Option<RuleAssign>| assign.as_ref().map(|assign| Node::Expr(&assign.value));
    match rule {
        Rule::Default {
            refr, args, value, ..
        } => {
            todo.extend([Node::Expr(refr), Node::Expr(value)]);
            todo.extend(args.iter().map(|arg| Node::Expr(arg)));
        }
        Rule::Spec { head, bodies, .. } => {
            match head {
                RuleHead::Compr { refr, assign, .. } => {
                    todo.push(Node::Expr(refr));
                    todo.extend(assigned(assign));
                }
                RuleHead::Set { refr, key, .. } => {
                    todo.push(Node::Expr(refr));
                    todo.extend(key.as_ref().map(|key| Node::Expr(key)));
                }
                RuleHead::Func {
                    refr, args, assign, ..
                } => {
                    todo.push(Node::Expr(refr));
                    todo.extend(args.iter().map(|arg| Node::Expr(arg)));
                    todo.extend(assigned(assign));
                }
            }
            for RuleBody { assign, query, .. } in bodies {
                todo.extend(assigned(assign));
                todo.push(Node::Query(query));
            }
        }
    }
}

fn walk_query<'a>(query: &'a Query, todo: &mut Vec<Node<'a>>) -> Result<(), PolicyError> {
    for statement in &query.stmts {
        if !statement.with_mods.is_empty() {
            return Err(PolicyError::With);
        }
        match &statement.literal {
            Literal::SomeVars { .. } => {}
            Literal::SomeIn {
                key,
                value,
                collection,
                ..
            } => {
                todo.extend(key.as_ref().map(|key| Node::Expr(key)));
                todo.extend([Node::Expr(value), Node::Expr(collection)]);
            }
            Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => {
                todo.push(Node::Expr(expr))
            }
            Literal::Every { domain, query, .. } => {
                todo.extend([Node::Expr(domain), Node::Query(query)]);
            }
        }
    }
    Ok(())
}

fn walk_expr<'a>(expr: &'a Expr, todo: &mut Vec<Node<'a>>) -> Result<(), PolicyError> {
    match expr {
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. }
        | Expr::Var { .. } => {}
        Expr::Array { items, .. } | Expr::Set { items, .. } => {
            todo.extend(items.iter().map(|item| Node::Expr(item)));
        }
        Expr::Object { fields, .. } => {
            todo.extend(
                fields
                    .iter()
                    .flat_map(|(_, key, value)| [Node::Expr(key), Node::Expr(value)]),
            );
        }
        Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
            todo.extend([Node::Expr(term), Node::Query(query)]);
        }
        Expr::ObjectCompr {
            key, value, query, ..
        } => {
            todo.extend([Node::Expr(key), Node::Expr(value), Node::Query(query)]);
        }
        Expr::Call { fcn, params, .. } => {
            todo.push(Node::Expr(fcn));
            todo.extend(params.iter().map(|param| Node::Expr(param)));
        }
        Expr::UnaryExpr { expr, .. } => todo.push(Node::Expr(expr)),
        Expr::RefDot { refr, .. } => todo.push(Node::Expr(refr)),
        Expr::RefBrack { refr, index, .. } => todo.extend([Node::Expr(refr), Node::Expr(index)]),
        Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => todo.extend([Node::Expr(lhs), Node::Expr(rhs)]),
        Expr::Membership {
            key,
            value,
            collection,
            ..
        } => {
            todo.extend(key.as_ref().map(|key| Node::Expr(key)));
            todo.extend([Node::Expr(value), Node::Expr(collection)]);
        }
        // Syntax of another interpreter version, unknown here.
        #[allow(unreachable_patterns)]
        _ => {
            return Err(PolicyError::Source(
                "an expression of a kind that is not known".to_owned(),
            ));
        }
    }
    Ok(())
}
