use std::time::{Duration, Instant};

use sql_files::TableName;
use tracing::info;

/// Messages or rows from which on a person is told how far the reading of them is.
const LARGE: u64 = 500_000;

/// Time between two lines.
pub(super) const PAUSE: Duration = Duration::from_secs(5);

/// Tells how far the reading of many messages or rows is.
pub(super) struct Progress {
    table: TableName,
    what: &'static str,
    total: u64,
    done: u64,
    started: Instant,
    told: Instant,
}

impl Progress {
    pub(super) fn new(table: &TableName, what: &'static str, total: u64) -> Self {
        let started = Instant::now();
        Self {
            table: table.clone(),
            what,
            total,
            done: 0,
            started,
            told: started,
        }
    }

    pub(super) fn add(&mut self, count: u64) {
        self.reach(self.done + count);
    }

    /// So many are read by now.
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
        let Self {
            what, total, done, ..
        } = self;
        let percent = done.saturating_mul(100) / total.max(&1);
        let rest = total.saturating_sub(*done);
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let left = millis.saturating_mul(rest) / done.max(&1) / 1000;
        format!("{done} of {total} {what} read ({percent} %), about {left} s left")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_by_what_is_done() {
        let line = |done, total, elapsed| {
            let table = "silver.people".parse().expect("a name");
            let mut progress = Progress::new(&table, "messages", total);
            progress.reach(done);
            progress.line(elapsed)
        };
        assert_eq!(
            line(250, 1000, Duration::from_secs(10)),
            "250 of 1000 messages read (25 %), about 30 s left"
        );
        assert_eq!(
            line(0, 0, Duration::ZERO),
            "0 of 0 messages read (0 %), about 0 s left"
        );
    }
}
