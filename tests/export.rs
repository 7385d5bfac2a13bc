//! Exported files, read back by the programs that people have: their rows are those of the lake, whoever asks.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use changes::Op;
use serde_json::json;

use crate::http;
use crate::outsider::Outsider;
use crate::parts::part;
use crate::project::{PATIENCE, Project, text};

/// A name that a spreadsheet would run.
const HOSTILE: &str = "=HYPERLINK(\"http://x\";\"Été\")";

#[test]
fn exports_hold_what_the_lake_does_and_what_a_role_sees() {
    let project = Project::new()
        .set("generator.days", "5")
        .set("generator.rate", "0");
    let mut up = project.start(&["up"]);
    up.wait_for("caught up");
    let mut outsider = Outsider::connect(&project.kafka());
    outsider.send(
        "employees",
        Op::Create,
        json!({
            "id": 90_001, "nom": HOSTILE, "prenom": "-1", "date_naissance": 7000, "bu": "R&D", "date_embauche": 18000,
            "salaire_brut": "30000.07", "type_contrat": "CDI", "jours_cp": 25, "adresse": null,
            "moyen_deplacement": "Marche/running",
        }),
    );
    outsider.flush();
    while project.rows("SELECT count(*) FROM silver.employees WHERE id = 90001") != ["1"] {}

    programs_read_the_same_rows(&project);
    a_role_gets_what_it_sees(&project);
    an_epoch_is_exported_as_it_was(&project);
    what_fails_leaves_what_was_there(&project);
    what_cannot_work_is_refused(&project);
}

/// What the command said, given its exit code.
#[track_caller]
fn export(project: &Project, code: i32, arguments: &[&str]) -> String {
    let output = project.run(&[&["export"], arguments].concat());
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    said
}

fn programs_read_the_same_rows(project: &Project) {
    let sql = "SELECT id, nom, prenom, date_embauche, salaire_brut, adresse FROM silver.employees ORDER BY id";
    for arguments in [
        &["--out", "rows.csv"][..],
        &["--out", "fr.csv", "--excel", "fr"],
        &["--out", "rows.parquet"],
        &["--out", "rows.xlsx"],
    ] {
        let said = export(project, 0, &[&["--sql", sql], arguments].concat());
        assert!(said.contains("rows of epoch"), "{said}");
    }
    let query = project.rows(sql);
    for name in ["rows.csv", "fr.csv", "rows.parquet", "rows.xlsx"] {
        is_its_owners_alone(&project.path(name));
    }
    let piped = project.run(&["export", "--sql", sql, "--format", "csv", "--out", "-"]);
    assert_eq!(
        piped.stdout,
        std::fs::read(project.path("rows.csv")).expect("a file")
    );
    assert_eq!(text(&piped.stdout).lines().count(), query.len() + 1);

    let Some(python) = part("SPORTLAKE_TEST_PYTHON") else {
        return;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/exports.py");
    let read = Command::new(python)
        .args([script, HOSTILE, &query.len().to_string()])
        .current_dir(project.path("."))
        .output()
        .expect("Python runs");
    assert!(read.status.success(), "{}", text(&read.stderr));
}

#[track_caller]
fn is_its_owners_alone(path: &Path) {
    let mode = std::fs::metadata(path)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600, "{}", path.display());
}

fn a_role_gets_what_it_sees(project: &Project) {
    let manager = ["--as", "manager", "--attribute", "bu=Marketing"];
    let asked = [
        &["query", "--output", "csv"],
        &manager[..],
        &["SELECT * FROM gold.eligibilites"],
    ]
    .concat();
    let seen = text(&project.run(&asked).stdout);
    // Others may read what was there, and not what takes its name.
    project.write("unit.csv", "what was there");
    let open = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(project.path("unit.csv"), open).expect("changed");
    export(
        project,
        0,
        &[&["gold.eligibilites", "--out", "unit.csv"], &manager[..]].concat(),
    );
    is_its_owners_alone(&project.path("unit.csv"));
    let exported = project.read("unit.csv");
    let sorted = |csv: &str| {
        let mut lines: Vec<String> = csv.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&exported), sorted(&seen));
    assert!(exported.lines().count() > 5, "{exported}");
    let header = exported.lines().next().expect("a header");
    assert!(!header.contains("distance_km"), "{header}");

    let salaries = [
        "--sql",
        "SELECT salaire_brut FROM silver.employees",
        "--out",
        "unit.csv",
    ];
    let said = export(project, 2, &[&salaries[..], &manager[..]].concat());
    assert!(said.contains("no column"), "{said}");
    assert_eq!(project.read("unit.csv"), exported);
    let said = export(
        project,
        3,
        &["gold.eligibilites", "--out", "x.csv", "--as", "manger"],
    );
    assert!(said.contains("manager"), "{said}");
}

