//! One message on its way: called until it is posted, refused for good, or no news any more.

use std::time::Duration;

use changes::{Clock, Error, Result};
use chrono::TimeDelta;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info, warn};

use crate::config::NotifyConfig;
use crate::journal::{Dead, Entry, Intent};
use crate::metrics;
use crate::run::Show;
use crate::slack::{Slack, Verdict};
use crate::standing::Standing;
use crate::store::Store;
use crate::teller::Message;
use crate::traces;

/// Longest pause after a failed call that named none.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Longest pause while Slack refuses every message: whoever acts is noticed within it.
const LONGEST_REFUSED: Duration = Duration::from_secs(600);

/// Shortest and longest pause that Slack may ask for.
const SHORTEST_ASKED: Duration = Duration::from_secs(1);
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The message is done with.
    Done,
    /// Told to stop before it was.
    Stopped,
    /// It is not posted: what is still news of it may be told anew after the pause.
    Again(Duration),
}

pub(crate) struct Courier {
    way: Way,
    clock: Clock,
    rng: SmallRng,
    first_pause: Duration,
    max_age: TimeDelta,
    unfinished: bool,
    /// What somebody has to act on is waited for, and told here; without one it ends the notifier.
    standing: Option<Standing>,
    /// Calls that were refused since the last message that was taken.
    refusals: u32,
    /// Calls that failed since the last message that was done with.
    failures: u32,
}

enum Way {
    Slack(Box<Slack>, Store),
    Shown(Show),
}

impl Courier {
    pub(crate) fn posting(
        slack: Slack,
        store: Store,
        config: &NotifyConfig,
        clock: &Clock,
        standing: Option<Standing>,
    ) -> Self {
        Self {
            standing,
            ..Self::new(Way::Slack(Box::new(slack), store), config, clock)
        }
    }

    pub(crate) fn showing(show: Show, config: &NotifyConfig, clock: &Clock) -> Self {
        Self::new(Way::Shown(show), config, clock)
    }

    fn new(way: Way, config: &NotifyConfig, clock: &Clock) -> Self {
        let seed = clock().timestamp_micros().cast_unsigned();
        Self {
            way,
            clock: clock.clone(),
            rng: SmallRng::seed_from_u64(seed ^ u64::from(std::process::id())),
            first_pause: Duration::from_millis(config.retry_ms),
            max_age: config.max_age(),
            unfinished: false,
            standing: None,
            refusals: 0,
            failures: 0,
        }
    }

    /// Whether the last message is not done with: what comes after it is not either.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.unfinished
    }

    pub(crate) async fn store(&self, entry: Entry) -> Result<()> {
        match &self.way {
            Way::Slack(_, store) => store.store(entry).await,
            Way::Shown(_) => Ok(()),
        }
    }

    /// Sees a stored intent through, as long as it may have been posted.
    pub(crate) async fn deliver(
        &mut self,
        intent: &Intent,
        shutdown: &CancellationToken,
    ) -> Result<Outcome> {
        self.unfinished = true;
        loop {
            match self.call(intent).await? {
                Verdict::Posted => {
                    let again = self.taken();
                    self.finish(Entry::Told).await?;
                    debug!(activities = intent.ids.len(), "posted");
                    metrics::observe_message(intent.ids.len());
                    if again {
                        info!("Slack takes messages again");
                    }
                    return Ok(Outcome::Done);
                }
                Verdict::Dead(code) => {
                    warn!(ids = ?intent.ids, "Slack will never take a message: \"{code}\". It is kept among the dead");
                    metrics::observe_dead();
                    self.taken();
                    let dead = Dead {
                        ids: intent.ids.clone(),
                        error: code,
                        at: (self.clock)(),
                    };
                    self.finish(Entry::Dead(dead)).await?;
                    return Ok(Outcome::Done);
                }
                Verdict::Stop(refusal) => {
                    metrics::observe_stopped();
                    self.store(Entry::Withdrawn).await?;
                    return Ok(Outcome::Again(self.refused(refusal.error())?));
                }
                Verdict::Retry {
                    reason,
                    after,
                    posted,
                } => {
                    metrics::observe_retry(reason);
                    let pause = self.pause(self.failures, after);
                    if self.failures == 0 {
                        warn!(
                            reason,
                            seconds = pause.as_secs_f32(),
                            "a call of Slack failed: it is made again"
                        );
                    }
                    self.failures = self.failures.saturating_add(1);
                    if !posted {
                        // Known as not posted, whatever happens until the next call.
                        self.store(Entry::Withdrawn).await?;
                        return Ok(Outcome::Again(pause));
                    }
                    if !waited(pause, shutdown).await {
                        return Ok(Outcome::Stopped);
                    }
                    if self.is_old(intent) {
                        self.store(Entry::Withdrawn).await?;
                        return Ok(Outcome::Again(Duration::ZERO));
                    }
                }
            }
        }
    }

    /// Whether something of it is no news any more.
    pub(crate) fn is_old(&self, intent: &Intent) -> bool {
        intent
            .oldest
            .is_some_and(|at| (self.clock)() - at > self.max_age)
    }

    /// How long to wait for somebody to act, which is asked for once; the error itself where nobody waits.
    fn refused(&mut self, refusal: Error) -> Result<Duration> {
        let Some(standing) = &self.standing else {
            return Err(refusal);
        };
        if standing.begins(&refusal.to_string()) {
            let hint = refusal.hint_text().unwrap_or_default();
            error!("nothing is told until somebody acts: {refusal}. {hint}");
        }
        let pause = self.doubled(self.refusals, LONGEST_REFUSED);
        self.refusals = self.refusals.saturating_add(1);
        Ok(pause)
    }

    /// Whether Slack took nothing before.
    fn taken(&mut self) -> bool {
        let failed = std::mem::take(&mut self.failures) > 0;
        self.refusals = 0;
        self.standing.as_ref().is_some_and(Standing::ends) || failed
    }

    pub(crate) async fn finish(&mut self, entry: Entry) -> Result<()> {
        self.store(entry).await?;
        (self.unfinished, self.failures) = (false, 0);
        Ok(())
    }

    async fn call(&mut self, intent: &Intent) -> Result<Verdict, Error> {
        match &mut self.way {
            Way::Slack(slack, _) => {
                let span = traces::call(intent.ids.len());
                let verdict = slack.post(&intent.text).instrument(span.clone()).await;
                traces::answered(&span, &verdict);
                Ok(verdict)
            }
            Way::Shown(show) => {
                let message = Message {
                    text: intent.text.clone(),
                    ids: intent.ids.clone(),
                };
                show(&message)?;
                Ok(Verdict::Posted)
            }
        }
    }

    /// As long as Slack asks for, or twice as long as the last time; never two notifiers at the same moment.
    fn pause(&mut self, failures: u32, asked: Option<Duration>) -> Duration {
        let pause = match asked {
            // Some ask for no pause at all.
            Some(asked) => asked.clamp(SHORTEST_ASKED, LONGEST_ASKED),
            None => self.doubled(failures, LONGEST_PAUSE),
        };
        let jitter = self.rng.random_range(0.0..0.25);
        pause + self.first_pause.min(pause).mul_f64(jitter)
    }

    fn doubled(&self, failures: u32, longest: Duration) -> Duration {
        let doubled = self.first_pause.saturating_mul(1 << failures.min(16));
        doubled.min(longest)
    }
}

