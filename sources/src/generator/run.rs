use std::time::{Duration, Instant};

use changes::{Clock, KafkaConfig, Op, Result};
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::activity::{Activity, change};
use super::backfill::{Stamp, Step, steps};
use super::config::GeneratorConfig;
use super::courier::{Courier, Mishaps};
use super::live::Live;
use super::pace::Pace;
use super::resume::{Loaded, Mark, Phase, Start, Tail};
use super::roster::Roster;
use crate::lsn::LsnAllocator;
use crate::publisher::Publisher;
use crate::topics::SourceTopic;

/// Steps of the first load between two looks at the shutdown.
pub(super) const BATCH: usize = 500;
/// Live changes drawn before they are sent, at most.
const LIVE_BATCH: usize = 5000;
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
    /// Changes of the first load, without those of earlier starts.
    pub backfill: usize,
    pub live: u64,
    /// Whether the first load is complete.
    pub complete: bool,
    /// What was written wrong.
    pub mishaps: Mishaps,
    /// Messages that Kafka acknowledged.
    pub acknowledged: u64,
    /// Messages that it did not acknowledge before the patience of a shutdown was over.
    pub unacknowledged: usize,
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
    let topic = SourceTopic::sport_activities(kafka)?;
    let publisher = Publisher::connect(kafka)?;
    let mut generator = Generator {
        courier: Courier::new(publisher, topic.clone(), config.chaos, config.seed),
        kafka: kafka.clone(),
        allocator: allocator.clone(),
        topic,
        config,
        clock,
        shutdown: shutdown.clone(),
        progress: &progress,
        report: GeneratorReport::default(),
    };
    let out_of_patience = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        played = generator.playing() => played?,
        () = out_of_patience => {}
    }
    Ok(GeneratorReport {
        mishaps: generator.courier.mishaps(),
        acknowledged: generator.courier.acknowledged(),
        unacknowledged: generator.courier.outstanding(),
        ..generator.report
    })
}

struct Generator<'a> {
    kafka: KafkaConfig,
    allocator: LsnAllocator,
    courier: Courier,
    topic: SourceTopic,
    config: GeneratorConfig,
    clock: Clock,
    shutdown: CancellationToken,
    progress: &'a (dyn Fn(Progress) + Send + Sync),
    report: GeneratorReport,
}

impl Generator<'_> {
    /// Boxed here, so that what each event takes is compiled, and optimised, with this crate.
    fn playing(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.play())
    }

    async fn play(&mut self) -> Result<()> {
        let roster = self.roster().await?;
        let tail = Tail::read(&self.kafka, &self.topic).await?;
        self.allocator.rise_above(tail.last_lsn()).await?;
        let (next_id, recent) = match tail.start() {
            Start::Live { next_id } => (next_id, tail.activities()),
            start => match self.backfill(start, &roster).await? {
                Some(next_id) => (next_id, Vec::new()),
                None => return Ok(()),
            },
        };
        self.report.complete = true;
        (self.progress)(Progress::BackfillComplete);
        let live = Live::new(self.config.seed, &self.config.chaos, next_id, recent);
        self.live(live, roster).await?;
        self.courier.settle().await
    }

    async fn roster(&self) -> Result<Roster> {
        match &self.config.employees {
            Some(workbook) => Ok(Roster::of(workbook, self.config.seed)),
            None => Roster::read(&self.kafka, self.config.seed).await,
        }
    }

    /// Publishes the rest of the first load; the next id, or `None` when the shutdown came before its end.
    async fn backfill(&mut self, start: Start, roster: &Roster) -> Result<Option<i64>> {
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
        self.courier.set_mark(&Mark {
            phase: Phase::Backfill,
            next_id,
            stamp: Some(stamp),
        });
        let mut done = 0;
        for batch in steps.chunks(BATCH) {
            if self.shutdown.is_cancelled() {
                self.courier.settle().await?;
                return Ok(None);
            }
            let missing: Vec<(Option<&Activity>, Option<&Activity>)> = batch
                .iter()
                .filter(|step| !step.is_in(&loaded))
                .map(|step| (step.before.as_ref(), step.after.as_ref()))
                .collect();
            self.publish(&missing).await?;
            self.report.backfill += missing.len();
            done += batch.len();
            (self.progress)(Progress::Backfill {
                done,
                total: steps.len(),
            });
        }
        // What is late is so within the load.
        self.courier.settle().await?;
        self.courier.set_mark(&Mark {
            phase: Phase::Live,
            next_id: next_id + 1,
            stamp: None,
        });
        let complete = Activity::backfill_complete(next_id, (self.clock)());
        self.publish(&[(None, Some(&complete))]).await?;
        self.courier.settle().await?;
        Ok(Some(next_id + 1))
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
            updates: self.config.chaos.updates,
            deletes: self.config.chaos.deletes,
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

    /// Live changes until the shutdown. They are not waited for one by one: the courier limits how many are on their way.
    async fn live(&mut self, mut live: Live, mut roster: Roster) -> Result<()> {
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
                match self.roster().await {
                    Ok(newer) => roster = newer,
                    Err(error) => warn!(error = %error, "the employees could not be read again"),
                }
                read_at = Instant::now();
            }
            let mut left = due;
            while left > 0 && !self.shutdown.is_cancelled() {
                let batch = left.min(LIVE_BATCH);
                self.tick(&mut live, &roster, batch).await?;
                left -= batch;
            }
            (self.progress)(Progress::Live {
                published: self.report.live,
            });
        }
    }

    async fn tick(&mut self, live: &mut Live, roster: &Roster, due: usize) -> Result<()> {
        let now = (self.clock)();
        let drawn: Vec<_> = (0..due).map_while(|_| live.next(roster, now)).collect();
        self.courier.set_mark(&Mark {
            phase: Phase::Live,
            next_id: live.next_id(),
            stamp: None,
        });
        let changes: Vec<_> = drawn
            .iter()
            .map(|(before, after)| (before.as_ref(), after.as_ref()))
            .collect();
        self.publish(&changes).await?;
        self.report.live += changes.len() as u64;
        Ok(())
    }

    async fn publish(&mut self, changes: &[(Option<&Activity>, Option<&Activity>)]) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let count = u32::try_from(changes.len()).unwrap_or(u32::MAX);
        let first_lsn = self.allocator.reserve(count).await?;
        let now = (self.clock)();
        for (rows, lsn) in changes.iter().zip(first_lsn..) {
            self.courier.send(change(*rows, lsn, now)).await?;
        }
        self.courier.failure()
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
