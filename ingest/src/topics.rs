//! Which topics are read, into which tables, and from where.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use changes::{Topic, TopicPattern};
use engine::{Error, ErrorKind, Result};
use rdkafka::consumer::{BaseConsumer, Consumer};
use tracing::warn;

use crate::config::Start;
use crate::error::unavailable;

/// Patience with the broker for one question; it bounds the time a stop may take.
const ANSWER: Duration = Duration::from_secs(3);

/// The topics of the cluster that the configuration asks for.
pub(crate) struct Discovery {
    patterns: Vec<TopicPattern>,
    /// Names that match but can name no table.
    left_out: BTreeSet<String>,
}

impl Discovery {
    pub(crate) fn new(patterns: Vec<TopicPattern>) -> Self {
        Self {
            patterns,
            left_out: BTreeSet::new(),
        }
    }

    /// Of the topics of a cluster those to read, each with its number of partitions.
    pub(crate) fn select(&mut self, listed: Vec<(String, i32)>) -> Result<BTreeMap<Topic, i32>> {
        let mut topics = BTreeMap::new();
        for (name, partitions) in listed {
            if !self.patterns.iter().any(|pattern| pattern.matches(&name)) {
                continue;
            }
            match name.parse::<Topic>() {
                Ok(topic) => {
                    topics.insert(topic, partitions);
                }
                Err(_) => self.leave_out(name),
            }
        }
        topics.retain(|topic, _| !self.left_out.contains(topic.as_str()));
        one_topic_a_table(topics.keys())?;
        Ok(topics)
    }

    /// Does not read a topic that can name no table, and says so once.
    pub(crate) fn leave_out(&mut self, topic: String) {
        if !self.left_out.contains(&topic) {
            warn!(topic, "matches ingest.topics but names no table: not read");
            self.left_out.insert(topic);
        }
    }
}

/// A hash of the cluster's id; none where brokers have none, or do not answer.
pub(crate) fn cluster(consumer: &BaseConsumer) -> Option<i64> {
    let id = consumer.client().fetch_cluster_id(ANSWER)?;
    // FNV-1a: kept in tables, so it must not depend on the compiler.
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Some(hash.cast_signed())
}

/// Asks the cluster for its topics and their numbers of partitions.
pub(crate) fn list(consumer: &BaseConsumer) -> Result<Vec<(String, i32)>> {
    let metadata = consumer
        .fetch_metadata(None, ANSWER)
        .map_err(|error| unavailable("could not list the topics", error))?;
    let topics = metadata
        .topics()
        .iter()
        .filter(|topic| topic.error().is_none());
    Ok(topics
        .map(|topic| {
            let partitions = i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX);
            (topic.name().to_owned(), partitions)
        })
        .collect())
}

/// Coordinates are unique within a bronze table only while one topic fills it.
fn one_topic_a_table<'a>(topics: impl Iterator<Item = &'a Topic>) -> Result<()> {
    let mut tables: BTreeMap<&str, &Topic> = BTreeMap::new();
    for topic in topics {
        if let Some(other) = tables.insert(topic.table(), topic) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "topics \"{other}\" and \"{topic}\" would both fill \"bronze.{}\"",
                    topic.table()
                ),
            )
            .hint("Narrow ingest.topics so that one of them matches."));
        }
    }
    Ok(())
}

/// First and next offset that a partition has at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watermarks {
    pub(crate) low: i64,
    pub(crate) high: i64,
}

impl Watermarks {
    pub(crate) fn fetch(consumer: &BaseConsumer, topic: &Topic, partition: i32) -> Result<Self> {
        let (low, high) = consumer
            .fetch_watermarks(topic.as_str(), partition, ANSWER)
            .map_err(|error| {
                unavailable(
                    &format!("could not read the offsets of \"{topic}\" partition {partition}"),
                    error,
                )
            })?;
        Ok(Self { low, high })
    }

