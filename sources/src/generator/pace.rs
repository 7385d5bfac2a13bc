use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

/// Ticks a second, at most; faster rates put several events in one.
const MAX_TICKS: f64 = 20.0;

/// When live events are due.
pub(super) struct Pace {
    interval: Interval,
    a_tick: f64,
    due: f64,
}

impl Pace {
    /// The rate is above 0.
    pub(super) fn new(rate: f64) -> Self {
        let ticks = rate.min(MAX_TICKS);
        let mut interval = tokio::time::interval(Duration::from_secs_f64(1.0 / ticks));
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            interval,
            a_tick: rate / ticks,
            due: 0.0,
        }
    }

    /// Waits for the next tick; how many events it has. May be dropped while it waits.
    pub(super) async fn tick(&mut self) -> usize {
        self.interval.tick().await;
        self.due += self.a_tick;
        let mut events = 0;
        while self.due >= 1.0 {
            self.due -= 1.0;
            events += 1;
        }
        events
    }
}
