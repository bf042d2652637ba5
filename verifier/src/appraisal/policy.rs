//! A Rego policy, compiled once and run under a time limit.

use std::{fmt, mem, num::NonZeroU32, thread, time::Duration};

use regorus::{Engine, LimitError, Value, utils::limits::ExecutionTimerConfig};

use super::{
    AttestationResult,
    facts::Facts,
    floor::{self, Floor, Grounds, PolicyFault, Verdict},
    ima::ImaState,
    input::{self, Branches},
    memo::Memo,
    opinion::{Opinion, OpinionError},
    rego::{
        self,
        size::{MAX_RULES, MAX_STATEMENTS},
    },
};
use crate::{
    digest::sha256,
    endorsement::EndorsementStanding,
    reference_values::ReferenceValues,
    time::UnixTime,
    verification::{KeyProof, VerifiedEvidence},
};

/// Longest source taken.
pub const MAX_SOURCE_BYTES: usize = 64 * 1024;
/// Longest run of a policy: some thirty times what the default one takes in a
/// build without optimisation, so that a busy machine does not fail it.
pub const TIME_LIMIT: Duration = Duration::from_millis(250);
/// The rule whose value is the opinion.
const ENTRY_POINT: &str = "data.holdfast.appraisal.result";
/// The package that the source must be.
const PACKAGE: &str = "data.holdfast.appraisal";
/// Work units between two looks at the clock. One may be the product of two
/// numbers of a million digits, so there is a look before each.
const CHECK_INTERVAL: NonZeroU32 = NonZeroU32::MIN;
/// Stack of the thread that a policy is compiled, run and dropped on, in bytes.
/// The interpreter goes as deep as rules need one another, and its parser as
/// deep as there are signs in front of a number: [`MAX_SOURCE_BYTES`] bound
/// both, at more than the stack of a usual thread. Only what is used of it
/// becomes memory.
const STACK_BYTES: usize = 256 * 1024 * 1024;

/// Why a policy is not taken into use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// More than [`MAX_SOURCE_BYTES`].
    #[error("{0} bytes: at most {MAX_SOURCE_BYTES} are taken")]
    TooLong(usize),
    /// Not Rego.
    #[error("the policy does not compile: {0}")]
    Source(String),
    /// Another package.
    #[error("the policy is package {0}: it must be `package holdfast.appraisal`")]
    Package(String),
    /// No rule `result`.
    #[error("the policy has no rule `result`")]
    NoResult,
    /// A rule `floor` that is not a constant, or not one that is known.
    #[error(
        "the rule `floor` must stand alone as one of floor := \"reference-values\", floor := \"boot-log\", \
         floor := \"hardware\""
    )]
    Floor,
    /// A function that is neither the policy's own nor one of the built-in
    /// ones that are allowed.
    #[error("the policy calls `{0}`, which is not among the functions that docs/policy.md lists")]
    Forbidden(String),
    /// Functions that call one another in a ring.
    #[error("the policy's function `{0}` comes to call itself")]
    Recursion(String),
    /// Another name for what is in `data`.
    #[error("the policy imports {0}: its own rules need no import")]
    Import(String),
    /// A format that is made by the policy, or asks for any width.
    #[error(
        "the first argument of `sprintf` must be a text as it stands, with widths of at most 3 digits"
    )]
    Format,
    /// More than `MAX_NESTING` of brackets within brackets.
    #[error(
        "line {0}: too many brackets within brackets up to here: give the inner parts names of their own"
    )]
    Nesting(u32),
    /// More than `MAX_RULES`.
    #[error("{0} rules: at most {MAX_RULES} are taken")]
    Rules(usize),
    /// More than `MAX_STATEMENTS` in one body.
    #[error("{0} statements in one body: at most {MAX_STATEMENTS} are taken")]
    Statements(usize),
    /// A `replace` that the policy makes up, or that makes longer.
    #[error(
        "the second and third argument of `replace` must be texts as they stand, the third no longer \
         than the second"
    )]
    Replace,
    /// A `trim` of what the policy makes up.
    #[error("the second argument of `trim` must be a text as it stands")]
    Trim,
    /// `with` is for tests of policies.
    #[error("the policy uses `with`: only tests may put one value in place of another")]
    With,
}

