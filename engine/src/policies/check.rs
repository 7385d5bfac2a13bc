//! Looks up every name of `policies.sql`, and plans its expressions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::compute::can_cast_types;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::datasource::empty::EmptyTable;
use datafusion::execution::session_state::SessionState;
use datafusion::sql::parser::Statement as PlannerStatement;
use sql_files::TableName;
use sql_files::policies::{Item, Named, NamedTable, Totals};
use sql_files::table_name::LAYERS;
use sqlparser::ast::{Expr, Query, Spanned, Statement};

use super::lineage::Origin;
use super::{attributes, granted, totals};
use crate::error::Result;
use crate::functions::Image;
use crate::project::{CheckedProject, Diagnostic, Source, locate, suggest};
use crate::session::{Sessions, bronze_view};
use crate::{bronze, dead_letters, quarantine, refresh, system};

/// Planning runs no query.
pub(super) const PLANNING_MEMORY: usize = 1 << 20;

/// The tables and columns that there are, and how the columns come about.
pub(crate) struct Names {
    tables: BTreeMap<TableName, SchemaRef>,
    origins: BTreeMap<Origin, BTreeSet<Origin>>,
    state: SessionState,
}

impl Names {
    /// Those of a project that was checked.
    pub(crate) fn of_project(checked: &CheckedProject, sessions: &Sessions) -> Result<Self> {
        let mut tables: Vec<(TableName, Arc<dyn TableProvider>)> = Vec::new();
        let empty =
            |schema: SchemaRef| -> Arc<dyn TableProvider> { Arc::new(EmptyTable::new(schema)) };
        for name in checked.lock.bronze.keys() {
            if let Ok(name) = TableName::new("bronze", name) {
                tables.push((name, bronze_view(empty(bronze::schema()), Image::After)?));
            }
        }
        let mut origins: BTreeMap<Origin, BTreeSet<Origin>> = BTreeMap::new();
        for (name, table) in &checked.tables {
            let columns = table.schema.fields().iter().map(|field| field.name());
            for (column, from) in columns.zip(&table.origins) {
                origins.insert((name.clone(), column.clone()), from.clone());
            }
            tables.push((name.clone(), empty(table.schema.clone())));
            let file = checked.project.file(name);
            if file.is_some_and(|file| file.has_quarantine()) {
                let aside = quarantine::schema(&table.schema);
                for field in aside.fields() {
                    // What is told of a row that is kept aside may be about any of its columns.
                    let own = table.schema.field_with_name(field.name()).is_ok();
                    let columns = table.schema.fields().iter().map(|column| column.name());
                    let from = columns.filter(|column| !own || *column == field.name());
                    let from = from.map(|column| (name.clone(), column.clone())).collect();
                    origins.insert((name.quarantine(), field.name().clone()), from);
                }
                tables.push((name.quarantine(), empty(aside)));
            }
        }
        tables.push((
            TableName::quality_results(),
            empty(refresh::results_schema()),
        ));
        if let Some(letters) = dead_letters::view(&tables)? {
            tables.push((TableName::dead_letters(), letters));
        }
        tables.extend(system::schemas().map(|(name, schema)| (name, empty(schema))));
        let known = tables
            .iter()
            .map(|(name, provider)| (name.clone(), provider.schema()))
            .collect();
        Ok(Self {
            tables: known,
            origins,
            state: sessions.context_of(LAYERS, tables)?.state(),
        })
    }

    /// The columns given, everything computed from them, and what of bronze they were read from.
    pub(super) fn covered(&self, masked: impl IntoIterator<Item = Origin>) -> BTreeSet<Origin> {
        let mut covered: BTreeSet<Origin> = masked.into_iter().collect();
        loop {
            let before = covered.len();
            for (column, from) in &self.origins {
                if !from.is_disjoint(&covered) {
                    covered.insert(column.clone());
                }
            }
            if covered.len() == before {
                break;
            }
        }
        let read: BTreeSet<TableName> = covered
            .iter()
            .filter_map(|column| self.origins.get(column))
            .flatten()
            .map(|(table, _)| table.clone())
            .filter(TableName::is_bronze)
            .collect();
        for table in read
            .iter()
            .chain(Some(&TableName::dead_letters()).filter(|_| !read.is_empty()))
        {
            let payload = ["key", "value", "headers", "before", "after", "error"];
            covered.extend(payload.map(|column| (table.clone(), column.to_owned())));
        }
        covered
    }
}

