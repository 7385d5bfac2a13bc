//! What of the configuration the brokers do not have, and what of it they are asked to change.

use std::collections::BTreeMap;

use changes::{Error, ErrorKind, KafkaConfig, Result};
use rdkafka::admin::{NewTopic, TopicReplication};

use super::SourceTopic;
use super::cluster::{Cluster, Seen, Setting, Shape};
use super::config::{CLEANUP_POLICY, TopicsConfig, Wanted};

/// A topic, and what of it is otherwise than configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPlan {
    pub topic: String,
    pub differences: Vec<Difference>,
}

/// One thing that the brokers have otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `topic`, `partitions`, `replication`, or the name of a setting of Kafka's.
    pub what: String,
    /// Empty where there is no topic yet.
    pub now: String,
    pub wanted: String,
    pub remedy: Remedy,
}

/// What becomes of a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    Create,
    Change,
    /// Kafka would remove messages: only where that is allowed.
    Lossy,
    /// It stays; the reason.
    Leave(&'static str),
}

/// A topic as the brokers have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub topic: String,
    pub partitions: usize,
    /// Copies of each partition.
    pub replication: usize,
    /// By Kafka's names; those that were set for the topic, and those that can be configured here.
    pub settings: BTreeMap<String, String>,
}

/// What [`create`] may do.
#[derive(Debug, Clone, Copy, Default)]
pub struct CreateOptions {
    /// Only looks.
    pub dry_run: bool,
    /// Changes what removes messages, too.
    pub allow_loss: bool,
}

/// Makes the configured topics that are not there, and changes of the others what Kafka can change safely.
///
/// Returns every configured topic with what differed; a second time nothing that was done differs any more.
pub async fn create(
    kafka: &KafkaConfig,
    config: &TopicsConfig,
    options: CreateOptions,
) -> Result<Vec<TopicPlan>> {
    let wanted = config.wanted(kafka)?;
    let cluster = Cluster::connect(kafka)?;
    let seen = cluster.look().await?;
    let there: Vec<&str> = wanted
        .iter()
        .map(|topic| topic.name.as_str())
        .filter(|name| seen.topics.contains_key(*name))
        .collect();
    let settings = cluster.settings(&there).await?;
    let plans: Vec<TopicPlan> = wanted
        .iter()
        .map(|topic| plan(topic, &seen, settings.get(&topic.name)))
        .collect();
    if options.dry_run {
        return Ok(plans);
    }
    create_missing(&cluster, &wanted, &seen).await?;
    for (topic, plan) in wanted.iter().zip(&plans) {
        let Some(now) = settings.get(&topic.name) else {
            continue;
        };
        let is_done = |difference: &&Difference| match difference.remedy {
            Remedy::Change => true,
            Remedy::Lossy => options.allow_loss,
            Remedy::Create | Remedy::Leave(_) => false,
        };
        let mut changed = BTreeMap::new();
        for difference in plan.differences.iter().filter(is_done) {
            match (difference.what.as_str(), topic.partitions) {
                (PARTITIONS, Some(partitions)) => cluster.grow(&topic.name, partitions).await?,
                (name, _) => drop(changed.insert(name.to_owned(), difference.wanted.clone())),
            }
        }
        if !changed.is_empty() {
            cluster.alter(&topic.name, now, changed).await?;
        }
    }
    Ok(plans)
}

/// Makes the topics of the embedded sources that do not exist, as they are configured.
pub async fn ensure(kafka: &KafkaConfig, config: &TopicsConfig) -> Result<()> {
    let sources = SourceTopic::all(kafka)?;
    let is_source = |name: &str| sources.iter().any(|source| source.topic.as_str() == name);
    let mut wanted = config.wanted(kafka)?;
    wanted.retain(|topic| is_source(&topic.name));
    let cluster = Cluster::connect(kafka)?;
    // Looking first spares those whose topics exist the right to create them.
    let seen = cluster.look().await?;
    create_missing(&cluster, &wanted, &seen).await
}