/// An appraisal policy (RFC 9334 §8.5) in Rego, compiled, with the memo of
/// what it said.
pub struct Policy {
    /// Prepared once; each run works on a clone, which shares the compiled
    /// rules.
    engine: Engine,
    floor: Floor,
    /// What it is shown, and no more: so nothing else is part of its memo.
    reads: Branches,
    id: [u8; 32],
    memo: Memo,
}

impl Policy {
    /// Compiles a policy.
    ///
    /// # Errors
    /// [`PolicyError`]. What can only be seen by running is not an error
    /// here: such a policy affirms nothing.
    pub fn compile(source: &str) -> Result<Self, PolicyError> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(PolicyError::TooLong(source.len()));
        }
        let (engine, floor, reads) = on_deep_stack(|| prepare(source))
            .unwrap_or_else(|_| Err(PolicyError::Source("the compiler failed on it".to_owned())))?;
        Ok(Self {
            engine,
            floor,
            reads,
            id: sha256(&[source.as_bytes()]),
            memo: Memo::new(),
        })
    }

    /// [`DEFAULT_POLICY`](super::DEFAULT_POLICY), compiled.
    ///
    /// # Errors
    /// None: the tests of this crate compile it.
    pub fn standard() -> Result<Self, PolicyError> {
        Self::compile(super::DEFAULT_POLICY)
    }

    /// Id of the policy: SHA-256 of its source.
    #[must_use]
    pub fn id(&self) -> &[u8; 32] {
        &self.id
    }

    /// What it leaves to Holdfast's own comparison.
    #[must_use]
    pub const fn floor(&self) -> Floor {
        self.floor
    }

    /// What it is shown of its input.
    pub(super) const fn reads(&self) -> Branches {
        self.reads
    }

    /// Appraises: compares verified claims with reference values under this
    /// policy. Whatever goes wrong in the policy is a result that affirms
    /// nothing, with reason `policy-error`. `standing` is that of the
    /// evidence's TPM, `ima` is [`ImaState::of`] the evidence's log.
    pub fn appraise<K: KeyProof>(
        &self,
        evidence: VerifiedEvidence<K>,
        standing: EndorsementStanding,
        references: Option<&ReferenceValues>,
        ima: Option<&ImaState>,
        now: UnixTime,
    ) -> AttestationResult<K> {
        let facts = Facts::of(&evidence, standing, ima);
        let verdict = self.verdict(&facts, references, now);
        AttestationResult::new(
            evidence,
            verdict,
            self.id,
            references.map(|set| *set.digest()),
        )
    }

    /// The repeatable part, from the memo where it is known.
    pub(super) fn verdict(
        &self,
        facts: &Facts,
        references: Option<&ReferenceValues>,
        now: UnixTime,
    ) -> std::sync::Arc<Verdict> {
        // The memo is this policy's own, so equal keys have equal verdicts
        // until the set's next end.
        let known = input::key(facts, self.reads);
        let id = references.map_or(&[][..], |set| set.digest());
        self.memo
            .get_or_insert(sha256(&[known.as_bytes(), id]), now, || {
                let (in_force, ends) = references.map(|set| set.at(now)).unzip();
                let in_force = in_force.as_deref();
                let opinion = self.run(&input::text(facts, in_force, self.reads));
                (
                    floor::verdict(opinion, self.floor, &Grounds::of(facts), in_force),
                    ends.flatten(),
                )
            })
    }

    #[cfg(test)]
    pub(super) fn memo_len(&self) -> usize {
        self.memo.len()
    }

    pub(super) fn run(&self, input: &str) -> Result<Opinion, PolicyFault> {
        // A panic inside the interpreter is a fault of the policy like any
        // other; the clone that it happened in is dropped.
        on_deep_stack(|| self.opinion(input))
            .unwrap_or_else(|_| Err(PolicyFault::Failed("the interpreter panicked".to_owned())))
    }

    fn opinion(&self, input: &str) -> Result<Opinion, PolicyFault> {
        let answer = self.evaluate(input)?;
        if answer == Value::Undefined {
            return Err(OpinionError::Undefined.into());
        }
        let json = answer.to_json_str().map_err(|error| failed(&error))?;
        Ok(Opinion::parse(&json)?)
    }

    fn evaluate(&self, input: &str) -> Result<Value, PolicyFault> {
        let mut engine = self.engine.clone();
        engine.set_input(Value::from_json_str(input).map_err(|error| failed(&error))?);
        engine
            .eval_rule(ENTRY_POINT.to_owned())
            .map_err(|error| failed(&error))
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        // What is nested deeply is dropped as deeply.
        let engine = mem::take(&mut self.engine);
        let _ = on_deep_stack(move || drop(engine));
    }
}

