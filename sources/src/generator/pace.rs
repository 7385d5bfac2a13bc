use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior};

/// Ticks a second, at most; faster rates put several events in one.
const MAX_TICKS: f64 = 20.0;

/// When live events are due.
pub(super) struct Pace {
    interval: Interval,
    started: Instant,
    quota: Quota,
}

impl Pace {
    /// The rate, events a second, is above 0.
    pub(super) fn new(rate: f64) -> Self {
        let ticks = rate.min(MAX_TICKS);
        let mut interval = tokio::time::interval(Duration::from_secs_f64(1.0 / ticks));
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            interval,
            started: Instant::now(),
            quota: Quota::new(rate),
        }
    }

    /// Waits for the next tick; how many events it has. May be dropped while it waits.
    pub(super) async fn tick(&mut self) -> usize {
        self.interval.tick().await;
        self.quota.due(self.started.elapsed())
    }
}

/// How many events a rate makes of a time.
struct Quota {
    rate: f64,
    /// Events that were due so far.
    given: f64,
    /// Events at once, at most: what was held up for longer than a second is not made up.
    most: f64,
}

impl Quota {
    fn new(rate: f64) -> Self {
        Self {
            rate,
            given: 0.0,
            most: rate.max(1.0),
        }
    }

    /// Events that are due after that time, and were not before. The first tick has as many as any other.
    fn due(&mut self, elapsed: Duration) -> usize {
        let first = (self.rate / MAX_TICKS).max(1.0);
        let wanted = first + self.rate * elapsed.as_secs_f64();
        let due = (wanted - self.given).clamp(0.0, self.most).floor();
        self.given = self.given.max(wanted - self.most) + due;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the highest rate fits"
        )]
        let due = due as usize;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rate: f64, seconds: u64, expected: usize) {
        let mut quota = Quota::new(rate);
        let ticks = rate.min(MAX_TICKS);
        let mut elapsed = Duration::ZERO;
        let mut events = 0;
        while elapsed < Duration::from_secs(seconds) {
            events += quota.due(elapsed);
            elapsed += Duration::from_secs_f64(1.0 / ticks) + Duration::from_millis(1);
        }
        let tolerated = (rate / 10.0).max(1.0);
        assert!(
            events.abs_diff(expected) as f64 <= tolerated,
            "{rate}: {events}"
        );
    }

    #[test]
    fn as_many_as_the_rate_says() {
        check(0.1, 25, 3);
        check(1.0, 10, 10);
        check(7.5, 20, 150);
        check(100_000.0, 10, 1_000_000);
    }

    #[test]
    fn a_hiccup_is_made_up_and_a_standstill_is_not() {
        let mut quota = Quota::new(1000.0);
        assert_eq!(quota.due(Duration::ZERO), 50);
        assert_eq!(quota.due(Duration::from_millis(500)), 500);
        assert_eq!(quota.due(Duration::from_secs(3600)), 1000);
        assert_eq!(quota.due(Duration::from_secs(3600)), 0);
        assert_eq!(quota.due(Duration::from_millis(3_600_050)), 50);
    }
}
