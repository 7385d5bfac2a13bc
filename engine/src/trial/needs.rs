//! What a case needs of the project, and whether it may give what it gives.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::DataType;
use sql_files::TableName;

use super::rows::sql_type;
use crate::project::{
    Action, Case, CheckedProject, Diagnostic, LOCK_FILE, Outcome, Rows, RuleName, SqlFile, Trial,
    suggest,
};

/// The files of a case's own project, by path.
pub(super) type Texts = BTreeMap<String, String>;

/// Bronze table of the events that stand for the rows of a table given directly.
pub(super) fn stand_in(table: &TableName) -> String {
    format!("given_{}_{}", table.schema(), table.name())
}

/// Mistakes that can be told without running the case.
pub(super) fn problems(checked: &CheckedProject, trial: &Trial, case: &Case) -> Vec<Diagnostic> {
    let needed = needed(checked, trial, case);
    let mut problems = Vec::new();
    for step in &case.steps {
        match &step.action {
            Action::Given(rows) | Action::Change(rows) => {
                problems.extend(not_read(trial, rows, &needed));
            }
            Action::Delete(rows) => match not_read(trial, rows, &needed) {
                Some(problem) => problems.push(problem),
                None => problems.extend(not_deletable(checked, trial, rows)),
            },
            Action::Expect(Outcome::Held(Some(rule)) | Outcome::Warned(rule, _)) => {
                problems.extend(no_rule(checked, trial, rule));
            }
            Action::Now(_) | Action::Expect(_) => {}
        }
    }
    problems.dedup();
    problems
}

/// The tables that a case gives rows of, bronze left out.
pub(super) fn given(case: &Case) -> BTreeSet<TableName> {
    let tables = case.steps.iter().filter_map(|step| match &step.action {
        Action::Given(rows) | Action::Change(rows) | Action::Delete(rows) => Some(&rows.table),
        Action::Now(_) | Action::Expect(_) => None,
    });
    tables.filter(|table| !table.is_bronze()).cloned().collect()
}

/// The tables that a case is about: the one under test, and what it reads down to what is given.
pub(super) fn needed(checked: &CheckedProject, trial: &Trial, case: &Case) -> BTreeSet<TableName> {
    let given = given(case);
    let mut needed = BTreeSet::new();
    let mut open = vec![trial.table.clone()];
    while let Some(table) = open.pop() {
        let is_cut = given.contains(&table) && table != trial.table;
        if needed.insert(table.clone())
            && !is_cut
            && let Some(checked) = checked.tables.get(&table)
        {
            let inputs = checked.inputs.iter();
            open.extend(inputs.map(|input| input.quarantine_of().unwrap_or_else(|| input.clone())));
        }
    }
    needed
}

/// The project of a case: the files that it needs, stand-ins for the tables it gives, and the sources of both.
pub(super) fn texts(checked: &CheckedProject, trial: &Trial, case: &Case, lock: &str) -> Texts {
    let given = given(case);
    let mut texts = Texts::new();
    let mut lock = lock.to_owned();
    for table in needed(checked, trial, case) {
        let (Some(file), Some(known)) = (checked.project.file(&table), checked.tables.get(&table))
        else {
            continue;
        };
        if given.contains(&table) {
            let bronze = stand_in(&table);
            lock.push_str(&format!("\n[bronze.{bronze}]\ntopic = \"{bronze}\"\n"));
            texts.insert(file.path.clone(), stand_in_sql(file, known.schema.fields()));
        } else {
            texts.insert(file.path.clone(), without_trigger(&file.text));
        }
    }
    texts.insert(LOCK_FILE.to_owned(), lock);
    texts
}

fn not_read(trial: &Trial, rows: &Rows, needed: &BTreeSet<TableName>) -> Option<Diagnostic> {
    if needed.contains(&rows.table) && rows.table != trial.table {
        return None;
    }
    let others: Vec<String> = needed
        .iter()
        .filter(|table| **table != trial.table)
        .map(ToString::to_string)
        .collect();
    let message = match rows.table == trial.table {
        true => format!("{} is under test and cannot be given", rows.table),
        false => format!("\"{}\" is nothing that {} reads", rows.table, trial.table),
    };
    let hint = suggest(
        &rows.table.to_string(),
        "It reads",
        others.iter().map(String::as_str),
    );
    let problem = trial.source().at(rows.table_span, message);
    Some(problem.maybe_hint(hint))
}

fn not_deletable(checked: &CheckedProject, trial: &Trial, rows: &Rows) -> Option<Diagnostic> {
    let at = |message: String| trial.source().at(rows.table_span, message);
    if rows.table.is_bronze() {
        let problem = at(format!("events of {} are not deleted", rows.table));
        return Some(
            problem.hint("Give an event with op 'd': SELECT 'd' AS op, '{\"id\":1}' AS before;"),
        );
    }
    let file = checked.project.file(&rows.table)?;
    if !file.directives.key.is_empty() {
        return None;
    }
    let problem = at(format!("{} has no @key to delete by", rows.table));
    Some(problem.hint("Give all its rows anew with @given."))
}

fn no_rule(checked: &CheckedProject, trial: &Trial, rule: &RuleName) -> Option<Diagnostic> {
    let file = checked.project.file(&trial.table)?;
    let rules: Vec<&str> = file
        .directives
        .expects
        .iter()
        .map(|expect| expect.name.as_str())
        .collect();
    if rules.contains(&rule.name.as_str()) {
        return None;
    }
    let message = format!("{} has no rule \"{}\"", trial.table, rule.name);
    let hint = suggest(&rule.name, "Its rules are", rules);
    Some(trial.source().at(rule.span, message).maybe_hint(hint))
}

/// The file with its triggers as empty comments, so that every step makes an epoch and no line moves.
fn without_trigger(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let directive = line.trim_start().strip_prefix("--").map(str::trim_start);
        match directive {
            Some(directive) if directive.starts_with("@trigger") => "--",
            _ => line,
        }
    });
    let lines: Vec<&str> = lines.collect();
    lines.join("\n")
}

/// A table made from events whose fields are its columns; without a key, from those of the newest generation.
fn stand_in_sql(file: &SqlFile, fields: &arrow::datatypes::Fields) -> String {
    let columns: Vec<String> = fields
        .iter()
        .map(|field| {
            let value = match sql_type(field.data_type()) {
                Some(sql_type) => format!("CAST(after ->> {} AS {sql_type})", text(field.name())),
                None => nothing(field.data_type()),
            };
            format!("{value} AS {}", quoted(field.name()))
        })
        .collect();
    let columns = columns.join(",\n    ");
    let bronze = stand_in(&file.name);
    let key: Vec<String> = file
        .directives
        .key
        .iter()
        .map(|column| quoted(&column.name))
        .collect();
    match key.is_empty() {
        true => format!(
            "SELECT\n    {columns}\nFROM bronze.{bronze}\nWHERE op = 'c'\n  AND generation = (SELECT max(generation) FROM bronze.{bronze})\n"
        ),
        false => format!(
            "-- @key {}\n-- @cdc sequence by generation, source_lsn, _offset; delete when op = 'd'\nSELECT\n    {columns}\nFROM bronze.{bronze}\n",
            key.join(", ")
        ),
    }
}

fn nothing(data_type: &DataType) -> String {
    format!("arrow_cast(NULL, {})", text(&data_type.to_string()))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
