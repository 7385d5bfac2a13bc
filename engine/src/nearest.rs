//! Which name a user may have meant.

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;

/// The candidate nearest to `name`, when one is near enough to be meant.
pub(crate) fn name<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    let limit = (wanted.chars().count() / 3).max(2);
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&wanted, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, candidate)| (*distance, candidate.len()))
        .map(|(_, candidate)| candidate)
}

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
    let Some(catalog) = context.catalog(crate::name::CATALOG) else {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let names = ["distance_m", "duree_s", "id"];
        assert_eq!(name("distnace_m", names), Some("distance_m"));
        assert_eq!(name("salaire", names), None);
    }
}
