//! How CSV is spelled, by the names that the command's options have.

use engine::{Error, Result};
use exports::{CsvOptions, Separator};

use super::Fault;
use crate::form::Values;

const OPTIONS: [&str; 4] = ["excel", "bom", "separator", "decimal_comma"];

/// What the address asks for; nothing where it has none of these.
///
/// # Errors
/// `InvalidRequest` for a name or a value that means nothing: a file spelled otherwise than somebody expects is read wrong.
pub(super) fn csv(values: &Values) -> Result<Option<CsvOptions>> {
    let is_known = |name: &&str| OPTIONS.contains(name) || *name == "lang";
    if let Some(unknown) = values.names().find(|name| !is_known(name)) {
        return Err(
            Error::invalid(format!("exports have no option \"{unknown}\""))
                .hint(format!("Options are {}.", OPTIONS.join(", "))),
        );
    }
    if !values.names().any(|name| OPTIONS.contains(&name)) {
        return Ok(None);
    }
    let Some(country) = values.raw("excel") else {
        let separator = values
            .raw("separator")
            .map(str::parse::<Separator>)
            .transpose();
        return Ok(Some(CsvOptions {
            bom: switch(values, "bom")?,
            separator: separator
                .map_err(|error| Fault::from(error).0)?
                .unwrap_or_default(),
            decimal_comma: switch(values, "decimal_comma")?,
            spaced_times: false,
        }));
    };
    if country != "fr" {
        return Err(Error::invalid("excel is \"fr\" or left out").hint(
            "For another country write bom=1, separator=; and decimal_comma=1 as it needs them.",
        ));
    }
    match values.names().any(|name| OPTIONS[1..].contains(&name)) {
        true => Err(
            Error::invalid("excel=fr is all of bom, separator and decimal_comma")
                .hint("Leave it out, or leave them out."),
        ),
        false => Ok(Some(CsvOptions::excel_fr())),
    }
}

fn switch(values: &Values, name: &str) -> Result<bool> {
    match values.raw(name) {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(_) => Err(Error::invalid(format!("{name} is 1 or 0"))
            .hint(format!("Write {name}=1, or leave it out."))),
    }
}
