//! The copy that docs/operations.md describes, made while `up` writes, brought back in another folder. And the units
//! of systemd beside it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::crash::{no_offset_is_there_twice_or_missing, write};
use crate::outsider::Outsider;
use crate::parts::missing;
use crate::project::{PATIENCE, Project, text};
use crate::truth::Truth;

/// Copies that one run of the service gives; each is taken while it writes.
const COPIES: usize = 3;

/// Ids of what is written after a copy are others: changes of one row whose positions fall are of no one source.
const FIRST_AFTER: i64 = 1 << 20;

fn systemd(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("docker/systemd").join(name)
}

fn back_up(project: &Project, to: &Path) -> std::process::Output {
    Command::new("bash")
        .arg(systemd("backup.sh"))
        .args([&project.path("data"), to])
        .output()
        .expect("bash runs")
}

#[test]
fn a_copy_of_a_live_lake_goes_on_elsewhere_with_nothing_lost_or_twice() {
    let project = Project::new()
        .set("generator.days", "30")
        .set("generator.rate", "200")
        .set("upkeep.interval_seconds", "1")
        .set("broker.segment_bytes", "1048576");
    project.write("data/notify/journal", "of a role");
    let kafka = project.kafka();
    let mut up = project.start(&["up"]);
    up.wait_for("caught up");
    let folder = tempfile::tempdir().expect("a folder");
    let mut outsider = Outsider::connect(&kafka);
    let over = AtomicBool::new(false);
    let mut sure = Vec::new();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| write(&mut outsider, 0, &over));
        for copy in 0..COPIES {
            std::thread::sleep(Duration::from_secs(1));
            let held = messages_in_bronze(&project);
            let copied = back_up(&project, &folder.path().join(copy.to_string()));
            assert!(copied.status.success(), "{}", text(&copied.stderr));
            let journal = folder.path().join(format!("{copy}/notify/journal"));
            let journal = std::fs::read_to_string(journal).expect("copied");
            assert_eq!(journal, "of a role");
            sure.push(held);
        }
        over.store(true, Ordering::Relaxed);
        writing.join().expect("the producer goes on");
    });
    drop(up);
    for (copy, held) in sure.into_iter().enumerate() {
        goes_on(&folder.path().join(copy.to_string()), held);
    }
}

fn messages_in_bronze(project: &Project) -> u64 {
    let rows = project.rows("SELECT count(*) FROM bronze.sport_activities");
    rows[0].parse().expect("a number")
}

/// A project that has nothing but the copy: gold is made anew, and what comes is taken in.
#[track_caller]
fn goes_on(copy: &Path, held: u64) {
    let restored = Project::new()
        .set("generator.days", "30")
        .set("generator.rate", "20");
    let moved = Command::new("cp")
        .arg("-a")
        .args([copy, &restored.path("data")])
        .status();
    assert!(moved.expect("cp runs").success());
    let kafka = restored.kafka();
    let mut up = restored.start(&["up"]);
    up.wait_for("caught up");
    let mut outsider = Outsider::connect(&kafka);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| write(&mut outsider, FIRST_AFTER, &over));
        std::thread::sleep(Duration::from_secs(1));
        over.store(true, Ordering::Relaxed);
        writing.join().expect("the producer goes on");
    });
    outsider.flush();
    let wanted = held + outsider.acknowledged().len() as u64;
    let deadline = Instant::now() + PATIENCE;
    while messages_in_bronze(&restored) < wanted {
        assert!(Instant::now() < deadline, "{}", up.transcript());
    }
    if let Some(truth) = Truth::new(&restored, &kafka) {
        truth.check(false);
    }
    no_offset_is_there_twice_or_missing(&restored);
}

#[test]
fn a_copy_says_what_it_cannot_do() {
    let project = Project::new();
    std::fs::create_dir_all(project.path("data")).expect("created");
    let nothing = back_up(&project, &project.path("copy"));
    assert_eq!(nothing.status.code(), Some(1));
    assert!(text(&nothing.stderr).contains("there is no lake"));

    project.write("data/lake/_format", "sportlake lake format 1\n");
    let log = "data/lake/bronze/employees/_delta_log";
    for version in [3, 4, 6] {
        project.write(&format!("{log}/{version:020}.json"), "{}");
    }
    let torn = back_up(&project, &project.path("copy"));
    assert_eq!(torn.status.code(), Some(1));
    assert!(
        text(&torn.stderr).contains("version 5 of"),
        "{}",
        text(&torn.stderr)
    );
    let again = back_up(&project, &project.path("copy"));
    assert!(text(&again.stderr).contains("is there already"));
}

#[test]
fn every_unit_is_valid_hardened_and_starts_what_exists() {
    let project = Project::new();
    let folder = tempfile::tempdir().expect("a folder");
    let mut units = Vec::new();
    for entry in std::fs::read_dir(systemd("")).expect("units") {
        let path = entry.expect("an entry").path();
        if path
            .extension()
            .is_none_or(|extension| extension != "service")
        {
            continue;
        }
        let unit = std::fs::read_to_string(&path).expect("a unit");
        let started = unit
            .lines()
            .find_map(|line| line.strip_prefix("ExecStart="));
        let final_codes = unit
            .lines()
            .find_map(|line| line.strip_prefix("RestartPreventExitStatus="));
        // Whatever `notify` is told that does not exist, Slack's or a file, is somebody's to mend.
        let expected = match path.ends_with("sportlake-notify.service") {
            true => "2 3 4",
            false => "2 4",
        };
        assert_eq!(final_codes, Some(expected), "{}", path.display());
        let mut words = started.expect("ExecStart").split(' ');
        assert_eq!(words.next(), Some("/usr/local/bin/sportlake"));
        assert_eq!(words.next(), Some("--config"));
        assert_eq!(words.next(), Some("/var/lib/sportlake/sportlake.toml"));
        let arguments: Vec<&str> = words.chain(["--help"]).collect();
        let help = project.run(&arguments);
        assert!(
            help.status.success(),
            "{}: {}",
            path.display(),
            text(&help.stderr)
        );
        // The program need not be installed where the units are checked.
        let copy = folder.path().join(path.file_name().expect("a name"));
        std::fs::write(&copy, unit.replace("/usr/local/bin/sportlake", "/bin/true"))
            .expect("written");
        units.push(copy);
    }
    assert!(units.len() >= 6, "{units:?}");
    let analyze = |arguments: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        command.args(arguments).args(&units).stdin(Stdio::null());
        command.output().ok()
    };
    for arguments in [
        &["verify", "--man=no"][..],
        &["security", "--offline=true", "--threshold=20", "--no-pager"],
    ] {
        let Some(output) = analyze(arguments) else {
            missing("systemd-analyze");
            return;
        };
        let said = text(&output.stderr) + &text(&output.stdout);
        assert!(output.status.success(), "{said}");
        assert!(
            arguments[0] != "verify" || text(&output.stderr).is_empty(),
            "{said}"
        );
    }
}
