//! Dead letters: messages that are no envelopes, each at its latest attempt.
//!
//! A replayed message is a bronze row more, with the coordinates of the first and a header that counts the attempts.
//! Only the latest attempt says whether the message is still dead.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use datafusion::catalog::TableProvider;
use datafusion::common::JoinType;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::functions_aggregate::expr_fn::max;
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, Operator, binary_expr, col, ident, lit,
};
use datafusion::prelude::DataFrame;
use futures::StreamExt;
use serde::Serialize;
use sql_files::TableName;

use crate::bronze;
use crate::delta::Table;
use crate::error::{Error, ErrorKind, Result};
use crate::functions;
use crate::lake::Lake;
use crate::pinned::PinnedTable;
use crate::session::{Sessions, bronze_view};

/// The header that counts the attempts of a replayed message; the first attempt has none.
pub const ATTEMPT_HEADER: &str = "sportlake.attempt";

/// Messages that one replay takes, and bytes of their keys and values.
const MOST_LETTERS: usize = 10_000;
const MOST_BYTES: usize = 64 << 20;

const ATTEMPT: &str = "attempt";

/// One message, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub partition: i32,
    pub offset: i64,
    pub timestamp_us: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// As bronze has them: a JSON array of `[name, value or null]`.
    pub headers: Option<String>,
    /// Generation of its source when it came.
    pub generation: i64,
    /// Which attempt this was, from 1.
    pub attempt: i64,
}

/// The dead letters of a bronze table, as many as one replay takes.
#[derive(Debug, Clone, Default)]
pub struct DeadLetters {
    pub letters: Vec<DeadLetter>,
    /// Whether there are more.
    pub more: bool,
    bytes: usize,
}

/// What a replay of a table's dead letters came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replayed {
    pub table: TableName,
    pub messages: u64,
    /// Of those, the ones that are no envelopes still.
    pub still_dead: u64,
    /// Whether more are left for another replay.
    pub more: bool,
}

/// `bronze.dead_letters` over the bronze tables among `tables`; `None` where there is none.
pub(crate) fn view(
    tables: &[(TableName, Arc<dyn TableProvider>)],
) -> Result<Option<Arc<dyn TableProvider>>> {
    let mut union: Option<LogicalPlanBuilder> = None;
    for (name, provider) in tables.iter().filter(|(name, _)| name.is_bronze()) {
        let rows = LogicalPlanBuilder::from(of_table(name, provider)?);
        union = Some(match union {
            None => rows,
            Some(union) => union.union(rows.build()?)?,
        });
    }
    let view = union.map(|union| union.build()).transpose()?;
    Ok(view.map(|plan| Arc::new(ViewTable::new(plan, None)) as Arc<dyn TableProvider>))
}

fn of_table(name: &TableName, provider: &Arc<dyn TableProvider>) -> Result<LogicalPlan> {
    let scan = || {
        let source = provider_as_source(provider.clone());
        LogicalPlanBuilder::scan(name.name(), source, None)
    };
    let attempt = || functions::attempt().call(vec![col("headers")]);
    let mut columns = vec![lit(name.name()).alias("table_name")];
    let schema = provider.schema();
    columns.extend(schema.fields().iter().map(|field| ident(field.name())));
    columns.push(attempt().alias(ATTEMPT));
    let letters = scan()?
        .filter(col("error").is_not_null())?
        .project(columns)?
        .build()?;

    let is_replay = col("headers").like(lit(format!("%{ATTEMPT_HEADER}%")));
    let latest = scan()?
        .filter(is_replay)?
        .project(vec![
            col("_partition").alias("later_partition"),
            col("_offset").alias("later_offset"),
            col("_timestamp").alias("later_timestamp"),
            attempt().alias("later_attempt"),
        ])?
        .aggregate(
            ["later_partition", "later_offset", "later_timestamp"]
                .map(col)
                .to_vec(),
            vec![max(col("later_attempt")).alias("latest_attempt")],
        )?;
    let same = |a: &str, b: &str| ident(a).eq(ident(b));
    let alike = |a: &str, b: &str| binary_expr(ident(a), Operator::IsNotDistinctFrom, ident(b));
    // Another cluster has messages of the same coordinates.
    let superseded: Vec<Expr> = vec![
        same("_partition", "later_partition"),
        same("_offset", "later_offset"),
        alike("_timestamp", "later_timestamp"),
        ident("latest_attempt").gt(ident(ATTEMPT)),
    ];
    // The side that is held in memory is the one without payloads.
    Ok(latest
        .join_on(letters, JoinType::RightAnti, superseded)?
        .build()?)
}

