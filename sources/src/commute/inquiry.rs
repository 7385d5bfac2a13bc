//! Asks a provider, as often as it takes and no longer.

use std::time::Duration;

use changes::{Error, ErrorKind};
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use super::QUOTA;
use super::cache::Said;
use super::config::CommuteConfig;
use super::estimate::{Position, great_circle_m};
use super::provider::{Failure, Profile, Provider, quota_gone};

/// Longest pause after a failed call that named none, and longest that is waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_ASKED: Duration = Duration::from_secs(120);

/// Limits are by the minute: the pause at one that names none, in first pauses.
const WINDOW: u32 = 60;

/// Until when nobody asks: a provider's limit is of all calls together.
#[derive(Default)]
pub(super) struct Limit(Mutex<Option<Instant>>);

impl Limit {
    fn holds_until(&self, until: Instant) {
        let mut known = self.0.lock();
        *known = known.max(Some(until));
    }

    /// Whether it had to be waited for.
    async fn over(&self) -> bool {
        let mut waited = false;
        loop {
            let until = *self.0.lock();
            match until.filter(|until| *until > Instant::now()) {
                Some(until) => tokio::time::sleep_until(until).await,
                None => return waited,
            }
            waited = true;
        }
    }
}

/// An address and a mode that nobody has asked about.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    pub(super) key: String,
    pub(super) address: String,
    pub(super) profile: Profile,
    /// The middle of its commune.
    pub(super) commune: Position,
}

/// What became of a question.
pub(super) enum Outcome {
    Said(Said),
    /// No answer, this time.
    None(&'static str),
    /// The provider does not take this question.
    Refused(&'static str),
    /// No question will be answered until somebody acts.
    Lasting(Error),
}

pub(super) async fn ask(
    provider: &Provider,
    config: &CommuteConfig,
    question: &Question,
    limit: &Limit,
    mut rng: SmallRng,
) -> Outcome {
    let mut failures = 0;
    loop {
        if limit.over().await {
            let first = Duration::from_millis(config.retry_ms);
            tokio::time::sleep(first.mul_f64(rng.random_range(0.0..0.25))).await;
        }
        match provider.measure(&question.address, question.profile).await {
            Ok(way) => {
                return Outcome::Said(Said {
                    metres: Some(way.metres.round()),
                    away_m: way
                        .from
                        .map(|from| great_circle_m(from, question.commune).round()),
                    flag: None,
                });
            }
            Err(Failure::Flagged(flag)) => {
                return Outcome::Said(Said {
                    metres: None,
                    away_m: None,
                    flag: Some(flag),
                });
            }
            Err(Failure::Refused(reason)) => return Outcome::Refused(reason),
            Err(Failure::Lasting(error)) => return Outcome::Lasting(error),
            Err(Failure::Passing(asked, reason)) => {
                failures += 1;
                if failures >= config.attempts {
                    return match reason {
                        QUOTA => Outcome::Lasting(quota_gone(config.provider.as_str())),
                        reason => Outcome::None(reason),
                    };
                }
                let asked = asked.or((reason == QUOTA).then(|| window(config)));
                let pause = pause(config, failures, asked, &mut rng);
                if reason == QUOTA {
                    limit.holds_until(Instant::now() + pause);
                }
                tokio::time::sleep(pause).await;
            }
        }
    }
}

fn window(config: &CommuteConfig) -> Duration {
    let first = Duration::from_millis(config.retry_ms);
    first.saturating_mul(WINDOW).min(LONGEST_PAUSE)
}

/// As long as the provider asks for, or twice as long as the last time; never all calls at the same moment.
fn pause(
    config: &CommuteConfig,
    failures: u32,
    asked: Option<Duration>,
    rng: &mut SmallRng,
) -> Duration {
    let first = Duration::from_millis(config.retry_ms);
    let pause = match asked {
        // Some ask for no pause at all.
        Some(asked) => asked.clamp(first.min(LONGEST_ASKED), LONGEST_ASKED),
        None => first
            .saturating_mul(1 << (failures - 1).min(16))
            .min(LONGEST_PAUSE),
    };
    pause + first.min(pause).mul_f64(rng.random_range(0.0..0.25))
}

/// Of a provider that answers nobody.
pub(super) fn silent(provider: &str, reason: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("{provider} does not answer: {reason}"),
    )
    .hint("What was measured is kept. Run it again later; the provider's status page may say more.")
}

/// Of a provider that takes no question, whosever it is.
pub(super) fn refusing(provider: &str, reason: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("{provider} takes no question: {reason}"),
    )
    .hint("What was measured is kept. Check the provider's address in the section [commute], and its status page.")
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn pauses(failures: u32, asked: Option<Duration>) -> Vec<Duration> {
        let config = CommuteConfig::default();
        let pause = |seed| {
            let mut rng = SmallRng::seed_from_u64(seed);
            pause(&config, failures, asked, &mut rng)
        };
        (0..100).map(pause).collect()
    }

    #[test]
    fn pauses_double_within_bounds_and_no_two_callers_come_back_together() {
        let seconds = Duration::from_secs;
        for (failures, asked, least) in [
            (1, None, seconds(1)),
            (2, None, seconds(2)),
            (6, None, seconds(32)),
            (7, None, LONGEST_PAUSE),
            (u32::MAX, None, LONGEST_PAUSE),
            // What the provider asks for goes before, within reason.
            (1, Some(Duration::ZERO), seconds(1)),
            (5, Some(seconds(30)), seconds(30)),
            (1, Some(Duration::MAX), LONGEST_ASKED),
        ] {
            let pauses = pauses(failures, asked);
            let bounds = least..least + Duration::from_millis(250);
            let outside = pauses.iter().find(|pause| !bounds.contains(pause));
            assert_eq!(outside, None, "{failures}, {asked:?}");
            let distinct: std::collections::BTreeSet<_> = pauses.iter().collect();
            assert!(distinct.len() > 90, "{failures}, {asked:?}: {pauses:?}");
        }
    }
}
