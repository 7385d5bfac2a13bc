//! Flight SQL on the engine: sign-in, statements, prepared statements, session options. What browses is
//! in `metadata`, reached through the wrapper.

use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::server::{DoPutError, FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any,
    CommandPreparedStatementQuery, CommandPreparedStatementUpdate, CommandStatementIngest,
    CommandStatementQuery, CommandStatementUpdate, DoPutPreparedStatementResult, ProstMessageExt,
    SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightDescriptor,
    FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse, Ticket,
};
use bytes::Bytes;
use engine::{CATALOG, DEFAULT_SCHEMA, Error, ErrorKind, Kill, Result};
use futures::{Stream, StreamExt, TryStreamExt};
use prost::Message;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use crate::authenticated::caller;
use crate::encode::DataStream;
use crate::profile::{self, Profile};
use crate::session::messages::{
    CloseSessionResult, CloseStatus, GetSessionOptionsResult, OptionError, OptionErrorValue,
    OptionValue, SetSessionOptionsRequest, SetSessionOptionsResult,
};
use crate::session::{self, Caller, SessionOptions, Sessions};
use crate::statement::{Planned, Statements};
use crate::{errors, limits};

const SET_SESSION_OPTIONS: &str = "SetSessionOptions";
const GET_SESSION_OPTIONS: &str = "GetSessionOptions";
const CLOSE_SESSION: &str = "CloseSession";
const CANCEL_FLIGHT_INFO: &str = "CancelFlightInfo";

/// The actions there are, and what they do.
pub(crate) const ACTIONS: [(&str, &str); 7] = [
    (
        "CreatePreparedStatement",
        "Plans a statement and returns a handle that any server with the same key takes.",
    ),
    (
        "ClosePreparedStatement",
        "Does nothing: a handle holds no resources.",
    ),
    (
        SET_SESSION_OPTIONS,
        "Sets the options catalog, schema, epoch, profile, timeout_seconds, max_rows and max_bytes of the session.",
    ),
    (GET_SESSION_OPTIONS, "Tells the session's options."),
    (CLOSE_SESSION, "Forgets the session's options."),
    (
        CANCEL_FLIGHT_INFO,
        "Ends the statement of a FlightInfo, or keeps it from starting.",
    ),
    ("CancelQuery", "The same, for older clients."),
];

/// Empty batches that a client may send before its row of parameters.
const EMPTY_BATCHES: usize = 16;

pub(crate) struct SqlService {
    pub(crate) statements: Arc<Statements>,
    pub(crate) sessions: Arc<Sessions>,
}

type HandshakeStream = Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>;
type DoActionStream = <SqlService as FlightService>::DoActionStream;
type DoPutStream = <SqlService as FlightService>::DoPutStream;

#[tonic::async_trait]
impl FlightSqlService for SqlService {
    type FlightService = Self;

