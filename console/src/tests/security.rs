use std::time::Duration;

use super::{HttpConfig, PASSWORD, Running, lake};

/// Every path that shows something of the lake or does something.
const READ: [&str; 9] = [
    "/export/silver.employees.csv",
    "/",
    "/why?id=2",
    "/why/2",
    "/pipeline",
    "/pipeline/gold.eligibilites",
    "/quality",
    "/queries",
    "/events",
];
const WRITE: [&str; 4] = [
    "/logout",
    "/queries/kill",
    "/quality/quarantine",
    "/quality/letters",
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_shown_before_sign_in() {
    let running = Running::with_users().await;
    let mut browser = running.browser();
    let mut script = browser.with("Accept", "*/*");
    let mut forger = browser.with("Cookie", "sportlake_session=abcdef");
    for path in READ {
        let shown = browser.get(path).await;
        let location = shown.header("location").unwrap_or_default();
        assert_eq!(shown.status, 303, "{path}");
        assert!(location.starts_with("/login?next="), "{path}: {location}");
        for nobody in [&mut script, &mut forger] {
            let shown = nobody.get(path).await;
            assert!(
                [303, 401].contains(&shown.status),
                "{path}: {}",
                shown.status
            );
            shown.lacks("Nom2").lacks("<table");
        }
        assert_eq!(script.get(path).await.status, 401, "{path}");
    }
    assert_eq!(script.get("/no-such-page").await.status, 401);
    for path in WRITE {
        let shown = browser.post(path, &[]).await;
        assert_eq!(shown.status, 401, "{path}: {}", shown.body);
    }
    for open in ["/style.css", "/live.js", "/login"] {
        browser.page(open).await;
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_in_leads_back_and_out_ends_the_token() {
    let running = Running::with_users().await;
    let mut browser = running.browser();
    let wrong = browser.sign_in("rose", "wrong").await;
    let nobody = browser.sign_in("nobody", "wrong").await;
    assert_eq!((wrong.status, nobody.status), (401, 401));
    wrong.has("Nom d'utilisateur ou mot de passe incorrect.");
    assert_eq!(wrong.body, nobody.body);

    let form = browser.page("/login?next=%2Fwhy%2F2").await;
    let token = form.token();
    let values = [
        ("token", token.as_str()),
        ("user", "rose"),
        ("password", PASSWORD),
        ("next", "/why/2"),
    ];
    let shown = browser.post("/login", &values).await;
    assert_eq!(
        (shown.status, shown.header("location")),
        (303, Some("/why/2"))
    );
    let cookie = shown.header("set-cookie").expect("a cookie");
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"),
        "{cookie}"
    );
    let page = browser.page("/").await;
    let kept = browser.clone();

    let left = browser.post("/logout", &[("token", &page.token())]).await;
    assert_eq!(
        (left.status, left.header("location")),
        (303, Some("/login"))
    );
    assert_eq!(
        kept.clone().get("/").await.status,
        303,
        "the token is worth nothing"
    );
    let away = [
        ("token", token.as_str()),
        ("user", "rose"),
        ("password", PASSWORD),
        ("next", "//evil.example/"),
    ];
    let shown = browser.post("/login", &away).await;
    assert_eq!(shown.header("location"), Some("/"));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_make_the_next_wait() {
    let running = Running::with_users().await;
    let mut browser = running.browser();
    let mut last = browser.sign_in("max", "wrong").await;
    for _ in 0..9 {
        last = browser.sign_in("max", "wrong").await;
    }
    assert_eq!(last.status, 401);
    last.has("Trop de mots de passe incorrects.")
        .has("Try again in");
    let right = browser.sign_in("max", PASSWORD).await;
    assert_eq!(right.status, 401, "not even with the right one");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_of_other_pages_are_refused() {
    let running = Running::with_users().await;
    let mut rose = running.signed_in("rose").await;
    let token = rose.page("/").await.token();
    let of_max = running.signed_in("max").await.page("/").await.token();
    assert_ne!(token, of_max);
    for path in WRITE {
        for wrong in ["", "abc", of_max.as_str()] {
            let shown = rose.clone().post(path, &[("token", wrong)]).await;
            assert_eq!(shown.status, 403, "{path}");
        }
        for (header, value) in [
            ("Origin", "http://evil.example"),
            ("Origin", "null"),
            ("Origin", "http://127.0.0.1:1"),
        ] {
            let mut elsewhere = rose.with(header, value);
            let shown = elsewhere.post(path, &[("token", &token)]).await;
            assert_eq!(shown.status, 403, "{path} {value}");
        }
        let mut nowhere = rose.with("Origin", "").with("Sec-Fetch-Site", "cross-site");
        assert_eq!(nowhere.post(path, &[("token", &token)]).await.status, 403);
        let shown = rose.get(path).await;
        assert_eq!(shown.status, 405, "{path}");
    }
    // A form for nobody is made by the sign-in alone.
    let shown = running
        .browser()
        .post("/login", &[("user", "rose"), ("password", PASSWORD)])
        .await;
    assert_eq!(shown.status, 403);
    running.stop().await;
}

/// The cookie comes along with a link from elsewhere: such a visit reads, and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_from_elsewhere_opens_the_page_and_changes_nothing() {
    let running = Running::with_users().await;
    let rose = running.signed_in("rose").await;
    let mut linked = rose.with("Origin", "").with("Sec-Fetch-Site", "cross-site");
    linked.page("/why/2").await.has("Nom2");
    for path in READ.into_iter().filter(|path| *path != "/events") {
        let status = linked.get(path).await.status;
        assert!([200, 303].contains(&status), "{path}: {status}");
    }
    for path in WRITE {
        assert_eq!(linked.get(path).await.status, 405, "{path}");
        for method in ["HEAD", "PUT", "DELETE", "PATCH"] {
            let status = linked.send(method, path, None).await.status;
            assert!([403, 405].contains(&status), "{method} {path}: {status}");
        }
    }
    linked.page("/").await.has("Nom2");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_somebody_else_lets_point_here_is_not_served() {
    let running = Running::anonymous().await;
    for host in [
        "evil.example",
        "127.0.0.1.evil.example:8080",
        "localhost.evil",
    ] {
        let shown = running.browser().with("Host", host).get("/").await;
        assert_eq!(shown.status, 400, "{host}");
        shown.lacks("Nom2");
    }
    for host in ["localhost:8080", "127.0.0.1", "[::1]:8080"] {
        running.browser().with("Host", host).page("/").await;
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_kept_framed_sniffed_or_styled_inline() {
    let running = Running::anonymous().await;
    let mut browser = running.browser();
    for path in [
        "/",
        "/why/2",
        "/pipeline",
        "/quality",
        "/queries",
        "/style.css",
        "/nothing",
        "/healthz",
    ] {
        let shown = browser.get(path).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("cache-control", "no-store"),
            ("referrer-policy", "same-origin"),
        ] {
            assert_eq!(shown.header(name), Some(value), "{path}");
        }
        let policy = shown.header("content-security-policy").expect("a policy");
        assert!(
            policy.contains("script-src 'self'") && !policy.contains("unsafe"),
            "{policy}"
        );
        if path != "/style.css" {
            shown
                .lacks("style=\"")
                .lacks("<style")
                .lacks("onclick")
                .lacks("http://www");
        }
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_and_odd_requests_are_refused() {
    let running = Running::anonymous().await;
    let mut browser = running.browser();
    let large = "x".repeat(100_000);
    let shown = browser.post("/login", &[("user", &large)]).await;
    assert_eq!(shown.status, 413);
    let many: Vec<(&str, &str)> = vec![("a", "1"); 50];
    assert_eq!(browser.post("/login", &many).await.status, 400);
    assert_eq!(browser.send("DELETE", "/", None).await.status, 405);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_does_not_come_is_not_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = lake::sport(folder.path()).await;
    let config = HttpConfig {
        asking: Duration::from_millis(300),
        ..HttpConfig::default()
    };
    let running = Running::on(folder, lake, config).await;
    let mut browser = running.browser().with("Content-Length", "5000");
    let shown = browser.post("/login", &[("user", "rose")]).await;
    assert_eq!(shown.status, 408, "{}", shown.body);
    running.stop().await;
}
