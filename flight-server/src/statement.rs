//! Statements from their planning to the last row: a FlightInfo plans, a DoGet executes.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoder;
use arrow_flight::sql::ActionCreatePreparedStatementResult;
use arrow_flight::utils::flight_data_to_batches;
use bytes::Bytes;
use engine::{EpochHold, Error, ErrorKind, Principal, Reader, Result, Session, Statement};
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinError;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use crate::audit::{Asked, Audit};
use crate::config::FlightConfig;
use crate::encode::{self, DataStream};
use crate::errors;
use crate::metrics::{self, Outcome};
use crate::profile::Profile;
use crate::query_runtime::QueryRuntime;
use crate::running::{Run, Running};
use crate::session::{Caller, SessionOptions};
use crate::ticket::{PreparedHandle, Purpose, StatementTicket, TicketKey};

/// Encoded messages that wait for the client, beside the one being made.
const MESSAGES_WAITING: usize = 2;
/// What callers see of epochs, kept for the next call, and the plans kept with each.
const EPOCHS_KEPT: usize = 32;
const PLANS_KEPT: usize = 64;
/// Plans of longer statements are not kept.
const LONGEST_KEPT: usize = 64 * 1024;

/// Plans and runs what clients ask for. Keeps nothing a client depends on: a ticket or handle holds
/// all that it needs, and the plans kept here only save work.
pub(crate) struct Statements {
    reader: Reader,
    key: TicketKey,
    epochs: Recent<EpochKey, Arc<KeptEpoch>>,
    queries: QueryRuntime,
    running: Running,
    permits: Arc<Semaphore>,
    timeout: Duration,
    stopping: CancellationToken,
    audit: Audit,
}

/// What a FlightInfo tells about a planned statement.
pub(crate) struct Planned {
    pub(crate) ticket: Bytes,
    pub(crate) schema: SchemaRef,
}

impl Statements {
    pub(crate) fn new(
        reader: Reader,
        key: TicketKey,
        config: &FlightConfig,
        stopping: CancellationToken,
        audit: Audit,
    ) -> Result<Self> {
        Ok(Self {
            queries: QueryRuntime::start(config.query_threads)?,
            running: Running::new(TicketKey::random()?.first_id()),
            reader,
            key,
            epochs: Recent::new(EPOCHS_KEPT),
            permits: Arc::new(Semaphore::new(config.max_statements)),
            timeout: config.statement_timeout(),
            stopping,
            audit,
        })
    }

    /// The tables that a caller browses.
    pub(crate) async fn session(
        &self,
        principal: &Principal,
        options: &SessionOptions,
    ) -> Result<Session> {
        Ok(self.kept_epoch(principal, options).await?.session.clone())
    }

    /// Keeps an epoch readable until what is returned is dropped.
    pub(crate) fn hold(&self, epoch: u64) -> EpochHold {
        self.reader.hold(epoch)
    }

    async fn kept_epoch(
        &self,
        principal: &Principal,
        options: &SessionOptions,
    ) -> Result<Arc<KeptEpoch>> {
        let manifest = match options.epoch {
            Some(epoch) => self.reader.epoch(epoch).await?,
            None => self.reader.latest().await?,
        };
        let policies = self.reader.policies_of(&manifest, principal).await?;
        let viewer = (principal.clone(), policies);
        let key = (viewer, manifest.epoch, options.schema.clone());
        if let Some(kept) = self.epochs.get(&key) {
            return Ok(kept);
        }
        let session = self.reader.session_of(manifest, principal).await?;
        let session = match &options.schema {
            Some(schema) => session.in_schema(schema)?,
            None => session,
        };
        let kept = Arc::new(KeptEpoch {
            session,
            plans: Recent::new(PLANS_KEPT),
        });
        self.epochs.keep(key, kept.clone());
        Ok(kept)
    }

