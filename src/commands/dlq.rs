use std::process::ExitCode;

use clap::{Args, Subcommand};
use engine::{Error, ErrorKind, Manifest, Request, TableName};

use super::Context;
use super::request::{self, Wait};
use crate::output::{self, Format};

/// Look at dead letters, the messages that are no change events, and take them in again
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake dlq list
  sportlake dlq replay sportsdata.public.employees --dry-run")]
pub(crate) struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(List),
    Replay(Replay),
}

/// List the messages that are no change events: where they stand, and what is wrong with them
///
/// A message's content is in `bronze.dead_letters`, for those who may read it.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake dlq list
  sportlake dlq list sportsdata.public.employees --output csv")]
struct List {
    /// The topic, or its bronze table [default: all]
    topic: Option<String>,

    /// Messages to show at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,

    /// How to print them
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Put dead letters into bronze once more, read by the program as it is, under their own partition and offset
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake dlq replay
  sportlake dlq replay sportsdata.public.employees --dry-run")]
struct Replay {
    /// The topic, or its bronze table [default: all]
    topic: Option<String>,

    /// Count the messages, and do nothing
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
        match self.action {
            Action::List(list) => shutdown.or_cancelled(list.run(&context)).await?,
            Action::Replay(replay) => {
                shutdown
                    .or_cancelled(Box::pin(replay.run(&context)))
                    .await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let columns = "table_name, _partition, _offset, _timestamp, attempt, error";
        let filter = self.topic.as_deref();
        print(context, columns, "", filter, self.limit, self.output).await
    }
}

impl Replay {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let filter = self.topic.as_deref();
        if self.dry_run {
            let columns = "table_name, count(*) AS messages";
            let group = "GROUP BY table_name";
            return print(context, columns, group, filter, u32::MAX, self.output).await;
        }
        let reader = context.reader(context.existing_lake().await?)?;
        let table = match filter {
            Some(topic) => Some(bronze_table(topic, &*reader.latest().await?)?),
            None => None,
        };
        let request = Request::ReplayDeadLetters {
            tables: table.into_iter().collect(),
        };
        let patience = self.wait.patience();
        let outcome = request::of_ingest(context, request, patience).await?;
        request::print(&outcome, self.output)
    }
}

/// Rows of `bronze.dead_letters` at the newest epoch.
async fn print(
    context: &Context,
    columns: &str,
    group: &str,
    topic: Option<&str>,
    limit: u32,
    format: Format,
) -> anyhow::Result<()> {
    let reader = context.reader(context.existing_lake().await?)?;
    let manifest = reader.latest().await?;
    let filter = match topic {
        Some(topic) => {
            let table = bronze_table(topic, &manifest)?;
            format!("WHERE table_name = '{}'", table.name())
        }
        None => String::new(),
    };
    let order = match group {
        "" => "table_name, _partition, _offset",
        _ => "table_name",
    };
    let session = reader.session(manifest)?;
    let sql = format!(
        "SELECT {columns} FROM bronze.dead_letters {filter} {group} ORDER BY {order} LIMIT {limit}"
    );
    let statement = session.prepare(&sql).await?;
    let schema = statement.schema();
    output::rows(schema, statement.execute().await?, format).await?;
    Ok(())
}

/// The bronze table of a topic: the topic's last part names it.
fn bronze_table(topic: &str, manifest: &Manifest) -> engine::Result<TableName> {
    let last = topic.rsplit('.').next().unwrap_or(topic);
    let known = manifest.tables.keys().filter(|name| name.is_bronze());
    if let Some(known) = known.clone().find(|name| name.name() == last) {
        return Ok(known.clone());
    }
    if let Ok(name) = TableName::new("bronze", last) {
        // Says which name is near.
        manifest.table(&name)?;
    }
    let names: Vec<String> = known.map(ToString::to_string).collect();
    Err(Error::new(
        ErrorKind::NotFound,
        format!("there is no bronze table of the topic \"{topic}\""),
    )
    .hint(format!("The bronze tables are {}.", names.join(", "))))
}