    /// Does not wait for a message: some clients send none, and who calls is in the headers.
    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<HandshakeStream>, Status> {
        let token = self.sessions.sign_in(&caller(&request)?);
        let answer = HandshakeResponse {
            protocol_version: 0,
            payload: Bytes::from(token.clone().into_bytes()),
        };
        let answers: HandshakeStream = Box::pin(futures::stream::iter([Ok(answer)]));
        let mut response = Response::new(answers);
        carry_token(&mut response, &token)?;
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let planned = self.plan_text(query, &caller(&request)?).await?;
        flight_info(request.into_inner(), planned)
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let planned = self.plan_prepared(query, &caller(&request)?).await?;
        flight_info(request.into_inner(), planned)
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Response<DataStream>, Status> {
        let caller = caller(&request)?;
        let stream = self.statements.run(&ticket.statement_handle, &caller).await;
        Ok(Response::new(stream.map_err(errors::status)?))
    }

    /// Some clients skip the FlightInfo and fetch by the handle.
    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Response<DataStream>, Status> {
        let caller = caller(&request)?;
        let planned = self.plan_prepared(query, &caller).await?;
        let stream = self.statements.run(&planned.ticket, &caller).await;
        Ok(Response::new(stream.map_err(errors::status)?))
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        refuse_transaction(query.transaction_id.as_ref())?;
        let caller = caller(&request)?;
        let prepared = self.statements.prepare(query.query, &caller).await;
        prepared.map_err(errors::status)
    }

    /// There is nothing to close: the client holds all there is.
    async fn do_action_close_prepared_statement(
        &self,
        _query: ActionClosePreparedStatementRequest,
        _request: Request<Action>,
    ) -> Result<(), Status> {
        Ok(())
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let caller = caller(&request)?;
        let row = parameters(request.into_inner()).await?;
        let handle = query.prepared_statement_handle;
        let bound = self.statements.bind(&handle, row, &caller).await;
        Ok(DoPutPreparedStatementResult {
            prepared_statement_handle: Some(bound.map_err(errors::status)?),
        })
    }

    async fn do_put_statement_update(
        &self,
        command: CommandStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        match Kill::read(&command.query).map_err(errors::status)? {
            // Drivers that tell queries from other statements send it as one of those.
            Some(kill) => {
                let caller = caller(&request)?;
                let killed = self.statements.kill(kill, &caller).await;
                killed.map(|_| 1).map_err(errors::status)
            }
            None => Err(errors::read_only("an update")),
        }
    }

    async fn do_put_prepared_statement_update(
        &self,
        _command: CommandPreparedStatementUpdate,
        _request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(errors::read_only("an update"))
    }

    async fn do_put_statement_ingest(
        &self,
        _command: CommandStatementIngest,
        _request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(errors::read_only("an ingest"))
    }

    async fn do_action_cancel_query(
        &self,
        query: ActionCancelQueryRequest,
        request: Request<Action>,
    ) -> Result<ActionCancelQueryResult, Status> {
        let info = FlightInfo::decode(query.info)
            .map_err(|_| errors::malformed("the FlightInfo to cancel"))?;
        self.cancel(&info, &caller(&request)?)?;
        // Both actions number the outcomes alike.
        let result = CancelStatus::Cancelled.into();
        Ok(ActionCancelQueryResult { result })
    }

    async fn do_action_fallback(
        &self,
        request: Request<Action>,
    ) -> Result<Response<DoActionStream>, Status> {
        let caller = caller(&request)?;
        let action = request.into_inner();
        match action.r#type.as_str() {
            SET_SESSION_OPTIONS => self.set_options(&caller, action.body).await,
            GET_SESSION_OPTIONS => Ok(acted(&options_of(&caller.options))),
            CLOSE_SESSION => {
                self.sessions.close(&caller);
                let status = CloseStatus::Closed.into();
                Ok(acted(&CloseSessionResult { status }))
            }
            CANCEL_FLIGHT_INFO => {
                let request = CancelFlightInfoRequest::decode(action.body)
                    .map_err(|_| errors::malformed("the request to cancel"))?;
                self.cancel(&request.info.unwrap_or_default(), &caller)?;
                let status = CancelStatus::Cancelled.into();
                Ok(acted(&CancelFlightInfoResult { status }))
            }
            unknown => Err(errors::unknown_action(unknown)),
        }
    }

    async fn do_put_fallback(
        &self,
        _request: Request<PeekableFlightDataStream>,
        message: Any,
    ) -> Result<Response<DoPutStream>, Status> {
        Err(errors::read_only(&format!("\"{}\"", message.type_url)))
    }

    async fn do_put_error_callback(
        &self,
        _request: Request<PeekableFlightDataStream>,
        _error: DoPutError,
    ) -> Result<Response<DoPutStream>, Status> {
        Err(errors::malformed("the upload"))
    }

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}

impl SqlService {
    pub(crate) async fn plan_text(
        &self,
        query: CommandStatementQuery,
        caller: &Caller,
    ) -> Result<Planned, Status> {
        refuse_transaction(query.transaction_id.as_ref())?;
        let planned = self.statements.plan_text(query.query, caller).await;
        planned.map_err(errors::status)
    }

