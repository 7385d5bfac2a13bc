use tokio::net::TcpStream;

use super::{Running, lake};
use crate::HttpConfig;

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_without_an_epoch_is_alive_but_not_ready() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = lake::open(folder.path()).await;
    let running = Running::on(folder, lake, HttpConfig::default()).await;
    let mut browser = running.browser();

    let health = browser.page("/healthz").await;
    let policy = health.header("content-security-policy").expect("a policy");
    assert!(
        policy.contains("default-src 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(browser.get("/readyz").await.status, 503);
    let metrics = browser.page("/metrics").await;
    metrics.has("sportlake_test_rows_total 7");
    let page = browser.get("/").await;
    assert_eq!(page.status, 503);
    page.has("Pas encore disponible")
        .has("the lake has no epoch yet");
    assert!(page.header("retry-after").is_some());
    let missing = browser.get("/etc/passwd").await;
    assert_eq!(missing.status, 404);

    // An idle connection does not delay the end.
    let _idle = TcpStream::connect(running.address)
        .await
        .expect("connected");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_ask_nobody_to_sign_in_and_know_every_name() {
    let running = Running::with_users().await;
    let mut browser = running.browser().with("Host", "sportlake:8080");
    for path in ["/healthz", "/readyz", "/metrics"] {
        browser.page(path).await;
    }
    running.stop().await;
}
