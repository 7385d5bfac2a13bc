//! Every rule of the project in force, judged now on one epoch. Reads, and takes no lock.

mod failing;

use chrono::{DateTime, Utc};
use datafusion::prelude::SessionContext;
use serde::Serialize;
use sql_files::TableName;

use crate::age::{Age, FRESH};
use crate::epoch::{Broken, Freshness, Manifest, TableState};
use crate::error::{Error, ErrorKind, Result};
use crate::masked::masked;
use crate::nearest;
use crate::project::{Expect, OnViolation, SqlFile};
use crate::reader::{Reader, TableInfo};
use crate::refresh::{CheckOutcome, RowByRow, count_rows, count_table, outcome, stored_project};
use crate::session::Sessions;

/// What every rule says of an epoch.
#[derive(Debug, Clone, Serialize)]
pub struct Validation {
    pub epoch: u64,
    pub checked_at: DateTime<Utc>,
    pub results: Vec<RuleResult>,
}

/// What one rule says of its table.
#[derive(Debug, Clone, Serialize)]
pub struct RuleResult {
    pub table: TableName,
    pub rule: String,
    pub definition: String,
    pub action: String,
    pub outcome: CheckOutcome,
    /// Unknown where the rule cannot be evaluated.
    pub violations: Option<u64>,
    /// Current rows of the table, those kept out included.
    pub rows: Option<u64>,
    /// What cannot be told in numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    pub key_columns: Vec<String>,
    /// Some of the keys that break it.
    pub keys: Vec<Vec<String>>,
}

impl RuleResult {
    pub fn is_broken(&self) -> bool {
        self.outcome != CheckOutcome::Passed
    }

    /// One line for a person.
    pub fn summary(&self) -> String {
        if let Some(message) = &self.message {
            return message.clone();
        }
        match (self.violations, self.rows) {
            (Some(violations), Some(rows)) => format!("{violations} of {rows} rows"),
            _ => String::new(),
        }
    }
}

impl Reader {
    /// Judges every rule of these tables, of all when none is named, with at most `keys` failing keys a rule.
    ///
    /// # Errors
    /// `NotFound` for a table that the project in force does not have.
    pub async fn validate(
        &self,
        manifest: &std::sync::Arc<Manifest>,
        tables: &[TableName],
        keys: usize,
        now: DateTime<Utc>,
    ) -> Result<Validation> {
        let lake = self.lake();
        let (project, _) = stored_project(lake, &manifest.project, self.sessions()).await?;
        let project = project.project;
        if let Some(unknown) = tables.iter().find(|name| project.file(name).is_none()) {
            let names: Vec<String> = project.names().map(ToString::to_string).collect();
            let near = nearest::name(&unknown.to_string(), names.iter().map(String::as_str));
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("there is no table \"{unknown}\" in the SQL project"),
            )
            .hint(match near {
                Some(near) => format!("Did you mean \"{near}\"?"),
                None => format!("Its tables are {}.", names.join(", ")),
            }));
        }
        let session = self.session(manifest.clone())?;
        let ages = self.ages(manifest).await?;
        let mut results = Vec::new();
        for file in &project.files {
            if !tables.is_empty() && !tables.contains(&file.name) {
                continue;
            }
            results.extend(held(file, manifest));
            results.extend(fresh(&file.name, ages.get(&file.name), now));
            if let Some(unbuilt) = manifest.unbuilt.get(&file.name) {
                let expects = file.directives.expects.iter();
                results.extend(
                    expects.filter_map(|expect| held_back(file, expect, &unbuilt.broken, keys)),
                );
            }
            if let Some(state) = manifest.tables.get(&file.name) {
                let table = Validated {
                    sessions: self.sessions(),
                    context: session.context(),
                    tables: session.tables(),
                    file,
                    state,
                    keys,
                    now,
                };
                table.judge(&mut results).await?;
            }
        }
        Ok(Validation {
            epoch: manifest.epoch,
            checked_at: now,
            results,
        })
    }
}

