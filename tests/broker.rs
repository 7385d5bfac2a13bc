//! The embedded broker in this process, beside the roles.

use std::sync::mpsc;
use std::thread::JoinHandle;

use sources::broker::{self, BrokerConfig};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::project::PATIENCE;

/// A broker that belongs to none of the roles, as a company's would.
pub(crate) struct Broker {
    pub(crate) address: String,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Broker {
    pub(crate) fn start(path: std::path::PathBuf) -> Self {
        let stop = CancellationToken::new();
        let (told, address) = mpsc::channel();
        let token = stop.clone();
        let serve = async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("bound").to_string();
            told.send(address).expect("awaited");
            let config = BrokerConfig {
                path,
                ..BrokerConfig::default()
            };
            let epoch = std::time::UNIX_EPOCH;
            let clock = std::sync::Arc::new(move || epoch.into());
            broker::serve(listener, config, clock, token)
                .await
                .expect("a clean end");
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(serve);
        });
        Self {
            address: address.recv_timeout(PATIENCE).expect("it listens"),
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