    pub(crate) async fn plan_prepared(
        &self,
        query: CommandPreparedStatementQuery,
        caller: &Caller,
    ) -> Result<Planned, Status> {
        let handle = query.prepared_statement_handle;
        let planned = self.statements.plan_prepared(&handle, caller).await;
        planned.map_err(errors::status)
    }

    /// Cancels every statement whose ticket a FlightInfo has; answers that are only browsed are over already.
    fn cancel(&self, info: &FlightInfo, caller: &Caller) -> Result<(), Status> {
        for ticket in info.endpoint.iter().flat_map(|endpoint| &endpoint.ticket) {
            let any = Any::decode(&*ticket.ticket).map_err(|_| errors::malformed("the ticket"))?;
            if let Ok(Some(ticket)) = any.unpack::<TicketStatementQuery>() {
                let cancelled = self.statements.cancel(&ticket.statement_handle, caller);
                cancelled.map_err(errors::status)?;
            }
        }
        Ok(())
    }

    async fn set_options(
        &self,
        caller: &Caller,
        body: Bytes,
    ) -> Result<Response<DoActionStream>, Status> {
        let request = SetSessionOptionsRequest::decode(body)
            .map_err(|_| errors::malformed("the request to set session options"))?;
        let mut options = caller.options.clone();
        let mut result = SetSessionOptionsResult::default();
        for (name, value) in request.session_options {
            let set = self
                .set_option(caller, &mut options, &name, value.value)
                .await;
            if let Err(refused) = set {
                let value = refused.into();
                result.errors.insert(name, OptionError { value });
            }
        }
        let hold = options.epoch.map(|epoch| self.statements.hold(epoch));
        let token = self.sessions.keep(caller, options, hold);
        let mut response = acted(&result);
        if let Some(token) = token {
            carry_token(&mut response, &token)?;
        }
        Ok(response)
    }

    /// Sets one option, or unsets it where no value comes.
    async fn set_option(
        &self,
        caller: &Caller,
        options: &mut SessionOptions,
        name: &str,
        value: Option<OptionValue>,
    ) -> Result<(), OptionErrorValue> {
        let mut changed = options.clone();
        match (name, value) {
            ("catalog", None) => {}
            ("catalog", Some(OptionValue::Text(name))) if name == CATALOG => {}
            ("schema", None) => changed.schema = None,
            ("schema", Some(OptionValue::Text(name))) => changed.schema = Some(name),
            ("epoch", None) => changed.epoch = None,
            ("epoch", Some(OptionValue::Int(epoch))) => {
                let epoch = u64::try_from(epoch).map_err(|_| OptionErrorValue::InvalidValue)?;
                changed.epoch = Some(epoch);
            }
            ("epoch", Some(OptionValue::Text(epoch))) => {
                let epoch = epoch.parse().map_err(|_| OptionErrorValue::InvalidValue)?;
                changed.epoch = Some(epoch);
            }
            (profile::PROFILE, None) => changed.profile = Profile::default(),
            (profile::PROFILE, Some(OptionValue::Text(name))) => {
                changed.profile = Profile::named(&name).ok_or(OptionErrorValue::InvalidValue)?;
            }
            ("catalog" | "schema" | "epoch" | profile::PROFILE, Some(_)) => {
                return Err(OptionErrorValue::InvalidValue);
            }
            (name, value) => {
                let limit = changed.limits.option(name);
                *limit.ok_or(OptionErrorValue::InvalidName)? = match value {
                    None => None,
                    Some(value) => Some(above_zero(&value).ok_or(OptionErrorValue::InvalidValue)?),
                };
            }
        }
        if changed != *options {
            let session = self.statements.session(&caller.principal, &changed).await;
            session.map_err(|_| OptionErrorValue::InvalidValue)?;
            *options = changed;
        }
        Ok(())
    }
}

/// One endpoint, no location: the client fetches over the connection it has.
pub(crate) fn one_endpoint(
    descriptor: FlightDescriptor,
    schema: &arrow::datatypes::Schema,
    ticket: impl Into<Bytes>,
) -> Result<Response<FlightInfo>, Status> {
    let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(ticket));
    let info = FlightInfo::new()
        .with_descriptor(descriptor)
        .with_endpoint(endpoint)
        .try_with_schema(schema)
        .map_err(|err| {
            errors::status(
                Error::new(ErrorKind::Internal, "the schema cannot be encoded").caused_by(err),
            )
        })?;
    Ok(Response::new(info))
}

