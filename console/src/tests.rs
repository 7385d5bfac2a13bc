use engine::{Lake, LakeConfig, ReaderConfig, SourceConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// The whole answer to one request, headers included.
async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer
}

#[tokio::test]
async fn a_lake_without_an_epoch_is_alive_but_not_ready() {
    let directory = tempfile::tempdir().expect("a directory");
    let uri = directory.path().join("lake").display().to_string();
    let lake = Lake::open(&LakeConfig { uri }).await.expect("a lake");
    let reader =
        Reader::new(lake, &ReaderConfig::default(), &SourceConfig::default()).expect("a reader");
    let registry = Registry::new();
    let rows = prometheus::IntCounter::new("sportlake_test_rows_total", "Rows").expect("a counter");
    rows.inc_by(7);
    registry.register(Box::new(rows)).expect("registered");

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(serve(
        listener,
        reader,
        registry,
        HttpConfig::default(),
        shutdown.clone(),
    ));

    let health = get(address, "/healthz").await;
    assert!(health.starts_with("HTTP/1.1 200 OK"), "{health}");
    assert!(
        health.contains("content-security-policy: default-src 'none'"),
        "{health}"
    );
    let ready = get(address, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
    let metrics = get(address, "/metrics").await;
    assert!(metrics.contains("sportlake_test_rows_total 7"), "{metrics}");
    let page = get(address, "/").await;
    assert!(
        page.starts_with("HTTP/1.1 503 ") && page.contains("<h1>sportlake</h1>"),
        "{page}"
    );
    let missing = get(address, "/etc/passwd").await;
    assert!(missing.starts_with("HTTP/1.1 404 "), "{missing}");

    // An idle connection does not delay the end.
    let _idle = TcpStream::connect(address).await.expect("connected");
    shutdown.cancel();
    server.await.expect("joined").expect("stopped");
}
