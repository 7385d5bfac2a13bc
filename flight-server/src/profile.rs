//! What a kind of client can read. One function decides it for FlightInfo, prepared schema, stream and catalog.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, RecordBatch, RecordBatchOptions, StringArray, StringBuilder,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::json::writer::{EncoderOptions, make_encoder};
use engine::{Error, ErrorKind, Result};
use tonic::metadata::MetadataMap;

/// The header and the session option that name a profile.
pub(crate) const PROFILE: &str = "profile";

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Every type of Arrow that drivers have in common: ADBC.
    #[default]
    Arrow,
    /// Times without a zone, in UTC: some versions of the driver cannot show a column of others.
    Jdbc,
    /// Times without a zone, in UTC, because the driver shows others as texts it cannot convert; nested values as JSON.
    Odbc,
    /// Times in nanoseconds whatever they are, numbers as doubles, bytes as hexadecimal digits: what the Grafana plugin
    /// reads without losing rows.
    Grafana,
}

impl Profile {
    const ALL: [Self; 4] = [Self::Arrow, Self::Jdbc, Self::Odbc, Self::Grafana];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Arrow => "arrow",
            Self::Jdbc => "jdbc",
            Self::Odbc => "odbc",
            Self::Grafana => "grafana",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|profile| profile.name().eq_ignore_ascii_case(name))
    }

    /// The profile that a call names, or else that of the client it comes from.
    pub(crate) fn of(headers: &MetadataMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let named = text(PROFILE).and_then(Self::named);
        named.unwrap_or_else(|| match text("user-agent") {
            // The plugin says no more than its gRPC library; the drivers written in Go name themselves first.
            Some(agent) if agent.starts_with("grpc-go/") => Self::Grafana,
            Some(agent) if agent.starts_with("grpc-java") => Self::Jdbc,
            _ => Self::Arrow,
        })
    }

    pub(crate) fn schema(self, schema: &Schema) -> SchemaRef {
        let fields: Vec<FieldRef> = schema
            .fields()
            .iter()
            .map(|field| self.field(field))
            .collect();
        Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
    }

    fn field(self, field: &FieldRef) -> FieldRef {
        let data_type = self.data_type(field.data_type());
        match data_type == *field.data_type() {
            true => field.clone(),
            false => Arc::new(field.as_ref().clone().with_data_type(data_type)),
        }
    }

    fn data_type(self, data_type: &DataType) -> DataType {
        if self == Self::Arrow {
            return data_type.clone();
        }
        match (data_type, self) {
            (DataType::Timestamp(..), Self::Odbc | Self::Jdbc) => {
                DataType::Timestamp(TimeUnit::Microsecond, None)
            }
            (other, Self::Jdbc) => other.clone(),
            (nested, _) if nested.is_nested() => DataType::Utf8,
            (DataType::Duration(_), _) => DataType::Utf8,
            (DataType::Timestamp(_, zone), Self::Grafana) => {
                DataType::Timestamp(TimeUnit::Nanosecond, zone.clone())
            }
            (DataType::Date32 | DataType::Date64, Self::Grafana) => {
                DataType::Timestamp(TimeUnit::Nanosecond, None)
            }
            (DataType::Time32(_) | DataType::Time64(_), Self::Grafana) => DataType::Utf8,
            (DataType::Binary, Self::Grafana) => DataType::Utf8,
            (decimal, Self::Grafana) if decimal.is_decimal() => DataType::Float64,
            (other, _) => other.clone(),
        }
    }

    /// A batch as clients of this profile read it; `schema` is this profile's.
    pub(crate) fn batch(self, batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
        if self == Self::Arrow {
            return Ok(batch);
        }
        let fields = batch.schema();
        let columns: Result<Vec<ArrayRef>> = fields
            .fields()
            .iter()
            .zip(batch.columns())
            .zip(schema.fields())
            .map(|((from, column), to)| sent(from, column, to.data_type()))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(schema.clone(), columns?, &options).map_err(unsendable)
    }
}

fn sent(field: &FieldRef, column: &ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
    if column.data_type() == wanted {
        return Ok(column.clone());
    }
    if column.data_type().is_nested() {
        return json(field, column).map_err(unsendable);
    }
    if let (DataType::Binary, DataType::Utf8) = (column.data_type(), wanted) {
        return Ok(digits(column.as_binary()));
    }
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(column, wanted, &strict).map_err(|error| {
        Error::invalid(format!(
            "column \"{}\" has a value that this client cannot be sent",
            field.name()
        ))
        .hint("Cast the column, or connect with the header profile = arrow.")
        .caused_by(error)
    })
}

