use engine::{Error, Result};
use toml::{Table, Value};

use super::{Config, problem};

const PREFIX: &str = "SPORTLAKE__";

/// Writes each `SPORTLAKE__SECTION__KEY=value` over the table. A variable that names no key is an error.
pub(super) fn apply(
    table: &mut Table,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<()> {
    let mut ours: Vec<_> = variables
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    ours.sort();
    for (name, text) in ours {
        let (section, key) = split(&name)?;
        let value = accepted(&name, &section, &key, &text)?;
        let entry = table
            .entry(section)
            .or_insert_with(|| Value::Table(Table::new()));
        if let Some(entry) = entry.as_table_mut() {
            entry.insert(key, value);
        }
    }
    Ok(())
}

fn split(name: &str) -> Result<(String, String)> {
    let path = &name[PREFIX.len()..];
    match path.split_once("__") {
        Some((section, key)) if !section.is_empty() && !key.is_empty() && !key.contains("__") => {
            Ok((section.to_ascii_lowercase(), key.to_ascii_lowercase()))
        }
        _ => Err(
            Error::invalid(format!("the variable \"{name}\" names no key"))
                .hint("Variables are named SPORTLAKE__SECTION__KEY, as SPORTLAKE__FLIGHT__LISTEN."),
        ),
    }
}

/// The text as the key wants it: a TOML value where that fits, the bare text otherwise.
fn accepted(name: &str, section: &str, key: &str, text: &str) -> Result<Value> {
    let as_text = Value::String(text.to_owned());
    let parsed = toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"));
    let mut refused = None;
    for value in parsed.into_iter().chain([as_text]) {
        match one_key(section, key, &value).try_into::<Config>() {
            Ok(_) => return Ok(value),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    let error = refused.map(|error: toml::de::Error| error.message().to_owned());
    Err(problem::in_variable(
        name,
        section,
        &error.unwrap_or_default(),
    ))
}

fn one_key(section: &str, key: &str, value: &Value) -> Value {
    let entry = Table::from_iter([(key.to_owned(), value.clone())]);
    Value::Table(Table::from_iter([(
        section.to_owned(),
        Value::Table(entry),
    )]))
}
