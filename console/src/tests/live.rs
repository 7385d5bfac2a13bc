use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Running, lake};
use crate::HttpConfig;

/// A stream of events, until it has told so much.
async fn followed(running: &Running) -> TcpStream {
    let mut stream = TcpStream::connect(running.address)
        .await
        .expect("connected");
    let request = format!("GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", running.address);
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream
}

async fn until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut told = String::new();
    let reading = async {
        let mut buffer = [0; 1024];
        while !told.contains(wanted) {
            let read = stream.read(&mut buffer).await.expect("read");
            assert!(read > 0, "ended after {told}");
            told.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    };
    timeout(Duration::from_secs(20), reading)
        .await
        .expect("told in time");
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_epoch_is_told_and_places_are_bounded() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = lake::other(folder.path()).await;
    let config = HttpConfig {
        max_followers: 1,
        ..HttpConfig::default()
    };
    let running = Running::on(folder, lake, config).await;
    let mut stream = followed(&running).await;
    let told = until(&mut stream, "data: 1\n\n").await;
    let (headers, _) = told.split_once("\r\n\r\n").expect("headers");
    assert!(headers.contains("x-accel-buffering: no"), "{headers}");
    let full = running.browser().get("/events").await;
    assert_eq!(full.status, 503);
    assert!(full.header("retry-after").is_some());
    let path = running.folder.path().join("sql/gold/nombres.sql");
    std::fs::write(path, "SELECT value AS n FROM range(1, 9)").expect("written");
    lake::turn(running.folder.path(), &running.lake).await;
    until(&mut stream, "data: 2\n\n").await;
    drop(stream);
    let mut again = followed(&running).await;
    let answer = until(&mut again, "\r\n\r\n").await;
    assert!(
        answer.contains("200 OK") || answer.contains("503"),
        "{answer}"
    );
    running.stop().await;
}
