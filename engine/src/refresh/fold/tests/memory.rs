use super::*;

/// A first build and a large change, both larger than the memory they may take.
#[tokio::test(flavor = "multi_thread")]
async fn events_that_do_not_fit_into_memory_are_folded_in_files() {
    let mut world = World::new(THINGS).await;
    world.config.memory_limit_bytes = 2 << 20;
    let mut refresher = world.refresher().await;
    let text = "x".repeat(100);
    let row = |id: i64, n: i64| format!(r#"{{"id":{id},"n":{n},"t":"{text}"}}"#);
    let rows = 20_000;
    for from in 0..5 {
        let ids = (from..).step_by(5).take(rows / 5);
        let messages: Vec<Message> = ids
            .map(|id| event(id, "c", &row(id, 1 + id % 150)))
            .collect();
        world.append(&messages).await;
    }
    published(&mut refresher).await;
    let count = "SELECT count(*), min(id), max(id), sum(n) FROM silver.things";
    let kept = (0..20_000).map(|id| 1 + id % 150).filter(|n| *n < 100);
    let (seen, total) = (kept.clone().count(), kept.sum::<i64>());
    assert_eq!(world.rows(count).await, [format!("{seen},0,19999,{total}")]);
    let aside = "SELECT count(*) FROM silver.things__quarantine";
    assert_eq!(world.rows(aside).await, [(rows - seen).to_string()]);

    let messages: Vec<Message> = (0..20_000)
        .map(|id| match id % 2 {
            0 => event(100_000 + id, "u", &row(id, 7)),
            _ => event(100_000 + id, "d", &row(id, 0)),
        })
        .collect();
    world.append(&messages).await;
    published(&mut refresher).await;
    assert_eq!(world.rows(count).await, ["10000,0,19998,70000"]);
    assert_eq!(world.rows(aside).await, ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_larger_than_expected_are_folded_in_files_too() {
    let mut world = World::new(THINGS).await;
    world.config.memory_limit_bytes = 2 << 20;
    let mut refresher = world.refresher().await;
    let text = "x".repeat(4_000);
    let messages: Vec<Message> = (0..1_000)
        .map(|id| event(id, "c", &format!(r#"{{"id":{id},"n":1,"t":"{text}"}}"#)))
        .collect();
    world.append(&messages).await;
    published(&mut refresher).await;
    let count = "SELECT count(*), min(length(t)) FROM silver.things";
    assert_eq!(world.rows(count).await, ["1000,4000"]);
}

/// `SPORTLAKE_FOLD_ROWS` rows from bronze with the memory of `SPORTLAKE_FOLD_MEMORY` bytes; tells time and memory.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; ask for it by name"]
async fn a_first_build_of_any_size() {
    let number = |name: &str, otherwise: usize| {
        let text = std::env::var(name).ok();
        text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    };
    let rows = number("SPORTLAKE_FOLD_ROWS", 1_000_000);
    let mut world = World::new(THINGS).await;
    world.config.memory_limit_bytes = number("SPORTLAKE_FOLD_MEMORY", 64 << 20);
    let ids: Vec<i64> = (0..).take(rows).collect();
    for ids in ids.chunks(100_000) {
        let row = |id: i64| {
            format!(
                r#"{{"id":{id},"n":{},"t":"Course à pied {id}"}}"#,
                1 + id % 90
            )
        };
        let messages: Vec<Message> = ids.iter().map(|id| event(*id, "c", &row(*id))).collect();
        world.append(&messages).await;
    }
    let before = peak();
    let started = std::time::Instant::now();
    let mut refresher = world.refresher().await;
    published(&mut refresher).await;
    let (took, after) = (started.elapsed(), peak());
    println!("{rows} rows in {took:?}; peak memory {before} before, {after} after");
    let count = world.rows("SELECT count(*) FROM silver.things").await;
    assert_eq!(count, [rows.to_string()]);
}

/// The most memory this process ever had.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.unwrap_or("unknown")
        .trim_start_matches("VmHWM:")
        .trim()
        .to_owned()
}
