//! The SQL project: files of one SELECT each, whose path is the table they make.
//!
//! Pure: texts go in, tables and diagnostics come out. Nothing here opens the lake, reads a clock
//! or runs a query. One broken file is reported and the others are known all the same.

mod check;
mod decimals;
mod folding;
mod json_fields;
mod load;
mod locate;
mod lock;
mod planning;
mod suite;
#[cfg(test)]
mod tests;
mod trial;

use std::collections::{BTreeMap, BTreeSet};

use datafusion::sql::parser::Statement as PlannerStatement;
use sql_files::syntax::SyntaxError;
use sqlparser::ast::Statement;

pub(crate) use check::check_project;
pub use check::{CheckedProject, CheckedTable, check};
pub(crate) use json_fields::field_uses;
pub(crate) use load::{TextFile, read_text, table_of};
pub(crate) use locate::locate;
pub use lock::{BronzeSource, FieldType, LOCK_FILE, SourcesLock};
pub use planning::stored_type;
pub use sql_files::{
    Cdc, Column, Diagnostic, DiagnosticKind, Directives, Expect, MaxAge, OnViolation,
    RefreshPolicy, Rule, SqlFile, Trigger,
};
pub(crate) use sql_files::{Source, quoted, suggest};
use sql_files::{file, graph};
pub use suite::{ImportedRule, ImportedSuite, Insertion, LeftOut};
pub(crate) use trial::{Action, Case, Moment, Outcome, Rows, RuleName, Step, Trial, Trials};

use sql_files::TableName;

use crate::error::{Error, ErrorKind, Result};

/// The files that make tables, and what is wrong with those that cannot be read.
#[derive(Debug, Clone, Default)]
pub struct Project {
    pub files: Vec<SqlFile>,
    pub problems: Vec<Diagnostic>,
    /// Tables whose file is there and broken.
    broken: BTreeSet<TableName>,
    texts: BTreeMap<String, String>,
}

impl Project {
    pub fn file(&self, name: &TableName) -> Option<&SqlFile> {
        self.files.iter().find(|file| file.name == *name)
    }

    /// Every table that has a file, broken ones too.
    pub fn names(&self) -> impl Iterator<Item = &TableName> {
        let read = self.files.iter().map(|file| &file.name);
        read.chain(&self.broken)
    }

    /// The texts by path, as `from_texts` takes them; the lock's is among them.
    pub fn texts(&self) -> &BTreeMap<String, String> {
        &self.texts
    }

    /// Names these very texts: any change of a file or the lock, of a comment too, changes it.
    pub fn fingerprint(&self) -> String {
        let mut all = String::new();
        for (path, text) in &self.texts {
            all.push_str(&format!("{path}\n{}\n{text}\n", text.len()));
        }
        file::sha256(&all)
    }

    pub(crate) fn defines(&self, name: &TableName) -> bool {
        self.names().any(|known| known == name)
    }
}

/// The tables that a file reads; with kept-out rows also the table whose rows they would be.
pub(crate) fn inputs(file: &SqlFile) -> BTreeSet<TableName> {
    let references = graph::references(&file.query);
    references
        .iter()
        .flat_map(graph::Reference::inputs)
        .collect()
}

/// What columns of the bronze table that a file reads are qualified with.
pub(crate) fn bronze_alias(file: &SqlFile) -> Option<String> {
    let references = graph::references(&file.query);
    let bronze = references
        .into_iter()
        .find(|reference| reference.schema == "bronze");
    bronze.map(|reference| reference.alias)
}

/// A statement that is made of rules, for the planner.
pub(crate) fn statement(sql: &str) -> Result<PlannerStatement> {
    sql_files::statement(sql).map(planned).map_err(uncountable)
}

/// The query that counts a rule's violations in the table as it would be committed.
pub(crate) fn count(expect: &Expect, table: &TableName) -> Result<PlannerStatement> {
    expect.count(table).map(planned).map_err(uncountable)
}

/// The same for the planner.
pub(crate) fn planned(statement: Statement) -> PlannerStatement {
    PlannerStatement::Statement(Box::new(statement))
}

fn uncountable(error: SyntaxError) -> Error {
    let text = format!("a rule cannot be counted: {error}");
    Error::new(ErrorKind::Internal, text)
}
