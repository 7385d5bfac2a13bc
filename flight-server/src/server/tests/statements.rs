use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt};
use arrow_flight::utils::flight_data_to_batches;
use arrow_flight::{Action, FlightData, FlightDescriptor, Ticket};
use engine::Clock;
use futures::TryStreamExt;
use prost::Message;
use tonic::{Code, Request};

use super::{Running, fetch, flight_status, lake, rows, status};
use crate::config::FlightConfig;
use crate::session::messages::{
    GetSessionOptionsResult, OptionValue, SetSessionOptionsRequest, SetSessionOptionsResult,
};

fn first(batches: &[RecordBatch]) -> i64 {
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

#[tokio::test]
async fn a_statement_answers_with_the_announced_schema() {
    let mut running = Running::start().await;
    let sql = "SELECT count(*) AS n, max(_offset) AS newest, 'x' AS t FROM bronze.employees";
    let batches = running.query(sql).await.expect("answers");
    assert_eq!((rows(&batches), first(&batches)), (1, 3));
    let empty = running
        .query("SELECT 1 AS one WHERE false")
        .await
        .expect("answers");
    assert_eq!(rows(&empty), 0);
}

#[tokio::test]
async fn a_long_result_comes_in_messages_of_bounded_size() {
    let mut running = Running::start().await;
    let sql = "SELECT value, repeat('x', 100) AS t FROM range(0, 300000)";
    let info = running
        .client
        .execute(sql.to_owned(), None)
        .await
        .expect("plans");
    let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
    let stream = running
        .client
        .inner_mut()
        .do_get(ticket)
        .await
        .expect("starts");
    let messages: Vec<FlightData> = stream.into_inner().try_collect().await.expect("answers");
    assert!(
        messages
            .iter()
            .all(|message| message.encoded_len() < 2 << 20)
    );
    let batches = flight_data_to_batches(&messages).expect("batches");
    assert_eq!(rows(&batches), 300_000);
    assert!(batches.len() < 40, "{} batches", batches.len());
}

#[tokio::test]
async fn a_prepared_statement_is_bound_and_run_again() {
    let mut running = Running::start().await;
    let sql = "SELECT _offset FROM bronze.employees WHERE _offset >= ? AND op = ? ORDER BY 1";
    let mut prepared = running
        .client
        .prepare(sql.to_owned(), None)
        .await
        .expect("plans");
    let parameters = prepared.parameter_schema().expect("parameters").clone();
    assert_eq!(parameters.fields().len(), 2);
    assert!(parameters.fields().iter().all(|field| field.is_nullable()));
    for (from, expected) in [(0, 3), (2, 1), (9, 0)] {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("1", Arc::new(Int64Array::from(vec![from]))),
            ("2", Arc::new(StringArray::from(vec!["c"]))),
        ];
        let row = RecordBatch::try_from_iter(columns).expect("a row");
        prepared.set_parameters(row).expect("kept");
        let info = prepared.execute().await.expect("binds");
        let batches = fetch(&mut running.client, info).await.expect("answers");
        assert_eq!(rows(&batches), expected, "from {from}");
    }
    prepared.close().await.expect("closes");
}

#[tokio::test]
async fn parameters_that_do_not_fit_are_refused() {
    let mut running = Running::start().await;
    let sql = "SELECT $1 + 1 AS n".to_owned();
    let mut prepared = running
        .client
        .prepare(sql.clone(), None)
        .await
        .expect("plans");
    let two =
        RecordBatch::try_from_iter([("1", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef)]);
    prepared.set_parameters(two.expect("rows")).expect("kept");
    let error = status(prepared.execute().await.expect_err("two rows"));
    assert_eq!(error.code(), Code::InvalidArgument);
    let (code, message) = Running::refused(running.query(&sql).await);
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("without a value"), "{message}");
}

