use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use sqlparser::ast::{ObjectName, Query, Spanned, TableFactor, Visit, Visitor};
use sqlparser::tokenizer::Span;

use crate::diagnostic::Diagnostic;
use crate::file::SqlFile;
use crate::syntax::normal;
use crate::table_name::{CATALOG, DEFAULT_SCHEMA, TableName};

/// A table that a query reads.
#[derive(Debug, Clone)]
pub struct Reference {
    /// As written, in the catalog's spelling: `gold.x`.
    pub schema: String,
    pub table: String,
    /// What the query's columns are qualified with.
    pub alias: String,
    pub span: Span,
}

impl Reference {
    pub fn name(&self) -> Option<TableName> {
        TableName::new(&self.schema, &self.table).ok()
    }

    /// The table, and the one that keeps its rows out where it holds such.
    pub fn inputs(&self) -> impl Iterator<Item = TableName> {
        let name = self.name();
        let source = name.as_ref().and_then(TableName::quarantine_of);
        name.into_iter().chain(source)
    }
}

/// The tables a query reads, its own WITH tables left out.
pub fn references(query: &Query) -> Vec<Reference> {
    let mut finder = Finder::default();
    let _ = query.visit(&mut finder);
    finder.found
}

#[derive(Default)]
struct Finder {
    found: Vec<Reference>,
    with_tables: Vec<String>,
    seen: BTreeSet<(u64, u64)>,
    /// The next relation's alias, or that it is a table function.
    next: Option<Next>,
}

enum Next {
    Alias(String),
    Function,
}

impl Visitor for Finder {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let Some(with) = &query.with else {
            return ControlFlow::Continue(());
        };
        for table in &with.cte_tables {
            // A WITH table does not see itself, so its body is read before its name is known.
            if !with.recursive {
                table.visit(self)?;
            }
            self.with_tables.push(normal(&table.alias.name));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let ended = query.with.as_ref().map_or(0, |with| with.cte_tables.len());
        self.with_tables
            .truncate(self.with_tables.len().saturating_sub(ended));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { alias, args, .. } = factor {
            self.next = match (args, alias) {
                (Some(_), _) => Some(Next::Function),
                (None, Some(alias)) => Some(Next::Alias(normal(&alias.name))),
                (None, None) => None,
            };
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let next = self.next.take();
        let parts: Option<Vec<String>> = relation
            .0
            .iter()
            .map(|part| part.as_ident().map(normal))
            .collect();
        let Some(mut parts) = parts else {
            return ControlFlow::Continue(());
        };
        if matches!(next, Some(Next::Function)) {
            return ControlFlow::Continue(());
        }
        if let [name] = parts.as_slice()
            && self.with_tables.contains(name)
        {
            return ControlFlow::Continue(());
        }
        if parts.len() == 3 && parts[0] == CATALOG {
            parts.remove(0);
        }
        let span = relation.span();
        let table = parts.pop().unwrap_or_default();
        let schema = match parts.is_empty() {
            true => DEFAULT_SCHEMA.to_owned(),
            false => parts.join("."),
        };
        if self.seen.insert((span.start.line, span.start.column)) {
            self.found.push(Reference {
                alias: match next {
                    Some(Next::Alias(alias)) => alias,
                    _ => table.clone(),
                },
                schema,
                table,
                span,
            });
        }
        ControlFlow::Continue(())
    }
}

/// Tables in the order in which they can be built.
pub struct Order {
    pub order: Vec<TableName>,
    pub cycles: Vec<Diagnostic>,
}

/// Sorts the files so that each comes behind what it reads. Tables on a cycle are left out.
pub fn order(files: &BTreeMap<TableName, &SqlFile>) -> Order {
    let mut walk = Walk {
        files,
        state: BTreeMap::new(),
        path: Vec::new(),
        result: Order {
            order: Vec::new(),
            cycles: Vec::new(),
        },
    };
    for name in files.keys() {
        walk.visit(name);
    }
    walk.result
}

struct Walk<'a> {
    files: &'a BTreeMap<TableName, &'a SqlFile>,
    /// Present: being visited (`None`) or done with whether it is sound.
    state: BTreeMap<TableName, Option<bool>>,
    path: Vec<TableName>,
    result: Order,
}

impl Walk<'_> {
    /// Whether the table can be ordered. The depth is bounded by the number of files.
    fn visit(&mut self, name: &TableName) -> bool {
        let Some(file) = self.files.get(name).copied() else {
            return true;
        };
        if let Some(Some(sound)) = self.state.get(name) {
            return *sound;
        }
        self.state.insert(name.clone(), None);
        self.path.push(name.clone());
        let mut sound = true;
        for reference in references(&file.query) {
            for input in reference.inputs() {
                if let Some(None) = self.state.get(&input) {
                    sound = false;
                    self.report(file, &reference, &input);
                } else {
                    sound &= self.visit(&input);
                }
            }
        }
        self.path.pop();
        self.state.insert(name.clone(), Some(sound));
        if sound {
            self.result.order.push(name.clone());
        }
        sound
    }

    fn report(&mut self, file: &SqlFile, reference: &Reference, input: &TableName) {
        let start = self.path.iter().position(|name| name == input);
        let mut names: Vec<String> = self.path[start.unwrap_or(0)..]
            .iter()
            .map(ToString::to_string)
            .collect();
        let (message, hint) = match names.as_slice() {
            [name] => (format!("{name} reads itself"), "Read another table here."),
            _ => {
                names.push(input.to_string());
                (
                    format!("tables depend on each other: {}", names.join(" -> ")),
                    "Take one of these references out.",
                )
            }
        };
        self.result
            .cycles
            .push(file.source().at(reference.span, message).hint(hint));
    }
}
