use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::catalog::TableProvider;
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::logical_expr::{Expr, cast, ident, lit, try_cast, when};
use datafusion::prelude::DataFrame;
use serde::Serialize;
use sql_files::TableName;

use crate::epoch::TableState;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;
use crate::reader::stored_table;
use crate::session::{Sessions, public_view};
use crate::snapshots::Snapshots;

/// How often a row is there more often than before; negative where less often.
const COPIES: &str = "__copies";
const NEW: &str = "__new";
const OLD: &str = "__old";

/// How the rows of a table differ from those served, in the columns that both have.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RowDifference {
    pub before: Option<u64>,
    pub after: Option<u64>,
    pub added: u64,
    pub removed: u64,
    /// Rows of one key with other values; known where the table has a key.
    pub changed: u64,
    pub samples: Vec<SampleRow>,
}

/// A row that is there on one side only. Both sides of a changed row stand together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SampleRow {
    /// `+` for a row that comes, `-` for one that goes.
    pub side: char,
    pub values: Vec<(String, Option<String>)>,
}

/// Compares two versions of tables. Sorts and groups spill, so memory is bounded.
pub(super) struct Comparison<'a> {
    lake: &'a Lake,
    sessions: &'a Sessions,
    snapshots: Snapshots,
    samples: usize,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(lake: &'a Lake, sessions: &'a Sessions, samples: usize) -> Self {
        Self {
            lake,
            sessions,
            snapshots: Snapshots::new(lake),
            samples,
        }
    }

    pub(super) async fn of(
        &self,
        name: &TableName,
        served: Option<&TableState>,
        made: &TableState,
    ) -> Result<RowDifference> {
        let mut difference = RowDifference {
            before: served.map_or(Some(0), |served| served.rows),
            after: made.rows,
            ..RowDifference::default()
        };
        if served.is_some_and(|served| served.version == made.version) {
            return Ok(difference);
        }
        let new = self.provider(name, made)?;
        let (old, key) = match served {
            Some(served) => (Some(self.provider(name, served)?), shared_key(served, made)),
            None => (None, made.key.clone()),
        };
        let columns: Vec<Arc<Field>> = new
            .schema()
            .fields()
            .iter()
            .filter(|field| {
                let old = old.as_ref().map(|old| old.schema());
                old.is_none_or(|old| old.field_with_name(field.name()).is_ok())
            })
            .cloned()
            .collect();
        let differing = self.differing(&columns, old, new)?;
        self.count(&differing, &key, &mut difference).await?;
        difference.samples = self.samples(differing, &columns, &key).await?;
        Ok(difference)
    }

    fn provider(&self, name: &TableName, state: &TableState) -> Result<Arc<dyn TableProvider>> {
        let stored = stored_table(self.lake, &self.snapshots, name, state);
        public_view(name, Arc::new(stored))
    }

    /// The rows that are there more often on one side, with how much more often.
    fn differing(
        &self,
        columns: &[Arc<Field>],
        old: Option<Arc<dyn TableProvider>>,
        new: Arc<dyn TableProvider>,
    ) -> Result<DataFrame> {
        let context = self.sessions.context([])?;
        let side = |provider: Arc<dyn TableProvider>, copies: i64| -> Result<DataFrame> {
            let known = provider.schema();
            let frame = context.read_table(provider)?;
            let mut projected: Vec<Expr> =
                columns.iter().map(|field| column(field, &known)).collect();
            projected.push(lit(copies).alias(COPIES));
            Ok(frame.select(projected)?)
        };
        let mut both = side(new, 1)?;
        if let Some(old) = old {
            both = both.union(side(old, -1)?)?;
        }
        let groups = columns.iter().map(|field| ident(field.name())).collect();
        let copies = cast(sum(ident(COPIES)), DataType::Int64).alias(COPIES);
        let grouped = both.aggregate(groups, vec![copies])?;
        Ok(grouped.filter(ident(COPIES).not_eq(lit(0_i64)))?)
    }

    async fn count(
        &self,
        differing: &DataFrame,
        key: &[String],
        difference: &mut RowDifference,
    ) -> Result<()> {
        let positive = when(ident(COPIES).gt(lit(0_i64)), ident(COPIES)).otherwise(lit(0_i64))?;
        let negative = when(ident(COPIES).lt(lit(0_i64)), -ident(COPIES)).otherwise(lit(0_i64))?;
        let sides = vec![sum(positive).alias(NEW), sum(negative).alias(OLD)];
        let groups: Vec<Expr> = key.iter().map(ident).collect();
        let by_key = differing.clone().aggregate(groups, sides)?;
        let (new, old) = (ident(NEW), ident(OLD));
        // Of a key that is on both sides as many rows changed as can be paired.
        let paired = when(new.clone().lt(old.clone()), new.clone()).otherwise(old.clone())?;
        let paired = if key.is_empty() { lit(0_i64) } else { paired };
        let totals = vec![
            sum(new - paired.clone()).alias("added"),
            sum(old - paired.clone()).alias("removed"),
            sum(paired).alias("changed"),
        ];
        let totals = by_key.aggregate(Vec::new(), totals)?.collect().await?;
        let total = |column: usize| {
            let row = totals.iter().find(|batch| batch.num_rows() == 1)?;
            let values = row.column(column).as_primitive_opt::<Int64Type>()?;
            u64::try_from(values.value(0)).ok()
        };
        let count = |column| {
            total(column)
                .ok_or_else(|| Error::new(ErrorKind::Internal, "a comparison gave no numbers"))
        };
        difference.added = count(0)?;
        difference.removed = count(1)?;
        difference.changed = count(2)?;
        Ok(())
    }

    async fn samples(
        &self,
        differing: DataFrame,
        columns: &[Arc<Field>],
        key: &[String],
    ) -> Result<Vec<SampleRow>> {
        if self.samples == 0 {
            return Ok(Vec::new());
        }
        let names = columns.iter().map(|field| field.name());
        let others = names.filter(|name| !key.contains(name));
        // The side comes right behind the key, so that a changed row's two sides are neighbours.
        let mut order: Vec<_> = key
            .iter()
            .map(|name| ident(name).sort(true, true))
            .collect();
        order.push(ident(COPIES).sort(true, true));
        order.extend(others.map(|name| ident(name).sort(true, true)));
        let first = differing.sort(order)?.limit(0, Some(self.samples * 2))?;
        let batches = first.collect().await?;
        let mut samples = Vec::new();
        for batch in &batches {
            samples.extend(rows(batch)?);
        }
        Ok(samples)
    }
}

