//! Every euro: gold beside an independent computation from the same workbook and events.

use std::process::Command;

use changes::Op;
use chrono::{DateTime, Datelike, Duration, NaiveDate, NaiveDateTime, Utc, Weekday};
use serde_json::{Value, json};

use crate::outsider::Outsider;
use crate::project::{Project, text};
use crate::truth::Truth;

const WALK: &str = "Marche/running";
const BIKE: &str = "Vélo/Trottinette/Autres";
const BUS: &str = "Transports en commun";

#[test]
fn gold_is_what_the_rules_give() {
    let project = Project::new().set("generator.rate", "0.5");
    let kafka = project.kafka();
    let Some(truth) = Truth::new(&project, &kafka) else {
        return;
    };
    let mut up = project.start(&["up"]);
    up.wait_for("caught up");
    let first = truth.check(true);

    let now = first["now"].as_str().expect("a time");
    let now = now.parse::<DateTime<Utc>>().expect("a time").naive_utc();
    let mut outsider = Outsider::connect(&kafka);
    limits_and_cents(&mut outsider);
    the_edges_of_the_window(&mut outsider, now);
    outsider.flush();
    let second = truth.check(false);
    assert!(second["epoch"].as_u64() > first["epoch"].as_u64());

    corrections_and_deletes(&mut outsider, now);
    outsider.flush();
    truth.check(false);
    drop(up);

    let mut up = project.start(&["up"]);
    let flight = up.address("grpc://");
    everything_again_and_late(&mut outsider, now);
    outsider.flush();
    truth.check(false);
    another_program_reads_the_same(&project, &flight);
}

/// Gold is plain Delta.
fn another_program_reads_the_same(project: &Project, flight: &str) {
    let python = std::env::var_os("SPORTLAKE_TEST_PYTHON").expect("the oracle needed it");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/delta.py");
    let output = Command::new(python)
        .arg(script)
        .arg(flight)
        .arg(project.path("data/lake"))
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), 6, "every gold table");
}

fn employee(id: i64, mode: &str, salary: &str) -> Value {
    json!({
        "id": id, "nom": "Été", "prenom": "Noël", "date_naissance": 7000, "bu": "R&D", "date_embauche": 18000,
        "salaire_brut": salary, "type_contrat": "CDI", "jours_cp": 25, "adresse": "1 rue de l'Aire, 34470 Pérols",
        "moyen_deplacement": mode,
    })
}

fn distance(id: i64, mode: &str, metres: Option<f64>) -> Value {
    json!({
        "employee_id": id, "moyen_deplacement": mode, "distance_m": metres, "source": "google_maps", "flag": null,
        "computed_at": "2026-01-01T00:00:00Z",
    })
}

/// An activity, with its time as the source has it: that of Paris, without its zone.
fn activity(id: i64, owner: i64, local: NaiveDateTime) -> Value {
    json!({
        "id": id, "employee_id": owner, "date_debut": local.and_utc().timestamp_micros(),
        "type_activite": "Course à pied", "distance_m": 5000.5, "duree_s": 1800, "commentaire": null,
    })
}

/// Distances at a limit, just above it and unknown; salaries whose five percent end in half a cent.
fn limits_and_cents(outsider: &mut Outsider) {
    let cases = [
        (WALK, "30000.10", Some(15_000.0)),
        (WALK, "30000.30", Some(15_000.000_1)),
        (WALK, "30000.50", Some(14_999.999)),
        (BIKE, "30000.70", Some(25_000.0)),
        (BIKE, "30000.90", Some(25_000.4)),
        (BIKE, "9999999999.90", Some(0.0)),
        (BIKE, "0.10", Some(24_999.5)),
        (BIKE, "33333.33", None),
        (BUS, "40000.00", Some(1.0)),
    ];
    for (id, (mode, salary, metres)) in (1..).zip(cases) {
        outsider.send("employees", Op::Create, employee(id, mode, salary));
        outsider.send("commute_distances", Op::Create, distance(id, mode, metres));
    }
    outsider.send("employees", Op::Create, employee(10, WALK, "20000.00"));
}

