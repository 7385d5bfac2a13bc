//! Traces, as a receiver beside a live service gets them: every stage in its place, and nobody's data in any.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Instant;

use changes::Op;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::http;
use crate::notify::slack::Slack;
use crate::observability::{CANARIES, canary};
use crate::otlp::{Manner, Receiver, Span};
use crate::outsider::Outsider;
use crate::project::{PATIENCE, Project, free_address, text};

/// The trace of a client's own, and its span in it.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A short pause between two batches, in OpenTelemetry's own variable.
fn traced(project: Project, endpoint: &str) -> Project {
    project
        .set("traces.endpoint", endpoint)
        .with("OTEL_BSP_SCHEDULE_DELAY", "100")
        .with("OTEL_SERVICE_NAME", "sportlake-test")
}

#[test]
fn every_part_of_the_way_is_traced_and_nobody_is_named() {
    let receiver = Receiver::start(Manner::Takes);
    let slack = Slack::start();
    let project = Project::new()
        .set("generator.days", "5")
        .set("generator.rate", "0")
        .set("notify.enabled", "true")
        .set("notify.api", &slack.api())
        .set("notify.channel", "C1")
        // The outsider's clock stands in 2023.
        .set("notify.max_age_seconds", "3000000000")
        .with("SLACK_BOT_TOKEN", "xoxb-Zyxcanari");
    let project = traced(project, &receiver.url());
    let kafka = project.kafka();
    let mut up = project.start(&["up"]);
    let flight = up.address("grpc://");
    let page = up.address("http://");
    up.wait_for("caught up");
    let mut outsider = Outsider::connect(&kafka);
    outsider.send("employees", Op::Create, canary());
    outsider.send(
        "sport_activities",
        Op::Create,
        json!({
            "id": 900_077, "employee_id": 90_077, "date_debut": 1_700_000_000_000_000_i64,
            "type_activite": "Running", "distance_m": 10_800, "duree_s": 2760,
            "commentaire": format!("avec {}", CANARIES[1]),
        }),
    );
    outsider.flush();
    let deadline = Instant::now() + PATIENCE;
    while project.rows("SELECT count(*) FROM silver.employees WHERE id = 90077") != ["1"] {
        assert!(Instant::now() < deadline, "the canary does not come");
    }
    let exported = http::get(&page, "/export/silver.employees.csv");
    assert!(exported.contains(CANARIES[0]));
    let to_a_file = project.run(&["export", "silver.employees", "--out", "all.csv"]);
    assert!(to_a_file.status.success(), "{}", text(&to_a_file.stderr));
    let asked_by_flight = asks(&flight);
    slack.wait_until_answered(1);

    receiver.wait_for(
        "export",
        &[("table", "silver.employees"), ("outcome", "whole")],
    );
    receiver.wait_for("export", &[("format", "csv"), ("rows", "162")]);
    receiver.wait_for("ingest.commit", &[("table", "employees"), ("rows", "1")]);
    receiver.wait_for("notify.call", &[("activities", "1"), ("outcome", "posted")]);
    up.signal(Signal::SIGINT);
    up.end();

    let spans = receiver.spans();
    an_epoch_has_its_tables(&spans);
    a_statement_has_its_stages(&spans);
    if asked_by_flight {
        a_statement_continues_its_clients_trace(&spans);
    }
    for span in &spans {
        assert_eq!(span.service, "sportlake-test");
        assert_eq!(span.events, 0, "{span:?}");
    }
    let log = up.transcript();
    for canary in CANARIES {
        assert!(!receiver.holds(canary), "{canary} is in the traces");
        assert!(!log.contains(canary), "{canary} is in the log");
    }
    assert!(receiver.holds("silver.employees"), "bodies are searched");
    assert!(!log.contains("trace"), "{log}");
}

/// Asks over Flight, by a text with somebody's values, once within a trace of the client's own.
fn asks(flight: &str) -> bool {
    let Some(python) = std::env::var_os("SPORTLAKE_TEST_PYTHON") else {
        return false;
    };
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let sql = format!(
        "SELECT count(*) AS n FROM silver.employees WHERE nom = '{}' OR salaire_brut = {}",
        CANARIES[0], CANARIES[2]
    );
    let script = "import sys\nfrom adbc_driver_flightsql import dbapi\n\
        for more in ({'adbc.flight.sql.rpc.call_header.traceparent': sys.argv[2]}, {}):\n\
        \x20   with dbapi.connect(sys.argv[1], db_kwargs=more) as c, c.cursor() as s:\n\
        \x20       s.execute(sys.argv[3]); assert s.fetchall() == [(1,)]\n";
    let output = Command::new(python)
        .args(["-c", script, flight, &parent, &sql])
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    true
}

fn named<'a>(spans: &'a [Span], name: &'a str) -> impl Iterator<Item = &'a Span> {
    spans.iter().filter(move |span| span.name == name)
}

/// The span that another is below, in the same trace.
#[track_caller]
fn above<'a>(spans: &'a [Span], span: &Span) -> &'a Span {
    let found = spans
        .iter()
        .find(|other| other.id == span.parent && other.trace == span.trace);
    found.unwrap_or_else(|| unreachable!("nothing is above {span:?}"))
}

