use std::collections::BTreeMap;

use crate::epoch::TableState;

/// What the row rules counted over some rows. Signed, since the counts over files that went are taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::refresh) struct Tally {
    seen: i64,
    violations: BTreeMap<String, i64>,
    kept_out: BTreeMap<String, i64>,
}

impl Tally {
    /// What the state of a version tells.
    pub(super) fn of(state: &TableState) -> Self {
        let mut tally = Self {
            seen: signed(state.rows.unwrap_or(0)),
            ..Self::default()
        };
        for (name, rule) in &state.rules {
            tally.violate(name, signed(rule.violations));
            tally.keep_out(name, signed(rule.kept_out));
        }
        tally
    }

    /// Rows that readers see.
    pub(super) fn seen(&self) -> u64 {
        self.seen.unsigned_abs()
    }

    /// Rows of the table, those kept out included.
    pub(super) fn current(&self) -> u64 {
        let kept_out: i64 = self.kept_out.values().sum();
        (self.seen + kept_out).unsigned_abs()
    }

    /// Rows that readers see and that break a rule.
    pub(super) fn violations(&self, rule: &str) -> u64 {
        count_of(&self.violations, rule)
    }

    /// Rows that the rule keeps out.
    pub(super) fn kept_out(&self, rule: &str) -> u64 {
        count_of(&self.kept_out, rule)
    }

    pub(in crate::refresh) fn see(&mut self, rows: i64) {
        self.seen += rows;
    }

    pub(in crate::refresh) fn violate(&mut self, rule: &str, rows: i64) {
        *self.violations.entry(rule.to_owned()).or_default() += rows;
    }

    pub(in crate::refresh) fn keep_out(&mut self, rule: &str, rows: i64) {
        *self.kept_out.entry(rule.to_owned()).or_default() += rows;
    }

    pub(super) fn add(&mut self, other: &Self, sign: i64) {
        self.seen += sign * other.seen;
        for (name, count) in &other.violations {
            self.violate(name, sign * count);
        }
        for (name, count) in &other.kept_out {
            self.keep_out(name, sign * count);
        }
    }

    /// Whether these can be counts of rows.
    pub(super) fn is_possible(&self) -> bool {
        let mut counts = self.violations.values().chain(self.kept_out.values());
        self.seen >= 0 && counts.all(|count| *count >= 0)
    }
}

fn signed(rows: u64) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

fn count_of(counts: &BTreeMap<String, i64>, rule: &str) -> u64 {
    counts.get(rule).copied().unwrap_or(0).unsigned_abs()
}
