//! The topics that are written: their names, and how they are made.

mod cluster;
mod config;
mod layout;

use std::collections::{BTreeMap, BTreeSet};

use changes::{Error, ErrorKind, KafkaConfig, Result, SourceTable, Topic, kafka_release};
use rdkafka::admin::{NewTopic, TopicReplication};

pub(crate) use self::cluster::{Cluster, Seen};
pub use self::config::{Override, Policy, TopicsConfig};
pub use self::layout::{
    CreateOptions, Described, Difference, Remedy, TopicPlan, create, describe, ensure, list,
};

use crate::changelog::blocking;

/// The database that the embedded sources stand for.
const DATABASE: &str = "sportsdb";
const SCHEMA: &str = "public";

/// A topic the embedded sources write, and the table whose changes it carries.
#[derive(Debug, Clone)]
pub struct SourceTopic {
    pub topic: Topic,
    pub table: SourceTable,
    pub partitions: i32,
    /// The primary key of the table.
    pub key_column: &'static str,
}

impl SourceTopic {
    pub fn sport_activities(kafka: &KafkaConfig) -> Result<Self> {
        Self::new(kafka, "sport_activities", 3, "id")
    }

    pub fn employees(kafka: &KafkaConfig) -> Result<Self> {
        Self::new(kafka, "employees", 1, "id")
    }

    pub fn declared_sports(kafka: &KafkaConfig) -> Result<Self> {
        Self::new(kafka, "declared_sports", 1, "employee_id")
    }

    pub fn commute_distances(kafka: &KafkaConfig) -> Result<Self> {
        Self::new(kafka, "commute_distances", 1, "employee_id")
    }

    pub fn all(kafka: &KafkaConfig) -> Result<[Self; 4]> {
        Ok([
            Self::sport_activities(kafka)?,
            Self::employees(kafka)?,
            Self::declared_sports(kafka)?,
            Self::commute_distances(kafka)?,
        ])
    }

    fn new(
        kafka: &KafkaConfig,
        table: &str,
        partitions: i32,
        key_column: &'static str,
    ) -> Result<Self> {
        Ok(Self {
            topic: Topic::new(&kafka.prefix, SCHEMA, table)?,
            table: SourceTable {
                name: kafka.prefix.clone(),
                db: DATABASE.to_owned(),
                schema: SCHEMA.to_owned(),
                table: table.to_owned(),
            },
            partitions,
            key_column,
        })
    }
}

/// Who answers at `kafka.brokers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answering {
    /// Which release of Kafka they speak like, where that is heard.
    pub release: Option<&'static str>,
    pub brokers: usize,
    pub topics: usize,
}

/// Asks the brokers who they are, for about five seconds.
///
/// # Errors
/// What [`diagnose`] says of brokers that do not answer, or do not let this client in.
pub async fn answering(kafka: &KafkaConfig) -> Result<Answering> {
    let (release, seen) = looked(kafka).await?;
    Ok(Answering {
        release,
        brokers: seen.brokers,
        topics: seen.named().count(),
    })
}

/// What the cluster has; sooner than by a client that waits for brokers to come.
pub(crate) async fn asked(kafka: &KafkaConfig) -> Result<Seen> {
    Ok(looked(kafka).await?.1)
}

async fn looked(kafka: &KafkaConfig) -> Result<(Option<&'static str>, Seen)> {
    let asked = kafka.clone();
    let release = blocking(move || kafka_release(&asked)).await?;
    Ok((release, Cluster::connect(kafka)?.look().await?))
}

/// The topics that do not exist.
pub(crate) fn missing(seen: &Seen, names: BTreeSet<String>) -> BTreeSet<String> {
    let mut names = names;
    names.retain(|name| !seen.topics.contains_key(name));
    names
}

/// What is said of a topic that does not exist and may not be created.
pub(crate) fn absent(topic: &str) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("there is no topic \"{topic}\""),
    )
    .hint("Create it on the brokers, or set cdc.create_topics = true.")
}

/// Creates the topics that do not exist, with as many partitions as the brokers choose; why of those that are not there
/// then.
pub(crate) async fn ensure_named(
    cluster: &Cluster,
    seen: &Seen,
    names: BTreeSet<String>,
    create: bool,
) -> Result<BTreeMap<String, Error>> {
    let missing = missing(seen, names);
    if missing.is_empty() || !create {
        let absent = missing.into_iter().map(|name| {
            let error = absent(&name);
            (name, error)
        });
        return Ok(absent.collect());
    }
    let of_the_broker = -1;
    let topics: Vec<NewTopic<'_>> = missing
        .iter()
        .map(|name| NewTopic::new(name, of_the_broker, TopicReplication::Fixed(of_the_broker)))
        .collect();
    cluster.create_each(&topics).await
}
