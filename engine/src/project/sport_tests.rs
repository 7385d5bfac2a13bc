//! The sport project's rules, on few rows whose right answers are plain.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute::concat_batches;
use arrow::datatypes::Int64Type;
use arrow::util::pretty::pretty_format_batches;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use insta::assert_snapshot;

use super::Project;
use crate::name::TableName;
use crate::session::{Sessions, SourceConfig};

const EMPLOYEES: &str = "SELECT * FROM (VALUES
    (1, 'Finance', CAST(30940.10 AS DECIMAL(12, 2)), 'Marche/running'),
    (2, 'Finance', CAST(30940.30 AS DECIMAL(12, 2)), 'Marche/running'),
    (3, 'Ventes', CAST(50000 AS DECIMAL(12, 2)), 'Vélo/Trottinette/Autres'),
    (4, 'Ventes', CAST(50000 AS DECIMAL(12, 2)), 'Vélo/Trottinette/Autres'),
    (5, 'Ventes', CAST(50000 AS DECIMAL(12, 2)), 'Marche/running'),
    (6, 'Ventes', CAST(50000 AS DECIMAL(12, 2)), 'Transports en commun'),
    (7, NULL, CAST(NULL AS DECIMAL(12, 2)), 'Marche/running')
) AS t (id, bu, salaire_brut, moyen_deplacement)";

const DISTANCES: &str = "SELECT * FROM (VALUES
    (1, 15000.0, 'estimate'),
    (2, 15000.4, 'estimate'),
    (3, 25000.0, 'estimate'),
    (4, 25000.01, 'estimate'),
    (5, NULL, 'estimate'),
    (6, 40000.0, 'estimate'),
    (7, 10.0, 'measured')
) AS t (employee_id, distance_m, source)";

/// 15 activities just inside the window for employee 1, 14 and one just outside for employee 2.
const ACTIVITIES: &str = "
    SELECT CASE WHEN n <= 15 THEN 1 ELSE 2 END AS employee_id, 1000.0 AS distance_m,
        now() - CASE WHEN n = 30 THEN INTERVAL '365 days 1 hour'
                     ELSE INTERVAL '364 days 23 hours' END AS date_debut
    FROM (SELECT unnest(range(1, 31)) AS n)
    UNION ALL SELECT 2, 1000.0, now() + INTERVAL '1 hour'
    UNION ALL SELECT 99, 1000.0, now() - INTERVAL '1 hour'";

async fn rows(context: &SessionContext, sql: &str) -> Arc<dyn TableProvider> {
    let frame = context.sql(sql).await.expect(sql);
    let batches = frame.collect().await.expect(sql);
    let one = concat_batches(&batches[0].schema(), &batches).expect("one batch");
    Arc::new(MemTable::try_new(one.schema(), vec![vec![one]]).expect("a table"))
}

#[tokio::test]
async fn primes_and_days_follow_the_rules() {
    let project =
        Project::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql")).expect("loaded");
    let zone = SourceConfig::default().zone().expect("a zone");
    let sessions = Sessions::new(zone, 64 << 20).expect("sessions");
    let text = |name: &str| {
        let name: TableName = name.parse().expect("a name");
        let file = project.file(&name).expect("a file");
        (name, file.sql.clone())
    };
    let mut tables = Vec::new();
    for (name, sql) in [
        ("silver.employees", EMPLOYEES.to_owned()),
        ("silver.commute_distances", DISTANCES.to_owned()),
        ("silver.sport_activities", ACTIVITIES.to_owned()),
        ("parameters", text("parameters").1),
        ("gold.eligibilites", text("gold.eligibilites").1),
    ] {
        let context = sessions.context(tables.clone()).expect("a session");
        let name: TableName = name.parse().expect("a name");
        tables.push((name, rows(&context, &sql).await));
    }
    let context = sessions.context(tables).expect("a session");
    let show = async |sql: &str| {
        let frame = context.sql(sql).await.expect("planned");
        let batches = frame.collect().await.expect("run");
        pretty_format_batches(&batches).expect("text").to_string()
    };
    assert_snapshot!(show("SELECT * FROM gold.eligibilites ORDER BY employee_id").await, @r#"
+-------------+---------+----------------+---------------------+--------------------+--------------+-----------------+----------------------+-----------------+
| employee_id | bu      | prime_sportive | montant_prime_euros | distance_km        | nb_activites | jours_bien_etre | declaration_correcte | distance_source |
+-------------+---------+----------------+---------------------+--------------------+--------------+-----------------+----------------------+-----------------+
| 1           | Finance | true           | 1547.01             | 15.0               | 15           | 5               | true                 | estimate        |
| 2           | Finance | false          | 0.00                | 15.000399999999999 | 14           | 0               | false                | estimate        |
| 3           | Ventes  | true           | 2500.00             | 25.0               | 0            | 0               | true                 | estimate        |
| 4           | Ventes  | false          | 0.00                | 25.00001           | 0            | 0               | false                | estimate        |
| 5           | Ventes  | false          | 0.00                |                    | 0            | 0               |                      | estimate        |
| 6           | Ventes  | false          | 0.00                | 40.0               | 0            | 0               | true                 | estimate        |
| 7           |         | true           |                     | 0.01               | 0            | 0               | true                 | measured        |
+-------------+---------+----------------+---------------------+--------------------+--------------+-----------------+----------------------+-----------------+
"#);
    assert_snapshot!(show(&text("gold.indicateurs").1).await, @r#"
+-------------+-----------+----------------------+--------------+-----------------+--------------+-------------+
| nb_salaries | nb_primes | montant_primes_euros | nb_bien_etre | jours_bien_etre | nb_activites | distance_km |
+-------------+-----------+----------------------+--------------+-----------------+--------------+-------------+
| 7           | 3         | 4047.01              | 1            | 5               | 29           | 29.0        |
+-------------+-----------+----------------------+--------------+-----------------+--------------+-------------+
"#);
}

#[tokio::test]
async fn rules_count_the_rows_that_violate_them() {
    let text = "\
-- @expect row: n > 1 ON VIOLATION WARN
-- @expect total: sum(n) > 100 ON VIOLATION WARN
-- @expect enough: count(*) = 5 ON VIOLATION WARN
-- @expect single: unique(n, s) ON VIOLATION WARN
SELECT * FROM (VALUES (1, 'a'), (1, 'a'), (1, 'a'), (2, 'a'), (NULL, 'b')) AS t (n, s)";
    let texts = BTreeMap::from([("gold/x.sql".to_owned(), text.to_owned())]);
    let project = Project::from_texts(texts);
    let file = &project.files[0];
    let zone = SourceConfig::default().zone().expect("a zone");
    let sessions = Sessions::new(zone, 64 << 20).expect("sessions");
    let empty = sessions.context([]).expect("a session");
    let table = rows(&empty, &file.sql).await;
    let context = sessions
        .context([(file.name.clone(), table)])
        .expect("a session");
    let mut counts = Vec::new();
    for expect in &file.directives.expects {
        let statement = super::count(expect, &file.name).expect("a query");
        let plan = context.state().statement_to_plan(statement).await;
        let frame = context.execute_logical_plan(plan.expect("planned")).await;
        let batches = frame.expect("run").collect().await.expect("run");
        let one = |column: usize| {
            let values = batches[0].column(column).as_primitive::<Int64Type>();
            values.value(0)
        };
        counts.push((expect.name.as_str(), one(0), one(1)));
    }
    assert_eq!(
        counts,
        [
            ("row", 4, 5),
            ("total", 1, 5),
            ("enough", 0, 5),
            ("single", 2, 5)
        ]
    );
}
