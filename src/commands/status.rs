use std::collections::BTreeMap;
use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::Args;
use engine::sources::Drift;
use engine::{Age, Freshness, Manifest, Size, Standing, TableName, TableState};
use serde_json::{Value, json};

use super::Context;
use crate::output::{self, Format};

/// Show the newest epoch: its tables, how fresh they are, and what is held and why
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake status
  sportlake status --output json")]
pub(crate) struct Command {
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Command {
    pub(crate) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let reader = context.reader(context.existing_lake().await?)?;
        let manifest = reader.latest().await?;
        let standing = reader.standing().await?;
        let drifts = match reader.drift(&context.config.source).await {
            Ok(drifts) => drifts,
            Err(error) => {
                output::note(&format!("the topics were not looked at: {error}"));
                Vec::new()
            }
        };
        let sizes = match reader.sizes(&manifest).await {
            Ok(sizes) => sizes,
            Err(error) => {
                output::note(&format!("the tables were not measured: {error}"));
                BTreeMap::new()
            }
        };
        let seen = Seen {
            now: (context.clock)(),
            ages: reader.ages(&manifest).await?,
            sizes,
        };
        let age = seen.now - manifest.now;
        match self.output {
            Format::Table => {
                output::line(&format!(
                    "epoch {} of {}, {} s ago",
                    manifest.epoch,
                    manifest.now.format("%Y-%m-%d %H:%M:%S UTC"),
                    age.num_seconds()
                ))?;
                output::table(&COLUMNS, &rows(&manifest, &seen), Format::Table)?;
                for note in standing.notes() {
                    output::line(&note)?;
                }
                for drift in &drifts {
                    output::line(&drift.to_string())?;
                }
            }
            Format::Csv => output::table(&COLUMNS, &rows(&manifest, &seen), Format::Csv)?,
            Format::Json => output::json(&document(&manifest, &standing, &drifts, &seen))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// How old and how large the tables were when they were looked at.
struct Seen {
    now: DateTime<Utc>,
    ages: BTreeMap<TableName, Age>,
    sizes: BTreeMap<TableName, Size>,
}

impl Seen {
    /// `12 s`, and whether that is more than was promised; nothing for a table that shows everything.
    fn behind(&self, name: &TableName) -> String {
        let Some(age) = self.ages.get(name).filter(|age| age.behind_since.is_some()) else {
            return String::new();
        };
        let late = if age.is_late(self.now) { ", late" } else { "" };
        format!("{} s{late}", age.behind(self.now).num_seconds())
    }
}

/// An age as JSON.
pub(crate) fn age(age: &Age, now: DateTime<Utc>) -> Value {
    json!({
        "behind_ms": age.behind(now).num_milliseconds(),
        "within_ms": age.limit.map(|limit| limit.within_ms),
        "action": age.limit.map(|limit| limit.on_violation.to_string()),
        "late": age.is_late(now),
    })
}

const COLUMNS: [&str; 10] = [
    "table",
    "state",
    "rows",
    "files",
    "bytes",
    "version",
    "since epoch",
    "behind",
    "broken rules",
    "reason",
];

fn rows(manifest: &Manifest, seen: &Seen) -> Vec<Vec<String>> {
    let tables = manifest.tables.iter();
    let unbuilt = manifest.unbuilt.iter().map(|(name, unbuilt)| {
        let mut row = vec![name.to_string(), "unbuilt".to_owned()];
        row.resize(COLUMNS.len() - 1, String::new());
        row.push(unbuilt.reason.clone());
        row
    });
    tables
        .map(|(name, table)| {
            let size = seen.sizes.get(name);
            vec![
                name.to_string(),
                state(table.state).to_owned(),
                table.rows.map(|rows| rows.to_string()).unwrap_or_default(),
                size.map(|size| size.files.to_string()).unwrap_or_default(),
                size.map(|size| size.bytes.to_string()).unwrap_or_default(),
                table.version.to_string(),
                table.since.to_string(),
                seen.behind(name),
                broken(table),
                table.reason.clone().unwrap_or_default(),
            ]
        })
        .chain(unbuilt)
        .collect()
}

/// What each broken rule counted, as `rule 3`.
fn broken(table: &TableState) -> String {
    let broken = table.rules.iter().filter(|(_, rule)| rule.violations > 0);
    let told: Vec<String> = broken
        .map(|(name, rule)| format!("{name} {}", rule.violations))
        .collect();
    told.join(", ")
}

fn document(manifest: &Manifest, standing: &Standing, drifts: &[Drift], seen: &Seen) -> Value {
    let tables = manifest.tables.iter().map(|(name, table)| {
        json!({
            "table": name.to_string(),
            "state": state(table.state),
            "rows": table.rows,
            "files": seen.sizes.get(name).map(|size| size.files),
            "bytes": seen.sizes.get(name).map(|size| size.bytes),
            "version": table.version,
            "since_epoch": table.since,
            "reason": table.reason,
            "warnings": table.warnings,
            "kept_out": table.kept_out(),
            "rules": table.rules,
            "fresh": seen.ages.get(name).map(|found| age(found, seen.now)),
        })
    });
    json!({
        "epoch": manifest.epoch,
        "now": manifest.now,
        "age_ms": (seen.now - manifest.now).num_milliseconds(),
        "project": standing,
        "drift": drifts,
        "unbuilt": manifest.unbuilt.iter().map(|(name, unbuilt)| (name.to_string(), &unbuilt.reason)).collect::<BTreeMap<_, _>>(),
        "tables": tables.collect::<Vec<_>>(),
    })
}

fn state(state: Freshness) -> &'static str {
    match state {
        Freshness::Fresh => "fresh",
        Freshness::Held => "held",
    }
}