/// Everything wrong with the statements of a file.
pub(super) async fn check(
    source: Source<'_>,
    items: &[Item],
    names: &Names,
) -> Result<Vec<Diagnostic>> {
    let roles = items.iter().filter_map(|item| match item {
        Item::Roles(roles) => Some(roles),
        _ => None,
    });
    let mut checker = Checker {
        source,
        names,
        roles: roles.flatten().map(|role| role.name.as_str()).collect(),
        problems: Vec::new(),
    };
    let mut seen = BTreeSet::new();
    for item in items {
        if let Item::Roles(roles) = item {
            for role in roles.iter().filter(|role| !seen.insert(role.name.as_str())) {
                checker.refuse(
                    role.span,
                    format!("role \"{}\" is created twice", role.name),
                    None,
                );
            }
        }
        checker.item(item).await?;
    }
    let mut made = BTreeSet::new();
    for item in items {
        if let Item::Totals(totals) = item
            && !made.insert(&totals.table.name)
        {
            let message = format!("\"{}\" is created twice", totals.table.name);
            checker.refuse(totals.table.span, message, None);
        }
    }
    Ok(checker.problems)
}

struct Checker<'a> {
    source: Source<'a>,
    names: &'a Names,
    roles: Vec<&'a str>,
    problems: Vec<Diagnostic>,
}

