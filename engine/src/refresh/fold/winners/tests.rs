use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use proptest::prelude::*;

use super::*;

fn columns() -> FoldColumns {
    let field = |name, data_type| Field::new(name, data_type, true);
    let visible = Schema::new(vec![
        field("id", DataType::Int64),
        field("v", DataType::Utf8),
    ]);
    FoldColumns::of(&visible, vec![0], 1)
}

/// Key, value, lsn and offset.
type Event = (Option<i64>, String, Option<i64>, i64);

fn batch(events: &[Event]) -> RecordBatch {
    let column = |name: &str, column: ArrayRef| {
        (
            Arc::new(Field::new(name, column.data_type().clone(), true)),
            column,
        )
    };
    let ids: Int64Array = events.iter().map(|event| event.0).collect();
    let values: StringArray = events.iter().map(|event| Some(event.1.as_str())).collect();
    let lsns: Int64Array = events.iter().map(|event| event.2).collect();
    let offsets: Int64Array = events.iter().map(|event| Some(event.3)).collect();
    let truncates: BooleanArray = events
        .iter()
        .map(|event| Some(event.1 == "truncate"))
        .collect();
    let (fields, arrays): (Vec<_>, Vec<_>) = [
        column("id", Arc::new(ids)),
        column("v", Arc::new(values)),
        column("__sequence_0", Arc::new(lsns)),
        column("__offset", Arc::new(offsets)),
        column("__truncates", Arc::new(truncates)),
    ]
    .into_iter()
    .unzip();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("a batch");
    FoldColumns::widened(&batch, &columns().event).expect("events")
}

fn fold(batches: &[&[Event]]) -> BTreeMap<i64, String> {
    let mut winners = Winners::new(columns()).expect("sortable keys");
    for events in batches {
        winners.push(&batch(events)).expect("folded");
    }
    winners.drop_emptied();
    let mut table = BTreeMap::new();
    for rows in winners.rows() {
        let rows = rows.expect("rows");
        let ids = rows.column(0).as_primitive::<Int64Type>();
        let values = rows.column(1).as_string::<i32>();
        for row in (0..rows.num_rows()).filter(|row| ids.is_valid(*row)) {
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
fn events_without_key_are_kept_one_by_one() {
    let mut winners = Winners::new(columns()).expect("sortable keys");
    let events = [
        (None, "x".to_owned(), Some(1), 1),
        (None, "y".to_owned(), Some(1), 2),
    ];
    winners.push(&batch(&events)).expect("folded");
    let rows: Vec<RecordBatch> = winners.rows().collect::<Result<_>>().expect("rows");
    assert_eq!(rows[0].num_rows(), 2);
    let rules = rows[0].column_by_name("__rule").expect("a rule");
    assert_eq!(rules.as_string::<i32>().value(1), "without_key");
}

#[test]
fn what_sorts_before_a_truncate_is_gone_whenever_it_comes() {
    let event = |id, value: &str, lsn, offset| (id, value.to_owned(), Some(lsn), offset);
    let table = fold(&[
        &[event(Some(1), "old", 1, 1), event(None, "truncate", 5, 2)],
        &[event(Some(1), "late", 4, 3), event(Some(2), "new", 6, 4)],
    ]);
    assert_eq!(table, BTreeMap::from([(2, "new".to_owned())]));
}

#[test]
fn a_stored_row_as_new_as_the_event_stays() {
    let mut winners = Winners::new(columns()).expect("sortable keys");
    winners
        .push(&batch(&[(Some(1), "x".to_owned(), Some(5), 1)]))
        .expect("folded");
    let key = winners.winners.keys().next().expect("one").clone();
    let place = |lsn, offset| Place::of(&[Some(lsn), Some(offset), None]);
    assert!(winners.meets_stored(&key, place(4, 9).bytes()));
    assert!(!winners.meets_stored(&key, place(5, 1).bytes()));
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
