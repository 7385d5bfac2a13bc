//! `up` killed under load, again and again, while its project is edited and its lake tidied: nothing lost, nothing twice,
//! no number wrong.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use changes::Op;
use serde_json::{Value, json};

use crate::outsider::Outsider;
use crate::project::{PATIENCE, Project, Running, text};
use crate::truth::{TABLES, Truth, manifests};

/// In the gate; `SPORTLAKE_KILLS` asks for any number, `SPORTLAKE_SEED` for the moments of an earlier run.
const KILLS: u64 = 10;
const SEED: u64 = 20_260_727;

/// The latest moment of a kill, after the start.
const LATEST_MS: u64 = 2000;

/// Messages in flight beyond which the producer waits for the broker.
const IN_FLIGHT: usize = 2000;

#[test]
fn killed_at_any_moment_nothing_is_lost_or_twice() {
    let kills = variable("SPORTLAKE_KILLS").unwrap_or(KILLS);
    let seed = variable("SPORTLAKE_SEED").unwrap_or(SEED);
    let project = Project::new()
        .set("generator.rate", "200")
        .set("upkeep.interval_seconds", "1")
        .set("upkeep.keep_epochs_seconds", "60")
        .set("upkeep.keep_hourly_seconds", "0");
    let kafka = project.kafka();
    let Some(truth) = Truth::new(&project, &kafka) else {
        return;
    };
    let mut up = project.start(&["up"]);
    truth.await_topics();

    let mut outsider = Outsider::connect(&kafka);
    let over = AtomicBool::new(false);
    let mut moments = Moments(seed);
    let up = std::thread::scope(|scope| {
        let writing = scope.spawn(|| write(&mut outsider, 0, &over));
        for round in 0..kills {
            edit(&project, round);
            let mut command = writing_command(&project, round);
            std::thread::sleep(Duration::from_millis(moments.next() % LATEST_MS));
            // Every other command outlives the role that it asked, and may take its lease.
            let is_killed = round % 2 == 0;
            if is_killed {
                command.kill().expect("killed");
            }
            up.kill();
            the_command_failed_well_or_not(command, is_killed);
            up = project.start(&["up"]);
        }
        over.store(true, Ordering::Relaxed);
        writing.join().expect("the producer goes on");
        up
    });
    outsider.flush();
    the_year_is_played_to_its_end_once(&project, &up);
    the_last_edit_is_in_force(&project);
    truth.check(false);
    let acknowledged = outsider.acknowledged();
    every_acknowledged_message_is_there_once(&project, &acknowledged);
    no_offset_is_there_twice_or_missing(&project);
    let epochs = no_epoch_is_torn(&project);
    drop(up);
    println!(
        "seed {seed}: {kills} kills, {} messages acknowledged of {} sent, {epochs} epochs",
        acknowledged.len(),
        outsider.sent(),
    );
}

const EDITED: &str = "sql/gold/salaries_par_bu.sql";

fn salaries(column: u64) -> String {
    format!(
        "-- @key bu\nSELECT bu, count(*) AS nb, sum(salaire_brut) AS somme_{column} FROM silver.employees GROUP BY bu\n"
    )
}

/// A new table, then another definition of it, then its file is gone.
fn edit(project: &Project, round: u64) {
    match round % 3 {
        0 | 1 => project.write(EDITED, &salaries(round)),
        _ => std::fs::remove_file(project.path(EDITED)).expect("deleted"),
    }
}