    /// A handle for `sql` that clients may execute any number of times.
    pub(crate) async fn prepare(
        &self,
        sql: String,
        caller: &Caller,
    ) -> Result<ActionCreatePreparedStatementResult> {
        let handle = unbound(sql, caller);
        let (statement, _) = self.asked(&handle, caller).await?;
        let schema = encode::wire_schema(&statement.schema(), profile_of(&handle));
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: self.key.seal(Purpose::Prepared, &handle),
            dataset_schema: encode::schema_bytes(&schema)?,
            parameter_schema: encode::schema_bytes(&statement.parameters())?,
        })
    }

    /// The handle of the same statement with other parameters; `None` unbinds them.
    pub(crate) async fn bind(
        &self,
        handle: &[u8],
        row: Option<RecordBatch>,
        caller: &Caller,
    ) -> Result<Bytes> {
        let mut handle: PreparedHandle = self.key.open(Purpose::Prepared, handle)?;
        handle.parameters = match row {
            Some(row) if row.num_columns() > 0 => encode::row_messages(row)?,
            _ => Vec::new(),
        };
        self.plan(&handle, caller, caller.options.epoch).await?;
        Ok(self.key.seal(Purpose::Prepared, &handle))
    }

    /// Plans SQL text for one execution.
    pub(crate) async fn plan_text(&self, sql: String, caller: &Caller) -> Result<Planned> {
        self.planned(unbound(sql, caller), caller).await
    }

    /// Plans a prepared statement for one execution.
    pub(crate) async fn plan_prepared(&self, handle: &[u8], caller: &Caller) -> Result<Planned> {
        let handle = self.key.open(Purpose::Prepared, handle)?;
        self.planned(handle, caller).await
    }

    async fn planned(&self, handle: PreparedHandle, caller: &Caller) -> Result<Planned> {
        let profile = profile_of(&handle);
        let (statement, ticket) = self.asked(&handle, caller).await?;
        Ok(Planned {
            ticket,
            schema: encode::wire_schema(&statement.schema(), profile),
        })
    }

    /// Ends the statement of a caller's own ticket, or keeps it from starting.
    pub(crate) fn cancel(&self, ticket: &[u8], caller: &Caller) -> Result<()> {
        let ticket: StatementTicket = self.key.open(Purpose::Statement, ticket)?;
        own(&ticket.statement, caller)?;
        self.running.cancel(ticket.id);
        Ok(())
    }

    /// The plan of what a caller asks for; a refusal is logged here, an answer when it ends.
    async fn asked(&self, handle: &PreparedHandle, caller: &Caller) -> Result<(Statement, Bytes)> {
        let started = Instant::now();
        let planned = self.plan(handle, caller, caller.options.epoch).await;
        planned.inspect_err(|_| {
            let asked = audited(handle, caller, caller.options.epoch);
            self.audit.ended(&asked, None, started.elapsed(), "refused");
        })
    }

    /// Executes a ticket. Dropping the stream ends the work.
    pub(crate) async fn run(&self, ticket: &[u8], caller: &Caller) -> Result<DataStream> {
        let StatementTicket {
            statement,
            epoch,
            id,
        } = self.key.open(Purpose::Statement, ticket)?;
        let profile = profile_of(&statement);
        let permit = self.permits.clone().try_acquire_owned().map_err(|err| {
            Error::new(
                ErrorKind::ResourceExhausted,
                "too many statements are running",
            )
            .hint("Close results that are no longer read, or raise flight.max_statements.")
            .caused_by(err)
        })?;
        let asked = audited(&statement, caller, Some(epoch));
        let mut watch = Watch::start(
            self.timeout,
            self.stopping.clone(),
            self.audit.clone(),
            asked,
        );
        let rows = watch.rows.clone();
        watch.cancelled_by(self.running.start(id));
        let started = async {
            let (statement, _) = self.plan(&statement, caller, Some(epoch)).await?;
            let schema = encode::wire_schema(&statement.schema(), profile);
            // The operators start tasks of their own on the runtime that they are executed on.
            let batches = self.queries.spawn(statement.execute()).await;
            let shaped = schema.clone();
            let counted = batches.map_err(broken)??.inspect_ok(move |batch| {
                rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
            });
            let batches = counted.map(move |batch| profile.batch(batch?, &shaped));
            Ok::<_, Error>(encode::encoded(schema, batches))
        };
        let messages = tokio::select! {
            started = started => started.inspect_err(|_| watch.outcome = Outcome::Failed)?,
            error = &mut watch.cut => {
                watch.outcome = Outcome::Failed;
                return Err(error);
            }
        };
        let (sender, receiver) = mpsc::channel(MESSAGES_WAITING);
        let producer = self.queries.spawn(async move {
            let sent = send_all(messages, sender).await;
            drop(permit);
            sent
        });
        let answer = Answer {
            messages: receiver,
            producer: Some(producer),
            watch,
        };
        Ok(Box::pin(stream::unfold(answer, |mut answer| async move {
            let item = answer.next().await?;
            Some((item, answer))
        })))
    }

    /// The plan of a caller's own statement at an epoch (the newest for `None`), and its ticket.
    async fn plan(
        &self,
        handle: &PreparedHandle,
        caller: &Caller,
        epoch: Option<u64>,
    ) -> Result<(Statement, Bytes)> {
        own(handle, caller)?;
        let schema = (!handle.schema.is_empty()).then(|| handle.schema.clone());
        let options = SessionOptions {
            schema,
            epoch,
            ..caller.options
        };
        let kept = self.kept_epoch(&caller.principal, &options).await?;
        let ticket = StatementTicket {
            statement: handle.clone(),
            epoch: kept.session.epoch(),
            id: self.running.id(),
        };
        let ticket = self.key.seal(Purpose::Statement, &ticket);
        let known = Bytes::from(handle.encode_to_vec());
        if let Some(statement) = kept.plans.get(&known) {
            return Ok((statement, ticket));
        }
        let mut statement = kept.session.prepare(&handle.sql).await?;
        if let Some(row) = bound_row(handle)? {
            statement = statement.bind(&row)?;
        }
        if known.len() <= LONGEST_KEPT {
            kept.plans.keep(known, statement.clone());
        }
        Ok((statement, ticket))
    }
}

