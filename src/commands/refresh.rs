use std::process::ExitCode;

use clap::Args;
use engine::{Lake, Lease, Refresher, Role, Turn};

use super::Context;
use crate::output;

/// Run one turn of the refresh role: take in what is new in bronze and in the SQL project, once
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake refresh")]
pub(crate) struct Command {}

impl Command {
    pub(crate) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let shutdown = context.shutdown.clone();
        shutdown.or_cancelled(Box::pin(turn(&context))).await?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn turn(context: &Context) -> anyhow::Result<()> {
    let config = &context.config;
    let lake = Lake::open(&config.lake).await?;
    let lease = Lease::acquire(&lake, Role::Refresh)?;
    let mut refresher = Refresher::open(
        lake,
        lease,
        &config.sql,
        &config.refresh,
        &config.source,
        context.clock.clone(),
    )
    .await?;
    match refresher.turn().await? {
        Turn::Quiet => output::line("nothing new"),
        Turn::Published(manifest) => output::line(&format!(
            "epoch {} published, {} tables",
            manifest.epoch,
            manifest.tables.len()
        )),
    }?;
    Ok(())
}
