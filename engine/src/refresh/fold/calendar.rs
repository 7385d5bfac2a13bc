use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Date32Type, TimeUnit, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use arrow::temporal_conversions::{date32_to_datetime, timestamp_us_to_datetime};

use crate::error::Result;

/// The events with NULL for days and times that no calendar shows: a source's infinity, which nothing could print. Those
/// of a key stay, by which rows are known.
pub(super) fn in_calendar(events: RecordBatch, key: &[usize]) -> Result<RecordBatch> {
    let mut columns: Option<Vec<ArrayRef>> = None;
    for (index, column) in events.columns().iter().enumerate() {
        if let Some(shown) = shown(column).filter(|_| !key.contains(&index)) {
            columns.get_or_insert_with(|| events.columns().to_vec())[index] = shown;
        }
    }
    match columns {
        Some(columns) => Ok(RecordBatch::try_new(events.schema(), columns)?),
        None => Ok(events),
    }
}

/// None where every value is shown already.
fn shown(column: &ArrayRef) -> Option<ArrayRef> {
    let shown: ArrayRef = match column.data_type() {
        DataType::Date32 => {
            let is_shown = |days: i32| date32_to_datetime(days).map(|_| days);
            let days = column.as_primitive::<Date32Type>();
            Arc::new(days.unary_opt::<_, Date32Type>(is_shown))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let is_shown = |micros: i64| timestamp_us_to_datetime(micros).map(|_| micros);
            let times = column.as_primitive::<TimestampMicrosecondType>();
            let times = times.unary_opt::<_, TimestampMicrosecondType>(is_shown);
            Arc::new(times.with_timezone_opt(zone.clone()))
        }
        _ => return None,
    };
    (shown.null_count() > column.null_count()).then_some(shown)
}
