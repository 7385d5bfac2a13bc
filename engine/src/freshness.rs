//! How long changes are on their way from the source to readers, by what bronze's log says of each commit.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sql_files::TableName;

use crate::epoch::Manifest;
use crate::error::Result;
use crate::lake::Lake;

/// Commits of a table that one epoch is asked for, the newest: a first load says nothing of how fresh tables are.
const LOOKED_AT: u64 = 16;

/// The way of a table's oldest change, by stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    /// From the source's commit to that of bronze.
    pub(crate) to_bronze: Duration,
    /// From there to the epoch.
    pub(crate) to_readers: Duration,
}

/// The way of the oldest change of each bronze table that an epoch shows and the one before it did not.
pub(crate) async fn ways(
    lake: &Lake,
    before: &Manifest,
    epoch: &Manifest,
    visible: DateTime<Utc>,
) -> Result<Vec<(TableName, Way)>> {
    let mut ways = Vec::new();
    for (name, state) in epoch.tables.iter().filter(|(name, _)| name.is_bronze()) {
        let shown = before.tables.get(name).map_or(0, |before| before.version);
        let first = (shown + 1).max((state.version + 1).saturating_sub(LOOKED_AT));
        let mut oldest: Option<Brought> = None;
        for version in first..=state.version {
            let path = format!("{}/_delta_log/{version:020}.json", Lake::table_path(name));
            let commit = lake.read(&path).await?;
            let brought = commit.and_then(|commit| Brought::by(&commit));
            oldest = [oldest, brought].into_iter().flatten().min();
        }
        if let Some(oldest) = oldest {
            let way = Way {
                to_bronze: between(oldest.changed, oldest.committed),
                to_readers: between(oldest.committed, visible),
            };
            ways.push((name.clone(), way));
        }
    }
    Ok(ways)
}

/// Clocks of several machines: what was never before is now.
fn between(from: DateTime<Utc>, to: DateTime<Utc>) -> Duration {
    (to - from).to_std().unwrap_or_default()
}

/// A commit that brought changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Brought {
    /// When the source committed the oldest of them.
    changed: DateTime<Utc>,
    committed: DateTime<Utc>,
}

impl Brought {
    /// None for a commit of upkeep, and where no message tells its source's time.
    fn by(commit: &[u8]) -> Option<Self> {
        let (mut changed, mut committed) = (None::<i64>, None);
        for action in serde_json::Deserializer::from_slice(commit).into_iter::<Value>() {
            let action = action.ok()?;
            committed = committed.max(action["txn"]["lastUpdated"].as_i64());
            if action["add"]["dataChange"] != Value::Bool(true) {
                continue;
            }
            let statistics = action["add"]["stats"].as_str();
            let statistics: Value = serde_json::from_str(statistics?).ok()?;
            let least = statistics["minValues"]["source_ts_ms"].as_i64();
            changed = [changed, least].into_iter().flatten().min();
        }
        Some(Self {
            changed: DateTime::from_timestamp_millis(changed?)?,
            committed: DateTime::from_timestamp_millis(committed?)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(actions: &[Value]) -> Vec<u8> {
        let lines: Vec<String> = actions.iter().map(ToString::to_string).collect();
        lines.join("\n").into_bytes()
    }

    fn add(brings: bool, least: Option<i64>) -> Value {
        let statistics = serde_json::json!({"numRecords": 1, "minValues": {"source_ts_ms": least}});
        serde_json::json!({"add": {"dataChange": brings, "stats": statistics.to_string()}})
    }

    #[test]
    fn the_oldest_change_of_a_commit_counts() {
        let told = serde_json::json!({"txn": {"appId": "t/0", "version": 3, "lastUpdated": 5_000}});
        let brought = Brought::by(&commit(&[
            told.clone(),
            add(true, Some(3_000)),
            add(true, Some(2_000)),
            add(true, None),
        ]));
        let brought = brought.expect("changes");
        assert_eq!(brought.changed.timestamp_millis(), 2_000);
        assert_eq!(brought.committed.timestamp_millis(), 5_000);
        assert_eq!(
            Brought::by(&commit(&[told.clone(), add(false, Some(1))])),
            None
        );
        assert_eq!(Brought::by(&commit(&[told, add(true, None)])), None);
        assert_eq!(Brought::by(b"not JSON"), None);
    }

    #[test]
    fn clocks_that_disagree_make_no_time_negative() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).expect("a time");
        assert_eq!(between(at(5), at(3)), Duration::ZERO);
        assert_eq!(between(at(3), at(5)), Duration::from_secs(2));
    }
}
