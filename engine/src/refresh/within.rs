//! The bounds of one table's build: a time, what makes it pointless, and a panic that ends nothing else.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};
use futures::{FutureExt, StreamExt};
use sql_files::TableName;

use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;

use super::Refresher;
use super::newer::Watch;
use crate::error::{Error, ErrorKind, Result};
use crate::project::SqlFile;

/// A table that took too long rests for as many times as long, so that the others have most of the time.
const RESTS: u32 = 10;

/// Batches that a query is ahead of who takes them.
const AHEAD: usize = 2;

/// Pauses between two tries to make a table whose error may pass: each as long as all before.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// How often storage may fail for one table of an epoch before it is taken for the table's own trouble.
const FAILURES: u32 = 5;

/// The rest of a table that took too long, or of what failed.
#[derive(Debug, Clone)]
pub(super) struct Rest {
    query: String,
    pause: Duration,
    until: DateTime<Utc>,
}

/// The table for which storage failed last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failing {
    epoch: u64,
    table: TableName,
    times: u32,
}

impl Refresher {
    /// How long making one table may take.
    pub(super) fn limit(&self) -> Option<Duration> {
        let seconds = self.config.build_seconds;
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }

    /// A table took too long: another query of it is tried at once, the same one after its rest.
    pub(super) fn put_to_rest(&mut self, file: &SqlFile, now: DateTime<Utc>) {
        let pause = self.limit().unwrap_or_default().saturating_mul(RESTS);
        self.rests
            .insert(file.name.clone(), Rest::of(file, pause, now));
    }

    /// A table's error may pass: the same is tried again after a while, something else at once.
    pub(super) fn try_later(&mut self, file: &SqlFile, now: DateTime<Utc>) {
        let query = file.query_fingerprint();
        let last = self.retries.get(&file.name);
        let pause = match last.filter(|last| last.query == query) {
            Some(last) => (last.pause * 2).min(LONGEST_PAUSE),
            None => FIRST_PAUSE,
        };
        self.retries
            .insert(file.name.clone(), Rest::of(file, pause, now));
    }

    /// Whether it is time to try the same again.
    pub(super) fn is_retried(&self, file: &SqlFile, now: DateTime<Utc>) -> bool {
        let rest = self.retries.get(&file.name);
        rest.is_none_or(|rest| now >= rest.until || rest.query != file.query_fingerprint())
    }

    /// Whether storage that does not answer is the trouble of one table: it failed for it again and again, and the lake
    /// is there.
    pub(super) async fn is_its_own(&mut self, epoch: u64, table: &TableName) -> bool {
        let times = match &self.failing {
            Some(last) if last.epoch == epoch && last.table == *table => last.times + 1,
            _ => 1,
        };
        self.failing = Some(Failing {
            epoch,
            table: table.clone(),
            times,
        });
        times >= FAILURES && self.lake.check_presence().await.is_ok()
    }

    /// Whether a table took too long a short while ago, and nobody asks for it.
    pub(super) fn is_resting(&self, file: &SqlFile, now: DateTime<Utc>) -> bool {
        let rest = self.rests.get(&file.name);
        self.selection.is_none()
            && rest.is_some_and(|rest| now < rest.until && rest.query == file.query_fingerprint())
    }

    /// Opens what a table is written to, so that a build that is broken off is in the middle of no commit.
    pub(super) async fn open_writers(&mut self, file: &SqlFile, schema: &SchemaRef) -> Result<()> {
        if let Some(cdc) = &file.directives.cdc {
            let layout = super::fold::layout_of(file, cdc, schema);
            self.writer_of(&file.name, &layout).await?;
            return Ok(());
        }
        let layout = super::whole::layout(file, schema);
        self.writer_of(&file.name, &layout).await?;
        if file.has_quarantine() {
            let layout = super::whole::layout(file, &crate::quarantine::schema(schema));
            self.writer_of(&file.name.quarantine(), &layout).await?;
        }
        Ok(())
    }
}

impl Rest {
    fn of(file: &SqlFile, pause: Duration, now: DateTime<Utc>) -> Self {
        let until = chrono::Duration::from_std(pause).unwrap_or(chrono::Duration::MAX);
        Self {
            query: file.query_fingerprint(),
            pause,
            until: now
                .checked_add_signed(until)
                .unwrap_or(DateTime::<Utc>::MAX_UTC),
        }
    }
}

/// Runs what makes one table until it is done, its time is over, or the whole epoch is given up.
pub(super) async fn within<T>(
    limit: Option<Duration>,
    watch: &mut Watch,
    build: impl Future<Output = Result<T>>,
) -> Result<T> {
    let build = AssertUnwindSafe(build).catch_unwind();
    let over = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        built = build => built.unwrap_or_else(|panic| Err(broken_off(panic.as_ref()))),
        () = over => Err(too_long(limit.unwrap_or_default())),
        why = watch.ended() => Err(why.error()),
    }
}

/// The same rows from a task of its own: a query that keeps its thread busy keeps nobody from waiting for other things.
pub(super) fn apart(mut rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
    let mut receiver = RecordBatchReceiverStream::builder(rows.schema(), AHEAD);
    let sender = receiver.tx();
    receiver.spawn(async move {
        while let Some(batch) = rows.next().await {
            if sender.send(batch).await.is_err() {
                break;
            }
        }
        Ok(())
    });
    receiver.build()
}

fn too_long(limit: Duration) -> Error {
    Error::new(
        ErrorKind::DeadlineExceeded,
        format!(
            "it takes more than {} seconds to make, which refresh.build_seconds allows",
            limit.as_secs()
        ),
    )
}

/// A panic in place of rows. Its text may have values in it.
fn broken_off(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = crate::masked::masked(text.unwrap_or("it broke off"));
    Error::new(
        ErrorKind::Internal,
        format!("a defect of this program: {text}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaks() -> Result<()> {
        panic!("row 4711 is odd")
    }

    #[tokio::test]
    async fn a_panic_is_the_error_of_one_table_and_tells_no_value() {
        let mut watch = Watch::of_nobody();
        let broken = within(None, &mut watch, async { breaks() }).await;
        let broken = broken.expect_err("it broke off");
        assert_eq!(broken.kind(), ErrorKind::Internal);
        assert_eq!(broken.to_string(), "a defect of this program: row … is odd");
    }

    #[tokio::test]
    async fn what_does_not_end_is_ended() {
        let mut watch = Watch::of_nobody();
        let endless = std::future::pending::<Result<()>>();
        let ended = within(Some(Duration::from_millis(1)), &mut watch, endless).await;
        assert_eq!(
            ended.expect_err("its time is over").kind(),
            ErrorKind::DeadlineExceeded
        );
    }
}
