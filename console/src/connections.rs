//! Connections of browsers: so many at a time, and none for long whose other end neither asks nor reads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Bytes of the head of a request.
const HEAD_BYTES: usize = 64 * 1024;

/// After a failure to accept, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// What connections may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Others wait until one of these ends.
    pub(crate) connections: u32,
    /// A connection ends whose next request takes longer to come.
    pub(crate) asking: Duration,
    /// And one of whose answer nothing is read for so long.
    pub(crate) unread: Duration,
    /// How long requests in flight may take once the process is asked to stop.
    pub(crate) grace: Duration,
}

/// Answers until `shutdown` is cancelled and requests in flight are done, or their time is over.
pub(crate) async fn answer(
    listener: TcpListener,
    router: Router,
    room: Room,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(room.connections as usize));
    while let Some((stream, address, place)) = next(&listener, &places, &shutdown).await {
        let router = router.clone().layer(Extension(ConnectInfo(address)));
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            converse(stream, router, room, shutdown).await;
            drop(place);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(room.grace, places.acquire_many(room.connections)).await;
}

async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let accepted = async {
        let place = places.clone().acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, address)) => return Some((stream, address, place)),
                Err(error) => {
                    debug!(%error, "a connection was not accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => None,
        accepted = accepted => accepted,
    }
}

/// One client's connection, to its end.
async fn converse(stream: TcpStream, router: Router, room: Room, shutdown: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(room.unread));
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(room.asking)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(
                TokioIo::new(Box::pin(stream)),
                TowerToHyperService::new(router),
            )
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::*;

    /// Room for one client who neither asks nor reads.
    const NARROW: Room = Room {
        connections: 1,
        asking: Duration::from_millis(300),
        unread: Duration::from_millis(300),
        grace: Duration::from_secs(1),
    };

    /// More than the buffers of two sockets hold.
    const LARGE: usize = 64 << 20;

    async fn started() -> (SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new()
            .route("/small", get(|| async { "small" }))
            .route("/large", get(|| async { "x".repeat(LARGE) }));
        let shutdown = CancellationToken::new();
        tokio::spawn(answer(listener, router, NARROW, shutdown.clone()));
        (address, shutdown)
    }

    async fn sent(address: SocketAddr, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(text.as_bytes()).await.expect("sent");
        stream
    }

    #[tokio::test]
    async fn nobody_keeps_a_place_by_silence() {
        let (address, shutdown) = started().await;
        for silent in [
            "",
            "GET /small HTTP/1.1\r\nHost: a",
            "GET /small HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /large HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            let _kept = sent(address, silent).await;
            let asking = async {
                let mut stream =
                    sent(address, "GET /small HTTP/1.1\r\nConnection: close\r\n\r\n").await;
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.expect("read");
                answer
            };
            let answer = timeout(Duration::from_secs(20), asking).await;
            let answer = answer.expect("the silent one is let go");
            assert!(answer.ends_with("small"), "{silent:?}: {answer}");
        }
        shutdown.cancel();
    }
}
