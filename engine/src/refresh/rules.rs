//! What the rules of a table say about its candidate, before it is committed.
//!
//! Row rules follow the change: what they counted over a version is kept in its state, and only files that came or went
//! are looked at. Rules about the table as a whole look at all of it.

mod failing;
mod outcome;
mod rows;
mod table;
mod tally;

use chrono::{DateTime, Utc};

pub(crate) use self::failing::{failing_rows, kept_out_rows, keys_of, rule_column, shown_key};
pub use self::outcome::CheckOutcome;
pub(crate) use self::outcome::outcome;
pub(super) use self::outcome::{Check, Verdict};
pub(crate) use self::rows::{RowByRow, count as count_rows};
pub(crate) use self::table::count as count_table;
pub(super) use self::tally::Tally;
use super::Refresher;
use super::build::Candidate;
use crate::epoch::TableState;
use crate::error::{ErrorKind, Result};
use crate::project::{Expect, SqlFile};

impl Refresher {
    /// Judges the rules of a table over its candidate.
    pub(super) async fn judge(
        &self,
        file: &SqlFile,
        candidate: &Candidate,
        last: Option<&TableState>,
        now: DateTime<Utc>,
    ) -> Result<Verdict> {
        let last = last.filter(|last| is_known(file, last));
        let tally = match &candidate.tally {
            Some(tally) => tally.clone(),
            None => self.tally(file, candidate, last, now).await?,
        };
        let unchanged = match last {
            Some(last) if self.is_unchanged(candidate, last).await? => Some(last),
            _ => None,
        };
        let about_table = match unchanged {
            Some(last) => last.rules.clone(),
            None => match self.table_rules(file, candidate, now).await {
                Ok(counted) => counted,
                Err(error) if error.kind() == ErrorKind::InvalidRequest => {
                    return Ok(Verdict::unreadable(&error));
                }
                Err(error) => return Err(error),
            },
        };
        let mut verdict = Verdict::of(file, &tally, &about_table);
        if verdict.failure.is_some() {
            verdict.broken = self.broken(file, candidate, &verdict, now).await?;
        }
        Ok(verdict)
    }
}

/// Whether the counts of a version can be relied on: the same rules over the same query's rows, at any time.
fn is_known(file: &SqlFile, last: &TableState) -> bool {
    let is_counted = |expect: &Expect| {
        last.rules.get(&expect.name).is_some_and(|rule| {
            rule.definition == expect.rule.to_string()
                && rule.action == expect.action()
                && !reads_clock(&rule.definition)
        })
    };
    last.rows.is_some()
        && last.query == file.query_fingerprint()
        && file.directives.expects.iter().all(is_counted)
}

/// Whether a condition may come out otherwise at another time. A word in a text may be taken for a reading of the
/// clock, which costs a count and no more.
fn reads_clock(definition: &str) -> bool {
    let definition = definition.to_lowercase();
    ["now(", "current_date", "current_time"]
        .iter()
        .any(|word| definition.contains(word))
}
