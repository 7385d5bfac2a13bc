use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Date32Array};
use arrow::datatypes::{DataType, Date32Type, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// `local_date(instant)`: the day that an instant was in, where the source's clocks are.
pub(super) fn function(timezone: Tz) -> ScalarUDF {
    ScalarUDF::from(LocalDate {
        signature: Signature::user_defined(Volatility::Immutable),
        timezone,
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct LocalDate {
    signature: Signature,
    timezone: Tz,
}

impl ScalarUDFImpl for LocalDate {
    fn name(&self) -> &'static str {
        "local_date"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Date32)
    }

    /// An instant of any precision; a timestamp without a zone is UTC, as everywhere in the lake.
    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match arguments {
            [DataType::Timestamp(..) | DataType::Null] => Ok(vec![DataType::Timestamp(
                TimeUnit::Microsecond,
                Some("UTC".into()),
            )]),
            _ => plan_err!("local_date takes one timestamp"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let instants = arrays[0].as_primitive::<TimestampMicrosecondType>();
        let days: Date32Array = instants
            .iter()
            .map(|micros| micros.and_then(|micros| day(micros, self.timezone)))
            .collect();
        let days: ArrayRef = Arc::new(days);
        super::columnar(&args.args, days)
    }
}

/// Days since 1970. NULL outside the calendar.
fn day(micros: i64, timezone: Tz) -> Option<i32> {
    let utc = DateTime::from_timestamp_micros(micros)?.naive_utc();
    let offset = timezone.offset_from_utc_datetime(&utc).fix();
    let local = utc.checked_add_offset(offset)?;
    Some(Date32Type::from_naive_date(local.date()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(utc: &str, expected: &str) {
        let instant: DateTime<chrono::Utc> = utc.parse().expect("an instant");
        let found = day(instant.timestamp_micros(), Tz::Europe__Paris).expect("a day");
        let found = Date32Type::to_naive_date_opt(found).expect("a day");
        assert_eq!(found.to_string(), expected);
    }

    #[test]
    fn a_day_of_paris_begins_one_or_two_hours_before_that_of_utc() {
        check("2025-12-31T22:59:59Z", "2025-12-31");
        check("2025-12-31T23:00:00Z", "2026-01-01");
        check("2026-03-31T21:59:59Z", "2026-03-31");
        check("2026-03-31T22:00:00Z", "2026-04-01");
        check("2026-10-31T22:59:59Z", "2026-10-31");
        check("2026-10-31T23:00:00Z", "2026-11-01");
    }

    #[test]
    fn extremes_are_null() {
        for micros in [i64::MAX, i64::MIN] {
            assert_eq!(day(micros, Tz::Europe__Paris), None);
        }
    }
}
