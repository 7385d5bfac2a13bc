//! Statements from their planning to the last row: a FlightInfo plans, a DoGet executes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::FlightData;
use arrow_flight::sql::ActionCreatePreparedStatementResult;
use arrow_flight::utils::flight_data_to_batches;
use bytes::Bytes;
use engine::{
    EpochHold, Error, ErrorKind, Kill, Principal, QueryState, Reader, Result, Session, Statement,
};
use futures::{StreamExt, TryStreamExt, stream};
use prost::Message;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::admission::{Admission, Place};
use crate::answer::{self, Ends, broken};
use crate::audit::{Asked, Audit};
use crate::config::FlightConfig;
use crate::encode::{self, DataStream};
use crate::kept::{EpochKey, KeptEpoch, Recent};
use crate::limits::{Limit, Limits};
use crate::profile::Profile;
use crate::query_runtime::QueryRuntime;
use crate::running::{self, Arrival, Cut, Run, Running};
use crate::session::{Caller, SessionOptions};
use crate::ticket::{PreparedHandle, Purpose, StatementTicket, TicketKey};
use crate::{errors, metrics, traces};

/// Bytes of the parameters of one execution.
const LARGEST_PARAMETERS: usize = 1 << 20;

/// Plans and runs what clients ask for. Keeps nothing a client depends on: a ticket or handle holds
/// all that it needs, and the plans kept here only save work.
pub(crate) struct Statements {
    reader: Reader,
    key: TicketKey,
    epochs: Recent<EpochKey, Arc<KeptEpoch>>,
    queries: QueryRuntime,
    running: Running,
    admission: Admission,
    limits: Limits,
    unread: Duration,
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
        running: Running,
        stopping: CancellationToken,
        audit: Audit,
    ) -> Result<Self> {
        Ok(Self {
            queries: QueryRuntime::start(config.query_threads)?,
            running,
            reader,
            key,
            epochs: Recent::of_epochs(),
            admission: Admission::new(config.room()),
            limits: Limits::new(config),
            unread: config.unread(),
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
        let kept = Arc::new(KeptEpoch::new(session));
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
        let (schema, parameters) = match Kill::read(&handle.sql)? {
            Some(_) => (killed_schema(), Arc::new(Schema::empty())),
            None => {
                let (statement, _) = self.asked(&handle, caller).await?;
                (statement.schema(), statement.parameters())
            }
        };
        let schema = encode::wire_schema(&schema, profile_of(&handle));
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: self.key.seal(Purpose::Prepared, &handle),
            dataset_schema: encode::schema_bytes(&schema)?,
            parameter_schema: encode::schema_bytes(&parameters)?,
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
        let bytes = handle.parameters.iter();
        let bytes: usize = bytes.map(|message| message.data_body.len()).sum();
        if bytes > LARGEST_PARAMETERS {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                format!("the parameters take {bytes} bytes"),
            )
            .hint(format!(
                "At most {LARGEST_PARAMETERS} are taken, since they travel with every call."
            )));
        }
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
        let (schema, ticket) = match Kill::read(&handle.sql)? {
            Some(_) => {
                own(&handle, caller)?;
                (killed_schema(), self.ticket(&handle, 0))
            }
            None => {
                let (statement, ticket) = self.asked(&handle, caller).await?;
                (statement.schema(), ticket)
            }
        };
        Ok(Planned {
            ticket: self.key.seal(Purpose::Statement, &ticket),
            schema: encode::wire_schema(&schema, profile),
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
    async fn asked(
        &self,
        handle: &PreparedHandle,
        caller: &Caller,
    ) -> Result<(Statement, StatementTicket)> {
        let started = Instant::now();
        let span = traces::prepare(caller.principal.name());
        let planning = self.plan(handle, caller, caller.options.epoch);
        match planning.instrument(span.clone()).await {
            Ok((statement, mut ticket)) => {
                traces::prepared(&span, &mut ticket);
                Ok((statement, ticket))
            }
            Err(error) => {
                let asked = audited(handle, caller, caller.options.epoch);
                self.audit.ended(&asked, None, started.elapsed(), "refused");
                traces::refused(&span, error.kind());
                Err(error)
            }
        }
    }

    /// Executes a ticket. Dropping the stream ends the work.
    pub(crate) async fn run(&self, ticket: &[u8], caller: &Caller) -> Result<DataStream> {
        let ticket: StatementTicket = self.key.open(Purpose::Statement, ticket)?;
        own(&ticket.statement, caller)?;
        let profile = profile_of(&ticket.statement);
        if let Some(kill) = Kill::read(&ticket.statement.sql)? {
            let state = self.kill(kill, caller).await?;
            return killed(kill, state, profile);
        }
        let begun = self.begin(ticket, caller).await?;
        let schema = encode::wire_schema(&begun.started.schema, profile);
        let (query, limit, shaped) = (begun.run.query.clone(), begun.limit, schema.clone());
        let batches = begun.started.batches.map(move |batch| {
            let batch = batch?;
            limit.admit_rows(query.made(batch.num_rows()))?;
            profile.batch(batch, &shaped)
        });
        let messages = encode::encoded(schema, batches).map_err(encode::encoding_error);
        let ends = self.ends(begun.started.deadline, limit);
        let place = begun.started.place;
        let answer = answer::answer(messages, sent, begun.run, place, ends, &self.queries);
        Ok(Box::pin(answer.map_err(errors::status)))
    }

    /// Runs a text with a row of parameters for another edge of this process, which needs no ticket for it.
    pub(crate) async fn rows(
        &self,
        sql: String,
        parameters: Option<RecordBatch>,
        caller: &Caller,
    ) -> Result<engine::Answer> {
        let mut handle = unbound(sql, caller);
        if let Some(row) = parameters.filter(|row| row.num_columns() > 0) {
            handle.parameters = encode::row_messages(row)?;
        }
        let (_, ticket) = self.asked(&handle, caller).await?;
        let begun = self.begin(ticket, caller).await?;
        let (query, limit) = (begun.run.query.clone(), begun.limit);
        let batches = begun.started.batches.map(move |batch| {
            let batch = batch?;
            limit.admit_rows(query.made(batch.num_rows()))?;
            Ok::<_, Error>(batch)
        });
        let ends = self.ends(begun.started.deadline, limit);
        let place = begun.started.place;
        let bytes = RecordBatch::get_array_memory_size;
        let answer = answer::answer(batches, bytes, begun.run, place, ends, &self.queries);
        Ok(engine::Answer {
            schema: begun.started.schema,
            batches: Box::pin(answer),
        })
    }

    /// Starts a statement of the caller, which is on record from here on.
    async fn begin(&self, ticket: StatementTicket, caller: &Caller) -> Result<Begun> {
        let StatementTicket {
            statement,
            epoch,
            id,
            trace,
        } = ticket;
        let limit = self.limits.of(&caller.principal, caller.options.limits);
        let run = self.running.start(Arrival {
            id,
            asked: audited(&statement, caller, Some(epoch)),
            session: caller.session_name(),
            epoch,
            memory: self.reader.memory().share(),
            trace,
            is_page: caller.is_page,
        });
        let started = tokio::select! {
            biased;
            cut = run.query.is_cut() => Err(cut.error()),
            () = self.stopping.cancelled() => Err(Cut::Stopping.error()),
            started = Box::pin(self.started(&run, &statement, caller, limit)) => started,
        };
        let started = started.inspect_err(|error| run.failed(error.kind()))?;
        run.streams();
        Ok(Begun {
            run,
            limit,
            started,
        })
    }

    fn ends(&self, deadline: Instant, limit: Limit) -> Ends {
        Ends {
            deadline: deadline.into(),
            limit,
            unread: self.unread,
            stopping: self.stopping.clone(),
        }
    }

    /// Plans a statement, waits for its turn and starts it. Its time runs while it is planned, and from its turn on.
    async fn started(
        &self,
        run: &Run,
        statement: &PreparedHandle,
        caller: &Caller,
        limit: Limit,
    ) -> Result<Started> {
        let (planned, _) = self
            .plan(statement, caller, Some(run.query.epoch()))
            .await?;
        run.planned();
        let user = caller.principal.name();
        let place = self.admission.enter(user, planned.only_browses()).await?;
        run.admitted();
        let deadline = Instant::now() + limit.time();
        let schema = planned.schema();
        // The operators start tasks of their own on the runtime that they are executed on.
        let memory = run.query.memory.clone();
        let executing = self
            .queries
            .spawn(async move { planned.execute_within(&memory).await });
        let batches = tokio::time::timeout_at(deadline.into(), executing).await;
        Ok(Started {
            place,
            deadline,
            schema,
            batches: batches
                .map_err(|_| limit.late().error())?
                .map_err(broken)??,
        })
    }

    /// Ends a statement of the caller, or of somebody else where the caller may do that.
    ///
    /// # Errors
    /// `NotFound` for one that is not there, or not the caller's to end: the two look alike.
    pub(crate) async fn kill(&self, kill: Kill, caller: &Caller) -> Result<QueryState> {
        let started = Instant::now();
        let (id, user) = (kill.query_id, caller.principal.name());
        let may = self.running.is_of(id, user)
            || self
                .reader
                .may_kill(&caller.principal)
                .await
                .unwrap_or(false);
        let killed = match may {
            true => self.running.kill(id),
            false => Err(running::unknown(id)),
        };
        let asked = Asked {
            user: user.to_owned(),
            from: caller.from,
            sql: format!("KILL {id}"),
            epoch: None,
        };
        let outcome = if killed.is_ok() { "ok" } else { "refused" };
        self.audit.ended(&asked, None, started.elapsed(), outcome);
        killed
    }

    /// The plan of a caller's own statement at an epoch (the newest for `None`), and its ticket.
    async fn plan(
        &self,
        handle: &PreparedHandle,
        caller: &Caller,
        epoch: Option<u64>,
    ) -> Result<(Statement, StatementTicket)> {
        own(handle, caller)?;
        let schema = (!handle.schema.is_empty()).then(|| handle.schema.clone());
        let options = SessionOptions {
            schema,
            epoch,
            ..caller.options
        };
        let kept = self.kept_epoch(&caller.principal, &options).await?;
        let ticket = self.ticket(handle, kept.session.epoch());
        let known = Bytes::from(handle.encode_to_vec());
        if let Some(statement) = kept.plan(&known) {
            return Ok((statement, ticket));
        }
        // To plan is work too: on the threads of queries, and within the statement's time.
        let limit = self.limits.of(&caller.principal, caller.options.limits);
        let planning = self.queries.spawn({
            let (kept, handle) = (kept.clone(), handle.clone());
            async move {
                let statement = kept.session.prepare(&handle.sql).await?;
                match bound_row(&handle)? {
                    Some(row) => statement.bind(&row),
                    None => Ok(statement),
                }
            }
        });
        let statement = tokio::time::timeout(limit.time(), planning)
            .await
            .map_err(|_| limit.late().error())?
            .map_err(broken)??;
        kept.keep(known, statement.clone());
        Ok((statement, ticket))
    }

    /// A ticket for one execution.
    fn ticket(&self, handle: &PreparedHandle, epoch: u64) -> StatementTicket {
        StatementTicket {
            statement: handle.clone(),
            epoch,
            id: self.running.id(),
            trace: String::new(),
        }
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }
}

/// A message on its way to a client.
fn sent(message: &FlightData) -> usize {
    let bytes = message.data_body.len();
    metrics::observe_bytes(bytes);
    bytes
}

/// A statement that is on record and has begun.
struct Begun {
    run: Run,
    limit: Limit,
    started: Started,
}

/// A statement whose turn has come.
struct Started {
    place: Place,
    deadline: Instant,
    schema: SchemaRef,
    batches: engine::BatchStream,
}

/// What KILL answers: the state that the statement is in.
fn killed_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("query_id", DataType::Int64, true),
        Field::new("state", DataType::Utf8, true),
    ]))
}

fn killed(kill: Kill, state: QueryState, profile: Profile) -> Result<DataStream> {
    let id = i64::try_from(kill.query_id).ok();
    let row = RecordBatch::try_new(
        killed_schema(),
        vec![
            Arc::new(Int64Array::from(vec![id])),
            Arc::new(StringArray::from(vec![state.as_str()])),
        ],
    )?;
    let schema = encode::wire_schema(&killed_schema(), profile);
    let row = profile.batch(row, &schema)?;
    let messages = encode::encoded(schema, stream::iter([Ok::<_, Error>(row)]));
    Ok(Box::pin(
        messages.map(|item| item.map_err(encode::encoding_status)),
    ))
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

fn bound_row(handle: &PreparedHandle) -> Result<Option<RecordBatch>> {
    if handle.parameters.is_empty() {
        return Ok(None);
    }
    let batches = flight_data_to_batches(&handle.parameters)
        .map_err(|err| Error::invalid("the bound parameters cannot be read").caused_by(err))?;
    Ok(batches.into_iter().next())
}