/// What a replay of a bronze table takes, at its newest version.
///
/// # Errors
/// `NotFound` when the lake has no such table.
pub async fn dead_letters(lake: &Lake, name: &TableName) -> Result<DeadLetters> {
    let path = Lake::table_path(name);
    let table = match name.is_bronze() {
        true => Table::open(lake, &path, None).await?,
        false => None,
    };
    let table = table.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("there is no table \"{name}\""))
            .hint("Dead letters are those of a bronze table, such as bronze.employees.")
    })?;
    let columns = bronze::layout().partition_columns;
    let stored = PinnedTable::of_files(lake, &path, bronze::schema(), columns, table.files()?);
    let rows = bronze_view(Arc::new(stored), functions::Image::After)?;
    let Some(view) = view(&[(name.clone(), rows)])? else {
        return Ok(DeadLetters::default());
    };
    let sessions = Sessions::new(chrono_tz::Tz::UTC, MOST_BYTES)?;
    let letters = sessions.context([])?.read_table(view)?;
    let mut found = DeadLetters::default();
    found.take(letters.clone()).await?;
    if !found.more {
        return Ok(found);
    }
    // Of many those first that were tried least, or the others would never have their turn.
    found = DeadLetters::default();
    let attempts = letters
        .clone()
        .aggregate(vec![ident(ATTEMPT)], Vec::new())?
        .sort_by(vec![ident(ATTEMPT)])?
        .collect()
        .await?;
    for attempts in &attempts {
        for attempt in attempts.column(0).as_primitive::<Int64Type>().values() {
            let of_attempt = letters.clone().filter(ident(ATTEMPT).eq(lit(*attempt)))?;
            found.take(of_attempt).await?;
            if found.more {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

impl DeadLetters {
    /// Takes in as many as one replay takes.
    async fn take(&mut self, letters: DataFrame) -> Result<()> {
        let mut batches = letters.execute_stream().await?;
        while let Some(batch) = batches.next().await {
            for letter in read(&batch?)? {
                let size = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
                self.bytes += size(&letter.key) + size(&letter.value);
                let full = self.letters.len() >= MOST_LETTERS || self.bytes > MOST_BYTES;
                if full && !self.letters.is_empty() {
                    self.more = true;
                    return Ok(());
                }
                self.letters.push(letter);
            }
        }
        Ok(())
    }
}

fn read(batch: &arrow::record_batch::RecordBatch) -> Result<Vec<DeadLetter>> {
    let column = |name: &str| {
        batch.column_by_name(name).ok_or_else(|| {
            Error::new(
                ErrorKind::Internal,
                format!("dead letters have no \"{name}\""),
            )
        })
    };
    let partitions = column("_partition")?.as_primitive::<Int32Type>();
    let offsets = column("_offset")?.as_primitive::<Int64Type>();
    let timestamps = column("_timestamp")?.as_primitive::<TimestampMicrosecondType>();
    let keys = column("key")?.as_binary::<i32>();
    let values = column("value")?.as_binary::<i32>();
    let headers = column("headers")?.as_string::<i32>();
    let generations = column("generation")?.as_primitive::<Int64Type>();
    let attempts = column(ATTEMPT)?.as_primitive::<Int64Type>();
    let rows = 0..batch.num_rows();
    Ok(rows
        .map(|row| DeadLetter {
            partition: partitions.value(row),
            offset: offsets.value(row),
            timestamp_us: timestamps.is_valid(row).then(|| timestamps.value(row)),
            key: keys.is_valid(row).then(|| keys.value(row).to_vec()),
            value: values.is_valid(row).then(|| values.value(row).to_vec()),
            headers: headers.is_valid(row).then(|| headers.value(row).to_owned()),
            generation: match generations.is_valid(row) {
                true => generations.value(row),
                false => 0,
            },
            attempt: attempts.value(row),
        })
        .collect())
}
