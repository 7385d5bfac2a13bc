use std::time::{Duration, Instant};

use changes::{ChangeEvent, Clock, Error, ErrorKind, KafkaConfig, Op, Result};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::activity::{Activity, event};
use super::backfill::{Stamp, Step, steps};
use super::config::GeneratorConfig;
use super::live::Live;
use super::pace::Pace;
use super::resume::{HEADER, Loaded, Mark, Phase, Start, Tail};
use super::roster::Roster;
use crate::lsn::LsnAllocator;
use crate::publisher::Publisher;
use crate::topics::SourceTopic;

/// Steps of the first load between two acknowledgements.
pub(super) const BATCH: usize = 500;
/// How old the knowledge of who works here may be.
pub(super) const ROSTER_AGE: Duration = Duration::from_secs(60);
/// How long a shutdown waits for the broker.
const GRACE: Duration = Duration::from_secs(2);

/// How far the generator is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Events of the first load published, of how many.
    Backfill { done: usize, total: usize },
    /// The first load is complete.
    BackfillComplete,
    /// Live events published since the start.
    Live { published: u64 },
}

/// What the generator published before it stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GeneratorReport {
    /// Events of the first load, without those of earlier starts.
    pub backfill: usize,
    pub live: u64,
    /// Whether the first load is complete.
    pub complete: bool,
}

/// Plays the first load when the topic lacks it, then live events until the shutdown.
///
/// Returns once the first load is complete when the rate is 0. The topics must exist: see [`crate::topics::ensure`].
pub async fn run(
    kafka: &KafkaConfig,
    allocator: &LsnAllocator,
    config: GeneratorConfig,
    clock: Clock,
    shutdown: CancellationToken,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<GeneratorReport> {
    config.validate()?;
    let generator = Generator {
        publisher: Publisher::connect(kafka)?,
        kafka: kafka.clone(),
        allocator: allocator.clone(),
        topic: SourceTopic::sport_activities(kafka)?,
        config,
        clock,
        shutdown: shutdown.clone(),
        progress,
    };
    let out_of_patience = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        report = generator.play() => report,
        () = out_of_patience => {
            let message = "the broker did not acknowledge the generator's last events in time";
            Err(Error::new(ErrorKind::Cancelled, message))
        }
    }
}

struct Generator<P> {
    kafka: KafkaConfig,
    allocator: LsnAllocator,
    publisher: Publisher,
    topic: SourceTopic,
    config: GeneratorConfig,
    clock: Clock,
    shutdown: CancellationToken,
    progress: P,
}

impl<P: Fn(Progress) + Send + Sync> Generator<P> {
    async fn play(&self) -> Result<GeneratorReport> {
        let roster = Roster::read(&self.kafka, self.config.seed).await?;
        let tail = Tail::read(&self.kafka, &self.topic).await?;
        self.allocator.rise_above(tail.last_lsn()).await?;
        let mut report = GeneratorReport::default();
        let live = match tail.start() {
            Start::Live { next_id } => Live::new(self.config.seed, next_id, tail.activities()),
            start => match self.backfill(start, &roster, &mut report).await? {
                Some(live) => live,
                None => return Ok(report),
            },
        };
        report.complete = true;
        (self.progress)(Progress::BackfillComplete);
        self.live(live, roster, &mut report).await?;
        Ok(report)
    }

    /// Publishes the rest of the first load; `None` when the shutdown came before its end.
    async fn backfill(
        &self,
        start: Start,
        roster: &Roster,
        report: &mut GeneratorReport,
    ) -> Result<Option<Live>> {
        let loaded = match &start {
            Start::Continue { .. } => Loaded::read(&self.kafka, &self.topic).await?,
            Start::Fresh { .. } | Start::Live { .. } => Loaded::default(),
        };
        let stamp = self.stamp(start, &loaded, roster);
        let steps = steps(&stamp, roster);
        let next_id = next_id(&stamp, &steps);
        info!(
            steps = steps.len(),
            days = stamp.days,
            "playing the first load"
        );
        let mark = Mark {
            phase: Phase::Backfill,
            next_id,
            stamp: Some(stamp),
        };
        let mut done = 0;
        for batch in steps.chunks(BATCH) {
            if self.shutdown.is_cancelled() {
                return Ok(None);
            }
            let missing: Vec<_> = batch
                .iter()
                .filter(|step| !step.is_in(&loaded))
                .map(|step| (step.before.clone(), step.after.clone()))
                .collect();
            report.backfill += missing.len();
            self.publish(missing, &mark).await?;
            done += batch.len();
            (self.progress)(Progress::Backfill {
                done,
                total: steps.len(),
            });
        }
        let complete = Activity::backfill_complete(next_id, (self.clock)());
        let mark = Mark {
            phase: Phase::Live,
            next_id: next_id + 1,
            stamp: None,
        };
        self.publish(vec![(None, Some(complete))], &mark).await?;
        Ok(Some(Live::new(self.config.seed, next_id + 1, Vec::new())))
    }

