//! Distances of the employees of a PostgreSQL.

use std::path::Path;

use changes::{ErrorKind, Result};
use sources::commute::{
    CommuteConfig, Key, MeasureOptions, MeasureReport, ProviderName, measure_into,
};
use sources::postgres::Address;

use crate::kafka::clock;
use crate::postgres::{Database, PASSWORD};
use crate::routes::{GOOGLE_KEY, Routes};

const WALK: &str = "Marche/running";
const CAR: &str = "véhicule thermique/électrique";

fn employee(database: &Database, id: i64, street: &str, mode: &str) {
    database.sql(&format!(
        "INSERT INTO employees (id, nom, prenom, salaire_brut, adresse, moyen_deplacement)
            VALUES ({id}, 'Canary', 'Zoé', 30000, '{street}, 34000 Montpellier', '{mode}')"
    ));
}

/// Id, whole metres, source of every row; one that nothing changes keeps its time.
fn distances(database: &Database) -> String {
    database.sql(
        "SELECT string_agg(concat_ws(' ', employee_id, distance_m::bigint, source, flag), ', ' ORDER BY employee_id)
            FROM commute_distances",
    )
}

struct Company {
    app: Address,
    config: CommuteConfig,
    routes: Routes,
}

impl Company {
    fn of(database: &Database, folder: &Path) -> Self {
        let routes = Routes::start();
        Self {
            app: database.address_of("sportlake_app", PASSWORD, ""),
            config: CommuteConfig {
                provider: ProviderName::Google,
                cache: folder.join("commute.cache"),
                parallel: 1,
                attempts: 2,
                retry_ms: 1,
                google_api: routes.api(),
                ..CommuteConfig::default()
            },
            routes,
        }
    }

    async fn measure(&self, options: MeasureOptions) -> Result<MeasureReport> {
        let key = Key::new(GOOGLE_KEY).expect("a key");
        let tell = |_| ();
        measure_into(&self.app, &self.config, Some(key), options, clock(), tell).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn distances_go_into_the_database_and_only_what_changed_is_asked_and_written() {
    let Some(database) = Database::create("t_commute") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let company = Company::of(&database, folder.path());
    let usual = MeasureOptions::default();
    let nobody = company.measure(usual).await.expect_err("nobody is there");
    assert_eq!(nobody.kind(), ErrorKind::NotFound);
    employee(&database, 1, "1 rue Foch", WALK);
    employee(&database, 2, "2 rue Foch", CAR);
    employee(&database, 3, "3 rue Foch", WALK);

    let look = MeasureOptions {
        dry_run: true,
        ..usual
    };
    let report = company.measure(look).await.expect("a look");
    assert_eq!((report.asked, report.changed.len()), (2, 1));
    assert!(company.routes.calls().is_empty());
    assert_eq!(distances(&database), "");

    let report = company.measure(usual).await.expect("measured");
    assert_eq!(
        (report.asked, report.changed.len(), report.deleted),
        (2, 3, 0)
    );
    let estimated =
        database.sql("SELECT distance_m::bigint FROM commute_distances WHERE employee_id = 2");
    let expected = format!("1 6400 google, 2 {estimated} estimate, 3 6400 google");
    assert_eq!(distances(&database), expected);

    let times = "SELECT string_agg(xmin::text, ' ' ORDER BY employee_id) FROM commute_distances";
    let before = database.sql(times);
    let again = company.measure(usual).await.expect("measured");
    assert_eq!(
        (again.asked, again.changed.len(), again.unchanged),
        (0, 0, 3)
    );
    assert_eq!(database.sql(times), before, "no row is written anew");

    // One leaves with the distance that only this command removes, one moves, one is replaced by hand.
    database
        .sql("ALTER TABLE commute_distances DROP CONSTRAINT commute_distances_employee_id_fkey");
    database.sql("DELETE FROM employees WHERE id = 3");
    database.sql("UPDATE employees SET adresse = '9 rue Foch, 34000 Montpellier' WHERE id = 1");
    let report = company.measure(look).await.expect("a look");
    assert_eq!((report.asked, report.deleted), (1, 1));
    let report = company.measure(usual).await.expect("measured");
    assert_eq!((report.asked, report.deleted), (1, 1));
    assert_eq!(
        distances(&database),
        format!("1 6400 google, 2 {estimated} estimate")
    );
    assert_eq!(company.routes.calls().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_refuses_or_a_database_that_does_not_take_it_leaves_what_was_there() {
    let Some(database) = Database::create("t_commute_refused") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mut company = Company::of(&database, folder.path());
    let usual = MeasureOptions::default();
    for id in 1..=3 {
        employee(&database, id, &format!("{id} rue Foch"), WALK);
    }
    let gone = serde_json::json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}});
    let refused = (429, "", gone);
    company
        .routes
        .script([None, Some(refused.clone()), Some(refused)]);
    let report = company.measure(usual).await.expect("a report");
    let stopped = report.stopped.expect("somebody has to act");
    assert_eq!(stopped.kind(), ErrorKind::ResourceExhausted);
    // What was measured until then is there, and the others are estimated until somebody measures them.
    let sources = "SELECT string_agg(source, ' ' ORDER BY employee_id) FROM commute_distances";
    assert_eq!(database.sql(sources), "google estimate estimate");
    let report = company.measure(usual).await.expect("measured");
    assert_eq!((report.asked, report.changed.len()), (2, 2));
    assert_eq!(database.sql(sources), "google google google");

    database.sql(
        "ALTER TABLE commute_distances ADD CONSTRAINT near CHECK (distance_m < 100) NOT VALID",
    );
    employee(&database, 4, "4 rue Foch", WALK);
    let error = company.measure(usual).await.expect_err("not taken");
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    assert!(error.to_string().contains("commute_distances"), "{error}");
    assert!(!format!("{error:?}").contains("Foch"), "{error:?}");
    assert_eq!(database.sql(sources), "google google google");

    company.app = database.address();
    let error = company.measure(usual).await.expect_err("no right");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    database.sql("DROP TABLE commute_distances");
    let error = company.measure(usual).await.expect_err("no table");
    let hint = error.hint_text().unwrap_or_default();
    assert!(hint.contains("01-sportsdb.sql"), "{error:?}");
}

/// Nothing is locked while a provider is asked, so HR may change everything meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn what_changes_while_a_provider_is_asked_is_left_for_the_next_time() {
    let Some(database) = Database::create("t_commute_meanwhile") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mut company = Company::of(&database, folder.path());
    company.config.retry_ms = 2000;
    for id in 1..=3 {
        employee(&database, id, &format!("{id} rue Foch"), WALK);
    }
    let usual = MeasureOptions::default();
    // The first answer is to be waited for; then all the rest comes.
    company
        .routes
        .script([Some((503, "", serde_json::json!({})))]);
    let meanwhile = async {
        while company.routes.calls().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        database.sql("UPDATE employees SET adresse = '7 rue Foch, 34000 Montpellier' WHERE id = 1");
        database.sql("DELETE FROM employees WHERE id = 2");
        employee(&database, 4, "4 rue Foch", WALK);
    };
    let (measured, ()) = tokio::join!(company.measure(usual), meanwhile);
    measured.expect("measured");
    assert_eq!(distances(&database), "3 6400 google");
    company.measure(usual).await.expect("measured");
    assert_eq!(
        distances(&database),
        "1 6400 google, 3 6400 google, 4 6400 google"
    );
}
