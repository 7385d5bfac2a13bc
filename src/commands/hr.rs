use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use sources::hr::{self, ImportOptions, ImportReport, TableChanges, Workbook, WorkbookFile};

use super::{Context, absolute_path, lsn};
use crate::kafka::with_kafka;
use crate::output::{self, Format};

/// Bring HR's workbooks in
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake hr import employees.xlsx sports.xlsx")]
pub(crate) struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Import(Import),
}

/// Publish what changed since the last import: to source.postgres where one is configured, else to the topics
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake hr import employees.xlsx sports.xlsx --dry-run
  sportlake hr import employees.xlsx sports.xlsx")]
struct Import {
    /// Workbook of the employees, .xlsx
    #[arg(value_parser = absolute_path)]
    file: PathBuf,

    /// Workbook of the declared sports; without it they stay as they are
    #[arg(value_parser = absolute_path)]
    sports: Option<PathBuf>,

    /// Delete employees, or declared sports of those who stay, even when more than 10 % would go
    #[arg(long)]
    yes: bool,

    /// Publish nothing, only say what would change
    #[arg(long)]
    dry_run: bool,

    /// How to print the report
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Command {
    pub(crate) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let Action::Import(import) = self.action;
        let shutdown = context.shutdown.clone();
        shutdown.or_cancelled(import.run(&context)).await?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Import {
    /// The workbooks are read whole before anything is published.
    async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let workbook = self.read()?;
        let options = ImportOptions {
            yes: self.yes,
            dry_run: self.dry_run,
        };
        let clock = context.clock.clone();
        // A database that is configured is the source: its capture tells the topics.
        let report = match context.config.database.postgres()? {
            Some(address) => hr::import_into(&address, workbook, options, clock).await?,
            None => {
                with_kafka(context, async |kafka| {
                    if !self.dry_run {
                        sources::topics::ensure(&kafka, &context.config.topics).await?;
                    }
                    let lsn = lsn(&context.config)?;
                    Ok(hr::import(&kafka, &lsn, workbook, options, clock).await?)
                })
                .await?
            }
        };
        self.print(&report)
    }

    fn read(&self) -> anyhow::Result<Workbook> {
        let employees = WorkbookFile::open(&self.file)?;
        let sports = self.sports.as_deref().map(WorkbookFile::open).transpose()?;
        Ok(hr::read(&employees, sports.as_ref())?)
    }

    fn print(&self, report: &ImportReport) -> anyhow::Result<()> {
        let rows = [
            ("employees", report.employees),
            ("declared_sports", report.declared_sports),
            ("commute_distances", report.commute_distances),
        ]
        .map(|(table, changes)| row(table, changes));
        let columns = ["table", "created", "updated", "deleted", "unchanged"];
        output::table(&columns, &rows, self.output)?;
        if !report.deleted_employees.is_empty() {
            output::note(&format!(
                "deleted employees: {}",
                list(&report.deleted_employees)
            ));
        }
        if !report.deleted_sports.is_empty() {
            output::note(&format!(
                "employees without a declared sport from now on: {}",
                list(&report.deleted_sports)
            ));
        }
        for (id, flag) in &report.flagged {
            output::note(&format!(
                "employee {id}: address to check: {}",
                flag.as_str()
            ));
        }
        if report.sports_without_employee > 0 {
            output::note(&format!(
                "{} rows of the sports workbook name no employee and were left out",
                report.sports_without_employee
            ));
        }
        output::note(&match (self.dry_run, report.changes()) {
            (true, changes) => format!("dry run: {changes} changes, nothing published"),
            (false, 0) => "nothing changed since the last import".to_owned(),
            (false, changes) => format!("{changes} changes published"),
        });
        Ok(())
    }
}

fn row(table: &str, changes: TableChanges) -> Vec<String> {
    let counts = [
        changes.created,
        changes.updated,
        changes.deleted,
        changes.unchanged,
    ];
    let counts = counts.iter().map(ToString::to_string);
    std::iter::once(table.to_owned()).chain(counts).collect()
}

fn list(ids: &[i64]) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    ids.join(", ")
}
