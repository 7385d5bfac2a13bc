use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use debezium::{RowImages, unavailable};

/// `unavailable_fields(value)`: the fields of an envelope's `after` that Debezium left out, as a JSON array of their
/// names; NULL where it has all.
pub(crate) const UNAVAILABLE_FIELDS: &str = "unavailable_fields";

pub(super) fn function() -> ScalarUDF {
    ScalarUDF::from(UnavailableFields {
        signature: Signature::exact(vec![DataType::Binary], Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct UnavailableFields {
    signature: Signature,
}

impl ScalarUDFImpl for UnavailableFields {
    fn name(&self) -> &'static str {
        UNAVAILABLE_FIELDS
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let values = arrays[0].as_binary::<i32>();
        let mut fields = StringBuilder::new();
        for row in 0..values.len() {
            let value = values.is_valid(row).then(|| values.value(row));
            let value = value.filter(|value| unavailable::may_hold(value));
            let after = value.and_then(|value| RowImages::of(value)?.after);
            let names = after.and_then(unavailable::names);
            fields.append_option(names.and_then(|names| serde_json::to_string(&names).ok()));
        }
        let fields: ArrayRef = Arc::new(fields.finish());
        super::columnar(&args.args, fields)
    }
}
