//! Reads change topics back: the sources keep no state of their own beside them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use changes::{Envelope, Error, ErrorKind, KafkaConfig, Op, Purpose, Result, diagnose};
use rdkafka::Message;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::Offset;
use rdkafka::types::RDKafkaRespErr;
use serde_json::{Map, Value};

use crate::topics::SourceTopic;

/// How long a broker may stay silent.
const PATIENCE: Duration = Duration::from_secs(30);
/// Rows kept in memory, at most.
const MAX_ROWS: usize = 1_000_000;
/// Bytes of rows kept in memory, at most.
const MAX_BYTES: usize = 256 * 1024 * 1024;

pub(crate) type Row = Map<String, Value>;

/// Where in each partition reading starts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum From {
    Beginning,
    /// That many offsets before the end.
    Last(i64),
}

/// The current row of every key of a topic.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) rows: BTreeMap<i64, Row>,
    /// The largest `source.lsn` seen; 0 when there is none.
    pub(crate) last_lsn: i64,
    sizes: BTreeMap<i64, usize>,
    bytes: usize,
}

impl Rows {
    /// Reads a topic from its beginning to its end. A topic that does not exist has no rows.
    pub(crate) async fn read(kafka: &KafkaConfig, topic: &SourceTopic) -> Result<Self> {
        let (kafka, topic) = (kafka.clone(), topic.clone());
        blocking(move || {
            let mut rows = Self::default();
            read(&kafka, &topic, From::Beginning, |message| {
                rows.apply(topic.key_column, message.key(), message.payload())
            })?;
            Ok(rows)
        })
        .await
    }