fn own(handle: &PreparedHandle, caller: &Caller) -> Result<()> {
    if handle.user == caller.principal.name() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::PermissionDenied,
        "the statement was prepared by somebody else",
    )
    .hint("Send the query again in your own name."))
}

/// What the audit log tells of a statement.
fn audited(handle: &PreparedHandle, caller: &Caller, epoch: Option<u64>) -> Asked {
    Asked {
        user: caller.principal.name().to_owned(),
        from: caller.from,
        sql: handle.sql.clone(),
        epoch,
    }
}

/// A statement of a caller with no parameters bound.
fn unbound(sql: String, caller: &Caller) -> PreparedHandle {
    PreparedHandle {
        sql,
        parameters: Vec::new(),
        schema: caller.options.schema.clone().unwrap_or_default(),
        user: caller.principal.name().to_owned(),
        profile: caller.options.profile.name().to_owned(),
    }
}

fn profile_of(handle: &PreparedHandle) -> Profile {
    Profile::named(&handle.profile).unwrap_or_default()
}

/// A result on its way to the client.
struct Answer {
    messages: mpsc::Receiver<FlightData>,
    /// Gone once the stream has ended.
    producer: Option<AbortOnDropHandle<Result<(), Status>>>,
    watch: Watch,
}

impl Answer {
    /// An error comes from the end of the producer and not through the channel, so that a result that
    /// was cut short never looks complete.
    async fn next(&mut self) -> Option<Result<FlightData, Status>> {
        let producer = self.producer.as_mut()?;
        let ended = tokio::select! {
            biased;
            error = &mut self.watch.cut => Err(errors::status(error)),
            message = self.messages.recv() => match message {
                Some(message) => return Some(Ok(message)),
                None => producer.await.unwrap_or_else(|join| Err(errors::status(broken(join)))),
            },
        };
        self.producer = None;
        self.watch.outcome = match &ended {
            Ok(()) => Outcome::Ok,
            Err(_) => Outcome::Failed,
        };
        ended.err().map(Err)
    }
}

async fn send_all(
    messages: FlightDataEncoder,
    sender: mpsc::Sender<FlightData>,
) -> Result<(), Status> {
    let mut messages = messages.map_err(encode::encoding_status);
    while let Some(message) = messages.try_next().await? {
        metrics::observe_bytes(message.data_body.len());
        if sender.send(message).await.is_err() {
            return Err(Status::cancelled("the client went away"));
        }
    }
    Ok(())
}

