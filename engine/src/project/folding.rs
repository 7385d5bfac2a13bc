//! Whether a `@cdc` query can be folded: of each event it makes one row, from that event and from what it looks up.
//!
//! A fold runs the SELECT over any cut of the events, in any order. So nothing in it may look at two events, and
//! nothing may leave one out or make two rows of it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use arrow::datatypes::Schema;
use sql_files::graph::Reference;
use sql_files::syntax::normal;
use sql_files::{Cdc, Diagnostic, OnViolation, Rule, SqlFile, TableName};
use sqlparser::ast::{
    BinaryOperator, Expr, Function, GroupByExpr, Ident, JoinConstraint, JoinOperator, ObjectName,
    Query, Select, SetExpr, Spanned, TableFactor, TableWithJoins, Visit, Visitor,
    visit_expressions,
};
use sqlparser::tokenizer::Span;

/// What is known of a table that a query may look rows up in.
pub(super) struct LookedUp<'a> {
    pub(super) columns: &'a Schema,
    /// What tells its rows apart; empty where nothing does.
    pub(super) key: Vec<String>,
}

/// Why the query cannot be folded, by place.
pub(super) fn problems<'a>(
    file: &SqlFile,
    start: Span,
    references: &[Reference],
    is_aggregate: impl Fn(&str) -> bool,
    lookup: impl Fn(&TableName) -> Option<LookedUp<'a>>,
) -> Vec<Diagnostic> {
    let mut shape = Shape {
        file,
        start,
        problems: Vec::new(),
    };
    shape.query(&file.query);
    let mut events: Vec<&Reference> = references
        .iter()
        .filter(|reference| reference.schema == "bronze")
        .collect();
    let first = first_of_from(&file.query);
    events.sort_by_key(|reference| Some(reference.span) != first);
    for again in events.iter().skip(1) {
        shape.refuse(
            again.span,
            format!("@cdc reads \"bronze.{}\" a second time", again.table),
            "Each event is folded by itself. Fold each table in a file of its own, and join the results in another.",
        );
    }
    let SetExpr::Select(select) = file.query.body.as_ref() else {
        shape.refuse(
            start,
            "@cdc folds one plain SELECT".to_owned(),
            "Fold each source in a file of its own, and put the results together in another.",
        );
        return shape.problems;
    };
    shape.select(select);
    shape.calls(select, is_aggregate);
    shape.from(&select.from, lookup);
    shape.problems
}

/// What is wrong with a query or a delete condition that calls a function whose value is another one at each run: the
/// rows would depend on when their events are folded.
pub(super) fn unsteady(
    file: &SqlFile,
    cdc: &Cdc,
    start: Span,
    is_unsteady: impl Fn(&str) -> bool,
) -> Diagnostic {
    let place = |expr: &Expr| match expr {
        Expr::Function(function) if is_unsteady(&called(function)) => {
            ControlFlow::Break(function.span())
        }
        _ => ControlFlow::Continue(()),
    };
    let in_query = visit_expressions(file.query.as_ref(), place);
    let deletes = cdc.delete_when.as_ref();
    let in_condition = deletes.map(|condition| visit_expressions(condition, place));
    let found = [Some(in_query), in_condition];
    let spans = found
        .into_iter()
        .flatten()
        .filter_map(ControlFlow::break_value);
    let span = spans.into_iter().find(|span| *span != Span::empty());
    file.source()
        .at(
            span.unwrap_or(start),
            "@cdc folds each event once, and this has another value each time it is computed",
        )
        .hint("Compute it in a file in gold/, over the folded table: that is computed anew as time passes.")
}

struct Shape<'a> {
    file: &'a SqlFile,
    /// Where the SELECT begins, for what has no place of its own.
    start: Span,
    problems: Vec<Diagnostic>,
}