    /// Takes in the next message. What is no change event is passed over: it says nothing about a row.
    pub(crate) fn apply(
        &mut self,
        key_column: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<()> {
        let key = key.and_then(|key| row_key(key_column, key));
        let Some(value) = value else {
            self.remove(key);
            return Ok(());
        };
        let Ok(envelope) = Envelope::parse(value) else {
            return Ok(());
        };
        self.last_lsn = self.last_lsn.max(envelope.source_lsn.unwrap_or(0));
        match (envelope.op, envelope.after, key) {
            (Op::Truncate, _, _) => {
                self.rows.clear();
                self.sizes.clear();
                self.bytes = 0;
            }
            (Op::Delete, _, key) => self.remove(key),
            (Op::Create | Op::Update | Op::Read, Some(after), Some(key)) => {
                self.remove(Some(key));
                if let Ok(row) = serde_json::from_str(after.get()) {
                    self.rows.insert(key, row);
                    self.sizes.insert(key, after.get().len());
                    self.bytes += after.get().len();
                }
                if self.rows.len() > MAX_ROWS || self.bytes > MAX_BYTES {
                    return Err(Error::new(
                        ErrorKind::ResourceExhausted,
                        "a source topic holds more rows than fit in memory",
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn remove(&mut self, key: Option<i64>) {
        if let Some(key) = key {
            self.rows.remove(&key);
            self.bytes -= self.sizes.remove(&key).unwrap_or(0);
        }
    }
}

/// The primary key in a message key, `schemas.enable` true or false.
pub(crate) fn row_key(column: &str, key: &[u8]) -> Option<i64> {
    let key: Value = serde_json::from_slice(key).ok()?;
    let key = key.get("payload").unwrap_or(&key);
    key.get(column)?.as_i64()
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::new(ErrorKind::Internal, "a Kafka task failed").caused_by(error))?
}

/// Shows every message between the start and the end that the topic has at the time of the call, in order of each partition.
/// Returns, for each partition that is not empty, whether its first message was among them.
pub(crate) fn read(
    kafka: &KafkaConfig,
    topic: &SourceTopic,
    from: From,
    mut visit: impl FnMut(&BorrowedMessage<'_>) -> Result<()>,
) -> Result<BTreeMap<i32, bool>> {
    let name = topic.topic.as_str();
    let failed = |error: KafkaError| {
        Error::new(ErrorKind::Unavailable, format!("could not read \"{name}\""))
            .hint("Check that the brokers at kafka.brokers are reachable.")
            .caused_by(error)
    };
    let consumer: BaseConsumer = kafka.client(&Purpose::Consume).create().map_err(&failed)?;
    let mut ends = BTreeMap::new();
    let mut whole = BTreeMap::new();
    let mut assignment = TopicPartitionList::new();
    let partitions = partitions(&consumer, name)
        .map_err(|error| diagnose(kafka).unwrap_or_else(|| failed(error)))?;
    for partition in partitions {
        let (low, high) = consumer
            .fetch_watermarks(name, partition, PATIENCE)
            .map_err(&failed)?;
        let start = match from {
            From::Beginning => low,
            From::Last(count) => low.max(high - count),
        };
        if start < high {
            ends.insert(partition, high);
            whole.insert(partition, start == low);
            assignment
                .add_partition_offset(name, partition, Offset::Offset(start))
                .map_err(&failed)?;
        }
    }
    consumer.assign(&assignment).map_err(&failed)?;
    let mut heard = Instant::now();
    while !ends.is_empty() {
        match consumer.poll(Duration::from_millis(250)) {
            Some(Ok(message)) => {
                heard = Instant::now();
                let Some(end) = ends.get(&message.partition()).copied() else {
                    continue;
                };
                if message.offset() < end {
                    visit(&message)?;
                }
                if message.offset() + 1 >= end {
                    ends.remove(&message.partition());
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ends.remove(&partition);
            }
            Some(Err(error)) if is_lasting(&error) || heard.elapsed() > PATIENCE => {
                return Err(failed(error));
            }
            None if heard.elapsed() > PATIENCE => {
                return Err(failed(KafkaError::Canceled));
            }
            Some(Err(_)) | None => {}
        }
    }
    Ok(whole)
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<Vec<i32>, KafkaError> {
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE / 3)?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
        return Ok(Vec::new());
    };
    match found.error() {
        None => Ok(found.partitions().iter().map(|p| p.id()).collect()),
        Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => Ok(Vec::new()),
        Some(error) => Err(KafkaError::MetadataFetch(error.into())),
    }
}

fn is_lasting(error: &KafkaError) -> bool {
    !matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(messages: &[(&str, Option<&str>)]) -> Rows {
        let mut rows = Rows::default();
        for (key, value) in messages {
            let value = value.map(str::as_bytes);
            rows.apply("id", Some(key.as_bytes()), value)
                .expect("within the limits");
        }
        rows
    }

    #[test]
    fn the_latest_event_of_a_key_wins() {
        let rows = fold(&[
            (
                r#"{"id":1}"#,
                Some(r#"{"op":"c","after":{"id":1,"v":"a"},"source":{"lsn":5}}"#),
            ),
            (
                r#"{"id":2}"#,
                Some(r#"{"op":"r","after":{"id":2,"v":"b"},"source":{"lsn":9}}"#),
            ),
            (
                r#"{"id":1}"#,
                Some(r#"{"op":"u","after":{"id":1,"v":"c"},"source":{"lsn":7}}"#),
            ),
        ]);
        assert_eq!(rows.rows[&1]["v"], "c");
        assert_eq!(rows.rows.len(), 2);
        assert_eq!(rows.last_lsn, 9);
    }

    #[test]
    fn deletes_tombstones_and_truncates_remove() {
        let create = |id: i64| format!(r#"{{"op":"c","after":{{"id":{id}}}}}"#);
        let rows = fold(&[
            (r#"{"id":1}"#, Some(&create(1))),
            (r#"{"id":2}"#, Some(&create(2))),
            (r#"{"schema":{},"payload":{"id":3}}"#, Some(&create(3))),
            (
                r#"{"id":1}"#,
                Some(r#"{"op":"d","before":{"id":1},"after":null}"#),
            ),
            (r#"{"id":2}"#, None),
        ]);
        assert_eq!(rows.rows.keys().copied().collect::<Vec<_>>(), [3]);
        let rows = fold(&[
            (r#"{"id":1}"#, Some(&create(1))),
            ("null", Some(r#"{"op":"t"}"#)),
        ]);
        assert!(rows.rows.is_empty());
    }

    #[test]
    fn what_is_no_change_event_is_passed_over() {
        let rows = fold(&[
            (r#"{"id":1}"#, Some("poison")),
            (r#"{"id":1}"#, Some(r#"{"op":"c","after":[1]}"#)),
            ("poison", Some(r#"{"op":"c","after":{"id":1}}"#)),
        ]);
        assert!(rows.rows.is_empty());
    }
}
