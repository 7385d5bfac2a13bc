//! Expressions with holes.

use std::ops::ControlFlow;

use sql_files::syntax::DIALECT;
use sqlparser::ast::{Expr, Value, ValueWithSpan, Visit, VisitMut, Visitor, VisitorMut};
use sqlparser::parser::Parser;

use crate::error::{Error, Result};

/// What may be written out of one statement, in nodes: a template may use an argument more than once, and calls nest.
const MOST_NODES: usize = 20_000;

/// What one statement may still write out.
pub(super) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(MOST_NODES)
    }
}

impl Budget {
    fn spend(&mut self, nodes: usize) -> Result<()> {
        self.0 = self.0.checked_sub(nodes).ok_or_else(|| {
            Error::invalid("the statement nests too many functions")
                .hint("Compute the inner ones in a subquery of their own.")
        })?;
        Ok(())
    }
}

/// The expression of a text of ours, with `$1`, `$2` and so on as holes.
pub(super) fn parse(text: &str) -> Expr {
    Parser::new(&DIALECT)
        .try_with_sql(text)
        .and_then(|mut parser| parser.parse_expr())
        .expect("templates are SQL: a test parses each")
}

/// A template with arguments in its holes.
pub(super) fn fill(template: &Expr, arguments: &[Expr], budget: &mut Budget) -> Result<Expr> {
    let mut filled = template.clone();
    let arguments = arguments
        .iter()
        .map(|argument| (argument, nodes(argument)))
        .collect();
    match VisitMut::visit(&mut filled, &mut Filler { arguments, budget }) {
        ControlFlow::Continue(()) => Ok(filled),
        ControlFlow::Break(error) => Err(*error),
    }
}

struct Filler<'a> {
    arguments: Vec<(&'a Expr, usize)>,
    budget: &'a mut Budget,
}

impl VisitorMut for Filler<'_> {
    type Break = Box<Error>;

    /// After the visit, so that a parameter of the statement within an argument is no hole.
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Box<Error>> {
        let argument = hole(expr).and_then(|index| self.arguments.get(index - 1));
        if let Some((argument, nodes)) = argument {
            if let Err(error) = self.budget.spend(*nodes) {
                return ControlFlow::Break(Box::new(error));
            }
            *expr = (*argument).clone();
        }
        ControlFlow::Continue(())
    }
}

fn hole(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(ValueWithSpan {
            value: Value::Placeholder(name),
            ..
        }) => name
            .strip_prefix('$')?
            .parse()
            .ok()
            .filter(|index| *index > 0),
        _ => None,
    }
}

fn nodes(expr: &Expr) -> usize {
    struct Count(usize);
    impl Visitor for Count {
        type Break = ();
        fn pre_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
            self.0 += 1;
            ControlFlow::Continue(())
        }
    }
    let mut count = Count(0);
    let _ = expr.visit(&mut count);
    count.0
}
