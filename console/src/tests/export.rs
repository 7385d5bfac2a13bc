use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Running;

/// The whole answer to a request as bytes.
async fn download(running: &Running, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(running.address)
        .await
        .expect("connected");
    let host = running.address;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("answered");
    answer
}

fn split(answer: &[u8]) -> (String, &[u8]) {
    let end = answer
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .expect("headers");
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    (head, &answer[end + 4..])
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_come_as_files() {
    let running = Running::anonymous().await;
    for (name, begins) in [
        ("gold.eligibilites.csv", "employee_id,bu,".as_bytes()),
        (
            "gold.eligibilites.csv?excel=fr",
            "\u{feff}employee_id;bu;".as_bytes(),
        ),
        (
            "gold.eligibilites.csv?bom=1&separator=;",
            "\u{feff}employee_id;bu;".as_bytes(),
        ),
        (
            "gold.eligibilites.csv?separator=tab&decimal_comma=0&lang=en",
            "employee_id\tbu\t".as_bytes(),
        ),
        ("gold.eligibilites.parquet", b"PAR1"),
        ("gold.eligibilites.xlsx", b"PK"),
    ] {
        let answer = download(&running, &format!("/export/{name}")).await;
        let (head, body) = split(&answer);
        assert!(
            head.starts_with("http/1.0 200") || head.starts_with("http/1.1 200"),
            "{head}"
        );
        let file = name.split('?').next().expect("a name");
        assert!(
            head.contains(&format!("attachment; filename=\"{file}\"")),
            "{head}"
        );
        assert!(head.contains("nosniff"), "{head}");
        assert!(
            body.starts_with(begins),
            "{name}: {:?}",
            &body[..body.len().min(20)]
        );
    }
    let mut browser = running.browser();
    for (name, status) in [
        ("gold.eligibilites.pdf", 400),
        ("gold.nothing.csv", 404),
        ("x", 404),
        ("gold.eligibilites.csv?excel=de", 400),
        ("gold.eligibilites.csv?excel=", 400),
        ("gold.eligibilites.csv?excel=fr&bom=1", 400),
        ("gold.eligibilites.csv?bom=yes", 400),
        ("gold.eligibilites.csv?separator=%7C", 400),
        ("gold.eligibilites.csv?decimal-comma=1", 400),
        ("gold.eligibilites.xlsx?separator=;", 400),
        ("..%2F..%2Fetc.csv", 404),
        ("gold.eligibilites%22%0d%0ax.csv", 404),
    ] {
        assert_eq!(
            browser.get(&format!("/export/{name}")).await.status,
            status,
            "{name}"
        );
    }
    browser
        .page("/")
        .await
        .has("/export/gold.eligibilites.xlsx")
        .has("/export/gold.eligibilites.csv?excel=fr");
    let english = browser.page("/?lang=en").await;
    english.has("/export/gold.eligibilites.csv?bom=1");
    let comma = browser
        .page("/export/gold.eligibilites.csv?decimal_comma=1")
        .await;
    comma.has(",\"");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_holds_what_its_reader_may_see() {
    let running = Running::with_users().await;
    let mut sam = running.signed_in("sam").await;
    let own = sam.page("/export/silver.employees.csv").await;
    own.has("Nom2").lacks("Nom3").lacks("Nom1");
    let mut max = running.signed_in("max").await;
    let unit = max.page("/export/silver.employees.csv").await;
    unit.has("Nom3")
        .lacks("Nom9")
        .lacks("salaire_brut")
        .lacks("33112");
    assert_eq!(
        max.get("/export/silver.sport_activities.csv").await.status,
        404
    );
    assert_eq!(
        running
            .browser()
            .with("Accept", "*/*")
            .get("/export/silver.employees.csv")
            .await
            .status,
        401
    );
    running.stop().await;
}

/// Of a thousand at once some get their file and all others one clear refusal.
#[tokio::test(flavor = "multi_thread")]
async fn exports_at_once_are_bounded() {
    let running = Running::anonymous().await;
    let asking = (0..1000).map(|_| {
        let mut browser = running.browser();
        tokio::spawn(async move { browser.get("/export/silver.sport_activities.csv").await })
    });
    let asking: Vec<_> = asking.collect();
    let mut counted = (0, 0);
    for asked in asking {
        let shown = asked.await.expect("answered");
        match shown.status {
            200 => counted.0 += 1,
            429 => {
                assert!(shown.header("retry-after").is_some());
                counted.1 += 1;
            }
            other => panic!("{other}: {}", shown.body),
        }
    }
    assert!(
        counted.0 > 0 && counted.0 + counted.1 == 1000,
        "{counted:?}"
    );
    running
        .browser()
        .page("/export/silver.sport_activities.csv")
        .await;
    running.stop().await;
}
