//! The thread that polls the client, decodes, and hands full buffers to the writers.

use std::sync::Arc;
use std::time::Duration;

use changes::Topic;
use chrono::{DateTime, Utc};
use engine::bronze::Lineage;
use engine::{Clock, Error, ErrorKind, Result};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::budget::Budget;
use crate::buffer::{FlushPolicy, TopicBuffer};
use crate::client::Client;
use crate::progress::Progress;
use crate::rows::{Message, MessageHeaders};
use crate::topics::cure;
use crate::writer::Flush;

/// Longest wait for a message, hence the delay until a new assignment or the end is noticed.
const IDLE: Duration = Duration::from_millis(100);

/// Wait before a due buffer is offered again to a writer that is busy.
const BUSY: Duration = Duration::from_millis(10);

/// Messages, and their bytes, taken in one go: one reading of the clock, one look at the limits.
const BURST_MESSAGES: usize = 512;
const BURST_BYTES: usize = 1 << 20;

#[derive(Default)]
struct Burst {
    messages: usize,
    bytes: usize,
}

impl Burst {
    fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes;
    }

    fn is_over(&self) -> bool {
        self.messages >= BURST_MESSAGES || self.bytes >= BURST_BYTES
    }
}

/// A partition to read from now on.
pub(crate) struct Assignment {
    pub(crate) topic: Topic,
    pub(crate) partition: i32,
    /// What the table holds.
    pub(crate) stored: Option<i64>,
    /// Where reading starts.
    pub(crate) start: i64,
    /// What the partition had seen of its source as of what the table holds.
    pub(crate) lineage: Lineage,
    /// The cluster that it is read from.
    pub(crate) cluster: Option<i64>,
    /// The table's writer; given with the first partition of a topic.
    pub(crate) writer: Option<mpsc::Sender<Flush>>,
}

pub(crate) struct Reader {
    setting: Setting,
    routes: Vec<Route>,
    /// The route of the last message: messages of a partition arrive in runs.
    last: usize,
    connected: bool,
    /// Whether it was said that a topic may not be read.
    refused: bool,
    at_end: bool,
}

struct Route {
    buffer: TopicBuffer,
    writer: mpsc::Sender<Flush>,
}

/// What a reader needs from outside.
pub(crate) struct Setting {
    pub(crate) client: Arc<Client>,
    pub(crate) assignments: mpsc::Receiver<Vec<Assignment>>,
    pub(crate) policy: FlushPolicy,
    pub(crate) budget: Budget,
    pub(crate) progress: Progress,
    pub(crate) clock: Clock,
    pub(crate) stop: CancellationToken,
}

impl Reader {
    pub(crate) fn new(setting: Setting) -> Self {
        Self {
            setting,
            routes: Vec::new(),
            last: 0,
            connected: true,
            refused: false,
            at_end: false,
        }
    }

    /// Reads until told to stop, then hands over what is left. Blocks the calling thread.
    pub(crate) fn run(mut self) -> Result<()> {
        let outcome = self.read();
        let handed_over = self.hand_over_all();
        outcome.and(handed_over)
    }

    fn read(&mut self) -> Result<()> {
        let client = Arc::clone(&self.setting.client);
        while !self.setting.stop.is_cancelled() {
            self.take_assignments()?;
            report_group_offsets(&client, &self.setting.progress);
            self.respect_budget()?;
            let mut next = client.poll(self.patience());
            let now = (self.setting.clock)();
            let mut burst = Burst::default();
            while let Some(polled) = next.take() {
                match polled {
                    Ok(message) => burst.add(self.take(&message, now)?),
                    Err(error) => self.judge(error)?,
                }
                if !burst.is_over() {
                    next = client.poll(Duration::ZERO);
                }
            }
            self.follow_position()?;
            self.hand_over_due()?;
        }
        Ok(())
    }

    fn take_assignments(&mut self) -> Result<()> {
        while let Ok(assignments) = self.setting.assignments.try_recv() {
            let mut list = TopicPartitionList::new();
            for assignment in assignments {
                list.add_partition_offset(
                    assignment.topic.as_str(),
                    assignment.partition,
                    Offset::Offset(assignment.start),
                )
                .map_err(assign_failed)?;
                self.begin(assignment);
            }
            self.setting
                .client
                .incremental_assign(&list)
                .map_err(assign_failed)?;
        }
        Ok(())
    }

    fn begin(&mut self, assignment: Assignment) {
        let known = self.route(assignment.topic.as_str());
        let index = match (known, assignment.writer) {
            (Some(index), _) => index,
            (None, Some(writer)) => {
                let buffer = TopicBuffer::new(assignment.topic, self.setting.policy);
                self.routes.push(Route { buffer, writer });
                self.routes.len() - 1
            }
            (None, None) => return,
        };
        self.routes[index].buffer.begin(
            assignment.partition,
            assignment.stored,
            assignment.start,
            assignment.lineage,
            assignment.cluster,
        );
    }

    fn route(&mut self, topic: &str) -> Option<usize> {
        let is_it = |route: &Route| route.buffer.topic().as_str() == topic;
        if !self.routes.get(self.last).is_some_and(is_it) {
            self.last = self.routes.iter().position(is_it)?;
        }
        Some(self.last)
    }

    /// Buffers one message; its weight.
    fn take(&mut self, message: &BorrowedMessage<'_>, now: DateTime<Utc>) -> Result<usize> {
        self.noticed_connection(true, None);
        let Some(index) = self.route(message.topic()) else {
            return Ok(0);
        };
        let buffer = &mut self.routes[index].buffer;
        let message = Message {
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis(),
            key: message.key(),
            value: message.payload(),
            headers: message
                .headers()
                .map(MessageHeaders::read)
                .unwrap_or_default(),
        };
        buffer.push(&message, now)?;
        if buffer.is_full() {
            self.hand_over(index)?;
        }
        Ok(message.weight())
    }

