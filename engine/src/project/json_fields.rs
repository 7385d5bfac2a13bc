use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sql_files::graph::Reference;
use sql_files::syntax::normal;
use sql_files::{Diagnostic, SqlFile, suggest};
use sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Value,
    visit_expressions,
};
use sqlparser::tokenizer::{Location, Span};

use super::lock::SourcesLock;

/// Unknown fields of one file that are told at once.
const MOST_PROBLEMS: usize = 50;

/// Refuses fields of `before` and `after` that the sources do not have.
pub(super) fn check(
    file: &SqlFile,
    references: &[Reference],
    lock: &SourcesLock,
) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let _ = visit_expressions(&*file.query, |expr| {
        if let Some(access) = Access::of(expr) {
            problems.extend(access.objection(file, references, lock));
        }
        match problems.len() < MOST_PROBLEMS {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    });
    problems
}

/// Places in a file that read a field of a bronze table's rows.
pub(crate) fn field_uses(file: &SqlFile, table: &str, field: &str) -> Vec<Location> {
    let references = sql_files::graph::references(&file.query);
    let mut places = Vec::new();
    let _ = visit_expressions(&*file.query, |expr| {
        if let Some(access) = Access::of(expr)
            && access.field == field
            && access.tables(&references).contains(&table)
        {
            places.push(access.span.start);
        }
        ControlFlow::<()>::Continue(())
    });
    places
}

/// `after ->> 'field'`, or the same as a function call.
pub(super) struct Access<'a> {
    qualifier: Option<String>,
    pub(super) field: &'a str,
    span: Span,
}

impl<'a> Access<'a> {
    pub(super) fn of(expr: &'a Expr) -> Option<Self> {
        match expr {
            Expr::BinaryOp {
                left,
                op: BinaryOperator::Arrow | BinaryOperator::LongArrow,
                right,
            } => Self::new(left, right),
            Expr::Function(function) => {
                let name = function.name.to_string().to_lowercase();
                if !name.starts_with("json_get") && name != "json_as_text" {
                    return None;
                }
                let FunctionArguments::List(list) = &function.args else {
                    return None;
                };
                match list.args.as_slice() {
                    [
                        FunctionArg::Unnamed(FunctionArgExpr::Expr(row)),
                        FunctionArg::Unnamed(FunctionArgExpr::Expr(field)),
                        ..,
                    ] => Self::new(row, field),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn new(row: &Expr, field: &'a Expr) -> Option<Self> {
        let parts: &[Ident] = match row {
            Expr::Identifier(ident) => std::slice::from_ref(ident),
            Expr::CompoundIdentifier(parts) => parts,
            Expr::Nested(inner) => return Self::new(inner, field),
            _ => return None,
        };
        let (column, qualifier) = parts.split_last()?;
        if !matches!(normal(column).as_str(), "before" | "after") {
            return None;
        }
        let Expr::Value(value) = field else {
            return None;
        };
        let Value::SingleQuotedString(field) = &value.value else {
            return None;
        };
        Some(Self {
            qualifier: qualifier.last().map(normal),
            field,
            span: value.span,
        })
    }

    /// The bronze tables whose rows it may be about.
    pub(super) fn tables<'r>(&self, references: &'r [Reference]) -> Vec<&'r str> {
        references
            .iter()
            .filter(|reference| reference.schema == "bronze")
            .filter(|reference| match &self.qualifier {
                Some(qualifier) => reference.alias == *qualifier,
                None => true,
            })
            .map(|reference| reference.table.as_str())
            .collect()
    }

    fn objection(
        &self,
        file: &SqlFile,
        references: &[Reference],
        lock: &SourcesLock,
    ) -> Option<Diagnostic> {
        let tables = self.tables(references);
        let sources = tables.iter().filter_map(|table| lock.bronze.get(*table));
        let fields: BTreeSet<&str> = sources
            .flat_map(|source| source.fields.keys().map(String::as_str))
            .collect();
        if fields.is_empty() || fields.contains(self.field) {
            return None;
        }
        Some(
            file.source()
                .at(
                    self.span,
                    format!(
                        "rows of bronze.{} have no field \"{}\"",
                        tables[0], self.field
                    ),
                )
                .maybe_hint(suggest(self.field, "Fields are", fields)),
        )
    }
}
