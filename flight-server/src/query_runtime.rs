use std::future::Future;

use engine::{Error, ErrorKind, Result};
use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;

/// Planning and compiling a long chain of conditions recurse; the memory is only reserved.
const STACK_BYTES: usize = 16 << 20;

/// Threads of their own for queries, so that one that computes for seconds without a pause holds up
/// neither other calls nor its own cancellation.
#[derive(Debug)]
pub(crate) struct QueryRuntime {
    /// Present until the drop.
    runtime: Option<Runtime>,
}

impl QueryRuntime {
    /// Starts `threads` threads, one a core for 0.
    pub(crate) fn start(threads: usize) -> Result<Self> {
        let mut builder = Builder::new_multi_thread();
        if threads > 0 {
            builder.worker_threads(threads);
        }
        let runtime = builder
            .thread_name("flight-query")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build();
        let runtime = runtime.map_err(|err| {
            Error::new(ErrorKind::ResourceExhausted, "no threads for queries").caused_by(err)
        })?;
        Ok(Self {
            runtime: Some(runtime),
        })
    }

    /// Runs a future on these threads until it ends or the handle is dropped.
    pub(crate) fn spawn<F>(&self, future: F) -> AbortOnDropHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let runtime = self.runtime.as_ref().expect("present until the drop");
        AbortOnDropHandle::new(runtime.spawn(future))
    }
}

impl Drop for QueryRuntime {
    /// Does not wait for queries: this is dropped on a thread that must not block.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