fn an_epoch_is_exported_as_it_was(project: &Project) {
    let newest = export(project, 0, &["gold.indicateurs", "--out", "now.csv"]);
    let epoch = newest
        .split("epoch ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .expect("an epoch");
    export(
        project,
        0,
        &["gold.indicateurs", "--epoch", epoch, "--out", "then.csv"],
    );
    assert_eq!(project.read("now.csv"), project.read("then.csv"));
    let said = export(
        project,
        3,
        &["gold.indicateurs", "--epoch", "999999", "--out", "x.csv"],
    );
    assert!(said.contains("no epoch 999999"), "{said}");
}

/// Neither a torn file nor one beside it.
fn what_fails_leaves_what_was_there(project: &Project) {
    project.write("kept.csv", "what was there");
    let halfway = "SELECT id, CASE WHEN id = 90001 THEN CAST(nom AS BIGINT) ELSE id END AS n FROM silver.employees";
    let said = export(project, 2, &["--sql", halfway, "--out", "kept.csv"]);
    // Rows of other partitions may have come before.
    assert!(said.contains("error: "), "{said}");
    let long = "SELECT repeat('x', 40000) AS t";
    let said = export(
        project,
        7,
        &["--sql", long, "--out", "kept.csv", "--format", "xlsx"],
    );
    assert!(
        said.contains("32767 letters") && said.contains("hint: "),
        "{said}"
    );
    let said = export(
        project,
        0,
        &["gold.eligibilites", "--out", "kept.csv", "--dry-run"],
    );
    assert!(said.contains("nothing written"), "{said}");
    assert_eq!(project.read("kept.csv"), "what was there");
    let left: Vec<String> = std::fs::read_dir(project.path("."))
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| name.ends_with(".part"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

fn what_cannot_work_is_refused(project: &Project) {
    for (code, arguments, message) in [
        (
            2,
            &["gold.indicateurs", "--out", "x"][..],
            "nothing says what to write",
        ),
        (
            2,
            &["gold.indicateurs", "--out", "-"],
            "nothing says what to write",
        ),
        (
            2,
            &["gold.indicateurs", "--out", "x.xlsx", "--bom"],
            "are of CSV",
        ),
        (
            2,
            &["gold.indicateurs", "--out", "x.csv", "--separator", "|"],
            "a separator is",
        ),
        (
            2,
            &["gold.indicateurs", "--out", "/dev/null", "--format", "csv"],
            "is no file",
        ),
        (
            3,
            &["gold.indicateurs", "--out", "none/x.csv"],
            "there is no folder",
        ),
        (2, &["gold.indicateur", "--out", "x.csv"], "indicateur"),
        (
            2,
            &["--sql", "DELETE FROM gold.indicateurs", "--out", "x.csv"],
            "error: ",
        ),
        (2, &["--out", "x.csv"], "error: "),
    ] {
        let said = export(project, code, arguments);
        assert!(said.contains(message), "{arguments:?}: {said}");
    }
    assert!(!project.path("x.csv").exists() && !project.path("x.xlsx").exists());
    assert!(!Path::new("/dev/null").is_file());
}

/// The same at once over HTTP: each is answered whole or refused in one way, in bounded memory, and one user who asks a
/// thousand times leaves room for another.
#[test]
fn a_thousand_exports_at_once_are_whole_or_refused_and_leave_room_for_others() {
    const ASKED: usize = 1000;
    const MOST_GROWTH: u64 = 256 << 20;
    let project = Project::new()
        .set("generator.days", "30")
        .set("generator.rate", "0")
        .with("SPORTLAKE_PASSWORD", "correct horse battery");
    for user in ["rose", "paul"] {
        let added = project.run(&["user", "add", user, "--role", "rh"]);
        assert!(added.status.success(), "{}", text(&added.stderr));
    }
    let mut up = project.start(&["up"]);
    let page = up.address("http://");
    up.wait_for("caught up");
    let [rose, paul] = ["rose", "paul"].map(|user| http::sign_in(&page, user));
    let files =
        ["csv", "parquet", "xlsx"].map(|format| format!("/export/silver.employees.{format}"));
    let wanted: Vec<usize> = files
        .iter()
        .map(|file| {
            let answer = http::fetch(&page, file, &paul).expect("answered");
            assert_eq!(answer.status, 200, "{}", text(&answer.body));
            answer.body.len()
        })
        .collect();

    let process = Process(up.id());
    let (files_before, before) = (process.open_files(), process.resident());
    process.forget_peak();
    let (start, ended) = (Barrier::new(ASKED + 1), AtomicUsize::new(0));
    let (mut whole, mut beside) = (0, 0);
    std::thread::scope(|scope| {
        let ask = |nth: usize| {
            let format = nth % files.len();
            let stream = http::connect(&page);
            start.wait();
            let answer = stream.and_then(|stream| http::ask_by(stream, &files[format], &rose));
            ended.fetch_add(1, Ordering::Relaxed);
            (answer, wanted[format])
        };
        let asking: Vec<_> = (0..ASKED)
            .map(|nth| {
                let thread = std::thread::Builder::new().stack_size(256 << 10);
                thread
                    .spawn_scoped(scope, move || ask(nth))
                    .expect("a thread")
            })
            .collect();
        start.wait();
        while ended.load(Ordering::Relaxed) < ASKED {
            let answer = http::fetch(&page, &files[0], &paul).expect("answered");
            assert_eq!(answer.status, 200, "{}", text(&answer.body));
            beside += 1;
        }
        for thread in asking {
            let (answer, length) = thread.join().expect("answered");
            let answer = answer.expect("an answer, not a broken connection");
            match answer.status {
                // The same rows compress otherwise in another order.
                200 => {
                    assert!(answer.body.len().abs_diff(length) < length / 10);
                    whole += 1;
                }
                429 => {
                    assert!(answer.head.contains("retry-after: "), "{}", answer.head);
                    let said = text(&answer.body);
                    assert_eq!(said.matches("exports run already").count(), 1, "{said}");
                }
                other => panic!("{other}: {}", text(&answer.body)),
            }
        }
    });
    assert!(
        whole > 0 && whole < ASKED && beside > 0,
        "{whole}, {beside}"
    );
    let growth = process.peak().saturating_sub(before);
    println!(
        "{whole} of {ASKED} whole, {beside} beside them, {} MiB more",
        growth >> 20
    );
    assert!(growth < MOST_GROWTH, "{} MiB more", growth >> 20);
    let deadline = Instant::now() + PATIENCE;
    while process.open_files() > files_before + 5 {
        assert!(Instant::now() < deadline, "{} files", process.open_files());
    }
    for (file, length) in files.iter().zip(wanted) {
        let answer = http::fetch(&page, file, &rose).expect("answered");
        assert!(answer.body.len().abs_diff(length) < length / 10, "{file}");
    }
}

/// A process as the kernel shows it.
struct Process(u32);

impl Process {
    fn of(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.0))
    }

    fn open_files(&self) -> usize {
        std::fs::read_dir(self.of("fd")).expect("a process").count()
    }

    fn status(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(self.of("status")).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kilobytes = line.and_then(|line| line.split_whitespace().next());
        kilobytes.expect("a line").parse::<u64>().expect("a number") << 10
    }

    fn resident(&self) -> u64 {
        self.status("VmRSS:")
    }

    fn peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn forget_peak(&self) {
        std::fs::write(self.of("clear_refs"), "5").expect("forgotten");
    }
}
