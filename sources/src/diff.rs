use std::collections::BTreeMap;

use changes::{ChangeEvent, Op};
use serde_json::{Map, json};

use crate::changelog::Row;

/// What happened to one row between two states of its table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RowChange {
    pub(crate) key: i64,
    pub(crate) before: Option<Row>,
    pub(crate) after: Option<Row>,
}

impl RowChange {
    pub(crate) fn op(&self) -> Op {
        match (&self.before, &self.after) {
            (_, None) => Op::Delete,
            (None, Some(_)) => Op::Create,
            (Some(_), Some(_)) => Op::Update,
        }
    }

    pub(crate) fn event(self, key_column: &str, lsn: i64, ts_us: i64) -> ChangeEvent {
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
pub(crate) fn diff(before: &BTreeMap<i64, Row>, after: &BTreeMap<i64, Row>) -> Vec<RowChange> {
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
