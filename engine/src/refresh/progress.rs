use std::time::{Duration, Instant};

use sql_files::TableName;
use tracing::info;

/// Messages or rows from which on a person is told how far a step over them is.
const LARGE: u64 = 500_000;

/// Time between two lines.
pub(super) const PAUSE: Duration = Duration::from_secs(5);

/// A step on the way to a table's rows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    ReadMessages,
    ReadRows,
    FoldEvents,
    WriteRows,
}

impl Step {
    /// What is done of how many, and the doing.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::ReadMessages => ("messages read", "reading"),
            Self::ReadRows => ("rows read", "reading"),
            Self::FoldEvents => ("events folded", "folding"),
            Self::WriteRows => ("rows written", "writing"),
        }
    }
}

/// Tells how far a step over many messages or rows is.
pub(super) struct Progress {
    table: TableName,
    step: Step,
    total: u64,
    done: u64,
    started: Instant,
    told: Instant,
}

impl Progress {
    pub(super) fn new(table: &TableName, step: Step, total: u64) -> Self {
        let started = Instant::now();
        Self {
            table: table.clone(),
            step,
            total,
            done: 0,
            started,
            told: started,
        }
    }

    pub(super) fn add(&mut self, count: u64) {
        self.reach(self.done + count);
    }

    /// So many are done by now.
    pub(super) fn reach(&mut self, done: u64) {
        self.done = done;
        if self.is_due() {
            self.told = Instant::now();
            let line = self.line(self.started.elapsed());
            info!("{}: {line}", self.table);
        }
    }

    /// Whether it is time for a line.
    pub(super) fn is_due(&self) -> bool {
        self.total >= LARGE && self.told.elapsed() >= PAUSE
    }

    fn line(&self, elapsed: Duration) -> String {
        let Self { total, done, .. } = self;
        let (what, doing) = self.step.words();
        let percent = done.saturating_mul(100) / total.max(&1);
        let rest = total.saturating_sub(*done);
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let left = millis.saturating_mul(rest) / done.max(&1) / 1000;
        format!("{done} of {total} {what} ({percent} %), about {left} s of {doing} left")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_by_what_is_done() {
        let line = |done, total, elapsed| {
            let table = "silver.people".parse().expect("a name");
            let mut progress = Progress::new(&table, Step::ReadMessages, total);
            progress.reach(done);
            progress.line(elapsed)
        };
        assert_eq!(
            line(250, 1000, Duration::from_secs(10)),
            "250 of 1000 messages read (25 %), about 30 s of reading left"
        );
        assert_eq!(
            line(0, 0, Duration::ZERO),
            "0 of 0 messages read (0 %), about 0 s of reading left"
        );
    }
}
