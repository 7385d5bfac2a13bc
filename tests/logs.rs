//! Standard error as JSON: every line of every role, and nothing of anybody in it.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use changes::Op;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::notify::slack::Reply;
use crate::notify::{CANARY, Stage, activity};
use crate::project::{PATIENCE, Project};
use crate::truth::newest_manifest;

/// A role whose standard error goes into a file, so that nothing else is among its lines.
struct Role {
    name: &'static str,
    process: Child,
}

impl Role {
    fn start(project: &Project, name: &'static str, arguments: &[&str]) -> Self {
        let mut command = project.command(&[&["-vv"][..], arguments].concat());
        Self {
            name,
            process: logging(&mut command, project, name)
                .spawn()
                .expect("the program starts"),
        }
    }

    fn stop(mut self) {
        let id = i32::try_from(self.process.id()).expect("a pid");
        kill(Pid::from_raw(id), Signal::SIGTERM).expect("signalled");
        assert!(
            self.process.wait().expect("reaped").success(),
            "{}",
            self.name
        );
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn logging<'a>(command: &'a mut Command, project: &Project, name: &str) -> &'a mut Command {
    let file = File::create(project.path(name)).expect("a file");
    command
        .env("SPORTLAKE__LOG__FORMAT", "json")
        .stdout(Stdio::null())
        .stderr(file)
}

#[track_caller]
fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} does not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Each line as it was meant: with a time, a level and a message.
#[track_caller]
fn lines(project: &Project, name: &str) -> Vec<Value> {
    let said = project.read(name);
    assert!(!said.contains(CANARY), "{name}: {said}");
    let lines = said.lines().map(|line| {
        let read = serde_json::from_str::<Value>(line);
        assert!(read.is_ok(), "{name}: {line}");
        let line = read.unwrap_or_default();
        let time = line["timestamp"].as_str().unwrap_or_default();
        assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok(), "{line}");
        let level = line["level"].as_str().unwrap_or_default();
        assert!(
            ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"].contains(&level),
            "{line}"
        );
        assert!(
            line["fields"]["message"].is_string() && line["target"].is_string(),
            "{line}"
        );
        line
    });
    lines.collect()
}

#[test]
fn every_line_of_every_role_is_an_object_and_names_nobody() {
    let mut stage = Stage::new("skip");
    let project = &stage.project;
    stage.slack.script([Reply::Error("channel_not_found")]);
    let ingest = Role::start(project, "ingest", &["ingest"]);
    let refresh = Role::start(project, "refresh", &["refresh", "--watch"]);
    let notify = Role::start(project, "notify", &["notify"]);
    stage
        .outsider
        .send("sport_activities", Op::Create, activity(1, "Running"));
    let torn = format!("{{\"after\": {{\"commentaire\": \"{CANARY}\"");
    stage
        .outsider
        .send_bytes("sport_activities", CANARY.as_bytes(), torn.as_bytes());
    stage.outsider.flush();
    wait_until("the message", || {
        project
            .read("notify")
            .contains("Slack takes messages again")
    });
    wait_until("an epoch", || newest_manifest(project).is_some());
    let serve = Role::start(project, "serve", &["serve"]);
    wait_until("a line", || project.read("serve").contains('\n'));
    for role in [ingest, refresh, notify, serve] {
        let name = role.name;
        role.stop();
        let lines = lines(project, name);
        assert!(!lines.is_empty(), "{name}");
    }
    let refused = lines(project, "notify");
    let refused = refused.iter().find(|line| {
        line["fields"]["message"]
            .to_string()
            .contains("channel_not_found")
    });
    assert_eq!(refused.expect("Slack's refusal")["level"], "ERROR");
}

/// What a command says of its work and of its end is on the same stream.
#[test]
fn notes_progress_and_errors_of_commands_are_objects_too() {
    let project = Project::new()
        .set("generator.days", "2")
        .with("GOOGLE_MAPS_API_KEY", "");
    let run = |name: &str, arguments: &[&str]| {
        let mut command = project.command(arguments);
        let ended = logging(&mut command, &project, name).status();
        (ended.expect("it runs").code(), lines(&project, name))
    };
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("sources/samples");
    let workbook = samples.join("employes.xlsx").display().to_string();
    let (code, said) = run("import", &["hr", "import", &workbook]);
    assert_eq!(code, Some(0), "{said:?}");
    let (code, said) = run("generate", &["generate", "--once"]);
    assert_eq!(code, Some(0), "{said:?}");
    let messages: Vec<&str> = said
        .iter()
        .filter_map(|line| line["fields"]["message"].as_str())
        .collect();
    let summary = messages
        .iter()
        .find(|line| line.contains("of the first load"));
    assert!(summary.is_some(), "{messages:?}");

    let (code, said) = run("refused", &["commute", "--provider", "google"]);
    assert_eq!(code, Some(4), "{said:?}");
    let last = said.last().expect("an error");
    assert_eq!(last["level"], "ERROR");
    let message = last["fields"]["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with("error: there is no key for \"google\"\nhint: "),
        "{message}"
    );
}