async fn create_missing(cluster: &Cluster, wanted: &[Wanted], seen: &Seen) -> Result<()> {
    let of_the_brokers = -1;
    let number = |count: Option<usize>| {
        count.map_or(of_the_brokers, |count| {
            i32::try_from(count).unwrap_or(i32::MAX)
        })
    };
    let missing: Vec<NewTopic<'_>> = wanted
        .iter()
        .filter(|topic| !seen.topics.contains_key(&topic.name))
        .map(|topic| {
            let replication = TopicReplication::Fixed(number(topic.replication));
            let new = NewTopic::new(&topic.name, number(topic.partitions), replication);
            topic
                .settings
                .iter()
                .fold(new, |new, (name, value)| new.set(name, value))
        })
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => cluster.create(&missing).await,
    }
}

/// Every topic that this client may see but Kafka's own.
pub async fn list(kafka: &KafkaConfig) -> Result<Vec<Described>> {
    let seen = Cluster::connect(kafka)?.look().await?;
    Ok(seen
        .named()
        .map(|(name, shape)| described(name.clone(), *shape, BTreeMap::new()))
        .collect())
}

/// The topics of these names with their settings; without names, those that are configured and there.
pub async fn describe(
    kafka: &KafkaConfig,
    config: &TopicsConfig,
    names: &[String],
) -> Result<Vec<Described>> {
    let cluster = Cluster::connect(kafka)?;
    let seen = cluster.look().await?;
    let names: Vec<String> = if names.is_empty() {
        let wanted = config.wanted(kafka)?.into_iter();
        let there = |topic: &Wanted| seen.topics.contains_key(&topic.name);
        wanted.filter(there).map(|topic| topic.name).collect()
    } else {
        names.to_vec()
    };
    if let Some(absent) = names.iter().find(|name| !seen.topics.contains_key(*name)) {
        return Err(
            Error::new(ErrorKind::NotFound, format!("there is no topic \"{absent}\""))
                .hint("Run sportlake topics list to see which there are; sportlake topics create makes those of the configuration."),
        );
    }
    let listed: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut settings = cluster.settings(&listed).await?;
    let described = names.into_iter().filter_map(|name| {
        let own = settings.remove(&name).unwrap_or_default();
        let shown = own
            .into_iter()
            .filter(|(name, setting)| setting.is_own || SHOWN.contains(&name.as_str()));
        let shown = shown.map(|(name, setting)| (name, setting.value));
        let shape = seen.topics.get(&name).copied()?;
        Some(described(name, shape, shown.collect()))
    });
    Ok(described.collect())
}

fn described(topic: String, shape: Shape, settings: BTreeMap<String, String>) -> Described {
    Described {
        topic,
        partitions: shape.partitions,
        replication: shape.replication,
        settings,
    }
}

const PARTITIONS: &str = "partitions";
const SHOWN: [&str; 3] = [CLEANUP_POLICY, "retention.bytes", "retention.ms"];

fn plan(topic: &Wanted, seen: &Seen, now: Option<&BTreeMap<String, Setting>>) -> TopicPlan {
    let differences = match (seen.topics.get(&topic.name), now) {
        (Some(shape), Some(now)) => differences(topic, *shape, now),
        _ => vec![difference("topic", "", &summary(topic), Remedy::Create)],
    };
    TopicPlan {
        topic: topic.name.clone(),
        differences,
    }
}

fn summary(topic: &Wanted) -> String {
    let number =
        |count: Option<usize>| count.map_or("default".to_owned(), |count| count.to_string());
    let mut parts = vec![
        format!("{PARTITIONS}={}", number(topic.partitions)),
        format!("replication={}", number(topic.replication)),
    ];
    parts.extend(
        topic
            .settings
            .iter()
            .map(|(name, value)| format!("{name}={value}")),
    );
    parts.join(" ")
}

fn difference(what: &str, now: &str, wanted: &str, remedy: Remedy) -> Difference {
    Difference {
        what: what.to_owned(),
        now: now.to_owned(),
        wanted: wanted.to_owned(),
        remedy,
    }
}

