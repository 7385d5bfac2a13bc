use std::process::ExitCode;

use clap::Args;
use engine::{ColumnDifference, Plan, PlanConfig, PlannedTable, SampleRow};

use super::{Context, check};
use crate::exit::Found;
use crate::output::{self, Format};

/// Show what the SQL project on disk would change, down to rows, with nothing happening
///
/// The project on disk is compared with the one that is served, on the data of the newest epoch. Tables are made anew
/// in a scratch folder that is removed again, so it takes about as long as the change itself.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake plan
  sportlake plan --samples 10
  sportlake plan --no-rows --output json")]
pub(crate) struct Command {
    #[command(flatten)]
    depth: Depth,

    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// How deep a plan looks.
#[derive(Debug, Args)]
pub(crate) struct Depth {
    /// Differing rows to show of each table
    #[arg(long, value_name = "N", default_value_t = 3)]
    samples: u16,

    /// Compare definitions only, which is quick
    #[arg(long)]
    no_rows: bool,
}

impl Command {
    pub(crate) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let shutdown = context.shutdown.clone();
        shutdown
            .or_cancelled(show(&context, &self.depth, self.output))
            .await?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints the plan, or what is wrong with the project as `check` does.
pub(crate) async fn show(context: &Context, depth: &Depth, format: Format) -> anyhow::Result<()> {
    let config = &context.config;
    let lake = context.existing_lake().await?;
    let wanted = PlanConfig {
        project: config.sql.clone(),
        refresh: config.refresh.clone(),
        source: config.source.clone(),
        compares_rows: !depth.no_rows,
        samples: usize::from(depth.samples),
    };
    let reader = context.reader(lake.clone())?;
    let newest = reader.newest().await?;
    let held = newest.as_ref().map_or(0, |newest| newest.epoch);
    let planning = async {
        let plan = engine::plan(&lake, &wanted, newest, context.clock.clone());
        Ok(Box::pin(plan).await?)
    };
    let plan = context.reading(&reader, held, Box::pin(planning)).await?;
    if !plan.problems.is_empty() {
        check::print(&plan.problems, format)?;
        return Err(Found(check::summary(plan.problems.len())).into());
    }
    match format {
        Format::Table => table(&plan),
        Format::Json => output::json(&plan),
        Format::Csv => output::table(&COLUMNS, &rows(&plan), Format::Csv),
    }
}

const COLUMNS: [&str; 10] = [
    "table",
    "change",
    "because",
    "reads rows",
    "reads bytes",
    "rows",
    "added",
    "removed",
    "changed",
    "held",
];

fn table(plan: &Plan) -> anyhow::Result<()> {
    let epoch = match plan.epoch {
        Some(epoch) => format!("epoch {epoch}"),
        None => "a new lake".to_owned(),
    };
    if plan.is_empty() {
        output::line(&format!(
            "nothing to do: the project on disk is that of {epoch}"
        ))?;
        return Ok(());
    }
    let files: Vec<String> = plan
        .files
        .iter()
        .map(|file| format!("{} {}", file.path, file.change))
        .collect();
    output::line(&format!("against {epoch}: {}", files.join(", ")))?;
    if plan.tables.is_empty() {
        output::line("no table changes")?;
    } else {
        output::table(&COLUMNS, &rows(plan), Format::Table)?;
    }
    if plan.rebuild_bytes > 0 {
        let bytes = plan.rebuild_bytes;
        output::line(&format!("{bytes} bytes are read to make tables anew"))?;
    }
    for table in &plan.tables {
        details(table)?;
    }
    for reason in &plan.needs_apply {
        output::line(&format!("needs `sportlake apply`: {reason}"))?;
    }
    Ok(())
}

fn rows(plan: &Plan) -> Vec<Vec<String>> {
    let number = |number: Option<u64>| number.map(|n| n.to_string()).unwrap_or_default();
    let row = |table: &PlannedTable| {
        let rows = table.rows.as_ref();
        vec![
            table.table.clone(),
            table.kind.as_str().to_owned(),
            table.because.clone(),
            number(table.rebuild.as_ref().and_then(|rebuild| rebuild.rows)),
            number(table.rebuild.as_ref().map(|rebuild| rebuild.bytes)),
            number(rows.and_then(|rows| rows.after)),
            number(rows.map(|rows| rows.added)),
            number(rows.map(|rows| rows.removed)),
            number(rows.map(|rows| rows.changed)),
            table.held.clone().unwrap_or_default(),
        ]
    };
    plan.tables.iter().map(row).collect()
}

/// Columns and sample rows of one table.
fn details(table: &PlannedTable) -> anyhow::Result<()> {
    let samples = table.rows.iter().flat_map(|rows| &rows.samples);
    let lines: Vec<String> = table
        .columns
        .iter()
        .map(column)
        .chain(samples.map(sample))
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    output::line(&format!("\n{}", table.table))?;
    for line in lines {
        output::line(&line)?;
    }
    Ok(())
}

fn column(difference: &ColumnDifference) -> String {
    let name = &difference.column;
    match (&difference.before, &difference.after) {
        (Some(before), Some(after)) => format!("  ~ column {name}: {before} becomes {after}"),
        (None, Some(after)) => format!("  + column {name}: {after}"),
        (Some(before), None) => format!("  - column {name}: {before}"),
        (None, None) => String::new(),
    }
}

fn sample(row: &SampleRow) -> String {
    let values: Vec<String> = row
        .values
        .iter()
        .map(|(name, value)| format!("{name}={}", value.as_deref().unwrap_or("NULL")))
        .collect();
    format!("  {} {}", row.side, values.join(", "))
}
