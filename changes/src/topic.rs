use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A change topic `{prefix}.{schema}.{table}`, Debezium's naming.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic {
    name: String,
    table_start: usize,
}

impl Topic {
    pub fn new(prefix: &str, schema: &str, table: &str) -> Result<Self> {
        format!("{prefix}.{schema}.{table}").parse()
    }

    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The last part: the source table, which names the bronze table too.
    pub fn table(&self) -> &str {
        &self.name[self.table_start..]
    }
}

impl FromStr for Topic {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let parts: Vec<&str> = name.split('.').collect();
        let well_formed = name.len() <= 249
            && name.chars().all(legal)
            && parts.len() >= 3
            && parts.iter().all(|part| !part.is_empty());
        if !well_formed {
            return Err(
                Error::invalid(format!("\"{name}\" is not the name of a change topic")).hint(
                    "Change topics are named {prefix}.{schema}.{table}, as Debezium names them.",
                ),
            );
        }
        let table_start = name.len() - parts.last().map_or(0, |part| part.len());
        Ok(Self {
            name: name.to_owned(),
            table_start,
        })
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Which topics to read: an exact name, or a prefix written `prefix.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicPattern {
    Exact(Topic),
    Prefix(String),
}

impl TopicPattern {
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            Self::Exact(name) => name.as_str() == topic,
            Self::Prefix(prefix) => topic.starts_with(prefix),
        }
    }
}

impl FromStr for TopicPattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.strip_suffix('*') {
            Some(prefix) if !prefix.is_empty() && !prefix.contains('*') => {
                Ok(Self::Prefix(prefix.to_owned()))
            }
            Some(_) => Err(Error::invalid(format!("\"{text}\" is not a topic pattern"))
                .hint("Write a topic's whole name, or a prefix that ends in one *.")),
            None => text.parse().map(Self::Exact),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_names_its_table() {
        let topic: Topic = "sportsdata.public.sport_activities".parse().expect("valid");
        assert_eq!(topic.table(), "sport_activities");
    }

    #[test]
    fn what_is_no_change_topic_is_refused() {
        for name in ["", "a.b", "a..b", "a.b.", "a.b.c/d", "a.b.é"] {
            assert!(name.parse::<Topic>().is_err(), "{name}");
        }
    }

    #[test]
    fn patterns_match_by_name_or_prefix() {
        let all: TopicPattern = "sportsdata.*".parse().expect("valid");
        assert!(all.matches("sportsdata.public.employees"));
        assert!(!all.matches("other.public.employees"));
        assert!("*".parse::<TopicPattern>().is_err());
    }
}
