//! Equality that report builders spell out, as `IS NOT DISTINCT FROM`: that one is a hash join, the other compares every
//! row with every row.

use sqlparser::ast::{BinaryOperator, Expr, JoinConstraint, JoinOperator, Select};

/// `a = b AND a IS NOT NULL AND b IS NOT NULL OR a IS NULL AND b IS NULL` is that for every value, so it is wherever it
/// stands.
pub(super) fn rewrite(expr: &mut Expr) {
    if let Some(same) = same(expr, true) {
        *expr = same;
    }
}

/// `a = b OR a IS NULL AND b IS NULL` may be NULL where the other is false, which makes no difference to a condition that
/// rows are joined on.
pub(super) fn rewrite_joins(select: &mut Select) {
    let joins = select.from.iter_mut().flat_map(|from| &mut from.joins);
    for join in joins {
        if let Some(on) = condition(&mut join.join_operator) {
            rewrite_conjuncts(on);
        }
    }
}

fn condition(operator: &mut JoinOperator) -> Option<&mut Expr> {
    match operator {
        JoinOperator::Join(JoinConstraint::On(on))
        | JoinOperator::Inner(JoinConstraint::On(on))
        | JoinOperator::Left(JoinConstraint::On(on))
        | JoinOperator::LeftOuter(JoinConstraint::On(on))
        | JoinOperator::Right(JoinConstraint::On(on))
        | JoinOperator::RightOuter(JoinConstraint::On(on))
        | JoinOperator::FullOuter(JoinConstraint::On(on))
        | JoinOperator::LeftSemi(JoinConstraint::On(on))
        | JoinOperator::Semi(JoinConstraint::On(on)) => Some(on),
        _ => None,
    }
}

fn rewrite_conjuncts(expr: &mut Expr) {
    match expr {
        Expr::Nested(inner) => rewrite_conjuncts(inner),
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => {
            rewrite_conjuncts(left);
            rewrite_conjuncts(right);
        }
        other => {
            if let Some(same) = same(other, false) {
                *other = same;
            }
        }
    }
}

fn same(expr: &Expr, guarded: bool) -> Option<Expr> {
    let Expr::BinaryOp {
        left,
        op: BinaryOperator::Or,
        right,
    } = expr
    else {
        return None;
    };
    let found = equal(left, right, guarded).or_else(|| equal(right, left, guarded))?;
    let (left, right) = found;
    Some(Expr::Nested(Box::new(Expr::IsNotDistinctFrom(
        Box::new(left.clone()),
        Box::new(right.clone()),
    ))))
}

fn equal<'a>(equal: &'a Expr, both_null: &Expr, guarded: bool) -> Option<(&'a Expr, &'a Expr)> {
    let mut equalities = Vec::new();
    let mut not_null = Vec::new();
    for part in conjuncts(equal) {
        match part {
            Expr::BinaryOp {
                left,
                op: BinaryOperator::Eq,
                right,
            } => equalities.push((bare(left), bare(right))),
            Expr::IsNotNull(value) => not_null.push(bare(value)),
            _ => return None,
        }
    }
    let [(left, right)] = equalities[..] else {
        return None;
    };
    let mut null = Vec::new();
    for part in conjuncts(both_null) {
        match part {
            Expr::IsNull(value) => null.push(bare(value)),
            _ => return None,
        }
    }
    let both =
        |found: &[&Expr]| found.len() == 2 && found.contains(&left) && found.contains(&right);
    let guards = match guarded {
        true => both(&not_null),
        false => not_null.is_empty(),
    };
    (left != right && guards && both(&null)).then_some((left, right))
}

fn conjuncts(expr: &Expr) -> Vec<&Expr> {
    match bare(expr) {
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => {
            let mut all = conjuncts(left);
            all.extend(conjuncts(right));
            all
        }
        other => vec![other],
    }
}

fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => bare(inner),
        other => other,
    }
}
