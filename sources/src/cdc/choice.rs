//! Which tables of the publication are captured, and which are passed over and why.

use std::collections::{BTreeMap, BTreeSet};

use changes::{Error, ErrorKind, Result};

use super::capture::may_pass;
use super::catalogue::{self, Published};
use super::config::CdcConfig;
use super::state::State;
use super::table::Table;
use crate::postgres::Connection;
use crate::topics::Seen;

/// The tables of the publication, told apart.
pub(super) struct Choice {
    pub(super) usable: Vec<(Published, Table)>,
    pub(super) skipped: Vec<Skipped>,
    /// One table that cannot be captured is passed over, unless nothing was captured yet: who starts wants to know.
    is_patient: bool,
}

/// A table that is passed over.
pub(super) struct Skipped {
    pub(super) table: Published,
    pub(super) error: Error,
    /// PostgreSQL's catalogue tells when it is mended; nothing does where it is for Kafka or a slot.
    pub(super) is_told: bool,
}

impl Choice {
    pub(super) async fn of(
        control: &mut Connection,
        mut published: Vec<Published>,
        state: &State,
        prefix: &str,
        config: &CdcConfig,
    ) -> Result<Self> {
        let mut choice = Self {
            usable: Vec::new(),
            skipped: Vec::new(),
            is_patient: state.has_begun(),
        };
        // A table that joins takes no topic from one that is captured.
        published.sort_by_key(|table| state.loaded(table).is_none());
        for table in published {
            let to_load = state.loaded(&table).is_none();
            match catalogue::usable(control, &table, prefix, config, to_load).await {
                Ok(description) => choice.usable.push((table, description)),
                Err(error) => choice.skip(table, error, true)?,
            }
        }
        let mut taken: BTreeMap<String, String> = BTreeMap::new();
        choice.pass_over(|published, table| {
            let name = published.name();
            match taken.get(&table.topic) {
                Some(other) => Some(one_topic_each(&name, other, &table.topic)),
                None => {
                    taken.insert(table.topic.clone(), name);
                    None
                }
            }
        })?;
        choice.if_any()
    }

    /// Passes over each table for which there is a reason.
    pub(super) fn pass_over(
        &mut self,
        mut why: impl FnMut(&Published, &Table) -> Option<Error>,
    ) -> Result<()> {
        for (published, table) in std::mem::take(&mut self.usable) {
            match why(&published, &table) {
                Some(error) => self.skip(published, error, false)?,
                None => self.usable.push((published, table)),
            }
        }
        Ok(())
    }

    fn skip(&mut self, table: Published, error: Error, is_told: bool) -> Result<()> {
        if may_pass(&error) || !self.is_patient {
            return Err(error);
        }
        self.skipped.push(Skipped {
            table,
            error,
            is_told,
        });
        Ok(())
    }

    /// An error where no table is left.
    pub(super) fn if_any(mut self) -> Result<Self> {
        match self.skipped.pop() {
            Some(skipped) if self.usable.is_empty() => Err(skipped.error),
            skipped => {
                self.skipped.extend(skipped);
                Ok(self)
            }
        }
    }

    pub(super) fn topics(&self) -> BTreeSet<String> {
        let topics = self.usable.iter().map(|(_, table)| table.topic.clone());
        topics.collect()
    }

    /// Those whose topics are there.
    pub(super) fn with_topics(&self, seen: &Seen) -> Vec<Published> {
        let there = self.usable.iter();
        there
            .filter(|(_, table)| seen.topics.contains_key(&table.topic))
            .map(|(published, _)| published.clone())
            .collect()
    }
}

fn one_topic_each(table: &str, other: &str, topic: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("\"{table}\" would be written to \"{topic}\", which is the topic of \"{other}\""),
    )
    .hint(
        "Kafka takes letters, digits, \".\", \"_\" and \"-\" in names, and \"_\" stands for the rest: rename one of the \
         tables, or take it out of the publication.",
    )
}