#[tokio::test]
async fn a_users_mistake_is_never_an_internal_error() {
    let mut running = Running::start().await;
    let mistakes = [
        "SELEC 1",
        "SELECT * FROM gold.nowhere",
        "SELECT emplyee_id FROM bronze.employees",
        "SELECT no_such_function(1)",
        "SELECT CAST('x' AS BIGINT)",
        "SELECT 1 / 0",
        "SELECT 1 / (value - 5000) FROM range(0, 100000)",
        "INSERT INTO bronze.employees VALUES (1)",
        "DROP TABLE bronze.employees",
        "CREATE TABLE t AS SELECT 1",
        "SET a = 1",
        "COPY bronze.employees TO 'x.csv'",
        "",
        "SELECT 1; SELECT 2",
    ];
    for sql in mistakes {
        let (code, message) = Running::refused(running.query(sql).await);
        let users = matches!(
            code,
            Code::InvalidArgument | Code::NotFound | Code::Unimplemented
        );
        assert!(users, "{sql}: {code:?} {message}");
        let readable = !message.is_empty() && !message.contains("Error(");
        assert!(readable, "{sql}: {message}");
    }
    let (_, message) = Running::refused(running.query("DELETE FROM bronze.employees").await);
    assert!(message.contains("hint: "), "{message}");
    let update = running
        .client
        .execute_update("SELECT 1".to_owned(), None)
        .await;
    assert_eq!(
        status(update.expect_err("refused")).code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn a_forged_ticket_is_refused() {
    let mut running = Running::start().await;
    let info = running
        .client
        .execute("SELECT 1 AS n".to_owned(), None)
        .await
        .expect("plans");
    let good = info.endpoint[0].ticket.clone().expect("a ticket");
    let mut bytes = good.ticket.to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    for forged in [bytes, b"nonsense".to_vec(), Vec::new()] {
        let refused = running.client.do_get(Ticket::new(forged)).await;
        assert_eq!(
            status(refused.expect_err("forged")).code(),
            Code::InvalidArgument
        );
    }
    let again = running.client.do_get(good).await.expect("still good");
    let batches: Vec<RecordBatch> = again.try_collect().await.expect("answers");
    assert_eq!(first(&batches), 1);
}

#[tokio::test]
async fn a_result_that_is_dropped_gives_its_place_back() {
    let config = FlightConfig {
        max_statements: 1,
        max_queued: 0,
        ..FlightConfig::default()
    };
    let mut running = Running::with(config).await;
    let endless = "SELECT a.value FROM range(0, 1000000) a CROSS JOIN range(0, 1000000) b";
    let info = running
        .client
        .execute(endless.to_owned(), None)
        .await
        .expect("plans");
    let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
    let mut stream = running.client.do_get(ticket).await.expect("starts");
    stream.try_next().await.expect("a batch").expect("a batch");
    let table = "SELECT count(*) AS n FROM bronze.employees";
    let (code, _) = Running::refused(running.query(table).await);
    assert_eq!(code, Code::ResourceExhausted);
    drop(stream);
    // The news travels by itself; the test harness ends a run where it never comes.
    while running.query(table).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_statement_ends_at_its_deadline_and_frees_its_threads() {
    let config = FlightConfig {
        statement_timeout_seconds: 3,
        query_threads: 1,
        ..FlightConfig::default()
    };
    let mut running = Running::with(config).await;
    // One batch of the right side alone is far more than three seconds of work.
    let endless = "SELECT sum(a.value * b.value) AS s \
                   FROM range(0, 1000000) a CROSS JOIN range(0, 1000000) b";
    let (code, message) = Running::refused(running.query(endless).await);
    assert_eq!(code, Code::DeadlineExceeded, "{message}");
    let again = running
        .query("SELECT count(*) AS n FROM bronze.employees")
        .await;
    assert_eq!(first(&again.expect("the thread is free")), 3);
}

#[tokio::test]
async fn the_schema_is_told_without_running() {
    let mut running = Running::start().await;
    let query = CommandStatementQuery {
        query: "SELECT 1 / 0 AS n, 'x' AS t".to_owned(),
        transaction_id: None,
    };
    let descriptor = FlightDescriptor::new_cmd(query.as_any().encode_to_vec());
    let told = running
        .client
        .inner_mut()
        .get_schema(descriptor)
        .await
        .expect("told");
    let schema: arrow::datatypes::Schema = told.into_inner().try_into().expect("a schema");
    let info = running
        .client
        .execute(query.query, None)
        .await
        .expect("plans");
    assert_eq!(schema, info.try_decode_schema().expect("a schema"));
}

#[tokio::test]
async fn a_session_pins_an_epoch_and_a_schema() {
    let mut running = Running::start().await;
    let token = running
        .client
        .handshake("anna", "secret")
        .await
        .expect("signs in");
    let token = String::from_utf8(token.to_vec()).expect("text");
    running.client.set_token(token);
    let sql = "SELECT count(*) AS n FROM bronze.employees";
    assert_eq!(first(&running.query(sql).await.expect("answers")), 3);

    set(
        &mut running,
        &[("epoch", OptionValue::Int(1)), ("schema", text("bronze"))],
        &[],
    )
    .await;
    assert_eq!(first(&running.query(sql).await.expect("answers")), 2);
    let unqualified = "SELECT count(*) AS n FROM employees";
    assert_eq!(
        first(&running.query(unqualified).await.expect("answers")),
        2
    );

    let refused = [
        ("epoch", text("99")),
        ("catalog", text("other")),
        ("colour", text("red")),
    ];
    set(&mut running, &refused, &["catalog", "colour", "epoch"]).await;
    let options = act(&mut running, "GetSessionOptions", Vec::new())
        .await
        .expect("told");
    let options = GetSessionOptionsResult::decode(options.as_slice()).expect("options");
    assert_eq!(
        options.session_options["epoch"].value,
        Some(OptionValue::Int(1))
    );
    assert_eq!(
        options.session_options["schema"].value,
        Some(text("bronze"))
    );

    act(&mut running, "CloseSession", Vec::new())
        .await
        .expect("closes");
    assert_eq!(first(&running.query(sql).await.expect("answers")), 3);
    let unknown = act(&mut running, "Dance", Vec::new()).await;
    assert_eq!(unknown.expect_err("unknown").code(), Code::Unimplemented);
}

/// As files in the lake, which upkeep in any process honours.
#[tokio::test]
async fn a_session_keeps_its_epoch_until_it_is_closed() {
    let directory = tempfile::tempdir().expect("a directory");
    let reader = lake::reader(directory.path()).await;
    let pins = directory.path().join("lake/_pins");
    let keep = reader.clone();
    let mut running = Running::on(directory, reader, FlightConfig::default()).await;
    let shutdown = running.shutdown.clone();
    let clock: Clock = Arc::new(|| chrono::DateTime::UNIX_EPOCH);
    tokio::spawn(async move { keep.keep_pins(clock, shutdown).await });
    let token = running.client.handshake("anna", "secret").await;
    let token = String::from_utf8(token.expect("signs in").to_vec()).expect("text");
    running.client.set_token(token);

    set(&mut running, &[("epoch", OptionValue::Int(1))], &[]).await;
    until(|| pinned(&pins) == [1]).await;
    act(&mut running, "CloseSession", Vec::new())
        .await
        .expect("closes");
    until(|| pinned(&pins).is_empty()).await;
}

/// Epochs that the lake's readers say they use.
fn pinned(pins: &Path) -> Vec<u64> {
    let Ok(entries) = std::fs::read_dir(pins) else {
        return Vec::new();
    };
    let files = entries.filter_map(|entry| std::fs::read(entry.ok()?.path()).ok());
    files
        .filter_map(|file| serde_json::from_slice::<serde_json::Value>(&file).ok())
        .filter_map(|pin| pin["epochs"].as_array().cloned())
        .flatten()
        .filter_map(|epoch| epoch.as_u64())
        .collect()
}

async fn until(mut is_so: impl FnMut() -> bool) {
    let looks = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let patience = Duration::from_secs(120);
    let in_time = tokio::time::timeout(patience, looks).await;
    in_time.expect("it comes to that");
}

fn text(value: &str) -> OptionValue {
    OptionValue::Text(value.to_owned())
}

async fn set(running: &mut Running, options: &[(&str, OptionValue)], refused: &[&str]) {
    let named = |(name, value): &(&str, OptionValue)| ((*name).to_owned(), value.clone().into());
    let request = SetSessionOptionsRequest {
        session_options: options.iter().map(named).collect(),
    };
    let body = act(running, "SetSessionOptions", request.encode_to_vec())
        .await
        .expect("set");
    let result = SetSessionOptionsResult::decode(body.as_slice()).expect("a result");
    let mut names: Vec<&str> = result.errors.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, refused);
}

async fn act(running: &mut Running, action: &str, body: Vec<u8>) -> Result<Vec<u8>, tonic::Status> {
    let mut request = Request::new(Action::new(action, body));
    if let Some(token) = running.client.token() {
        let bearer = format!("Bearer {token}").parse().expect("a header");
        request.metadata_mut().insert("authorization", bearer);
    }
    let answers = running.client.inner_mut().do_action(request).await?;
    let results: Vec<arrow_flight::Result> = answers.into_inner().try_collect().await?;
    Ok(results
        .into_iter()
        .next()
        .map(|result| result.body.to_vec())
        .unwrap_or_default())
}

#[tokio::test]
async fn an_error_in_the_stream_keeps_its_code() {
    let mut running = Running::start().await;
    let sql = "SELECT 1 / (value - 900000) AS n FROM range(0, 1000000)".to_owned();
    let info = running.client.execute(sql, None).await.expect("plans");
    let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
    let mut stream = running.client.do_get(ticket).await.expect("starts");
    stream
        .try_next()
        .await
        .expect("the first rows")
        .expect("rows");
    let error = loop {
        match stream.try_next().await {
            Ok(Some(_)) => {}
            Ok(None) => break None,
            Err(error) => break Some(flight_status(error).code()),
        }
    };
    assert_eq!(error, Some(Code::InvalidArgument));
}
