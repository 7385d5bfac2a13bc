use std::process::ExitCode;

use clap::{Args, Subcommand};
use engine::project::{FieldType, Project, SourcesLock};
use engine::sources::{self, Drift, DriftChange};

use super::Context;
use crate::output::{self, Format};

/// What the topics hold, for the SQL project to rely on
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake sources update --dry-run")]
pub(crate) struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Update(Update),
}

/// Rewrite sources.lock from the newest events that ingest has seen
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake sources update --dry-run
  sportlake sources update")]
struct Update {
    /// Show the difference and write nothing
    #[arg(long)]
    dry_run: bool,

    /// How to print the difference
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Command {
    pub(crate) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let Action::Update(update) = self.action;
        let shutdown = context.shutdown.clone();
        shutdown
            .or_cancelled(Box::pin(update.run(&context)))
            .await?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Update {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let config = &context.config;
        let folder = &config.sql.path;
        let project = Project::load(folder)?;
        let lock = SourcesLock::load(folder)?;
        let lake = context.existing_lake().await?;
        let seen = sources::survey(&lake, &config.source).await?;
        let drifts = sources::drift(&lock, &seen, &project);
        let updated = sources::updated(&lock, &seen);
        self.print(&drifts)?;
        if updated == lock {
            output::note("sources.lock is what the topics hold");
        } else if self.dry_run {
            output::note("nothing was written");
        } else {
            updated.save(folder)?;
            output::note("sources.lock was written; commit it");
        }
        Ok(())
    }

    fn print(&self, drifts: &[Drift]) -> anyhow::Result<()> {
        match self.output {
            Format::Json => output::json(&drifts),
            Format::Table if drifts.is_empty() => Ok(()),
            format => {
                let rows: Vec<Vec<String>> = drifts.iter().map(row).collect();
                let columns = ["table", "field", "change", "before", "after", "read at"];
                output::table(&columns, &rows, format)
            }
        }
    }
}

fn row(drift: &Drift) -> Vec<String> {
    let named = |field: Option<FieldType>| field.map(|field| field.to_string()).unwrap_or_default();
    let change = match drift.change {
        DriftChange::Added => "added",
        DriftChange::Dropped => "dropped",
        DriftChange::Retyped => "retyped",
    };
    vec![
        drift.table.clone(),
        drift.field.clone(),
        change.to_owned(),
        named(drift.before),
        named(drift.after),
        drift.lines.join(" "),
    ]
}
