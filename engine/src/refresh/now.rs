use chrono::{DateTime, Utc};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};

/// Functions whose result is the time at which a statement runs.
const CLOCK_FUNCTIONS: [&str; 3] = ["now", "current_date", "current_time"];

/// Whether a plan's result depends on when it runs.
pub(crate) fn reads_clock(plan: &LogicalPlan) -> DataFusionResult<bool> {
    has(plan, is_clock)
}

/// Whether a plan may give other rows each time it runs: it reads the clock, or chance decides.
pub(crate) fn is_unsteady(plan: &LogicalPlan) -> DataFusionResult<bool> {
    has(plan, |expr| is_clock(expr) || expr.is_volatile_node())
}

fn has(plan: &LogicalPlan, is_wanted: impl Fn(&Expr) -> bool) -> DataFusionResult<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                found |= is_wanted(expr);
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// The plan with every reading of the clock replaced by `now`, so that all tables of an epoch agree on it.
///
/// Done before optimisation: DataFusion would put its own clock there.
pub(crate) fn bind(plan: LogicalPlan, now: DateTime<Utc>) -> DataFusionResult<LogicalPlan> {
    let bound = plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let bound = expr.transform_up(|expr| match &expr {
                Expr::ScalarFunction(_) if is_clock(&expr) => {
                    let wanted = expr.get_type(&DFSchema::empty())?;
                    let instant = ScalarValue::TimestampNanosecond(
                        now.timestamp_nanos_opt(),
                        Some("+00:00".into()),
                    );
                    let literal = instant.cast_to(&wanted)?;
                    Ok(Transformed::yes(Expr::Literal(literal, None)))
                }
                _ => Ok(Transformed::no(expr)),
            })?;
            Ok(bound.update_data(|expr| name.restore(expr)))
        })
    })?;
    Ok(bound.data)
}

fn is_clock(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(function) if CLOCK_FUNCTIONS.contains(&function.func.name()))
}

#[cfg(test)]
mod tests {
    use arrow::util::pretty::pretty_format_batches;
    use chrono::TimeZone;

    use super::*;
    use crate::session::Sessions;

    #[tokio::test]
    async fn every_reading_of_the_clock_is_the_epochs() {
        let sessions = Sessions::new(chrono_tz::Tz::UTC, 1 << 20).expect("sessions");
        let context = sessions.context([]).expect("a context");
        let sql = "SELECT now() AS n, current_date AS d, current_timestamp - INTERVAL '1' DAY AS y,
                   (SELECT now()) = now() AS same";
        let plan = context
            .state()
            .create_logical_plan(sql)
            .await
            .expect("a plan");
        assert!(reads_clock(&plan).expect("readable"));
        let now = Utc
            .with_ymd_and_hms(2026, 3, 29, 1, 30, 0)
            .single()
            .expect("a time");
        let plan = bind(plan, now).expect("bound");
        assert!(!reads_clock(&plan).expect("readable"));
        let frame = context.execute_logical_plan(plan).await.expect("a frame");
        let text = pretty_format_batches(&frame.collect().await.expect("rows")).expect("text");
        let text = text.to_string();
        for expected in [
            "2026-03-29T01:30:00 ",
            "2026-03-29 ",
            "2026-03-28T01:30:00 ",
            "true",
        ] {
            assert!(text.contains(expected), "{text}");
        }
    }
}