    /// Time until a buffer is due, as far as one may sleep.
    fn patience(&self) -> Duration {
        let due = self
            .routes
            .iter()
            .filter_map(|route| {
                let due = route.buffer.due_in()?;
                Some(if route.is_busy() { due.max(BUSY) } else { due })
            })
            .min();
        due.map_or(IDLE, |due| due.min(IDLE))
    }

    fn hand_over_due(&mut self) -> Result<()> {
        for index in 0..self.routes.len() {
            let route = &self.routes[index];
            if route.buffer.due_in() == Some(Duration::ZERO) && !route.is_busy() {
                self.hand_over(index)?;
            }
        }
        Ok(())
    }

    /// Gives a buffer to its writer, waiting for room when the writer is busy.
    fn hand_over(&mut self, index: usize) -> Result<()> {
        let route = &mut self.routes[index];
        let Some(cut) = route.buffer.cut()? else {
            return Ok(());
        };
        let reserved = self.setting.budget.reserve(cut.bytes);
        // A writer that is gone has failed, and its error is the one that counts.
        let flush = Flush {
            cut,
            reserved,
            committed: None,
        };
        if route.writer.blocking_send(flush).is_err() {
            self.setting.stop.cancel();
        }
        Ok(())
    }

    fn hand_over_all(&mut self) -> Result<()> {
        (0..self.routes.len()).try_for_each(|index| self.hand_over(index))
    }

    /// Reads nothing more while too much is held in memory.
    fn respect_budget(&mut self) -> Result<()> {
        let pending: usize = self.routes.iter().map(|route| route.buffer.bytes()).sum();
        while !self.setting.budget.allows(pending) && !self.setting.stop.is_cancelled() {
            if self.setting.budget.is_unused() {
                return self.hand_over_all();
            }
            self.setting.budget.wait(pending, IDLE);
        }
        Ok(())
    }

    /// Which client errors end ingest; the client itself reconnects and retries.
    fn judge(&mut self, error: KafkaError) -> Result<()> {
        match error {
            KafkaError::PartitionEOF(_) => {
                self.at_end = true;
                Ok(())
            }
            KafkaError::MessageConsumption(
                RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
            ) => Err(self.out_of_range(error)),
            KafkaError::MessageConsumption(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                self.noticed_refusal(&error);
                Ok(())
            }
            KafkaError::MessageConsumptionFatal(_) => Err(Error::new(
                ErrorKind::Unavailable,
                "the Kafka client failed for good",
            )
            .caused_by(error)),
            other => {
                self.noticed_connection(false, Some(&other));
                Ok(())
            }
        }
    }

    /// The client does not say which partition it was: the hint names the topics that are read.
    fn out_of_range(&self, error: KafkaError) -> Error {
        let message = "the messages that come next are gone from their topic";
        let wrapped = Error::new(ErrorKind::Corrupt, message).caused_by(error);
        match self.routes.as_slice() {
            [only] => wrapped.hint(cure(only.buffer.topic())),
            _ => wrapped
                .hint("Start again: the start names the topic and the command that cures it."),
        }
    }

    /// Says once that a topic may not be read. The client does not say which one.
    fn noticed_refusal(&mut self, error: &KafkaError) {
        if std::mem::replace(&mut self.refused, true) {
            return;
        }
        let topics: Vec<&str> = self
            .routes
            .iter()
            .map(|route| route.buffer.topic().as_str())
            .collect();
        warn!(
            %error,
            topics = topics.join(", "),
            hint = "Let the user of [kafka] Read them: kafka-acls --add --allow-principal User:.. --operation Read --topic ..",
            "the brokers do not let this client read one of the topics"
        );
    }

    /// Says once that the client is in trouble, and once that messages arrive again.
    fn noticed_connection(&mut self, connected: bool, error: Option<&KafkaError>) {
        if self.connected == connected {
            return;
        }
        self.connected = connected;
        match error {
            Some(error) => warn!(%error, "reading is interrupted: it goes on by itself"),
            None => info!("reading goes on"),
        }
    }

    /// At the end of a partition the client may have passed offsets that hold no message.
    fn follow_position(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.at_end) {
            return Ok(());
        }
        let positions = self.setting.client.position().map_err(|error| {
            Error::new(ErrorKind::Internal, "the client does not know its position")
                .caused_by(error)
        })?;
        for element in positions.elements() {
            if let (Offset::Offset(next), Some(index)) =
                (element.offset(), self.route(element.topic()))
            {
                self.routes[index].buffer.advance(element.partition(), next);
            }
        }
        Ok(())
    }
}

impl Route {
    fn is_busy(&self) -> bool {
        self.writer.capacity() == 0
    }
}

/// Moves the group's offsets, which only lag displays read: failing is harmless.
pub(crate) fn report_group_offsets(consumer: &BaseConsumer, progress: &Progress) {
    let moved = progress.take_unreported();
    if moved.is_empty() {
        return;
    }
    let mut list = TopicPartitionList::new();
    for (topic, partition, next) in moved {
        let added = list.add_partition_offset(topic.as_str(), partition, Offset::Offset(next));
        if added.is_err() {
            return;
        }
    }
    drop(consumer.commit(&list, CommitMode::Async));
}

fn assign_failed(error: KafkaError) -> Error {
    Error::new(
        ErrorKind::Internal,
        "could not assign partitions to the client",
    )
    .caused_by(error)
}
