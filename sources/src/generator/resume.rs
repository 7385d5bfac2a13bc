use std::collections::{BTreeMap, HashSet};

use changes::{BACKFILL_COMPLETE, Envelope, KafkaConfig, Op, Result};
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers};
use serde::{Deserialize, Serialize};

use super::activity::Activity;
use super::backfill::Stamp;
use crate::changelog::{From, Rows, blocking, read, row_key};
use crate::topics::SourceTopic;

/// Header on every message of the generator: a [`Mark`] as JSON.
pub(super) const HEADER: &str = "sportlake.generator";

/// What the generator was doing when it wrote a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) phase: Phase,
    /// Larger than every id given so far.
    pub(super) next_id: i64,
    /// The first load, while it is not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stamp: Option<Stamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phase {
    Backfill,
    /// The first load is complete; live activities follow.
    Live,
}

impl Mark {
    pub(super) fn text(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

/// Where a start goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Start {
    /// Nothing of a first load is there.
    Fresh {
        first_id: i64,
    },
    /// A first load was cut off.
    Continue {
        stamp: Stamp,
        next_id: i64,
    },
    Live {
        next_id: i64,
    },
}

/// The end of the topic.
#[derive(Default)]
pub(super) struct Tail {
    /// The newest mark of each partition that has one.
    marks: BTreeMap<i32, Mark>,
    complete_row: bool,
    largest_id: i64,
    rows: Rows,
}

impl Tail {
    /// Reads back from the end until every partition has shown a mark of ours, or all of itself.
    pub(super) async fn read(kafka: &KafkaConfig, topic: &SourceTopic) -> Result<Self> {
        let (kafka, topic) = (kafka.clone(), topic.clone());
        blocking(move || {
            let mut window = 512;
            loop {
                let mut tail = Self::default();
                let whole = read(&kafka, &topic, From::Last(window), |message| {
                    let mark = mark(message);
                    tail.take(message.partition(), mark, message.key(), message.payload())
                })?;
                let enough = |(partition, whole): (&i32, &bool)| {
                    *whole || tail.marks.contains_key(partition)
                };
                if whole.iter().all(enough) {
                    return Ok(tail);
                }
                window *= 8;
            }
        })
        .await
    }

    pub(super) fn start(&self) -> Start {
        let next_id = self
            .marks
            .values()
            .map(|mark| mark.next_id)
            .fold(self.largest_id + 1, i64::max);
        if self.complete_row || self.marks.values().any(|mark| mark.phase == Phase::Live) {
            return Start::Live { next_id };
        }
        let newest = self
            .marks
            .values()
            .filter_map(|mark| mark.stamp)
            .max_by_key(|stamp| stamp.first_id);
        match newest {
            Some(stamp) => Start::Continue { stamp, next_id },
            None => Start::Fresh { first_id: next_id },
        }
    }

    pub(super) fn last_lsn(&self) -> i64 {
        self.rows.last_lsn
    }

    /// The latest activities, oldest first, as far as they were read.
    pub(super) fn activities(&self) -> Vec<Activity> {
        let rows = self.rows.rows.values();
        rows.filter_map(Activity::from_row)
            .filter(|activity| activity.type_activite != BACKFILL_COMPLETE)
            .collect()
    }

    fn take(
        &mut self,
        partition: i32,
        mark: Option<Mark>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<()> {
        if let Some(mark) = mark {
            self.marks.insert(partition, mark);
        }
        let id = key.and_then(|key| row_key("id", key));
        self.largest_id = self.largest_id.max(id.unwrap_or(0));
        self.rows.apply("id", key, value)?;
        let row = id.and_then(|id| self.rows.rows.get(&id));
        let kind = row.and_then(|row| row.get("type_activite"));
        self.complete_row |= kind.is_some_and(|kind| kind == BACKFILL_COMPLETE);
        Ok(())
    }
}

/// The messages of a first load that are in the topic.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    changes: HashSet<(i64, Op)>,
    /// Local microseconds of the latest start.
    pub(super) latest_start: Option<i64>,
}

impl Loaded {
    pub(super) async fn read(kafka: &KafkaConfig, topic: &SourceTopic) -> Result<Self> {
        let (kafka, topic) = (kafka.clone(), topic.clone());
        blocking(move || {
            let mut loaded = Self::default();
            read(&kafka, &topic, From::Beginning, |message| {
                if mark(message).is_some() {
                    loaded.take(message.key(), message.payload());
                }
                Ok(())
            })?;
            Ok(loaded)
        })
        .await
    }

