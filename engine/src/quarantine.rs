//! Quarantines: the rows that a table's rules keep out of it, as readers see them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// The columns of a table's quarantine: its own, then what keeps each row out and the event that it stands on.
///
/// A name that the table has already gets underscores in front.
pub(crate) fn schema(table: &Schema) -> SchemaRef {
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut fields: Vec<Field> = table
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_nullable(true))
        .collect();
    for (name, data_type) in [
        ("rule", DataType::Utf8),
        ("reason", DataType::Utf8),
        ("_partition", DataType::Int32),
        ("_offset", DataType::Int64),
        ("_timestamp", instant),
    ] {
        let mut name = name.to_owned();
        while fields
            .iter()
            .any(|field| field.name().eq_ignore_ascii_case(&name))
        {
            name.insert(0, '_');
        }
        fields.push(Field::new(name, data_type, true));
    }
    Arc::new(Schema::new(fields))
}

/// Why a rule keeps a row out.
pub(crate) fn reason(definition: &str) -> String {
    format!("{definition} is not true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_table_are_left_to_it() {
        let table = Schema::new(vec![
            Field::new("rule", DataType::Int64, false),
            Field::new("_rule", DataType::Int64, true),
        ]);
        let schema = schema(&table);
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let expected = [
            "rule",
            "_rule",
            "__rule",
            "reason",
            "_partition",
            "_offset",
            "_timestamp",
        ];
        assert_eq!(names, expected);
        assert!(schema.fields().iter().all(|field| field.is_nullable()));
    }
}
