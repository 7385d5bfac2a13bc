//! From the embedded broker to a company's own Kafka, on the same lake: nothing lost, nothing shadowed.

use changes::KafkaConfig;
use nix::sys::signal::Signal;
use rdkafka::mocking::MockCluster;
use serde_json::{Value, json};

use crate::outsider::Outsider;
use crate::project::{Project, text};
use crate::truth::TABLES;

/// Employees that only the company's database has: more than the embedded topic had messages.
const NEWCOMERS: i64 = 300;

/// What Debezium reads first: positions far below those of the embedded sources, at a later time.
fn snapshot(id: i64, nom: &str) -> Value {
    json!({
        "before": null,
        "after": {
            "id": id, "nom": nom, "prenom": "Anne", "date_naissance": 7000, "bu": "Marketing",
            "date_embauche": 18000, "salaire_brut": "40000.00", "type_contrat": "CDI", "jours_cp": 25,
            "adresse": "1 rue de la Mer, 34970 Lattes", "moyen_deplacement": "Marche/running",
        },
        "source": {
            "connector": "postgresql", "name": "sportsdata", "snapshot": "true", "lsn": 10,
            "sequence": "[null,\"10\"]", "ts_ms": 4_000_000_000_000_i64,
        },
        "op": "r",
    })
}

#[test]
fn the_lake_of_the_embedded_broker_goes_on_with_a_companys_kafka() {
    let project = Project::new()
        .set("generator.days", "5")
        .set("generator.rate", "0");
    let mut up = project.start(&["up"]);
    up.wait_for("caught up");
    let count = |project: &Project, table: &str| -> i64 {
        let rows = project.rows(&format!("SELECT count(*) FROM silver.{table}"));
        rows[0].parse().expect("a number")
    };
    let (employees, activities) = (
        count(&project, "employees"),
        count(&project, "sport_activities"),
    );
    assert_eq!(employees, 161);
    let known = project
        .rows("SELECT min(id) FROM silver.employees")
        .remove(0);
    let known: i64 = known.parse().expect("an id");
    up.signal(Signal::SIGTERM);
    assert!(up.end().success(), "{}", up.transcript());

    let cluster = MockCluster::new(1).expect("brokers");
    let topics = TABLES.map(|table| format!("sportsdata.public.{table}"));
    for topic in &topics {
        cluster.create_topic(topic, 1, 1).expect("a topic");
    }
    let kafka = KafkaConfig::default().with_brokers(cluster.bootstrap_servers());
    let mut outsider = Outsider::connect(&kafka);
    for id in [known].into_iter().chain(900_000..900_000 + NEWCOMERS) {
        let (key, value) = (
            json!({ "id": id }).to_string(),
            snapshot(id, "Migrée").to_string(),
        );
        outsider.send_bytes("employees", key.as_bytes(), value.as_bytes());
    }
    outsider.flush();

    let project = project
        .set("kafka.brokers", &kafka.brokers)
        .set("generator.enabled", "false");
    let refused = project.run(&["ingest"]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(5), "{said}");
    assert!(said.contains("sportlake ingest --from-earliest"), "{said}");

    let mut once = vec!["ingest"];
    for topic in &topics {
        once.extend(["--from-earliest", topic]);
    }
    let mut refresh = project.start(&["refresh", "--watch"]);
    let mut ingest = project.start(&once);
    let changed = format!("SELECT nom FROM silver.employees WHERE id = {known}");
    let deadline = std::time::Instant::now() + crate::project::PATIENCE;
    while count(&project, "employees") < employees + NEWCOMERS
        || project.rows(&changed) != ["Migrée"]
    {
        assert!(
            std::time::Instant::now() < deadline,
            "{} employees, {:?}",
            count(&project, "employees"),
            project.rows(&changed)
        );
    }
    assert_eq!(
        count(&project, "sport_activities"),
        activities,
        "nothing is lost"
    );
    let generation = "SELECT max(generation) FROM bronze.employees";
    assert_eq!(project.rows(generation), ["1"]);
    for role in [&mut ingest, &mut refresh] {
        role.signal(Signal::SIGTERM);
        assert!(role.end().success(), "{}", role.transcript());
    }
    // From then on it is this cluster's lake.
    let mut ingest = project.start(&["ingest"]);
    ingest.wait_for("reading");
    ingest.signal(Signal::SIGTERM);
    assert!(ingest.end().success(), "{}", ingest.transcript());
}
