use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;

use super::*;

fn columns() -> FoldColumns {
    let field = |name, data_type| Field::new(name, data_type, true);
    FoldColumns {
        schema: Arc::new(Schema::new(vec![
            field("id", DataType::Int64),
            field("v", DataType::Utf8),
            field("__sequence_0", DataType::Int64),
            field("__sequence_1", DataType::Int64),
        ])),
        key: vec![0],
        sequence: vec![2, 3],
    }
}

type Event = (Option<i64>, String, Option<i64>, i64);

fn batch(events: &[Event]) -> RecordBatch {
    let ids: Int64Array = events.iter().map(|event| event.0).collect();
    let values: StringArray = events.iter().map(|event| Some(event.1.as_str())).collect();
    let lsns: Int64Array = events.iter().map(|event| event.2).collect();
    let offsets: Int64Array = events.iter().map(|event| Some(event.3)).collect();
    RecordBatch::try_new(
        columns().schema,
        vec![
            Arc::new(ids),
            Arc::new(values),
            Arc::new(lsns),
            Arc::new(offsets),
        ],
    )
    .expect("a batch")
}

fn fold(batches: &[&[Event]]) -> BTreeMap<i64, String> {
    let mut winners = Winners::new(columns()).expect("sortable keys");
    for events in batches {
        winners.push(batch(events)).expect("folded");
    }
    let mut table = BTreeMap::new();
    for rows in winners.rows().expect("rows") {
        let ids = rows.column(0).as_primitive::<Int64Type>();
        let values = rows.column(1).as_string::<i32>();
        for row in 0..rows.num_rows() {
            table.insert(ids.value(row), values.value(row).to_owned());
        }
    }
    table
}

fn model(events: &[Event]) -> BTreeMap<i64, String> {
    let mut last: BTreeMap<i64, &Event> = BTreeMap::new();
    for event in events {
        let Some(id) = event.0 else { continue };
        let newer = |known: &&Event| (known.2, known.3) < (event.2, event.3);
        if last.get(&id).is_none_or(newer) {
            last.insert(id, event);
        }
    }
    last.into_iter()
        .map(|(id, event)| (id, event.1.clone()))
        .collect()
}

#[test]
fn a_null_lsn_sorts_lowest() {
    let events = [
        (Some(1), "late".to_owned(), None, 9),
        (Some(1), "real".to_owned(), Some(0), 1),
    ];
    assert_eq!(fold(&[&events])[&1], "real");
}

#[test]
fn rows_without_key_are_counted() {
    let mut winners = Winners::new(columns()).expect("sortable keys");
    winners
        .push(batch(&[(None, "x".to_owned(), Some(1), 1)]))
        .expect("folded");
    assert!(winners.is_empty());
    assert_eq!(winners.without_key(), 1);
}

#[test]
fn a_stored_row_as_new_as_the_event_stays() {
    let mut winners = Winners::new(columns()).expect("sortable keys");
    winners
        .push(batch(&[(Some(1), "x".to_owned(), Some(5), 1)]))
        .expect("folded");
    let key = winners.winners.keys().next().expect("one").clone();
    assert!(winners.meets_stored(&key, &vec![Some(4), Some(9)]));
    assert!(!winners.meets_stored(&key, &vec![Some(5), Some(1)]));
    assert!(winners.is_empty());
}

proptest! {
    #[test]
    fn any_order_and_any_cut_give_the_model(
        numbers in proptest::collection::vec((proptest::option::of(0..6i64), proptest::option::of(0..20i64)), 0..80),
        cuts in proptest::collection::vec(1..9usize, 1..40),
        seed in any::<u64>(),
    ) {
        let mut events: Vec<Event> = numbers
            .into_iter()
            .enumerate()
            .map(|(offset, (id, lsn))| (id, format!("v{offset}"), lsn, offset as i64))
            .collect();
        let expected = model(&events);
        let count = events.len().max(1);
        for index in 0..events.len() {
            let other = (seed as usize).wrapping_mul(index + 7) % count;
            events.swap(index, other);
        }
        let replayed: Vec<Event> = events.iter().take(events.len() / 3).cloned().collect();
        events.extend(replayed);
        let mut batches: Vec<&[Event]> = Vec::new();
        let mut rest = events.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break; }
            let (head, tail) = rest.split_at((*cut).min(rest.len()));
            batches.push(head);
            rest = tail;
        }
        prop_assert_eq!(fold(&batches), expected);
    }
}