/// Bytes as hexadecimal digits.
fn digits(column: &BinaryArray) -> ArrayRef {
    let text = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    };
    let texts: StringArray = column.iter().map(|bytes| bytes.map(text)).collect();
    Arc::new(texts)
}

/// Nested values as JSON text.
fn json(field: &FieldRef, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let mut encoder = make_encoder(field, column, &options)?;
    let mut texts = StringBuilder::new();
    let mut text = Vec::new();
    for row in 0..column.len() {
        if encoder.is_null(row) {
            texts.append_null();
            continue;
        }
        text.clear();
        encoder.encode(row, &mut text);
        texts.append_value(String::from_utf8_lossy(&text));
    }
    Ok(Arc::new(texts.finish()))
}

fn unsendable(error: ArrowError) -> Error {
    Error::new(ErrorKind::Internal, "a row cannot be made ready to send").caused_by(error)
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Date32Array, Decimal128Array, Int64Array, ListArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::{Float64Type, Int64Type, TimestampNanosecondType};

    use super::*;

    fn rows() -> RecordBatch {
        let zoned = TimestampMicrosecondArray::from(vec![Some(1), None]).with_timezone("UTC");
        let money = Decimal128Array::from(vec![Some(1_050), None]).with_precision_and_scale(12, 2);
        let list =
            ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None]), None]);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("n", Arc::new(Int64Array::from(vec![Some(1), None]))),
            ("zoned", Arc::new(zoned)),
            ("day", Arc::new(Date32Array::from(vec![Some(1), None]))),
            ("money", Arc::new(money.expect("fits"))),
            ("list", Arc::new(list)),
            (
                "bytes",
                Arc::new(BinaryArray::from_opt_vec(vec![Some(&[0, 255]), None])),
            ),
        ];
        RecordBatch::try_from_iter(columns).expect("rows")
    }

    fn of(profile: Profile) -> RecordBatch {
        let schema = profile.schema(&rows().schema());
        let batch = profile.batch(rows(), &schema).expect("can be sent");
        assert_eq!(batch.schema(), schema, "announced and sent");
        assert!(batch.columns().iter().all(|column| column.is_null(1)));
        batch
    }

    #[test]
    fn arrow_clients_get_what_there_is() {
        assert_eq!(of(Profile::Arrow), rows());
    }

    #[test]
    fn odbc_gets_times_without_a_zone_and_lists_as_json() {
        let batch = of(Profile::Odbc);
        let types: Vec<&DataType> = batch.columns().iter().map(|c| c.data_type()).collect();
        assert_eq!(types[1], &DataType::Timestamp(TimeUnit::Microsecond, None));
        assert_eq!(types[3], &DataType::Decimal128(12, 2));
        assert_eq!(batch.column(4).as_string::<i32>().value(0), "[1,null]");
    }

    #[test]
    fn jdbc_gets_times_without_a_zone_and_lists_as_they_are() {
        let batch = of(Profile::Jdbc);
        let zoneless = DataType::Timestamp(TimeUnit::Microsecond, None);
        assert_eq!(batch.column(1).data_type(), &zoneless);
        assert_eq!(batch.column(4).data_type(), rows().column(4).data_type());
    }

    #[test]
    fn grafana_gets_nanoseconds_and_doubles() {
        let batch = of(Profile::Grafana);
        let day = batch.column(2).as_primitive::<TimestampNanosecondType>();
        assert_eq!(day.value(0), 86_400_000_000_000);
        assert_eq!(batch.column(3).as_primitive::<Float64Type>().value(0), 10.5);
        assert_eq!(batch.column(5).as_string::<i32>().value(0), "00ff");
        assert_eq!(
            batch
                .column(1)
                .as_primitive::<TimestampNanosecondType>()
                .value(0),
            1_000
        );
    }

    #[test]
    fn a_client_is_known_by_what_it_says_or_is() {
        let mut headers = MetadataMap::new();
        assert_eq!(Profile::of(&headers), Profile::Arrow);
        headers.insert("user-agent", "grpc-go/1.60.0".parse().expect("ascii"));
        assert_eq!(Profile::of(&headers), Profile::Grafana);
        headers.insert(
            "user-agent",
            "grpc-java-netty/1.65.0".parse().expect("ascii"),
        );
        assert_eq!(Profile::of(&headers), Profile::Jdbc);
        headers.insert(PROFILE, "ODBC".parse().expect("ascii"));
        assert_eq!(Profile::of(&headers), Profile::Odbc);
        let adbc = "ADBC Flight SQL Driver v1.13.0 grpc-go/1.60.0";
        let mut headers = MetadataMap::new();
        headers.insert("user-agent", adbc.parse().expect("ascii"));
        assert_eq!(Profile::of(&headers), Profile::Arrow);
    }
}