/// Fourteen activities within the window, and one that may not be: around its edges, which lie one or two hours after
/// those of UTC, and when the clocks of Paris change.
fn the_edges_of_the_window(outsider: &mut Outsider, now: NaiveDateTime) {
    let ahead = [40, 80, 100, 140].map(Duration::minutes);
    let mut last: Vec<NaiveDateTime> = Vec::new();
    last.extend(ahead.map(|ahead| now + ahead));
    last.extend(ahead.map(|ahead| now - Duration::days(365) + ahead));
    last.extend([3, 10].map(|month| clock_change(now.year() - 1, month)));
    for (owner, last) in (1..).zip(last) {
        for number in 0..14 {
            let at = now - Duration::days(number * 20 + 1);
            let id = -(owner * 100 + number);
            outsider.send("sport_activities", Op::Create, activity(id, owner, at));
        }
        let id = -(owner * 100 + 14);
        outsider.send("sport_activities", Op::Create, activity(id, owner, last));
    }
    // Enough of them that the hour which comes twice, or never, counts.
    for (owner, month) in [(8, 3), (9, 10)] {
        for year in [now.year() - 1, now.year()] {
            let id = -(owner * 1000 + i64::from(year));
            let at = clock_change(year, month);
            outsider.send("sport_activities", Op::Create, activity(id, owner, at));
        }
    }
}

/// Half past two on the last Sunday of a month.
fn clock_change(year: i32, month: u32) -> NaiveDateTime {
    let days = (25..=31).filter_map(|day| NaiveDate::from_ymd_opt(year, month, day));
    let mut sundays = days.filter(|day| day.weekday() == Weekday::Sun);
    let night = sundays
        .next_back()
        .and_then(|day| day.and_hms_opt(2, 30, 0));
    night.expect("a Sunday in a long month")
}

fn corrections_and_deletes(outsider: &mut Outsider, now: NaiveDateTime) {
    let recent = now - Duration::days(3);
    // From one employee to another: the one loses the days, the other wins none.
    outsider.send("sport_activities", Op::Update, activity(-100, 8, recent));
    // Deleted, and deleted and back.
    outsider.send("sport_activities", Op::Delete, activity(-200, 2, recent));
    outsider.send("sport_activities", Op::Delete, activity(-400, 4, recent));
    outsider.send("sport_activities", Op::Create, activity(-400, 4, recent));
    // Never there.
    outsider.send("sport_activities", Op::Delete, activity(-999, 1, recent));
    outsider.send("employees", Op::Update, employee(1, BIKE, "41111.10"));
    outsider.send("employees", Op::Delete, employee(3, WALK, "30000.50"));
    outsider.send("employees", Op::Update, employee(4, BUS, "30000.70"));
    outsider.send(
        "commute_distances",
        Op::Update,
        distance(8, BIKE, Some(1000.25)),
    );
    outsider.send("commute_distances", Op::Delete, distance(7, BIKE, None));
}

/// Old news after new: a lower `source.lsn` never wins, an equal one counts once.
fn everything_again_and_late(outsider: &mut Outsider, now: NaiveDateTime) {
    outsider.send("employees", Op::Update, employee(5, WALK, "50000.00"));
    outsider.send_late("employees", Op::Update, employee(5, WALK, "10.00"));
    outsider.send("sport_activities", Op::Delete, activity(-600, 6, now));
    outsider.send_late("sport_activities", Op::Update, activity(-600, 6, now));
    outsider.send("employees", Op::Delete, employee(9, BUS, "40000.00"));
    outsider.send_late("employees", Op::Create, employee(9, BUS, "40000.00"));
    outsider.send("employees", Op::Create, employee(3, WALK, "25000.10"));
}
