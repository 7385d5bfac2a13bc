//! What a Kafka cluster has of topics, and how it is asked to change them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use changes::{Error, ErrorKind, KafkaConfig, Purpose, Result, diagnose};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, NewTopic,
    OwnedResourceSpecifier, ResourceSpecifier,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;

use crate::changelog::blocking;

const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster, asked through one client.
pub(crate) struct Cluster {
    admin: Arc<AdminClient<DefaultClientContext>>,
    kafka: KafkaConfig,
}

/// What a cluster has at the moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Its id, where it has one.
    pub(crate) cluster: Option<String>,
    pub(crate) brokers: usize,
    /// By name.
    pub(crate) topics: BTreeMap<String, Shape>,
}

impl Seen {
    /// The topics that are not the brokers' own.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&String, &Shape)> {
        let topics = self.topics.iter();
        topics.filter(|(name, _)| !name.starts_with("__"))
    }
}

/// How a topic is divided and copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) partitions: usize,
    /// Copies of each partition, of the one that has the fewest.
    pub(crate) replication: usize,
}

/// A setting of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) value: String,
    /// Set for the topic itself, not for all of the broker's.
    pub(crate) is_own: bool,
    pub(crate) is_read_only: bool,
}

impl Cluster {
    pub(crate) fn connect(kafka: &KafkaConfig) -> Result<Self> {
        let admin = kafka
            .client(&Purpose::Administer)
            .create()
            .map_err(|error| Error::invalid("could not set up a Kafka client").caused_by(error))?;
        Ok(Self {
            admin: Arc::new(admin),
            kafka: kafka.clone(),
        })
    }

    /// Every topic that this client may see.
    pub(crate) async fn look(&self) -> Result<Seen> {
        let (admin, kafka) = (Arc::clone(&self.admin), self.kafka.clone());
        blocking(move || {
            let metadata = listed(&admin, &kafka)?;
            let topics = metadata
                .topics()
                .iter()
                .filter(|topic| topic.error().is_none())
                .map(|topic| {
                    let copies = topic.partitions().iter().map(|part| part.replicas().len());
                    let shape = Shape {
                        partitions: topic.partitions().len(),
                        replication: copies.min().unwrap_or(0),
                    };
                    (topic.name().to_owned(), shape)
                });
            Ok(Seen {
                brokers: metadata.brokers().len(),
                topics: topics.collect(),
                cluster: admin.inner().fetch_cluster_id(PATIENCE),
            })
        })
        .await
    }

