//! `@cdc` tables: the current row of each key, from the events that are new.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::catalog::MemTable;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as PlannerStatement;
use futures::StreamExt;
use sqlparser::ast::{CastKind, DataType as SqlType, Expr, Ident, SelectItem, SetExpr, Statement};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::Refresher;
use super::build::Candidate;
use super::due::Versions;
use super::now;
use super::winners::{FoldColumns, Winners};
use crate::bronze;
use crate::delta::{DataFile, TableLayout};
use crate::epoch::{Intent, Manifest};
use crate::error::{Error, ErrorKind, Result};
use crate::functions::Image;
use crate::name::TableName;
use crate::pinned::PinnedTable;
use crate::project::{Cdc, SqlFile};
use crate::session::{DELETED, bronze_view};
use crate::statement::align;

/// Hidden columns with an event's place among those of its key begin with this.
const SEQUENCE: &str = "__sequence_";

/// Events left out because a part of their key is NULL, in a table's warnings.
const WITHOUT_KEY: &str = "without_key";

/// Events left out because an expression could not be computed on them.
const EVALUATION: &str = "evaluation";

/// The events that a fold takes in.
struct Events {
    name: TableName,
    files: Vec<DataFile>,
}

impl Refresher {
    pub(super) fn inputs_of_file(&self, file: &SqlFile) -> Vec<TableName> {
        crate::project::inputs(file).into_iter().collect()
    }

    /// Folds what is new in bronze into the table; all of bronze when the query changed.
    pub(super) async fn fold(
        &mut self,
        next: &Manifest,
        intent: &Intent,
        file: &SqlFile,
        schema: &SchemaRef,
        inputs: &Versions,
    ) -> Result<Candidate> {
        let Some(cdc) = &file.directives.cdc else {
            return Err(Error::new(
                ErrorKind::Internal,
                "only a @cdc table is folded",
            ));
        };
        let last = next.tables.get(&file.name);
        let declared = self.inputs_of_file(file);
        let moved = |name: &TableName| {
            !name.is_bronze() && last.is_none_or(|last| last.inputs.get(name) != inputs.get(name))
        };
        let rebuild = last.is_none_or(|last| last.query != file.query_fingerprint())
            || declared.iter().any(moved)
            || self.is_made_from_the_start();
        let columns = fold_columns(file, cdc, schema);
        let layout = TableLayout {
            schema: columns.schema.clone(),
            partition_columns: Vec::new(),
            stats_columns: file
                .directives
                .key
                .iter()
                .map(|key| key.name.clone())
                .collect(),
        };
        if self.committed(intent, &file.name, &layout).await? {
            let table = self.writer_of(&file.name, &layout).await?;
            return Ok(unchanged(table.files()?, layout));
        }
        let from = last.filter(|_| !rebuild).map(|last| last.inputs.clone());
        let events = self.events(&declared, from.as_ref(), inputs).await?;
        let mut winners = Winners::new(columns)?;
        let statement = fold_statement(file, cdc)?;
        let mut left_out = BTreeMap::new();
        if let Some(events) = &events {
            let source = PinnedTable::of_files(
                &self.lake,
                &crate::lake::Lake::table_path(&events.name),
                bronze::schema(),
                bronze::layout().partition_columns,
                events.files.clone(),
            );
            let source = bronze_view(Arc::new(source), Image::Current)?;
            let replaced = Some((events.name.clone(), source));
            let context = self.inputs_context(next, inputs, declared.clone(), replaced)?;
            let fold = evaluate(&context, &statement, intent, &layout.schema, &mut winners).await;
            match fold {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::InvalidRequest => {
                    winners = Winners::new(fold_columns(file, cdc, schema))?;
                    let bad = self
                        .fold_row_by_row(
                            next,
                            intent,
                            inputs,
                            &declared,
                            events,
                            &statement,
                            &mut winners,
                        )
                        .await?;
                    left_out.insert(EVALUATION.to_owned(), bad);
                }
                Err(error) => return Err(error),
            }
        }
        if winners.without_key() > 0 {
            left_out.insert(WITHOUT_KEY.to_owned(), winners.without_key());
        }
        let mut candidate = self.replace_keys(file, layout, winners, rebuild).await?;
        candidate.left_out = left_out;
        Ok(candidate)
    }

    async fn events(
        &mut self,
        declared: &[TableName],
        from: Option<&Versions>,
        inputs: &Versions,
    ) -> Result<Option<Events>> {
        let bronze = declared.iter().find(|name| name.is_bronze());
        let Some((name, to)) = bronze.and_then(|name| Some((name, *inputs.get(name)?))) else {
            return Ok(None);
        };
        let known = from.and_then(|from| from.get(name).copied());
        let files = match known {
            Some(from) => self.bronze.files_added(name, from, to).await?,
            None => {
                let path = crate::lake::Lake::table_path(name);
                self.snapshots.files(&path, to).await?.as_ref().clone()
            }
        };
        Ok(Some(Events {
            name: name.clone(),
            files,
        }))
    }

