use std::collections::BTreeMap;

use serde::Serialize;

use super::tally::Tally;
use crate::epoch::{Broken, RuleState};
use crate::error::{Error, ErrorKind};
use crate::hidden::{EVALUATION, WITHOUT_KEY};
use crate::masked::masked;
use crate::project::{Expect, OnViolation, Rule, SqlFile};

/// A share of bad rows counts from this many rows on; below, one bad row of a few would be a large share.
const ROWS_FOR_A_SHARE: u64 = 20;

/// What is asked of every row, whatever the rules.
const EVALUATES: &str = "its expressions can be computed";
const HAS_KEY: &str = "no part of its key is NULL";

/// Counts of rules by name.
pub(super) type RuleStates = BTreeMap<String, RuleState>;

/// What the rules of a table say about its candidate.
#[derive(Debug, Default)]
pub(in crate::refresh) struct Verdict {
    /// Rows that readers would see.
    pub(in crate::refresh) rows: u64,
    pub(in crate::refresh) rules: RuleStates,
    /// Violations of rules that only warn.
    pub(in crate::refresh) warnings: BTreeMap<String, u64>,
    pub(in crate::refresh) checks: Vec<Check>,
    /// Why the candidate must not be committed.
    pub(in crate::refresh) failure: Option<String>,
    /// The rules for which it is not.
    pub(in crate::refresh) broken: Vec<Broken>,
}

/// One check made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::refresh) struct Check {
    pub(in crate::refresh) rule: String,
    pub(in crate::refresh) definition: String,
    pub(in crate::refresh) action: String,
    /// None where the rule could not be evaluated.
    pub(in crate::refresh) violations: Option<u64>,
    /// Current rows of the table, those kept out included.
    pub(in crate::refresh) rows: Option<u64>,
    pub(in crate::refresh) outcome: CheckOutcome,
}

/// What came of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    Passed,
    /// Broken, and only counted.
    Warned,
    /// Broken, and the rows that break it are no rows of the table.
    KeptOut,
    /// Broken: the table is held.
    Failed,
    /// The rule, or the query, cannot be computed.
    Error,
}

impl CheckOutcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Warned => "warned",
            Self::KeptOut => "kept_out",
            Self::Failed => "failed",
            Self::Error => "error",
        }
    }
}

impl Verdict {
    pub(super) fn of(file: &SqlFile, tally: &Tally, about_table: &RuleStates) -> Self {
        let rows = tally.current();
        let mut verdict = Self {
            rows: tally.seen(),
            ..Self::default()
        };
        for expect in &file.directives.expects {
            let kept_out = tally.kept_out(&expect.name);
            let violations = match about_table.get(&expect.name) {
                _ if expect.on_violation.keeps_out() => kept_out,
                Some(rule) if !expect.is_about_rows() => rule.violations,
                _ => tally.violations(&expect.name),
            };
            let outcome = outcome(expect, violations, rows);
            if outcome == CheckOutcome::Failed {
                let name = &expect.name;
                verdict.failure.get_or_insert_with(|| match expect.rule {
                    Rule::Table(_) => format!("rule \"{name}\" does not hold"),
                    _ => format!("rule \"{name}\" is broken by {violations} of {rows} rows"),
                });
            }
            if outcome == CheckOutcome::Warned {
                verdict.warnings.insert(expect.name.clone(), violations);
            }
            let state = RuleState {
                definition: expect.rule.to_string(),
                action: expect.action(),
                violations,
                kept_out,
            };
            verdict.add(&expect.name, state, rows, outcome);
        }
        for (name, definition) in [(EVALUATION, EVALUATES), (WITHOUT_KEY, HAS_KEY)] {
            let kept_out = tally.kept_out(name);
            if kept_out > 0 {
                let state = RuleState {
                    definition: definition.to_owned(),
                    action: OnViolation::Quarantine.to_string(),
                    violations: kept_out,
                    kept_out,
                };
                verdict.warnings.insert(name.to_owned(), kept_out);
                verdict.add(name, state, rows, CheckOutcome::KeptOut);
            }
        }
        verdict
    }

    /// A table whose query or rules cannot be computed on its rows.
    pub(in crate::refresh) fn unreadable(error: &Error) -> Self {
        let check = Check {
            rule: EVALUATION.to_owned(),
            definition: EVALUATES.to_owned(),
            action: OnViolation::Fail.to_string(),
            violations: None,
            rows: None,
            outcome: CheckOutcome::Error,
        };
        Self {
            checks: vec![check],
            failure: Some(match error.kind() {
                // It tells of a setting and of no value.
                ErrorKind::DeadlineExceeded => error.to_string(),
                ErrorKind::ResourceExhausted => format!(
                    "it needs more than refresh.memory_limit_bytes allows, or the disk is full: {}",
                    masked(&error.with_causes())
                ),
                _ => masked(&error.with_causes()),
            }),
            ..Self::default()
        }
    }

    fn add(&mut self, name: &str, state: RuleState, rows: u64, outcome: CheckOutcome) {
        self.checks.push(Check {
            rule: name.to_owned(),
            definition: state.definition.clone(),
            action: state.action.clone(),
            violations: Some(state.violations),
            rows: Some(rows),
            outcome,
        });
        self.rules.insert(name.to_owned(), state);
    }
}

pub(crate) fn outcome(expect: &Expect, violations: u64, rows: u64) -> CheckOutcome {
    if violations == 0 {
        return CheckOutcome::Passed;
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share of rows in per cent needs no more digits"
    )]
    let over = |limit: f64| violations as f64 * 100.0 > limit * rows as f64;
    if rows >= ROWS_FOR_A_SHARE && expect.fail_over_percent.is_some_and(over) {
        return CheckOutcome::Failed;
    }
    match expect.on_violation {
        OnViolation::Warn => CheckOutcome::Warned,
        OnViolation::Drop | OnViolation::Quarantine => CheckOutcome::KeptOut,
        OnViolation::Fail => CheckOutcome::Failed,
    }
}
