use arrow::datatypes::SchemaRef;
use sql_files::TableName;

use super::Validated;
use crate::error::Result;
use crate::project::{Expect, Rule};
use crate::reader::TableInfo;
use crate::refresh::{failing_rows, kept_out_rows, keys_of, rule_column, shown_key};

impl Validated<'_> {
    /// The key's columns, and some of the keys whose rows break the rule.
    pub(super) async fn failing(&self, expect: &Expect) -> Result<(Vec<String>, Vec<Vec<String>>)> {
        let (columns, own) = failing_rows(&self.file.name, &expect.rule, &self.key());
        let aside = match expect.rule {
            Rule::Row(_) if expect.on_violation.keeps_out() => self.kept_aside(&expect.name),
            _ => None,
        };
        let keys = self.keys(aside.or(own), &columns).await?;
        Ok((columns, keys))
    }

    /// The same of the rows that are kept aside by that name.
    pub(super) async fn aside(&self, rule: &str) -> Result<(Vec<String>, Vec<Vec<String>>)> {
        let columns = self.key();
        let keys = self.keys(self.kept_aside(rule), &columns).await?;
        Ok((columns, keys))
    }

    async fn keys(&self, rows: Option<String>, columns: &[String]) -> Result<Vec<Vec<String>>> {
        match rows {
            Some(rows) if self.keys > 0 && !columns.is_empty() => {
                keys_of(self.context, &rows, columns, self.keys, self.now).await
            }
            _ => Ok(Vec::new()),
        }
    }

    pub(super) fn key(&self) -> Vec<String> {
        match self.columns(&self.file.name) {
            Some(schema) => shown_key(self.state.key.clone(), schema),
            None => self.state.key.clone(),
        }
    }

    /// The rows that a rule keeps aside, where they stand and by the column that names it.
    fn kept_aside(&self, rule: &str) -> Option<String> {
        let name = self.file.name.quarantine();
        let own = self.columns(&self.file.name)?;
        let column = rule_column(own, self.columns(&name)?)?;
        Some(kept_out_rows(&name, column, rule))
    }

    /// A table's columns as readers see them.
    fn columns(&self, name: &TableName) -> Option<&SchemaRef> {
        let is_it = |table: &&TableInfo| table.schema == name.schema() && table.name == name.name();
        self.tables.iter().find(is_it).map(|table| &table.arrow)
    }
}
