use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Value, ValueWithSpan, VisitMut,
    visit_expressions_mut,
};

use crate::principal::Principal;

const FUNCTION: &str = "attribute";

/// Puts what is known about somebody in the place of `attribute('name')`; NULL for what is not known, and for nobody.
///
/// The error is a call that is not of this form.
pub(super) fn put(node: &mut impl VisitMut, principal: Option<&Principal>) -> Result<(), String> {
    let put = visit_expressions_mut(node, |expr: &mut Expr| {
        let Expr::Function(call) = expr else {
            return ControlFlow::Continue(());
        };
        let name = call.name.to_string();
        if !name.trim_matches('"').eq_ignore_ascii_case(FUNCTION) {
            return ControlFlow::Continue(());
        }
        let Some(attribute) = argument(&call.args) else {
            return ControlFlow::Break(name);
        };
        let known = principal.and_then(|principal| principal.attribute(attribute));
        let value = match known {
            Some(text) => Value::SingleQuotedString(text.to_owned()),
            None => Value::Null,
        };
        *expr = Expr::Cast {
            kind: sqlparser::ast::CastKind::Cast,
            expr: Box::new(Expr::Value(ValueWithSpan {
                value,
                span: sqlparser::tokenizer::Span::empty(),
            })),
            data_type: sqlparser::ast::DataType::Varchar(None),
            array: false,
            format: None,
        };
        ControlFlow::Continue(())
    });
    match put {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(_) => Err(format!("{FUNCTION} takes the name of one attribute")),
    }
}

fn argument(arguments: &FunctionArguments) -> Option<&str> {
    let FunctionArguments::List(list) = arguments else {
        return None;
    };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value)))] => match &value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}