    pub(super) fn contains(&self, id: i64, op: Op) -> bool {
        self.changes.contains(&(id, op))
    }

    fn take(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) {
        let id = key.and_then(|key| row_key("id", key));
        let envelope = value.and_then(|value| Envelope::parse(value).ok());
        let (Some(id), Some(envelope)) = (id, envelope) else {
            return;
        };
        self.changes.insert((id, envelope.op));
        let row = envelope
            .after
            .map(|after| serde_json::from_str(after.get()));
        let activity = row.and_then(|row| Activity::from_row(&row.ok()?));
        let start = activity.map(|activity| activity.date_debut.and_utc().timestamp_micros());
        self.latest_start = self.latest_start.max(start);
    }
}

fn mark(message: &BorrowedMessage<'_>) -> Option<Mark> {
    let headers = message.headers()?;
    let header = headers.iter().find(|header| header.key == HEADER)?;
    serde_json::from_slice(header.value?).ok()
}

#[cfg(test)]
mod tests {
    use super::super::chaos::Share;
    use super::*;

    fn stamp(first_id: i64) -> Stamp {
        Stamp {
            seed: 1,
            days: 30,
            until: chrono::DateTime::UNIX_EPOCH,
            first_id,
            roster: 9,
            after: None,
            updates: Share::percent(3),
            deletes: Share::percent(1),
        }
    }

    fn mark(phase: Phase, next_id: i64, stamp: Option<Stamp>) -> Mark {
        Mark {
            phase,
            next_id,
            stamp,
        }
    }

    #[track_caller]
    fn check(messages: &[(i32, Option<Mark>, i64, &str)], expected: &Start) {
        let mut tail = Tail::default();
        for (partition, mark, id, kind) in messages {
            let key = format!(r#"{{"id":{id}}}"#);
            let value = format!(r#"{{"op":"c","after":{{"id":{id},"type_activite":"{kind}"}}}}"#);
            let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
            tail.take(*partition, mark.clone(), key, value)
                .expect("within the limits");
        }
        assert_eq!(&tail.start(), expected);
    }

    #[test]
    fn a_mark_reads_back() {
        let mark = mark(Phase::Backfill, 5, Some(stamp(1)));
        assert_eq!(serde_json::from_str::<Mark>(&mark.text()).ok(), Some(mark));
    }

    #[test]
    fn an_empty_topic_is_filled_from_the_start() {
        check(&[], &Start::Fresh { first_id: 1 });
    }

    #[test]
    fn activities_of_others_keep_their_ids() {
        let foreign = [(0, None, 70, "Tennis"), (1, None, 30, "Judo")];
        check(&foreign, &Start::Fresh { first_id: 71 });
    }

    #[test]
    fn a_load_cut_off_goes_on() {
        let first = || Some(mark(Phase::Backfill, 90, Some(stamp(1))));
        let second = || Some(mark(Phase::Backfill, 120, Some(stamp(100))));
        let expected = Start::Continue {
            stamp: stamp(100),
            next_id: 120,
        };
        check(
            &[
                (0, first(), 80, "Tennis"),
                (1, second(), 110, "Tennis"),
                (2, first(), 85, "Judo"),
            ],
            &expected,
        );
    }

    #[test]
    fn one_live_message_is_enough_to_stay_live() {
        let load = || Some(mark(Phase::Backfill, 90, Some(stamp(1))));
        let live = || Some(mark(Phase::Live, 95, None));
        check(
            &[(0, load(), 80, "Tennis"), (1, live(), 12, "Tennis")],
            &Start::Live { next_id: 95 },
        );
        check(
            &[(0, None, 80, BACKFILL_COMPLETE)],
            &Start::Live { next_id: 81 },
        );
    }
}
