use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use engine::project::{ImportedSuite, Insertion, LeftOut, OnViolation};
use engine::{Error, ErrorKind, TableName};

use super::{Context, absolute_path};
use crate::output::{self, Format};

/// Largest suite that is read, bytes.
const MAX_SUITE_BYTES: u64 = 16 << 20;

/// Bring rules from elsewhere into the SQL project
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake expectations import suite.json
  sportlake expectations import suite.json --into silver.employees --dry-run")]
pub(crate) struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Import(Import),
}

/// Turn a Great Expectations suite into @expect lines; what does not map is listed with the reason
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake expectations import great_expectations/expectations/employees.json
  sportlake expectations import suite.json --into silver.employees --on-violation quarantine")]
struct Import {
    /// The suite's JSON file, of the 0.x series or of 1.x
    #[arg(value_parser = absolute_path)]
    suite: PathBuf,

    /// Write the lines into the file of this table, above its SELECT [default: only print them]
    #[arg(long, value_name = "TABLE")]
    into: Option<TableName>,

    /// What a broken rule does, where the suite does not say that it only warns
    #[arg(long, value_enum, value_name = "ACTION", default_value_t = Violation::Warn)]
    on_violation: Violation,

    /// Show what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,

    /// How to print the lines and what is left out
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Violation {
    Warn,
    Drop,
    Quarantine,
    Fail,
}

impl From<Violation> for OnViolation {
    fn from(violation: Violation) -> Self {
        match violation {
            Violation::Warn => Self::Warn,
            Violation::Drop => Self::Drop,
            Violation::Quarantine => Self::Quarantine,
            Violation::Fail => Self::Fail,
        }
    }
}

impl Command {
    pub(crate) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Import(import) => import.run(context).await,
        }
    }
}

impl Import {
    async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let mut suite = ImportedSuite::read(&self.read()?, self.on_violation.into())?;
        let Some(table) = &self.into else {
            self.print(&suite)?;
            return Ok(ExitCode::SUCCESS);
        };
        let config = &context.config;
        let folder = &config.sql.path;
        let insertion = suite
            .clone()
            .insert_into(folder, &config.source, table)
            .await?;
        let Insertion {
            path,
            text,
            rules,
            left_out,
        } = insertion;
        (suite.rules, suite.left_out) = (rules, left_out);
        self.print(&suite)?;
        let path = folder.join(path);
        let count = suite.rules.len();
        if self.dry_run {
            output::note(&format!("{count} lines would go into {}", path.display()));
        } else if count > 0 {
            replace(&path, &text)?;
            output::note(&format!("{count} lines are in {}", path.display()));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn read(&self) -> anyhow::Result<String> {
        let path = self.suite.display();
        let failed = |source: std::io::Error| {
            let kind = match source.kind() {
                std::io::ErrorKind::NotFound => ErrorKind::NotFound,
                _ => ErrorKind::InvalidRequest,
            };
            Error::new(kind, format!("could not read \"{path}\"")).caused_by(source)
        };
        if std::fs::metadata(&self.suite).map_err(failed)?.len() > MAX_SUITE_BYTES {
            return Err(Error::invalid(format!("\"{path}\" is larger than 16 MiB")).into());
        }
        Ok(std::fs::read_to_string(&self.suite).map_err(failed)?)
    }

    fn print(&self, suite: &ImportedSuite) -> anyhow::Result<()> {
        match self.output {
            Format::Json => output::json(suite),
            Format::Csv => {
                let taken = suite.rules.iter();
                let rows: Vec<Vec<String>> = taken
                    .map(|rule| vec![rule.expectation.clone(), rule.line.clone(), String::new()])
                    .chain(suite.left_out.iter().map(row))
                    .collect();
                output::table(
                    &["expectation", "line", "left out because"],
                    &rows,
                    Format::Csv,
                )
            }
            Format::Table => {
                for rule in &suite.rules {
                    output::line(&rule.line)?;
                }
                if !suite.left_out.is_empty() {
                    output::note(&format!("{} left out:", suite.left_out.len()));
                }
                for LeftOut {
                    expectation,
                    reason,
                } in &suite.left_out
                {
                    output::note(&format!("  {expectation}: {reason}"));
                }
                Ok(())
            }
        }
    }
}

fn row(left_out: &LeftOut) -> Vec<String> {
    vec![
        left_out.expectation.clone(),
        String::new(),
        left_out.reason.clone(),
    ]
}

/// The file as a whole or not at all: a running `up` may look at any moment.
fn replace(path: &std::path::Path, text: &str) -> anyhow::Result<()> {
    disk::replace_file(path, text.as_bytes()).map_err(|error| {
        Error::invalid(format!("could not write \"{}\"", path.display())).caused_by(error)
    })?;
    Ok(())
}
