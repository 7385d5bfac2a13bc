//! SQL functions of the lake beside DataFusion's own.

mod attempt;
mod bounded;
mod debezium_decimal;
mod envelope;
mod joined;
mod local_date;
mod local_timestamp;
pub(crate) mod room;
mod unavailable;

use arrow::array::ArrayRef;
use chrono_tz::Tz;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};

pub(crate) use attempt::attempt;
pub(crate) use bounded::{is_growing, is_too_large, limit};
pub(crate) use debezium_decimal::SOURCE_DECIMAL;
pub(crate) use envelope::{Image, image};
pub(crate) use joined::JoinByFunction;
pub(crate) use unavailable::UNAVAILABLE_FIELDS;

/// Every function that a project's SQL may call.
pub(crate) fn all(timezone: Tz) -> Vec<ScalarUDF> {
    vec![
        debezium_decimal::function(),
        debezium_decimal::of_source(),
        local_date::function(timezone),
        local_timestamp::function(timezone),
        unavailable::function(),
    ]
}

/// An array result, or a scalar where every argument was one.
fn columnar(arguments: &[ColumnarValue], result: ArrayRef) -> Result<ColumnarValue> {
    let scalar = arguments
        .iter()
        .all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
    if scalar && result.len() == 1 {
        return ScalarValue::try_from_array(&result, 0).map(ColumnarValue::Scalar);
    }
    Ok(ColumnarValue::Array(result))
}
