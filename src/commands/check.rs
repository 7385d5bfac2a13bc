use std::process::ExitCode;

use clap::Args;
use engine::policies;
use engine::project::{self, Diagnostic};

use super::Context;
use crate::exit::Found;
use crate::output::{self, Format};

/// Check the SQL project: every file parsed, typed and planned, with nothing running
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake check
  sportlake check --output json")]
pub(crate) struct Command {
    /// How to print what is wrong; as a table, each problem is shown in its line of SQL
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Command {
    pub(crate) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let config = &context.config;
        let checked = project::check(&config.sql.path, &config.source).await?;
        let mut problems = checked.problems.clone();
        problems.extend(policies::check(&config.sql.path, &checked).await?);
        print(&problems, self.output)?;
        match problems.len() {
            0 => {
                output::note(&format!("{} tables, no problem", checked.tables.len()));
                Ok(ExitCode::SUCCESS)
            }
            count => Err(Found(summary(count)).into()),
        }
    }
}

pub(crate) fn summary(count: usize) -> String {
    match count {
        1 => "1 problem in the SQL project".to_owned(),
        count => format!("{count} problems in the SQL project"),
    }
}

/// Prints what is wrong with a project, each problem in its line of SQL where a person reads it.
pub(crate) fn print(problems: &[Diagnostic], format: Format) -> anyhow::Result<()> {
    match format {
        Format::Table => {
            for problem in problems {
                output::line(&format!("{problem}\n"))?;
            }
            Ok(())
        }
        Format::Json => output::json(&problems),
        Format::Csv => {
            let rows: Vec<Vec<String>> = problems.iter().map(row).collect();
            let columns = ["file", "line", "column", "message", "hint"];
            output::table(&columns, &rows, Format::Csv)
        }
    }
}

fn row(problem: &Diagnostic) -> Vec<String> {
    vec![
        problem.file.clone(),
        problem.line.to_string(),
        problem.column.to_string(),
        problem.message.clone(),
        problem.hint.clone().unwrap_or_default(),
    ]
}
