//! What a person gets wrong: one clear message with a hint, the exit code of its kind, and nothing changed.

use std::net::TcpListener;
use std::process::Output;

use changes::{KafkaConfig, Purpose};
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::broker::Broker;
use crate::project::{PATIENCE, Project, text, variable};

#[track_caller]
fn refused(output: &Output, code: i32, message: &str, hint: &str) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.starts_with("error: "), "{said}");
    assert!(said.contains(message), "no \"{message}\" in {said}");
    assert!(
        said.contains("\nhint: ") && said.contains(hint),
        "no hint \"{hint}\" in {said}"
    );
    assert_eq!(text(&output.stdout), "");
}

/// Neither a lake nor a log was begun.
#[track_caller]
fn untouched(project: &Project) {
    assert!(!project.path("data").exists(), "something was written");
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest() {
    let project = Project::new();
    let sample = project
        .read("sportlake.toml")
        .replacen("listen = ", "lissten = ", 1);
    project.write("sportlake.toml", &sample);
    let output = project.run(&["up"]);
    refused(
        &output,
        2,
        "unknown key \"lissten\"",
        "Did you mean \"listen\"?",
    );
    assert!(text(&output.stderr).contains("sportlake.toml:"));
    untouched(&project);
}

#[test]
fn an_unknown_variable_is_named_with_the_nearest() {
    let project = Project::new().set("flight.lisen", "127.0.0.1:1");
    let output = project.run(&["status"]);
    refused(
        &output,
        2,
        "SPORTLAKE__FLIGHT__LISEN",
        "Did you mean \"listen\"?",
    );
    untouched(&project);
}

#[test]
fn a_configuration_that_is_not_there_is_not_found() {
    let project = Project::new();
    let output = project.run(&["--config", "nowhere/sportlake.toml", "status"]);
    refused(&output, 3, "nowhere/sportlake.toml", "--config");
}

#[test]
fn a_port_taken_is_a_conflict_that_names_the_key() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    for key in ["broker.listen", "flight.listen", "http.listen"] {
        let project = Project::new();
        let output = project
            .command(&["up"])
            .env(variable(key), &address)
            .output()
            .expect("the program runs");
        refused(&output, 5, &address, &variable(key));
        assert!(text(&output.stderr).contains(key));
        untouched(&project);
    }
}

#[test]
fn an_address_that_other_machines_reach_is_refused() {
    let project = Project::new();
    let output = project
        .command(&["up"])
        .env(variable("flight.listen"), "0.0.0.0:0")
        .output()
        .expect("the program runs");
    assert_ne!(output.status.code(), Some(0));
    assert!(
        text(&output.stderr).contains("hint: "),
        "{}",
        text(&output.stderr)
    );
    let output = project
        .command(&["serve", "--insecure"])
        .env(variable("flight.listen"), "0.0.0.0:0")
        .output()
        .expect("the program runs");
    // It goes on to look for the lake.
    refused(&output, 3, "lake", "up");
}

#[test]
fn a_lake_of_another_format_version_is_a_conflict() {
    let project = Project::new();
    std::fs::create_dir_all(project.path("data/lake")).expect("created");
    project.write("data/lake/_format", "sportlake lake format 999\n");
    for command in [["up"].as_slice(), &["query", "SELECT 1"], &["status"]] {
        let output = project.run(command);
        refused(&output, 5, "sportlake lake format 999", "lake.uri");
    }
    assert_eq!(
        project.read("data/lake/_format"),
        "sportlake lake format 999\n"
    );
}

#[test]
fn reading_a_lake_that_is_not_there_creates_none() {
    let project = Project::new();
    for command in [["query", "SELECT 1"].as_slice(), &["status"], &["serve"]] {
        refused(&project.run(command), 3, "there is no lake", "sportlake up");
    }
    untouched(&project);
}

#[test]
fn a_workbook_that_cannot_be_read_is_refused_and_nothing_is_begun() {
    let project = Project::new();
    let missing = project.run(&["hr", "import", "nowhere.xlsx"]);
    refused(&missing, 3, "nowhere.xlsx", "path");
    project.write("renamed.xlsx", "ID salarié;Nom\n1;Dupont\n");
    let renamed = project.run(&["hr", "import", "renamed.xlsx"]);
    refused(&renamed, 2, "renamed.xlsx", "");
    assert!(
        !text(&renamed.stderr).contains("Dupont"),
        "personal data in an error"
    );
    untouched(&project);
}

