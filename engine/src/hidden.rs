//! The hidden columns of a `@cdc` table, and what readers see of it.
//!
//! Every key that ever had an event has one row, also one that is deleted or kept out by a rule: it holds the key's
//! place in the order of events, so that a late event still loses to it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::TableProvider;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, ident};

use crate::error::Result;
use crate::quarantine;

/// Columns of silver's physical layout that readers never see begin with this.
pub(crate) const HIDDEN: &str = "__";

/// Columns with an event's place among those of its key begin with this.
pub(crate) const SEQUENCE: &str = "__sequence_";

/// The row is gone: deleted, or left out by the query's WHERE.
pub(crate) const DELETED: &str = "__deleted";

/// Where in its topic the event stands that the row rests on.
pub(crate) const PARTITION: &str = "__partition";
pub(crate) const OFFSET: &str = "__offset";

/// When that event came to Kafka.
pub(crate) const TIMESTAMP: &str = "__timestamp";

/// Name of the rule that keeps the row out; NULL where readers see it.
pub(crate) const RULE: &str = "__rule";

/// What is wrong with the row, where its rule does not say it.
pub(crate) const REASON: &str = "__reason";

/// A rule says to drop the row: it is not quarantined.
pub(crate) const DROPPED: &str = "__dropped";

/// Fields that the event left out and that older events give, as `Kept` writes them.
pub(crate) const KEPT: &str = "__kept";

/// The rule of rows that the query cannot be computed for.
pub(crate) const EVALUATION: &str = "evaluation";

/// The rule of events that have no key.
pub(crate) const WITHOUT_KEY: &str = "without_key";

/// The stored columns of a `@cdc` table with these visible ones, whose order has `sequences` parts.
pub(crate) fn stored_schema(visible: &Schema, sequences: usize) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> = visible.fields().iter().cloned().collect();
    let mut add = |name: &str, data_type| fields.push(Arc::new(Field::new(name, data_type, true)));
    for index in 0..sequences {
        add(&format!("{SEQUENCE}{index}"), DataType::Int64);
    }
    add(DELETED, DataType::Boolean);
    add(PARTITION, DataType::Int32);
    add(OFFSET, DataType::Int64);
    add(
        TIMESTAMP,
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
    );
    add(RULE, DataType::Utf8);
    add(REASON, DataType::Utf8);
    add(DROPPED, DataType::Boolean);
    add(KEPT, DataType::Utf8);
    Arc::new(Schema::new(fields))
}

/// Whether a stored table is the fold of change events.
pub(crate) fn is_folded(stored: &Schema) -> bool {
    stored.field_with_name(DELETED).is_ok()
}

/// The rows that readers see.
pub(crate) fn public_rows(stored: Arc<dyn TableProvider>) -> Result<Arc<dyn TableProvider>> {
    let schema = stored.schema();
    let mut seen = ident(DELETED).is_not_true();
    if schema.field_with_name(RULE).is_ok() {
        seen = seen.and(ident(RULE).is_null());
    }
    view(stored, seen, visible(&schema).collect())
}

/// The rows that readers see, and those that rules keep from them.
pub(crate) fn live_rows(stored: Arc<dyn TableProvider>) -> Result<Arc<dyn TableProvider>> {
    let columns = visible(&stored.schema()).collect();
    view(stored, ident(DELETED).is_not_true(), columns)
}

/// The rows that rules keep aside, and why.
pub(crate) fn quarantined_rows(stored: Arc<dyn TableProvider>) -> Result<Arc<dyn TableProvider>> {
    let aside = is_kept_out().and(ident(DROPPED).is_not_true());
    described(stored, aside)
}

/// The rows that rules keep out, those that one drops included, and why.
pub(crate) fn kept_out_rows(stored: Arc<dyn TableProvider>) -> Result<Arc<dyn TableProvider>> {
    described(stored, is_kept_out())
}

fn is_kept_out() -> Expr {
    let is_live = ident(DELETED).is_not_true();
    is_live.and(ident(RULE).is_not_null())
}

/// Some of the rows, in the columns of a quarantine.
fn described(stored: Arc<dyn TableProvider>, rows: Expr) -> Result<Arc<dyn TableProvider>> {
    let schema = stored.schema();
    let of_table: Vec<_> = schema
        .fields()
        .iter()
        .filter(|field| is_visible(field))
        .cloned()
        .collect();
    let named = quarantine::schema(&Schema::new(of_table.clone()));
    let named = named.fields().iter().skip(of_table.len());
    let described = [RULE, REASON, PARTITION, OFFSET, TIMESTAMP]
        .into_iter()
        .zip(named)
        .map(|(column, field)| ident(column).alias(field.name()));
    let columns = visible(&schema).chain(described).collect();
    view(stored, rows, columns)
}

fn is_visible(field: &Field) -> bool {
    !field.name().starts_with(HIDDEN)
}

fn visible(schema: &Schema) -> impl Iterator<Item = Expr> {
    schema
        .fields()
        .iter()
        .filter(|field| is_visible(field))
        .map(|field| ident(field.name()))
}

fn view(
    stored: Arc<dyn TableProvider>,
    rows: Expr,
    columns: Vec<Expr>,
) -> Result<Arc<dyn TableProvider>> {
    let plan = LogicalPlanBuilder::scan("stored", provider_as_source(stored), None)?
        .filter(rows)?
        .project(columns)?
        .build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}
