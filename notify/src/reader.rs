//! The threads that read: one the first names, one the activities.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use changes::{KafkaConfig, Result, Topic};
use chrono_tz::Tz;
use rdkafka::message::{BorrowedMessage, Headers, Message as _};
use tokio::sync::mpsc::Sender;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::follower::{Absent, Flow, Follower, Heard};
use crate::journal::{Mark, Positions};
use crate::names::Names;
use crate::outbox::{Step, What};
use crate::sieve::{Message, Sieve, mark_in};

const SCHEMA: &str = "public";

/// Patience with the names before the first message is told.
const NAMES_PATIENCE: Duration = Duration::from_secs(5);

/// Longest wait for the names until the end is noticed.
const GLANCE: Duration = Duration::from_millis(100);

/// What Debezium adds to the creation that a change of a key is written as.
const OLD_KEY: &str = "__debezium.oldkey";

/// Where reading begins.
pub(crate) struct Beginning {
    pub(crate) positions: Positions,
    pub(crate) mark: Option<Mark>,
    /// Whether nothing is told before the mark.
    pub(crate) awaits_mark: bool,
    pub(crate) timezone: Tz,
    /// Whether the topic of the activities is waited for.
    pub(crate) absent: Absent,
}

/// Both readers; they end by themselves when told to stop.
pub(crate) struct Readers {
    pub(crate) activities: JoinHandle<Result<()>>,
    pub(crate) names: JoinHandle<Result<()>>,
}

pub(crate) fn start(
    kafka: &KafkaConfig,
    beginning: Beginning,
    names: Names,
    steps: Sender<Step>,
    stop: &CancellationToken,
) -> Result<Readers> {
    let activities = Topic::new(&kafka.prefix, SCHEMA, "sport_activities")?;
    let employees = Topic::new(&kafka.prefix, SCHEMA, "employees")?;
    let (ready, known) = sync_channel(1);
    let (kafka_of_names, stop_names) = (kafka.clone(), stop.clone());
    let names =
        spawn_blocking(move || read_names(&kafka_of_names, employees, &names, &ready, &stop_names));
    let (kafka, stop) = (kafka.clone(), stop.clone());
    let activities = spawn_blocking(move || {
        let patience = Instant::now() + NAMES_PATIENCE;
        while !stop.is_cancelled()
            && Instant::now() < patience
            && known.recv_timeout(GLANCE) == Err(RecvTimeoutError::Timeout)
        {}
        read_activities(&kafka, activities, beginning, &steps, &stop)
    });
    Ok(Readers { activities, names })
}

fn read_names(
    kafka: &KafkaConfig,
    topic: Topic,
    names: &Names,
    ready: &SyncSender<()>,
    stop: &CancellationToken,
) -> Result<()> {
    let Some(mut follower) = Follower::open(kafka, topic, Absent::Wait, stop)? else {
        return Ok(());
    };
    follower.start(&Positions::new(), stop)?;
    follower.follow(stop, |heard| {
        match heard {
            Heard::Message(message) => names.apply(message.key(), message.payload()),
            // Only the first time is waited for.
            Heard::End => drop(ready.try_send(())),
        }
        Flow::On
    })
}

fn read_activities(
    kafka: &KafkaConfig,
    topic: Topic,
    beginning: Beginning,
    steps: &Sender<Step>,
    stop: &CancellationToken,
) -> Result<()> {
    let Some(mut follower) = Follower::open(kafka, topic, beginning.absent, stop)? else {
        return Ok(());
    };
    let mut sieve = Sieve {
        mark: beginning.mark,
        awaits_mark: beginning.awaits_mark,
        timezone: beginning.timezone,
    };
    if sieve.mark.is_none() && sieve.awaits_mark {
        // What comes after the mark in its source may stand before it in another partition.
        sieve.mark = find_mark(&mut follower, steps, stop)?;
    }
    follower.start(&beginning.positions, stop)?;
    follower.follow(stop, |heard| {
        let step = match heard {
            Heard::Message(message) => Step {
                place: Some((message.partition(), message.offset() + 1)),
                what: What::Said(sieve.judge(&read(message))),
            },
            Heard::End => Step {
                place: None,
                what: What::End,
            },
        };
        sent(steps, step)
    })
}

/// Looks through the whole topic, and then at what arrives, for the end of the first load.
fn find_mark(
    follower: &mut Follower,
    steps: &Sender<Step>,
    stop: &CancellationToken,
) -> Result<Option<Mark>> {
    let mut found = None;
    follower.start(&Positions::new(), stop)?;
    let is_cut = follower.is_cut();
    follower.follow(stop, |heard| match heard {
        Heard::Message(message) => {
            found = message.payload().and_then(mark_in);
            match found {
                Some(_) => Flow::Done,
                None => Flow::On,
            }
        }
        Heard::End => {
            if is_cut {
                warn!(
                    "nothing is told before the end of the first load, which is not there: Kafka's retention took the \
                     first messages, and may have taken it. If the load is over, set notify.backfill_marker = false"
                );
            } else {
                info!("nothing is told before the end of the first load, which is not there yet");
            }
            sent(
                steps,
                Step {
                    place: None,
                    what: What::End,
                },
            )
        }
    })?;
    Ok(found)
}

/// Nobody takes a step any more when the notifier ends.
fn sent(steps: &Sender<Step>, step: Step) -> Flow {
    match steps.blocking_send(step) {
        Ok(()) => Flow::On,
        Err(_) => Flow::Done,
    }
}

fn read<'a>(message: &'a BorrowedMessage<'_>) -> Message<'a> {
    let renames = message
        .headers()
        .is_some_and(|headers| headers.iter().any(|header| header.key == OLD_KEY));
    Message {
        key: message.key(),
        value: message.payload(),
        renames,
    }
}