/// A column of either side, as the new side has it.
fn column(field: &Field, known: &Schema) -> Expr {
    let is_same = known
        .field_with_name(field.name())
        .is_ok_and(|known| known.data_type() == field.data_type());
    match is_same {
        true => ident(field.name()),
        false => try_cast(ident(field.name()), field.data_type().clone()).alias(field.name()),
    }
}

/// The key, when both sides have the same.
fn shared_key(served: &TableState, made: &TableState) -> Vec<String> {
    match served.key == made.key {
        true => made.key.clone(),
        false => Vec::new(),
    }
}

fn rows(batch: &RecordBatch) -> Result<Vec<SampleRow>> {
    let options = FormatOptions::default();
    let columns = batch.num_columns() - 1;
    let copies = batch.column(columns).as_primitive::<Int64Type>();
    let schema = batch.schema();
    let mut formatters = Vec::with_capacity(columns);
    for column in &batch.columns()[..columns] {
        formatters.push(ArrayFormatter::try_new(column.as_ref(), &options)?);
    }
    let mut rows = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let values = (0..columns).map(|column| {
            let name = schema.field(column).name().clone();
            let is_null = batch.column(column).is_null(row);
            (
                name,
                (!is_null).then(|| formatters[column].value(row).to_string()),
            )
        });
        rows.push(SampleRow {
            side: if copies.value(row) > 0 { '+' } else { '-' },
            values: values.collect(),
        });
    }
    Ok(rows)
}
