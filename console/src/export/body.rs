//! A file on its way to somebody who reads it, or does not.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use engine::Error;
use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use crate::traces::Export;

/// Bytes that are handed over at once: what a slow reader has to take within its time.
const PIECE: usize = 256 << 10;

/// How long somebody may take for an export in all: who reads a little now and then keeps a place from others.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// The bytes of an export, made no further ahead than one piece, whether anybody asks for them or not.
///
/// Whoever reads nothing for `unread` loses the export, so that what it holds (`kept`) is free for others. What breaks off
/// ends with an error and never looks whole.
pub(super) fn body<K: Send + 'static>(
    chunks: impl Stream<Item = Result<Bytes, Error>> + Send + 'static,
    kept: K,
    unread: Duration,
    traced: Export,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    body_until(chunks, kept, unread, Instant::now() + LONGEST, traced)
}

fn body_until<K: Send + 'static>(
    chunks: impl Stream<Item = Result<Bytes, Error>> + Send + 'static,
    kept: K,
    unread: Duration,
    until: Instant,
    traced: Export,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let (sender, receiver) = mpsc::channel(1);
    let sending = Sending {
        sender,
        unread,
        until,
        traced,
    };
    let sending = tokio::spawn(sending.all(Box::pin(chunks), kept));
    let reading = (receiver, Some(AbortOnDropHandle::new(sending)));
    stream::unfold(reading, |(mut receiver, sending)| async move {
        sending.as_ref()?;
        match receiver.recv().await {
            Some(Piece::Bytes(bytes)) => Some((Ok(bytes), (receiver, sending))),
            Some(Piece::End) => None,
            None => Some((
                Err(io::Error::other("the export broke off")),
                (receiver, None),
            )),
        }
    })
}

enum Piece {
    Bytes(Bytes),
    End,
}

struct Sending {
    sender: mpsc::Sender<Piece>,
    unread: Duration,
    until: Instant,
    traced: Export,
}

impl Sending {
    async fn all<K>(
        mut self,
        mut chunks: impl Stream<Item = Result<Bytes, Error>> + Unpin,
        kept: K,
    ) {
        while let Some(chunk) = chunks.next().await {
            let mut chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    // Its text may quote a value.
                    tracing::warn!(kind = ?error.kind(), "an export broke off");
                    self.traced.failed(&error);
                    return;
                }
            };
            while !chunk.is_empty() {
                let piece = chunk.split_to(PIECE.min(chunk.len()));
                self.traced.sent(piece.len());
                if !self.taken(Piece::Bytes(piece)).await {
                    return;
                }
            }
        }
        // The last piece was taken, and whoever has it all may come for the next: what this one held is free before.
        if let Ok(Ok(room)) = timeout(self.unread, self.sender.reserve()).await {
            drop((chunks, kept));
            self.traced.whole();
            room.send(Piece::End);
        }
    }

    /// Whether there was room for it in time.
    async fn taken(&self, piece: Piece) -> bool {
        let now = Instant::now();
        if now >= self.until {
            tracing::warn!("an export was ended: it took too long to be read");
            return false;
        }
        let until = self.until.min(now + self.unread);
        match timeout_at(until, self.sender.send(piece)).await {
            Ok(sent) => sent.is_ok(),
            Err(_) => {
                let seconds = now.elapsed().as_secs();
                tracing::warn!(seconds, "an export was ended: nobody read it");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use engine::ErrorKind;
    use tokio::sync::oneshot;
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    fn traced() -> Export {
        Export::begin(&"gold.t".parse().expect("a name"), "csv")
    }

    /// What came, and whether it ended as a whole file does.
    async fn read(body: impl Stream<Item = io::Result<Bytes>>) -> (usize, bool) {
        let mut body = std::pin::pin!(body);
        let mut bytes = 0;
        while let Some(piece) = body.next().await {
            match piece {
                Ok(piece) => bytes += piece.len(),
                Err(_) => return (bytes, false),
            }
        }
        (bytes, true)
    }

    #[tokio::test]
    async fn what_an_export_holds_is_free_before_its_end_is_seen() {
        let (kept, mut freed) = oneshot::channel::<()>();
        let large = vec![b'x'; 3 * PIECE + 1];
        let chunks = stream::iter([Ok(Bytes::from(large)), Ok(Bytes::from_static(b"y"))]);
        let whole = read(body(chunks, kept, LONG, traced())).await;
        assert_eq!(whole, (3 * PIECE + 2, true));
        assert_eq!(freed.try_recv(), Err(TryRecvError::Closed));
    }

    #[tokio::test]
    async fn a_fault_on_the_way_never_looks_like_the_end() {
        let (kept, freed) = oneshot::channel::<()>();
        let fault = Error::new(ErrorKind::ResourceExhausted, "no room");
        let chunks = stream::iter([Ok(Bytes::from_static(b"x")), Err(fault)]);
        assert_eq!(read(body(chunks, kept, LONG, traced())).await, (1, false));
        assert!(freed.await.is_err());
    }

    #[tokio::test]
    async fn whoever_reads_a_little_now_and_then_does_not_keep_its_place_for_ever() {
        let endless = stream::repeat_with(|| Ok(Bytes::from_static(&[b'x'; PIECE])));
        let (kept, freed) = oneshot::channel::<()>();
        let until = Instant::now() + Duration::from_millis(200);
        let mut body = std::pin::pin!(body_until(endless, kept, LONG, until, traced()));
        while let Some(Ok(_)) = body.next().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(freed.await.is_err());
    }

    #[tokio::test]
    async fn whoever_does_not_read_loses_the_export_and_whoever_leaves_ends_it() {
        let endless = || stream::repeat_with(|| Ok(Bytes::from_static(&[b'x'; 1024])));
        let (kept, freed) = oneshot::channel::<()>();
        let unread = body(endless(), kept, Duration::from_millis(10), traced());
        assert!(freed.await.is_err());
        assert!(!read(unread).await.1);
        let (kept, freed) = oneshot::channel::<()>();
        drop(body(endless(), kept, LONG, traced()));
        assert!(freed.await.is_err());
    }
}
