//! What rules count over the rows of their table.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute::concat_batches;
use arrow::datatypes::Int64Type;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;

use super::*;

#[tokio::test]
async fn rules_count_the_rows_that_violate_them() {
    let text = "\
-- @expect row: n > 1 ON VIOLATION WARN
-- @expect total: sum(n) > 100 ON VIOLATION WARN
-- @expect enough: count(*) = 5 ON VIOLATION WARN
-- @expect single: unique(n, s) ON VIOLATION WARN
SELECT * FROM (VALUES (1, 'a'), (1, 'a'), (1, 'a'), (2, 'a'), (NULL, 'b')) AS t (n, s)";
    let texts = BTreeMap::from([("gold/x.sql".to_owned(), text.to_owned())]);
    let project = Project::from_texts(texts);
    let file = &project.files[0];
    let zone = SourceConfig::default().zone().expect("a zone");
    let sessions = Sessions::new(zone, 64 << 20).expect("sessions");
    let empty = sessions.context([]).expect("a session");
    let rows = empty.sql(&file.sql).await.expect("planned").collect().await;
    let rows = rows.expect("run");
    let one = concat_batches(&rows[0].schema(), &rows).expect("one batch");
    let table = MemTable::try_new(one.schema(), vec![vec![one]]).expect("a table");
    let table: Arc<dyn TableProvider> = Arc::new(table);
    let context = sessions
        .context([(file.name.clone(), table)])
        .expect("a session");
    let mut counts = Vec::new();
    for expect in &file.directives.expects {
        let statement = crate::project::count(expect, &file.name).expect("a query");
        let plan = context.state().statement_to_plan(statement).await;
        let frame = context.execute_logical_plan(plan.expect("planned")).await;
        let batches = frame.expect("run").collect().await.expect("run");
        let one = |column: usize| {
            let values = batches[0].column(column).as_primitive::<Int64Type>();
            values.value(0)
        };
        counts.push((expect.name.as_str(), one(0), one(1)));
    }
    assert_eq!(
        counts,
        [
            ("row", 4, 5),
            ("total", 1, 5),
            ("enough", 0, 5),
            ("single", 2, 5)
        ]
    );
}
