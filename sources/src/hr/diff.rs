use std::collections::BTreeMap;

use changes::{ChangeEvent, Op};
use serde_json::{Map, json};

use crate::changelog::Row;

/// What happened to one row between two states of its table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RowChange {
    pub(super) key: i64,
    pub(super) before: Option<Row>,
    pub(super) after: Option<Row>,
}

impl RowChange {
    pub(super) fn op(&self) -> Op {
        match (&self.before, &self.after) {
            (_, None) => Op::Delete,
            (None, Some(_)) => Op::Create,
            (Some(_), Some(_)) => Op::Update,
        }
    }

    pub(super) fn event(self, key_column: &str, lsn: i64, ts_us: i64) -> ChangeEvent {
        ChangeEvent {
            op: self.op(),
            key: Map::from_iter([(key_column.to_owned(), json!(self.key))]),
            before: self.before,
            after: self.after,
            lsn,
            ts_us,
        }
    }
}

/// The changes that lead from one state to the other, by key.
pub(super) fn diff(before: &BTreeMap<i64, Row>, after: &BTreeMap<i64, Row>) -> Vec<RowChange> {
    let gone = before
        .iter()
        .filter(|(key, _)| !after.contains_key(key))
        .map(|(key, row)| RowChange {
            key: *key,
            before: Some(row.clone()),
            after: None,
        });
    let new_or_changed = after
        .iter()
        .filter(|(key, row)| before.get(key) != Some(row))
        .map(|(key, row)| RowChange {
            key: *key,
            before: before.get(key).cloned(),
            after: Some(row.clone()),
        });
    gone.chain(new_or_changed).collect()
}
