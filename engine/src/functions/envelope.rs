use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use debezium::{LogicalTypes, RowImages, key_image, unavailable};

/// Which state of the row a change event is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Image {
    Before,
    After,
    /// The row that the event is about: after it, or for a delete before it, or at least its key.
    Current,
}

/// A function of `(value)`, for `Current` of `(value, key)`, that gives an image of the row as JSON text.
pub(crate) fn image(image: Image) -> ScalarUDF {
    let arguments = match image {
        Image::Before | Image::After => vec![DataType::Binary],
        Image::Current => vec![DataType::Binary, DataType::Binary],
    };
    ScalarUDF::from(EnvelopeImage {
        signature: Signature::exact(arguments, Volatility::Immutable),
        image,
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct EnvelopeImage {
    signature: Signature,
    image: Image,
}

impl ScalarUDFImpl for EnvelopeImage {
    fn name(&self) -> &'static str {
        match self.image {
            Image::Before => "envelope_before",
            Image::After => "envelope_after",
            Image::Current => "envelope_current",
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
        let values = arrays[0].as_binary::<i32>();
        let keys = arrays.get(1).map(|keys| keys.as_binary::<i32>());
        // Messages of a topic have the same schema until it changes.
        let mut known: Option<(&str, LogicalTypes)> = None;
        let mut images = StringBuilder::with_capacity(values.len(), values.values().len() / 2);
        for row in 0..values.len() {
            let value = values.is_valid(row).then(|| values.value(row));
            let key = keys
                .filter(|keys| keys.is_valid(row))
                .map(|keys| keys.value(row));
            let Some((mut image, schema)) = value.and_then(|value| self.of(value, key)) else {
                images.append_null();
                continue;
            };
            // A fold takes what is not known from an older event, or has nothing for it.
            if self.image == Image::Current
                && value.is_some_and(unavailable::may_hold)
                && let Some(nulled) = unavailable::nulled(&image)
            {
                image = Cow::Owned(nulled);
            }
            if let Some(schema) = schema {
                if known.as_ref().is_none_or(|(known, _)| *known != schema) {
                    known = Some((schema, LogicalTypes::of(schema)));
                }
                let types = known.as_ref().map(|(_, types)| types);
                if let Some(applied) = types.and_then(|types| types.applied(&image)) {
                    image = Cow::Owned(applied);
                }
            }
            images.append_value(image);
        }
        let images: ArrayRef = Arc::new(images.finish());
        super::columnar(&args.args, images)
    }
}

impl EnvelopeImage {
    /// The image as it stands in the message, and the schema that explains it.
    fn of<'a>(
        &self,
        value: &'a [u8],
        key: Option<&'a [u8]>,
    ) -> Option<(Cow<'a, str>, Option<&'a str>)> {
        let images = RowImages::of(value)?;
        let image = match self.image {
            Image::Before => images.before,
            Image::After => images.after,
            Image::Current => images.after.or(images.before).or_else(|| key_image(key?)),
        };
        Some((Cow::Borrowed(image?), images.schema))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(wanted: Image, value: &str, key: &str, expected: Option<&str>) {
        let function = EnvelopeImage {
            signature: Signature::any(1, Volatility::Immutable),
            image: wanted,
        };
        let found = function.of(value.as_bytes(), Some(key.as_bytes()));
        assert_eq!(found.as_ref().map(|(image, _)| &**image), expected);
    }

    #[test]
    fn gives_the_images_of_an_event() {
        let update = r#"{"before":{"a":1},"after":{"a":2},"op":"u"}"#;
        check(Image::Before, update, "", Some(r#"{"a":1}"#));
        check(Image::After, update, "", Some(r#"{"a":2}"#));
        check(Image::Current, update, "", Some(r#"{"a":2}"#));
        let delete = r#"{"schema":{},"payload":{"before":{"a":2},"after":null,"op":"d"}}"#;
        check(Image::After, delete, "", None);
        check(Image::Current, delete, "", Some(r#"{"a":2}"#));
    }

    #[test]
    fn a_delete_without_before_has_its_key() {
        let delete = r#"{"before":null,"after":null,"op":"d"}"#;
        check(Image::Current, delete, r#"{"a":2}"#, Some(r#"{"a":2}"#));
        let wrapped = r#"{"schema":{},"payload":{"a":3}}"#;
        check(Image::Current, delete, wrapped, Some(r#"{"a":3}"#));
    }

    #[test]
    fn what_is_no_envelope_has_no_image() {
        for value in ["", "x", "[]", "{}", r#"{"after":5}"#] {
            check(Image::Current, value, "", None);
        }
    }
}
