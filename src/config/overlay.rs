use engine::{Error, Result};
use toml::{Table, Value};

use super::{Config, problem};

const PREFIX: &str = "SPORTLAKE__";

/// Writes each `SPORTLAKE__SECTION__KEY=value` over the table. A variable that names no key is an error; one that is empty
/// where the key takes no empty text counts as not set, as whoever passes a variable on leaves it.
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
        let Some(value) = accepted(&name, &section, &key, &text)? else {
            continue;
        };
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

/// The text as the key wants it: a TOML value where that fits, the bare text otherwise; none where it says nothing.
fn accepted(name: &str, section: &str, key: &str, text: &str) -> Result<Option<Value>> {
    let as_text = Value::String(text.to_owned());
    let parsed = toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"));
    let mut refused = None;
    for value in parsed.into_iter().chain([as_text]) {
        match one_key(section, key, &value).try_into::<Config>() {
            Ok(_) => return Ok(Some(value)),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    let error = refused.map(|error: toml::de::Error| error.message().to_owned());
    let error = error.unwrap_or_default();
    if text.trim().is_empty() && !problem::is_unknown(&error) {
        return Ok(None);
    }
    Err(problem::in_variable(name, section, &error))
}

fn one_key(section: &str, key: &str, value: &Value) -> Value {
    let entry = Table::from_iter([(key.to_owned(), value.clone())]);
    Value::Table(Table::from_iter([(
        section.to_owned(),
        Value::Table(entry),
    )]))
}
