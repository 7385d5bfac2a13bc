//! `information_schema` of one session: what it sees, with the type names of SQL, keys as constraints and descriptions
//! as comments.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use datafusion::catalog::information_schema::InformationSchemaProvider;
use datafusion::catalog::{MemTable, MemoryCatalogProviderList, SchemaProvider, TableProvider};
use datafusion::error::Result;
use sql_files::{CATALOG, DEFAULT_SCHEMA};

use crate::reader::{TableInfo, TableKind};
use crate::sql_type;
use crate::statement::wire_type;

pub(crate) const INFORMATION_SCHEMA: &str = "information_schema";

/// The tables answered here; DataFusion answers those about functions and settings.
const OURS: [&str; 7] = [
    "columns",
    "key_column_usage",
    "referential_constraints",
    "schemata",
    "table_constraints",
    "tables",
    "views",
];
const DATAFUSIONS: [&str; 3] = ["df_settings", "parameters", "routines"];

const YES: &str = "YES";
const NO: &str = "NO";

pub(crate) struct InformationSchema {
    tables: Arc<[TableInfo]>,
    /// Sees no catalog, which would hold this one: functions and settings are those of whoever asks.
    functions: InformationSchemaProvider,
}

impl InformationSchema {
    pub(crate) fn new(tables: Arc<[TableInfo]>) -> Self {
        let nothing = Arc::new(MemoryCatalogProviderList::new());
        Self {
            tables,
            functions: InformationSchemaProvider::new(nothing),
        }
    }

    fn batch(&self, name: &str) -> Result<RecordBatch> {
        let table = match name {
            "columns" => self.columns(),
            "key_column_usage" => self.key_columns(),
            "referential_constraints" => references(),
            "schemata" => self.schemata(),
            "table_constraints" => self.constraints(),
            "views" => self.views(),
            _ => self.listed(),
        };
        table.batch()
    }

    fn schemata(&self) -> Answer {
        let mut names: Vec<&str> = self
            .tables
            .iter()
            .map(|table| table.schema.as_str())
            .collect();
        names.extend([DEFAULT_SCHEMA, INFORMATION_SCHEMA]);
        names.sort_unstable();
        names.dedup();
        Answer::new()
            .text("catalog_name", names.iter().map(|_| Some(CATALOG)))
            .text("schema_name", names.iter().map(|name| Some(*name)))
            .nothing("schema_owner", names.len())
            .nothing("default_character_set_catalog", names.len())
            .nothing("default_character_set_schema", names.len())
            .nothing("default_character_set_name", names.len())
            .nothing("sql_path", names.len())
    }

    fn listed(&self) -> Answer {
        let own = OURS.iter().chain(&DATAFUSIONS).copied();
        let mut rows: Vec<(&str, &str, &str, Option<&str>)> = self
            .tables
            .iter()
            .map(|table| {
                let kind = match table.kind {
                    TableKind::Table => "BASE TABLE",
                    TableKind::View => "VIEW",
                };
                (
                    table.schema.as_str(),
                    table.name.as_str(),
                    kind,
                    table.description.as_deref(),
                )
            })
            .chain(own.map(|name| (INFORMATION_SCHEMA, name, "VIEW", None)))
            .collect();
        rows.sort_unstable();
        Answer::new()
            .text("table_catalog", rows.iter().map(|_| Some(CATALOG)))
            .text("table_schema", rows.iter().map(|row| Some(row.0)))
            .text("table_name", rows.iter().map(|row| Some(row.1)))
            .text("table_type", rows.iter().map(|row| Some(row.2)))
            .text("table_comment", rows.iter().map(|row| row.3))
    }

    fn views(&self) -> Answer {
        let views = || {
            self.tables
                .iter()
                .filter(|table| table.kind == TableKind::View)
        };
        Answer::new()
            .tables(views())
            .nothing("definition", views().count())
    }

    fn columns(&self) -> Answer {
        let rows: Vec<(&TableInfo, i32, &Arc<Field>, DataType)> = self
            .tables
            .iter()
            .flat_map(|table| {
                let columns = (1..).zip(table.arrow.fields());
                columns.map(move |(n, field)| (table, n, field, wire_type(field.data_type())))
            })
            .collect();
        let types = || rows.iter().map(|(.., data_type)| data_type);
        let shape = |data_type: &DataType| sql_type::precision_and_scale(data_type);
        let numeric = |data_type: &DataType| shape(data_type).filter(|_| data_type.is_numeric());
        Answer::new()
            .tables(rows.iter().map(|row| row.0))
            .text(
                "column_name",
                rows.iter().map(|row| Some(row.2.name().as_str())),
            )
            .number("ordinal_position", rows.iter().map(|row| Some(row.1)))
            .nothing("column_default", rows.len())
            .text(
                "is_nullable",
                rows.iter().map(|row| Some(yes(row.2.is_nullable()))),
            )
            .text(
                "data_type",
                types().map(|data_type| Some(sql_type::name(data_type))),
            )
            .number("character_maximum_length", rows.iter().map(|_| None))
            .number("character_octet_length", rows.iter().map(|_| None))
            .number(
                "numeric_precision",
                types().map(|t| numeric(t).map(|(p, _)| i32::from(p))),
            )
            .number(
                "numeric_precision_radix",
                types().map(|t| numeric(t).map(|_| 10)),
            )
            .number(
                "numeric_scale",
                types().map(|t| numeric(t).map(|(_, s)| i32::from(s))),
            )
            .number(
                "datetime_precision",
                types().map(|t| {
                    t.is_temporal()
                        .then(|| shape(t).map_or(0, |(_, s)| i32::from(s)))
                }),
            )
            .nothing("interval_type", rows.len())
            .text(
                "column_comment",
                rows.iter()
                    .map(|row| row.0.column_notes.get(row.2.name()).map(String::as_str)),
            )
    }

