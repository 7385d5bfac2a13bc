use std::collections::BTreeMap;
use std::path::Path;

use sql_files::TableName;

use super::{ImportedRule, ImportedSuite, LeftOut};
use crate::error::{Error, ErrorKind, Result};
use crate::nearest;
use crate::project::check::PLANNING_MEMORY;
use crate::project::{Diagnostic, Project, SourcesLock, SqlFile, check_project};
use crate::session::{Sessions, SourceConfig};

/// A file of the project with a suite's rules in it.
#[derive(Debug, Clone)]
pub struct Insertion {
    /// Relative to the project's folder.
    pub path: String,
    pub text: String,
    pub rules: Vec<ImportedRule>,
    pub left_out: Vec<LeftOut>,
}

impl ImportedSuite {
    /// The table's file with the rules above its SELECT. What the table cannot be asked is left out. Writes nothing.
    ///
    /// # Errors
    /// `NotFound` when the project has no such table.
    pub async fn insert_into(
        self,
        folder: &Path,
        source: &SourceConfig,
        table: &TableName,
    ) -> Result<Insertion> {
        let project = Project::load(folder)?;
        let lock = SourcesLock::load(folder)?;
        let sessions = Sessions::new(source.zone()?, PLANNING_MEMORY)?;
        let Some(file) = project.file(table) else {
            let names: Vec<String> = project.names().map(ToString::to_string).collect();
            let near = nearest::name(&table.to_string(), names.iter().map(String::as_str));
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("the SQL project has no sound file for \"{table}\""),
            )
            .hint(match near {
                Some(near) => format!("Did you mean \"{near}\"?"),
                None => "`sportlake check` tells what is wrong with a file.".to_owned(),
            }));
        };
        let mut left_out = self.left_out;
        let (mut rules, known): (Vec<_>, Vec<_>) = self.rules.into_iter().partition(|rule| {
            let names = file.directives.expects.iter().map(|expect| &expect.name);
            !names.into_iter().any(|name| *name == rule.name)
        });
        left_out.extend(known.into_iter().map(|rule| LeftOut {
            reason: format!("{table} has a rule \"{}\" already", rule.name),
            expectation: rule.expectation,
        }));
        // A rule that cannot be read may hide what is wrong with another, so each is asked about until none is left.
        loop {
            let (text, first) = with_lines(file, &rules);
            let mut texts: BTreeMap<String, String> = project.texts().clone();
            texts.insert(file.path.clone(), text.clone());
            let checked = check_project(Project::from_texts(texts), &lock, &sessions).await?;
            let refused = refused(&checked.problems, file, first, rules.len());
            if refused.is_empty() {
                return Ok(Insertion {
                    path: file.path.clone(),
                    text,
                    rules,
                    left_out,
                });
            }
            for (index, reason) in refused.into_iter().rev() {
                let rule = rules.remove(index);
                left_out.push(LeftOut {
                    expectation: rule.expectation,
                    reason,
                });
            }
        }
    }
}

/// The file's text with the lines in front of its first line of SQL, and the index of the first of them.
fn with_lines(file: &SqlFile, rules: &[ImportedRule]) -> (String, usize) {
    let mut lines: Vec<&str> = file.text.lines().collect();
    let is_sql = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("--");
    let at = lines.iter().position(is_sql).unwrap_or(lines.len());
    lines.splice(at..at, rules.iter().map(|rule| rule.line.as_str()));
    let mut text = lines.join("\n");
    text.push('\n');
    (text, at)
}

/// The inserted lines that something is wrong with, in order.
fn refused(
    problems: &[Diagnostic],
    file: &SqlFile,
    first: usize,
    count: usize,
) -> BTreeMap<usize, String> {
    problems
        .iter()
        .filter(|problem| problem.file.ends_with(&file.path))
        .filter_map(|problem| {
            let index = (problem.line as usize).checked_sub(first + 1)?;
            (index < count).then(|| (index, problem.message.clone()))
        })
        .collect()
}
