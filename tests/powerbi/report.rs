//! The pages and visuals of `powerbi/sportlake.Report`, and what is wrong with them.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::model::Model;

#[derive(Debug)]
pub(super) struct Visual {
    pub(super) name: String,
    pub(super) fields: Vec<Field>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    Column(String, String),
    Measure(String, String),
}

/// The field wells of each type of visual that the report uses.
const WELLS: [(&str, &[&str]); 6] = [
    ("card", &["Values"]),
    ("clusteredBarChart", &["Category", "Series", "Y"]),
    ("clusteredColumnChart", &["Category", "Series", "Y"]),
    ("lineChart", &["Category", "Series", "Y"]),
    ("slicer", &["Values"]),
    ("tableEx", &["Values"]),
];

pub(super) fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("a text file");
    serde_json::from_str(&text).expect("JSON")
}

/// Every visual, and what is wrong in the pages.
pub(super) fn read(definition: &Path) -> (Vec<Visual>, Vec<String>) {
    let mut problems = Vec::new();
    let mut visuals = Vec::new();
    let pages = json(&definition.join("pages/pages.json"));
    let listed: BTreeSet<&str> = pages["pageOrder"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let mut found = BTreeSet::new();
    for folder in folders(&definition.join("pages")) {
        let page = json(&definition.join("pages").join(&folder).join("page.json"));
        if page["name"] != folder.as_str() {
            problems.push(format!("page {folder} is named {}", page["name"]));
        }
        for name in folders(&definition.join("pages").join(&folder).join("visuals")) {
            let place = definition.join(format!("pages/{folder}/visuals/{name}/visual.json"));
            let visual = json(&place);
            let name = format!("{folder}/{name}");
            problems.extend(misplaced(&name, &visual, &page));
            visuals.push(Visual {
                fields: fields(&name, &visual, &mut problems),
                name,
            });
        }
        found.insert(folder);
    }
    if found.iter().map(String::as_str).collect::<BTreeSet<_>>() != listed {
        problems.push(format!("pages.json lists {listed:?}, there are {found:?}"));
    }
    (visuals, problems)
}

fn folders(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).expect("a folder");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

fn misplaced(name: &str, visual: &Value, page: &Value) -> Option<String> {
    let at = |key: &str| visual["position"][key].as_f64().unwrap_or(f64::NAN);
    let size = |key: &str| page[key].as_f64().unwrap_or(f64::NAN);
    let inside = at("x") >= 0.0
        && at("y") >= 0.0
        && at("x") + at("width") <= size("width")
        && at("y") + at("height") <= size("height");
    let named = name.ends_with(&format!("/{}", visual["name"].as_str().unwrap_or_default()));
    (!inside || !named).then(|| format!("{name} is misplaced or misnamed"))
}

fn fields(name: &str, visual: &Value, problems: &mut Vec<String>) -> Vec<Field> {
    let visual = &visual["visual"];
    let kind = visual["visualType"].as_str().unwrap_or_default();
    let Some((_, wells)) = WELLS.iter().find(|(known, _)| *known == kind) else {
        problems.push(format!("{name}: no visual of type \"{kind}\""));
        return Vec::new();
    };
    let mut fields = Vec::new();
    let state = visual["query"]["queryState"].as_object();
    for (well, content) in state.into_iter().flatten() {
        if !wells.contains(&well.as_str()) {
            problems.push(format!("{name}: {kind} has no \"{well}\""));
        }
        for projection in content["projections"].as_array().into_iter().flatten() {
            match field(&projection["field"]) {
                Some(found) => {
                    let (Field::Column(table, own) | Field::Measure(table, own)) = &found;
                    if projection["queryRef"] != format!("{table}.{own}") {
                        problems.push(format!("{name}: {} is not {own}", projection["queryRef"]));
                    }
                    fields.push(found);
                }
                None => problems.push(format!("{name}: {}", projection["field"])),
            }
        }
    }
    let sorts = visual["query"]["sortDefinition"]["sort"].as_array();
    for sort in sorts.into_iter().flatten() {
        if !field(&sort["field"]).is_some_and(|by| fields.contains(&by)) {
            problems.push(format!("{name} is sorted by what it does not show"));
        }
    }
    if fields.is_empty() {
        problems.push(format!("{name} shows nothing"));
    }
    fields
}

fn field(value: &Value) -> Option<Field> {
    let place = |kind: &str| {
        let table = value[kind]["Expression"]["SourceRef"]["Entity"].as_str()?;
        let name = value[kind]["Property"].as_str()?;
        Some((table.to_owned(), name.to_owned()))
    };
    let column = place("Column").map(|(table, name)| Field::Column(table, name));
    column.or_else(|| place("Measure").map(|(table, name)| Field::Measure(table, name)))
}

/// Fields that the model does not have.
pub(super) fn unknown(visuals: &[Visual], model: &Model) -> Vec<String> {
    let mut problems = Vec::new();
    for visual in visuals {
        for field in &visual.fields {
            let known = match field {
                Field::Column(table, column) => model.column(table, column).is_some(),
                Field::Measure(table, measure) => model
                    .tables
                    .get(table)
                    .is_some_and(|table| table.measures.contains_key(measure)),
            };
            if !known {
                problems.push(format!("{}: {field:?}", visual.name));
            }
        }
    }
    problems
}
