use arrow::datatypes::SchemaRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use sql_files::TableName;

use super::Validated;
use crate::error::Result;
use crate::project::{Expect, Rule, quoted, statement};
use crate::reader::TableInfo;
use crate::refresh::now;

/// Columns shown of a table that has no key.
const COLUMNS_WITHOUT_KEY: usize = 3;

impl Validated<'_> {
    /// The key's columns, and some of the keys whose rows break the rule.
    pub(super) async fn failing(&self, expect: &Expect) -> Result<(Vec<String>, Vec<Vec<String>>)> {
        let columns = match &expect.rule {
            Rule::Unique(columns) => columns.iter().map(|column| column.name.clone()).collect(),
            Rule::Row(_) => self.key(),
            Rule::Table(_) => return Ok((Vec::new(), Vec::new())),
        };
        if self.keys == 0 || columns.is_empty() {
            return Ok((columns, Vec::new()));
        }
        let list = quoted(columns.iter().map(String::as_str));
        let from = |name: &TableName| {
            format!(
                "SELECT {list} FROM \"{}\".\"{}\"",
                name.schema(),
                name.name()
            )
        };
        let own = from(&self.file.name);
        let rows = match &expect.rule {
            Rule::Row(rule) => match self.aside(expect) {
                Some((name, column)) => {
                    format!("{} WHERE \"{column}\" = '{}'", from(&name), expect.name)
                }
                None => format!("{own} WHERE ({rule}) IS NOT TRUE"),
            },
            _ => format!("{own} GROUP BY {list} HAVING count(*) > 1"),
        };
        let sql = format!("{rows} ORDER BY {list} LIMIT {}", self.keys);
        let plan = self
            .context
            .state()
            .statement_to_plan(statement(&sql)?)
            .await?;
        let plan = now::bind(plan, self.now)?;
        let batches = self
            .context
            .execute_logical_plan(plan)
            .await?
            .collect()
            .await?;
        let options = FormatOptions::default().with_null("NULL");
        let mut keys = Vec::new();
        for batch in &batches {
            let cells: Vec<_> = batch
                .columns()
                .iter()
                .map(|column| ArrayFormatter::try_new(column, &options))
                .collect::<Result<_, _>>()?;
            for row in 0..batch.num_rows() {
                keys.push(
                    cells
                        .iter()
                        .map(|cells| cells.value(row).to_string())
                        .collect(),
                );
            }
        }
        Ok((columns, keys))
    }

    fn key(&self) -> Vec<String> {
        if !self.state.key.is_empty() {
            return self.state.key.clone();
        }
        let table = self.columns(&self.file.name);
        let fields = table.iter().flat_map(|table| table.fields().iter());
        let plain = fields.filter(|field| !field.data_type().is_nested());
        plain
            .take(COLUMNS_WITHOUT_KEY)
            .map(|field| field.name().clone())
            .collect()
    }

    /// Where the rows stand that the rule keeps aside, and the column that names it.
    fn aside(&self, expect: &Expect) -> Option<(TableName, String)> {
        if !expect.on_violation.keeps_out() {
            return None;
        }
        let name = self.file.name.quarantine();
        let own = self.columns(&self.file.name)?.fields().len();
        let column = self.columns(&name)?.fields().get(own)?.name().clone();
        Some((name, column))
    }

    /// A table's columns as readers see them.
    fn columns(&self, name: &TableName) -> Option<&SchemaRef> {
        let is_it = |table: &&TableInfo| table.schema == name.schema() && table.name == name.name();
        self.tables.iter().find(is_it).map(|table| &table.arrow)
    }
}
