//! A lake built by the refresh role from a project of two tables: epoch 1 on 1 January 2026, epoch 2 a day later.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::DateTime;
use engine::{
    Clock, Lake, LakeConfig, Lease, ProjectConfig, Reader, ReaderConfig, RefreshConfig, Refresher,
    Role, SourceConfig, Turn,
};

const NEW_YEAR: i64 = 1_767_225_600;
const DAY: i64 = 86_400;

const CLIENTS: &str = "-- Les clients, et celui qu'on ne connaît pas.
SELECT column1 AS client, column2 AS nom
FROM (VALUES ('a', 'Anne'), ('b', 'Bob'), (NULL, 'inconnu'))";

const VENTES: &str = "-- Une vente par ligne.
-- @key id
SELECT
    CAST(column1 AS BIGINT) AS id,
    column2 AS client, -- qui achète, s'il est connu
    CAST(column3 AS DECIMAL(12, 2)) AS montant, -- en euros
    CAST(column4 AS DATE) AS jour,
    CAST(column5 AS DOUBLE) AS poids
FROM (VALUES
    (1, 'a', 10.50, '2024-02-29', 1.5),
    (2, 'b', NULL, '2023-12-31', NULL),
    (3, NULL, 5.25, NULL, 0.0),
    (4, 'a', 4.25, '2024-03-01', -2.5))";

pub(super) async fn reader(directory: &Path) -> Reader {
    let sql = directory.join("sql");
    write(&sql.join("gold/clients.sql"), CLIENTS);
    write(
        &sql.join("gold/ventes.sql"),
        &format!("{VENTES} WHERE column1 < 3"),
    );
    let uri = directory.join("lake").display().to_string();
    let lake = Lake::open(&LakeConfig { uri }).await.expect("a lake");
    let lease = Lease::acquire(&lake, Role::Refresh).expect("nobody else");
    let seconds = Arc::new(AtomicI64::new(NEW_YEAR));
    let clock: Clock = Arc::new({
        let seconds = seconds.clone();
        move || DateTime::from_timestamp(seconds.load(Ordering::Relaxed), 0).expect("in range")
    });
    let project = ProjectConfig { path: sql.clone() };
    let config = RefreshConfig::default();
    let source = SourceConfig::default();
    let opened = Refresher::open(lake.clone(), lease, &project, &config, &source, clock).await;
    let mut refresher = opened.expect("a project");
    published(refresher.turn().await);
    write(&sql.join("gold/ventes.sql"), VENTES);
    seconds.fetch_add(DAY, Ordering::Relaxed);
    published(refresher.turn().await);
    Reader::new(lake, &ReaderConfig::default(), &source).expect("a reader")
}

fn published(turn: engine::Result<Turn>) {
    assert!(matches!(turn.expect("a turn"), Turn::Published(_)));
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("created");
    std::fs::write(path, text).expect("written");
}
