use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use chrono::{DateTime, Duration, LocalResult, NaiveDateTime, TimeZone};
use chrono_tz::Tz;
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// `local_timestamp(micros)`: a naive source time, in microseconds since 1970, as the UTC instant it was at.
pub(super) fn function(timezone: Tz) -> ScalarUDF {
    ScalarUDF::from(LocalTimestamp {
        signature: Signature::exact(vec![DataType::Int64], Volatility::Immutable),
        timezone,
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct LocalTimestamp {
    signature: Signature,
    timezone: Tz,
}

impl ScalarUDFImpl for LocalTimestamp {
    fn name(&self) -> &'static str {
        "local_timestamp"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Timestamp(
            TimeUnit::Microsecond,
            Some("UTC".into()),
        ))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let local = arrays[0].as_primitive::<Int64Type>();
        let instants: TimestampMicrosecondArray = local
            .iter()
            .map(|micros| micros.and_then(|micros| instant(micros, self.timezone)))
            .collect();
        let instants: ArrayRef = Arc::new(instants.with_timezone("UTC"));
        super::columnar(&args.args, instants)
    }
}

/// In the repeated hour of autumn the first of the two instants; in the skipped hour of spring, as if the clock had
/// not been moved. NULL outside the calendar.
fn instant(micros: i64, timezone: Tz) -> Option<i64> {
    let local: NaiveDateTime = DateTime::from_timestamp_micros(micros)?.naive_utc();
    let resolved = match timezone.from_local_datetime(&local) {
        LocalResult::Single(instant) | LocalResult::Ambiguous(instant, _) => instant,
        LocalResult::None => {
            let before = local.checked_sub_signed(Duration::hours(3))?;
            let before = timezone.from_local_datetime(&before).earliest()?;
            before.checked_add_signed(Duration::hours(3))?
        }
    };
    Some(resolved.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(local: &str, utc: &str) {
        let micros = |text: &str| {
            NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S")
                .expect("a time")
                .and_utc()
                .timestamp_micros()
        };
        let found = instant(micros(local), Tz::Europe__Paris).expect("an instant");
        assert_eq!(found, micros(utc));
    }

    #[test]
    fn reads_paris_time_over_both_changes() {
        check("2026-01-01 00:00:00", "2025-12-31 23:00:00");
        check("2026-07-01 12:00:00", "2026-07-01 10:00:00");
        check("2026-03-29 02:30:00", "2026-03-29 01:30:00");
        check("2026-10-25 02:30:00", "2026-10-25 00:30:00");
    }

    #[test]
    fn extremes_are_null() {
        assert_eq!(instant(i64::MAX, Tz::Europe__Paris), None);
        assert_eq!(instant(i64::MIN, Tz::Europe__Paris), None);
    }
}