impl Shape<'_> {
    fn refuse(&mut self, span: Span, message: String, hint: &str) {
        let span = match span == Span::empty() {
            true => self.start,
            false => span,
        };
        self.problems
            .push(self.file.source().at(span, message).hint(hint));
    }

    fn query(&mut self, query: &Query) {
        let clauses = [
            (query.with.as_ref().map(Spanned::span), "WITH"),
            (query.order_by.as_ref().map(Spanned::span), "ORDER BY"),
            (query.limit_clause.as_ref().map(Spanned::span), "LIMIT"),
            (query.fetch.as_ref().map(Spanned::span), "FETCH"),
        ];
        for (span, word) in clauses {
            if let Some(span) = span {
                self.clause(span, word);
            }
        }
    }

    fn clause(&mut self, span: Span, word: &str) {
        self.refuse(
            span,
            format!("@cdc folds a plain SELECT, without {word}"),
            "Leave it out here: a file in gold/ may do it over the folded table.",
        );
    }

    fn select(&mut self, select: &Select) {
        if select.distinct.is_some() {
            self.clause(Span::empty(), "DISTINCT");
        }
        let groups = match &select.group_by {
            GroupByExpr::All(_) => true,
            GroupByExpr::Expressions(by, modifiers) => !by.is_empty() || !modifiers.is_empty(),
        };
        if groups {
            self.clause(select.group_by.span(), "GROUP BY");
        }
        if let Some(having) = &select.having {
            self.clause(having.span(), "HAVING");
        }
        if let Some(qualify) = &select.qualify {
            self.clause(qualify.span(), "QUALIFY");
        }
        if let Some(window) = select.named_window.first() {
            self.clause(window.span(), "WINDOW");
        }
        let others = [
            (select.top.is_some(), "TOP"),
            (!select.lateral_views.is_empty(), "LATERAL VIEW"),
            (!select.connect_by.is_empty(), "CONNECT BY"),
            (!select.cluster_by.is_empty(), "CLUSTER BY"),
            (!select.distribute_by.is_empty(), "DISTRIBUTE BY"),
            (!select.sort_by.is_empty(), "SORT BY"),
        ];
        for (is_there, word) in others {
            if is_there {
                self.clause(Span::empty(), word);
            }
        }
    }

    /// Functions over more than the row.
    fn calls(&mut self, select: &Select, is_aggregate: impl Fn(&str) -> bool) {
        let mut calls = Calls {
            depth: 0,
            is_aggregate,
            found: Vec::new(),
        };
        let _ = select.visit(&mut calls);
        for (span, what) in calls.found {
            self.refuse(
                span,
                format!("@cdc folds each event by itself, and this is {what}"),
                "Compute it in a file in gold/, over the folded table.",
            );
        }
    }

    fn from<'a>(
        &mut self,
        from: &[TableWithJoins],
        lookup: impl Fn(&TableName) -> Option<LookedUp<'a>>,
    ) {
        for more in from.iter().skip(1) {
            self.refuse(
                more.span(),
                "@cdc reads its events and one more table beside them".to_owned(),
                LOOK_UP,
            );
        }
        let Some(first) = from.first() else {
            return;
        };
        let is_events =
            |factor: &TableFactor| named(factor).is_some_and(|(name, _)| name.is_bronze());
        if !is_events(&first.relation) {
            self.refuse(
                first.relation.span(),
                "the events of @cdc come first in FROM, and from a table".to_owned(),
                "Write FROM bronze.<table>, and LEFT JOIN what is looked up.",
            );
        }
        for join in &first.joins {
            let span = join.relation.span();
            let constraint = match &join.join_operator {
                JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => constraint,
                _ => {
                    self.refuse(
                        span,
                        "this join of @cdc may leave events out or double them".to_owned(),
                        LOOK_UP,
                    );
                    continue;
                }
            };
            let found =
                named(&join.relation).and_then(|(name, alias)| Some((lookup(&name)?, name, alias)));
            let Some((table, name, alias)) = found else {
                self.refuse(
                    span,
                    "@cdc looks rows up in a table of silver or gold alone".to_owned(),
                    LOOK_UP,
                );
                continue;
            };
            if table.key.is_empty() {
                self.refuse(
                    span,
                    format!("nothing says that a row of \"{name}\" is found once, and two rows would come of one event"),
                    "Look rows up in a @cdc table by its key, or in one with a rule unique(...) ON VIOLATION FAIL.",
                );
                continue;
            }
            let bound = bound(constraint, &alias, table.columns);
            let open: Vec<&str> = table
                .key
                .iter()
                .filter(|column| !bound.contains(*column))
                .map(String::as_str)
                .collect();
            if !open.is_empty() {
                self.refuse(
                    span,
                    format!(
                        "several rows of \"{name}\" may be found for one event: ON does not say which {}",
                        open.join(", ")
                    ),
                    "Compare every column of its key with a value of the event: ON r.id = ...",
                );
            }
        }
    }
}

const LOOK_UP: &str = "Look rows up with LEFT JOIN ... ON, by every column of the other table's key; each event then stays one row.";

/// Where the first table of FROM stands.
fn first_of_from(query: &Query) -> Option<Span> {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return None;
    };
    match &select.from.first()?.relation {
        TableFactor::Table { name, .. } => Some(name.span()),
        _ => None,
    }
}