    /// The offset to read first, given the one stored with the rows.
    pub(crate) fn start(
        self,
        topic: &Topic,
        partition: i32,
        stored: Stored,
        from_earliest: bool,
    ) -> Result<i64> {
        match stored {
            Stored::Nothing(Start::Latest) => Ok(self.high),
            Stored::Nothing(Start::Earliest) => Ok(self.low),
            Stored::Elsewhere if from_earliest => Ok(self.low),
            Stored::Elsewhere => Err(elsewhere(topic, partition)),
            Stored::Offset(offset) if (self.low..=self.high).contains(&offset) => Ok(offset),
            Stored::Offset(offset) if from_earliest => {
                warn!(%topic, partition, offset, low = self.low, high = self.high, "starts again at the earliest message");
                Ok(self.low)
            }
            Stored::Offset(offset) => Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "stored offset {offset} of \"{topic}\" partition {partition} lies outside the topic, which holds {} to {}",
                    self.low, self.high
                ),
            )
            .hint(cure(topic))),
        }
    }
}

/// What a table holds of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Nothing, and where to begin then.
    Nothing(Start),
    /// The next offset to read.
    Offset(i64),
    /// An offset of another Kafka cluster, which says nothing about this one.
    Elsewhere,
}

impl Stored {
    /// By the offset and the cluster that the table tells, and the cluster that is read.
    pub(crate) fn of(
        offset: Option<i64>,
        told: Option<i64>,
        cluster: Option<i64>,
        begin: Start,
    ) -> Self {
        match offset {
            None => Self::Nothing(begin),
            Some(_) if told.is_some() && cluster.is_some() && told != cluster => Self::Elsewhere,
            Some(offset) => Self::Offset(offset),
        }
    }
}

fn elsewhere(topic: &Topic, partition: i32) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("what is stored of \"{topic}\" partition {partition} is of another Kafka cluster"),
    )
    .hint(format!(
        "If the table goes on with this cluster's topic: `sportlake ingest --from-earliest {topic}` reads all of it once, \
         and what is new there wins."
    ))
}

/// What to do when the messages that come next are gone from a topic.
pub(crate) fn cure(topic: &Topic) -> String {
    format!(
        "The topic was truncated or recreated, and messages may be missing. \
         `sportlake ingest --from-earliest {topic}` goes on with its earliest message."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> Topic {
        name.parse().expect("a topic")
    }

    #[test]
    fn a_prefix_selects_topics_that_name_a_table() {
        let mut discovery = Discovery::new(vec!["s.*".parse().expect("a pattern")]);
        let listed = [("s.public.a", 3), ("s.transaction", 1), ("t.public.a", 1)];
        let listed = listed.map(|(name, partitions)| (name.to_owned(), partitions));
        let topics = discovery.select(listed.into()).expect("one topic a table");
        assert_eq!(topics, BTreeMap::from([(topic("s.public.a"), 3)]));
    }

    #[test]
    fn two_topics_of_one_table_are_refused() {
        let topics = [
            topic("a.public.t"),
            topic("a.public.u"),
            topic("b.public.t"),
        ];
        let error = one_topic_a_table(topics.iter()).expect_err("a collision");
        assert_eq!(error.kind(), ErrorKind::Conflict);
        let text = error.to_string();
        assert!(text.contains("\"a.public.t\" and \"b.public.t\""), "{text}");
        one_topic_a_table(topics[..2].iter()).expect("two tables");
    }

    #[test]
    fn reading_starts_where_the_table_ends() {
        let start = |stored, from_earliest| {
            Watermarks { low: 5, high: 9 }.start(&topic("s.public.a"), 0, stored, from_earliest)
        };
        for (stored, from) in [
            (Stored::Nothing(Start::Earliest), 5),
            (Stored::Nothing(Start::Latest), 9),
            (Stored::Offset(5), 5),
            (Stored::Offset(7), 7),
            (Stored::Offset(9), 9),
        ] {
            assert_eq!(start(stored, false).expect("inside"), from);
            assert_eq!(start(stored, true).expect("inside"), from);
        }
        for (stored, kind) in [
            (Stored::Offset(4), ErrorKind::Corrupt),
            (Stored::Offset(10), ErrorKind::Corrupt),
            (Stored::Elsewhere, ErrorKind::Conflict),
        ] {
            assert_eq!(start(stored, true).expect("told to"), 5);
            let error = start(stored, false).expect_err("outside");
            assert_eq!(error.kind(), kind);
            let hint = error.hint_text().expect("a hint");
            assert!(
                hint.contains("sportlake ingest --from-earliest s.public.a"),
                "{hint}"
            );
        }
    }
}
