//! The gRPC service. It fills what `arrow-flight` leaves open (schemas without a FlightInfo, one path for
//! all browsing commands, the right code for a malformed one) and counts every call.

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::{Any, Command};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, PollInfo, SchemaAsIpc, SchemaResult, Ticket,
};
use engine::{Error, ErrorKind};
use prost::Message;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::authenticated::caller;
use crate::encode;
use crate::profile::Profile;
use crate::service::{ACTIONS, SqlService, one_endpoint};
use crate::session::Caller;
use crate::{errors, metadata, metrics};

pub(crate) struct Endpoint(pub(crate) SqlService);

#[tonic::async_trait]
impl FlightService for Endpoint {
    type HandshakeStream = <SqlService as FlightService>::HandshakeStream;
    type ListFlightsStream = <SqlService as FlightService>::ListFlightsStream;
    type DoGetStream = <SqlService as FlightService>::DoGetStream;
    type DoPutStream = <SqlService as FlightService>::DoPutStream;
    type DoActionStream = <SqlService as FlightService>::DoActionStream;
    type ListActionsStream = <SqlService as FlightService>::ListActionsStream;
    type DoExchangeStream = <SqlService as FlightService>::DoExchangeStream;

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        counted("Handshake", self.0.handshake(request).await)
    }

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        counted("GetFlightInfo", self.flight_info(request).await)
    }

    async fn get_schema(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        counted("GetSchema", self.schema(request).await)
    }

    async fn do_get(
        &self,
        request: Request<Ticket>,
    ) -> Result<Response<Self::DoGetStream>, Status> {
        counted("DoGet", self.get(request).await)
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        counted("DoPut", self.0.do_put(request).await)
    }

    async fn do_action(
        &self,
        request: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        let name = &request.get_ref().r#type;
        let answered = if ACTIONS.iter().any(|(known, _)| known == name) {
            self.0.do_action(request).await
        } else {
            Err(errors::unknown_action(name))
        };
        counted("DoAction", answered)
    }

    async fn list_actions(
        &self,
        _request: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        let actions = ACTIONS.map(|(name, description)| {
            Ok(ActionType {
                r#type: name.to_owned(),
                description: description.to_owned(),
            })
        });
        let actions: Self::ListActionsStream = Box::pin(futures::stream::iter(actions));
        counted("ListActions", Ok(Response::new(actions)))
    }

    async fn list_flights(
        &self,
        _request: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        counted("ListFlights", Err(unsupported("listing flights")))
    }

    async fn poll_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        let told = self.flight_info(request).await;
        counted("PollFlightInfo", told.map(|info| info.map(ready)))
    }

    async fn do_exchange(
        &self,
        _request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        counted("DoExchange", Err(unsupported("exchanging data")))
    }
}

impl Endpoint {
    async fn flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let command = command(&request.get_ref().cmd)?;
        // No table changes the schema of an answer, so none is looked up before the DoGet.
        match metadata::answer(command, &[], Profile::default()) {
            Some(answer) => {
                let schema = answer.map_err(errors::status)?.schema();
                let descriptor = request.into_inner();
                let ticket = descriptor.cmd.clone();
                one_endpoint(descriptor, &schema, ticket)
            }
            None => self.0.get_flight_info(request).await,
        }
    }

    async fn schema(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        let caller = caller(&request)?;
        let schema = match command(&request.get_ref().cmd)? {
            Command::CommandStatementQuery(query) => self.0.plan_text(query, &caller).await?.schema,
            Command::CommandPreparedStatementQuery(query) => {
                self.0.plan_prepared(query, &caller).await?.schema
            }
            other => match metadata::answer(other, &[], Profile::default()) {
                Some(answer) => answer.map_err(errors::status)?.schema(),
                None => return Err(unsupported("the schema of this command")),
            },
        };
        let result = SchemaAsIpc::new(&schema, &Default::default()).try_into();
        let result = result.map_err(|err: arrow::error::ArrowError| {
            errors::status(
                Error::new(ErrorKind::Internal, "the schema cannot be encoded").caused_by(err),
            )
        })?;
        Ok(Response::new(result))
    }

    async fn get(
        &self,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let command = command(&request.get_ref().ticket)?;
        let answer = if metadata::reads_tables(&command) {
            let caller = caller(&request)?;
            let session = self.session(&caller).await?;
            metadata::answer(command, session.tables(), caller.options.profile)
        } else {
            metadata::answer(command, &[], Profile::default())
        };
        match answer {
            Some(answer) => Ok(Response::new(encode::answer(
                answer.map_err(errors::status)?,
            ))),
            None => self.0.do_get(request).await,
        }
    }

    async fn session(&self, caller: &Caller) -> Result<engine::Session, Status> {
        let Caller {
            principal, options, ..
        } = caller;
        let session = self.0.statements.session(principal, options).await;
        session.map_err(errors::status)
    }
}

/// A statement is planned when its FlightInfo is told and runs as it is read: there is nothing to wait for.
fn ready(info: FlightInfo) -> PollInfo {
    PollInfo {
        info: Some(info),
        progress: Some(1.0),
        ..PollInfo::default()
    }
}

fn command(bytes: &[u8]) -> Result<Command, Status> {
    let any = Any::decode(bytes).map_err(|_| errors::malformed("the command"))?;
    match Command::try_from(any) {
        Ok(Command::Unknown(_)) | Err(_) => Err(errors::malformed("the command")),
        Ok(Command::CommandStatementSubstraitPlan(_)) => Err(unsupported("a Substrait plan")),
        Ok(command) => Ok(command),
    }
}

fn counted<T>(call: &'static str, result: Result<T, Status>) -> Result<T, Status> {
    let result = result.map_err(errors::blame_client);
    let code = result.as_ref().err().map_or(Code::Ok, Status::code);
    metrics::observe_call(call, code);
    result
}

fn unsupported(what: &str) -> Status {
    errors::status(
        Error::new(ErrorKind::Unsupported, format!("{what} is not supported"))
            .hint("Use a Flight SQL driver: ADBC, JDBC or ODBC."),
    )
}
