use sql_files::TableName;

use super::*;
use crate::error::ErrorKind;
use crate::project;

/// Everything wrong with a file, as a person reads it.
async fn problems(policies: &str) -> String {
    let lake = Lake::with(policies).await;
    let folder = lake.world.sql("");
    let checked = project::check(&folder, &SourceConfig::default())
        .await
        .expect("a project");
    let found = crate::policies::check(&folder, &checked)
        .await
        .expect("checked");
    let shown = folder.display().to_string();
    let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
    texts.join("\n\n").replace(&shown, "sql")
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_at_their_place_with_the_nearest_name() {
    let text = "CREATE ROLE clerk, clerk;
GRANT SELECT ON SCHEMA golds TO clerck;
GRANT SELECT (id, pai) ON silver.people TO clerk;
GRANT SELECT ON silver.peple TO clerk;
GRANT ALL ON silver.people TO clerk;
CREATE POLICY a ON silver.people TO clerk USING (pay + 1);
CREATE POLICY b ON silver.people TO clerk USING (bu = attribute(bu));
CREATE MASK ON silver.people (pay) TO clerk USING ('***');
CREATE MASK ON silver.people (pay) TO clerk USING (payy);
CREATE TOTALS gold.by_bu TO clerk AT LEAST 3 id AS SELECT bu, max(pay) AS x FROM silver.people GROUP BY bu;
CREATE TOTALS gold.t TO clerk AT LEAST 1 id AS SELECT count(*) AS n FROM silver.people;
CREATE TOTALS gold.u TO clerk AT LEAST 3 id AS SELECT count(*) AS n FROM silver.people WHERE id <> 3";
    insta::assert_snapshot!(problems(text).await);
    assert_eq!(problems(POLICIES).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_holds_and_a_broken_one_leaves_the_last_good_one_in_force() {
    let lake = Lake::new().await;
    let sql = "SELECT count(*) FROM silver.people";
    assert_eq!(lake.rows(&clerk(), sql).await, ["2"]);
    let looked = crate::policies::in_force::LOOK_EVERY * 2;
    for (text, expected) in [
        (
            POLICIES.replace("(bu = attribute('bu'))", "(bu = 'south')"),
            "3",
        ),
        ("CREATE ROLE clerk; GRANT EVERYTHING".to_owned(), "3"),
        (POLICIES.to_owned(), "2"),
    ] {
        write(&lake.world.sql("policies.sql"), &text);
        tokio::time::sleep(looked).await;
        assert_eq!(lake.rows(&clerk(), sql).await, [expected]);
    }
    std::fs::remove_file(lake.world.sql("policies.sql")).expect("there");
    tokio::time::sleep(looked).await;
    assert_eq!(
        lake.rows(&clerk(), sql).await,
        ["2"],
        "a file that is gone takes nothing back"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_file_no_role_sees_anything() {
    let lake = Lake::with("CREATE ROLE clerk; GRANT SELECT ON SCHEMA gold TO clrk;").await;
    let error = lake
        .ask(&clerk(), "SELECT 1")
        .await
        .expect_err("nothing in force");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(
        lake.rows(&operator(), "SELECT count(*) FROM silver.people")
            .await,
        ["5"]
    );
    write(&lake.world.sql("policies.sql"), POLICIES);
    assert_eq!(
        lake.rows(&clerk(), "SELECT count(*) FROM silver.people")
            .await,
        ["2"]
    );
}

/// A renamed column must not come out from under its mask.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_whose_mask_covers_nothing_is_suspended() {
    let lake = Lake::new().await;
    let team = somebody(&["team"], &[]);
    assert_eq!(
        lake.rows(&team, "SELECT max(pay) FROM silver.people").await,
        ["0"]
    );
    let renamed = |text: &str| {
        text.replace("AS pay", "AS gross")
            .replace("pay > 0", "gross > 0")
    };
    write(&lake.world.sql("silver/people.sql"), &renamed(PEOPLE));
    write(
        &lake.world.sql("gold/bonus.sql"),
        &BONUS.replace("pay", "gross"),
    );
    let mut refresher = lake.world.refresher().await;
    refresher.turn().await.expect("a turn");
    assert_eq!(
        lake.rows(&operator(), "SELECT max(gross) FROM silver.people")
            .await,
        ["5200"]
    );
    let error = lake.ask(&team, "SELECT 1").await.expect_err("suspended");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let all = somebody(&["all_of_it"], &[]);
    assert_eq!(
        lake.rows(&all, "SELECT max(gross) FROM silver.people")
            .await,
        ["5200"]
    );
}

/// What a server tells of itself is there only where one serves, and other tables are seen without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_mask_of_a_system_table_suspends_nobody_where_nothing_serves() {
    let policies = "CREATE ROLE watcher; GRANT SELECT ON silver.people TO watcher;
        GRANT SELECT ON system.queries TO watcher;
        CREATE MASK ON system.queries (statement) TO watcher USING (NULL);";
    let lake = Lake::with(policies).await;
    let watcher = somebody(&["watcher"], &[]);
    let people = lake.rows(&watcher, "SELECT count(*) FROM silver.people");
    assert_eq!(people.await, ["5"]);
}

#[test]
fn rows_kept_aside_are_in_no_grant_of_a_schema() {
    let source = crate::project::Source {
        path: "policies.sql",
        text: "CREATE ROLE a, b; GRANT SELECT ON SCHEMA silver, bronze TO a;
               GRANT SELECT ON silver.people__quarantine TO b;",
    };
    let policies = super::super::Policies::collect(sql_files::policies::parse(source).0);
    let people: TableName = "silver.people".parse().expect("a name");
    let (a, b) = (&policies.roles["a"], &policies.roles["b"]);
    assert!(a.sees(&people, "id") && !b.sees(&people, "id"));
    assert!(!a.sees(&people.quarantine(), "id") && b.sees(&people.quarantine(), "id"));
    assert!(!a.sees(&TableName::dead_letters(), "value"));
}

#[tokio::test]
async fn the_sport_project_covers_what_tells_a_salary() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql");
    let source = SourceConfig::default();
    let checked = project::check(&folder, &source).await.expect("a project");
    let sessions = crate::session::Sessions::new(chrono_tz::UTC, 1 << 20).expect("sessions");
    let names = super::super::Names::of_project(&checked, &sessions).expect("names");
    let text = std::fs::read_to_string(folder.join("policies.sql")).expect("policies");
    let read = super::super::Policies::read("policies.sql", &text, &names).await;
    let (policies, problems) = read.expect("read");
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.join("\n"), "");

    let covered = names.covered(policies.roles["manager"].masked());
    let tables: Vec<String> = covered
        .iter()
        .filter(|(table, _)| !table.is_bronze() && table.quarantine_of().is_none())
        .map(|(table, column)| format!("{table}.{column}"))
        .collect();
    let expected = [
        "gold.cout_par_bu.montant_primes_euros",
        "gold.eligibilites.montant_prime_euros",
        "gold.indicateurs.montant_primes_euros",
        "silver.employees.adresse",
        "silver.employees.salaire_brut",
    ];
    assert_eq!(tables, expected);
    let raw: TableName = "bronze.employees".parse().expect("a name");
    assert!(covered.contains(&(raw, "value".to_owned())));
    let (manager, salarie) = (&policies.roles["manager"], &policies.roles["salarie"]);
    let employees: TableName = "silver.employees".parse().expect("a name");
    assert!(!manager.sees(&employees, "salaire_brut") && !manager.sees(&employees, "adresse"));
    assert!(salarie.sees(&employees, "salaire_brut"));
    for (name, role) in [("manager", manager), ("salarie", salarie)] {
        for table in role
            .tables
            .keys()
            .filter(|table| table.name() != "parameters" && table.name() != "indicateurs")
        {
            assert!(
                role.conditions.contains_key(table),
                "{name} sees all rows of {table}"
            );
        }
    }
}
