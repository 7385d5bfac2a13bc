//! What single clients need beyond statements: cancelling, polling, headers, and a server that was restarted.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, TimeUnit};
use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, Any, CommandGetTables, CommandPreparedStatementQuery,
    CommandStatementQuery, ProstMessageExt,
};
use arrow_flight::utils::flight_data_to_batches;
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightData,
    FlightDescriptor, FlightInfo, IpcMessage, Ticket,
};
use futures::TryStreamExt;
use prost::Message;
use tonic::{Code, Request, Status};

use super::{Running, fetch, flight_status, lake, project, rows};
use crate::config::FlightConfig;

const ENDLESS: &str = "SELECT a.value FROM range(0, 1000000) a CROSS JOIN range(0, 1000000) b";

fn descriptor(sql: &str) -> FlightDescriptor {
    let query = CommandStatementQuery {
        query: sql.to_owned(),
        transaction_id: None,
    };
    FlightDescriptor::new_cmd(query.as_any().encode_to_vec())
}

/// A call with headers, as drivers send what they do not know of a connection string.
fn with_headers<T>(message: T, headers: &[(&'static str, &str)]) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in headers {
        let value = value.parse().expect("ascii");
        request.metadata_mut().insert(*name, value);
    }
    request
}

impl Running {
    async fn asked(
        &mut self,
        sql: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<FlightInfo, Status> {
        let request = with_headers(descriptor(sql), headers);
        let told = self.client.inner_mut().get_flight_info(request).await?;
        Ok(told.into_inner())
    }

    async fn fetched(
        &mut self,
        ticket: Ticket,
        headers: &[(&'static str, &str)],
    ) -> Vec<RecordBatch> {
        let request = with_headers(ticket, headers);
        let stream = self
            .client
            .inner_mut()
            .do_get(request)
            .await
            .expect("starts");
        let messages: Vec<FlightData> = stream.into_inner().try_collect().await.expect("answers");
        flight_data_to_batches(&messages).expect("batches")
    }

    async fn acted(&mut self, name: &str, body: Vec<u8>) -> Vec<u8> {
        let request = Request::new(Action::new(name, body));
        let answers = self
            .client
            .inner_mut()
            .do_action(request)
            .await
            .expect("acts");
        let results: Vec<arrow_flight::Result> =
            answers.into_inner().try_collect().await.expect("acts");
        results
            .first()
            .map(|result| result.body.to_vec())
            .unwrap_or_default()
    }
}

fn ticket(info: &FlightInfo) -> Ticket {
    info.endpoint[0].ticket.clone().expect("a ticket")
}

#[tokio::test]
async fn a_running_statement_is_cancelled_by_either_action() {
    let mut running = Running::start().await;
    for older in [false, true] {
        let info = running.asked(ENDLESS, &[]).await.expect("plans");
        let mut stream = running.client.do_get(ticket(&info)).await.expect("starts");
        stream.try_next().await.expect("rows").expect("rows");
        if older {
            let info = info.encode_to_vec().into();
            let request = ActionCancelQueryRequest { info }.as_any().encode_to_vec();
            running.acted("CancelQuery", request).await;
        } else {
            let request = CancelFlightInfoRequest::new(info).encode_to_vec();
            let result = running.acted("CancelFlightInfo", request).await;
            let result = CancelFlightInfoResult::decode(result.as_slice()).expect("a result");
            assert_eq!(result.status(), CancelStatus::Cancelled);
        }
        let error = loop {
            match stream.try_next().await {
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(error) => break Some(flight_status(error).code()),
            }
        };
        assert_eq!(error, Some(Code::Cancelled));
    }
    assert_eq!(
        rows(&running.query("SELECT 1 AS n").await.expect("goes on")),
        1
    );
}

#[tokio::test]
async fn a_statement_cancelled_before_it_starts_never_does() {
    let mut running = Running::start().await;
    let info = running.asked("SELECT 1 AS n", &[]).await.expect("plans");
    let other = running.asked("SELECT 1 AS n", &[]).await.expect("plans");
    let request = CancelFlightInfoRequest::new(info.clone()).encode_to_vec();
    running.acted("CancelFlightInfo", request).await;
    let refused = fetch(&mut running.client, info)
        .await
        .expect_err("cancelled");
    assert_eq!(refused.code(), Code::Cancelled);
    let answered = fetch(&mut running.client, other)
        .await
        .expect("another ticket");
    assert_eq!(rows(&answered), 1);
}

#[tokio::test]
async fn a_poll_is_over_at_once() {
    let mut running = Running::start().await;
    let polled = running
        .client
        .inner_mut()
        .poll_flight_info(descriptor("SELECT 1 AS n"))
        .await;
    let polled = polled.expect("told").into_inner();
    assert_eq!(polled.progress, Some(1.0));
    assert!(polled.flight_descriptor.is_none(), "nothing to poll again");
    let info = polled.info.expect("a FlightInfo");
    assert_eq!(
        rows(&fetch(&mut running.client, info).await.expect("rows")),
        1
    );
}

#[tokio::test]
async fn headers_name_the_schema_and_the_epoch() {
    let mut running = Running::start().await;
    let sql = "SELECT _offset FROM employees";
    for (headers, expected) in [
        (vec![("schema", "bronze")], 3),
        (vec![("database", "bronze")], 3),
        (
            vec![
                ("schema", "bronze"),
                ("epoch", "1"),
                ("database", "sportlake"),
            ],
            2,
        ),
    ] {
        let info = running.asked(sql, &headers).await.expect("plans");
        let batches = running.fetched(ticket(&info), &headers).await;
        assert_eq!(rows(&batches), expected, "{headers:?}");
    }
    let nowhere = running.asked(sql, &[("database", "nowhere")]).await;
    assert_eq!(nowhere.expect_err("no such schema").code(), Code::NotFound);
}

#[tokio::test]
async fn each_profile_announces_what_it_sends() {
    let mut running = Running::start().await;
    let sql =
        "SELECT _ingested_at AS at, DATE '2024-02-29' AS day, CAST(1.5 AS DECIMAL(12, 2)) AS money,
                      make_array(1, 2) AS list FROM bronze.employees";
    let micros =
        |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
    let nanos =
        |zone: Option<&str>| DataType::Timestamp(TimeUnit::Nanosecond, zone.map(Into::into));
    let money = DataType::Decimal128(12, 2);
    let expected = [
        (
            "arrow",
            vec![micros(Some("UTC")), DataType::Date32, money.clone()],
        ),
        (
            "odbc",
            vec![micros(None), DataType::Date32, money, DataType::Utf8],
        ),
        (
            "grafana",
            vec![
                nanos(Some("UTC")),
                nanos(None),
                DataType::Float64,
                DataType::Utf8,
            ],
        ),
    ];
    for (profile, types) in expected {
        let headers = [("profile", profile)];
        let info = running.asked(sql, &headers).await.expect("plans");
        let announced: Schema = info.clone().try_decode_schema().expect("a schema");
        let found: Vec<&DataType> = announced.fields().iter().map(|f| f.data_type()).collect();
        for (found, expected) in found.iter().zip(&types) {
            assert_eq!(*found, expected, "{profile}");
        }
        // The ticket says how: a client that fetches over another connection gets the same.
        for headers in [&headers[..], &[]] {
            let batches = running.fetched(ticket(&info), headers).await;
            assert_eq!(rows(&batches), 3);
            assert!(
                batches.iter().all(|batch| *batch.schema() == announced),
                "{profile}"
            );
        }
    }
}

#[tokio::test]
async fn a_profile_is_that_of_the_catalog_too() {
    let mut running = Running::start().await;
    let command = CommandGetTables {
        include_schema: true,
        ..CommandGetTables::default()
    };
    let ticket = Ticket::new(command.as_any().encode_to_vec());
    let batches = running.fetched(ticket, &[("profile", "odbc")]).await;
    let schemas = arrow::array::AsArray::as_binary::<i32>(batches[0].column(4).as_ref());
    for bytes in schemas.iter().flatten() {
        let schema: Schema = IpcMessage(bytes.to_vec().into())
            .try_into()
            .expect("a schema");
        for field in schema.fields() {
            assert!(
                !matches!(field.data_type(), DataType::Timestamp(_, Some(_))),
                "{field}"
            );
            assert!(!field.data_type().is_nested(), "{field}");
        }
    }
}

#[tokio::test]
async fn a_description_is_the_remark_of_its_table_or_column() {
    let directory = tempfile::tempdir().expect("a directory");
    let reader = project::reader(directory.path()).await;
    let mut running = Running::on(directory, reader, FlightConfig::default()).await;
    let command = CommandGetTables {
        include_schema: true,
        table_name_filter_pattern: Some("ventes".to_owned()),
        ..CommandGetTables::default()
    };
    let info = running.client.get_tables(command).await.expect("told");
    let batches = fetch(&mut running.client, info).await.expect("listed");
    let schemas = arrow::array::AsArray::as_binary::<i32>(batches[0].column(4).as_ref());
    let schema: Schema = IpcMessage(schemas.value(0).to_vec().into())
        .try_into()
        .expect("a schema");
    assert_eq!(
        schema.metadata()["ARROW:FLIGHT:SQL:REMARKS"],
        "Une vente par ligne."
    );
    let remark = |name: &str| {
        let field = schema.field_with_name(name).expect("a column");
        field.metadata().get("ARROW:FLIGHT:SQL:REMARKS").cloned()
    };
    assert_eq!(remark("montant").as_deref(), Some("en euros"));
    assert_eq!(remark("id"), None);
}

#[tokio::test]
async fn tickets_and_handles_are_good_after_a_restart() {
    let mut first = Running::start().await;
    let info = first
        .asked("SELECT count(*) AS n FROM bronze.employees", &[])
        .await
        .expect("plans");
    let request = ActionCreatePreparedStatementRequest {
        query: "SELECT 7 AS n".to_owned(),
        transaction_id: None,
    };
    let prepared = first
        .acted("CreatePreparedStatement", request.as_any().encode_to_vec())
        .await;
    let prepared = Any::decode(prepared.as_slice()).expect("a message");
    let prepared: ActionCreatePreparedStatementResult = prepared
        .unpack()
        .expect("readable")
        .expect("a prepared statement");
    first.shutdown.cancel();
    first.served.await.expect("no panic").expect("no error");

    let reader = lake::again(first.directory.path()).await;
    let mut second = Running::on(first.directory, reader, FlightConfig::default()).await;
    assert_eq!(rows(&second.fetched(ticket(&info), &[]).await), 1);
    let command = CommandPreparedStatementQuery {
        prepared_statement_handle: prepared.prepared_statement_handle,
    };
    let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
    let info = second.client.inner_mut().get_flight_info(descriptor).await;
    let info = info.expect("the handle is known").into_inner();
    assert_eq!(rows(&second.fetched(ticket(&info), &[]).await), 1);
}
