use std::time::{Duration, Instant};

use changes::{Error, ErrorKind, Result};
use tracing::warn;

use super::config::CdcConfig;
use super::metrics;
use crate::postgres::{Connection, Lsn, Row, literal, quoted};

/// A replication slot that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    /// What PostgreSQL keeps the log from; changes that are committed later are sent.
    pub(super) confirmed: Lsn,
    active: bool,
}

#[cfg(test)]
impl Slot {
    pub(super) fn standing_at(confirmed: Lsn) -> Self {
        Self {
            confirmed,
            active: false,
        }
    }
}

/// Rows as of one position, for as long as the connection that exported them is left alone.
pub(super) struct Snapshot {
    /// Holds the snapshot open.
    pub(super) _exporter: Connection,
    pub(super) name: String,
    /// Commits before it are in the snapshot, later ones are not.
    pub(super) as_of: Lsn,
    /// Above every change that the snapshot has, and below every change that it lacks.
    pub(super) below: Lsn,
}

/// Between two looks at a slot that is in use.
const PAUSE: Duration = Duration::from_millis(250);

/// A snapshot is held, and waits for transactions in progress, for as long as it takes, whatever limits the role has.
const UNHURRIED: [(&str, &str); 4] = [
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("transaction_timeout", "0"),
];

/// What is said of a slot that is not made by then.
const PATIENCE: Duration = Duration::from_secs(5);
const IN_PROGRESS: &str = "SELECT pid, xact_start, query FROM pg_stat_activity WHERE backend_xid IS NOT NULL; and \
     SELECT * FROM pg_prepared_xacts; show them.";

/// A stretch of a server's history, up to where another one began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timeline {
    pub(super) id: u32,
    pub(super) end: Lsn,
}

/// Which server and which database of it, and the timeline that it is on.
pub(super) async fn identify(replicating: &mut Connection) -> Result<(String, u32)> {
    let row: Row = replicating
        .query("IDENTIFY_SYSTEM")
        .await?
        .pop()
        .unwrap_or_default();
    let field = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
    Ok((
        format!("{}/{}", field(0), field(3)),
        field(1).parse().unwrap_or(0),
    ))
}

/// The timelines before that one.
pub(super) async fn history(replicating: &mut Connection, timeline: u32) -> Result<Vec<Timeline>> {
    // The first one has no file.
    if timeline <= 1 {
        return Ok(Vec::new());
    }
    let sql = format!("TIMELINE_HISTORY {timeline}");
    let row = replicating.query(&sql).await?.pop().unwrap_or_default();
    let text = row.into_iter().nth(1).flatten().unwrap_or_default();
    Ok(text.lines().filter_map(stretch).collect())
}

/// A line of a history: `1 0/3000148 reason`.
fn stretch(line: &str) -> Option<Timeline> {
    let mut fields = line.split_whitespace();
    Some(Timeline {
        id: fields.next()?.parse().ok()?,
        end: fields.next()?.parse().ok()?,
    })
}

/// The slot, where there is one that can be used.
pub(super) async fn find(connection: &mut Connection, slot: &str) -> Result<Option<Slot>> {
    let sql = format!(
        "SELECT plugin, database, active, confirmed_flush_lsn, wal_status, current_database()
            FROM pg_replication_slots WHERE slot_name = {}",
        literal(slot)
    );
    let Some(row) = connection.query(&sql).await?.pop() else {
        return Ok(None);
    };
    let field = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or_default();
    if field(0) != "pgoutput" || field(1) != field(5) {
        let message = format!(
            "slot \"{slot}\" is of plugin \"{}\" and database \"{}\"",
            field(0),
            field(1)
        );
        return Err(Error::new(ErrorKind::Conflict, message)
            .hint("Name another slot in cdc.slot; it is made at the first start."));
    }
    if field(4) == "lost" {
        let message = format!(
            "slot \"{slot}\" was invalidated: PostgreSQL removed log that was not read yet"
        );
        return Err(Error::new(ErrorKind::Corrupt, message).hint(
            "Changes are missing. Run sportlake cdc --new-generation to load every table again; \
             raise max_slot_wal_keep_size of PostgreSQL so that it does not happen again.",
        ));
    }
    if field(3).is_empty() {
        return Err(Error::new(
            ErrorKind::Unavailable,
            format!("slot \"{slot}\" is being made, which waits for the transactions in progress"),
        )
        .hint(format!("Wait for them, or end them: {IN_PROGRESS}")));
    }
    Ok(Some(Slot {
        confirmed: field(3).parse()?,
        active: field(2) == "t",
    }))
}

