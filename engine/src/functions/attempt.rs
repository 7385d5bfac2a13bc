use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::dead_letters::ATTEMPT_HEADER;

/// A sender may write any number into a header of that name. One beyond this is none: counting begins anew behind it.
const MOST_ATTEMPTS: i64 = i64::MAX / 2;

/// A function of bronze's `headers` that gives which attempt at its message a row is, from 1.
pub(crate) fn attempt() -> ScalarUDF {
    ScalarUDF::from(Attempt {
        signature: Signature::exact(vec![DataType::Utf8], Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Attempt {
    signature: Signature,
}

impl ScalarUDFImpl for Attempt {
    fn name(&self) -> &'static str {
        "message_attempt"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let headers = arrays[0].as_string::<i32>();
        let attempts = (0..headers.len()).map(|row| match headers.is_valid(row) {
            true => of(headers.value(row)),
            false => 1,
        });
        let attempts: ArrayRef = Arc::new(Int64Array::from_iter_values(attempts));
        super::columnar(&args.args, attempts)
    }
}

fn of(headers: &str) -> i64 {
    if !headers.contains(ATTEMPT_HEADER) {
        return 1;
    }
    let pairs: Vec<(String, Option<String>)> = serde_json::from_str(headers).unwrap_or_default();
    let last = pairs.iter().rev().find(|(name, _)| name == ATTEMPT_HEADER);
    last.and_then(|(_, value)| value.as_ref()?.parse().ok())
        .filter(|attempt| (1..MOST_ATTEMPTS).contains(attempt))
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_number_counts() {
        for (headers, attempt) in [
            ("[]", 1),
            (r#"[["sportlake.attempt","3"]]"#, 3),
            (
                r#"[["sportlake.attempt","2"],["a",null],["sportlake.attempt","4"]]"#,
                4,
            ),
            (r#"[["a","sportlake.attempt"]]"#, 1),
            (r#"[["sportlake.attempt",null]]"#, 1),
            (r#"[["sportlake.attempt","-7"]]"#, 1),
            (r#"[["sportlake.attempt","5000000"]]"#, 5_000_000),
            (r#"[["sportlake.attempt","9223372036854775807"]]"#, 1),
            ("sportlake.attempt", 1),
        ] {
            assert_eq!(of(headers), attempt, "{headers}");
        }
    }
}
