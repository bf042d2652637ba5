//! Everywhere in a rule: the one place that knows where expressions are.

use regorus::unstable::{Expr, Literal, Query, Rule, RuleAssign, RuleBody, RuleHead};

use super::PolicyError;

/// What is still to be looked at. A list of them stands in for recursion: depth
/// is the policy's choice.
#[derive(Clone, Copy)]
pub(super) enum Node<'a> {
    Expr(&'a Expr),
    Query(&'a Query),
}

impl<'a> Node<'a> {
    /// Adds what it is made of.
    pub(super) fn push_parts(self, todo: &mut Vec<Self>) -> Result<(), PolicyError> {
        match self {
            Self::Expr(expr) => walk_expr(expr, todo),
            Self::Query(query) => walk_query(query, todo),
        }
    }
}

/// What a rule is made of, to start with.
pub(super) fn start<'a>(rule: &'a Rule) -> Vec<Node<'a>> {
    let mut todo = Vec::new();
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
    todo
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
