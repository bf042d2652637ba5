//! How large a policy may be, in the measures that its compiler takes time by.
//!
//! The parser of brackets tries each pair in several ways, one inside the other:
//! time doubles with each. Statements of one body are put in order, each held
//! against each.

use regorus::unstable::{Lexer, Module, Query, Source, TokenKind};

use super::PolicyError;

/// Most work of the parser over brackets, braces and parentheses: one that is
/// the nth open at once counts 2^n. A fifth of a second; fifteen in one another
/// and nothing else, or eight thousand with at most three open. The shipped
/// policies need a twentieth.
pub(in crate::appraisal) const MAX_NESTING: u32 = 1 << 16;
/// Most rules, counting each of one name. The shipped policies have fewer than
/// a hundred.
pub(in crate::appraisal) const MAX_RULES: usize = 1000;
/// Most statements in one body or comprehension.
pub(in crate::appraisal) const MAX_STATEMENTS: usize = 200;

/// Refuses a source that the parser would take long over, before it does.
pub(in crate::appraisal) fn bound_nesting(source: &str) -> Result<(), PolicyError> {
    let fault = |error: anyhow::Error| PolicyError::Source(error.to_string());
    let source =
        Source::from_contents("policy.rego".to_owned(), source.to_owned()).map_err(fault)?;
    let mut lexer = Lexer::new(&source);
    let (mut open, mut work) = (0u32, 0u32);
    loop {
        let token = lexer.next_token().map_err(fault)?;
        match (token.0, token.1.text()) {
            (TokenKind::Eof, _) => return Ok(()),
            (TokenKind::Symbol, "[" | "{" | "(") => {
                open = open.saturating_add(1);
                work = work.saturating_add(2u32.saturating_pow(open));
            }
            (TokenKind::Symbol, "]" | "}" | ")") => open = open.saturating_sub(1),
            _ => {}
        }
        if work > MAX_NESTING {
            return Err(PolicyError::Nesting(token.1.line));
        }
    }
}

/// Refuses more rules than [`MAX_RULES`].
pub(super) fn bound_rules(module: &Module) -> Result<(), PolicyError> {
    match module.policy.len() {
        0..=MAX_RULES => Ok(()),
        many => Err(PolicyError::Rules(many)),
    }
}

/// Refuses more statements than [`MAX_STATEMENTS`] in one body.
pub(super) fn bound_statements(query: &Query) -> Result<(), PolicyError> {
    match query.stmts.len() {
        0..=MAX_STATEMENTS => Ok(()),
        many => Err(PolicyError::Statements(many)),
    }
}
