use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::Args;
use engine::{Age, Explained, Freshness, Past, TableName};
use serde_json::{Value, json};

use super::Context;
use crate::output::{self, Document, Format};

/// Say how a table is refreshed and why so: inputs, rules, and what its last versions took
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake explain gold.eligibilites
  sportlake explain silver.sport_activities --output json")]
pub(crate) struct Command {
    /// The table, as `gold.eligibilites`
    table: TableName,

    /// How to print it
    #[arg(long, value_enum, default_value_t = Document::Text)]
    output: Document,
}

impl Command {
    pub(crate) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let reader = context.reader(context.existing_lake().await?)?;
        let manifest = reader.latest().await?;
        let now = (context.clock)();
        let explained = reader.explain(&manifest, &self.table).await?;
        match self.output {
            Document::Text => text(&explained, now)?,
            Document::Json => output::json(&document(&explained, now))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

const COLUMNS: [&str; 8] = [
    "epoch", "at", "version", "rows", "written", "files", "bytes", "seconds",
];

fn text(explained: &Explained, now: DateTime<Utc>) -> anyhow::Result<()> {
    output::line(&explained.table.to_string())?;
    if let Some(description) = &explained.description {
        output::line(description)?;
    }
    output::line(&format!(
        "\nrefresh    {}: {}",
        explained.technique.as_str(),
        explained.technique.reason()
    ))?;
    if explained.state.reads_clock {
        output::line("clock      it reads now(), so it is also computed as time passes")?;
    }
    if let Some(pause) = explained.at_most_every {
        output::line(&format!(
            "trigger    on change, at most every {} s",
            pause.as_secs_f64()
        ))?;
    }
    if let Some(age) = &explained.age {
        output::line(&format!("freshness  {}", freshness(age, now)))?;
    }
    output::line(&format!("state      {}", state(explained)))?;
    for (input, version) in &explained.inputs {
        let version =
            version.map_or_else(|| "not there yet".to_owned(), |v| format!("version {v}"));
        output::line(&format!("reads      {input}, {version}"))?;
    }
    for rule in &explained.rules {
        output::line(&format!(
            "expects    {}: {} ({})",
            rule.name, rule.rule, rule.on_violation
        ))?;
    }
    if explained.is_unbuilt {
        return Ok(());
    }
    output::line("\nIts last versions")?;
    let rows: Vec<Vec<String>> = explained.past.iter().map(cells).collect();
    output::table(&COLUMNS, &rows, Format::Table)
}

/// `at most 60s behind bronze or WARN; 12 s behind`
fn freshness(age: &Age, now: DateTime<Utc>) -> String {
    let behind = match age.behind_since {
        None => "shows all that bronze holds".to_owned(),
        Some(_) => format!("{} s behind bronze", age.behind(now).num_seconds()),
    };
    match &age.limit {
        None => behind,
        Some(limit) => {
            let late = if age.is_late(now) { ", late" } else { "" };
            let (within, action) = (limit.written(), limit.on_violation);
            format!("{behind}{late}; at most {within} behind is promised ({action})")
        }
    }
}

fn state(explained: &Explained) -> String {
    let state = &explained.state;
    let reason = state.reason.as_deref().unwrap_or_default();
    match state.state {
        _ if explained.is_unbuilt => format!("no good version yet: {reason}"),
        Freshness::Fresh => format!("fresh, since epoch {}", state.since),
        Freshness::Held => format!("held: {reason}"),
    }
}

fn cells(past: &Past) -> Vec<String> {
    let work = past.work.as_ref();
    let number = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
    vec![
        past.epoch.to_string(),
        past.at.map_or_else(
            || "-".to_owned(),
            |at| at.format("%Y-%m-%d %H:%M:%S").to_string(),
        ),
        past.version.to_string(),
        number(past.rows),
        number(work.map(|work| work.rows)),
        number(work.map(|work| work.files)),
        number(work.map(|work| work.bytes)),
        work.map(|work| {
            format!(
                "{}.{:03}",
                work.milliseconds / 1000,
                work.milliseconds % 1000
            )
        })
        .unwrap_or_default(),
    ]
}

fn document(explained: &Explained, now: DateTime<Utc>) -> Value {
    let inputs: Vec<Value> = explained
        .inputs
        .iter()
        .map(|(input, version)| json!({"table": input.to_string(), "version": version}))
        .collect();
    let rules: Vec<Value> = explained
        .rules
        .iter()
        .map(|rule| {
            json!({
                "rule": rule.name,
                "definition": rule.rule.to_string(),
                "action": rule.on_violation.to_string(),
            })
        })
        .collect();
    let past: Vec<Value> = explained
        .past
        .iter()
        .map(|past| {
            json!({
                "epoch": past.epoch,
                "at": past.at,
                "version": past.version,
                "rows": past.rows,
                "work": past.work,
            })
        })
        .collect();
    json!({
        "table": explained.table.to_string(),
        "description": explained.description,
        "refresh": explained.technique.as_str(),
        "reason": explained.technique.reason(),
        "reads_clock": explained.state.reads_clock,
        "state": explained.state.state,
        "held": explained.state.reason,
        "unbuilt": explained.is_unbuilt,
        "fresh": explained.age.as_ref().map(|age| super::status::age(age, now)),
        "inputs": inputs,
        "rules": rules,
        "versions": past,
    })
}
