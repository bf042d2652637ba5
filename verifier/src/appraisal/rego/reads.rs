//! Which branches of its input a policy can read.

use std::borrow::Cow;

use regorus::unstable::{Expr, Module};

use super::{
    PolicyError,
    walk::{self, Node},
};
use crate::appraisal::input::{Branch, Branches};

const INPUT: &str = "input";

/// The branches that a policy names: `input.quote`, `input["quote"]`. One that
/// uses `input` in any other way (`input[x]`, `f(input)`) reads them all.
pub(in crate::appraisal) fn reads(module: &Module) -> Result<Branches, PolicyError> {
    let mut reads = Branches::NONE;
    let mut todo: Vec<Node<'_>> = Vec::new();
    todo.extend(module.imports.iter().map(|import| Node::Expr(&import.refr)));
    for rule in &module.policy {
        todo.extend(walk::start(rule));
    }
    while let Some(node) = todo.pop() {
        let Node::Expr(expr) = node else {
            node.push_parts(&mut todo)?;
            continue;
        };
        if is_input(expr) {
            return Ok(Branches::ALL);
        }
        match step(expr) {
            Some((of, Some(name))) if is_input(of) => {
                // A name that is no branch is undefined, whatever is shown.
                reads = Branch::from_name(&name).map_or(reads, |branch| reads.and(branch));
            }
            Some((of, Some(field))) if let Some(branch) = branch(of) => {
                reads = reads.and_field(branch, &field);
            }
            _ => node.push_parts(&mut todo)?,
        }
    }
    Ok(reads)
}

fn is_input(expr: &Expr) -> bool {
    matches!(expr, Expr::Var { span, .. } if span.text() == INPUT)
}

/// The branch that an expression names, if that is all that it does.
fn branch(expr: &Expr) -> Option<Branch> {
    match step(expr) {
        Some((of, Some(name))) if is_input(of) => Branch::from_name(&name),
        _ => None,
    }
}

/// What a reference goes into, and the field of it where that is a name as it
/// stands.
fn step(expr: &Expr) -> Option<(&Expr, Option<Cow<'_, str>>)> {
    match expr {
        Expr::RefDot { refr, field, .. } => Some((refr, Some(field.0.text().into()))),
        Expr::RefBrack { refr, index, .. } => {
            let name = match index.as_ref() {
                Expr::String { value, .. } => value.as_string().ok(),
                _ => None,
            };
            Some((refr, name.map(|name| name.to_string().into())))
        }
        _ => None,
    }
}