    /// The same fold with the events that cannot be evaluated left out; how many there were.
    #[expect(
        clippy::too_many_arguments,
        reason = "it repeats the fold with all it knows"
    )]
    async fn fold_row_by_row(
        &self,
        next: &Manifest,
        intent: &Intent,
        inputs: &Versions,
        declared: &[TableName],
        events: &Events,
        statement: &PlannerStatement,
        winners: &mut Winners,
    ) -> Result<u64> {
        let stored = PinnedTable::of_files(
            &self.lake,
            &crate::lake::Lake::table_path(&events.name),
            bronze::schema(),
            bronze::layout().partition_columns,
            events.files.clone(),
        );
        let reading = self.sessions.context([])?;
        let mut stream = reading
            .read_table(Arc::new(stored))?
            .execute_stream()
            .await?;
        let schema = winners.schema();
        let mut bad = 0;
        while let Some(batch) = stream.next().await {
            let mut pending = vec![batch?];
            while let Some(batch) = pending.pop() {
                let rows = batch.num_rows();
                let table = MemTable::try_new(batch.schema(), vec![vec![batch.clone()]])?;
                let source = bronze_view(Arc::new(table), Image::Current)?;
                let replaced = Some((events.name.clone(), source));
                let context = self.inputs_context(next, inputs, declared.to_vec(), replaced)?;
                match rows_of(&context, statement, intent, &schema).await {
                    Ok(batches) => batches
                        .into_iter()
                        .try_for_each(|batch| winners.push(batch))?,
                    Err(error) if error.kind() != ErrorKind::InvalidRequest => return Err(error),
                    Err(_) if rows <= 1 => bad += 1,
                    Err(_) => {
                        pending.push(batch.slice(rows / 2, rows - rows / 2));
                        pending.push(batch.slice(0, rows / 2));
                    }
                }
            }
        }
        Ok(bad)
    }
}

async fn evaluate(
    context: &SessionContext,
    statement: &PlannerStatement,
    intent: &Intent,
    schema: &SchemaRef,
    winners: &mut Winners,
) -> Result<()> {
    let state = context.state();
    let plan = state.statement_to_plan(statement.clone()).await?;
    let plan = now::bind(plan, intent.now)?;
    let physical = state.create_physical_plan(&plan).await?;
    let mut stream = execute_stream(physical, context.task_ctx())?;
    while let Some(batch) = stream.next().await {
        winners.push(align(&batch?, schema)?)?;
    }
    Ok(())
}

async fn rows_of(
    context: &SessionContext,
    statement: &PlannerStatement,
    intent: &Intent,
    schema: &SchemaRef,
) -> Result<Vec<RecordBatch>> {
    let plan = context.state().statement_to_plan(statement.clone()).await?;
    let plan = now::bind(plan, intent.now)?;
    let batches = context.execute_logical_plan(plan).await?.collect().await?;
    let aligned = batches.iter().map(|batch| align(batch, schema));
    Ok(aligned.collect::<datafusion::error::Result<_>>()?)
}

fn unchanged(files: Vec<DataFile>, layout: TableLayout) -> Candidate {
    Candidate {
        files,
        change: None,
        layout,
        digest: None,
        reads_clock: false,
        left_out: BTreeMap::new(),
    }
}

fn fold_columns(file: &SqlFile, cdc: &Cdc, schema: &SchemaRef) -> FoldColumns {
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
    let visible = fields.len();
    for index in 0..cdc.sequence.len() {
        let name = format!("{SEQUENCE}{index}");
        fields.push(Arc::new(Field::new(name, DataType::Int64, true)));
    }
    fields.push(Arc::new(Field::new(DELETED, DataType::Boolean, true)));
    let key = file
        .directives
        .key
        .iter()
        .filter_map(|column| schema.index_of(&column.name).ok())
        .collect();
    FoldColumns {
        schema: Arc::new(Schema::new(fields)),
        key,
        sequence: (visible..visible + cdc.sequence.len()).collect(),
    }
}

/// The file's SELECT over every row event, with the event's place and whether the row is gone after it.
///
/// A row that the SELECT's WHERE leaves out is gone too: it may have been in the table before this event.
fn fold_statement(file: &SqlFile, cdc: &Cdc) -> Result<PlannerStatement> {
    let mut query = file.query.as_ref().clone();
    let unsupported = || {
        Error::new(
            ErrorKind::Unsupported,
            format!("the @cdc table \"{}\" is not one plain SELECT", file.name),
        )
        .hint("A @cdc file reads one bronze table with WHERE, without DISTINCT, GROUP BY or LIMIT.")
    };
    if query.with.is_some() || query.limit_clause.is_some() || query.order_by.is_some() {
        return Err(unsupported());
    }
    let SetExpr::Select(select) = query.body.as_mut() else {
        return Err(unsupported());
    };
    if select.distinct.is_some() || select.having.is_some() {
        return Err(unsupported());
    }
    let gone = match &cdc.delete_when {
        Some(condition) => format!("(({condition}) IS TRUE)"),
        None => "FALSE".to_owned(),
    };
    let gone = match select.selection.take() {
        Some(kept) => format!("{gone} OR (({kept}) IS NOT TRUE)"),
        None => gone,
    };
    for (index, column) in cdc.sequence.iter().enumerate() {
        let place = Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(Expr::Identifier(Ident::new(&column.name))),
            data_type: SqlType::BigInt(None),
            array: false,
            format: None,
        };
        select
            .projection
            .push(named(place, &format!("{SEQUENCE}{index}")));
    }
    select.projection.push(named(expression(&gone)?, DELETED));
    select.selection = Some(expression("op IN ('c', 'u', 'd', 'r') AND error IS NULL")?);
    Ok(PlannerStatement::Statement(Box::new(Statement::Query(
        Box::new(query),
    ))))
}

fn named(expr: Expr, alias: &str) -> SelectItem {
    SelectItem::ExprWithAlias {
        expr,
        alias: Ident::new(alias),
    }
}

fn expression(sql: &str) -> Result<Expr> {
    Parser::new(&PostgreSqlDialect {})
        .try_with_sql(sql)
        .and_then(|mut parser| parser.parse_expr())
        .map_err(|source| {
            Error::new(ErrorKind::Internal, "a condition does not read back").caused_by(source)
        })
}