fn differences(topic: &Wanted, shape: Shape, now: &BTreeMap<String, Setting>) -> Vec<Difference> {
    let mut found = Vec::new();
    let policy = now
        .get(CLEANUP_POLICY)
        .map(|setting| setting.value.as_str());
    if let Some(wanted) = topic
        .partitions
        .filter(|wanted| *wanted != shape.partitions)
    {
        let remedy = if wanted < shape.partitions {
            Remedy::Leave("Kafka takes no partition away")
        } else if policy.is_some_and(|policy| policy.contains("compact")) {
            Remedy::Leave(
                "keys would move to other partitions, and compaction would keep their old messages too",
            )
        } else {
            Remedy::Change
        };
        found.push(difference(
            PARTITIONS,
            &shape.partitions.to_string(),
            &wanted.to_string(),
            remedy,
        ));
    }
    if let Some(wanted) = topic
        .replication
        .filter(|wanted| *wanted != shape.replication)
    {
        let remedy = Remedy::Leave("an administrator moves copies: kafka-reassign-partitions");
        found.push(difference(
            "replication",
            &shape.replication.to_string(),
            &wanted.to_string(),
            remedy,
        ));
    }
    for (name, wanted) in &topic.settings {
        let setting = now.get(*name);
        let value = setting.map_or("", |setting| setting.value.as_str());
        if value == wanted {
            continue;
        }
        let remedy = if setting.is_some_and(|setting| setting.is_read_only) {
            Remedy::Leave("the broker takes it when a topic is made, and not later")
        } else if removes(name, value, wanted) {
            Remedy::Lossy
        } else {
            Remedy::Change
        };
        found.push(difference(name, value, wanted, remedy));
    }
    found
}

/// Whether messages that are kept now would go.
fn removes(name: &str, now: &str, wanted: &str) -> bool {
    if name == CLEANUP_POLICY {
        let has =
            |policies: &str, policy: &str| policies.split(',').any(|one| one.trim() == policy);
        return ["compact", "delete"]
            .iter()
            .any(|policy| has(wanted, policy) && !has(now, policy));
    }
    let limit = |text: &str| match text.parse::<i64>() {
        Ok(limit) if limit >= 0 => limit,
        _ => i64::MAX,
    };
    limit(wanted) < limit(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(value: &str, is_read_only: bool) -> Setting {
        Setting {
            value: value.to_owned(),
            is_own: true,
            is_read_only,
        }
    }

    #[track_caller]
    fn check(
        wanted: &[(&'static str, &str)],
        partitions: usize,
        policy: &str,
        expected: &[(&str, Remedy)],
    ) {
        let settings = wanted
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        let topic = Wanted {
            name: "t".to_owned(),
            partitions: Some(partitions),
            replication: Some(3),
            settings: settings.collect(),
        };
        let shape = Shape {
            partitions: 3,
            replication: 3,
        };
        let now = BTreeMap::from([
            (CLEANUP_POLICY.to_owned(), setting(policy, false)),
            ("retention.ms".to_owned(), setting("1000", false)),
            ("retention.bytes".to_owned(), setting("-1", true)),
        ]);
        let found = differences(&topic, shape, &now);
        let found: Vec<_> = found
            .iter()
            .map(|one| (one.what.as_str(), one.remedy.clone()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn only_what_keeps_every_message_is_changed_unasked() {
        use Remedy::{Change, Lossy};
        check(
            &[("retention.ms", "1000"), (CLEANUP_POLICY, "delete")],
            3,
            "delete",
            &[],
        );
        check(
            &[("retention.ms", "2000")],
            3,
            "delete",
            &[("retention.ms", Change)],
        );
        check(
            &[("retention.ms", "-1")],
            3,
            "delete",
            &[("retention.ms", Change)],
        );
        check(
            &[("retention.ms", "500")],
            3,
            "delete",
            &[("retention.ms", Lossy)],
        );
        check(
            &[(CLEANUP_POLICY, "compact")],
            3,
            "delete",
            &[(CLEANUP_POLICY, Lossy)],
        );
        check(
            &[(CLEANUP_POLICY, "delete")],
            3,
            "compact,delete",
            &[(CLEANUP_POLICY, Change)],
        );
    }

    #[test]
    fn what_kafka_cannot_change_is_left_with_the_reason() {
        check(&[], 6, "delete", &[("partitions", Remedy::Change)]);
        let fewer = Remedy::Leave("Kafka takes no partition away");
        check(&[], 2, "delete", &[("partitions", fewer)]);
        let moved = Remedy::Leave(
            "keys would move to other partitions, and compaction would keep their old messages too",
        );
        check(&[], 6, "compact", &[("partitions", moved)]);
        let fixed = Remedy::Leave("the broker takes it when a topic is made, and not later");
        check(
            &[("retention.bytes", "5")],
            3,
            "delete",
            &[("retention.bytes", fixed)],
        );
    }
}