fn bound_row(handle: &PreparedHandle) -> Result<Option<RecordBatch>> {
    if handle.parameters.is_empty() {
        return Ok(None);
    }
    let batches = flight_data_to_batches(&handle.parameters)
        .map_err(|err| Error::invalid("the bound parameters cannot be read").caused_by(err))?;
    Ok(batches.into_iter().next())
}

fn broken(join: JoinError) -> Error {
    Error::new(ErrorKind::Internal, "the statement broke down").caused_by(join)
}

/// The clock and the tally of one statement.
struct Watch {
    started: Instant,
    /// Resolves when the statement has to end, with the reason.
    cut: Pin<Box<dyn Future<Output = Error> + Send>>,
    /// Abandoned until the statement is known to have ended otherwise.
    outcome: Outcome,
    rows: Arc<AtomicU64>,
    audit: Audit,
    asked: Asked,
}

impl Watch {
    fn start(timeout: Duration, stopping: CancellationToken, audit: Audit, asked: Asked) -> Self {
        metrics::observe_statement_started();
        let seconds = timeout.as_secs();
        let deadline = sleep(timeout);
        let cut = async move {
            tokio::select! {
                () = deadline => Error::new(
                    ErrorKind::DeadlineExceeded,
                    format!("the statement was stopped after {seconds} seconds"),
                )
                .hint("Ask for less, or raise flight.statement_timeout_seconds."),
                () = stopping.cancelled() => {
                    Error::new(ErrorKind::Unavailable, "the server is stopping")
                        .hint("Run the statement again when the server is back.")
                }
            }
        };
        Self {
            started: Instant::now(),
            cut: Box::pin(cut),
            outcome: Outcome::Abandoned,
            rows: Arc::default(),
            audit,
            asked,
        }
    }

    /// Ends the statement when it is cancelled, too.
    fn cancelled_by(&mut self, run: Run) {
        let cut = std::mem::replace(&mut self.cut, Box::pin(std::future::pending()));
        self.cut = Box::pin(async move {
            tokio::select! {
                error = cut => error,
                () = run.cancelled() => Error::new(ErrorKind::Cancelled, "the statement was cancelled")
                    .hint("Whoever holds its ticket can cancel it; run it again."),
            }
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        metrics::observe_statement(self.outcome, elapsed);
        let rows = self.rows.load(Ordering::Relaxed);
        let outcome = self.outcome.label();
        self.audit.ended(&self.asked, Some(rows), elapsed, outcome);
        tracing::debug!(outcome = ?self.outcome, ?elapsed, "statement ended");
    }
}

/// Who looks under which policies, an epoch and the schema of unqualified names.
type EpochKey = ((Principal, u64), u64, Option<String>);

/// What calls on the same epoch share; plans go with their epoch.
struct KeptEpoch {
    session: Session,
    plans: Recent<Bytes, Statement>,
}

/// The most recently used of something, found by key.
struct Recent<K, V> {
    most: usize,
    entries: Mutex<VecDeque<(K, V)>>,
}

impl<K: PartialEq, V: Clone> Recent<K, V> {
    fn new(most: usize) -> Self {
        Self {
            most,
            entries: Mutex::default(),
        }
    }

    fn get(&self, key: &K) -> Option<V> {
        let mut entries = self.entries.lock();
        let index = entries.iter().position(|(kept, _)| kept == key)?;
        let entry = entries.remove(index)?;
        let value = entry.1.clone();
        entries.push_front(entry);
        Some(value)
    }

    fn keep(&self, key: K, value: V) {
        let mut entries = self.entries.lock();
        entries.retain(|(kept, _)| *kept != key);
        entries.push_front((key, value));
        entries.truncate(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_is_dropped() {
        let recent = Recent::new(2);
        recent.keep("a", 1);
        recent.keep("b", 2);
        assert_eq!(recent.get(&"a"), Some(1));
        recent.keep("c", 3);
        assert_eq!(recent.get(&"b"), None);
        assert_eq!(recent.get(&"a"), Some(1));
        assert_eq!(recent.get(&"c"), Some(3));
    }
}