struct Validated<'a> {
    sessions: &'a Sessions,
    context: &'a SessionContext,
    tables: &'a [TableInfo],
    file: &'a SqlFile,
    state: &'a TableState,
    keys: usize,
    now: DateTime<Utc>,
}

impl Validated<'_> {
    async fn judge(&self, results: &mut Vec<RuleResult>) -> Result<()> {
        let expects = &self.file.directives.expects;
        let kept_out = self.state.kept_out();
        let held_back =
            |expect: &Expect| held_back(self.file, expect, &self.state.broken, self.keys);
        let is_judged = |e: &&Expect| e.is_about_rows() && held_back(e).is_none();
        let about_rows: Vec<&Expect> = expects.iter().filter(is_judged).collect();
        let (seen, counts) = self.count(&about_rows).await?;
        let rows = seen + kept_out;
        let mut counts = counts.into_iter();
        for expect in expects {
            if let Some(held_back) = held_back(expect) {
                results.push(held_back);
                continue;
            }
            let judged = match expect.is_about_rows() {
                true => counts.next().unwrap_or_else(|| counted(0)),
                false => {
                    let count = count_table(self.context, self.file, expect, self.now).await;
                    told(count)?.map(|violations| Judged {
                        violations,
                        keys: None,
                    })
                }
            };
            let mut result = RuleResult {
                table: self.file.name.clone(),
                rule: expect.name.clone(),
                definition: expect.rule.to_string(),
                action: expect.action(),
                outcome: CheckOutcome::Error,
                violations: None,
                rows: Some(rows),
                message: None,
                key_columns: Vec::new(),
                keys: Vec::new(),
            };
            match judged {
                Ok(judged) => {
                    let state = self.state.rules.get(&expect.name);
                    let violations = judged.violations + state.map_or(0, |rule| rule.kept_out);
                    result.violations = Some(violations);
                    result.outcome = outcome(expect, violations, rows);
                    let met = judged.keys.filter(|_| !expect.on_violation.keeps_out());
                    (result.key_columns, result.keys) = match met {
                        _ if violations == 0 => (Vec::new(), Vec::new()),
                        Some(met) => met,
                        None => self.failing(expect).await?,
                    };
                }
                Err(message) => result.message = Some(message),
            }
            results.push(result);
        }
        // What stands beside the rules: rows that the query itself cannot be computed for.
        let beside = self.state.rules.iter();
        for (name, rule) in beside.filter(|(name, _)| !expects.iter().any(|e| e.name == **name)) {
            let (key_columns, keys) = match rule.violations {
                0 => (Vec::new(), Vec::new()),
                _ => self.aside(name).await?,
            };
            results.push(RuleResult {
                table: self.file.name.clone(),
                rule: name.clone(),
                definition: rule.definition.clone(),
                action: rule.action.clone(),
                outcome: match rule.violations {
                    0 => CheckOutcome::Passed,
                    _ => CheckOutcome::KeptOut,
                },
                violations: Some(rule.violations),
                rows: Some(rows),
                message: None,
                key_columns,
                keys,
            });
        }
        Ok(())
    }

    /// Rows that readers see, and what each rule says of them or why that cannot be told.
    async fn count(&self, expects: &[&Expect]) -> Result<(u64, Vec<Result<Judged, String>>)> {
        match count_rows(self.context, self.file, expects, self.now).await {
            Ok((rows, counts)) => Ok((number(rows), counts.into_iter().map(counted).collect())),
            Err(error) if error.kind() != ErrorKind::InvalidRequest => Err(error),
            Err(_) if self.file.directives.cdc.is_some() => self.row_by_row(expects).await,
            Err(_) => {
                let (rows, _) = count_rows(self.context, self.file, &[], self.now).await?;
                let mut each = Vec::with_capacity(expects.len());
                for expect in expects {
                    let one = count_rows(self.context, self.file, &[expect], self.now).await;
                    let one = told(one.map(|(_, counts)| counts.into_iter().sum()))?;
                    each.push(one.and_then(counted));
                }
                Ok((number(rows), each))
            }
        }
    }

    /// The same of a `@cdc` table, where a row that a rule cannot be evaluated on breaks it.
    async fn row_by_row(&self, expects: &[&Expect]) -> Result<(u64, Vec<Result<Judged, String>>)> {
        let key = self.key();
        let rows = RowByRow {
            sessions: self.sessions,
            file: self.file,
            key: &key,
            keys: self.keys,
            now: self.now,
        };
        let judged = rows.judge(self.context, expects).await?;
        let rules = judged.rules.into_iter().map(|rule| {
            Ok(Judged {
                violations: number(rule.violations),
                keys: Some((key.clone(), rule.keys)),
            })
        });
        Ok((number(judged.rows), rules.collect()))
    }
}

