//! SHOW and DESCRIBE, as queries of `information_schema`.

use datafusion::sql::parser::Statement as Parsed;
use sql_files::syntax::{DIALECT, normal};
use sqlparser::ast::{
    ObjectName, ShowStatementFilter, ShowStatementFilterPosition, ShowStatementIn,
    ShowStatementOptions, Statement as Sql,
};
use sqlparser::parser::ParserError;
use sqlparser::tokenizer::{TokenWithSpan, Tokenizer};

use crate::error::{Error, Result};

/// The query that answers a statement, when it shows or describes.
pub(super) fn query(parsed: &Parsed, schema: &str) -> Result<Option<String>> {
    let Parsed::Statement(statement) = parsed else {
        return Ok(None);
    };
    Ok(Some(match statement.as_ref() {
        Sql::ShowCatalogs { show_options, .. } | Sql::ShowDatabases { show_options, .. } => {
            format!(
                "SELECT DISTINCT catalog_name AS database_name FROM information_schema.schemata \
             WHERE {} ORDER BY 1",
                filter(show_options, "catalog_name")?
            )
        }
        Sql::ShowSchemas { show_options, .. } => format!(
            "SELECT schema_name FROM information_schema.schemata WHERE {} ORDER BY 1",
            filter(show_options, "schema_name")?
        ),
        Sql::ShowTables { show_options, .. } => tables(show_options, "true")?,
        Sql::ShowViews { show_options, .. } => tables(show_options, "table_type = 'VIEW'")?,
        Sql::ShowColumns { show_options, .. } => {
            let table = show_options
                .show_in
                .as_ref()
                .and_then(|place| place.parent_name.as_ref());
            let table = table.ok_or_else(|| {
                Error::invalid("SHOW COLUMNS names no table")
                    .hint("Write SHOW COLUMNS FROM gold.eligibilites.")
            })?;
            let like = filter(show_options, "column_name")?;
            columns(
                "table_catalog, table_schema, table_name, column_name, data_type, is_nullable",
                table,
                schema,
                &like,
            )
        }
        Sql::ExplainTable { table_name, .. } => columns(
            "column_name, data_type, is_nullable, column_comment",
            table_name,
            schema,
            "true",
        ),
        _ => return Ok(None),
    }))
}

pub(super) fn tokens(query: &str) -> Result<Vec<TokenWithSpan>, ParserError> {
    Ok(Tokenizer::new(&DIALECT, query).tokenize_with_location()?)
}

fn tables(options: &ShowStatementOptions, kind: &str) -> Result<String> {
    let place = match &options.show_in {
        Some(ShowStatementIn {
            parent_name: Some(name),
            ..
        }) => match parts(name).as_slice() {
            [schema] => format!("table_schema = {}", text(schema)),
            [catalog, schema] => format!(
                "table_catalog = {} AND table_schema = {}",
                text(catalog),
                text(schema)
            ),
            _ => "false".to_owned(),
        },
        _ => "table_schema <> 'information_schema'".to_owned(),
    };
    Ok(format!(
        "SELECT table_catalog, table_schema, table_name, table_type FROM information_schema.tables \
         WHERE {kind} AND {place} AND {} ORDER BY 1, 2, 3",
        filter(options, "table_name")?
    ))
}

/// Plans the table too, so that one that does not exist is told.
fn columns(of_answer: &str, table: &ObjectName, schema: &str, like: &str) -> String {
    let parts = parts(table);
    let (name, schema) = match parts.as_slice() {
        [.., schema, name] => (name.as_str(), schema.as_str()),
        [name] => (name.as_str(), schema),
        [] => ("", schema),
    };
    format!(
        "SELECT {of_answer} FROM information_schema.columns WHERE table_schema = {} AND table_name = {} AND {like} \
         AND NOT EXISTS (SELECT 1 FROM {table} WHERE false) ORDER BY ordinal_position",
        text(schema),
        text(name)
    )
}

fn filter(options: &ShowStatementOptions, column: &str) -> Result<String> {
    let filter = match &options.filter_position {
        Some(
            ShowStatementFilterPosition::Infix(filter)
            | ShowStatementFilterPosition::Suffix(filter),
        ) => filter,
        None => return Ok("true".to_owned()),
    };
    Ok(match filter {
        ShowStatementFilter::Like(pattern) | ShowStatementFilter::NoKeyword(pattern) => {
            format!("{column} LIKE {}", text(&pattern.replace('*', "%")))
        }
        ShowStatementFilter::ILike(pattern) => {
            format!("{column} ILIKE {}", text(&pattern.replace('*', "%")))
        }
        ShowStatementFilter::Where(condition) => format!("({condition})"),
    })
}

fn parts(name: &ObjectName) -> Vec<String> {
    name.0
        .iter()
        .filter_map(|part| part.as_ident())
        .map(normal)
        .collect()
}

fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}
