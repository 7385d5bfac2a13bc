use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use changes::{Clock, Error, ErrorKind, KafkaConfig, Result};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::config::{Destination, InDoubt, NotifyConfig};
use crate::deliver::{Courier, Outcome, waited};
use crate::follower::Absent;
use crate::journal::{Entry, Intent, Journal, Mark, Positions, peek};
use crate::metrics::{self, LeftOut};
use crate::names::Names;
use crate::opt_outs::OptOuts;
use crate::outbox::{Batch, Outbox, Rules, Step};
use crate::reader::{self, Beginning};
use crate::slack::Slack;
use crate::standing::Standing;
use crate::store::Store;
use crate::teller::Message;

/// Messages of the topic between the reader and who tells.
const STEPS: usize = 1024;

/// Time between two notes of how far reading is, while there is nothing to tell.
const NOTES: Duration = Duration::from_secs(5);

/// Shows a message of a dry run.
pub type Show = Box<dyn FnMut(&Message) -> Result<()> + Send + Sync>;

/// What becomes of the messages.
pub enum Delivery {
    /// They are posted, and remembered; whether Slack takes them can be asked.
    Slack(Destination, Standing),
    /// They are shown, and nothing is remembered.
    Shown(Show),
}

/// When to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// When told to stop.
    Stopped,
    /// When everything there is was read and told.
    End,
}

/// Tells of new activities until `shutdown`; a message on its way is seen through.
///
/// Slack and brokers that are away are waited for, and whoever has to act when Slack refuses everything (a token, a
/// channel): that is asked for once, and `Standing` says so. With `Until::End` such a refusal is an error, as in any case
/// is another process that tells from the same directory (`Conflict`).
pub async fn run(
    kafka: KafkaConfig,
    config: NotifyConfig,
    delivery: Delivery,
    timezone: &str,
    clock: Clock,
    until: Until,
    shutdown: CancellationToken,
) -> Result<()> {
    config.validate()?;
    let opt_outs = OptOuts::read(&config)?;
    let timezone = Tz::from_str(timezone).map_err(|_| {
        Error::invalid(format!("source.timezone \"{timezone}\" is not a time zone"))
            .hint("Use an IANA name, such as Europe/Paris or UTC.")
    })?;
    let (courier, state) = match delivery {
        Delivery::Slack(destination, standing) => {
            let slack = Slack::new(&config, destination)?;
            let journal = open(&config.path).await?;
            let state = journal.state().clone();
            let store = Store::new(journal);
            let standing = (until == Until::Stopped).then_some(standing);
            let courier = Courier::posting(slack, store, &config, &clock, standing);
            (courier, state)
        }
        Delivery::Shown(show) => (Courier::showing(show, &config, &clock), peek(&config.path)?),
    };
    let stop = shutdown.child_token();
    let _stop_when_dropped = stop.clone().drop_guard();
    let mut teller = Teller {
        outbox: Outbox::new(&state),
        noted: (state.positions.clone(), state.mark),
        names: Names::default(),
        opt_outs,
        courier,
        config,
        clock,
        shutdown,
    };
    if let Some(intent) = state.intent
        && teller.settle_doubt(intent).await? == Outcome::Stopped
    {
        return Ok(());
    }
    let (sender, steps) = mpsc::channel(STEPS);
    let beginning = Beginning {
        positions: teller.noted.0.clone(),
        mark: state.mark,
        awaits_mark: teller.config.backfill_marker,
        timezone,
        absent: match until {
            Until::Stopped => Absent::Wait,
            Until::End => Absent::Fail,
        },
    };
    let readers = reader::start(&kafka, beginning, teller.names.clone(), sender, &stop)?;
    let told = teller.tell(steps, readers.activities, until).await;
    stop.cancel();
    let noted = teller.note().await;
    told.and(settle(readers.names.await)).and(noted)
}

async fn open(path: &Path) -> Result<Journal> {
    let path = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || Journal::open(&path)).await;
    opened.map_err(broke_off)?
}

struct Teller {
    outbox: Outbox,
    /// What the journal says of how far reading is.
    noted: (Positions, Option<Mark>),
    names: Names,
    opt_outs: OptOuts,
    courier: Courier,
    config: NotifyConfig,
    clock: Clock,
    shutdown: CancellationToken,
}

impl Teller {
    /// A message that a process before this one may have posted, or not.
    async fn settle_doubt(&mut self, intent: Intent) -> Result<Outcome> {
        metrics::observe_in_doubt();
        let activities = intent.ids.len();
        let outcome = match self.config.in_doubt {
            InDoubt::Skip => {
                warn!(
                    activities,
                    "a message is in doubt: it may have been posted, and is not posted again"
                );
                self.courier.store(Entry::Told).await?;
                Outcome::Done
            }
            InDoubt::Repeat => {
                warn!(activities, "a message is in doubt: it is posted again");
                self.repeat(&intent).await?
            }
        };
        if outcome != Outcome::Stopped {
            self.noted.0.extend(&intent.next);
            self.outbox.settled(&intent.identities, &intent.next);
        }
        Ok(outcome)
    }

