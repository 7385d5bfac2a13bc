//! Fields that `sources.lock` has as `decimal(p, s)`: `after ->> 'field'` is their decimal text, in whichever of
//! Debezium's modes they come.

use std::ops::ControlFlow;

use sql_files::{SqlFile, graph, syntax};
use sqlparser::ast::visit_expressions_mut;
use sqlparser::ast::{BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments};
use sqlparser::tokenizer::Location;

use super::json_fields::Access;
use super::lock::{FieldType, SourcesLock};
use crate::functions::SOURCE_DECIMAL;

/// Puts the declared scale where the query reads such a field, so that another scale counts as another query.
///
/// A scale of zero is not: there, base64 cannot be told from a number.
pub(super) fn declare(file: &mut SqlFile, lock: &SourcesLock) {
    let references = graph::references(&file.query);
    let _ = visit_expressions_mut(&mut *file.query, |expr| {
        let is_text = matches!(
            expr,
            Expr::BinaryOp {
                op: BinaryOperator::LongArrow,
                ..
            }
        );
        let access = Access::of(expr).filter(|_| is_text);
        let scale = access.and_then(|access| {
            let tables = access.tables(&references);
            let mut sources = tables.iter().filter_map(|table| lock.bronze.get(*table));
            match sources.find_map(|source| source.fields.get(access.field))? {
                FieldType::Numeric { scale, .. } if *scale > 0 => Some(*scale),
                _ => None,
            }
        });
        if let Some(call) = scale.and_then(call) {
            let read = std::mem::replace(expr, call);
            if let Expr::Function(function) = expr
                && let FunctionArguments::List(list) = &mut function.args
                && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) =
                    list.args.first_mut()
            {
                *first = read;
            }
        }
        ControlFlow::<()>::Continue(())
    });
}

/// The call with a NULL in place of the field.
fn call(scale: u8) -> Option<Expr> {
    let sql = format!("{SOURCE_DECIMAL}(NULL, {scale})");
    let tokens = syntax::tokenize(&sql, Location::new(0, 0)).ok()?;
    syntax::parser(tokens).parse_expr().ok()
}
