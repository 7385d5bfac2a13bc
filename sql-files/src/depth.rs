//! Keeps SQL shallow enough for everything behind the parser that walks it by recursion.

use std::ops::ControlFlow;
use std::thread;

use sqlparser::ast::{Expr, Select, Visit, Visitor};

/// Expressions within expressions of a project's file; `a AND b AND c` counts two.
pub const FILE_DEPTH: usize = 100;

/// The same for a client's statement: report builders write long chains. Threads that plan have 16 MiB of stack.
pub const STATEMENT_DEPTH: usize = 800;

/// SELECTs of one query: those of a UNION nest, without the visitor telling how deep.
const MAX_SELECTS: usize = 100;

/// Words of one file, which bound the depth that parsing meets before it is measured.
pub const MAX_TOKENS: usize = 20_000;

/// Enough for an expression of `MAX_TOKENS` levels; the system commits only what is used.
const STACK_BYTES: usize = 128 << 20;

pub fn is_too_deep(node: &impl Visit, limit: usize) -> bool {
    let mut meter = Meter {
        limit,
        depth: 0,
        selects: 0,
    };
    node.visit(&mut meter).is_break()
}

struct Meter {
    limit: usize,
    depth: usize,
    selects: usize,
}

impl Visitor for Meter {
    type Break = ();

    fn pre_visit_select(&mut self, _: &Select) -> ControlFlow<()> {
        self.selects += 1;
        match self.selects > MAX_SELECTS {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.depth += 1;
        match self.depth > self.limit {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

/// Runs `work` where deep SQL cannot exhaust the stack; `None` when that place cannot be had.
pub fn with_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        thread::Builder::new()
            .name("parse".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
            .ok()?
            .join()
            .ok()
    })
}
