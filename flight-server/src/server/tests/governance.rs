//! Limits, the queue, `system.queries`, KILL, memory, and results that nobody reads.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use arrow_flight::FlightDescriptor;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::sql::{CommandGetTables, CommandStatementQuery, ProstMessageExt};
use engine::ReaderConfig;
use futures::TryStreamExt;
use prost::Message;
use tonic::{Code, Status};

use super::attacks::{POLICIES, client_of, served};
use super::{Client, Running, connection, fetch, flight_status, lake, rows, status};
use crate::config::FlightConfig;
use crate::limits::RoleLimits;

const ENDLESS: &str = "SELECT a.value FROM range(0, 1000000) a CROSS JOIN range(0, 1000000) b";
const TABLE: &str = "SELECT _offset FROM bronze.employees";

impl Running {
    async fn another(&self) -> Client {
        Client::new(connection(self.address).await)
    }
}

async fn query(client: &mut Client, sql: &str) -> Result<Vec<RecordBatch>, Status> {
    let info = client.execute(sql.to_owned(), None).await.map_err(status)?;
    fetch(client, info).await
}

async fn refused(client: &mut Client, sql: &str) -> (Code, String) {
    Running::refused(query(client, sql).await)
}

/// Starts a statement and reads one message of its result; the rest waits to be read.
async fn begun(client: &mut Client, sql: &str) -> FlightRecordBatchStream {
    let info = client.execute(sql.to_owned(), None).await.expect("plans");
    let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
    let mut stream = client.do_get(ticket).await.expect("starts");
    stream.try_next().await.expect("rows").expect("rows");
    stream
}

/// How a result ends that was left unread, if not well.
async fn end_of(mut unread: FlightRecordBatchStream) -> Option<Status> {
    loop {
        match unread.try_next().await {
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(error) => return Some(flight_status(error)),
        }
    }
}

