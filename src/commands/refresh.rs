use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use engine::{Lake, Lease, Request, Role, project};
use tokio::sync::Notify;

use super::Context;
use super::request::{self, Wait};
use crate::output::{self, Format};

/// Bring tables up to date now, through the running refresh role when there is one
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake refresh
  sportlake refresh +gold.eligibilites
  sportlake refresh silver.employees+ --full
  sportlake refresh --watch")]
pub(crate) struct Command {
    /// Tables: `+NAME` with all that it reads, `NAME+` with all that read it; every table when none is named
    #[arg(value_name = "TABLE")]
    tables: Vec<String>,

    /// Compute them from the start, whatever changed
    #[arg(long)]
    full: bool,

    /// Run the refresh role until stopped: take in whatever is new in bronze and in the SQL project
    #[arg(long, conflicts_with_all = ["tables", "full", "dry_run", "output", "patience"])]
    watch: bool,

    /// Name the tables and do nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    wait: Wait,

    /// How to print what was done
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Command {
    pub(crate) fn is_role(&self) -> bool {
        self.watch
    }

    pub(crate) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        if self.watch {
            watch(&context).await?;
            return Ok(context.shutdown.code_of_role());
        }
        let shutdown = context.shutdown.clone();
        shutdown.or_cancelled(Box::pin(self.once(&context))).await?;
        Ok(ExitCode::SUCCESS)
    }

    async fn once(self, context: &Context) -> anyhow::Result<()> {
        if self.dry_run {
            return self.list(context).await;
        }
        let request = Request::Refresh {
            tables: self.tables,
            full: self.full,
        };
        let patience = self.wait.patience();
        let outcome = request::of_refresh(context, request, patience).await?;
        request::print(&outcome, self.output)
    }

    async fn list(self, context: &Context) -> anyhow::Result<()> {
        let config = &context.config;
        let checked = project::check(&config.sql.path, &config.source).await?;
        let tables = engine::selected(&checked, &self.tables)?;
        let rows: Vec<Vec<String>> = tables.iter().map(|name| vec![name.to_string()]).collect();
        output::table(&["table"], &rows, self.output)
    }
}

async fn watch(context: &Context) -> anyhow::Result<()> {
    let lake = Lake::open(&context.config.lake).await?;
    let lease = Lease::acquire(&lake, Role::Refresh)?;
    let refresher = Box::pin(request::refresher(context, lake, lease)).await?;
    let nobody_rings = Arc::new(Notify::new());
    let work = Box::pin(refresher.run(nobody_rings, context.shutdown.token()));
    context.beside_probes(work).await
}
