//! The Power BI report and connector of `powerbi/`, as far as they can be proved without Power BI: every name resolves
//! against what the running service announces, every statement that the visuals make gives the right rows, every text
//! is read by a parser of its language.

mod dax;
mod model;
mod queries;
mod report;
mod tmdl;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::parts::part;
use crate::project::{Project, text};
use model::Model;

#[test]
fn the_report_is_true_to_gold() {
    let model = Model::read(&definition());
    assert_eq!(model.problems(), Vec::<String>::new());
    let (visuals, mut problems) = report::read(&folder().join("sportlake.Report/definition"));
    problems.extend(report::unknown(&visuals, &model));
    assert_eq!(problems, Vec::<String>::new());

    let project = Project::new().set("generator.days", "60");
    let mut up = project.start(&["up"]);
    up.wait_for("caught up");
    up.signal(Signal::SIGINT);
    up.end();
    // Nothing generates from here on: two statements see the same rows.
    let mut serve = project.start(&["serve"]);
    let line = serve.wait_for("grpc://");
    let start = line.find("grpc://").expect("an address");
    let address = line[start..].trim().to_owned();
    assert_eq!(
        model.differs_from(&columns(&project), &keys(&project)),
        Vec::<String>::new()
    );

    if let Some(python) = part("SPORTLAKE_TEST_PYTHON") {
        let tables: BTreeMap<&str, BTreeMap<&str, &str>> = model
            .tables
            .values()
            .map(|table| {
                let columns = table.columns.values();
                let types = columns.map(|c| (c.source.as_str(), c.data_type.as_str()));
                (table.source.as_str(), types.collect())
            })
            .collect();
        let statements: Vec<Value> = visuals
            .iter()
            .flat_map(|visual| queries::of(visual, &model).expect("measures that are known"))
            .collect();
        assert!(statements.len() > visuals.len(), "{statements:?}");
        let asked = project.path("visuals.json");
        let content = json!({"tables": tables, "statements": statements}).to_string();
        std::fs::write(&asked, content).expect("written");
        passes(
            Command::new(python)
                .arg(root().join("tests/clients/power_bi_report.py"))
                .args([Path::new(&address), &asked]),
        );
    }
    serve.signal(Signal::SIGINT);
    serve.end();
}

#[test]
fn what_is_renamed_is_found() {
    let mut files = BTreeMap::new();
    let tables = definition().join("tables");
    for entry in std::fs::read_dir(&tables).expect("the tables") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a text file");
        files.insert(path.display().to_string(), text);
    }
    for name in ["model.tmdl", "relationships.tmdl"] {
        let path = definition().join(name);
        let text = std::fs::read_to_string(&path).expect("a text file");
        files.insert(path.display().to_string(), text);
    }
    let whole = Model::of(&files);
    assert_eq!(whole.problems(), Vec::<String>::new());
    let gold: BTreeMap<(String, String), String> = whole
        .tables
        .values()
        .flat_map(|table| {
            let name = |source: &String| (table.source.clone(), source.clone());
            table.columns.values().map(move |column| {
                let sql = match column.data_type.as_str() {
                    "int64" => "BIGINT",
                    "double" => "DOUBLE",
                    "decimal" => "DECIMAL",
                    "boolean" => "BOOLEAN",
                    "dateTime" => "DATE",
                    _ => "VARCHAR",
                };
                (name(&column.source), sql.to_owned())
            })
        })
        .collect();
    let keys: BTreeSet<(String, String)> = gold.keys().cloned().collect();
    assert_eq!(whole.differs_from(&gold, &keys), Vec::<String>::new());

    let edited = |from: &str, to: &str| {
        let edit = |(name, text): (&String, &String)| (name.clone(), text.replace(from, to));
        let edited: BTreeMap<String, String> = files.iter().map(edit).collect();
        assert_ne!(edited, files, "\"{from}\" is in the model");
        let model = Model::of(&edited);
        let mut problems = model.problems();
        problems.extend(model.differs_from(&gold, &keys));
        let (visuals, _) = report::read(&folder().join("sportlake.Report/definition"));
        problems.extend(report::unknown(&visuals, &model));
        problems.join("\n")
    };
    for (from, to, found) in [
        // A column of gold, a caption that a measure and a visual name, a measure, a relationship, a type.
        (
            "sourceColumn: nb_primes",
            "sourceColumn: nb_prime",
            "nb_prime",
        ),
        (
            "column 'Coût des primes'",
            "column 'Coût des prime'",
            "Coût des primes",
        ),
        ("measure Primes =", "measure Prime =", "\"Primes\""),
        ("toColumn: BU.BU", "toColumn: BU.Effectif", "Effectif"),
        ("toColumn: BU.BU", "toColumn: BU.Unité", "Unité"),
        ("dataType: decimal", "dataType: double", "DECIMAL"),
        ("SUM (", "SUMM (", "SUMM"),
        ("isKey", "isKeys", "is not known"),
    ] {
        let problems = edited(from, to);
        assert!(problems.contains(found), "{from} -> {to}: {problems}");
    }
}

#[test]
fn every_text_is_read_by_its_own_parser() {
    let Some(modules) = part("SPORTLAKE_TEST_NODE_MODULES") else {
        return;
    };
    let model = Model::read(&definition());
    let mut expressions: BTreeMap<&str, &str> = model
        .tables
        .iter()
        .map(|(name, table)| (name.as_str(), table.partition.as_str()))
        .collect();
    let parameters = model.parameters.iter();
    expressions.extend(parameters.map(|(name, m)| (name.as_str(), m.as_str())));
    assert_eq!(expressions.len(), model.tables.len() + 3);
    passes(
        Command::new("node")
            .arg(root().join("tests/powerbi/texts.js"))
            .arg(folder())
            .arg(json!(expressions).to_string())
            .env("NODE_PATH", modules),
    );
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn folder() -> PathBuf {
    root().join("powerbi")
}

fn definition() -> PathBuf {
    folder().join("sportlake.SemanticModel/definition")
}

fn columns(project: &Project) -> BTreeMap<(String, String), String> {
    let sql = "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'gold'";
    let rows = project.rows(sql);
    let row = |row: String| {
        let mut cells = row.split(',').map(str::to_owned);
        let mut cell = || cells.next().expect("three cells");
        ((cell(), cell()), cell())
    };
    rows.into_iter().map(row).collect()
}

fn keys(project: &Project) -> BTreeSet<(String, String)> {
    let sql = "SELECT k.table_name, k.column_name FROM information_schema.table_constraints c \
               JOIN information_schema.key_column_usage k ON k.constraint_name = c.constraint_name \
               AND k.table_schema = c.table_schema AND k.table_name = c.table_name \
               WHERE c.table_schema = 'gold' AND c.constraint_type = 'PRIMARY KEY'";
    let pair = |row: String| {
        let (table, column) = row.split_once(',').expect("two cells");
        (table.to_owned(), column.to_owned())
    };
    project.rows(sql).into_iter().map(pair).collect()
}

#[track_caller]
fn passes(command: &mut Command) {
    let output = command.output().expect("it runs");
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
}
