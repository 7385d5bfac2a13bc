//! Which table or column a failed plan may have meant.

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;
pub(crate) use sql_files::nearest::name;

/// A hint for a planning error about a table or column that is not there.
pub(crate) fn hint(context: &SessionContext, error: &DataFusionError) -> Option<String> {
    match error.find_root() {
        DataFusionError::SchemaError(schema, _) => match schema.as_ref() {
            SchemaError::FieldNotFound {
                field,
                valid_fields,
            } => {
                let mut names: Vec<&str> = Vec::new();
                for field in valid_fields {
                    if !names.contains(&field.name()) {
                        names.push(field.name());
                    }
                }
                match name(field.name(), names.iter().copied()) {
                    Some(near) => Some(format!("Did you mean \"{near}\"?")),
                    None => Some(format!("Columns are {}.", names.join(", "))),
                }
            }
            _ => None,
        },
        DataFusionError::Plan(text) => {
            let missing = text
                .split('\'')
                .nth(1)
                .filter(|_| text.contains("not found"))?;
            let missing = missing.trim_start_matches("sportlake.");
            let tables = table_names(context);
            let near = name(missing, tables.iter().map(String::as_str));
            Some(match near {
                Some(near) => format!("Did you mean \"{near}\"?"),
                None => "`SHOW TABLES` lists the tables.".to_owned(),
            })
        }
        _ => None,
    }
}

fn table_names(context: &SessionContext) -> Vec<String> {
    let Some(catalog) = context.catalog(sql_files::CATALOG) else {
        return Vec::new();
    };
    let mut names = Vec::new();
    for schema in catalog.schema_names() {
        if let Some(provider) = catalog.schema(&schema) {
            names.extend(
                provider
                    .table_names()
                    .into_iter()
                    .map(|table| format!("{schema}.{table}")),
            );
        }
    }
    names
}
