use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::logical_expr::Volatility;
use sql_files::graph::{self, Reference};
use sql_files::{
    Column, DEFAULT_SCHEMA, Diagnostic, RefreshPolicy, Rule, SqlFile, TableName, suggest, syntax,
};
use sqlparser::ast::{Expr, Query, SelectItem, SetExpr, Spanned, Statement};
use sqlparser::tokenizer::{Location, Span};

use super::Project;
use super::decimals;
use super::folding::{self, LookedUp, unique_key};
use super::json_fields;
use super::locate::locate;
use super::lock::SourcesLock;
use super::planning::{Planner, stored_type};
use crate::error::{Error, Result};
use crate::hidden::HIDDEN;
use crate::policies::{Origin, origins};
use crate::quarantine;
use crate::refresh::{fold_statement, now};
use crate::session::{Sessions, SourceConfig};

/// Planning runs no query.
pub(super) const PLANNING_MEMORY: usize = 1 << 20;

/// What is known about a project once its files are planned.
#[derive(Debug)]
pub struct CheckedProject {
    pub project: Project,
    /// The tables that can be built, each behind what it reads.
    pub order: Vec<TableName>,
    pub tables: BTreeMap<TableName, CheckedTable>,
    /// The sources that it was checked against.
    pub lock: SourcesLock,
    /// Everything wrong, by file and line; empty when all tables can be built.
    pub problems: Vec<Diagnostic>,
}

/// One table that can be built.
#[derive(Debug, Clone)]
pub struct CheckedTable {
    /// Columns as the table stores them.
    pub schema: SchemaRef,
    pub inputs: BTreeSet<TableName>,
    /// What each column is computed from, in their order.
    pub(crate) origins: Vec<BTreeSet<Origin>>,
    /// Whether its rows depend on `now()`.
    pub reads_clock: bool,
}

impl CheckedProject {
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Checks a project's folder, offline.
pub async fn check(folder: &Path, source: &SourceConfig) -> Result<CheckedProject> {
    let project = Project::load(folder)?;
    let lock = SourcesLock::load(folder)?;
    let sessions = Sessions::new(source.zone()?, PLANNING_MEMORY)?;
    check_project(project, &lock, &sessions).await
}

/// Plans every file against its inputs' columns. Files that read a bad one are left out of the
/// result and, when they could be planned no further, not reported a second time.
pub(crate) async fn check_project(
    mut project: Project,
    lock: &SourcesLock,
    sessions: &Sessions,
) -> Result<CheckedProject> {
    for file in &mut project.files {
        file.learn_zone(sessions.timezone().name());
        decimals::declare(file, lock);
    }
    let files: BTreeMap<TableName, &SqlFile> = project
        .files
        .iter()
        .map(|file| (file.name.clone(), file))
        .collect();
    let sorted = graph::order(&files);
    let mut checker = Checker {
        planner: Planner::new(sessions, lock)?,
        project: &project,
        lock,
        columns: BTreeMap::new(),
        sound: BTreeMap::new(),
        order: Vec::new(),
        problems: project.problems.clone(),
    };
    checker.problems.extend(sorted.cycles);
    for name in &sorted.order {
        if let Some(file) = files.get(name) {
            checker.table(file).await?;
        }
    }
    let (order, tables, mut problems) = (checker.order, checker.sound, checker.problems);
    problems.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    Ok(CheckedProject {
        project,
        order,
        tables,
        lock: lock.clone(),
        problems,
    })
}

struct Checker<'a> {
    planner: Planner,
    project: &'a Project,
    lock: &'a SourcesLock,
    /// Columns of every table planned so far, sound or not.
    columns: BTreeMap<TableName, SchemaRef>,
    sound: BTreeMap<TableName, CheckedTable>,
    order: Vec<TableName>,
    problems: Vec<Diagnostic>,
}

