//! The commands that browse: catalogs, schemas, tables, keys, types and what the server can do.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::error::FlightError;
use arrow_flight::sql::{
    Command, CommandGetCatalogs, CommandGetDbSchemas, CommandGetPrimaryKeys, CommandGetTableTypes,
    CommandGetTables,
};
use engine::{CATALOG, DEFAULT_SCHEMA, Error, ErrorKind, Result, TableInfo, TableKind};

use crate::profile::Profile;
use crate::{columns, sql_info};

const TABLE: &str = "TABLE";
const VIEW: &str = "VIEW";

/// The answer to a browsing command; `None` for a command of another sort.
pub(crate) fn answer(
    command: Command,
    tables: &[TableInfo],
    profile: Profile,
) -> Option<Result<RecordBatch>> {
    Some(match command {
        Command::CommandGetCatalogs(command) => catalogs(command),
        Command::CommandGetDbSchemas(command) => schemas(command, tables),
        Command::CommandGetTables(command) => listed(command, tables, profile),
        Command::CommandGetTableTypes(command) => table_types(command),
        Command::CommandGetSqlInfo(command) => sql_info::sql_info(command.info),
        Command::CommandGetXdbcTypeInfo(command) => sql_info::xdbc_types(command.data_type),
        Command::CommandGetPrimaryKeys(command) => primary_keys(&command, tables),
        Command::CommandGetExportedKeys(_)
        | Command::CommandGetImportedKeys(_)
        | Command::CommandGetCrossReference(_) => Ok(RecordBatch::new_empty(foreign_keys())),
        _ => return None,
    })
}

/// Whether the answer depends on the tables of an epoch.
pub(crate) fn reads_tables(command: &Command) -> bool {
    matches!(
        command,
        Command::CommandGetDbSchemas(_)
            | Command::CommandGetTables(_)
            | Command::CommandGetPrimaryKeys(_)
    )
}

pub(crate) fn internal(error: FlightError) -> Error {
    Error::new(ErrorKind::Internal, "a catalog answer cannot be built").caused_by(error)
}

fn catalogs(command: CommandGetCatalogs) -> Result<RecordBatch> {
    let mut builder = command.into_builder();
    builder.append(CATALOG);
    builder.build().map_err(internal)
}

fn schemas(command: CommandGetDbSchemas, tables: &[TableInfo]) -> Result<RecordBatch> {
    let mut names: BTreeSet<&str> = tables.iter().map(|table| table.schema.as_str()).collect();
    names.insert(DEFAULT_SCHEMA);
    let mut builder = command.into_builder();
    for name in names {
        builder.append(CATALOG, name);
    }
    builder.build().map_err(internal)
}

fn listed(
    mut command: CommandGetTables,
    tables: &[TableInfo],
    profile: Profile,
) -> Result<RecordBatch> {
    for wanted in &mut command.table_types {
        *wanted = match wanted.to_ascii_uppercase().as_str() {
            "BASE TABLE" => TABLE.to_owned(),
            upper => upper.to_owned(),
        };
    }
    let mut builder = command.into_builder();
    for table in tables {
        let kind = match table.kind {
            TableKind::Table => TABLE,
            TableKind::View => VIEW,
        };
        let schema = columns::of_table(table, &profile.schema(&table.arrow));
        builder
            .append(&table.catalog, &table.schema, &table.name, kind, &schema)
            .map_err(internal)?;
    }
    builder.build().map_err(internal)
}

fn table_types(command: CommandGetTableTypes) -> Result<RecordBatch> {
    let mut builder = command.into_builder();
    builder.append(TABLE);
    builder.append(VIEW);
    builder.build().map_err(internal)
}

fn primary_keys(command: &CommandGetPrimaryKeys, tables: &[TableInfo]) -> Result<RecordBatch> {
    let asked =
        |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
    let mut parts: Vec<(&TableInfo, &str, i32)> = Vec::new();
    for table in tables {
        let matches = table.name == command.table
            && asked(&command.catalog, &table.catalog)
            && asked(&command.db_schema, &table.schema);
        if matches {
            parts.extend(
                (1..)
                    .zip(&table.key)
                    .map(|(n, column)| (table, column.as_str(), n)),
            );
        }
    }
    let text = |value: fn(&TableInfo) -> &str| -> ArrayRef {
        let values = parts.iter().map(|(table, ..)| value(table));
        Arc::new(StringArray::from_iter_values(values))
    };
    let key_names = parts.iter().map(|(table, ..)| table.key_name());
    let arrays: Vec<ArrayRef> = vec![
        text(|table| &table.catalog),
        text(|table| &table.schema),
        text(|table| &table.name),
        Arc::new(StringArray::from_iter_values(
            parts.iter().map(|(_, column, _)| column),
        )),
        Arc::new(StringArray::from_iter_values(key_names)),
        Arc::new(Int32Array::from_iter_values(parts.iter().map(|(.., n)| *n))),
    ];
    let schema = Arc::new(Schema::new(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_name", DataType::Utf8, true),
        Field::new("key_sequence", DataType::Int32, false),
    ]));
    RecordBatch::try_new(schema, arrays).map_err(|err| internal(err.into()))
}

