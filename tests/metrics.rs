//! The table of `docs/metrics.md`: every instrument that the code makes, with the labels that live services tell.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use prometheus::core::Collector as _;
use prometheus::process_collector::ProcessCollector;

const HEAD: &str = "| name | kind | labels | |\n|---|---|---|---|\n";

/// Kind, labels and meaning, by name.
type Table = BTreeMap<String, (String, String, String)>;

#[test]
fn every_instrument_is_documented_and_nothing_else() {
    let written = documented();
    let mut table = instruments();
    for family in ProcessCollector::for_self().collect() {
        let kind = format!("{:?}", family.get_field_type()).to_lowercase();
        let meaning = family.help().to_owned();
        table.insert(family.name().to_owned(), (kind, String::new(), meaning));
    }
    assert!(table.len() > 50, "{}", table.len());
    for (name, (_, labels, _)) in &mut table {
        // Which are told at run time: `are_documented`.
        if let Some((_, known, _)) = written.get(name) {
            labels.clone_from(known);
        }
    }
    let text = lines(&table);
    assert!(
        page().contains(&text),
        "docs/metrics.md should have:\n{text}"
    );
}

/// What a live service tells is in the table, with its kind, labels and meaning.
#[track_caller]
pub(crate) fn are_documented(answer: &str) {
    let (told, written) = (told(answer), documented());
    assert!(told.len() > 5, "{answer}");
    let other: Table = told
        .into_iter()
        .filter(|(name, row)| written.get(name) != Some(row))
        .collect();
    assert!(
        other.is_empty(),
        "docs/metrics.md should have:\n{}",
        lines(&other)
    );
}

fn page() -> String {
    std::fs::read_to_string(root().join("docs/metrics.md")).expect("a page")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn lines(table: &Table) -> String {
    let mut text = HEAD.to_owned();
    for (name, (kind, labels, meaning)) in table {
        let _ = writeln!(text, "| `{name}` | {kind} | {labels} | {meaning} |");
    }
    text
}

fn documented() -> Table {
    let page = page();
    let rows = page.split_once(HEAD).expect("the table").1;
    let rows = rows.lines().take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, meaning] = cells[..] else {
            unreachable!("four cells: {row}")
        };
        let rest = (kind.to_owned(), labels.to_owned(), meaning.to_owned());
        (name.trim_matches('`').to_owned(), rest)
    })
    .collect()
}

/// Every instrument that a source file makes, named as the exporter names it. One that was not used yet is in no answer.
fn instruments() -> Table {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root()).expect("the workspace") {
        let folder = entry.expect("an entry").path();
        match folder.ends_with("src") {
            true => sources(&folder, &mut files),
            false => sources(&folder.join("src"), &mut files),
        }
    }
    let mut table = Table::new();
    for file in files {
        let code = std::fs::read_to_string(file).expect("a source file");
        for number in [".u64_", ".i64_", ".f64_"] {
            for made in code.split(number).skip(1) {
                let (call, rest) = made.split_once('(').unwrap_or_default();
                let (kind, end) = match call.trim_start_matches("observable_") {
                    "counter" => ("counter", "_total"),
                    "gauge" | "up_down_counter" => ("gauge", ""),
                    "histogram" => ("histogram", ""),
                    _ => continue,
                };
                let name = format!("sportlake_{}{end}", literal(rest));
                let (made, _) = rest.split_once(".build()").expect("an instrument");
                let (_, meaning) = made
                    .split_once(".with_description(")
                    .expect("a description");
                let row = (kind.to_owned(), String::new(), literal(meaning).to_owned());
                let before = table.insert(name.clone(), row);
                assert!(before.is_none(), "{name} is made twice");
            }
        }
    }
    table
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The text that stands at the beginning of code.
fn literal(code: &str) -> &str {
    let text = code.trim_start().strip_prefix('"');
    let text = text.and_then(|text| text.split_once('"'));
    text.expect("instruments have their name and meaning as text")
        .0
}

/// The families of an answer in Prometheus' text format.
fn told(answer: &str) -> Table {
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let (mut kinds, mut helps) = (BTreeMap::new(), BTreeMap::new());
    for line in answer.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
            helps.insert(name, help);
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' '))
        {
            kinds.insert(name, kind);
        } else if let Some((name, rest)) = line.split_once('{') {
            let own = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end));
            let name = own.filter(|name| kinds.contains_key(name)).unwrap_or(name);
            let inner = rest.rsplit_once('}').map_or("", |(inner, _)| inner);
            let names = inner
                .split("\",")
                .filter_map(|label| Some(label.split_once('=')?.0));
            let names = names.filter(|name| *name != "le");
            labels.entry(name).or_default().extend(names);
        }
    }
    let rows = kinds.into_iter().map(|(name, kind)| {
        let labels = labels.get(name).into_iter().flatten();
        let labels: Vec<String> = labels.map(|label| format!("`{label}`")).collect();
        let help = helps.get(name).copied().unwrap_or_default();
        let row = (kind.to_owned(), labels.join(", "), help.to_owned());
        (name.to_owned(), row)
    });
    rows.collect()
}
