use std::process::ExitCode;

use clap::Args;
use engine::{Chore, Outcome, Request, Role};

use super::Context;
use super::request::{self, Wait};
use crate::output::{self, Format};

/// Tidy up at once what the roles tidy up bit by bit: epochs, logs, small files, files that nothing names
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake maintain --dry-run
  sportlake maintain")]
pub(crate) struct Command {
    /// List what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    wait: Wait,

    /// How to print what was done
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Command {
    pub(crate) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let shutdown = context.shutdown.clone();
        shutdown.or_cancelled(Box::pin(self.tidy(&context))).await?;
        Ok(ExitCode::SUCCESS)
    }

    async fn tidy(self, context: &Context) -> anyhow::Result<()> {
        context.existing_lake().await?;
        let patience = self.wait.patience();
        let ask = |role| Request::Maintain {
            role,
            dry_run: self.dry_run,
        };
        // Epochs first: what they alone named can go with bronze's turn.
        let refreshed = request::of_refresh(context, ask(Role::Refresh), patience).await?;
        let ingested = request::of_ingest(context, ask(Role::Ingest), patience).await?;
        let mut rows = chores(&refreshed)?;
        rows.extend(chores(&ingested)?);
        let columns = ["task", "target", "files", "bytes"];
        output::table(&columns, &rows, self.output)
    }
}

fn chores(outcome: &Outcome) -> anyhow::Result<Vec<Vec<String>>> {
    let chores: Vec<Chore> = serde_json::from_value(outcome.details.clone())?;
    let row = |chore: Chore| {
        let (files, bytes) = (chore.files.to_string(), chore.bytes.to_string());
        vec![chore.task.as_str().to_owned(), chore.target, files, bytes]
    };
    Ok(chores.into_iter().map(row).collect())
}
