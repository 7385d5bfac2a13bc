use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, ident};
use futures::StreamExt;
use sql_files::TableName;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::columns::FoldColumns;
use super::evaluator::Evaluator;
use super::slot::Slot;
use super::statement::FoldStatements;
use crate::bronze;
use crate::delta::DataFile;
use crate::epoch::{Intent, Manifest};
use crate::error::{Error, ErrorKind, Result};
use crate::functions::Image;
use crate::lake::Lake;
use crate::pinned::PinnedTable;
use crate::project::SqlFile;
use crate::refresh::Refresher;
use crate::refresh::due::Versions;
use crate::refresh::progress::{Progress, Step};
use crate::session::{bronze_view, one_partition};

/// Messages that are worth a worker of their own.
const MESSAGES_A_WORKER: u64 = 16_384;

/// The messages that a fold takes in.
pub(super) struct Events {
    pub(super) table: TableName,
    /// Files that are new to the fold.
    pub(super) new: Vec<DataFile>,
    /// Version of the table that the fold reads.
    pub(super) version: u64,
}

impl Events {
    /// How many messages are new, as far as the files say.
    pub(super) fn messages(&self) -> u64 {
        self.new.iter().filter_map(|file| file.rows).sum()
    }
}

/// One fold: what it reads and how.
pub(super) struct Folding<'a> {
    pub(super) next: &'a Manifest,
    pub(super) intent: &'a Intent,
    pub(super) inputs: &'a Versions,
    pub(super) file: &'a SqlFile,
    pub(super) declared: Vec<TableName>,
    pub(super) columns: FoldColumns,
    pub(super) statements: Arc<FoldStatements>,
    pub(super) events: Option<Events>,
}

impl Folding<'_> {
    /// Bronze columns by which events of a key follow each other.
    pub(super) fn sequence(&self) -> Vec<&str> {
        let cdc = self.file.directives.cdc.iter();
        cdc.flat_map(|cdc| &cdc.sequence)
            .map(|column| column.name.as_str())
            .collect()
    }
}

impl Refresher {
    /// Evaluates the new messages, and hands their events over in batches, in no order.
    pub(super) async fn each_event(
        &self,
        folding: &Folding<'_>,
        only: Option<Expr>,
        mut take: impl FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let Some(events) = &folding.events else {
            return Ok(());
        };
        let messages = events.messages();
        let progress = Progress::new(&folding.file.name, Step::ReadMessages, messages);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers =
            usize::try_from(messages / MESSAGES_A_WORKER + 1).map_or(cores, |n| n.min(cores));
        let mut evaluators = Vec::with_capacity(workers);
        for _ in 0..workers {
            evaluators.push(self.evaluator(folding, events).await?);
        }
        let read = evaluators.first().map(Evaluator::columns_read);
        let messages = self
            .messages(events, events.new.clone(), only, &read.unwrap_or_default())
            .await?;
        let messages = Arc::new(Mutex::new((messages, progress)));
        let (sender, mut evaluated) = mpsc::channel(workers * 2);
        let mut work = JoinSet::new();
        for evaluator in evaluators {
            work.spawn(evaluate(evaluator, messages.clone(), sender.clone()));
        }
        drop(sender);
        while let Some(batch) = evaluated.recv().await {
            take(batch?)?;
        }
        while let Some(ended) = work.join_next().await {
            ended.map_err(|error| {
                Error::new(ErrorKind::Internal, "evaluating events broke off").caused_by(error)
            })?;
        }
        Ok(())
    }

    pub(super) async fn evaluator(
        &self,
        folding: &Folding<'_>,
        events: &Events,
    ) -> Result<Evaluator> {
        let slot = Slot::new(self.bronze_files(events, Vec::new()).columns());
        let source = bronze_view(Arc::new(slot.clone()), Image::Current)?;
        let replaced = Some((events.table.clone(), source));
        let declared = folding.declared.clone();
        let context = self.inputs_context(folding.next, folding.inputs, declared, replaced)?;
        Evaluator::new(
            slot,
            one_partition(&context),
            folding.statements.clone(),
            folding.columns.clone(),
            folding.intent.now,
        )
        .await
    }

    /// The messages in some files of bronze, with the columns at these positions; the others are NULL.
    pub(super) async fn messages(
        &self,
        events: &Events,
        files: Vec<DataFile>,
        only: Option<Expr>,
        columns: &[usize],
    ) -> Result<SendableRecordBatchStream> {
        let path = Lake::table_path(&events.table);
        let sessions = self
            .sessions
            .of_batches(self.lake.batch_rows(&path, &files).await);
        let source = self.bronze_files(events, files);
        let schema = source.columns();
        let mut frame = sessions.context([])?.read_table(Arc::new(source))?;
        if let Some(only) = only {
            frame = frame.filter(only)?;
        }
        let columns: Vec<Expr> = columns
            .iter()
            .map(|index| ident(schema.field(*index).name()))
            .collect();
        Ok(frame.select(columns)?.execute_stream().await?)
    }

    pub(super) fn bronze_files(&self, events: &Events, files: Vec<DataFile>) -> PinnedTable {
        PinnedTable::of_files(
            &self.lake,
            &Lake::table_path(&events.table),
            bronze::schema(),
            bronze::layout().partition_columns,
            files,
        )
    }
}

async fn evaluate(
    mut evaluator: Evaluator,
    messages: Arc<Mutex<(SendableRecordBatchStream, Progress)>>,
    sender: mpsc::Sender<Result<RecordBatch>>,
) {
    loop {
        let batch = {
            let mut reading = messages.lock().await;
            let Some(batch) = reading.0.next().await else {
                return;
            };
            let rows = batch.as_ref().map_or(0, |batch| batch.num_rows() as u64);
            reading.1.add(rows);
            batch
        };
        let batch = match batch {
            Ok(batch) => evaluator.messages(&batch).await,
            Err(error) => Err(error.into()),
        };
        let (events, failed) = match batch {
            Ok(events) => (events, None),
            Err(error) => (Vec::new(), Some(Err(error))),
        };
        let is_over = failed.is_some();
        for event in events.into_iter().map(Ok).chain(failed) {
            // The other side is gone when it failed itself.
            if sender.send(event).await.is_err() {
                return;
            }
        }
        if is_over {
            return;
        }
    }
}