    /// Creates topics, or says why the first one could not be.
    pub(crate) async fn create(&self, topics: &[NewTopic<'_>]) -> Result<()> {
        let mut failed = self.create_each(topics).await?;
        failed.pop_first().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Creates topics; why of those that could not be. One that somebody else creates meanwhile is no error.
    pub(crate) async fn create_each(
        &self,
        topics: &[NewTopic<'_>],
    ) -> Result<BTreeMap<String, Error>> {
        let mut failed = BTreeMap::new();
        let results = self
            .admin
            .create_topics(topics, &options())
            .await
            .map_err(|error| unreachable("create the topics", error))?;
        for result in results {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => {
                    let what = format!("could not create topic \"{topic}\"");
                    failed.insert(topic, refused(what, code));
                }
            }
        }
        Ok(failed)
    }

    /// Of topics with their numbers of partitions, those that were ever written to.
    pub(crate) async fn written(&self, topics: Vec<(String, usize)>) -> Result<BTreeSet<String>> {
        let admin = Arc::clone(&self.admin);
        blocking(move || {
            let mut written = BTreeSet::new();
            for (topic, partitions) in topics {
                for partition in 0..i32::try_from(partitions).unwrap_or(i32::MAX) {
                    let (_, end) = admin
                        .inner()
                        .fetch_watermarks(&topic, partition, PATIENCE)
                        .map_err(|error| {
                            unreachable(&format!("read where \"{topic}\" ends"), error)
                        })?;
                    if end > 0 {
                        written.insert(topic);
                        break;
                    }
                }
            }
            Ok(written)
        })
        .await
    }

    /// The settings of topics, by the topic's name and theirs.
    pub(crate) async fn settings(
        &self,
        topics: &[&str],
    ) -> Result<BTreeMap<String, BTreeMap<String, Setting>>> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let asked: Vec<ResourceSpecifier<'_>> = topics
            .iter()
            .map(|topic| ResourceSpecifier::Topic(topic))
            .collect();
        let results = self
            .admin
            .describe_configs(&asked, &options())
            .await
            .map_err(|error| unreachable("read the topics' settings", error))?;
        let mut found = BTreeMap::new();
        for result in results {
            let resource = result
                .map_err(|code| refused("could not read a topic's settings".to_owned(), code))?;
            if let OwnedResourceSpecifier::Topic(name) = resource.specifier {
                let settings = resource.entries.into_iter().map(|entry| {
                    let setting = Setting {
                        is_own: entry.source == ConfigSource::DynamicTopic,
                        is_read_only: entry.is_read_only,
                        value: entry.value.unwrap_or_default(),
                    };
                    (entry.name, setting)
                });
                found.insert(name, settings.collect());
            }
        }
        Ok(found)
    }

    /// Makes a topic have that many partitions, which are more than it has.
    pub(crate) async fn grow(&self, topic: &str, partitions: usize) -> Result<()> {
        let more = [NewPartitions::new(topic, partitions)];
        let results = self
            .admin
            .create_partitions(&more, &options())
            .await
            .map_err(|error| unreachable("add partitions", error))?;
        for result in results {
            result.map_err(|(_, code)| {
                refused(format!("could not add partitions to \"{topic}\""), code)
            })?;
        }
        Ok(())
    }

    /// Changes settings of a topic. Those that it has already are sent with them: Kafka resets what is not named.
    pub(crate) async fn alter(
        &self,
        topic: &str,
        now: &BTreeMap<String, Setting>,
        changed: BTreeMap<String, String>,
    ) -> Result<()> {
        let mut all: BTreeMap<String, String> = now
            .iter()
            .filter(|(_, setting)| setting.is_own)
            .map(|(name, setting)| (name.clone(), setting.value.clone()))
            .collect();
        all.extend(changed);
        let start = AlterConfig::new(ResourceSpecifier::Topic(topic));
        let altered = all
            .iter()
            .fold(start, |altered, (name, value)| altered.set(name, value));
        let results = self
            .admin
            .alter_configs(&[altered], &options())
            .await
            .map_err(|error| unreachable("change a topic's settings", error))?;
        for result in results {
            result.map_err(|(_, code)| {
                refused(format!("could not change settings of \"{topic}\""), code)
            })?;
        }
        Ok(())
    }
}

/// Brokers that are about to start are waited for; those that do not let us in are not.
fn listed(admin: &AdminClient<DefaultClientContext>, kafka: &KafkaConfig) -> Result<Metadata> {
    const AT_ONCE: Duration = Duration::from_secs(4);
    let began = Instant::now();
    loop {
        let error = match admin.inner().fetch_metadata(None, AT_ONCE) {
            Ok(metadata) => return Ok(metadata),
            Err(error) => error,
        };
        let is_over = began.elapsed() > PATIENCE / 2;
        match diagnose(kafka) {
            Some(why) if is_over || why.kind() != ErrorKind::Unavailable => return Err(why),
            None if is_over => return Err(unreachable("list the topics", error)),
            _ => {}
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(PATIENCE))
        .operation_timeout(Some(PATIENCE))
}

fn unreachable(what: &str, error: KafkaError) -> Error {
    Error::new(ErrorKind::Unavailable, format!("could not {what}"))
        .hint("Check that the brokers at kafka.brokers are reachable.")
        .caused_by(error)
}

/// What brokers answer to a change of topics.
fn refused(what: String, code: RDKafkaErrorCode) -> Error {
    use RDKafkaErrorCode as Code;
    let (kind, hint) = match code {
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => (
            ErrorKind::PermissionDenied,
            "Let this client create and alter topics, or have an administrator do it; cdc.create_topics = false needs no such right.",
        ),
        Code::InvalidReplicationFactor => (
            ErrorKind::InvalidRequest,
            "There are fewer brokers than copies: lower topics.replication, or leave it to the brokers with 0.",
        ),
        Code::InvalidPartitions
        | Code::InvalidTopic
        | Code::InvalidConfig
        | Code::PolicyViolation => (
            ErrorKind::InvalidRequest,
            "Change it in the section [topics] to what the brokers allow.",
        ),
        _ => (
            ErrorKind::Unavailable,
            "Try again, or create it on the brokers yourself.",
        ),
    };
    Error::new(kind, what).hint(hint).caused_by(code)
}
