use std::process::ExitCode;

use arrow::array::RecordBatch;
use clap::Args;
use engine::{Input, RuleVerdict, TableName, Verdict, Why};
use serde_json::{Value, json};

use super::Context;
use crate::output::{self, Document};

/// Say why a row is as it is: the rows, rules and parameters it rests on, down to the messages they came in
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake why gold.eligibilites 42
  sportlake why gold.cout_par_bu Marketing --output json
  sportlake why gold.indicateurs")]
pub(crate) struct Command {
    /// The table, as `gold.eligibilites`
    table: TableName,

    /// The row's key, one value a key column
    key: Vec<String>,

    /// The epoch to look at [default: the newest]
    #[arg(long)]
    epoch: Option<u64>,

    /// How to print it
    #[arg(long, value_enum, default_value_t = Document::Text)]
    output: Document,
}

impl Command {
    pub(crate) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let shutdown = context.shutdown.clone();
        shutdown.or_cancelled(Box::pin(self.print(context))).await?;
        Ok(ExitCode::SUCCESS)
    }

    async fn print(self, context: Context) -> anyhow::Result<()> {
        let reader = context.reader(context.existing_lake().await?)?;
        let manifest = match self.epoch {
            Some(epoch) => reader.epoch(epoch).await?,
            None => reader.latest().await?,
        };
        let asking = async { Ok(reader.why(&manifest, &self.table, &self.key).await?) };
        let why = context
            .reading(&reader, manifest.epoch, Box::pin(asking))
            .await?;
        match self.output {
            Document::Text => text(&why),
            Document::Json => output::json(&document(&why)?),
        }
    }
}

fn text(why: &Why) -> anyhow::Result<()> {
    let key: Vec<String> = why
        .key
        .iter()
        .map(|(column, value)| format!("{column} = {value}"))
        .collect();
    let mut title = why.table.to_string();
    if !key.is_empty() {
        title.push_str(&format!(", {}", key.join(", ")));
    }
    title.push_str(&format!(", in epoch {}", why.epoch));
    if let Some(at) = why.computed_at {
        title.push_str(&format!(
            " (computed at {})",
            at.format("%Y-%m-%d %H:%M:%S UTC")
        ));
    }
    output::line(&title)?;
    if let Some(description) = &why.description {
        output::line(description)?;
    }
    if let Some(reason) = &why.held {
        let state = if why.is_unbuilt {
            "has no good version yet"
        } else {
            "is held"
        };
        output::line(&format!("The table {state}: {reason}"))?;
    }
    match &why.row {
        Some(row) => output::batch(row)?,
        None => output::line("There is no such row.")?,
    }
    formulas(why)?;
    rules(&why.rules)?;
    if let Some(messages) = &why.messages {
        output::line("\nThe row stands on")?;
        output::batch(messages)?;
    }
    if !why.kept_out.is_empty() {
        output::line("\nRules keep out what it would rest on too")?;
        let shown = |input| rows(input, ", and there may be more");
        why.kept_out.iter().try_for_each(shown)?;
    }
    if !why.inputs.is_empty() {
        output::line("\nIt rests on")?;
    }
    let shown = |input| rows(input, ", the first of more");
    why.inputs.iter().try_for_each(shown)
}

fn rows(input: &Input, more: &str) -> anyhow::Result<()> {
    let more = if input.more { more } else { "" };
    let count = input.rows.num_rows();
    output::line(&format!("\n{}: {count} rows{more}", input.table))?;
    output::batch(&input.rows)?;
    if input.is_end {
        output::line("what they were made from is no longer kept")?;
    }
    if let Some(messages) = &input.messages {
        output::line("from the messages")?;
        output::batch(messages)?;
    }
    Ok(())
}

fn formulas(why: &Why) -> anyhow::Result<()> {
    if why.formulas.is_empty() {
        return Ok(());
    }
    output::line("\nHow its columns come about")?;
    for formula in &why.formulas {
        output::line(&format!("  {} = {}", formula.column, formula.expression))?;
        for part in &formula.parts {
            let mut line = format!("      {}", part.column);
            if let Some(value) = &part.value {
                line.push_str(&format!(" = {value}"));
            }
            if let Some(expression) = &part.expression {
                line.push_str(&format!("    that is {expression}"));
            }
            output::line(&line)?;
        }
    }
    Ok(())
}

fn rules(rules: &[RuleVerdict]) -> anyhow::Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    output::line("\nIts rules")?;
    for rule in rules {
        let verdict = match rule.verdict {
            Verdict::Holds => "holds",
            Verdict::Broken => "BROKEN",
            Verdict::NotComputable => "cannot be computed on this row",
            Verdict::NoRow => "no row",
            Verdict::WholeTable => "about the whole table",
        };
        let line = format!(
            "  {}: {} ({}): {verdict}",
            rule.name, rule.definition, rule.action
        );
        output::line(&line)?;
    }
    Ok(())
}

fn document(why: &Why) -> anyhow::Result<Value> {
    let key: serde_json::Map<String, Value> = why
        .key
        .iter()
        .map(|(column, value)| (column.clone(), value.clone().into()))
        .collect();
    let formulas: Vec<Value> = why
        .formulas
        .iter()
        .map(|formula| {
            let parts = formula.parts.iter().map(|part| {
                json!({"column": part.column, "value": part.value, "expression": part.expression})
            });
            json!({
                "column": formula.column,
                "expression": formula.expression,
                "parts": parts.collect::<Vec<_>>(),
            })
        })
        .collect();
    let rules: Vec<Value> = why
        .rules
        .iter()
        .map(|rule| {
            json!({
                "rule": rule.name,
                "definition": rule.definition,
                "action": rule.action.to_string(),
                "holds": rule.verdict.holds(),
                "verdict": word(rule.verdict),
            })
        })
        .collect();
    let row = optional(why.row.as_ref())?;
    Ok(json!({
        "table": why.table.to_string(),
        "epoch": why.epoch,
        "computed_at": why.computed_at,
        "held": why.held,
        "unbuilt": why.is_unbuilt,
        "key": key,
        "row": row.get(0),
        "formulas": formulas,
        "rules": rules,
        "messages": optional(why.messages.as_ref())?,
        "inputs": documents(&why.inputs)?,
        "kept_out": documents(&why.kept_out)?,
    }))
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Holds => "holds",
        Verdict::Broken => "broken",
        Verdict::NotComputable => "not_computable",
        Verdict::NoRow => "no_row",
        Verdict::WholeTable => "whole_table",
    }
}

fn documents(inputs: &[Input]) -> anyhow::Result<Vec<Value>> {
    let document = |input: &Input| {
        Ok(json!({
            "table": input.table.to_string(),
            "rows": output::json_rows(&input.rows)?,
            "more": input.more,
            "end": input.is_end,
            "messages": optional(input.messages.as_ref())?,
        }))
    };
    inputs.iter().map(document).collect()
}

fn optional(rows: Option<&RecordBatch>) -> anyhow::Result<Value> {
    match rows {
        Some(rows) => output::json_rows(rows),
        None => Ok(Value::Null),
    }
}
