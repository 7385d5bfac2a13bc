//! How far a query has read what it reads.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use sql_files::TableName;

use super::progress::{PAUSE, Progress, Step};
use crate::error::Result;

/// Rows that a scan read and put aside at once, as the reader of Parquet counts them.
const PASSED_OVER: &str = "pushdown_rows_pruned";

/// The scans of a query and how many rows they have to read. Rows of parts of a file that its statistics rule out are
/// never read, so that the end may come before all are.
pub(super) struct Reading {
    scans: Vec<Arc<dyn ExecutionPlan>>,
    progress: Progress,
}

impl Reading {
    pub(super) fn new(table: &TableName, plan: &Arc<dyn ExecutionPlan>) -> Result<Self> {
        let (statistics, whole) = (StatisticsContext::new(), StatisticsArgs::new());
        let (mut scans, mut rows) = (Vec::new(), 0);
        let mut nodes = vec![plan];
        while let Some(node) = nodes.pop() {
            nodes.extend(node.children());
            if !node.children().is_empty() {
                continue;
            }
            let known = statistics.compute(node.as_ref(), &whole)?;
            if let Some(count) = known.num_rows.get_value() {
                rows += *count as u64;
                scans.push(node.clone());
            }
        }
        Ok(Self {
            scans,
            progress: Progress::new(table, Step::ReadRows, rows),
        })
    }

    /// Waits for what the query makes, and tells meanwhile how far it has read.
    pub(super) async fn beside<T>(&mut self, made: impl Future<Output = T>) -> T {
        let mut made = std::pin::pin!(made);
        loop {
            let made = tokio::select! {
                biased;
                made = &mut made => Some(made),
                () = tokio::time::sleep(PAUSE) => None,
            };
            if self.progress.is_due() {
                self.progress.reach(self.rows());
            }
            if let Some(made) = made {
                return made;
            }
        }
    }

    /// Rows read so far.
    fn rows(&self) -> u64 {
        let metrics = self.scans.iter().filter_map(|scan| scan.metrics());
        let rows = metrics.map(|metrics| {
            let passed_over = metrics.sum_by_name(PASSED_OVER);
            let passed_over = passed_over.map_or(0, |count| count.as_usize());
            (metrics.output_rows().unwrap_or(0) + passed_over) as u64
        });
        rows.sum()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::TryStreamExt;

    use super::*;
    use crate::lake::Lake;
    use crate::refresh::tests::World;
    use crate::session::Sessions;
    use crate::snapshots::Snapshots;

    #[tokio::test(flavor = "multi_thread")]
    async fn rows_count_once_they_are_read_whether_the_query_keeps_them_or_not() {
        let mut world = World::new().await;
        let rows = [1, 2, 3, 4].map(|id| format!(r#"{{"id":{id},"name":"A","age":{}}}"#, id * 10));
        let events: Vec<(i64, &str, &str)> =
            rows.iter().map(|row| (1, "c", row.as_str())).collect();
        world.events(&events).await;
        let mut refresher = world.refresher().await;
        let turned = refresher.turn().await.expect("a turn");
        let crate::refresh::Turn::Published(manifest) = turned else {
            panic!("nothing published");
        };
        let name: TableName = "silver.people".parse().expect("a name");
        let state = &manifest.tables[&name];
        let lake: &Lake = &world.lake;
        let stored = crate::reader::stored_table(lake, &Snapshots::new(lake), &name, state);
        let sessions = Sessions::new(chrono_tz::Tz::UTC, 1 << 24).expect("sessions");
        let sessions = sessions.reading(lake);
        let people = (name.clone(), Arc::new(stored) as _);
        let context = sessions.context([people]).expect("a context");
        let sql = "SELECT count(*) FROM silver.people a JOIN silver.people b ON a.id = b.id \
                   WHERE a.age IN (10, 30) AND b.name = 'A'";
        let state = context.state();
        let plan = state.create_logical_plan(sql).await.expect("a plan");
        let plan = state.create_physical_plan(&plan).await.expect("a plan");
        let reading = Reading::new(&name, &plan).expect("a reading");
        assert_eq!((reading.scans.len(), reading.rows()), (2, 0));
        let rows = datafusion::physical_plan::execute_stream(plan, context.task_ctx());
        let rows: Vec<_> = rows.expect("running").try_collect().await.expect("rows");
        assert_eq!(rows.len(), 1);
        assert_eq!(reading.rows(), 8);
    }
}