    /// What decides the load: that of the load cut off, as long as the roster is the same.
    fn stamp(&self, start: Start, loaded: &Loaded, roster: &Roster) -> Stamp {
        let fresh = |first_id| Stamp {
            seed: self.config.seed,
            days: self.config.days,
            until: (self.clock)(),
            first_id,
            roster: roster.fingerprint,
            after: None,
        };
        match start {
            Start::Continue { stamp, .. } if stamp.roster == roster.fingerprint => stamp,
            // People came or went since: what is loaded stays, the time after it is played with the new roster.
            Start::Continue { stamp, next_id } => Stamp {
                first_id: next_id,
                roster: roster.fingerprint,
                after: loaded.latest_start.or(stamp.after),
                ..stamp
            },
            Start::Fresh { first_id } | Start::Live { next_id: first_id } => fresh(first_id),
        }
    }

    async fn live(
        &self,
        mut live: Live,
        mut roster: Roster,
        report: &mut GeneratorReport,
    ) -> Result<()> {
        if self.config.rate == 0.0 {
            return Ok(());
        }
        let mut pace = Pace::new(self.config.rate);
        let mut read_at = Instant::now();
        loop {
            let due = tokio::select! {
                () = self.shutdown.cancelled() => return Ok(()),
                due = pace.tick() => due,
            };
            if read_at.elapsed() > ROSTER_AGE {
                match Roster::read(&self.kafka, self.config.seed).await {
                    Ok(newer) => roster = newer,
                    Err(error) => warn!(error = %error, "the employees could not be read again"),
                }
                read_at = Instant::now();
            }
            let changes: Vec<_> = (0..due)
                .filter_map(|_| live.next(&roster, (self.clock)()))
                .collect();
            report.live += changes.len() as u64;
            let mark = Mark {
                phase: Phase::Live,
                next_id: live.next_id(),
                stamp: None,
            };
            self.publish(changes, &mark).await?;
            (self.progress)(Progress::Live {
                published: report.live,
            });
        }
    }

    async fn publish(
        &self,
        changes: Vec<(Option<Activity>, Option<Activity>)>,
        mark: &Mark,
    ) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let count = u32::try_from(changes.len()).unwrap_or(u32::MAX);
        let first_lsn = self.allocator.reserve(count).await?;
        let now = (self.clock)();
        let events: Vec<ChangeEvent> = changes
            .iter()
            .zip(first_lsn..)
            .filter_map(|((before, after), lsn)| event(before.as_ref(), after.as_ref(), lsn, now))
            .collect();
        let mark = mark.text();
        let header = Some((HEADER, mark.as_str()));
        self.publisher.publish(&self.topic, &events, header).await
    }
}

impl Step {
    fn is_in(&self, loaded: &Loaded) -> bool {
        let op = match (&self.before, &self.after) {
            (None, _) => Op::Create,
            (Some(_), Some(_)) => Op::Update,
            (Some(_), None) => Op::Delete,
        };
        let row = self.after.as_ref().or(self.before.as_ref());
        row.is_some_and(|row| loaded.contains(row.id, op))
    }
}

/// The first id that the load does not give.
pub(super) fn next_id(stamp: &Stamp, steps: &[Step]) -> i64 {
    let ids = steps.iter().filter_map(|step| step.after.as_ref());
    ids.map(|activity| activity.id + 1)
        .fold(stamp.first_id, i64::max)
}