/// No table refers to another by a declared key, so the answer is empty.
fn foreign_keys() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("pk_catalog_name", DataType::Utf8, true),
        Field::new("pk_db_schema_name", DataType::Utf8, true),
        Field::new("pk_table_name", DataType::Utf8, false),
        Field::new("pk_column_name", DataType::Utf8, false),
        Field::new("fk_catalog_name", DataType::Utf8, true),
        Field::new("fk_db_schema_name", DataType::Utf8, true),
        Field::new("fk_table_name", DataType::Utf8, false),
        Field::new("fk_column_name", DataType::Utf8, false),
        Field::new("key_sequence", DataType::Int32, false),
        Field::new("fk_key_name", DataType::Utf8, true),
        Field::new("pk_key_name", DataType::Utf8, true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]))
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow_flight::sql::{CommandGetExportedKeys, CommandGetSqlInfo};

    use super::*;

    fn table(schema: &str, name: &str, key: &[&str]) -> TableInfo {
        let fields = vec![
            Field::new("employee_id", DataType::Int64, true),
            Field::new("bu", DataType::Utf8, true),
        ];
        TableInfo {
            catalog: CATALOG.to_owned(),
            schema: schema.to_owned(),
            name: name.to_owned(),
            kind: TableKind::Table,
            description: None,
            column_notes: Default::default(),
            arrow: Arc::new(Schema::new(fields)),
            key: key.iter().map(|&column| column.to_owned()).collect(),
            whole: true,
            masked: std::collections::BTreeSet::new(),
        }
    }

    fn lake() -> Vec<TableInfo> {
        vec![
            table("bronze", "employees", &[]),
            table("gold", "eligibilites", &["employee_id", "bu"]),
            table("main", "parameters", &[]),
        ]
    }

    #[track_caller]
    fn check(command: Command, column: usize, expected: &[&str]) {
        let batch = answer(command, &lake(), Profile::Arrow)
            .expect("browses")
            .expect("answers");
        let names = batch.column(column).as_string::<i32>();
        let names: Vec<&str> = names.iter().flatten().collect();
        assert_eq!(names, expected);
    }

    fn tables_of_types(types: &[&str]) -> Command {
        Command::CommandGetTables(CommandGetTables {
            table_types: types.iter().map(|&kind| kind.to_owned()).collect(),
            ..CommandGetTables::default()
        })
    }

    #[test]
    fn every_schema_is_listed_without_naming_a_catalog() {
        let all = CommandGetDbSchemas::default();
        check(
            Command::CommandGetDbSchemas(all),
            1,
            &["bronze", "gold", "main"],
        );
        let some = CommandGetDbSchemas {
            catalog: None,
            db_schema_filter_pattern: Some("g%".to_owned()),
        };
        check(Command::CommandGetDbSchemas(some), 1, &["gold"]);
    }

    #[test]
    fn table_types_match_in_any_case_and_by_their_other_name() {
        let all = ["employees", "eligibilites", "parameters"];
        check(tables_of_types(&[]), 2, &all);
        check(tables_of_types(&["BASE TABLE", "table"]), 2, &all);
        check(tables_of_types(&["base table"]), 2, &all);
        check(tables_of_types(&["view"]), 2, &[]);
    }

    #[test]
    fn a_key_is_listed_in_its_order() {
        let of = |table: &str, db_schema: Option<&str>| {
            Command::CommandGetPrimaryKeys(CommandGetPrimaryKeys {
                catalog: None,
                db_schema: db_schema.map(str::to_owned),
                table: table.to_owned(),
            })
        };
        check(of("eligibilites", None), 3, &["employee_id", "bu"]);
        check(of("eligibilites", Some("silver")), 3, &[]);
        check(of("employees", None), 3, &[]);
    }

    #[test]
    fn foreign_keys_are_none_but_not_refused() {
        let command = Command::CommandGetExportedKeys(CommandGetExportedKeys::default());
        let batch = answer(command, &lake(), Profile::Arrow)
            .expect("browses")
            .expect("answers");
        assert_eq!((batch.num_rows(), batch.num_columns()), (0, 13));
    }

    #[test]
    fn the_schema_does_not_depend_on_the_tables() {
        for include_schema in [false, true] {
            let command = Command::CommandGetTables(CommandGetTables {
                include_schema,
                ..CommandGetTables::default()
            });
            let with = answer(command.clone(), &lake(), Profile::Arrow)
                .expect("browses")
                .expect("answers");
            let without = answer(command, &[], Profile::Arrow)
                .expect("browses")
                .expect("answers");
            assert_eq!(with.schema(), without.schema());
        }
        let command = Command::CommandGetSqlInfo(CommandGetSqlInfo::default());
        assert!(!reads_tables(&command));
    }
}