/// Whether the pause came to its end.
pub(crate) async fn waited(pause: Duration, shutdown: &CancellationToken) -> bool {
    tokio::select! {
        () = shutdown.cancelled() => false,
        () = tokio::time::sleep(pause) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn courier(max_age_seconds: u64) -> Courier {
        let config = NotifyConfig {
            max_age_seconds,
            retry_ms: 10,
            ..NotifyConfig::default()
        };
        let clock: Clock = std::sync::Arc::new(|| chrono::DateTime::UNIX_EPOCH);
        Courier::showing(Box::new(|_| Ok(())), &config, &clock)
    }

    #[test]
    fn who_asks_for_no_pause_is_left_a_second_and_who_asks_for_days_an_hour() {
        let mut courier = courier(1);
        for (asked, least) in [
            (Duration::ZERO, 1),
            (Duration::from_secs(30), 30),
            (Duration::MAX, 3600),
        ] {
            let pause = courier.pause(0, Some(asked));
            let (least, most) = (Duration::from_secs(least), Duration::from_secs(least + 1));
            assert!((least..most).contains(&pause), "{pause:?}");
        }
        assert!(courier.pause(u32::MAX, None) < Duration::from_secs(61));
    }

    #[test]
    fn a_refusal_is_waited_for_longer_and_longer_and_told_until_a_message_is_taken() {
        let refusal = || Error::new(changes::ErrorKind::NotFound, "no channel");
        let mut courier = courier(1);
        assert!(courier.refused(refusal()).is_err(), "nobody waits");
        let standing = Standing::default();
        courier.standing = Some(standing.clone());
        let mut last = Duration::ZERO;
        for _ in 0..100 {
            let pause = courier.refused(refusal()).expect("waited for");
            assert!(pause == (last * 2).clamp(courier.first_pause, LONGEST_REFUSED));
            last = pause;
        }
        assert_eq!(last, LONGEST_REFUSED);
        assert_eq!(standing.trouble().as_deref(), Some("no channel"));
        assert!(!standing.begins("no channel") && standing.begins("no token"));
        assert!(courier.taken() && !courier.taken());
        assert_eq!(standing.trouble(), None);
        assert_eq!(courier.refused(refusal()).ok(), Some(courier.first_pause));
    }

    #[test]
    fn an_age_beyond_any_clock_is_no_limit() {
        for age in [u64::MAX, i64::MAX.cast_unsigned(), 1 << 54] {
            assert_eq!(courier(age).max_age, TimeDelta::MAX, "{age}");
        }
    }
}
