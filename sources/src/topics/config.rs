use std::collections::BTreeMap;

use changes::{Error, KafkaConfig, Result, Topic};
use serde::Deserialize;

use super::SourceTopic;

/// `[topics]` of the configuration: how `sportlake topics create` makes topics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopicsConfig {
    /// Partitions; 0 = three for activities, one for the other embedded sources, the brokers' number for the rest.
    pub partitions: u32,
    /// Copies of each partition; 0 = the brokers' number.
    pub replication: u16,
    /// Hours that messages are kept; 0 = as the brokers do, -1 = for ever.
    pub retention_hours: i64,
    /// Bytes kept of each partition; 0 = as the brokers do, -1 = all.
    pub retention_bytes: i64,
    /// What becomes of old messages; empty = as the brokers do.
    pub cleanup_policy: Policy,
    /// By topic, what is otherwise for it. Topics that are named here are made as well.
    pub overrides: BTreeMap<String, Override>,
}

/// What becomes of messages that are older than the retention.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Policy {
    #[default]
    #[serde(rename = "")]
    OfTheBrokers,
    #[serde(rename = "delete")]
    Delete,
    /// The newest message of each key stays.
    #[serde(rename = "compact")]
    Compact,
    #[serde(rename = "compact,delete")]
    Both,
}

/// What one topic has otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Override {
    pub partitions: Option<u32>,
    pub replication: Option<u16>,
    pub retention_hours: Option<i64>,
    pub retention_bytes: Option<i64>,
    pub cleanup_policy: Option<Policy>,
}

/// A topic as it should be; what is none is the brokers' choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) partitions: Option<usize>,
    pub(super) replication: Option<usize>,
    /// By Kafka's names.
    pub(super) settings: BTreeMap<&'static str, String>,
}

pub(super) const RETENTION_MS: &str = "retention.ms";
pub(super) const RETENTION_BYTES: &str = "retention.bytes";
pub(super) const CLEANUP_POLICY: &str = "cleanup.policy";
const MS_PER_HOUR: i64 = 3_600_000;
const MOST_PARTITIONS: u32 = 10_000;

impl Policy {
    fn name(self) -> Option<&'static str> {
        match self {
            Self::OfTheBrokers => None,
            Self::Delete => Some("delete"),
            Self::Compact => Some("compact"),
            Self::Both => Some("compact,delete"),
        }
    }
}

impl TopicsConfig {
    /// The topics of the embedded sources and those that are named, by name.
    pub(super) fn wanted(&self, kafka: &KafkaConfig) -> Result<Vec<Wanted>> {
        let mut partitions: BTreeMap<String, u32> = SourceTopic::all(kafka)?
            .into_iter()
            .map(|topic| (topic.topic.to_string(), topic.partitions.unsigned_abs()))
            .collect();
        for name in self.overrides.keys() {
            name.parse::<Topic>()?;
            partitions.entry(name.clone()).or_insert(0);
        }
        partitions
            .into_iter()
            .map(|(name, own)| self.wanted_of(name, own))
            .collect()
    }

    fn wanted_of(&self, name: String, own_partitions: u32) -> Result<Wanted> {
        let none = Override::default();
        let own = self.overrides.get(&name).unwrap_or(&none);
        let partitions = match (own.partitions, self.partitions) {
            (Some(partitions), _) => partitions,
            (None, 0) => own_partitions,
            (None, partitions) => partitions,
        };
        let hours = own.retention_hours.unwrap_or(self.retention_hours);
        let bytes = own.retention_bytes.unwrap_or(self.retention_bytes);
        let replication = own.replication.unwrap_or(self.replication);
        let limit = |key: &str, what: String, hint: &str| {
            Err(Error::invalid(format!("{key} of \"{name}\" is {what}")).hint(hint))
        };
        if partitions > MOST_PARTITIONS {
            return limit(
                "topics.partitions",
                partitions.to_string(),
                "Write a number up to 10000.",
            );
        }
        if !(-1..=i64::MAX / MS_PER_HOUR).contains(&hours) {
            return limit(
                "topics.retention_hours",
                hours.to_string(),
                "Write hours, 0 to leave it to the brokers, or -1 to keep everything.",
            );
        }
        if bytes < -1 {
            return limit(
                "topics.retention_bytes",
                bytes.to_string(),
                "Write bytes, 0 to leave it to the brokers, or -1 to keep everything.",
            );
        }
        let mut settings = BTreeMap::new();
        if hours != 0 {
            let ms = if hours < 0 { -1 } else { hours * MS_PER_HOUR };
            settings.insert(RETENTION_MS, ms.to_string());
        }
        if bytes != 0 {
            settings.insert(RETENTION_BYTES, bytes.to_string());
        }
        if let Some(policy) = own.cleanup_policy.unwrap_or(self.cleanup_policy).name() {
            settings.insert(CLEANUP_POLICY, policy.to_owned());
        }
        Ok(Wanted {
            partitions: usize::try_from(partitions).ok().filter(|count| *count > 0),
            replication: Some(usize::from(replication)).filter(|count| *count > 0),
            settings,
            name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(text: &str) -> Result<Vec<Wanted>> {
        let config: TopicsConfig = toml::from_str(text).expect("valid");
        config.wanted(&KafkaConfig::default())
    }

    #[test]
    fn what_is_not_said_is_left_to_the_brokers() {
        let topics = wanted("").expect("valid");
        let partitions: Vec<_> = topics.iter().map(|topic| topic.partitions).collect();
        assert_eq!(partitions, [Some(1), Some(1), Some(1), Some(3)]);
        assert!(
            topics
                .iter()
                .all(|topic| topic.settings.is_empty() && topic.replication.is_none())
        );
    }

    #[test]
    fn one_topic_may_have_it_otherwise() {
        let text = "partitions = 6\nretention_hours = 24\ncleanup_policy = \"delete\"
            [overrides.\"shop.public.orders\"]\npartitions = 2\nretention_hours = -1\ncleanup_policy = \"compact\"";
        let topics = wanted(text).expect("valid");
        let orders = topics
            .iter()
            .find(|topic| topic.name == "shop.public.orders")
            .expect("named");
        assert_eq!(orders.partitions, Some(2));
        let expected = [(CLEANUP_POLICY, "compact"), (RETENTION_MS, "-1")];
        let expected = expected.map(|(key, value)| (key, value.to_owned()));
        assert_eq!(orders.settings, BTreeMap::from(expected));
        let others = topics
            .iter()
            .filter(|topic| topic.name != "shop.public.orders");
        assert!(
            others
                .into_iter()
                .all(|topic| topic.partitions == Some(6)
                    && topic.settings[RETENTION_MS] == "86400000")
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for text in [
            "partitions = 100000",
            "retention_hours = -2",
            "retention_hours = 9223372036854775807",
            "retention_bytes = -9",
            "[overrides.\"no topic\"]\npartitions = 1",
        ] {
            let error = wanted(text).expect_err(text);
            assert!(error.hint_text().is_some(), "{text}");
        }
    }
}
