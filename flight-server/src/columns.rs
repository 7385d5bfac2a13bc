//! What clients are told about a column beside its type: the metadata that ODBC, JDBC and Power BI
//! read.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use engine::{TableInfo, precision_and_scale, sql_type_name};

const TYPE_NAME: &str = "ARROW:FLIGHT:SQL:TYPE_NAME";
const PRECISION: &str = "ARROW:FLIGHT:SQL:PRECISION";
const SCALE: &str = "ARROW:FLIGHT:SQL:SCALE";
const IS_CASE_SENSITIVE: &str = "ARROW:FLIGHT:SQL:IS_CASE_SENSITIVE";
const IS_SEARCHABLE: &str = "ARROW:FLIGHT:SQL:IS_SEARCHABLE";
const IS_READ_ONLY: &str = "ARROW:FLIGHT:SQL:IS_READ_ONLY";
const IS_AUTO_INCREMENT: &str = "ARROW:FLIGHT:SQL:IS_AUTO_INCREMENT";
const CATALOG_NAME: &str = "ARROW:FLIGHT:SQL:CATALOG_NAME";
const SCHEMA_NAME: &str = "ARROW:FLIGHT:SQL:SCHEMA_NAME";
const REMARKS: &str = "ARROW:FLIGHT:SQL:REMARKS";
const TABLE_NAME: &str = "ARROW:FLIGHT:SQL:TABLE_NAME";

/// The schema of a result as clients get it.
pub(crate) fn of_result(schema: &Schema) -> SchemaRef {
    let fields: Vec<Field> = schema.fields().iter().map(described).collect();
    Arc::new(Schema::new(fields))
}

/// The schema of a table with these columns, as `GetTables` lists it; descriptions are remarks.
pub(crate) fn of_table(table: &TableInfo, columns: &Schema) -> Schema {
    let names = [
        (CATALOG_NAME, table.catalog.as_str()),
        (SCHEMA_NAME, table.schema.as_str()),
        (TABLE_NAME, table.name.as_str()),
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
            let note = table.column_notes.get(field.name());
            metadata.extend(note.map(|note| (REMARKS.to_owned(), note.clone())));
            field.with_metadata(metadata)
        })
        .collect();
    let remarks = table.description.as_ref();
    let remarks = remarks.map(|text| (REMARKS.to_owned(), text.clone()));
    Schema::new_with_metadata(fields, remarks.into_iter().collect())
}

/// Never `REMARKS`, for a result: some drivers take it for the column's label.
fn described(field: &FieldRef) -> Field {
    let data_type = field.data_type();
    let text = matches!(data_type, DataType::Utf8);
    let mut metadata = vec![
        (TYPE_NAME, sql_type_name(data_type).to_owned()),
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

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;
    use engine::TableKind;

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
        let columns = Schema::new(vec![
            Field::new("bu", DataType::Utf8, true),
            Field::new("nb_primes", DataType::Int64, true),
        ]);
        let table = TableInfo {
            catalog: "sportlake".to_owned(),
            schema: "gold".to_owned(),
            name: "cout_par_bu".to_owned(),
            kind: TableKind::Table,
            description: Some("Coût par BU.".to_owned()),
            column_notes: [("nb_primes".to_owned(), "Sans les autres.".to_owned())].into(),
            arrow: Arc::new(columns.clone()),
            key: Vec::new(),
            whole: true,
            masked: std::collections::BTreeSet::new(),
        };
        let listed = of_table(&table, &columns);
        assert_eq!(listed.metadata()[REMARKS], "Coût par BU.");
        let metadata = listed.field(0).metadata();
        assert_eq!(metadata[TABLE_NAME], "cout_par_bu");
        assert_eq!(metadata[IS_READ_ONLY], "1");
        assert!(!metadata.contains_key(REMARKS));
        assert_eq!(listed.field(1).metadata()[REMARKS], "Sans les autres.");
        let result = of_result(&listed);
        assert!(!result.field(1).metadata().contains_key(REMARKS));
    }
}