async fn number(client: &mut Client, sql: &str) -> i64 {
    let batches = query(client, sql).await.expect("answers");
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

fn texts(batches: &[RecordBatch], column: &str) -> Vec<Option<String>> {
    let columns = batches.iter().map(|batch| {
        let column = batch.column_by_name(column).expect("there");
        let texts = column.as_string::<i32>().iter();
        texts
            .map(|text| text.map(str::to_owned))
            .collect::<Vec<_>>()
    });
    columns.flatten().collect()
}

/// The id of the one statement like this in a state, as soon as there is one.
async fn seen(client: &mut Client, like: &str, state: &str) -> i64 {
    let sql = format!(
        "SELECT query_id FROM system.queries \
         WHERE statement LIKE '{like}' AND statement NOT LIKE '%system%' AND state = '{state}'"
    );
    loop {
        let batches = query(client, &sql).await.expect("answers");
        if rows(&batches) > 0 {
            return batches[0].column(0).as_primitive::<Int64Type>().value(0);
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_session_may_ask_for_less_time_rows_and_bytes() {
    let mut running = Running::start().await;
    let many = "SELECT value FROM range(0, 100000)";
    running.client.set_header("max_rows", "1000");
    let (code, message) = refused(&mut running.client, many).await;
    assert_eq!(code, Code::ResourceExhausted);
    assert!(
        message.contains("1000 rows") && message.contains("hint:"),
        "{message}"
    );
    let exactly = query(&mut running.client, "SELECT value FROM range(0, 1000)").await;
    assert_eq!(rows(&exactly.expect("no more than the limit")), 1000);

    let mut other = running.another().await;
    other.set_header("max_bytes", "1000");
    let (code, _) = refused(&mut other, many).await;
    assert_eq!(code, Code::ResourceExhausted);

    let mut third = running.another().await;
    third.set_header("timeout_seconds", "1");
    let (code, message) = refused(&mut third, ENDLESS).await;
    assert_eq!(code, Code::DeadlineExceeded);
    assert!(
        message.contains("after 1 seconds") && message.contains("hint:"),
        "{message}"
    );

    let sql = "SELECT error_kind FROM system.queries WHERE state = 'failed' ORDER BY query_id";
    let failed = query(&mut running.another().await, sql)
        .await
        .expect("answers");
    let kinds: Vec<_> = texts(&failed, "error_kind").into_iter().flatten().collect();
    assert_eq!(
        kinds,
        ["ResourceExhausted", "ResourceExhausted", "DeadlineExceeded"]
    );
}

#[tokio::test]
async fn a_role_has_its_own_limits() {
    let one = RoleLimits {
        max_result_rows: Some(1),
        ..RoleLimits::default()
    };
    let config = FlightConfig {
        roles: BTreeMap::from([("reader".to_owned(), one)]),
        ..FlightConfig::default()
    };
    let policies = format!("{POLICIES}\nCREATE ROLE free; GRANT SELECT ON SCHEMA bronze TO free;");
    let users = [
        ("anne", "reader", "1"),
        ("bob", "reader", "2"),
        ("carl", "free", "3"),
    ];
    let running = served(config, &policies, &users).await;
    for (user, expected) in [
        ("anne", Ok(1)),
        ("bob", Err(Code::ResourceExhausted)),
        ("carl", Ok(3)),
    ] {
        let mut client = client_of(&running, user).await;
        let answer = query(&mut client, TABLE).await;
        let told = answer.map(|batches| rows(&batches));
        assert_eq!(told.map_err(|status| status.code()), expected, "{user}");
    }
}

#[tokio::test]
async fn who_waits_is_seen_and_runs_when_its_turn_comes() {
    let config = FlightConfig {
        max_statements: 1,
        max_queued: 1,
        ..FlightConfig::default()
    };
    let running = Running::with(config).await;
    let mut heavy = running.another().await;
    let _unread = begun(&mut heavy, ENDLESS).await;
    let mut waiting = running.another().await;
    let waiting = tokio::spawn(async move { query(&mut waiting, TABLE).await });
    let mut watching = running.another().await;
    seen(&mut watching, "%_offset%", "queued").await;

    let (code, message) = refused(&mut watching, TABLE).await;
    assert_eq!(code, Code::ResourceExhausted);
    assert!(message.contains("waiting"), "{message}");
    // Who browses waits for nobody.
    let tables = watching.get_tables(CommandGetTables::default()).await;
    let tables = fetch(&mut watching, tables.expect("told"))
        .await
        .expect("listed");
    assert!(rows(&tables) > 0);
    for sql in ["SELECT 1 AS n", "SHOW TABLES", "DESCRIBE bronze.employees"] {
        query(&mut watching, sql).await.expect(sql);
    }

    let heavy = seen(&mut watching, "%CROSS JOIN%", "running").await;
    let killed = query(&mut watching, &format!("KILL {heavy}"))
        .await
        .expect("kills");
    assert_eq!(texts(&killed, "state"), [Some("cancelled".to_owned())]);
    let answered = waiting.await.expect("no panic").expect("its turn came");
    assert_eq!(rows(&answered), 3);
    let sql = format!(
        "SELECT queue_seconds FROM system.queries WHERE statement = '{TABLE}' AND state = 'finished'"
    );
    let waited = query(&mut watching, &sql).await.expect("answers");
    assert!(waited[0].column(0).as_primitive::<Float64Type>().value(0) > 0.0);
}

#[tokio::test]
async fn a_killed_statement_ends_for_its_client_and_may_be_killed_again() {
    let running = Running::start().await;
    let mut heavy = running.another().await;
    let unread = begun(&mut heavy, ENDLESS).await;
    let mut watching = running.another().await;
    let id = seen(&mut watching, "%CROSS JOIN%", "running").await;
    let by_update = watching
        .execute_update(format!("KILL QUERY {id}"), None)
        .await;
    assert_eq!(by_update.expect("kills"), 1);
    let ended = end_of(unread).await.expect("not complete");
    assert_eq!(ended.code(), Code::Cancelled);
    assert!(ended.message().contains("KILL"), "{ended:?}");
    let mut prepared = watching
        .prepare(format!("KILL {id}"), None)
        .await
        .expect("prepares");
    for _ in 0..2 {
        let info = prepared.execute().await.expect("plans");
        let again = fetch(&mut watching, info).await.expect("is no mistake");
        assert_eq!(texts(&again, "state"), [Some("cancelled".to_owned())]);
    }
    let (code, message) = refused(&mut watching, "KILL 1").await;
    assert_eq!(code, Code::NotFound);
    assert!(message.contains("there is no query 1"), "{message}");
    let (code, _) = refused(&mut watching, "KILL everything").await;
    assert_eq!(code, Code::InvalidArgument);
}

#[tokio::test]
async fn everybody_sees_and_ends_their_own_and_a_right_reaches_others() {
    let policies = format!(
        "{POLICIES}
         CREATE ROLE ops; GRANT SELECT ON SCHEMA system TO ops; GRANT KILL TO ops;
         CREATE ROLE auditor; GRANT SELECT (query_id, statement) ON system.queries TO auditor;"
    );
    let users = [
        ("anne", "reader", "1"),
        ("bob", "reader", "2"),
        ("olga", "ops", "0"),
        ("aude", "auditor", "0"),
    ];
    let running = served(FlightConfig::default(), &policies, &users).await;
    let mut anne = client_of(&running, "anne").await;
    let _unread = begun(&mut anne, ENDLESS).await;
    let mut anne = client_of(&running, "anne").await;
    let id = seen(&mut anne, "%CROSS JOIN%", "running").await;

    let all = "SELECT user_name, statement FROM system.queries ORDER BY started_at";
    let mut bob = client_of(&running, "bob").await;
    let bobs = query(&mut bob, all).await.expect("answers");
    assert!(
        texts(&bobs, "user_name")
            .iter()
            .all(|user| user.as_deref() == Some("bob"))
    );
    for sql in [format!("KILL {id}"), "KILL 1".to_owned()] {
        let (code, message) = refused(&mut bob, &sql).await;
        assert_eq!(code, Code::NotFound);
        assert!(message.starts_with("there is no query"), "{message}");
    }
    let sessions = query(&mut bob, "SELECT user_name FROM system.sessions").await;
    let sessions = texts(&sessions.expect("answers"), "user_name");
    assert!(!sessions.is_empty() && sessions.iter().all(|user| user.as_deref() == Some("bob")));

    let mut olga = client_of(&running, "olga").await;
    let of_anne = format!("SELECT user_name, statement FROM system.queries WHERE query_id = {id}");
    let seen_by_ops = query(&mut olga, &of_anne).await.expect("answers");
    assert_eq!(texts(&seen_by_ops, "user_name"), [Some("anne".to_owned())]);
    assert_eq!(texts(&seen_by_ops, "statement"), [None]);
    let mut aude = client_of(&running, "aude").await;
    let seen_by_auditor = query(&mut aude, &of_anne).await.expect("answers");
    assert_eq!(texts(&seen_by_auditor, "user_name"), [None]);
    assert_eq!(
        texts(&seen_by_auditor, "statement"),
        [Some(ENDLESS.to_owned())]
    );
    let sessions = query(&mut olga, "SELECT DISTINCT user_name FROM system.sessions").await;
    assert_eq!(rows(&sessions.expect("answers")), 4);

    let (code, _) = refused(&mut aude, &format!("KILL {id}")).await;
    assert_eq!(code, Code::NotFound);
    query(&mut olga, &format!("KILL {id}"))
        .await
        .expect("has the right");
    seen(&mut anne, "%CROSS JOIN%", "cancelled").await;
}

#[tokio::test]
async fn a_result_that_nobody_reads_is_ended_and_never_piles_up() {
    let config = FlightConfig {
        unread_seconds: 1,
        ..FlightConfig::default()
    };
    let running = Running::with(config).await;
    let mut stalled = running.another().await;
    let unread = begun(&mut stalled, ENDLESS).await;
    let mut watching = running.another().await;
    let id = seen(&mut watching, "%CROSS JOIN%", "failed").await;
    let sql = format!("SELECT error_kind, bytes FROM system.queries WHERE query_id = {id}");
    let ended = query(&mut watching, &sql).await.expect("answers");
    assert_eq!(
        texts(&ended, "error_kind"),
        [Some("DeadlineExceeded".to_owned())]
    );
    // A few messages of at most 2 MiB were made ahead of the client, of a result without end.
    let bytes = ended[0].column(1).as_primitive::<Int64Type>().value(0);
    assert!(bytes < 16 << 20, "{bytes} bytes");
    let told = end_of(unread).await.expect("not complete");
    assert_eq!(told.code(), Code::DeadlineExceeded);
    assert!(told.message().contains("nobody read"), "{told:?}");
}

/// Holds a few megabytes in the table of its join and has rows for a long time.
const HOLDING: &str = "SELECT a.value FROM range(0, 200000) a JOIN range(0, 200000) b \
                       ON a.value % 100 = b.value % 100";

const HELD: &str = "SELECT coalesce(sum(memory_bytes), 0) AS n FROM system.queries WHERE statement LIKE '%JOIN%' AND statement NOT LIKE '%system%'";

#[tokio::test]
async fn a_dropped_connection_frees_its_memory_within_a_second() {
    let running = Running::start().await;
    let mut watching = running.another().await;
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let mut client = running.another().await;
        let unread = begun(&mut client, HOLDING).await;
        let held = number(&mut watching, HELD).await;
        assert!(held > 1 << 20, "{held} bytes");
        let dropped = Instant::now();
        drop((unread, client));
        while number(&mut watching, HELD).await > 0 {
            tokio::task::yield_now().await;
        }
        fastest = fastest.min(dropped.elapsed());
        if fastest < Duration::from_secs(1) {
            break;
        }
    }
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
    let states = query(&mut watching, "SELECT DISTINCT state FROM system.queries WHERE statement LIKE '%JOIN%' AND statement NOT LIKE '%system%'").await;
    let states = texts(&states.expect("answers"), "state");
    assert_eq!(states, [Some("cancelled".to_owned())]);
}

/// A server whose statements have little memory, and little room on the disk.
async fn narrow(memory: usize, disk: u64) -> Running {
    let directory = tempfile::tempdir().expect("a directory");
    drop(lake::reader(directory.path()).await);
    let config = ReaderConfig {
        memory_limit_bytes: memory,
        spill_path: directory.path().join("spill"),
        spill_limit_bytes: disk,
        ..ReaderConfig::default()
    };
    let reader = lake::within(directory.path(), &config).await;
    let config = FlightConfig {
        max_statements: 2,
        ..FlightConfig::default()
    };
    Running::on(directory, reader, config).await
}

/// Sorts about 80 MB.
const SORT: &str = "SELECT max(r) AS n FROM (SELECT row_number() OVER (ORDER BY t) AS r FROM \
                    (SELECT repeat('x', 200) || (value * 7919 % 400000) AS t FROM range(0, 400000)))";

#[tokio::test]
async fn what_does_not_fit_into_memory_spills() {
    let running = narrow(128 << 20, 1 << 30).await;
    let mut client = running.another().await;
    assert_eq!(number(&mut client, SORT).await, 400_000);
    assert_eq!(
        number(
            &mut client,
            "SELECT sum(memory_bytes) AS n FROM system.queries WHERE state = 'finished'"
        )
        .await,
        0
    );
    let spilled = std::fs::read_dir(running.directory.path().join("spill")).expect("made");
    let left =
        spilled.flat_map(|folder| std::fs::read_dir(folder.expect("read").path()).expect("read"));
    assert_eq!(left.count(), 0);
}

#[tokio::test]
async fn running_out_of_memory_or_disk_is_told_and_others_go_on() {
    let join = "SELECT count(*) AS n FROM (SELECT repeat('x', 300) || value AS t FROM range(0, 400000)) a \
                JOIN (SELECT repeat('x', 300) || value AS u FROM range(0, 400000)) b ON t = u";
    for (sql, running, key) in [
        (
            join,
            narrow(128 << 20, 1 << 30).await,
            "read.memory_limit_bytes",
        ),
        (
            SORT,
            narrow(128 << 20, 1 << 20).await,
            "read.spill_limit_bytes",
        ),
        (
            SORT,
            narrow(256 << 20, 1 << 20).await,
            "read.spill_limit_bytes",
        ),
    ] {
        let mut client = running.another().await;
        let (code, message) = refused(&mut client, sql).await;
        assert_eq!(code, Code::ResourceExhausted, "{message}");
        assert!(
            message.contains("hint:") && message.contains(key),
            "{message}"
        );
        assert_eq!(rows(&query(&mut client, TABLE).await.expect("goes on")), 3);
    }
}

#[tokio::test]
async fn the_tables_of_the_server_are_in_every_catalog() {
    let mut running = Running::start().await;
    let sql = "SELECT table_name, table_comment FROM information_schema.tables WHERE table_schema = 'system' ORDER BY 1";
    let listed = running.query(sql).await.expect("answers");
    let names: Vec<_> = texts(&listed, "table_name").into_iter().flatten().collect();
    assert_eq!(names, ["queries", "sessions"]);
    assert_eq!(listed[0].column(1).null_count(), 0);
    let query = CommandStatementQuery {
        query: "SELECT * FROM system.queries".to_owned(),
        transaction_id: None,
    };
    let descriptor = FlightDescriptor::new_cmd(query.as_any().encode_to_vec());
    let client = running.client.inner_mut();
    client.get_schema(descriptor).await.expect("told");
}