fn writing_command(project: &Project, round: u64) -> Child {
    let arguments: &[&str] = match round % 4 {
        0 | 2 => &["apply", "--wait", "2"],
        1 => &["maintain", "--wait", "2"],
        _ => &["refresh", "--full", "gold.classement", "--wait", "2"],
    };
    let mut command = project.command(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

/// Done, killed, or one clear reason: there is no lake or no table yet, another writer was quicker, no role answered.
#[track_caller]
fn the_command_failed_well_or_not(command: Child, is_killed: bool) {
    let output = command.wait_with_output().expect("reaped");
    let ended_well = match output.status.code() {
        Some(code) => matches!(code, 0 | 3 | 5 | 6),
        None => is_killed,
    };
    assert!(ended_well, "{}: {}", output.status, text(&output.stderr));
}

#[track_caller]
fn the_last_edit_is_in_force(project: &Project) {
    project.write(EDITED, &salaries(u64::MAX));
    let applied = project.run(&["apply"]);
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    let differing = format!(
        "SELECT count(*) FROM gold.salaries_par_bu g
         FULL JOIN (SELECT bu, sum(salaire_brut) AS somme FROM silver.employees GROUP BY bu) s ON s.bu = g.bu
         WHERE g.somme_{} IS DISTINCT FROM s.somme",
        u64::MAX
    );
    assert_eq!(project.rows(&differing), ["0"]);
}

/// However often the first load was cut off.
#[track_caller]
fn the_year_is_played_to_its_end_once(project: &Project, up: &Running) {
    let deadline = Instant::now() + PATIENCE;
    let ends = "SELECT count(*) FROM bronze.sport_activities WHERE (after ->> 'type_activite') = 'BACKFILL_COMPLETE'";
    // Until the first epoch, and until bronze has the topic, the query itself is refused.
    let complete = || {
        let output = project.run(&["query", "--output", "csv", ends]);
        text(&output.stdout).lines().nth(1) == Some("1")
    };
    while !complete() {
        assert!(Instant::now() < deadline, "{}", up.transcript());
    }
    let twice = project.rows(
        "SELECT count(*) - count(DISTINCT after ->> 'id') FROM bronze.sport_activities WHERE op = 'c'",
    );
    assert_eq!(twice, ["0"], "activities created twice");
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Moments that look random and come again with the same seed (Steele, Lea and Flood's SplitMix).
pub(crate) struct Moments(pub(crate) u64);

impl Moments {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// Activities of nobody in particular: the negative of `first` and the number of its message is the id of each.
pub(crate) fn write(outsider: &mut Outsider, first: i64, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        if outsider.in_flight() < IN_FLIGHT {
            let number = i64::try_from(outsider.sent()).expect("few");
            let row = json!({
                "id": -1 - first - number, "employee_id": number % 50, "date_debut": 1_780_000_000_000_000_i64 + number,
                "type_activite": "Natation", "distance_m": 1500, "duree_s": 2400, "commentaire": "dehors",
            });
            outsider.send("sport_activities", Op::Create, row);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn every_acknowledged_message_is_there_once(
    project: &Project,
    acknowledged: &BTreeMap<usize, (i32, i64)>,
) {
    // The generator may correct or delete an activity, but it creates none with a negative id.
    let rows = project.rows(
        "SELECT CAST(after ->> 'id' AS BIGINT) AS id, _partition, _offset FROM bronze.sport_activities
         WHERE op = 'c' AND CAST(after ->> 'id' AS BIGINT) < 0",
    );
    let mut found: BTreeMap<usize, (i32, i64)> = BTreeMap::new();
    for row in rows {
        let numbers: Vec<i64> = row.split(',').map(|n| n.parse().expect("n")).collect();
        let number = usize::try_from(-1 - numbers[0]).expect("positive");
        let place = (i32::try_from(numbers[1]).expect("small"), numbers[2]);
        let twice = found.insert(number, place);
        assert_eq!(twice, None, "message {number} is at {place:?} too");
    }
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|(number, place)| found.get(number) != Some(place))
        .take(10)
        .map(|(number, place)| (number, place, found.get(number)))
        .collect();
    assert!(lost.is_empty(), "acknowledged, not in bronze: {lost:?}");
    assert_eq!(found.len(), acknowledged.len(), "nothing is in flight");
}

pub(crate) fn no_offset_is_there_twice_or_missing(project: &Project) {
    for table in TABLES {
        let rows = project.rows(&format!(
            "SELECT _partition, count(*) - count(DISTINCT _offset) AS twice,
                max(_offset) + 1 - count(DISTINCT _offset) AS missing
             FROM bronze.{table} GROUP BY _partition"
        ));
        assert!(!rows.is_empty());
        for row in rows {
            assert!(row.ends_with(",0,0"), "{table}: {row}");
        }
    }
}

/// Every manifest reads, and names versions no older than the one before it, whose commits are there. Upkeep may have
/// taken some between two of them.
pub(crate) fn no_epoch_is_torn(project: &Project) -> usize {
    let mut paths = manifests(project);
    paths.sort();
    let mut versions: BTreeMap<String, u64> = BTreeMap::new();
    for path in &paths {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let number: u64 = stem.parse().expect("the number of an epoch");
        let bytes = std::fs::read(path).expect("a file");
        let manifest: Value = serde_json::from_slice(&bytes).expect("a whole manifest");
        assert_eq!(manifest["epoch"], number, "{}", text(&bytes));
        for (name, table) in manifest["tables"].as_object().expect("tables") {
            let version = table["version"].as_u64().expect("a version");
            let path = table["path"].as_str().expect("a path");
            // A table that is made anew has another path, and versions of its own.
            let last = versions.insert(path.to_owned(), version).unwrap_or(0);
            assert!(last <= version, "{name} fell back in epoch {number}");
            let folder = project.path("data/lake").join(path);
            let commit = folder.join(format!("_delta_log/{version:020}.json"));
            assert!(commit.is_file(), "epoch {number}: no {}", commit.display());
        }
    }
    paths.len()
}