#[test]
fn a_project_with_mistakes_is_checked_with_nothing_running() {
    let project = Project::new();
    let sound = project.run(&["check"]);
    assert_eq!(sound.status.code(), Some(0), "{}", text(&sound.stdout));
    project.write("sql/gold/cycle.sql", "SELECT * FROM gold.cycle\n");
    project.write("sql/gold/directive.sql", "-- @kee id\nSELECT 1 AS id\n");
    project.write(
        "sql/gold/typo.sql",
        "SELECT employe_id FROM gold.eligibilites\n",
    );
    let output = project.run(&["check"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for expected in [
        "sql/gold/cycle.sql:",
        "sql/gold/directive.sql:1:",
        "sql/gold/typo.sql:1:8",
        "Did you mean \"key\"?",
        "employee_id",
        "^",
    ] {
        assert!(said.contains(expected), "no {expected} in {said}");
    }
    let json = project.run(&["check", "--output", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json.as_array().map(Vec::len), Some(3), "{json}");
    untouched(&project);
}

#[test]
fn help_names_every_command_and_each_has_an_example() {
    let project = Project::new();
    let help = text(&project.run(&["--help"]).stdout);
    for command in [
        "up",
        "check",
        "refresh",
        "status",
        "query",
        "generate",
        "ingest",
        "serve",
        "doctor",
        "completions",
    ] {
        assert!(
            help.contains(&format!("\n  {command} ")),
            "no {command} in {help}"
        );
        let output = project.run(&[command, "--help"]);
        assert!(output.status.success());
        assert!(
            text(&output.stdout).contains("Example:\n  "),
            "{command} has no example"
        );
    }
}

#[test]
fn an_unknown_command_is_a_usage_error_with_the_nearest() {
    let output = Project::new().run(&["querry", "SELECT 1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("'query'"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_statement_that_is_no_text_is_refused() {
    let project = Project::new();
    project.write("statement", "");
    std::fs::write(project.path("statement"), b"SELECT '\xff'").expect("written");
    let file = std::fs::File::open(project.path("statement")).expect("there");
    let mut command = project.command(&["query", "-"]);
    let output = command.stdin(file).output().expect("it runs");
    refused(&output, 2, "cannot be read as a statement", "UTF-8");
}

#[test]
fn commute_leaves_a_database_and_in_a_dry_run_the_topics_alone() {
    let broker = Broker::start(tempfile::tempdir().expect("a folder").keep());
    let project = Project::new().set("kafka.brokers", &broker.address);
    let output = project.run(&["commute", "--dry-run"]);
    refused(
        &output,
        3,
        "there are no employees yet",
        "sportlake hr import",
    );
    let kafka = KafkaConfig::default().with_brokers(&broker.address);
    let client: BaseConsumer = kafka.client(&Purpose::Consume).create().expect("a client");
    let seen = client.fetch_metadata(None, PATIENCE).expect("an answer");
    let names: Vec<&str> = seen.topics().iter().map(|topic| topic.name()).collect();
    assert!(
        !names.iter().any(|name| name.contains(".public.")),
        "{names:?}"
    );
    drop(client);

    let project = project.set("source.postgres", "postgres://a:b@127.0.0.1:1/c");
    let output = project.run(&["commute"]);
    refused(
        &output,
        6,
        "no PostgreSQL answers at \"127.0.0.1:1\"",
        "Check source.postgres",
    );
}

#[test]
fn output_that_nobody_can_take_is_told_and_output_that_nobody_wants_is_not() {
    let project = Project::new();
    let full = std::fs::File::options().write(true).open("/dev/full");
    let mut command = project.command(&["completions", "bash"]);
    let output = command.stdout(full.expect("a full disk")).output();
    let output = output.expect("the program runs");
    refused(&output, 7, "standard output cannot be written", "Make room");

    // More than is written at once, too.
    let unknown = |file| {
        let fields: Vec<String> = (0..60)
            .map(|n| format!("after ->> 'field_{n}_of_nobody' AS c{file}_{n}"))
            .collect();
        format!("SELECT {} FROM bronze.employees", fields.join(", "))
    };
    for file in 0..20 {
        project.write(&format!("sql/gold/wide_{file}.sql"), &unknown(file));
    }
    for arguments in [&["completions", "bash"][..], &["check", "--output", "json"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = project.command(arguments);
        let output = command.stdout(writer).output().expect("the program runs");
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "");
    }
}
