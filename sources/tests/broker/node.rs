//! A broker in a process of its own, so that it can be killed.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use sources::broker::{self, BrokerConfig};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

/// The data directory.
const DIRECTORY: &str = "SPORTLAKE_TEST_DIRECTORY";
/// Where clients are to find the broker.
const LISTEN: &str = "SPORTLAKE_TEST_LISTEN";
/// Where the broker reports its address, one line, and learns by the end of the connection that it has to stop.
const REPORT: &str = "SPORTLAKE_TEST_REPORT";

pub(crate) struct Node {
    pub(crate) address: String,
    child: Child,
    lifeline: BufReader<TcpStream>,
}

impl Node {
    pub(crate) async fn start(directory: &Path) -> Self {
        Self::start_at(directory, "127.0.0.1:0").await
    }

    pub(crate) async fn start_at(directory: &Path, listen: &str) -> Self {
        let report = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = report.local_addr().expect("an address").to_string();
        let mut command = match std::env::var_os("SPORTLAKE_TEST_BROKER") {
            Some(program) => Command::new(program),
            None => {
                let mut command = Command::new(std::env::current_exe().expect("this program"));
                command.args(["--exact", "node::serve_for_another_test", "--ignored"]);
                command
            }
        };
        let mut child = command
            .env(DIRECTORY, directory)
            .env(LISTEN, listen)
            .env(REPORT, address)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the broker starts");
        let stream = tokio::select! {
            accepted = report.accept() => accepted.expect("the broker reports").0,
            status = child.wait() => unreachable!("the broker ended before it served: {status:?}"),
        };
        let mut lifeline = BufReader::new(stream);
        let mut line = String::new();
        lifeline.read_line(&mut line).await.expect("an address");
        Self {
            address: line.trim().to_owned(),
            child,
            lifeline,
        }
    }

    /// Ends it as a person would; it closes its files.
    pub(crate) async fn stop(mut self) {
        self.lifeline
            .get_mut()
            .shutdown()
            .await
            .expect("still there");
        let status = self.child.wait().await.expect("it ends");
        assert!(status.success(), "{status}");
    }

    /// Ends it with SIGKILL.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("it is killed");
    }
}

#[test]
#[ignore = "other tests start it as their broker"]
fn serve_for_another_test() {
    let (Some(directory), Ok(listen), Ok(report)) = (
        std::env::var_os(DIRECTORY),
        std::env::var(LISTEN),
        std::env::var(REPORT),
    ) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let config = BrokerConfig {
            path: directory.into(),
            ..BrokerConfig::default()
        };
        let clock = Arc::new(|| chrono::DateTime::from_timestamp(1_760_000_000, 0).expect("valid"));
        let broker = broker::Broker::open(config, clock).expect("the directory opens");
        let listener = TcpListener::bind(listen).await.expect("the port is free");
        let address = listener.local_addr().expect("an address");
        let mut lifeline = TcpStream::connect(report)
            .await
            .expect("the parent listens");
        let line = format!("{address}\n");
        lifeline
            .write_all(line.as_bytes())
            .await
            .expect("the parent reads");
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        tokio::spawn(async move {
            // Ends when the parent shuts the connection down, or is gone.
            let _ = lifeline.read_u8().await;
            stop.cancel();
        });
        broker.serve(listener, shutdown).await.expect("it serves");
    });
}
