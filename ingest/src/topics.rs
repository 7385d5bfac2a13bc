//! Which topics are read, into which tables, and from where.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use changes::{Topic, TopicPattern};
use engine::{Error, ErrorKind, Result};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use tracing::{info, warn};

use crate::config::Start;
use crate::error::{of_topic, unavailable};

/// Patience with the broker for one question; it bounds the time a stop may take.
const ANSWER: Duration = Duration::from_secs(3);

/// Time for topics to be made by who starts beside us, before it is said that there are none.
const GRACE: Duration = Duration::from_secs(5);

/// The topics of the cluster that the configuration asks for.
pub(crate) struct Discovery {
    patterns: Vec<Wanted>,
    /// Names that match but are not read.
    left_out: BTreeSet<String>,
    /// Topics that this client may not read, or that are gone, as it was said.
    unreadable: BTreeSet<Topic>,
    /// Whether there was a look; a collision that comes later is the newcomer's.
    has_looked: bool,
    began: Instant,
}

/// What the configuration asks for, and whether it was said that there is nothing of it.
struct Wanted {
    pattern: TopicPattern,
    is_said: bool,
}

impl Discovery {
    pub(crate) fn new(patterns: Vec<TopicPattern>) -> Self {
        let patterns = patterns.into_iter().map(|pattern| Wanted {
            pattern,
            is_said: false,
        });
        Self {
            patterns: patterns.collect(),
            left_out: BTreeSet::new(),
            unreadable: BTreeSet::new(),
            has_looked: false,
            began: Instant::now(),
        }
    }

    /// Of the topics of a cluster those to read, each with its number of partitions; `read` are those that are read.
    pub(crate) fn select(
        &mut self,
        listed: Vec<(String, i32)>,
        read: &BTreeSet<Topic>,
    ) -> Result<BTreeMap<Topic, i32>> {
        let mut topics = BTreeMap::new();
        for (name, partitions) in listed {
            if !self
                .patterns
                .iter()
                .any(|wanted| wanted.pattern.matches(&name))
            {
                continue;
            }
            match name.parse::<Topic>() {
                Ok(topic) => {
                    topics.insert(topic, partitions);
                }
                Err(_) => self.leave_out(name, "it names no table"),
            }
        }
        topics.retain(|topic, _| !self.left_out.contains(topic.as_str()));
        if self.has_looked {
            for (newcomer, other) in newcomers(topics.keys(), read) {
                self.leave_out(
                    newcomer.to_string(),
                    &format!("\"{other}\" fills \"bronze.{}\"", other.table()),
                );
                topics.remove(&newcomer);
            }
        }
        one_topic_a_table(topics.keys())?;
        self.has_looked = true;
        Ok(topics)
    }

    /// Does not read a topic, and says so once.
    pub(crate) fn leave_out(&mut self, topic: String, why: &str) {
        if !self.left_out.contains(&topic) {
            warn!(topic, why, "matches ingest.topics and is not read");
            self.left_out.insert(topic);
        }
    }

    /// Passes over a topic for now, and says so once.
    pub(crate) fn pass_over(&mut self, topic: &Topic, error: &Error) {
        if self.unreadable.insert(topic.clone()) {
            let hint = error.hint_text();
            warn!(%topic, error = %error.with_causes(), hint, "the topic cannot be read: trying again");
        }
    }

    pub(crate) fn is_readable(&mut self, topic: &Topic) {
        if self.unreadable.remove(topic) {
            info!(%topic, "the topic can be read");
        }
    }

    /// What is asked for by name or by pattern, is not there, and was not said to be missing.
    pub(crate) fn unmatched<'a>(
        &mut self,
        listed: impl Iterator<Item = &'a str> + Clone,
    ) -> Vec<TopicPattern> {
        if self.began.elapsed() < GRACE {
            return Vec::new();
        }
        let absent = self.patterns.iter_mut().filter(|wanted| {
            let mut listed = listed.clone();
            !wanted.is_said && !listed.any(|name| wanted.pattern.matches(name))
        });
        let absent = absent.map(|wanted| {
            wanted.is_said = true;
            wanted.pattern.clone()
        });
        absent.collect()
    }
}

