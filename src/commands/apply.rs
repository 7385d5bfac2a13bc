use std::process::ExitCode;

use clap::Args;
use engine::{Request, project};

use super::plan::{self, Depth};
use super::request::{self, Wait};
use super::{Context, check};
use crate::exit::Found;
use crate::output::{self, Format};

/// Put the SQL project on disk in force in whole, or go back to before its last change
///
/// Saving a file is enough for most edits. `apply` does what a save never does: it retires tables whose file was deleted
/// or renamed, makes rebuilds above `refresh.apply_above_bytes`, and takes texts that were rolled back. All tables change
/// in one epoch.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake apply --dry-run
  sportlake apply
  sportlake apply --rollback")]
pub(crate) struct Command {
    /// Bring back the definitions and the data of before the last change of the project
    #[arg(long)]
    rollback: bool,

    /// Show what would change, as `sportlake plan` does
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    depth: Depth,

    #[command(flatten)]
    wait: Wait,

    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Command {
    pub(crate) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let shutdown = context.shutdown.clone();
        shutdown.or_cancelled(Box::pin(self.go(&context))).await?;
        Ok(ExitCode::SUCCESS)
    }

    async fn go(&self, context: &Context) -> anyhow::Result<()> {
        match (self.rollback, self.dry_run) {
            (false, true) => plan::show(context, &self.depth, self.output).await,
            (true, true) => self.show_rollback(context).await,
            (rollback, false) => self.publish(context, rollback).await,
        }
    }

    async fn publish(&self, context: &Context, rollback: bool) -> anyhow::Result<()> {
        if !rollback {
            self.refuse_broken(context).await?;
        }
        let request = match rollback {
            true => {
                let reader = context.reader(context.existing_lake().await?)?;
                let epoch = reader.before_last_change().await?.epoch;
                Request::Rollback { epoch }
            }
            false => Request::Apply,
        };
        let patience = self.wait.patience();
        let outcome = request::of_refresh(context, request, patience).await?;
        request::print(&outcome, self.output)
    }

    async fn refuse_broken(&self, context: &Context) -> anyhow::Result<()> {
        let config = &context.config;
        let checked = project::check(&config.sql.path, &config.source).await?;
        if checked.is_sound() {
            return Ok(());
        }
        check::print(&checked.problems, self.output)?;
        Err(Found(check::summary(checked.problems.len())).into())
    }

    async fn show_rollback(&self, context: &Context) -> anyhow::Result<()> {
        let reader = context.reader(context.existing_lake().await?)?;
        let newest = reader.latest().await?;
        let target = reader.before_last_change().await?;
        if self.output == Format::Table {
            output::line(&format!(
                "epoch {}, the last of the project before, comes back",
                target.epoch
            ))?;
        }
        let names = newest.tables.keys().chain(target.tables.keys());
        let mut names: Vec<_> = names.filter(|name| !name.is_bronze()).collect();
        names.sort();
        names.dedup();
        let rows: Vec<Vec<String>> = names
            .into_iter()
            .map(|name| {
                let version = |state: Option<&engine::TableState>| {
                    state
                        .map(|state| state.version.to_string())
                        .unwrap_or_default()
                };
                let (now, then) = (newest.tables.get(name), target.tables.get(name));
                vec![name.to_string(), version(now), version(then)]
            })
            .filter(|row| row[1] != row[2])
            .collect();
        output::table(&["table", "version", "comes back"], &rows, self.output)
    }
}
