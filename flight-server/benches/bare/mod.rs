//! A Flight SQL server that does nothing but send: statement N is answered with the Nth list of batches.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::flight_service_server::FlightServiceServer;
use arrow_flight::sql::server::FlightSqlService;
use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt, SqlInfo, TicketStatementQuery};
use arrow_flight::{FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use futures::{Stream, StreamExt, stream};
use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

struct Bare(Arc<Vec<Vec<RecordBatch>>>);

pub(crate) async fn served(answers: Vec<Vec<RecordBatch>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let service = FlightServiceServer::new(Bare(Arc::new(answers)));
    let incoming = TcpListenerStream::new(listener).map(|accepted| {
        accepted.inspect(|stream| {
            let _ = stream.set_nodelay(true);
        })
    });
    let server = Server::builder()
        .add_service(service)
        .serve_with_incoming(incoming);
    tokio::spawn(server);
    address
}

type DataStream = Pin<Box<dyn Stream<Item = Result<FlightData, Status>> + Send>>;

#[tonic::async_trait]
impl FlightSqlService for Bare {
    type FlightService = Self;

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let ticket = TicketStatementQuery {
            statement_handle: query.query.into(),
        };
        let ticket = Ticket::new(ticket.as_any().encode_to_vec());
        let info = FlightInfo::new()
            .with_descriptor(request.into_inner())
            .with_endpoint(FlightEndpoint::new().with_ticket(ticket));
        Ok(Response::new(info))
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        _request: Request<Ticket>,
    ) -> Result<Response<DataStream>, Status> {
        let nth = std::str::from_utf8(&ticket.statement_handle).ok();
        let answer = nth.and_then(|nth| self.0.get(nth.parse::<usize>().ok()?));
        let answer = answer.ok_or_else(|| Status::not_found("no such answer"))?;
        let batches = stream::iter(answer.clone().into_iter().map(Ok));
        let messages = FlightDataEncoderBuilder::new().build(batches);
        Ok(Response::new(Box::pin(
            messages.map(|message| message.map_err(Status::from)),
        )))
    }

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}
