//! What the commands about rules, kept-out rows and dead letters say beside a live `up`, and how wrong names are met.

use changes::Op;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::http;
use crate::outsider::Outsider;
use crate::project::{Project, text};

/// Its business unit is missing, which quarantines it.
fn without_bu(id: i64) -> Value {
    json!({
        "id": id, "nom": "Été", "prenom": "Noël", "date_naissance": 7000, "bu": null, "date_embauche": 18000,
        "salaire_brut": "30000.00", "type_contrat": "CDI", "jours_cp": 25, "adresse": "x", "moyen_deplacement":
        "Marche/running",
    })
}

const SUITE: &str = r#"{"name": "employees", "expectations": [
  {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "nom"}},
  {"type": "expect_column_values_to_be_between", "kwargs": {"column": "jours_cp", "min_value": 0, "max_value": 60}},
  {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "prenoms"}},
  {"type": "expect_column_kl_divergence_to_be_less_than", "kwargs": {"column": "jours_cp", "threshold": 0.1}}]}"#;

/// What a command printed, given its exit code.
#[track_caller]
fn said(project: &Project, code: i32, arguments: &[&str]) -> String {
    let output = project.run(arguments);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {out}{err}"
    );
    format!("{out}{err}")
}

#[track_caller]
fn json(project: &Project, code: i32, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--output", "json"]].concat();
    let output = project.run(&arguments);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {err}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn rules_kept_out_rows_and_dead_letters_are_told_and_taken_in_again() {
    let project = Project::new()
        .set("generator.days", "5")
        .set("generator.rate", "0");
    let mut up = project.start(&["up"]);
    let page = up.address("http://");
    up.wait_for("caught up");
    assert!(said(&project, 0, &["validate"]).contains("none broken"));
    let mut outsider = Outsider::connect(&project.kafka());
    outsider.send_bytes("employees", b"{}", b"no envelope");
    outsider.send("employees", Op::Create, without_bu(90_001));
    outsider.flush();
    let arrived = "SELECT count(*) FROM silver.employees__quarantine WHERE id = 90001";
    while project.rows(arrived) != ["1"] {}

    files_run_as_they_stand(&project);
    a_broken_rule_is_found(&project);
    what_is_kept_out_is_told(&project);
    dead_letters_are_told(&project);
    dead_letters_are_taken_in_again_from_the_page(&project, &page);
    a_suite_becomes_lines(&project, &mut up);
    up.signal(Signal::SIGINT);
    up.end();
    wrong_names_are_met_with_the_nearest(&project);
}

/// A file of the project is a statement that any client may send.
fn files_run_as_they_stand(project: &Project) {
    for (file, table) in [
        ("sql/parameters.sql", "parameters"),
        ("sql/gold/eligibilites.sql", "gold.eligibilites"),
        ("sql/gold/cout_par_bu.sql", "gold.cout_par_bu"),
    ] {
        let text_of_file = std::fs::File::open(project.path(file)).expect("a file");
        let output = project
            .command(&["query", "--output", "csv", "-"])
            .stdin(text_of_file)
            .output()
            .expect("the program runs");
        let rows = text(&output.stdout);
        assert!(output.status.success(), "{file}: {}", text(&output.stderr));
        let expected = project.rows(&format!("SELECT * FROM {table}")).len();
        assert_eq!(rows.lines().count(), expected + 1, "{file}");
    }
    let events = std::fs::File::open(project.path("sql/silver/employees.sql")).expect("a file");
    let silver = project.command(&["query", "-"]).stdin(events).output();
    assert!(silver.expect("the program runs").status.success());
}

fn a_broken_rule_is_found(project: &Project) {
    let found = json(project, 1, &["validate", "silver.employees"]);
    let results = found["results"].as_array().expect("a list");
    let broken: Vec<&Value> = results
        .iter()
        .filter(|result| result["outcome"] != "passed")
        .collect();
    assert_eq!(broken.len(), 1, "{found}");
    assert_eq!(broken[0]["rule"], "bu_connue");
    assert_eq!(broken[0]["violations"], 1);
    assert_eq!(broken[0]["keys"][0][0], "90001");
    assert!(
        results
            .iter()
            .all(|result| result["table"] == "silver.employees")
    );
    let failures = ["validate", "silver.employees", "--fail-on", "failures"];
    said(project, 0, &failures);

    let csv = said(project, 1, &["validate", "--output", "csv"]);
    assert!(csv.starts_with("table,rule,outcome,"), "{csv}");
    let files = ["validate", "--junit", "rules.xml", "--html", "rules.html"];
    let table = said(project, 1, &files);
    assert!(
        table.contains("id: 90001") && table.contains("1 of "),
        "{table}"
    );
    let junit = project.read("rules.xml");
    assert!(
        junit.contains("failures=\"1\"") && junit.contains("bu_connue"),
        "{junit}"
    );
    assert!(project.read("rules.html").contains("bu_connue"));
    assert!(said(project, 2, &["validate", "--html", "no/such/rules.html"]).contains("hint: "));
}

fn what_is_kept_out_is_told(project: &Project) {
    let counts = json(project, 0, &["quarantine", "list"]);
    assert_eq!(counts[0]["table"], "silver.employees", "{counts}");
    assert_eq!(counts[0]["rule"], "bu_connue");
    let rows = said(
        project,
        0,
        &["quarantine", "list", "silver.employees", "--output", "csv"],
    );
    assert!(
        rows.contains("90001") && rows.contains("bu IS NOT NULL is not true"),
        "{rows}"
    );
    assert!(
        rows.starts_with("id,") && rows.contains(",_offset,_timestamp\n"),
        "with the time of its event: {rows}"
    );
    assert!(
        said(project, 0, &["quarantine", "list", "gold.indicateurs"]).contains("no quarantine")
    );
    let why = ["why", "gold.eligibilites", "90001"];
    let document = json(project, 0, &why);
    let kept_out = &document["kept_out"][0];
    assert_eq!(kept_out["table"], "silver.employees", "{document}");
    assert_eq!(kept_out["rows"][0]["rule"], "bu_connue", "{document}");
    let told = said(project, 0, &why);
    assert!(
        told.contains("bu IS NOT NULL is not true"),
        "the rule that keeps the person out: {told}"
    );
    assert!(told.contains("(WARN): no row\n"), "{told}");

    let epoch = || json(project, 0, &["status"])["epoch"].clone();
    let before = epoch();
    let dry = json(project, 0, &["quarantine", "replay", "--dry-run"]);
    assert_eq!(dry[0]["table"], "silver.employees", "{dry}");
    assert_eq!(epoch(), before, "nothing is done");
    let replayed = json(project, 0, &["quarantine", "replay", "silver.employees"]);
    let kept = &replayed["details"]["kept_out"][0];
    assert_eq!(
        (&kept["before"], &kept["after"]),
        (&json!(1), &json!(1)),
        "{replayed}"
    );
}

fn dead_letters_are_told(project: &Project) {
    let letters = json(project, 0, &["dlq", "list", "sportsdata.public.employees"]);
    assert_eq!(letters.as_array().map(Vec::len), Some(1), "{letters}");
    assert_eq!(letters[0]["attempt"], 1);
    let place = letters[0]["_offset"].clone();
    assert!(
        !letters.to_string().contains("no envelope"),
        "content is for those who may read it"
    );
    let dry = json(project, 0, &["dlq", "replay", "--dry-run"]);
    assert_eq!(dry[0]["messages"], 1, "{dry}");
    let replayed = said(project, 0, &["dlq", "replay", "employees"]);
    let told = "bronze.employees: 1 messages replayed, 1 are dead letters still";
    assert!(replayed.contains(told), "{replayed}");
    let again = || json(project, 0, &["dlq", "list"]);
    while again()[0]["attempt"] != 2 {}
    assert_eq!(again()[0]["_offset"], place, "it keeps its coordinates");
    let bronze = "SELECT count(*), count(error) FROM bronze.employees WHERE error IS NOT NULL";
    assert_eq!(project.rows(bronze), ["2,2"]);
}

fn dead_letters_are_taken_in_again_from_the_page(project: &Project, page: &str) {
    let shown = http::get(page, "/quality");
    let letters = shown
        .split("id=\"letters-title\"")
        .nth(1)
        .expect("a section");
    assert!(
        letters.contains("employees") && letters.contains("/quality/letters"),
        "{letters}"
    );
    let answer = http::send(page, "/quality", "/quality/letters", "");
    assert!(
        answer.starts_with("HTTP/1.1 303") && answer.contains("/quality?done=letters"),
        "{answer}"
    );
    while json(project, 0, &["dlq", "list"])[0]["attempt"] != 3 {}
    http::get(page, "/quality?done=letters");
}

fn a_suite_becomes_lines(project: &Project, up: &mut crate::project::Running) {
    project.write("suite.json", SUITE);
    let printed = said(project, 0, &["expectations", "import", "suite.json"]);
    assert!(
        printed.contains("-- @expect nom_not_be_null: nom IS NOT NULL ON VIOLATION WARN"),
        "{printed}"
    );
    assert!(
        printed.contains("kl_divergence"),
        "what does not map is listed: {printed}"
    );
    let file = "sql/silver/employees.sql";
    let before = project.read(file);
    let into = [
        "expectations",
        "import",
        "suite.json",
        "--into",
        "silver.employees",
    ];
    let dry = said(project, 0, &[into.as_slice(), &["--dry-run"]].concat());
    assert!(dry.contains("2 lines would go into"), "{dry}");
    assert_eq!(project.read(file), before);
    let quarantining = [into.as_slice(), &["--on-violation", "quarantine"]].concat();
    let taken = json(project, 0, &quarantining);
    assert_eq!(taken["rules"].as_array().map(Vec::len), Some(2), "{taken}");
    assert_eq!(
        taken["left_out"].as_array().map(Vec::len),
        Some(2),
        "{taken}"
    );
    assert!(
        project
            .read(file)
            .contains("nom IS NOT NULL ON VIOLATION QUARANTINE")
    );
    up.wait_for("silver/employees.sql");
    let rules = json(project, 0, &["explain", "silver.employees"]);
    assert!(rules.to_string().contains("nom_not_be_null"), "{rules}");
}

fn wrong_names_are_met_with_the_nearest(project: &Project) {
    for (code, arguments, near) in [
        (
            3,
            ["validate", "silver.employes"].as_slice(),
            "silver.employees",
        ),
        (
            3,
            &["quarantine", "list", "silver.employes"],
            "silver.employees",
        ),
        (
            3,
            &["quarantine", "replay", "gold.indicateur"],
            "gold.indicateurs",
        ),
        (
            3,
            &["dlq", "list", "sportsdata.public.employes"],
            "bronze.employees",
        ),
        (3, &["dlq", "replay", "employes"], "bronze.employees"),
        (
            3,
            &[
                "expectations",
                "import",
                "suite.json",
                "--into",
                "silver.employes",
            ],
            "silver.employees",
        ),
        (3, &["explain", "gold.eligibilite"], "gold.eligibilites"),
        (3, &["why", "gold.eligibilite", "1"], "gold.eligibilites"),
        (
            3,
            &["refresh", "+gold.eligibilite+", "--dry-run"],
            "gold.eligibilites",
        ),
        (2, &["validate", "--fail-on", "broke"], "broken"),
        (2, &["dlq", "lst"], "list"),
        (2, &["quarantine", "replay", "--dryrun"], "--dry-run"),
        (2, &["apply", "--rollbak"], "--rollback"),
        (2, &["plan", "--no-row"], "--no-rows"),
        (2, &["sources", "updte"], "update"),
    ] {
        let answer = said(project, code, arguments);
        assert!(answer.starts_with("error: "), "{arguments:?}: {answer}");
        assert!(
            answer.contains(near),
            "{arguments:?} has no {near}: {answer}"
        );
    }
    let file = ["expectations", "import", "nowhere.json"];
    assert!(said(project, 3, &file).contains("nowhere.json"));
    project.write("suite.json", "[1, 2");
    assert!(said(project, 2, &["expectations", "import", "suite.json"]).starts_with("error: "));
    assert!(said(project, 2, &["explain", "bronze.employees"]).contains("hint: "));
}

#[test]
fn a_refresh_of_some_tables_names_them_and_does_them_in_order() {
    let project = Project::new();
    let names = |arguments: &[&str]| -> Vec<String> {
        let listed = json(&project, 0, arguments);
        let listed = listed.as_array().expect("a list").iter();
        listed
            .map(|row| row["table"].as_str().expect("a name").to_owned())
            .collect()
    };
    let below = names(&["refresh", "silver.employees+", "--dry-run"]);
    assert_eq!(below[0], "silver.employees");
    assert!(below.contains(&"gold.cout_par_bu".to_owned()), "{below:?}");
    let above = names(&["refresh", "+gold.cout_par_bu", "--dry-run"]);
    assert_eq!(above.last().map(String::as_str), Some("gold.cout_par_bu"));
    let both = names(&["refresh", "+gold.eligibilites+", "--dry-run"]);
    let place = |name: &str| {
        both.iter()
            .position(|table| table == name)
            .expect("selected")
    };
    assert!(place("silver.employees") < place("gold.eligibilites"));
    assert!(place("gold.eligibilites") < place("gold.cout_par_bu"));
    assert!(!project.path("data").exists(), "something was written");
    let unbuilt = said(&project, 2, &["refresh", "gold.cout_par_bu"]);
    assert!(
        unbuilt.contains("sportlake refresh +gold.cout_par_bu"),
        "{unbuilt}"
    );
}
