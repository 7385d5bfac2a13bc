use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};
use debezium::{base64_decimal, variable_decimal};

/// Name of the function that `sources.lock` asks for.
pub(crate) const SOURCE_DECIMAL: &str = "source_decimal";

/// `debezium_decimal(text, scale)`: the decimal text of a NUMERIC that came in mode `precise` without a schema.
/// `debezium_decimal(text)`: the same for a NUMERIC without a scale of its own, whose text says it.
///
/// A text with a decimal point is one already, but for an exponent that mode `double` may give it.
pub(super) fn function() -> ScalarUDF {
    let signatures = vec![
        TypeSignature::Exact(vec![DataType::Utf8]),
        TypeSignature::Exact(vec![DataType::Utf8, DataType::Int64]),
    ];
    ScalarUDF::from(DebeziumDecimal {
        signature: Signature::one_of(signatures, Volatility::Immutable),
        form: Form::Told,
    })
}

/// `source_decimal(text, scale)`: what `after ->> 'field'` means for a field that `sources.lock` has as
/// `decimal(p, s)`: the decimal text, in whichever mode the NUMERIC came.
///
/// Digits alone may be a number or, in base64, another one. Where they can be both, they are refused.
pub(super) fn of_source() -> ScalarUDF {
    let arguments = vec![DataType::Utf8, DataType::Int64];
    ScalarUDF::from(DebeziumDecimal {
        signature: Signature::exact(arguments, Volatility::Immutable),
        form: Form::Found,
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DebeziumDecimal {
    signature: Signature,
    form: Form,
}

/// How a text without a decimal point is known to be base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Form {
    /// The author of the SELECT says so.
    Told,
    /// It can be nothing else.
    Found,
}

impl ScalarUDFImpl for DebeziumDecimal {
    fn name(&self) -> &'static str {
        match self.form {
            Form::Told => "debezium_decimal",
            Form::Found => SOURCE_DECIMAL,
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let texts = arrays[0].as_string::<i32>();
        let scales = arrays
            .get(1)
            .map(|scales| scales.as_primitive::<Int64Type>());
        let mut decimals = StringBuilder::new();
        for row in 0..texts.len() {
            if texts.is_null(row) {
                decimals.append_null();
                continue;
            }
            let scale = scales.filter(|scales| scales.is_valid(row));
            let scale = scale.map(|scales| scales.value(row));
            let decimal = match self.form {
                Form::Told => read(texts.value(row), scale),
                Form::Found => find(texts.value(row), scale),
            };
            match decimal {
                Some(decimal) => decimals.append_value(decimal),
                None => return exec_err!("a value is no NUMERIC as Debezium writes it"),
            }
        }
        let decimals: ArrayRef = Arc::new(decimals.finish());
        super::columnar(&args.args, decimals)
    }
}

fn read(text: &str, scale: Option<i64>) -> Option<String> {
    if text.starts_with('{') {
        return variable_decimal(text);
    }
    // Base64 has no point.
    if text.contains('.') {
        return without_exponent(text);
    }
    base64_decimal(text, i32::try_from(scale?).ok()?)
}

/// The same where base64 has to be told from a number.
fn find(text: &str, scale: Option<i64>) -> Option<String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return read(text, scale);
    }
    // Base64 has no minus, and comes in fours.
    let may_be_base64 = digits.len() == text.len() && text.len().is_multiple_of(4);
    (!may_be_base64).then(|| text.to_owned())
}

/// `1.5E3` as `1500`: with the digits that it has.
fn without_exponent(text: &str) -> Option<String> {
    let Some((number, exponent)) = text.split_once(['E', 'e']) else {
        return Some(text.to_owned());
    };
    let exponent: i64 = exponent.parse().ok()?;
    let (sign, number) = match number.strip_prefix('-') {
        Some(number) => ("-", number),
        None => ("", number),
    };
    let (whole, part) = number.split_once('.')?;
    let digits = format!("{whole}{part}");
    // Digits behind the point, once it has moved.
    let scale = i64::try_from(part.len()).ok()?.checked_sub(exponent)?;
    if scale.unsigned_abs() > 400 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let scale = usize::try_from(scale.unsigned_abs()).ok()?;
    Some(match exponent > i64::try_from(part.len()).ok()? {
        true => format!("{sign}{digits}{}", "0".repeat(scale)),
        false => {
            let padded = format!("{digits:0>width$}", width = scale + 1);
            let (whole, part) = padded.split_at(padded.len() - scale);
            let point = if part.is_empty() { "" } else { "." };
            format!("{sign}{whole}{point}{part}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exponent_moves_the_point() {
        for (text, expected) in [
            ("1.234567E4", "12345.67"),
            ("-1.5E3", "-1500"),
            ("1.0E10", "10000000000"),
            ("1.5E1", "15"),
            ("1.5E-3", "0.0015"),
        ] {
            assert_eq!(read(text, Some(2)).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "1.0E999",
            "1.5E-9223372036854775808",
            "1.5E9223372036854775807",
            "x.yE1",
            "1.0E",
            "1.E1.0",
        ] {
            assert_eq!(read(text, Some(2)), None, "{text}");
        }
    }

    #[test]
    fn digits_that_may_be_two_numbers_are_refused() {
        for (text, expected) in [
            ("EtaH", Some("12345.67")),
            ("/w==", Some("-0.01")),
            ("12345.67", Some("12345.67")),
            ("1.234567E4", Some("12345.67")),
            ("30940", Some("30940")),
            ("-1234", Some("-1234")),
            ("1234", None),
            ("NaN", None),
            ("", None),
            ("-", None),
        ] {
            assert_eq!(find(text, Some(2)).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn reads_what_the_precise_mode_writes() {
        let found = |text, scale| read(text, scale);
        assert_eq!(found("EtaH", Some(2)).as_deref(), Some("12345.67"));
        assert_eq!(found("12345.67", Some(2)).as_deref(), Some("12345.67"));
        let variable = r#"{"scale":3,"value":"AQ=="}"#;
        assert_eq!(found(variable, None).as_deref(), Some("0.001"));
        assert_eq!(found("EtaH", None), None);
        assert_eq!(found("NaN!", Some(2)), None);
    }
}