fn flight_info(
    descriptor: FlightDescriptor,
    planned: Planned,
) -> Result<Response<FlightInfo>, Status> {
    let ticket = TicketStatementQuery {
        statement_handle: planned.ticket,
    };
    one_endpoint(descriptor, &planned.schema, ticket.as_any().encode_to_vec())
}

/// The one row that a client binds.
async fn parameters(stream: PeekableFlightDataStream) -> Result<Option<RecordBatch>, Status> {
    let unreadable = |error: FlightError| match error {
        FlightError::Tonic(status) => *status,
        _ => errors::malformed("the row of parameters"),
    };
    let stream = stream.map_err(FlightError::from);
    let mut batches = FlightRecordBatchStream::new_from_flight_data(stream).take(EMPTY_BATCHES);
    let mut row: Option<RecordBatch> = None;
    while let Some(batch) = batches.try_next().await.map_err(unreadable)? {
        let rows = batch.num_rows() + row.as_ref().map_or(0, RecordBatch::num_rows);
        if rows > 1 {
            return Err(errors::status(
                Error::invalid("more than one row of parameters came")
                    .hint("Execute the statement once for each row."),
            ));
        }
        if batch.num_rows() == 1 {
            row = Some(batch);
        }
    }
    Ok(row)
}

fn refuse_transaction(id: Option<&Bytes>) -> Result<(), Status> {
    match id {
        Some(id) if !id.is_empty() => Err(errors::status(
            Error::new(ErrorKind::Unsupported, "there are no transactions")
                .hint("Every statement sees one epoch; set the session option epoch to keep it."),
        )),
        _ => Ok(()),
    }
}

fn options_of(options: &SessionOptions) -> GetSessionOptionsResult {
    let schema = options.schema.clone();
    let schema = schema.unwrap_or_else(|| DEFAULT_SCHEMA.to_owned());
    let mut values = vec![
        ("catalog", OptionValue::Text(CATALOG.to_owned())),
        ("schema", OptionValue::Text(schema)),
        (
            profile::PROFILE,
            OptionValue::Text(options.profile.name().to_owned()),
        ),
    ];
    let limits = options.limits;
    for (name, number) in [
        ("epoch", options.epoch),
        (limits::TIMEOUT_SECONDS, limits.timeout_seconds),
        (limits::MAX_ROWS, limits.max_rows),
        (limits::MAX_BYTES, limits.max_bytes),
    ] {
        if let Some(number) = number.and_then(|number| i64::try_from(number).ok()) {
            values.push((name, OptionValue::Int(number)));
        }
    }
    let named = |(name, value): (&str, OptionValue)| (name.to_owned(), value.into());
    GetSessionOptionsResult {
        session_options: values.into_iter().map(named).collect(),
    }
}

fn above_zero(value: &OptionValue) -> Option<u64> {
    let number = match value {
        OptionValue::Int(number) => u64::try_from(*number).ok(),
        OptionValue::Text(digits) => digits.parse().ok(),
        _ => None,
    };
    number.filter(|number| *number > 0)
}

fn acted(message: &impl Message) -> Response<DoActionStream> {
    let result = arrow_flight::Result::new(message.encode_to_vec());
    Response::new(Box::pin(futures::stream::iter([Ok(result)])))
}

/// The token where each client looks for it: the bearer of the next calls, or a cookie.
fn carry_token<T>(response: &mut Response<T>, token: &str) -> Result<(), Status> {
    let headers = [
        ("authorization", format!("Bearer {token}")),
        ("set-cookie", session::set_cookie(token)),
    ];
    for (name, value) in headers {
        let value = MetadataValue::try_from(value)
            .map_err(|_| Status::internal("the token is no header value"))?;
        response.metadata_mut().insert(name, value);
    }
    Ok(())
}