/// Runs `work` to its end on a thread with [`STACK_BYTES`]. An error is a
/// panic in it, or that the system gave no thread.
fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> thread::Result<T> {
    thread::scope(|scope| {
        thread::Builder::new()
            .name("policy".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(|error| Box::new(error) as _)
            .and_then(thread::ScopedJoinHandle::join)
    })
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("id", &hex::encode(self.id))
            .finish_non_exhaustive()
    }
}

fn prepare(source: &str) -> Result<(Engine, Floor, Branches), PolicyError> {
    let fault = |error: &anyhow::Error| PolicyError::Source(explain(&error.to_string()));
    rego::size::bound_nesting(source).map_err(|refusal| match refusal {
        PolicyError::Source(text) => PolicyError::Source(explain(&text)),
        other => other,
    })?;
    let mut engine = Engine::new();
    engine.set_execution_timer_config(ExecutionTimerConfig {
        limit: TIME_LIMIT,
        check_interval: CHECK_INTERVAL,
    });
    // Built-ins that fail make the rule fail, rather than undefined: a typing
    // error in a policy is seen as one.
    engine.set_strict_builtin_errors(true);
    let package = engine
        .add_policy("policy.rego".to_owned(), source.to_owned())
        .map_err(|error| fault(&error))?;
    if package != PACKAGE {
        return Err(PolicyError::Package(one_line(
            package.trim_start_matches("data."),
        )));
    }
    if !engine
        .has_declared_rule_rooted_at("policy.rego", "result")
        .map_err(|error| fault(&error))?
    {
        return Err(PolicyError::NoResult);
    }
    let (mut floor, mut reads) = (Floor::default(), Branches::NONE);
    for module in engine.get_modules() {
        rego::check(module)?;
        floor = rego::floor(module)?;
        reads = rego::reads(module)?;
    }
    // Analyses and schedules every rule now, so that clones need not.
    engine.set_input(Value::new_object());
    let _ = engine.eval_rule(ENTRY_POINT.to_owned());
    Ok((engine, floor, reads))
}

fn failed(error: &anyhow::Error) -> PolicyFault {
    match error.downcast_ref::<LimitError>() {
        Some(LimitError::TimeLimitExceeded { .. }) => {
            PolicyFault::TimeLimit(TIME_LIMIT.as_millis())
        }
        _ => PolicyFault::Failed(one_line(&error.to_string())),
    }
}

/// What the compiler has to say, as "line 3, column 7: …": it writes
/// `--> policy.rego:3:7`, an excerpt, and `error: …` at the end.
fn explain(text: &str) -> String {
    let place = text.split_once("policy.rego:").map(|(_, rest)| {
        let mut numbers = rest.split(|c: char| !c.is_ascii_digit());
        (
            numbers.next().unwrap_or_default(),
            numbers.next().unwrap_or_default(),
        )
    });
    match (place, text.rsplit_once("error: ")) {
        (Some((line, column)), Some((_, message))) if !line.is_empty() && !column.is_empty() => {
            format!("line {line}, column {column}: {}", one_line(message))
        }
        _ => one_line(text),
    }
}

/// A message of the interpreter (with source excerpts) on one short line.
pub(super) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words
        .join(" ")
        .chars()
        .filter(|c| !c.is_control())
        .take(400)
        .collect()
}