    fn keyed(&self) -> impl Iterator<Item = &TableInfo> + Clone {
        self.tables.iter().filter(|table| !table.key.is_empty())
    }

    fn constraints(&self) -> Answer {
        let names: Vec<String> = self.keyed().map(TableInfo::key_name).collect();
        let same = |value: &'static str| names.iter().map(move |_| Some(value));
        Answer::new()
            .keys(self.keyed().zip(names.iter().map(String::as_str)))
            .tables(self.keyed())
            .text("constraint_type", same("PRIMARY KEY"))
            .text("is_deferrable", same(NO))
            .text("initially_deferred", same(NO))
            .text("enforced", same(YES))
    }

    fn key_columns(&self) -> Answer {
        let rows: Vec<(&TableInfo, String, i32, &str)> = self
            .keyed()
            .flat_map(|table| {
                let columns = (1..).zip(&table.key);
                columns.map(move |(n, column)| (table, table.key_name(), n, column.as_str()))
            })
            .collect();
        Answer::new()
            .keys(rows.iter().map(|row| (row.0, row.1.as_str())))
            .tables(rows.iter().map(|row| row.0))
            .text("column_name", rows.iter().map(|row| Some(row.3)))
            .number("ordinal_position", rows.iter().map(|row| Some(row.2)))
            .number("position_in_unique_constraint", rows.iter().map(|_| None))
    }
}

/// No table refers to another by a declared key.
fn references() -> Answer {
    let names = [
        "constraint_catalog",
        "constraint_schema",
        "constraint_name",
        "unique_constraint_catalog",
        "unique_constraint_schema",
        "unique_constraint_name",
        "match_option",
        "update_rule",
        "delete_rule",
    ];
    names
        .into_iter()
        .fold(Answer::new(), |answer, name| answer.nothing(name, 0))
}

fn yes(yes: bool) -> &'static str {
    if yes { YES } else { NO }
}

#[async_trait]
impl SchemaProvider for InformationSchema {
    fn table_names(&self) -> Vec<String> {
        let names = OURS.iter().chain(&DATAFUSIONS);
        names.map(|name| (*name).to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let name = name.to_ascii_lowercase();
        if !OURS.contains(&name.as_str()) {
            return match DATAFUSIONS.contains(&name.as_str()) {
                true => self.functions.table(&name).await,
                false => Ok(None),
            };
        }
        let batch = self.batch(&name)?;
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
        Ok(Some(Arc::new(table)))
    }

    fn table_exist(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        OURS.contains(&name.as_str()) || DATAFUSIONS.contains(&name.as_str())
    }
}

impl fmt::Debug for InformationSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InformationSchema").finish_non_exhaustive()
    }
}

/// The rows of one of these tables, column by column.
struct Answer {
    fields: Vec<Field>,
    columns: Vec<ArrayRef>,
}

impl Answer {
    fn new() -> Self {
        Self {
            fields: Vec::new(),
            columns: Vec::new(),
        }
    }

    /// The columns that name a table.
    fn tables<'a>(self, tables: impl Iterator<Item = &'a TableInfo> + Clone) -> Self {
        self.text("table_catalog", tables.clone().map(|_| Some(CATALOG)))
            .text(
                "table_schema",
                tables.clone().map(|table| Some(table.schema.as_str())),
            )
            .text("table_name", tables.map(|table| Some(table.name.as_str())))
    }

    /// The columns that name a key, which stands in its table's schema.
    fn keys<'a>(self, keys: impl Iterator<Item = (&'a TableInfo, &'a str)> + Clone) -> Self {
        self.text("constraint_catalog", keys.clone().map(|_| Some(CATALOG)))
            .text(
                "constraint_schema",
                keys.clone().map(|(table, _)| Some(table.schema.as_str())),
            )
            .text("constraint_name", keys.map(|(_, name)| Some(name)))
    }

    fn text<'a>(self, name: &str, values: impl Iterator<Item = Option<&'a str>>) -> Self {
        self.column(
            name,
            DataType::Utf8,
            Arc::new(values.collect::<StringArray>()),
        )
    }

    fn number(self, name: &str, values: impl Iterator<Item = Option<i32>>) -> Self {
        self.column(
            name,
            DataType::Int32,
            Arc::new(values.collect::<Int32Array>()),
        )
    }

    fn nothing(self, name: &str, rows: usize) -> Self {
        self.text(name, std::iter::repeat_n(None, rows))
    }

    fn column(mut self, name: &str, data_type: DataType, values: ArrayRef) -> Self {
        self.fields.push(Field::new(name, data_type, true));
        self.columns.push(values);
        self
    }

    fn batch(self) -> Result<RecordBatch> {
        Ok(RecordBatch::try_new(
            Arc::new(Schema::new(self.fields)),
            self.columns,
        )?)
    }
}
