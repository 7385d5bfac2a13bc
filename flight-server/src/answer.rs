//! A result on its way to the client, and what ends it early.

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoder;
use engine::{Error, ErrorKind};
use futures::{TryStreamExt, stream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use crate::admission::Place;
use crate::encode::{self, DataStream};
use crate::limits::Limit;
use crate::query_runtime::QueryRuntime;
use crate::running::{Cut, Query, Run};
use crate::{errors, metrics};

/// Encoded messages that wait for the client, beside the one being made.
const MESSAGES_WAITING: usize = 2;

/// When a statement ends, whether its result has come to its end or not.
pub(crate) struct Ends {
    pub(crate) deadline: Instant,
    pub(crate) limit: Limit,
    /// How long the client may leave a message unread.
    pub(crate) unread: Duration,
    pub(crate) stopping: CancellationToken,
}

/// Sends what is encoded, and works on no more than fits into a few messages ahead of the client.
///
/// The work ends as soon as the answer is dropped, the deadline is there or the statement is cut, whether anybody polls
/// the answer or not: a client that stops reading does not.
pub(crate) fn answer(
    messages: FlightDataEncoder,
    run: Run,
    place: Place,
    ends: Ends,
    queries: &QueryRuntime,
) -> DataStream {
    let (sender, receiver) = mpsc::channel(MESSAGES_WAITING);
    let run = Arc::new(run);
    let sending = Sending {
        query: run.query.clone(),
        limit: ends.limit,
        unread: ends.unread,
    };
    let producer = queries.spawn(async move {
        let sent = sending.all(messages, sender).await;
        drop(place);
        sent
    });
    let watchdog = watch(run.clone(), producer.abort_handle(), ends);
    let answer = Answer {
        messages: receiver,
        producer: Some(producer),
        _watchdog: AbortOnDropHandle::new(tokio::spawn(watchdog)),
        ended: Abandoned(run),
    };
    Box::pin(stream::unfold(answer, |mut answer| async move {
        let item = answer.next().await?;
        Some((item, answer))
    }))
}

/// Cuts the statement at its deadline or when the server stops, and ends the work of one that is cut.
async fn watch(run: Arc<Run>, work: AbortHandle, ends: Ends) {
    let cut = tokio::select! {
        cut = run.query.is_cut() => cut,
        () = sleep_until(ends.deadline) => ends.limit.late(),
        () = ends.stopping.cancelled() => Cut::Stopping,
    };
    run.query.cut(cut);
    work.abort();
    run.failed(run.query.is_cut().await.error().kind());
}

struct Answer {
    messages: mpsc::Receiver<FlightData>,
    /// Gone once the stream has ended.
    producer: Option<AbortOnDropHandle<Result<(), Status>>>,
    _watchdog: AbortOnDropHandle<()>,
    ended: Abandoned,
}

/// The statement, abandoned when this is dropped before it has ended otherwise.
struct Abandoned(Arc<Run>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.abandoned();
    }
}

impl Answer {
    /// An error comes from the end of the producer and not through the channel, so that a result that
    /// was cut short never looks complete.
    async fn next(&mut self) -> Option<Result<FlightData, Status>> {
        let producer = self.producer.as_mut()?;
        let run = &self.ended.0;
        let ended = tokio::select! {
            biased;
            cut = run.query.is_cut() => Err(errors::status(cut.error())),
            message = self.messages.recv() => match message {
                Some(message) => return Some(Ok(message)),
                None => producer.await.unwrap_or_else(|join| Err(errors::status(broken(join)))),
            },
        };
        self.producer = None;
        match &ended {
            Ok(()) => run.finished(),
            Err(status) => run.failed(errors::kind(status.code())),
        }
        ended.err().map(Err)
    }
}

struct Sending {
    query: Arc<Query>,
    limit: Limit,
    unread: Duration,
}

impl Sending {
    async fn all(
        self,
        messages: FlightDataEncoder,
        sender: mpsc::Sender<FlightData>,
    ) -> Result<(), Status> {
        let mut messages = messages.map_err(encode::encoding_status);
        while let Some(message) = messages.try_next().await? {
            let bytes = message.data_body.len();
            let admitted = self.limit.admit_bytes(self.query.sent(bytes));
            admitted.map_err(errors::status)?;
            metrics::observe_bytes(bytes);
            self.in_time(sender.send(message)).await?;
        }
        // A statement has ended when its client has taken the last message, and keeps its place until then.
        self.in_time(sender.reserve_many(MESSAGES_WAITING)).await?;
        Ok(())
    }

    /// What waits for the client, for as long as a client may take.
    async fn in_time<T, E>(
        &self,
        waiting: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Status> {
        match timeout(self.unread, waiting).await {
            Ok(Ok(taken)) => Ok(taken),
            Ok(Err(_)) => Err(Status::cancelled("the client went away")),
            Err(_) => {
                let cut = Cut::Unread(self.unread.as_secs());
                self.query.cut(cut);
                Err(errors::status(cut.error()))
            }
        }
    }
}

pub(crate) fn broken(join: JoinError) -> Error {
    Error::new(ErrorKind::Internal, "the statement broke down").caused_by(join)
}
