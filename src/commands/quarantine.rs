use std::process::ExitCode;

use clap::{Args, Subcommand};
use engine::{Error, ErrorKind, Manifest, Request, Session, TableName, TableState};
use serde_json::json;

use super::Context;
use super::request::{self, Wait};
use crate::output::{self, Format};

/// Look at the rows that rules keep out of tables, and fold them again
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake quarantine list
  sportlake quarantine list silver.employees
  sportlake quarantine replay silver.employees --dry-run")]
pub(crate) struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(List),
    Replay(Replay),
}

/// Count the rows kept out, by table and rule; with a table, show its quarantined rows
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake quarantine list
  sportlake quarantine list silver.employees --output csv")]
struct List {
    /// The table whose quarantined rows are shown
    table: Option<TableName>,

    /// Rows to show at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,

    /// How to print them
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Make tables anew from all their events, by the rules and the program as they are
///
/// An event or an edit that cures a row moves it back by itself; this is for what neither tells: a newer program.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake quarantine replay
  sportlake quarantine replay silver.employees --dry-run")]
struct Replay {
    /// Tables to make anew [default: all that keep rows out]
    #[arg(value_name = "TABLE")]
    tables: Vec<TableName>,

    /// Name the tables and the rows kept out, and do nothing
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
        let reader = context.reader(context.existing_lake().await?)?;
        let manifest = reader.latest().await?;
        let Some(table) = &self.table else {
            return self.counts(&manifest);
        };
        table_of(&manifest, table)?;
        let session = reader.session(manifest)?;
        let aside = table.quarantine();
        if !is_there(&session, &aside) {
            let message = format!("{table} has no quarantine: none of its rules keeps rows aside");
            output::note(&message);
            return Ok(());
        }
        let (schema, name) = (aside.schema(), aside.name());
        let sql = format!("SELECT * FROM \"{schema}\".\"{name}\" LIMIT {}", self.limit);
        let statement = session.prepare(&sql).await?;
        let schema = statement.schema();
        output::rows(schema, statement.execute().await?, self.output).await?;
        Ok(())
    }

    fn counts(&self, manifest: &Manifest) -> anyhow::Result<()> {
        let mut rows = Vec::new();
        for (name, state) in &manifest.tables {
            let rules = state.rules.iter().filter(|(_, rule)| rule.kept_out > 0);
            rows.extend(rules.map(|(rule_name, rule)| {
                vec![
                    name.to_string(),
                    rule_name.clone(),
                    rule.kept_out.to_string(),
                    rule.action.clone(),
                    rule.definition.clone(),
                ]
            }));
        }
        let columns = ["table", "rule", "rows", "action", "definition"];
        output::table(&columns, &rows, self.output)
    }
}

impl Replay {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let reader = context.reader(context.existing_lake().await?)?;
        let before = reader.latest().await?;
        let mut tables = self.tables.clone();
        for name in &tables {
            table_of(&before, name)?;
        }
        if tables.is_empty() {
            let keeping = before
                .tables
                .iter()
                .filter(|(_, state)| state.kept_out() > 0);
            tables.extend(keeping.map(|(name, _)| name.clone()));
        }
        if tables.is_empty() {
            output::note("no table keeps rows out");
            return Ok(());
        }
        if self.dry_run {
            let rows: Vec<Vec<String>> = tables
                .iter()
                .map(|name| vec![name.to_string(), kept_out(&before, name).to_string()])
                .collect();
            return output::table(&["table", "rows kept out"], &rows, self.output);
        }
        let request = Request::Refresh {
            tables: tables.iter().map(ToString::to_string).collect(),
            full: true,
        };
        let patience = self.wait.patience();
        let mut outcome = request::of_refresh(context, request, patience).await?;
        let after = reader.latest().await?;
        let mut told = Vec::new();
        for name in &tables {
            let (before, after) = (kept_out(&before, name), kept_out(&after, name));
            outcome.summary.push_str(&format!(
                "\n{name}: {before} rows were kept out, {after} are"
            ));
            told.push(json!({"table": name, "before": before, "after": after}));
        }
        outcome.details["kept_out"] = told.into();
        request::print(&outcome, self.output)
    }
}

fn kept_out(manifest: &Manifest, name: &TableName) -> u64 {
    manifest.tables.get(name).map_or(0, TableState::kept_out)
}

/// # Errors
/// `NotFound` for what is no table of the project that was built.
fn table_of<'a>(manifest: &'a Manifest, name: &TableName) -> engine::Result<&'a TableState> {
    let found = manifest.table(name)?;
    match !name.is_bronze() && !name.is_made_by_refresh() {
        true => Ok(found),
        false => Err(Error::new(
            ErrorKind::NotFound,
            format!("\"{name}\" is no table of the SQL project that was built"),
        )
        .hint("`sportlake status` lists the tables. Messages that are no events are in `sportlake dlq list`.")),
    }
}

fn is_there(session: &Session, name: &TableName) -> bool {
    let tables = session.tables().iter();
    tables
        .into_iter()
        .any(|table| table.schema == name.schema() && table.name == name.name())
}
