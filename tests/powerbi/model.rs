//! The semantic model of `powerbi/`: tables, measures and relationships, and what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::dax::{self, Reference};
use super::tmdl::{self, Object};

/// What our measures are made of.
const FUNCTIONS: [&str; 6] = ["CALCULATE", "COUNTROWS", "DIVIDE", "MAX", "SUM", "TRUE"];

#[derive(Debug)]
pub(super) struct Model {
    pub(super) tables: BTreeMap<String, Table>,
    pub(super) relationships: Vec<Relationship>,
    pub(super) parameters: BTreeMap<String, String>,
    problems: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Table {
    /// The table of gold that the partition reads.
    pub(super) source: String,
    pub(super) partition: String,
    pub(super) columns: BTreeMap<String, Column>,
    pub(super) measures: BTreeMap<String, String>,
}

#[derive(Debug)]
pub(super) struct Column {
    pub(super) source: String,
    pub(super) data_type: String,
    pub(super) is_key: bool,
}

/// Many rows of `from` for one of `to`.
#[derive(Debug)]
pub(super) struct Relationship {
    pub(super) from: (String, String),
    pub(super) to: (String, String),
}

/// `data_type` of information_schema, or none where Power BI has no type for it, as TMDL's `dataType`.
///
/// Power BI's `decimal` is exact to four places (of money we send two); it has one type for days and moments.
pub(super) fn type_of_power_bi(sql: &str) -> Option<&'static str> {
    Some(match sql {
        "BIGINT" | "INTEGER" | "SMALLINT" | "TINYINT" => "int64",
        "DOUBLE" | "REAL" => "double",
        "DECIMAL" => "decimal",
        "BOOLEAN" => "boolean",
        "VARCHAR" => "string",
        "DATE" | "TIMESTAMP" | "TIMESTAMP WITH TIME ZONE" => "dateTime",
        _ => return None,
    })
}