/// A table in FROM, and what its columns are qualified with.
fn named(factor: &TableFactor) -> Option<(TableName, String)> {
    let TableFactor::Table {
        name,
        alias,
        args: None,
        sample: None,
        ..
    } = factor
    else {
        return None;
    };
    let (table, shown) = table_name(name)?;
    let alias = alias.as_ref().map(|alias| normal(&alias.name));
    Some((table, alias.unwrap_or(shown)))
}

fn table_name(name: &ObjectName) -> Option<(TableName, String)> {
    let parts: Option<Vec<String>> = name
        .0
        .iter()
        .map(|part| part.as_ident().map(normal))
        .collect();
    let mut parts = parts?;
    let table = parts.pop()?;
    let schema = match parts.pop() {
        Some(schema) => schema,
        None => sql_files::DEFAULT_SCHEMA.to_owned(),
    };
    Some((TableName::new(&schema, &table).ok()?, table))
}

/// Columns of the looked-up table that the condition sets to one value for each event.
fn bound(constraint: &JoinConstraint, alias: &str, columns: &Schema) -> BTreeSet<String> {
    let mut bound = BTreeSet::new();
    match constraint {
        JoinConstraint::On(condition) => bind(condition, alias, columns, &mut bound),
        JoinConstraint::Using(names) => {
            let last = names.iter().filter_map(|name| name.0.last()?.as_ident());
            bound.extend(last.map(normal));
        }
        JoinConstraint::Natural | JoinConstraint::None => {}
    }
    bound
}

fn bind(condition: &Expr, alias: &str, columns: &Schema, bound: &mut BTreeSet<String>) {
    match condition {
        Expr::Nested(inner) => bind(inner, alias, columns, bound),
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => {
            bind(left, alias, columns, bound);
            bind(right, alias, columns, bound);
        }
        Expr::BinaryOp {
            left,
            op: BinaryOperator::Eq,
            right,
        } => {
            for (side, other) in [(left, right), (right, left)] {
                if let Some(column) = column_of(side, alias, columns)
                    && !reads(other, alias, columns)
                {
                    bound.insert(column);
                }
            }
        }
        _ => {}
    }
}

/// The looked-up table's column that an expression is.
fn column_of(expr: &Expr, alias: &str, columns: &Schema) -> Option<String> {
    let is_column = |ident: &Ident| columns.field_with_name(&normal(ident)).is_ok();
    match expr {
        Expr::Nested(inner) => column_of(inner, alias, columns),
        Expr::Identifier(ident) if is_column(ident) => Some(normal(ident)),
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [.., table, column] if normal(table) == alias && is_column(column) => {
                Some(normal(column))
            }
            _ => None,
        },
        _ => None,
    }
}

fn reads(expr: &Expr, alias: &str, columns: &Schema) -> bool {
    let found = visit_expressions(expr, |part| match column_of(part, alias, columns) {
        Some(_) => ControlFlow::Break(()),
        None => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// Finds calls over more than one row, those of subqueries left out.
struct Calls<F> {
    depth: usize,
    is_aggregate: F,
    found: Vec<(Span, &'static str)>,
}

impl<F: Fn(&str) -> bool> Visitor for Calls<F> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && self.depth == 0
        {
            let name = called(function);
            if function.over.is_some() {
                self.found.push((function.span(), "a window over several"));
            } else if (self.is_aggregate)(&name) {
                self.found
                    .push((function.span(), "an aggregate of several"));
            } else if name == "unnest" {
                self.found.push((function.span(), "several rows of one"));
            }
        }
        ControlFlow::Continue(())
    }
}

fn called(function: &Function) -> String {
    let name = function.name.0.last().and_then(|part| part.as_ident());
    name.map(normal).unwrap_or_default()
}

/// The columns by which a row of a table is found once, as far as its file promises it.
pub(super) fn unique_key(file: &SqlFile) -> Vec<String> {
    if file.directives.cdc.is_some() {
        let key = file.directives.key.iter();
        return key.map(|column| column.name.clone()).collect();
    }
    let unique = file.directives.expects.iter().find_map(|expect| {
        let Rule::Unique(columns) = &expect.rule else {
            return None;
        };
        (expect.on_violation == OnViolation::Fail && expect.fail_over_percent.is_none())
            .then(|| columns.iter().map(|column| column.name.clone()).collect())
    });
    unique.unwrap_or_default()
}