/// Why a topic that is asked for by its name is not there.
pub(crate) fn why_absent(consumer: &BaseConsumer, topic: &Topic) -> Option<Error> {
    let metadata = consumer.fetch_metadata(Some(topic.as_str()), ANSWER).ok()?;
    let code = metadata.topics().first()?.error()?;
    let code = RDKafkaErrorCode::from(code);
    of_topic(
        topic,
        "see",
        &rdkafka::error::KafkaError::MetadataFetch(code),
    )
}

/// Says once that nothing is read of what was asked for.
pub(crate) fn say_absent(pattern: &TopicPattern, why: Option<&Error>) {
    let asked = match pattern {
        TopicPattern::Exact(topic) => topic.to_string(),
        TopicPattern::Prefix(prefix) => format!("{prefix}*"),
    };
    match why.filter(|why| why.kind() == ErrorKind::PermissionDenied) {
        Some(why) => {
            warn!(asked, error = %why, hint = why.hint_text(), "a topic of ingest.topics cannot be read");
        }
        None => warn!(
            asked,
            hint = "Compare it with `sportlake topics list`, which shows the topics that this client may Describe; one that is \
                    made later is read then.",
            "no topic matches this of ingest.topics"
        ),
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

/// Topics that would fill the table of one that is read, or of one before them, each with that one.
fn newcomers<'a>(
    topics: impl Iterator<Item = &'a Topic>,
    read: &BTreeSet<Topic>,
) -> Vec<(Topic, Topic)> {
    let mut filled: BTreeMap<&str, &Topic> =
        read.iter().map(|topic| (topic.table(), topic)).collect();
    let mut newcomers = Vec::new();
    for topic in topics {
        let other = *filled.entry(topic.table()).or_insert(topic);
        if other != topic {
            newcomers.push((topic.clone(), other.clone()));
        }
    }
    newcomers
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
                let what =
                    format!("could not read the offsets of \"{topic}\" partition {partition}");
                of_topic(topic, "read", &error).unwrap_or_else(|| unavailable(&what, error))
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
            Stored::Nothing(Start::Earliest) | Stored::Anew => Ok(self.low),
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
    /// An offset that is told to be of another topic of that name.
    Anew,
}

impl Stored {
    /// By the offset and the cluster that the table tells, and the cluster that is read.
    /// Another life of the topic than the table has offsets of.
    pub(crate) fn is_another(self) -> bool {
        matches!(self, Self::Elsewhere | Self::Anew)
    }

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

/// What is said of a topic whose offsets begin again.
pub(crate) fn made_again(topic: &Topic, partition: i32, offset: i64) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!(
            "\"{topic}\" was made again since it was read: message {offset} of partition {partition} is another one than then"
        ),
    )
    .hint(cure(topic))
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
        let topics = discovery
            .select(listed.into(), &BTreeSet::new())
            .expect("one topic a table");
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
    fn one_that_comes_later_takes_no_table_from_another() {
        let mut discovery = Discovery::new(vec!["a.*".parse().expect("a pattern")]);
        let listed = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), 1)).collect();
        let first = listed(&["a.public.t"]);
        discovery.select(first, &BTreeSet::new()).expect("one");
        let read = BTreeSet::from([topic("a.public.t")]);
        // It comes first by its name.
        let both = listed(&["a.other.t", "a.public.t", "a.public.u"]);
        let topics = discovery
            .select(both, &read)
            .expect("the newcomer is left out");
        let expected = [topic("a.public.t"), topic("a.public.u")];
        assert_eq!(topics.into_keys().collect::<Vec<_>>(), expected);
        let both = listed(&["a.other.t", "a.public.t"]);
        let mut discovery = Discovery::new(vec!["a.*".parse().expect("a pattern")]);
        let error = discovery.select(both, &BTreeSet::new());
        assert_eq!(error.expect_err("at once").kind(), ErrorKind::Conflict);
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
            (Stored::Anew, 5),
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
