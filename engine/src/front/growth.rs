//! How large a statement becomes when what WITH names is written out wherever it stands, as the planner does: forty
//! names, each of them twice the one before, are a short text and a plan that no memory holds.

use std::collections::HashMap;
use std::ops::ControlFlow;

use sqlparser::ast::{Ident, ObjectName, ObjectNamePart, Query, Statement, Visit, Visitor};

use crate::error::{Error, Result};

/// Tables that a statement may name, with its WITH written out.
const MOST: u64 = 4096;

/// # Errors
/// `InvalidRequest` for a statement that names more tables than that.
pub(super) fn check(statement: &Statement) -> Result<()> {
    match Visit::visit(statement, &mut Counter::default()) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::invalid(format!(
            "the statement names more than {MOST} tables when its WITH is written out"
        ))
        .hint("A name of WITH is planned again wherever it stands: name it fewer times.")),
    }
}

/// The queries around the place that is visited, the innermost last.
#[derive(Default)]
struct Counter(Vec<Scope>);

#[derive(Default)]
struct Scope {
    tables: u64,
    /// The names of its WITH by the query that each stands for.
    names: HashMap<*const Query, String>,
    /// The tables of each name, as soon as its query is behind.
    known: HashMap<String, u64>,
}

impl Counter {
    fn add(&mut self, tables: u64) -> ControlFlow<()> {
        let Some(scope) = self.0.last_mut() else {
            return ControlFlow::Continue(());
        };
        scope.tables = scope.tables.saturating_add(tables);
        match scope.tables > MOST {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    fn tables_of(&self, name: &ObjectName) -> u64 {
        let [ObjectNamePart::Identifier(name)] = name.0.as_slice() else {
            return 1;
        };
        let name = folded(name);
        let mut scopes = self.0.iter().rev();
        scopes
            .find_map(|scope| scope.known.get(&name).copied())
            .unwrap_or(1)
    }
}

impl Visitor for Counter {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let named = query.with.iter().flat_map(|with| &with.cte_tables);
        let names = named.map(|cte| {
            let query: *const Query = cte.query.as_ref();
            (query, folded(&cte.alias.name))
        });
        self.0.push(Scope {
            names: names.collect(),
            ..Scope::default()
        });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let Some(Scope { tables, .. }) = self.0.pop() else {
            return ControlFlow::Continue(());
        };
        if let Some(around) = self.0.last_mut()
            && let Some(name) = around.names.remove(&std::ptr::from_ref(query))
        {
            // One that names no table is planned again as well.
            around.known.insert(name, tables.max(1));
            return ControlFlow::Continue(());
        }
        self.add(tables)
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        self.add(self.tables_of(relation))
    }
}

fn folded(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}