#[track_caller]
fn an_epoch_has_its_tables(spans: &[Span]) {
    let mut tables = 0;
    for table in named(spans, "refresh.table") {
        let epoch = above(spans, table);
        assert_eq!(epoch.name, "refresh.epoch");
        assert_eq!(epoch.attributes["epoch"], table.attributes["epoch"]);
        let outcome = table.attributes["outcome"].as_str();
        assert!(matches!(outcome, "made" | "held"), "{table:?}");
        assert!(table.attributes.contains_key("table"), "{table:?}");
        tables += 1;
    }
    assert!(tables > 8, "{tables}");
    for publish in named(spans, "refresh.publish") {
        assert_eq!(above(spans, publish).attributes["outcome"], "published");
    }
    let employees = spans.iter().find(|span| {
        span.is(
            "refresh.table",
            &[("table", "silver.employees"), ("rows", "162")],
        )
    });
    let employees = employees.expect("the table with one more row");
    assert!(
        employees.attributes["rows_written"]
            .parse::<u64>()
            .expect("a number")
            >= 1
    );
}

#[track_caller]
fn a_statement_has_its_stages(spans: &[Span]) {
    let mut stages: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in ["plan", "queue", "run", "stream"] {
        for stage in named(spans, &format!("statement.{name}")).collect::<Vec<_>>() {
            let statement = above(spans, stage);
            assert_eq!(statement.name, "statement");
            stages.entry(statement.id.as_str()).or_default().push(name);
        }
    }
    let export = spans
        .iter()
        .find(|span| span.is("export", &[("table", "silver.employees")]))
        .expect("the page's export");
    let statement = named(spans, "statement")
        .find(|statement| statement.parent == export.id)
        .expect("the statement of the export");
    assert_eq!(statement.attributes["rows"], "162");
    assert_eq!(statement.attributes["outcome"], "ok");
    assert_eq!(statement.attributes["user"], "anonymous");
    assert_eq!(
        stages[statement.id.as_str()],
        ["plan", "queue", "run", "stream"]
    );
    let prepared = named(spans, "statement.prepare").find(|prepare| prepare.parent == export.id);
    let prepared = prepared.expect("its plan");
    assert_eq!(
        prepared.attributes["statement"],
        statement.attributes["statement"]
    );
}

/// What a client sends goes before the ticket; without it, the ticket brings both calls together.
#[track_caller]
fn a_statement_continues_its_clients_trace(spans: &[Span]) {
    let of_client: Vec<&Span> = spans.iter().filter(|span| span.trace == TRACE).collect();
    for name in ["statement.prepare", "statement"] {
        let found = of_client.iter().find(|span| span.name == name);
        let found = found.unwrap_or_else(|| unreachable!("no {name} in the client's trace"));
        assert_eq!(found.parent, PARENT, "{found:?}");
    }
    let own = named(spans, "statement").find(|statement| {
        statement.trace != TRACE
            && statement.attributes["rows"] == "1"
            && spans
                .iter()
                .any(|above| above.id == statement.parent && above.name == "statement.prepare")
    });
    own.expect("a statement below its plan");
}

#[test]
fn a_receiver_that_is_away_is_told_once_and_holds_nobody_up() {
    let address = free_address();
    let project = Project::new()
        .set("generator.days", "2")
        .set("generator.rate", "20")
        .set("traces.max_queued", "16");
    let project = traced(project, &format!("http://{address}"));
    let mut up = project.start(&["-v", "up"]);
    up.wait_for("caught up");
    // Several batches come to nothing while the tables go on.
    for _ in 0..3 {
        up.wait_for("epoch published");
    }
    let receiver = Receiver::at(&address, Manner::Takes);
    up.wait_for("traces are taken again");
    receiver.wait_for("refresh.epoch", &[("outcome", "published")]);
    up.signal(Signal::SIGINT);
    up.end();
    let log = up.transcript();
    for said in ["traces are not taken", "traces are taken again"] {
        assert_eq!(log.matches(said).count(), 1, "{log}");
    }
}

#[test]
fn a_receiver_that_never_answers_delays_no_epoch_and_no_end() {
    let receiver = Receiver::start(Manner::Silent);
    let project = Project::new()
        .set("generator.days", "2")
        .set("generator.rate", "20")
        .set("traces.max_queued", "16");
    let project = traced(project, &receiver.url());
    let mut up = project.start(&["up"]);
    up.wait_for("caught up");
    receiver.wait_for_calls(1);
    let rows = project.rows("SELECT count(*) FROM silver.sport_activities");
    let deadline = Instant::now() + PATIENCE;
    while project.rows("SELECT count(*) FROM silver.sport_activities") == rows {
        assert!(Instant::now() < deadline, "epochs stand still");
    }
    up.signal(Signal::SIGINT);
    assert_eq!(up.end().code(), Some(130), "{}", up.transcript());
}

#[test]
fn what_is_no_receiver_is_refused_and_what_is_turned_off_sends_nothing() {
    for (key, value) in [
        ("traces.endpoint", "collector:4317"),
        ("traces.sample", "2.0"),
        ("traces.max_queued", "0"),
    ] {
        let output = Project::new().set(key, value).run(&["check"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(key) && said.contains("hint: "), "{said}");
    }
    let receiver = Receiver::start(Manner::Takes);
    let project = Project::new()
        .set("generator.days", "2")
        .set("generator.rate", "0")
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.url());
    let mut up = project.start(&["up"]);
    up.wait_for("caught up");
    up.signal(Signal::SIGTERM);
    up.end();
    let found = receiver.wait_for("refresh.epoch", &[("outcome", "published")]);
    assert_eq!(found.service, "sportlake");
    let before = receiver.spans().len();
    let off = project.with("OTEL_SDK_DISABLED", "true");
    let output = off.run(&["export", "gold.indicateurs", "--out", "x.csv"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(receiver.spans().len(), before);
    let on = off.with("OTEL_SDK_DISABLED", "false");
    let output = on.run(&["export", "gold.indicateurs", "--out", "x.csv"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    // The last spans are sent before the process ends.
    receiver.wait_for("export", &[("rows", "1")]);
}