    async fn repeat(&mut self, intent: &Intent) -> Result<Outcome> {
        loop {
            let outcome = self.courier.deliver(intent, &self.shutdown).await?;
            let Outcome::Again(pause) = outcome else {
                return Ok(outcome);
            };
            if !waited(pause, &self.shutdown).await {
                return Ok(Outcome::Stopped);
            }
            if self.courier.is_old(intent) {
                metrics::observe_left_out(LeftOut::Old);
                let passed = Entry::Moved(intent.next.clone(), None);
                self.courier.finish(passed).await?;
                return Ok(Outcome::Done);
            }
            self.courier.store(Entry::Intent(intent.clone())).await?;
        }
    }

    async fn tell(
        &mut self,
        mut steps: mpsc::Receiver<Step>,
        mut reading: JoinHandle<Result<()>>,
        until: Until,
    ) -> Result<()> {
        let mut due = Instant::now();
        let mut notes = interval(NOTES);
        notes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if until == Until::End && self.outbox.is_done() {
                return Ok(());
            }
            metrics::observe_waiting(self.outbox.news());
            tokio::select! {
                () = self.shutdown.cancelled() => return Ok(()),
                step = steps.recv(), if !self.outbox.is_full() => match step {
                    Some(step) => self.outbox.push(step),
                    None => return settle((&mut reading).await),
                },
                () = sleep_until(due), if self.outbox.news() > 0 || self.courier.is_unfinished() => {
                    let called = Instant::now();
                    due = match self.tell_next(&mut steps).await? {
                        Outcome::Done => called + self.config.interval(),
                        Outcome::Again(pause) => Instant::now() + pause,
                        Outcome::Stopped => return Ok(()),
                    };
                }
                _ = notes.tick() => self.note().await?,
            }
        }
    }

    async fn tell_next(&mut self, steps: &mut mpsc::Receiver<Step>) -> Result<Outcome> {
        // What arrived meanwhile decides whether this is a digest.
        while !self.outbox.is_full()
            && let Ok(step) = steps.try_recv()
        {
            self.outbox.push(step);
        }
        let now = (self.clock)();
        let oldest = now
            .checked_sub_signed(self.config.max_age())
            .unwrap_or(DateTime::<Utc>::MIN_UTC);
        self.opt_outs.refresh(&self.config);
        // The mark must be known before what rests on it.
        let mark = self.outbox.standing().1;
        if mark != self.noted.1 {
            self.noted.1 = mark;
            let noted = Entry::Moved(self.noted.0.clone(), mark);
            self.courier.store(noted).await?;
        }
        let rules = Rules {
            oldest,
            opted_out: self.opt_outs.ids(),
            names: &self.names,
        };
        let Some(batch) = self.outbox.next(&rules) else {
            if self.courier.is_unfinished() {
                // Nothing of the last message is news any more.
                let (positions, mark) = self.outbox.standing();
                self.noted = (positions.clone(), mark);
                let passed = Entry::Moved(positions.clone(), mark);
                self.courier.finish(passed).await?;
            }
            return Ok(Outcome::Done);
        };
        self.post(batch).await
    }

    async fn post(&mut self, batch: Batch) -> Result<Outcome> {
        if !self.courier.is_unfinished() {
            let now = (self.clock)();
            for committed in batch.news.iter().filter_map(|news| news.committed) {
                metrics::observe_call((now - committed).as_seconds_f64());
            }
        }
        let intent = Intent {
            text: batch.message.text,
            ids: batch.message.ids,
            identities: batch.identities,
            next: batch.next,
            oldest: batch.oldest,
        };
        self.courier.store(Entry::Intent(intent.clone())).await?;
        let outcome = self.courier.deliver(&intent, &self.shutdown).await?;
        match outcome {
            Outcome::Done => self.noted.0.extend(intent.next),
            Outcome::Again(_) => self.outbox.put_back(batch.news),
            Outcome::Stopped => {}
        }
        Ok(outcome)
    }

    /// Keeps how far reading is, so that a restart need not read it again.
    async fn note(&mut self) -> Result<()> {
        let (positions, mark) = self.outbox.standing();
        // What a message that is not posted stands before is not done with.
        if self.courier.is_unfinished() || (positions, mark) == (&self.noted.0, self.noted.1) {
            return Ok(());
        }
        self.noted = (positions.clone(), mark);
        let (positions, mark) = self.noted.clone();
        self.courier.store(Entry::Moved(positions, mark)).await
    }
}

fn settle(ended: Result<Result<()>, JoinError>) -> Result<()> {
    match ended {
        Ok(result) => result,
        Err(error) => Err(broke_off(error)),
    }
}

fn broke_off(error: JoinError) -> Error {
    Error::new(ErrorKind::Internal, "a part of the notifier broke off").caused_by(error)
}
