use std::time::{Duration, Instant};

use sql_files::TableName;
use tracing::info;

/// Messages from which on a person is told how far a fold is.
const LARGE: u64 = 500_000;

/// Time between two lines.
const PAUSE: Duration = Duration::from_secs(5);

/// Tells how far the reading of many messages is.
pub(super) struct Progress {
    table: TableName,
    total: u64,
    done: u64,
    started: Instant,
    told: Instant,
}

impl Progress {
    pub(super) fn new(table: &TableName, total: u64) -> Self {
        let started = Instant::now();
        Self {
            table: table.clone(),
            total,
            done: 0,
            started,
            told: started,
        }
    }

    pub(super) fn add(&mut self, messages: u64) {
        self.done += messages;
        if self.total >= LARGE && self.told.elapsed() >= PAUSE {
            self.told = Instant::now();
            let line = line(self.done, self.total, self.started.elapsed());
            info!("{}: {line}", self.table);
        }
    }
}

fn line(done: u64, total: u64, elapsed: Duration) -> String {
    let percent = done.saturating_mul(100) / total.max(1);
    let rest = total.saturating_sub(done);
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let left = millis.saturating_mul(rest) / done.max(1) / 1000;
    format!("{done} of {total} messages read ({percent} %), about {left} s left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_by_what_is_done() {
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