impl Checker<'_> {
    async fn item(&mut self, item: &Item) -> Result<()> {
        match item {
            Item::Roles(_) => {}
            Item::Kill { to } | Item::Replay { to } => self.roles(to),
            Item::Schemas { schemas, to } => {
                for schema in schemas {
                    if !LAYERS.contains(&schema.name.as_str()) {
                        let near = suggest(&schema.name, "Schemas are", LAYERS);
                        self.refuse(
                            schema.span,
                            format!("unknown schema \"{}\"", schema.name),
                            near,
                        );
                    }
                }
                self.roles(to);
            }
            Item::Tables {
                tables,
                columns,
                to,
            } => {
                for table in tables {
                    if let Some(schema) = self.table(table) {
                        self.columns(table, &schema, columns.as_deref().unwrap_or_default());
                    }
                }
                self.roles(to);
            }
            Item::Policy {
                tables,
                to,
                condition,
            } => {
                for table in tables {
                    if self.table(table).is_some() {
                        let found = self.typed(condition, &table.name).await?;
                        if let Some(found) = found.filter(|found| !boolean(found)) {
                            let message = format!("a condition is true or false, this is {found}");
                            self.refuse(condition.span(), message, None);
                        }
                    }
                }
                self.roles(to);
            }
            Item::Mask {
                table,
                columns,
                to,
                value,
            } => {
                if let Some(schema) = self.table(table) {
                    self.columns(table, &schema, columns);
                    if let Some(found) = self.typed(value, &table.name).await? {
                        self.castable(value, &found, columns, &schema);
                    }
                }
                self.roles(to);
            }
            Item::Totals(totals) => self.totals(totals).await?,
        }
        Ok(())
    }

    fn castable(&mut self, value: &Expr, found: &DataType, columns: &[Named], schema: &SchemaRef) {
        for column in columns {
            let Ok(field) = schema.field_with_name(&column.name) else {
                continue;
            };
            let wanted = field.data_type();
            let text_for_number = *found == DataType::Utf8 && wanted != found;
            if text_for_number || !can_cast_types(found, wanted) {
                let message = format!("\"{}\" is {wanted}, its mask is {found}", column.name);
                let hint = "Mask it with NULL, or with a value of its type.".to_owned();
                self.refuse(value.span(), message, Some(hint));
            }
        }
    }

    async fn totals(&mut self, totals: &Totals) -> Result<()> {
        self.roles(&totals.to);
        if self.names.tables.contains_key(&totals.table.name) {
            let message = format!("there is a table \"{}\" already", totals.table.name);
            let hint = "Give the totals a name of their own.".to_owned();
            self.refuse(totals.table.span, message, Some(hint));
        }
        let guarded =
            totals::source(totals).and_then(|table| Ok((table, totals::guarded(totals)?)));
        let (table, query) = match guarded {
            Ok(guarded) => guarded,
            Err((span, message, hint)) => {
                self.refuse(span, message, Some(hint.to_owned()));
                return Ok(());
            }
        };
        let Some(schema) = self.table(&table) else {
            return Ok(());
        };
        self.columns(&table, &schema, std::slice::from_ref(&totals.person));
        self.plan(query, totals.span).await?;
        Ok(())
    }

    fn roles(&mut self, roles: &[Named]) {
        for role in roles {
            if !self.roles.contains(&role.name.as_str()) {
                let near = suggest(&role.name, "Roles are", self.roles.iter().copied());
                let hint = near.or_else(|| Some(format!("Create it: CREATE ROLE {};", role.name)));
                self.refuse(role.span, format!("unknown role \"{}\"", role.name), hint);
            }
        }
    }

    fn table(&mut self, table: &NamedTable) -> Option<SchemaRef> {
        let found = self.names.tables.get(&table.name).cloned();
        if found.is_none() {
            let written = table.name.to_string();
            let all: Vec<String> = self.names.tables.keys().map(ToString::to_string).collect();
            let near = suggest(&written, "Tables are", all.iter().map(String::as_str));
            self.refuse(table.span, format!("unknown table \"{written}\""), near);
        }
        found
    }

    fn columns(&mut self, table: &NamedTable, schema: &SchemaRef, columns: &[Named]) {
        for column in columns {
            if schema.field_with_name(&column.name).is_err() {
                let all = schema.fields().iter().map(|field| field.name().as_str());
                let near = suggest(&column.name, "Columns are", all);
                let message = format!("\"{}\" has no column \"{}\"", table.name, column.name);
                self.refuse(column.span, message, near);
            }
        }
    }

    /// The type of an expression over a table's columns.
    async fn typed(&mut self, expr: &Expr, table: &TableName) -> Result<Option<DataType>> {
        let span = expr.span();
        let mut expr = expr.clone();
        if let Err(message) = attributes::put(&mut expr, None) {
            let hint = "Write it as attribute('bu').".to_owned();
            self.refuse(span, message, Some(hint));
            return Ok(None);
        }
        let query = granted::select(table, vec![(expr, "value".to_owned())], None)?;
        Ok(self
            .plan(query, span)
            .await?
            .map(|schema| schema.field(0).data_type().clone()))
    }

    async fn plan(
        &mut self,
        query: Query,
        span: sqlparser::tokenizer::Span,
    ) -> Result<Option<SchemaRef>> {
        let statement = Statement::Query(Box::new(query));
        let statement = PlannerStatement::Statement(Box::new(statement));
        let state = &self.names.state;
        let planned = match state.statement_to_plan(statement).await {
            Ok(plan) => state.optimize(&plan).map(|_| plan),
            Err(error) => Err(error),
        };
        match planned {
            Ok(plan) => Ok(Some(plan.schema().inner().clone())),
            Err(error) => {
                self.problems
                    .extend(locate(error, self.source, span, state));
                Ok(None)
            }
        }
    }

    fn refuse(&mut self, span: sqlparser::tokenizer::Span, message: String, hint: Option<String>) {
        let hint = hint.filter(|hint| !hint.is_empty());
        self.problems
            .push(self.source.at(span, message).maybe_hint(hint));
    }
}

fn boolean(found: &DataType) -> bool {
    matches!(found, DataType::Boolean | DataType::Null)
}
