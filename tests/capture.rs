//! `up` beside a PostgreSQL: its rows and no invented ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::otlp::{Manner, Receiver};
use crate::ports::free_port;
use crate::postgres::{Database, PASSWORD, Server};
use crate::project::{Project, text, variable};

const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn up_captures_a_postgres_and_invents_nothing_beside_it() {
    let Some(server) = Server::start(&["wal_level=logical"]) else {
        return;
    };
    let database = Database::on(Arc::new(server), "t_up");
    let employee = |id: i64| {
        format!(
            "INSERT INTO employees (id, nom, prenom, bu, salaire_brut, moyen_deplacement)
                VALUES ({id}, 'Martin', 'Zoé', 'R&D', 30940, 'Marche/running')"
        )
    };
    database.sql(&employee(90_001));
    let receiver = Receiver::start(Manner::Takes);
    let project = Project::new()
        .set(
            "source.postgres",
            &database.url_of("sportlake_cdc", PASSWORD, ""),
        )
        .set("cdc.look_seconds", "1")
        .set("traces.endpoint", &receiver.url());
    let mut up = project.start(&["up"]);
    up.wait_for("capturing the changes of sportlake_cdc@127.0.0.1");
    database.sql(&employee(90_002));
    let began = Instant::now();
    let ids = "SELECT id FROM silver.employees ORDER BY id";
    loop {
        let output = project.run(&["query", "--output", "csv", ids]);
        let found = text(&output.stdout);
        if output.status.success() && found.contains("90002") {
            assert_eq!(found.lines().collect::<Vec<_>>(), ["id", "90001", "90002"]);
            break;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "{found}{}",
            text(&output.stderr)
        );
        std::thread::sleep(Duration::from_millis(500));
    }
    // The first load of a table, and a commit, which stands for a position in the log.
    let load = receiver.wait_for("cdc.publish", &[("messages", "1")]);
    assert!(!load.attributes.contains_key("lsn"), "{load:?}");
    let deadline = Instant::now() + PATIENCE;
    while !receiver
        .spans()
        .iter()
        .any(|span| span.name == "cdc.publish" && span.attributes.contains_key("lsn"))
    {
        assert!(Instant::now() < deadline, "no commit is traced");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(!receiver.holds("Martin"));
    // The broker is up's: commands find it, and who captures too is refused.
    let listed = project.run(&["topics", "list", "--output", "csv"]);
    assert!(
        text(&listed.stdout).contains("sportsdata.public.employees,1,1"),
        "{}",
        text(&listed.stdout)
    );
    let second = project.run(&["cdc"]);
    assert_eq!(second.status.code(), Some(5), "{}", text(&second.stderr));
    assert!(
        text(&second.stderr).contains("another capture is at work"),
        "{}",
        text(&second.stderr)
    );

    // What ends the capture is told, and ends nothing else.
    database.sql("ALTER ROLE sportlake_cdc NOLOGIN");
    database.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'sportlake_cdc'",
    );
    up.wait_for("changes of PostgreSQL do not come any more");
    let served = project.run(&["query", "--output", "csv", ids]);
    assert!(served.status.success(), "{}", text(&served.stderr));
    database.sql("ALTER ROLE sportlake_cdc LOGIN");
    up.wait_for("capturing the changes of sportlake_cdc@127.0.0.1");
    up.kill();
}

#[test]
fn up_waits_for_a_postgres_that_is_away_and_refuses_one_that_does_not_let_it_in() {
    let Some(server) = Server::start(&["wal_level=logical"]) else {
        return;
    };
    let database = Database::on(Arc::new(server), "t_away");
    let away = format!("postgres://sportlake_cdc:x@127.0.0.1:{}/away", free_port());
    let project = Project::new().set("source.postgres", &away);
    let mut up = project.start(&["up"]);
    up.wait_for("changes of PostgreSQL do not come any more");
    up.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(up.end().code(), Some(0), "{}", up.transcript());

    let wrong = database.url_of("sportlake_cdc", "wrong", "");
    let refused = Project::new().set("source.postgres", &wrong).run(&["up"]);
    assert_eq!(refused.status.code(), Some(4), "{}", text(&refused.stderr));
}

#[test]
fn a_dry_run_asks_the_brokers_too() {
    let Some(server) = Server::start(&["wal_level=logical"]) else {
        return;
    };
    let database = Database::on(Arc::new(server), "t_dry");
    let broker = Broker::start(tempfile::tempdir().expect("a folder").keep());
    let source = database.url_of("sportlake_cdc", PASSWORD, "");
    let project = Project::new().set("source.postgres", &source);
    let planned = |key: &str, value: &str, code: i32| {
        let mut command = project.command(&["cdc", "--dry-run", "--output", "csv"]);
        command.env(variable("kafka.brokers"), &broker.address);
        let output = command.env(variable(key), value).output();
        let output = output.expect("it runs");
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        said
    };
    let loads = "public.employees,sportsdata.public.employees,,load";
    let said = planned("cdc.create_topics", "true", 0);
    assert!(said.contains(loads), "{said}");
    let said = planned("kafka.brokers", "embedded", 0);
    assert!(said.contains(loads), "nobody is asked: {said}");
    let said = planned("cdc.create_topics", "false", 3);
    assert!(said.contains("cdc.create_topics = true"), "{said}");
    let said = planned("kafka.brokers", "127.0.0.1:1", 6);
    assert!(said.contains("kafka.brokers"), "{said}");
}

#[test]
fn topics_are_made_from_the_configuration_and_once() {
    let project = Project::new().set("topics.retention_hours", "24");
    let dry = project.run(&["topics", "create", "--dry-run", "--output", "csv"]);
    assert!(dry.status.success(), "{}", text(&dry.stderr));
    let expected = "sportsdata.public.sport_activities,topic,,partitions=3 replication=default retention.ms=86400000,create";
    assert!(
        text(&dry.stdout).contains(expected),
        "{}",
        text(&dry.stdout)
    );
    let made = project.run(&["topics", "create", "--output", "csv"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let again = project.run(&["topics", "create", "--output", "csv"]);
    assert!(again.status.success(), "{}", text(&again.stderr));
    let again = text(&again.stdout);
    assert_eq!(again.matches("as it is").count(), 4, "{again}");
    let described = project.run(&["topics", "describe", "--output", "json"]);
    let topics: serde_json::Value = serde_json::from_slice(&described.stdout).expect("JSON");
    assert_eq!(topics[3]["partitions"], "3", "{topics}");
    let differing = project
        .command(&["topics", "create"])
        .env("SPORTLAKE__TOPICS__RETENTION_HOURS", "48")
        .output()
        .expect("it runs");
    assert_eq!(
        differing.status.code(),
        Some(1),
        "{}",
        text(&differing.stderr)
    );
    let absent = project.run(&["topics", "describe", "a.b.c"]);
    assert_eq!(absent.status.code(), Some(3));
}
