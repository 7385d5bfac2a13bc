//! What clients are told about a column beside its type: the metadata that ODBC, JDBC and Power BI
//! read.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, Schema, SchemaRef};

const TYPE_NAME: &str = "ARROW:FLIGHT:SQL:TYPE_NAME";
const PRECISION: &str = "ARROW:FLIGHT:SQL:PRECISION";
const SCALE: &str = "ARROW:FLIGHT:SQL:SCALE";
const IS_CASE_SENSITIVE: &str = "ARROW:FLIGHT:SQL:IS_CASE_SENSITIVE";
const IS_SEARCHABLE: &str = "ARROW:FLIGHT:SQL:IS_SEARCHABLE";
const IS_READ_ONLY: &str = "ARROW:FLIGHT:SQL:IS_READ_ONLY";
const IS_AUTO_INCREMENT: &str = "ARROW:FLIGHT:SQL:IS_AUTO_INCREMENT";
const CATALOG_NAME: &str = "ARROW:FLIGHT:SQL:CATALOG_NAME";
const SCHEMA_NAME: &str = "ARROW:FLIGHT:SQL:SCHEMA_NAME";
const TABLE_NAME: &str = "ARROW:FLIGHT:SQL:TABLE_NAME";

/// The schema of a result as clients get it.
pub(crate) fn of_result(schema: &Schema) -> SchemaRef {
    let fields: Vec<Field> = schema.fields().iter().map(described).collect();
    Arc::new(Schema::new(fields))
}

/// The schema of a table as `GetTables` lists it.
pub(crate) fn of_table(catalog: &str, schema: &str, table: &str, columns: &Schema) -> Schema {
    let names = [
        (CATALOG_NAME, catalog),
        (SCHEMA_NAME, schema),
        (TABLE_NAME, table),
        (IS_READ_ONLY, "1"),
        (IS_AUTO_INCREMENT, "0"),
    ];
    let fields: Vec<Field> = columns
        .fields()
        .iter()
        .map(|field| {
            let field = described(field);
            let mut metadata = field.metadata().clone();
            metadata.extend(names.map(|(key, value)| (key.to_owned(), value.to_owned())));
            field.with_metadata(metadata)
        })
        .collect();
    Schema::new(fields)
}

/// Never `REMARKS`: some drivers take it for the column's label.
fn described(field: &FieldRef) -> Field {
    let data_type = field.data_type();
    let text = matches!(data_type, DataType::Utf8);
    let mut metadata = vec![
        (TYPE_NAME, sql_name(data_type).to_owned()),
        (IS_CASE_SENSITIVE, flag(text)),
        (IS_SEARCHABLE, flag(true)),
    ];
    if let Some((precision, scale)) = precision_and_scale(data_type) {
        metadata.push((PRECISION, precision.to_string()));
        metadata.push((SCALE, scale.to_string()));
    }
    let metadata = metadata
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    field.as_ref().clone().with_metadata(metadata)
}

fn flag(set: bool) -> String {
    String::from(if set { "1" } else { "0" })
}

/// The name of a type in SQL.
pub(crate) fn sql_name(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Null => "NULL",
        DataType::Boolean => "BOOLEAN",
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INTEGER",
        DataType::Int64 => "BIGINT",
        DataType::UInt8 => "TINYINT UNSIGNED",
        DataType::UInt16 => "SMALLINT UNSIGNED",
        DataType::UInt32 => "INTEGER UNSIGNED",
        DataType::UInt64 => "BIGINT UNSIGNED",
        DataType::Float16 | DataType::Float32 => "REAL",
        DataType::Float64 => "DOUBLE",
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => "DECIMAL",
        DataType::Date32 | DataType::Date64 => "DATE",
        DataType::Time32(_) | DataType::Time64(_) => "TIME",
        DataType::Timestamp(_, None) => "TIMESTAMP",
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE",
        DataType::Interval(IntervalUnit::YearMonth) => "INTERVAL YEAR TO MONTH",
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR",
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "VARBINARY",
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        | DataType::FixedSizeList(..) => "ARRAY",
        DataType::Struct(_) => "ROW",
        DataType::Map(..) => "MAP",
        DataType::Union(..) => "UNION",
        DataType::Dictionary(_, values) => sql_name(values),
        DataType::RunEndEncoded(_, values) => sql_name(values.data_type()),
    }
}

fn precision_and_scale(data_type: &DataType) -> Option<(u8, i8)> {
    match data_type {
        DataType::Int8 | DataType::UInt8 => Some((3, 0)),
        DataType::Int16 | DataType::UInt16 => Some((5, 0)),
        DataType::Int32 | DataType::UInt32 => Some((10, 0)),
        DataType::Int64 => Some((19, 0)),
        DataType::UInt64 => Some((20, 0)),
        DataType::Float32 => Some((7, 0)),
        DataType::Float64 => Some((15, 0)),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            Some((*precision, *scale))
        }
        DataType::Timestamp(..) => Some((26, 6)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    #[track_caller]
    fn check(data_type: DataType, expected: &[(&str, &str)]) {
        let schema = Schema::new(vec![Field::new("c", data_type.clone(), true)]);
        let sent = of_result(&schema);
        let field = sent.field(0);
        assert_eq!(field.data_type(), &data_type);
        for (key, value) in expected {
            assert_eq!(field.metadata().get(*key).map(String::as_str), Some(*value));
        }
    }

    #[test]
    fn a_result_column_has_what_odbc_needs() {
        check(
            DataType::Utf8,
            &[
                (TYPE_NAME, "VARCHAR"),
                (IS_CASE_SENSITIVE, "1"),
                (IS_SEARCHABLE, "1"),
            ],
        );
        check(
            DataType::Decimal128(12, 2),
            &[(TYPE_NAME, "DECIMAL"), (PRECISION, "12"), (SCALE, "2")],
        );
        check(
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            &[(TYPE_NAME, "TIMESTAMP WITH TIME ZONE"), (SCALE, "6")],
        );
    }

    #[test]
    fn a_listed_column_says_where_it_is_from() {
        let columns = Schema::new(vec![Field::new("bu", DataType::Utf8, true)]);
        let listed = of_table("sportlake", "gold", "cout_par_bu", &columns);
        let metadata = listed.field(0).metadata();
        assert_eq!(metadata[TABLE_NAME], "cout_par_bu");
        assert_eq!(metadata[IS_READ_ONLY], "1");
        assert!(!metadata.contains_key("ARROW:FLIGHT:SQL:REMARKS"));
    }
}
