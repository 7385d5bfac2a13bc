mod html;
mod junit;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use engine::{CheckOutcome, Error, RuleResult, TableName, Validation};

use super::{Context, absolute_path};
use crate::exit::Found;
use crate::output::{self, Format};

/// Judge every rule now, on the newest epoch, beside a running `up` or without one
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake validate
  sportlake validate gold.eligibilites --keys 50
  sportlake validate --junit rules.xml --html rules.html

Ends with 1 when a rule is broken, or a table held.")]
pub(crate) struct Command {
    /// Tables to judge [default: all]
    #[arg(value_name = "TABLE")]
    tables: Vec<TableName>,

    /// Failing keys to show for each rule
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(0..=1000))]
    keys: u16,

    /// What makes the command end with 1
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = FailOn::Broken)]
    fail_on: FailOn,

    /// How to print the results
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,

    /// Also write them as JUnit XML
    #[arg(long, value_name = "FILE", value_parser = absolute_path)]
    junit: Option<PathBuf>,

    /// Also write them as one HTML page
    #[arg(long, value_name = "FILE", value_parser = absolute_path)]
    html: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Any broken rule, also one that only warns or keeps rows out
    Broken,
    /// What holds a table
    Failures,
}

impl Command {
    pub(crate) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let shutdown = context.shutdown.clone();
        let validation = shutdown.or_cancelled(self.validate(&context)).await?;
        self.print(&validation)?;
        if let Some(path) = &self.junit {
            write(path, junit::document(&validation))?;
        }
        if let Some(path) = &self.html {
            write(path, html::document(&validation))?;
        }
        let results = &validation.results;
        let broken = results.iter().filter(|result| self.counts(result)).count();
        match broken {
            0 => {
                output::note(&format!("{} rules, none broken", results.len()));
                Ok(ExitCode::SUCCESS)
            }
            _ => Err(Found(format!("{broken} of {} rules are broken", results.len())).into()),
        }
    }

    async fn validate(&self, context: &Context) -> anyhow::Result<Validation> {
        let reader = context.reader(context.existing_lake().await?)?;
        let manifest = reader.latest().await?;
        let now = (context.clock)();
        let keys = usize::from(self.keys);
        let validating = async {
            let validation = reader.validate(&manifest, &self.tables, keys, now);
            Ok(validation.await?)
        };
        context
            .reading(&reader, manifest.epoch, Box::pin(validating))
            .await
    }

    fn counts(&self, result: &RuleResult) -> bool {
        match self.fail_on {
            FailOn::Broken => result.is_broken(),
            FailOn::Failures => {
                matches!(result.outcome, CheckOutcome::Failed | CheckOutcome::Error)
            }
        }
    }

    fn print(&self, validation: &Validation) -> anyhow::Result<()> {
        if self.output == Format::Json {
            return output::json(validation);
        }
        let rows: Vec<Vec<String>> = validation.results.iter().map(row).collect();
        output::table(&COLUMNS, &rows, self.output)
    }
}

const COLUMNS: [&str; 8] = [
    "table",
    "rule",
    "outcome",
    "violations",
    "rows",
    "action",
    "definition",
    "failing keys",
];

fn row(result: &RuleResult) -> Vec<String> {
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let keys = match &result.message {
        Some(message) => message.clone(),
        None => keys(result),
    };
    vec![
        result.table.to_string(),
        result.rule.clone(),
        result.outcome.as_str().to_owned(),
        number(result.violations).unwrap_or_default(),
        number(result.rows).unwrap_or_default(),
        result.action.clone(),
        result.definition.clone(),
        keys,
    ]
}

/// `id: 7, 12`, or `(a, b): (1, x), (2, y)`
fn keys(result: &RuleResult) -> String {
    if result.keys.is_empty() {
        return String::new();
    }
    let tuple = |cells: &[String]| match cells {
        [one] => one.clone(),
        _ => format!("({})", cells.join(", ")),
    };
    let keys: Vec<String> = result.keys.iter().map(|key| tuple(key)).collect();
    format!("{}: {}", tuple(&result.key_columns), keys.join(", "))
}

pub(super) fn write(path: &Path, text: String) -> anyhow::Result<()> {
    std::fs::write(path, text).map_err(|error| {
        Error::invalid(format!("could not write \"{}\"", path.display()))
            .hint("Name a file in a directory that exists and that this user may write.")
            .caused_by(error)
    })?;
    Ok(())
}

/// Text as it stands in XML and HTML, between tags or in a quoted attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // XML has no way to write these.
            control if control.is_control() && !"\t\n\r".contains(control) => {
                escaped.push('\u{fffd}')
            }
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