impl Checker<'_> {
    async fn table(&mut self, file: &SqlFile) -> Result<()> {
        let references = graph::references(&file.query);
        let before = self.problems.len();
        self.problems.extend(promises(file));
        self.problems
            .extend(json_fields::check(file, &references, self.lock));
        let unknown: Vec<Diagnostic> = references
            .iter()
            .filter_map(|reference| self.unknown_table(file, reference))
            .collect();
        let has_unknown = !unknown.is_empty();
        self.problems.extend(unknown);
        let inputs: BTreeSet<TableName> = references.iter().flat_map(Reference::inputs).collect();
        let inputs_known = inputs
            .iter()
            .all(|input| input.is_bronze() || self.columns.contains_key(input));
        if has_unknown || !inputs_known {
            return Ok(());
        }

        let fallback = select_start(file);
        let query = file.query.as_ref().clone();
        let plan = match self.planner.plan(query).await {
            Ok(plan) => plan,
            Err(error) => {
                let state = self.planner.state();
                self.problems
                    .extend(locate(error, file.source(), fallback, state));
                return Ok(());
            }
        };
        let reads_clock = now::reads_clock(&plan)?;
        let origins = origins(&plan)?;
        let (schema, problems) = stored_schema(file, plan.schema().as_arrow());
        self.problems.extend(problems);
        self.planner.add(&file.name, Arc::clone(&schema))?;
        self.columns.insert(file.name.clone(), Arc::clone(&schema));
        if file.has_quarantine() {
            let name = file.name.quarantine();
            let aside = quarantine::schema(&schema);
            self.planner.add(&name, Arc::clone(&aside))?;
            self.columns.insert(name, aside);
        }

        self.key(file, &schema);
        self.cdc(file, &inputs).await;
        if self.problems.len() == before {
            self.folding(file, &references, &schema).await?;
        }
        self.expectations(file, &schema).await;

        let inputs_sound = inputs
            .iter()
            .filter(|input| !input.is_bronze() && input.quarantine_of().is_none())
            .all(|input| self.sound.contains_key(input));
        if self.problems.len() == before && inputs_sound {
            self.order.push(file.name.clone());
            let table = CheckedTable {
                schema,
                inputs,
                origins,
                reads_clock,
            };
            self.sound.insert(file.name.clone(), table);
        }
        Ok(())
    }

    /// Whether a table keeps rows aside, as far as its file can be read.
    fn has_quarantine(&self, name: &TableName) -> bool {
        match self.project.file(name) {
            Some(file) => file.has_quarantine(),
            None => self.project.defines(name),
        }
    }

    fn unknown_table(&self, file: &SqlFile, reference: &Reference) -> Option<Diagnostic> {
        let known = |name: &TableName| match name.is_bronze() {
            true => self.lock.bronze.contains_key(name.name()),
            false => {
                self.project.defines(name)
                    || name
                        .quarantine_of()
                        .is_some_and(|source| self.has_quarantine(&source))
            }
        };
        if reference.name().as_ref().is_some_and(known) {
            return None;
        }
        if reference.name() == Some(TableName::dead_letters()) {
            let message = "dead letters are for queries, no table is made of them";
            let hint = "Read the bronze table that they are of, WHERE error IS NOT NULL.";
            return Some(file.source().at(reference.span, message).hint(hint));
        }
        let written = match reference.schema.as_str() {
            DEFAULT_SCHEMA => reference.table.clone(),
            schema => format!("{schema}.{}", reference.table),
        };
        let bronze = self
            .lock
            .bronze
            .keys()
            .map(|table| format!("bronze.{table}"));
        let others = self.project.names().filter(|name| **name != file.name);
        let built = others.map(ToString::to_string);
        let tables: Vec<String> = bronze.chain(built).collect();
        Some(
            file.source()
                .at(reference.span, format!("unknown table \"{written}\""))
                .maybe_hint(suggest(
                    &written,
                    "Tables are",
                    tables.iter().map(String::as_str),
                )),
        )
    }

    fn key(&mut self, file: &SqlFile, schema: &Schema) {
        for column in &file.directives.key {
            self.column(file, column, schema, "The SELECT's columns are");
        }
    }

    fn column(&mut self, file: &SqlFile, column: &Column, schema: &Schema, what: &str) {
        if schema.field_with_name(&column.name).is_ok() {
            return;
        }
        let names = schema.fields().iter().map(|field| field.name().as_str());
        self.problems.push(
            file.source()
                .at(column.span, format!("unknown column \"{}\"", column.name))
                .maybe_hint(suggest(&column.name, what, names)),
        );
    }

    /// A fold reads the events of one bronze table.
    async fn cdc(&mut self, file: &SqlFile, inputs: &BTreeSet<TableName>) {
        let Some(cdc) = &file.directives.cdc else {
            return;
        };
        let bronze: Vec<&TableName> = inputs.iter().filter(|input| input.is_bronze()).collect();
        let [input] = bronze.as_slice() else {
            self.problems.push(
                file.source()
                    .at(
                        cdc.span,
                        format!("@cdc folds one bronze table, {} are read", bronze.len()),
                    )
                    .hint("Read one bronze table, and join the result in another file."),
            );
            return;
        };
        let columns = self.planner.bronze_columns();
        for column in &cdc.sequence {
            self.column(file, column, &columns, "Bronze columns are");
        }
        if let Some(condition) = &cdc.delete_when {
            self.condition(file, condition, input).await;
        }
    }

    /// What a fold cannot do right is refused here, and not first when the table is made.
    async fn folding(
        &mut self,
        file: &SqlFile,
        references: &[Reference],
        schema: &SchemaRef,
    ) -> Result<()> {
        let Some(cdc) = &file.directives.cdc else {
            return Ok(());
        };
        let start = select_start(file);
        let lookup = |name: &TableName| {
            Some(LookedUp {
                columns: self.columns.get(name).filter(|_| !name.is_bronze())?,
                key: self.project.file(name).map(unique_key).unwrap_or_default(),
            })
        };
        let aggregates = self.planner.state().aggregate_functions();
        let is_aggregate = |name: &str| aggregates.contains_key(name);
        let problems = folding::problems(file, start, references, is_aggregate, lookup);
        if !problems.is_empty() {
            self.problems.extend(problems);
            return Ok(());
        }
        let statement = match fold_statement(file, cdc, schema) {
            Ok(statement) => statement,
            Err(error) => {
                self.problems.push(unfoldable(file, start, &error));
                return Ok(());
            }
        };
        match self.planner.plan_statement(statement, true).await {
            Ok(plan) if now::is_unsteady(&plan)? => {
                let functions = self.planner.state().scalar_functions();
                let is_unsteady = |name: &str| {
                    let function = functions.get(name);
                    function.is_some_and(|f| f.signature().volatility != Volatility::Immutable)
                };
                let problem = folding::unsteady(file, cdc, start, is_unsteady);
                self.problems.push(problem);
            }
            Ok(_) => {}
            Err(error) => {
                let problem = unfoldable(file, start, &Error::from(error));
                self.problems.push(problem);
            }
        }
        Ok(())
    }

    async fn expectations(&mut self, file: &SqlFile, schema: &Schema) {
        for expect in &file.directives.expects {
            match &expect.rule {
                Rule::Row(rule) | Rule::Table(rule) => {
                    self.condition(file, rule, &file.name).await;
                }
                Rule::Unique(columns) => {
                    for column in columns {
                        self.column(file, column, schema, "The table's columns are");
                    }
                }
            }
        }
    }

    /// Plans a condition over a table's columns.
    async fn condition(&mut self, file: &SqlFile, condition: &Expr, table: &TableName) {
        let Some(query) = probe(condition, table) else {
            return;
        };
        let span = condition.span();
        match self.planner.plan(query).await {
            Ok(plan) => {
                let found = plan.schema().field(0).data_type().clone();
                if !matches!(found, DataType::Boolean | DataType::Null) {
                    self.problems.push(
                        file.source()
                            .at(span, format!("a rule is true or false, this is {found}")),
                    );
                }
            }
            Err(error) => {
                let state = self.planner.state();
                self.problems
                    .extend(locate(error, file.source(), span, state));
            }
        }
    }
}

