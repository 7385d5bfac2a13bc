//! A real lake of the repository's own project: twelve people of two units, their ways to work and their sport.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Date32Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, new_null_array,
};
use chrono::DateTime;
use engine::bronze::{BronzeTable, PartitionOffset};
use engine::{
    Clock, Lake, LakeConfig, Lease, ProjectConfig, RefreshConfig, Refresher, Role, SourceConfig,
    Turn, bronze,
};
use serde_json::{Value, json};

/// Noon of 15 June 2026, UTC.
pub(super) const NOW: i64 = 1_781_524_800;
const DAY_MICROS: i64 = 86_400_000_000;

pub(super) fn clock() -> Clock {
    Arc::new(|| DateTime::from_timestamp(NOW, 0).expect("in range"))
}

/// A lake with one epoch, of the project in the repository.
pub(super) async fn sport(folder: &Path) -> Lake {
    copy(&repository().join("sql"), &folder.join("sql"));
    let lake = open(folder).await;
    let ingest = Lease::acquire(&lake, Role::Ingest).expect("nobody else");
    for (table, rows) in sources() {
        append(&lake, &ingest, table, &rows).await;
    }
    turn(folder, &lake).await;
    lake
}

/// A lake of a project that is about something else.
pub(super) async fn other(folder: &Path) -> Lake {
    let gold = folder.join("sql/gold");
    std::fs::create_dir_all(&gold).expect("a folder");
    let nombres = "-- Des nombres <b>.\nSELECT value AS n FROM range(1, 6)";
    std::fs::write(gold.join("nombres.sql"), nombres).expect("written");
    let lake = open(folder).await;
    turn(folder, &lake).await;
    lake
}

pub(super) async fn open(folder: &Path) -> Lake {
    let uri = folder.join("lake").display().to_string();
    Lake::open(&LakeConfig { uri }).await.expect("a lake")
}

/// What is new becomes the next epoch.
pub(super) async fn turn(folder: &Path, lake: &Lake) {
    let mut refresher = refresher(folder, lake).await;
    let turn = refresher.turn().await.expect("a turn");
    assert!(matches!(turn, Turn::Published(_)), "{turn:?}");
}

pub(super) async fn refresher(folder: &Path, lake: &Lake) -> Refresher {
    let lease = Lease::acquire(lake, Role::Refresh).expect("nobody else");
    let project = ProjectConfig {
        path: folder.join("sql"),
    };
    let config = RefreshConfig::default();
    let source = SourceConfig::default();
    let opened = Refresher::open(lake.clone(), lease, &project, &config, &source, clock()).await;
    opened.expect("a project")
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("created");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).expect("copied")),
        }
    }
}

/// Salaries are such that no amount is part of another number of the page.
fn sources() -> [(&'static str, Vec<Value>); 4] {
    let unit = |id: i64| if id <= 6 { "Ventes" } else { "R&D <Sud>" };
    let mode = |id: i64| match id {
        6 | 12 => "Transports en commun",
        _ => "Vélo/Trottinette/Autres",
    };
    let employees = (1..=12).map(|id| {
        json!({
            "id": id, "nom": format!("Nom{id}"), "prenom": format!("Prénom{id}"),
            "date_naissance": 7_000, "bu": unit(id), "date_embauche": 18_000,
            "salaire_brut": format!("{}", 31_110 + id * 1_001), "type_contrat": "CDI",
            "jours_cp": 25, "adresse": format!("{id} rue du Lac"), "moyen_deplacement": mode(id),
        })
    });
    // A row that a rule keeps aside.
    let kept_aside = json!({
        "id": 99, "nom": "Aside", "prenom": "Kept", "date_naissance": 7_000, "bu": "Ventes",
        "date_embauche": 18_000, "salaire_brut": "-1", "type_contrat": "CDI", "jours_cp": 25,
        "adresse": "nulle part", "moyen_deplacement": mode(1),
    });
    let distances = (1..=11).map(|id| {
        let distance = if id == 11 {
            40_000.0
        } else {
            1_000.0 * id as f64
        };
        json!({
            "employee_id": id, "moyen_deplacement": mode(id), "distance_m": distance,
            "source": "estimate", "flag": null, "computed_at": "2026-06-01T00:00:00Z",
        })
    });
    let activities = (0..60).map(|number: i64| {
        let day = NOW * 1_000_000 - (number + 1) * DAY_MICROS;
        json!({
            "id": number, "employee_id": 1 + number % 3, "date_debut": day,
            "type_activite": if number % 2 == 0 { "Running" } else { "Vélo" },
            "distance_m": 5_000.0, "duree_s": 1_800, "commentaire": null,
        })
    });
    let sports = (1..=3).map(|id| json!({"employee_id": id, "sport": "Running"}));
    [
        ("employees", employees.chain([kept_aside]).collect()),
        ("commute_distances", distances.collect()),
        ("sport_activities", activities.collect()),
        ("declared_sports", sports.collect()),
    ]
}

async fn append(lake: &Lake, lease: &Lease, table: &str, rows: &[Value]) {
    let opened = BronzeTable::open_or_create(lake, lease, table, clock()).await;
    let next = i64::try_from(rows.len()).expect("few");
    let offset = PartitionOffset {
        topic: format!("sportsdata.public.{table}"),
        partition: 0,
        from: None,
        next,
    };
    let mut opened = opened.expect("a table");
    let messages = messages(table, rows);
    opened
        .append(vec![messages], &[offset])
        .await
        .expect("appended");
}

fn messages(table: &str, rows: &[Value]) -> RecordBatch {
    let count = rows.len();
    let key = match table {
        "employees" | "sport_activities" => "id",
        _ => "employee_id",
    };
    let envelope = |(index, row): (usize, &Value)| {
        let source = json!({"lsn": index + 1, "ts_ms": NOW * 1_000});
        json!({"before": null, "after": row, "op": "c", "source": source}).to_string()
    };
    let instant = vec![NOW * 1_000_000; count];
    let numbers = || Int64Array::from_iter_values(0..i64::try_from(count).expect("few"));
    let days = i32::try_from(NOW / 86_400).expect("a day");
    let schema = bronze::schema();
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            "_partition" => Arc::new(Int32Array::from(vec![0; count])),
            "_offset" | "source_lsn" => Arc::new(numbers()),
            "_timestamp" | "_ingested_at" => {
                Arc::new(TimestampMicrosecondArray::from(instant.clone()).with_timezone("UTC"))
            }
            "_date" => Arc::new(Date32Array::from(vec![days; count])),
            "key" => {
                let keys = rows.iter().map(|row| json!({ key: row[key] }).to_string());
                Arc::new(BinaryArray::from_iter_values(keys))
            }
            "value" => Arc::new(BinaryArray::from_iter_values(
                rows.iter().enumerate().map(envelope),
            )),
            "op" => Arc::new(StringArray::from(vec!["c"; count])),
            "generation" => Arc::new(Int64Array::from(vec![1; count])),
            "source_ts_ms" => Arc::new(Int64Array::from(vec![NOW * 1_000; count])),
            _ => new_null_array(field.data_type(), count),
        }
    });
    RecordBatch::try_new(schema.clone(), columns.collect()).expect("bronze rows")
}
