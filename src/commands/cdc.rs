use std::process::ExitCode;

use changes::Error;
use clap::Args;
use sources::cdc::{self, Action, CdcOptions, Plan, Progress};
use sources::postgres::Address;

use super::Context;
use crate::kafka::with_kafka;
use crate::output::{self, Format};

/// Capture the changes of a PostgreSQL, as Debezium would, until stopped
#[derive(Debug, Args)]
#[command(after_help = "\
The first start makes the replication slot cdc.slot and loads every table of the publication cdc.publication; later ones
go on where Kafka acknowledged last. docs/postgres.md says what the database needs.

Example:
  SPORTLAKE__SOURCE__POSTGRES=postgres://sportlake_cdc:..@db/sportsdb sportlake cdc --dry-run
  SPORTLAKE__SOURCE__POSTGRES=postgres://sportlake_cdc:..@db/sportsdb sportlake cdc")]
pub(crate) struct Command {
    /// Make the slot anew and load every table again, above everything written so far: after a failover or a restore
    #[arg(long)]
    new_generation: bool,

    /// Change nothing, only say what a start would do, once the database and the brokers have let us in
    #[arg(long)]
    dry_run: bool,

    /// How to print what a start would do
    #[arg(long, value_enum, default_value_t = Format::Table, requires = "dry_run")]
    output: Format,
}

impl Command {
    pub(crate) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let address = context.config.database.postgres()?.ok_or_else(|| {
            Error::invalid("no PostgreSQL is configured").hint(
                "Set source.postgres in sportlake.toml or SPORTLAKE__SOURCE__POSTGRES, \
                 as postgres://sportlake_cdc:..@db/sportsdb.",
            )
        })?;
        let options = CdcOptions {
            new_generation: self.new_generation,
        };
        if self.dry_run {
            let kafka = context.config.kafka.with_secrets()?;
            let (config, clock) = (&context.config.cdc, &context.clock);
            let planning =
                async { anyhow::Ok(cdc::plan(&kafka, &address, config, options, clock).await?) };
            let plan = context.shutdown.or_cancelled(planning).await?;
            self.print(&plan)?;
            return Ok(ExitCode::SUCCESS);
        }
        self.capture(&context, &address, options).await?;
        Ok(context.shutdown.code_of_role())
    }

    async fn capture(
        &self,
        context: &Context,
        address: &Address,
        options: CdcOptions,
    ) -> anyhow::Result<()> {
        let shown = address.shown();
        let report = with_kafka(context, async |kafka| {
            let config = &context.config.cdc;
            let (clock, stop) = (context.clock.clone(), context.shutdown.token());
            let tell = |progress| match progress {
                Progress::Loading { table, rows } => {
                    output::progress(&format!("{table}: {rows} rows loaded"))
                }
                Progress::Following => {
                    output::end_progress();
                    output::note(&format!("capturing the changes of {shown}"));
                }
            };
            let work = cdc::run(&kafka, address, config, options, clock, stop, tell);
            context.beside_probes(Box::pin(work)).await
        })
        .await?;
        output::note(&format!(
            "{} rows loaded and {} changes published",
            report.loaded, report.changes
        ));
        Ok(())
    }

    fn print(&self, plan: &Plan) -> anyhow::Result<()> {
        let rows: Vec<Vec<String>> = plan
            .tables
            .iter()
            .map(|table| {
                // PostgreSQL counts at its next ANALYZE.
                let rows = if table.rows < 0 {
                    String::new()
                } else {
                    table.rows.to_string()
                };
                let action = match &table.action {
                    Action::Load => "load".to_owned(),
                    Action::GoOn => "go on".to_owned(),
                    Action::Skip(reason) => format!("pass over: {reason}"),
                };
                vec![table.table.clone(), table.topic.clone(), rows, action]
            })
            .collect();
        output::table(
            &["table", "topic", "rows_about", "action"],
            &rows,
            self.output,
        )?;
        let slot = if plan.slot_exists {
            "goes on with"
        } else {
            "makes"
        };
        output::note(&format!(
            "dry run: a start at {} {slot} the slot, as generation {}; nothing was changed",
            plan.server, plan.generation
        ));
        Ok(())
    }
}
