//! The schema `system`: who asks what at this moment and has asked lately, as tables of the process that answers.
//!
//! They are the same whatever the epoch, and are read as they are at that moment. Everybody sees the rows about
//! themselves; of others a role sees what `policies.sql` grants, the texts of statements only by name.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use sql_files::TableName;
use sql_files::table_name::SYSTEM;

use crate::error::ErrorKind;

/// The column that says whose a row is.
pub(crate) const USER: &str = "user_name";

/// The column that a grant of the whole schema does not reach.
pub(crate) const TEXT: &str = "statement";

/// What a server knows of those it serves.
pub trait Activity: Send + Sync {
    /// Statements that wait, run, or ended lately; the newest first.
    fn queries(&self) -> Vec<QueryRow>;

    /// Who called lately.
    fn sessions(&self) -> Vec<SessionRow>;
}

/// One execution of a statement.
#[derive(Debug, Clone)]
pub struct QueryRow {
    pub query_id: u64,
    pub user: String,
    pub client: String,
    pub session: Option<String>,
    pub statement: String,
    pub state: QueryState,
    /// Microseconds since 1970.
    pub started: i64,
    pub queue_seconds: f64,
    /// Without the time in the queue.
    pub seconds: f64,
    pub rows: u64,
    pub bytes: u64,
    pub memory_bytes: u64,
    pub epoch: u64,
    /// Why it failed.
    pub error: Option<ErrorKind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryState {
    Queued,
    Running,
    Finished,
    Failed,
    Cancelled,
}

impl QueryState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Somebody who called.
#[derive(Debug, Clone)]
pub struct SessionRow {
    /// Nothing for a client that signs in with each call.
    pub session: Option<String>,
    pub user: String,
    pub client: String,
    /// Microseconds since 1970.
    pub opened: i64,
    pub last_call: i64,
    pub calls: u64,
    pub schema: String,
    pub epoch: Option<u64>,
    pub profile: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Queries,
    Sessions,
}

const KINDS: [Kind; 2] = [Kind::Queries, Kind::Sessions];

impl Kind {
    fn table(self) -> TableName {
        let name = match self {
            Self::Queries => "queries",
            Self::Sessions => "sessions",
        };
        TableName::system(name)
    }

    fn description(self) -> &'static str {
        match self {
            Self::Queries => "Statements that wait, run, or ended lately. KILL ends one.",
            Self::Sessions => "Who called this server lately, and the options of their sessions.",
        }
    }

    fn schema(self) -> SchemaRef {
        let text = |name: &str| Field::new(name, DataType::Utf8, true);
        let number = |name: &str| Field::new(name, DataType::Int64, true);
        let seconds = |name: &str| Field::new(name, DataType::Float64, true);
        let time = |name: &str| {
            let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
            Field::new(name, utc, true)
        };
        Arc::new(Schema::new(match self {
            Self::Queries => vec![
                number("query_id"),
                text(USER),
                text("client"),
                text("session_id"),
                text("state"),
                time("started_at"),
                seconds("queue_seconds"),
                seconds("seconds"),
                number("rows"),
                number("bytes"),
                number("memory_bytes"),
                number("epoch"),
                text("error_kind"),
                text(TEXT),
            ],
            Self::Sessions => vec![
                text("session_id"),
                text(USER),
                text("client"),
                time("opened_at"),
                time("last_call_at"),
                number("calls"),
                text("schema_name"),
                number("epoch"),
                text("profile"),
            ],
        }))
    }
}

/// The tables of the schema, by name, that tell of `activity`.
pub(crate) fn tables(
    activity: &Arc<dyn Activity>,
) -> impl Iterator<Item = (TableName, Arc<dyn TableProvider>)> {
    KINDS.into_iter().map(|kind| {
        let table = SystemTable {
            kind,
            activity: activity.clone(),
        };
        (kind.table(), Arc::new(table) as Arc<dyn TableProvider>)
    })
}

/// The columns of each table, whoever is served.
pub(crate) fn schemas() -> impl Iterator<Item = (TableName, SchemaRef)> {
    KINDS.into_iter().map(|kind| (kind.table(), kind.schema()))
}

/// What is told of one of these tables to those who browse.
pub(crate) fn description(name: &TableName) -> Option<&'static str> {
    let kind = KINDS.into_iter().find(|kind| kind.table() == *name)?;
    Some(kind.description())
}

/// Whether a table is one of these.
pub(crate) fn is_system(name: &TableName) -> bool {
    name.schema() == SYSTEM
}

struct SystemTable {
    kind: Kind,
    activity: Arc<dyn Activity>,
}

impl fmt::Debug for SystemTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SystemTable({:?})", self.kind)
    }
}

#[async_trait]
impl TableProvider for SystemTable {
    fn schema(&self) -> SchemaRef {
        self.kind.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let columns = match self.kind {
            Kind::Queries => queries(&self.activity.queries()),
            Kind::Sessions => sessions(&self.activity.sessions()),
        };
        let batch = RecordBatch::try_new(self.schema(), columns)?;
        let table = MemTable::try_new(self.schema(), vec![vec![batch]])?;
        table.scan(state, projection, filters, limit).await
    }
}

fn queries(rows: &[QueryRow]) -> Vec<ArrayRef> {
    vec![
        numbers(rows, |row| Some(row.query_id)),
        texts(rows, |row| Some(&row.user)),
        texts(rows, |row| Some(&row.client)),
        texts(rows, |row| row.session.as_deref()),
        texts(rows, |row| Some(row.state.as_str())),
        times(rows, |row| row.started),
        seconds(rows, |row| row.queue_seconds),
        seconds(rows, |row| row.seconds),
        numbers(rows, |row| Some(row.rows)),
        numbers(rows, |row| Some(row.bytes)),
        numbers(rows, |row| Some(row.memory_bytes)),
        numbers(rows, |row| Some(row.epoch)),
        Arc::new(StringArray::from_iter(
            rows.iter()
                .map(|row| row.error.map(|kind| format!("{kind:?}"))),
        )),
        texts(rows, |row| Some(&row.statement)),
    ]
}

fn sessions(rows: &[SessionRow]) -> Vec<ArrayRef> {
    vec![
        texts(rows, |row| row.session.as_deref()),
        texts(rows, |row| Some(&row.user)),
        texts(rows, |row| Some(&row.client)),
        times(rows, |row| row.opened),
        times(rows, |row| row.last_call),
        numbers(rows, |row| Some(row.calls)),
        texts(rows, |row| Some(&row.schema)),
        numbers(rows, |row| row.epoch),
        texts(rows, |row| Some(&row.profile)),
    ]
}

fn texts<R>(rows: &[R], value: impl Fn(&R) -> Option<&str>) -> ArrayRef {
    Arc::new(StringArray::from_iter(rows.iter().map(value)))
}

fn numbers<R>(rows: &[R], value: impl Fn(&R) -> Option<u64>) -> ArrayRef {
    let values = rows.iter().map(value);
    let fitting = values.map(|value| value.and_then(|value| i64::try_from(value).ok()));
    Arc::new(Int64Array::from_iter(fitting))
}

fn seconds<R>(rows: &[R], value: impl Fn(&R) -> f64) -> ArrayRef {
    Arc::new(Float64Array::from_iter_values(rows.iter().map(value)))
}

fn times<R>(rows: &[R], value: impl Fn(&R) -> i64) -> ArrayRef {
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(value));
    Arc::new(times.with_timezone("UTC"))
}
