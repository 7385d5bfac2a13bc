//! One client connection: requests are taken up in order, and answered in order.
//!
//! A request that waits (for a sync, for records, for other members) does not keep the next one from being read:
//! this is how one sync comes to cover the produce requests of a whole pipeline.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Duration, timeout};

use super::Shared;
use super::api;
use super::frame::{self, Fault};

/// Requests of one connection that may wait for their answer.
const MAX_WAITING: usize = 32;
/// Requests up to this size pass without asking for memory, so that large ones never hold up a heartbeat.
const SMALL_REQUEST: usize = 64 * 1024;
/// How long a client may refuse to take an answer.
const WRITE_STALL: Duration = Duration::from_secs(60);

/// An encoded response, and the memory it was allowed to take.
pub(super) struct Response {
    pub(super) bytes: Bytes,
    pub(super) _memory: Option<OwnedSemaphorePermit>,
}

/// `None` is the answer to a produce request that wants none.
pub(super) type Reply = BoxFuture<'static, Result<Option<Response>, Fault>>;

/// Who is asking, and over which of our addresses.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
}

pub(super) async fn run(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    // Only delays small answers if it fails.
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    let (replies, waiting) = mpsc::channel(MAX_WAITING);
    let client = Client { peer, local };
    let fault = tokio::select! {
        fault = take_requests(reader, replies, &client, &shared) => fault,
        fault = send_replies(writer, waiting) => fault,
    };
    match fault {
        Fault::Closed | Fault::Idle | Fault::Io(_) => {
            tracing::debug!(%peer, reason = %fault, "connection closed")
        }
        _ => tracing::warn!(%peer, reason = %fault, "connection closed"),
    }
}

async fn take_requests(
    reader: OwnedReadHalf,
    replies: mpsc::Sender<Reply>,
    client: &Client,
    shared: &Arc<Shared>,
) -> Fault {
    let mut reader = BufReader::with_capacity(16 * 1024, reader);
    loop {
        match take_request(&mut reader, client, shared).await {
            Ok(reply) => {
                if replies.send(reply).await.is_err() {
                    return Fault::Closed;
                }
            }
            Err(fault) => return fault,
        }
    }
}

async fn take_request(
    reader: &mut BufReader<OwnedReadHalf>,
    client: &Client,
    shared: &Arc<Shared>,
) -> Result<Reply, Fault> {
    let length = frame::read_length(reader, shared.config.max_request_bytes).await?;
    // Given back when the request has been taken up: what waits afterwards no longer holds the frame.
    let _memory = match length > SMALL_REQUEST {
        true => shared.request_memory.take(length).await,
        false => None,
    };
    let frame = frame::read_frame(reader, length).await?;
    let request = frame::parse(frame)?;
    api::take_up(request, client, shared).await
}

async fn send_replies(mut writer: OwnedWriteHalf, mut waiting: mpsc::Receiver<Reply>) -> Fault {
    let mut replies = FuturesOrdered::new();
    loop {
        tokio::select! {
            reply = waiting.recv(), if replies.len() < MAX_WAITING => match reply {
                Some(reply) => replies.push_back(reply),
                None => return Fault::Closed,
            },
            Some(reply) = replies.next(), if !replies.is_empty() => match reply {
                Ok(Some(response)) => {
                    if let Err(fault) = write(&mut writer, &response.bytes).await {
                        return fault;
                    }
                }
                Ok(None) => {}
                Err(fault) => return fault,
            },
        }
    }
}

async fn write(writer: &mut OwnedWriteHalf, mut bytes: &[u8]) -> Result<(), Fault> {
    while !bytes.is_empty() {
        match timeout(WRITE_STALL, writer.write(bytes)).await {
            Err(_) => return Err(Fault::Idle),
            Ok(Ok(0)) => return Err(Fault::Closed),
            Ok(Ok(written)) => bytes = &bytes[written..],
            Ok(Err(error)) => return Err(Fault::Io(error)),
        }
    }
    Ok(())
}
