//! The SQL that clients write, made into the SQL that the engine plans: a pass over the words (escapes of ODBC and
//! JDBC, `?`, time travel), then one over the syntax tree (TOP and FETCH, functions and types of other engines,
//! null-safe joins), and SHOW and DESCRIBE as queries.
//!
//! What DataFusion takes as it is keeps its meaning, so that a project's file gives the same rows here. Docs:
//! `docs/sql.md` lists what is taken, ADR 12 says why it is done here.

mod calls;
mod column_names;
mod dates;
mod escapes;
mod growth;
mod limits;
mod null_safe;
mod show;
mod template;
mod travel;
mod type_names;

use std::ops::ControlFlow;

use datafusion::error::DataFusionError;
use datafusion::sql::parser::{DFParserBuilder, Statement as Parsed};
use sql_files::depth;
use sql_files::syntax::DIALECT;
use sqlparser::ast::{
    Expr, Query, Select, SelectItem, Statement as Sql, TableFactor, VisitMut, VisitorMut,
};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::ParserError;
use sqlparser::tokenizer::{TokenWithSpan, Tokenizer};

use crate::error::{Error, ErrorKind, Result};

pub(crate) use travel::{At, Travel};

/// Longest statement accepted, bytes.
const MAX_SQL_BYTES: usize = 256 << 10;

/// Tables of other moments that one statement may name: each is opened before it is planned.
const MAX_TRAVELS: usize = 32;

/// A statement below this size cannot be deep enough to exhaust any stack while it is parsed.
const SHALLOW_SQL_BYTES: usize = 4 << 10;

/// One statement, ready to be planned.
pub(crate) struct Read {
    pub(crate) statement: Parsed,
    /// How many `?` there were; they are `$1`, `$2` and so on.
    pub(crate) questions: usize,
    /// The tables of other moments that it names.
    pub(crate) travels: Vec<Travel>,
}

/// Reads one statement that only reads; unqualified names are in `schema`.
///
/// # Errors
/// `InvalidRequest` for SQL that is wrong, too long, too deep or would write.
pub(crate) fn read(sql: &str, schema: &str, nesting: usize) -> Result<Read> {
    if sql.len() > MAX_SQL_BYTES {
        return Err(Error::invalid(format!(
            "the statement is longer than {MAX_SQL_BYTES} bytes"
        )));
    }
    if sql.len() < SHALLOW_SQL_BYTES {
        return read_here(sql, schema, nesting);
    }
    depth::with_deep_stack(|| read_here(sql, schema, nesting)).unwrap_or_else(|| {
        Err(Error::new(
            ErrorKind::ResourceExhausted,
            "no thread could be had to read the statement",
        ))
    })
}

/// Reads SQL as project files are read, so that a query gives the same there and here. Only its words are told apart as
/// clients write them: to PostgreSQL itself `?` is an operator, to drivers it is a parameter.
fn read_here(sql: &str, schema: &str, nesting: usize) -> Result<Read> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql)
        .tokenize_with_location()
        .map_err(|error| syntax(error.into()))?;
    let words = escapes::plain(tokens)?;
    if words.travels.len() > MAX_TRAVELS {
        return Err(Error::invalid(format!(
            "the statement names more than {MAX_TRAVELS} tables of other moments"
        ))
        .hint("Ask for them in several statements."));
    }
    let mut statement = one_statement(words.tokens, nesting)?;
    check_reading(&statement)?;
    if let Some(query) = show::query(&statement, schema)? {
        statement = one_statement(show::tokens(&query).map_err(syntax)?, nesting)?;
    }
    rewrite(&mut statement)?;
    Ok(Read {
        statement,
        questions: words.questions,
        travels: words.travels,
    })
}

fn syntax(error: ParserError) -> Error {
    Error::from(DataFusionError::SQL(Box::new(error), None))
}

fn one_statement(tokens: Vec<TokenWithSpan>, nesting: usize) -> Result<Parsed> {
    let mut statements = DFParserBuilder::new(tokens)
        .with_dialect(&DIALECT)
        .with_recursion_limit(nesting)
        .build()?
        .parse_statements()?;
    match (statements.pop_front(), statements.is_empty()) {
        (Some(statement), true) => Ok(statement),
        (Some(_), false) => {
            Err(Error::invalid("there are several statements in one")
                .hint("Send them one at a time."))
        }
        (None, _) => Err(Error::invalid("there is no statement")),
    }
}

fn check_reading(parsed: &Parsed) -> Result<()> {
    let reads = match parsed {
        Parsed::Explain(explain) => return check_reading(&explain.statement),
        Parsed::Statement(statement) if matches!(statement.as_ref(), Sql::Kill { .. }) => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "there is no statement here that KILL could end",
            )
            .hint("Send KILL by itself, over Flight SQL, to the server that runs the statement."));
        }
        Parsed::Statement(statement) => matches!(
            statement.as_ref(),
            Sql::Query(_)
                | Sql::Explain { .. }
                | Sql::ExplainTable { .. }
                | Sql::ShowCatalogs { .. }
                | Sql::ShowDatabases { .. }
                | Sql::ShowSchemas { .. }
                | Sql::ShowTables { .. }
                | Sql::ShowViews { .. }
                | Sql::ShowColumns { .. }
                | Sql::ShowVariable { .. }
        ),
        _ => false,
    };
    if reads { Ok(()) } else { Err(read_only()) }
}

pub(crate) fn read_only() -> Error {
    Error::invalid("only reading statements are served")
        .hint("Tables change by editing the files under sql/; here SELECT, WITH, EXPLAIN, SHOW and DESCRIBE work.")
}

fn rewrite(parsed: &mut Parsed) -> Result<()> {
    let statement = match parsed {
        Parsed::Explain(explain) => return rewrite(&mut explain.statement),
        Parsed::Statement(statement) => statement,
        _ => return Ok(()),
    };
    if depth::is_too_deep(statement.as_ref(), depth::STATEMENT_DEPTH) {
        return Err(Error::invalid("the statement is nested too deeply")
            .hint("Write a long chain of OR as IN (...), and a long UNION as VALUES."));
    }
    growth::check(statement.as_ref())?;
    match VisitMut::visit(statement.as_mut(), &mut Rewriter::default()) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

#[derive(Default)]
struct Rewriter {
    budget: template::Budget,
    /// The columns of the SELECTs that are being visited, as they are written.
    written: Vec<Vec<SelectItem>>,
}

impl VisitorMut for Rewriter {
    type Break = Box<Error>;

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Box<Error>> {
        flow(limits::rewrite(query))
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Box<Error>> {
        self.written.push(select.projection.clone());
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Box<Error>> {
        if let Some(written) = self.written.pop() {
            column_names::keep(&mut select.projection, &written);
        }
        null_safe::rewrite_joins(select);
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<Box<Error>> {
        travel::keep_name(table);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Box<Error>> {
        null_safe::rewrite(expr);
        flow(type_names::rewrite(expr).and_then(|()| calls::rewrite(expr, &mut self.budget)))
    }
}

fn flow(result: Result<()>) -> ControlFlow<Box<Error>> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(Box::new(error)),
    }
}

#[cfg(test)]
mod tests;
