//! A column without a name is called by what was written for it, not by what that was made into.

use sqlparser::ast::{Ident, SelectItem};

use super::escapes::ODBC;

pub(super) fn keep(columns: &mut [SelectItem], written: &[SelectItem]) {
    for (column, written) in columns.iter_mut().zip(written) {
        if let (SelectItem::UnnamedExpr(made), SelectItem::UnnamedExpr(written)) =
            (&*column, written)
            && made != written
        {
            let name = written.to_string().replace(ODBC, "");
            *column = SelectItem::ExprWithAlias {
                expr: made.clone(),
                alias: Ident::with_quote('"', name),
            };
        }
    }
}
