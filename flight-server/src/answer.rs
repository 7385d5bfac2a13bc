//! A result on its way to the client, and what ends it early.

use std::sync::Arc;
use std::time::Duration;

use engine::{Error, ErrorKind, Result};
use futures::{Stream, TryStreamExt, stream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::admission::Place;
use crate::limits::Limit;
use crate::query_runtime::QueryRuntime;
use crate::running::{Cut, Query, Run};

/// Messages that wait for the client, beside the one being made.
const MESSAGES_WAITING: usize = 2;

/// When a statement ends, whether its result has come to its end or not.
pub(crate) struct Ends {
    pub(crate) deadline: Instant,
    pub(crate) limit: Limit,
    /// How long the client may leave a message unread.
    pub(crate) unread: Duration,
    pub(crate) stopping: CancellationToken,
}

/// Sends messages, each of which takes `bytes`, and works on no more than a few of them ahead of the client.
///
/// The work ends as soon as the answer is dropped, the deadline is there or the statement is cut, whether anybody polls
/// the answer or not: a client that stops reading does not.
pub(crate) fn answer<M, S>(
    messages: S,
    bytes: fn(&M) -> usize,
    run: Run,
    place: Place,
    ends: Ends,
    queries: &QueryRuntime,
) -> impl Stream<Item = Result<M>> + Send + use<M, S>
where
    M: Send + 'static,
    S: Stream<Item = Result<M>> + Send + Unpin + 'static,
{
    let (sender, receiver) = mpsc::channel(MESSAGES_WAITING);
    let run = Arc::new(run);
    let sending = Sending {
        query: run.query.clone(),
        limit: ends.limit,
        unread: ends.unread,
    };
    let producer = queries.spawn(async move {
        let sent = sending.all(messages, bytes, sender).await;
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
    stream::unfold(answer, |mut answer| async move {
        let item = answer.next().await?;
        Some((item, answer))
    })
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

struct Answer<M> {
    messages: mpsc::Receiver<M>,
    /// Gone once the stream has ended.
    producer: Option<AbortOnDropHandle<Result<()>>>,
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

impl<M> Answer<M> {
    /// An error comes from the end of the producer and not through the channel, so that a result that
    /// was cut short never looks complete.
    async fn next(&mut self) -> Option<Result<M>> {
        let producer = self.producer.as_mut()?;
        let run = &self.ended.0;
        let ended = tokio::select! {
            biased;
            cut = run.query.is_cut() => Err(cut.error()),
            message = self.messages.recv() => match message {
                Some(message) => return Some(Ok(message)),
                None => producer.await.unwrap_or_else(|join| Err(broken(join))),
            },
        };
        self.producer = None;
        match &ended {
            Ok(()) => run.finished(),
            Err(error) => run.failed(error.kind()),
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
    async fn all<M>(
        self,
        mut messages: impl Stream<Item = Result<M>> + Unpin,
        bytes: fn(&M) -> usize,
        sender: mpsc::Sender<M>,
    ) -> Result<()> {
        while let Some(message) = messages.try_next().await? {
            self.limit.admit_bytes(self.query.sent(bytes(&message)))?;
            self.in_time(sender.send(message)).await?;
        }
        // A statement has ended when its client has taken the last message, and keeps its place until then.
        self.in_time(sender.reserve_many(MESSAGES_WAITING)).await?;
        Ok(())
    }

    /// What waits for the client, for as long as a client may take.
    async fn in_time<T, E>(&self, waiting: impl Future<Output = Result<T, E>>) -> Result<T> {
        match timeout(self.unread, waiting).await {
            Ok(Ok(taken)) => Ok(taken),
            Ok(Err(_)) => Err(Error::new(ErrorKind::Cancelled, "the client went away")),
            Err(_) => {
                let cut = Cut::Unread(self.unread.as_secs());
                self.query.cut(cut);
                Err(cut.error())
            }
        }
    }
}

pub(crate) fn broken(join: JoinError) -> Error {
    Error::new(ErrorKind::Internal, "the statement broke down").caused_by(join)
}