fn unfoldable(file: &SqlFile, start: Span, error: &Error) -> Diagnostic {
    let source = file.source();
    source
        .at(start, format!("@cdc cannot fold this query: {error}"))
        .hint("Each event becomes one row, WHERE included: compute the rest in a file in gold/, over the folded table.")
}

/// `SELECT condition FROM table`, the condition keeping its place in the file.
fn probe(condition: &Expr, table: &TableName) -> Option<Query> {
    let sql = format!("SELECT 1 FROM \"{}\".\"{}\"", table.schema(), table.name());
    let tokens = syntax::tokenize(&sql, Location::new(1, 1)).ok()?;
    let Ok(Statement::Query(mut query)) = syntax::parser(tokens).parse_statement() else {
        return None;
    };
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.projection = vec![SelectItem::UnnamedExpr(condition.clone())];
    }
    Some(*query)
}

/// Directives that are right and whose effect the engine does not have.
fn promises(file: &SqlFile) -> Vec<Diagnostic> {
    let source = file.source();
    let mut problems = Vec::new();
    if file.directives.refresh == RefreshPolicy::Strict && file.directives.cdc.is_none() {
        problems.push(
            source
                .at(Span::empty(), "@refresh strict: only a table with @cdc is refreshed incrementally")
                .hint("With @refresh incremental or auto it is computed in whole whenever an input changes.")
                .unsupported(),
        );
    }
    problems
}