impl Model {
    pub(super) fn read(folder: &Path) -> Self {
        let text = |path: &Path| std::fs::read_to_string(path).expect("a text file");
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder.join("tables")).expect("the tables") {
            let path = entry.expect("an entry").path();
            files.insert(path.display().to_string(), text(&path));
        }
        for name in ["database", "model", "expressions", "relationships"] {
            let path = folder.join(name).with_extension("tmdl");
            files.insert(path.display().to_string(), text(&path));
        }
        Self::of(&files)
    }

    /// The model of these texts, by the names of their files.
    pub(super) fn of(files: &BTreeMap<String, String>) -> Self {
        let mut model = Self {
            tables: BTreeMap::new(),
            relationships: Vec::new(),
            parameters: BTreeMap::new(),
            problems: Vec::new(),
        };
        let mut listed = BTreeSet::new();
        let mut tags = BTreeSet::new();
        for (file, text) in files {
            let objects = tmdl::parse(text).unwrap_or_else(|why| {
                model.problems.push(format!("{file}: {why}"));
                Vec::new()
            });
            for object in objects {
                model.tags(&object, &mut tags);
                match object.kind.as_str() {
                    "table" => {
                        model.tables.insert(object.name.clone(), Table::of(&object));
                    }
                    "expression" => {
                        model.parameters.insert(object.name, object.expression);
                    }
                    "relationship" => {
                        let place = |name| tmdl::place(object.property(name)).expect("a column");
                        model.relationships.push(Relationship {
                            from: place("fromColumn"),
                            to: place("toColumn"),
                        });
                    }
                    "ref" => {
                        listed.insert(object.name);
                    }
                    _ => {}
                }
            }
        }
        let tables: BTreeSet<String> = model.tables.keys().cloned().collect();
        if listed != tables {
            let problem = format!("model.tmdl lists {listed:?}, there are {tables:?}");
            model.problems.push(problem);
        }
        model
    }

    fn tags(&mut self, object: &Object, seen: &mut BTreeSet<String>) {
        if let Some(tag) = object.properties.get("lineageTag")
            && !seen.insert(tag.clone())
        {
            let problem = format!("{} {} has another's tag", object.kind, object.name);
            self.problems.push(problem);
        }
        if matches!(object.kind.as_str(), "table" | "column" | "measure")
            && object.description.is_empty()
        {
            let problem = format!("{} {} is not described", object.kind, object.name);
            self.problems.push(problem);
        }
        for child in &object.children {
            self.tags(child, seen);
        }
    }

    /// What is wrong in the model itself.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = self.problems.clone();
        let mut measures = BTreeSet::new();
        for (name, table) in &self.tables {
            for (measure, dax) in &table.measures {
                if !measures.insert(measure) || table.columns.contains_key(measure) {
                    problems.push(format!("{name}[{measure}] is named twice"));
                }
                match dax::references(dax) {
                    Err(why) => problems.push(format!("{name}[{measure}]: {why}")),
                    Ok(references) => {
                        let unknown = references.iter().filter(|found| !self.resolves(found));
                        problems
                            .extend(unknown.map(|found| format!("{name}[{measure}]: {found:?}")));
                    }
                }
            }
            let sources: BTreeSet<&String> = table.columns.values().map(|c| &c.source).collect();
            if sources.len() != table.columns.len() {
                problems.push(format!("{name} has a source column twice"));
            }
        }
        for Relationship { from, to } in &self.relationships {
            let typed = |place: &(String, String)| {
                let column = self.column(&place.0, &place.1);
                column.map(|column| (column.data_type.clone(), column.is_key))
            };
            match (typed(from), typed(to)) {
                (Some((from_type, _)), Some((to_type, true))) if from_type == to_type => {}
                found => problems.push(format!("{from:?} -> {to:?}: {found:?}")),
            }
        }
        problems
    }

    pub(super) fn column(&self, table: &str, column: &str) -> Option<&Column> {
        self.tables.get(table)?.columns.get(column)
    }

    pub(super) fn measure(&self, name: &str) -> Option<(&String, &String)> {
        self.tables
            .values()
            .find_map(|table| table.measures.get_key_value(name))
    }

    fn resolves(&self, reference: &Reference) -> bool {
        match reference {
            Reference::Qualified(table, column) => self.column(table, column).is_some(),
            Reference::Bare(measure) => self.measure(measure).is_some(),
            Reference::Table(table) => self.tables.contains_key(table),
            Reference::Function(function) => FUNCTIONS.contains(&function.as_str()),
        }
    }

    /// What differs from gold: `(table, column)` with its type in SQL, and the keys of the tables.
    pub(super) fn differs_from(
        &self,
        gold: &BTreeMap<(String, String), String>,
        keys: &BTreeSet<(String, String)>,
    ) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, table) in &self.tables {
            for (caption, column) in &table.columns {
                let place = (table.source.clone(), column.source.clone());
                let sql = gold.get(&place);
                let expected = sql.and_then(|sql| type_of_power_bi(sql));
                if expected != Some(column.data_type.as_str()) {
                    problems.push(format!(
                        "{name}[{caption}] is {} of {place:?}, which gold has as {sql:?}",
                        column.data_type
                    ));
                }
                if column.is_key && !keys.contains(&place) {
                    problems.push(format!("{name}[{caption}] is no @key of {place:?}"));
                }
            }
            let unread = gold.keys().filter(|(source, column)| {
                *source == table.source && !table.columns.values().any(|c| c.source == *column)
            });
            problems.extend(unread.map(|place| format!("{name} leaves out {place:?}")));
        }
        problems
    }
}

impl Table {
    fn of(object: &Object) -> Self {
        let column = |column: &Object| Column {
            source: column.property("sourceColumn").to_owned(),
            data_type: column.property("dataType").to_owned(),
            is_key: column.flags.iter().any(|flag| flag == "isKey"),
        };
        let partition = object.of("partition").next().expect("a partition");
        assert_eq!(partition.property("mode"), "directQuery");
        let step = partition
            .expression
            .lines()
            .find(|line| line.contains("Kind = \"Table\""))
            .expect("a step to the table");
        Self {
            source: step.split('"').nth(1).expect("its name").to_owned(),
            partition: partition.expression.clone(),
            columns: object
                .of("column")
                .map(|found| (found.name.clone(), column(found)))
                .collect(),
            measures: object
                .of("measure")
                .map(|found| (found.name.clone(), found.expression.clone()))
                .collect(),
        }
    }
}
