use std::time::Duration;

use chrono::{DateTime, Utc};
use engine::{Clock, Reader};
use prometheus::Registry;
use sources::generator::Progress;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::output;

/// How often the line is written anew.
const EVERY: Duration = Duration::from_secs(2);

/// Messages between two looks that count as a flood worth a line.
const FLOOD: u64 = 500;

/// Calm looks after which the tables are taken to hold the flood, when no epoch says so.
const CALM: u32 = 3;

/// Says how far a flood of messages is (the first load, or what waited while nobody read), and when the tables
/// have it.
pub(super) struct Watch {
    pub(super) metrics: Registry,
    pub(super) reader: Reader,
    pub(super) clock: Clock,
    /// What the generator said last, if there is one.
    pub(super) first_load: watch::Receiver<Option<Progress>>,
}

impl Watch {
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut flood = Flood::None;
        let mut started = Instant::now();
        let mut seen = 0;
        let mut told = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let events = total(&self.metrics, "sportlake_ingest_events_total");
            let arrived = events.saturating_sub(seen);
            seen = events;
            let loading = self.loading();
            if arrived >= FLOOD || loading.is_some() {
                if matches!(flood, Flood::None) {
                    started = Instant::now();
                }
                flood = Flood::Rising;
                output::progress(&line(events, arrived, loading, started.elapsed()));
                continue;
            }
            // A first load may be over before the first look.
            if !told && self.is_loaded() {
                told = true;
                if matches!(flood, Flood::None) {
                    flood = Flood::Rising;
                }
            }
            let newest = self.reader.latest().await.ok();
            let published = newest.as_ref().map(|manifest| manifest.now);
            flood = flood.calmer((self.clock)(), published);
            if let (Flood::Over, Some(manifest)) = (&flood, newest) {
                output::end_progress();
                info!(
                    "caught up: {events} messages in {:.0} s, tables at epoch {}",
                    started.elapsed().as_secs_f64(),
                    manifest.epoch
                );
                flood = Flood::None;
            }
        }
    }

    fn is_loaded(&self) -> bool {
        matches!(
            *self.first_load.borrow(),
            Some(Progress::BackfillComplete | Progress::Live { .. })
        )
    }

    /// Events of the first load that are published, of how many; none when it is not being played.
    fn loading(&self) -> Option<(usize, usize)> {
        match *self.first_load.borrow() {
            Some(Progress::Backfill { done, total }) => Some((done, total)),
            Some(Progress::BackfillComplete | Progress::Live { .. }) | None => None,
        }
    }
}

fn line(events: u64, arrived: u64, loading: Option<(usize, usize)>, elapsed: Duration) -> String {
    let rate = arrived / EVERY.as_secs();
    let bronze = format!("{events} messages in bronze, {rate} a second");
    match loading {
        Some((done, total)) if done > 0 => {
            format!("first load {}; {bronze}", output::bar(done, total, elapsed))
        }
        _ => bronze,
    }
}

enum Flood {
    None,
    Rising,
    /// Over in bronze since then, for so many looks; the tables may lag.
    Falling(DateTime<Utc>, u32),
    Over,
}

impl Flood {
    /// The state after one more calm look, with the newest epoch's time.
    fn calmer(self, now: DateTime<Utc>, epoch: Option<DateTime<Utc>>) -> Self {
        match self {
            Self::Rising => Self::Falling(now, 0),
            Self::Falling(since, looks) => {
                let published = epoch.is_some_and(|epoch| epoch > since);
                let settled = epoch.is_some() && looks >= CALM;
                if published || settled {
                    Self::Over
                } else {
                    Self::Falling(since, looks + 1)
                }
            }
            same => same,
        }
    }
}

/// The sum of a counter over all its labels.
fn total(metrics: &Registry, name: &str) -> u64 {
    let families = metrics.gather();
    let family = families.iter().find(|family| family.name() == name);
    let counters = family.map(|family| family.get_metric()).unwrap_or_default();
    let sum: f64 = counters
        .iter()
        .map(|metric| metric.get_counter().get_value())
        .sum();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of messages"
    )]
    let sum = sum as u64;
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).expect("a time")
    }

    #[test]
    fn a_flood_is_over_with_the_first_epoch_after_it() {
        let falling = Flood::Rising.calmer(at(10), Some(at(9)));
        let still = falling.calmer(at(12), Some(at(9)));
        assert!(matches!(still, Flood::Falling(_, 1)));
        assert!(matches!(still.calmer(at(14), Some(at(11))), Flood::Over));
    }

    #[test]
    fn a_flood_without_an_epoch_is_never_over() {
        let mut flood = Flood::Rising;
        for second in 0..100 {
            flood = flood.calmer(at(second), None);
        }
        assert!(matches!(flood, Flood::Falling(..)));
    }
}