/// The columns as a Delta table stores them.
fn stored_schema(file: &SqlFile, planned: &Schema) -> (SchemaRef, Vec<Diagnostic>) {
    let source = file.source();
    let mut problems = Vec::new();
    let mut fields = Vec::new();
    let mut names = BTreeSet::new();
    for (at, field) in planned.fields().iter().enumerate() {
        let span = projected(file, at);
        let name = field.name();
        if name.contains([' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '=']) {
            problems.push(
                source
                    .at(span, "this column has no name that a table can hold")
                    .hint("Give it one with AS."),
            );
        }
        if name.starts_with(HIDDEN) {
            problems.push(
                source
                    .at(span, format!("column \"{name}\" begins with \"{HIDDEN}\""))
                    .hint("Rename it with AS; such names are the lake's own."),
            );
        }
        if !names.insert(name.to_lowercase()) {
            problems.push(
                source
                    .at(span, format!("two columns are named \"{name}\""))
                    .hint("Rename one with AS."),
            );
        }
        match stored_type(field.data_type()) {
            // Whether a query can give NULL may change with any edit; a table's columns should not.
            Some(stored) => fields.push(Field::new(name, stored, true)),
            None => {
                problems.push(
                    source
                        .at(
                            span,
                            format!(
                                "column \"{name}\" is of type {}, which a table cannot hold",
                                field.data_type()
                            ),
                        )
                        .hint("Use CAST to make it a number, a text, a date or a timestamp."),
                );
                fields.push(Field::new(name, field.data_type().clone(), true));
            }
        }
    }
    (Arc::new(Schema::new(fields)), problems)
}

/// Where the n-th output column stands, as far as no `*` comes before it.
fn projected(file: &SqlFile, at: usize) -> Span {
    let SetExpr::Select(select) = file.query.body.as_ref() else {
        return select_start(file);
    };
    let explicit = |item: &SelectItem| {
        matches!(
            item,
            SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }
        )
    };
    match select.projection.get(at) {
        Some(item) if select.projection[..=at].iter().all(explicit) => item.span(),
        _ => select_start(file),
    }
}

fn select_start(file: &SqlFile) -> Span {
    let span = file.query.span();
    let first_word = Location::new(span.start.line, span.start.column);
    let length = file.sql.chars().take_while(|c| c.is_alphabetic()).count() as u64;
    Span::new(
        first_word,
        Location::new(first_word.line, first_word.column + length),
    )
}