/// What a rule says of the rows that readers see.
struct Judged {
    violations: u64,
    /// Columns and values of keys that break it, where they were met on the way.
    keys: Option<(Vec<String>, Vec<Vec<String>>)>,
}

fn counted(violations: i64) -> Result<Judged, String> {
    Ok(Judged {
        violations: number(violations),
        keys: None,
    })
}

fn number(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

/// A rule that cannot be evaluated is a result too; anything else that goes wrong is not.
fn told<T>(counted: Result<T>) -> Result<Result<T, String>> {
    match counted {
        Ok(count) => Ok(Ok(count)),
        Err(error) if error.kind() == ErrorKind::InvalidRequest => Ok(Err(format!(
            "cannot be evaluated: {}",
            masked(&error.to_string())
        ))),
        Err(error) => Err(error),
    }
}

/// A table that is held, or was never built, has broken something already.
fn held(file: &SqlFile, manifest: &Manifest) -> Option<RuleResult> {
    let state = manifest.tables.get(&file.name);
    let reason = match state {
        Some(state) if state.state == Freshness::Held => state.reason.clone(),
        Some(_) => return None,
        None => Some(manifest.unbuilt.get(&file.name)?.reason.clone()),
    };
    Some(RuleResult {
        table: file.name.clone(),
        rule: "held".to_owned(),
        definition: "the table is at its newest version".to_owned(),
        action: OnViolation::Fail.to_string(),
        outcome: CheckOutcome::Failed,
        violations: None,
        rows: state.and_then(|state| state.rows),
        message: reason,
        key_columns: Vec::new(),
        keys: Vec::new(),
    })
}

/// What a rule says of the version that it keeps from being committed; None where it keeps none.
fn held_back(
    file: &SqlFile,
    expect: &Expect,
    broken: &[Broken],
    keys: usize,
) -> Option<RuleResult> {
    let broken = broken.iter().find(|broken| broken.rule == expect.name)?;
    let (violations, rows) = (broken.violations, broken.rows);
    Some(RuleResult {
        table: file.name.clone(),
        rule: expect.name.clone(),
        definition: expect.rule.to_string(),
        action: expect.action(),
        outcome: CheckOutcome::Failed,
        violations: Some(violations),
        rows: Some(rows),
        message: Some(format!(
            "{violations} of {rows} rows of the version that is held back"
        )),
        key_columns: broken.key_columns.clone(),
        keys: broken.keys.iter().take(keys).cloned().collect(),
    })
}

/// What `@fresh` promises, by what bronze holds at this moment.
fn fresh(name: &TableName, age: Option<&Age>, now: DateTime<Utc>) -> Option<RuleResult> {
    let (age, limit) = (age?, age?.limit?);
    let outcome = limit.outcome(age.behind(now));
    let is_broken = outcome != CheckOutcome::Passed;
    Some(RuleResult {
        table: name.clone(),
        rule: FRESH.to_owned(),
        definition: limit.definition(),
        action: limit.on_violation.to_string(),
        outcome,
        violations: Some(u64::from(is_broken)),
        rows: None,
        message: is_broken.then(|| format!("{} s behind bronze", age.behind(now).num_seconds())),
        key_columns: Vec::new(),
        keys: Vec::new(),
    })
}