/// Waits while somebody else reads from the slot, as a process that was killed just before still seems to do, and one
/// whose connection broke does until the server misses it.
pub(super) async fn wait_until_free(connection: &mut Connection, config: &CdcConfig) -> Result<()> {
    let patience = Duration::from_secs(config.slot_wait_seconds);
    let began = Instant::now();
    let mut told = false;
    while find(connection, &config.slot)
        .await?
        .is_some_and(|slot| slot.active)
    {
        if began.elapsed() >= patience {
            return Err(in_use(&config.slot));
        }
        if !told && began.elapsed() >= PAUSE {
            told = true;
            let seconds = config.slot_wait_seconds;
            warn!(
                slot = config.slot,
                "the slot is in use: waiting up to {seconds} s for its reader to go"
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

pub(super) fn in_use(slot: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("slot \"{slot}\" is in use by another process"))
        .hint("Stop the other sportlake cdc, or name another slot in cdc.slot; SELECT * FROM pg_stat_replication shows who it is.")
}

pub(super) async fn drop_slot(connection: &mut Connection, config: &CdcConfig) -> Result<()> {
    wait_until_free(connection, config)
        .await
        .or_else(|error| match error.kind() {
            ErrorKind::Corrupt => Ok(()),
            _ => Err(error),
        })?;
    let sql = format!(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = {}",
        literal(&config.slot)
    );
    connection.query(&sql).await?;
    Ok(())
}

/// Makes the slot, which begins where the snapshot ends. Waits for the transactions in progress.
pub(super) async fn create(
    control: &mut Connection,
    mut replicating: Connection,
    slot: &str,
) -> Result<Snapshot> {
    replicating.set(&UNHURRIED).await?;
    let below = position(control).await?;
    let sql = format!(
        "CREATE_REPLICATION_SLOT {} LOGICAL pgoutput EXPORT_SNAPSHOT",
        quoted(slot)
    );
    let row = made(&mut replicating, slot, &sql).await?;
    snapshot(replicating, row, below)
}

/// A snapshot of its own, for tables that came later.
pub(super) async fn export(
    control: &mut Connection,
    mut replicating: Connection,
    slot: &str,
) -> Result<Snapshot> {
    replicating.set(&UNHURRIED).await?;
    let below = position(control).await?;
    let pid = control
        .value("SELECT pg_backend_pid()")
        .await?
        .unwrap_or_default();
    let name: String = slot.chars().take(40).collect();
    let sql = format!(
        "CREATE_REPLICATION_SLOT {} TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT",
        quoted(&format!("{name}_load_{pid}"))
    );
    let row = made(&mut replicating, slot, &sql).await?;
    snapshot(replicating, row, below)
}

async fn made(replicating: &mut Connection, slot: &str, sql: &str) -> Result<Option<Row>> {
    let making = replicating.query(sql);
    tokio::pin!(making);
    let rows = match tokio::time::timeout(PATIENCE, &mut making).await {
        Ok(rows) => rows?,
        Err(_) => {
            warn!(
                slot,
                "PostgreSQL waits for the transactions in progress before it makes a snapshot: {IN_PROGRESS}"
            );
            making.await?
        }
    };
    Ok(rows.into_iter().next())
}

fn snapshot(exporter: Connection, row: Option<Row>, below: Lsn) -> Result<Snapshot> {
    let row = row.unwrap_or_default();
    let field = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
    Ok(Snapshot {
        _exporter: exporter,
        as_of: field(1).parse()?,
        name: field(2),
        below,
    })
}

/// Changes logged from here on belong to transactions that a slot made later sends, or that its snapshot has.
async fn position(control: &mut Connection) -> Result<Lsn> {
    control
        .value("SELECT pg_current_wal_insert_lsn()")
        .await?
        .unwrap_or_default()
        .parse()
}

/// Tells the meters how much of the log waits for us.
pub(super) async fn observe(control: &mut Connection, slot: &str) -> Result<()> {
    let sql = format!(
        "SELECT greatest(pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn), 0)::bigint,
            greatest(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint
            FROM pg_replication_slots WHERE slot_name = {}",
        literal(slot)
    );
    let row = control.query(&sql).await?.pop().unwrap_or_default();
    let bytes = |at: usize| {
        row.get(at)
            .and_then(Option::as_deref)
            .and_then(|text| text.parse().ok())
    };
    if let (Some(lag), Some(retained)) = (bytes(0), bytes(1)) {
        metrics::slot_lags(slot, lag, retained);
    }
    Ok(())
}
