//! New epochs as they come, for pages that are open: a bounded number of streams, which tell a number and no more.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{self, HeaderName};
use axum::response::{IntoResponse, Response};
use engine::{Error, ErrorKind, Reader};
use futures::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::failure;
use crate::visit::Visit;

/// How often the lake is looked at while somebody follows.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A silent stream says that it is alive this often.
const BEAT: Duration = Duration::from_secs(20);

/// Then a browser connects again, and it is asked anew who it is.
const LONGEST: Duration = Duration::from_secs(10 * 60);

/// Who follows the epochs.
pub(crate) struct Followers {
    places: Arc<Semaphore>,
    newest: watch::Sender<u64>,
}

impl Followers {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(most)),
            newest: watch::Sender::new(0),
        }
    }

    /// Looks for new epochs while somebody follows, until `shutdown`.
    pub(crate) async fn look(&self, reader: &Reader, shutdown: &CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(LOOK_EVERY) => {}
            }
            if self.newest.receiver_count() == 0 {
                continue;
            }
            if let Ok(manifest) = reader.latest().await {
                self.newest.send_if_modified(|newest| {
                    let is_new = *newest != manifest.epoch;
                    *newest = manifest.epoch;
                    is_new
                });
            }
        }
    }
}

struct Following {
    newest: watch::Receiver<u64>,
    until: Instant,
    shutdown: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Following {
    async fn next(&mut self) -> Option<Bytes> {
        let changed = async {
            loop {
                self.newest.changed().await.ok()?;
                let epoch = *self.newest.borrow_and_update();
                if epoch > 0 {
                    return Some(Bytes::from(format!("event: epoch\ndata: {epoch}\n\n")));
                }
            }
        };
        tokio::select! {
            () = self.shutdown.cancelled() => None,
            () = sleep_until(self.until) => None,
            told = timeout(BEAT, changed) => match told {
                Ok(told) => told,
                Err(_) => Some(Bytes::from_static(b": alive\n\n")),
            },
        }
    }
}

/// A stream of the numbers of new epochs, as server-sent events.
pub(crate) async fn follow(visit: Visit) -> Response {
    let site = &visit.site;
    let Ok(place) = site.followers.places.clone().try_acquire_owned() else {
        let error = Error::new(
            ErrorKind::Unavailable,
            "too many pages are followed already",
        )
        .hint("This page shows what is new when it is loaded again.");
        return failure::shown(&visit, &error);
    };
    let mut newest = site.followers.newest.subscribe();
    // A page may be older than what is known already.
    newest.mark_changed();
    let following = Following {
        newest,
        until: Instant::now() + LONGEST,
        shutdown: site.shutdown.clone(),
        _place: place,
    };
    let events = stream::unfold(following, |mut following| async move {
        let event = following.next().await?;
        Some((Ok::<_, Infallible>(event), following))
    });
    (
        [
            (header::CONTENT_TYPE, "text/event-stream"),
            // nginx would keep events until its buffer is full.
            (HeaderName::from_static("x-accel-buffering"), "no"),
        ],
        Body::from_stream(events),
    )
        .into_response()
}
