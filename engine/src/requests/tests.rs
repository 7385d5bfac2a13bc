use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration as StdDuration;

use super::*;
use crate::clock::Clock;
use crate::lake::LakeConfig;
use crate::lease::Lease;

const PATIENCE: StdDuration = StdDuration::from_secs(60);

struct World {
    _directory: tempfile::TempDir,
    lake: Lake,
    clock: Clock,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let uri = directory.path().join("lake").display().to_string();
        let lake = Lake::open(&LakeConfig { uri }).await.expect("a lake");
        let clock: Clock = Arc::new(|| DateTime::from_timestamp(1_600_000_000, 0).expect("a time"));
        Self {
            _directory: directory,
            lake,
            clock,
        }
    }

    fn requests(&self) -> Requests {
        Requests::new(&self.lake, Role::Refresh)
    }

    /// What the role does until it was asked once.
    async fn take(&self, requests: &mut Requests) -> Pending {
        loop {
            if let Some(pending) = requests.next((self.clock)()).await.expect("readable") {
                return pending;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn names(&self) -> Vec<String> {
        let files = self.lake.list("_requests/refresh", 100).await;
        files
            .expect("a list")
            .into_iter()
            .map(|file| file.name)
            .collect()
    }
}

fn refresh() -> Request {
    Request::Refresh {
        tables: vec!["+gold.totals".to_owned()],
        full: true,
    }
}

fn done() -> Result<Outcome> {
    Ok(Outcome {
        epoch: Some(7),
        summary: "done".to_owned(),
        details: Value::Null,
    })
}

#[tokio::test]
async fn a_request_reaches_the_role_and_its_answer_comes_back() {
    let world = World::new().await;
    let _lease = Lease::acquire(&world.lake, Role::Refresh).expect("free");
    let mut requests = world.requests();
    let request = refresh();
    let asking = ask(&world.lake, &request, &world.clock, PATIENCE, |_, _| {});
    let working = async {
        let pending = world.take(&mut requests).await;
        assert_eq!(pending.request, refresh());
        requests.answer(&pending, &done()).await.expect("answered");
    };
    let (asked, ()) = tokio::join!(asking, working);
    let Asked::Answered(outcome) = asked.expect("an answer") else {
        panic!("the lease is held");
    };
    assert_eq!(outcome, done().expect("an outcome"));
    assert_eq!(world.names().await, [""; 0], "nothing is left");
}

#[tokio::test]
async fn a_failure_keeps_its_kind_and_hint() {
    let world = World::new().await;
    let _lease = Lease::acquire(&world.lake, Role::Refresh).expect("free");
    let mut requests = world.requests();
    let request = refresh();
    let asking = ask(&world.lake, &request, &world.clock, PATIENCE, |_, _| {});
    let working = async {
        let pending = world.take(&mut requests).await;
        let failed = Err(Error::new(ErrorKind::NotFound, "there is no such table").hint("Look."));
        requests.answer(&pending, &failed).await.expect("answered");
    };
    let (asked, ()) = tokio::join!(asking, working);
    let failed = asked.expect_err("a failure");
    assert_eq!(failed.kind(), ErrorKind::NotFound);
    assert_eq!(failed.hint_text(), Some("Look."));
}

#[tokio::test]
async fn nobody_there_means_the_lease_also_while_waiting() {
    let world = World::new().await;
    let request = refresh();
    let asked = ask(&world.lake, &request, &world.clock, PATIENCE, |_, _| {}).await;
    let Asked::Free(lease) = asked.expect("asked") else {
        panic!("nobody can have answered");
    };
    let mut held = Some(lease);
    let looks = AtomicUsize::new(0);
    // The holder took the request and died.
    let asked = ask(&world.lake, &request, &world.clock, PATIENCE, |_, _| {
        if looks.fetch_add(1, Ordering::Relaxed) == 3 {
            held.take();
        }
    })
    .await;
    assert!(matches!(asked.expect("asked"), Asked::Free(_)));
    assert_eq!(world.names().await, [""; 0], "the request is withdrawn");
}

#[tokio::test]
async fn a_request_whose_role_died_is_taken_again() {
    let world = World::new().await;
    let _lease = Lease::acquire(&world.lake, Role::Refresh).expect("free");
    let request = refresh();
    let asking = ask(&world.lake, &request, &world.clock, PATIENCE, |_, _| {});
    let working = async {
        let first = world.take(&mut world.requests()).await;
        let mut requests = world.requests();
        let again = world.take(&mut requests).await;
        assert_eq!(first.id, again.id);
        requests.answer(&again, &done()).await.expect("answered");
    };
    let (asked, ()) = tokio::join!(asking, working);
    assert!(matches!(asked.expect("asked"), Asked::Answered(_)));
}

#[tokio::test]
async fn a_role_that_does_not_come_to_it_is_told_of_and_the_request_taken_back() {
    let world = World::new().await;
    let _lease = Lease::acquire(&world.lake, Role::Refresh).expect("free");
    let patience = StdDuration::from_millis(1);
    let late = ask(&world.lake, &refresh(), &world.clock, patience, |_, _| {}).await;
    assert_eq!(late.expect_err("late").kind(), ErrorKind::DeadlineExceeded);
    assert_eq!(world.names().await, [""; 0]);
}

#[tokio::test]
async fn expired_requests_go_and_garbage_is_left_alone() {
    let world = World::new().await;
    let now = (world.clock)();
    let put = async |name: &str, content: String| {
        let path = format!("_requests/refresh/{name}");
        world
            .lake
            .create(&path, content.into_bytes())
            .await
            .expect("written");
    };
    let asking = |id: &str, seconds: i64, kind: &str| {
        let asking = Asking {
            id: id.to_owned(),
            asked_at: now - Duration::seconds(100),
            expires_at: now + Duration::seconds(seconds),
            request: serde_json::json!({ "kind": kind }),
        };
        serde_json::to_string(&asking).expect("JSON")
    };
    put("1-1-0.json", asking("1-1-0", -1, "refresh")).await;
    put("2-1-0.json", asking("3-1-0", 60, "refresh")).await;
    put("4-1-0.json", asking("4-1-0", 60, "brew_coffee")).await;
    put("5-1-0.json", "[".repeat(5000)).await;
    put("6-1-0.json", " ".repeat(2 << 20)).await;
    put("notes.txt", String::new()).await;
    put("..json", String::new()).await;
    std::fs::create_dir(world.lake.root().join("_requests/refresh/7-1-0.json")).expect("created");
    let mut requests = world.requests();
    for _ in 0..2 {
        let next = requests.next(now).await.expect("no failure");
        assert!(next.is_none(), "{next:?}");
    }
    let mut names = world.names().await;
    names.sort();
    assert_eq!(
        names,
        [
            "..json",
            "2-1-0.json",
            "4-1-0.answer.json",
            "4-1-0.json",
            "5-1-0.json",
            "6-1-0.json",
            "notes.txt"
        ]
    );
    let answer = world.lake.read("_requests/refresh/4-1-0.answer.json").await;
    let answer = answer.expect("readable").expect("there");
    let answer: Answer = serde_json::from_slice(&answer).expect("an answer");
    let unknown = answer.into_result().expect_err("unknown");
    assert_eq!(unknown.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn no_more_than_so_many_wait() {
    let world = World::new().await;
    let _lease = Lease::acquire(&world.lake, Role::Refresh).expect("free");
    for number in 0..MAX_WAITING {
        let path = format!("_requests/refresh/{number}-1-0.json");
        world.lake.create(&path, Vec::new()).await.expect("written");
    }
    let refused = ask(&world.lake, &refresh(), &world.clock, PATIENCE, |_, _| {}).await;
    let refused = refused.expect_err("too many");
    assert_eq!(refused.kind(), ErrorKind::ResourceExhausted);
}

#[tokio::test]
async fn a_command_that_is_interrupted_takes_its_request_back_unless_it_is_taken() {
    let world = World::new().await;
    let _running = Lease::acquire(&world.lake, Role::Refresh).expect("free");
    for is_taken in [false, true] {
        let request = refresh();
        let asking = ask(&world.lake, &request, &world.clock, PATIENCE, |_, _| {});
        let asked = async {
            while !world
                .names()
                .await
                .iter()
                .any(|name| name.ends_with(REQUEST))
            {
                tokio::task::yield_now().await;
            }
            if is_taken {
                world.take(&mut world.requests()).await;
            }
        };
        tokio::select! {
            _ = asking => panic!("nobody answers"),
            () = asked => {}
        }
        assert_eq!(world.names().await.is_empty(), !is_taken);
    }
}
