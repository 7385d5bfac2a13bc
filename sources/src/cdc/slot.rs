use std::time::Duration;

use changes::{Error, ErrorKind, Result};

use super::config::CdcConfig;
use super::metrics;
use super::state::State;
use crate::postgres::{Connection, Lsn, Row, literal, quoted};

/// A replication slot that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    /// What PostgreSQL keeps the log from; changes that are committed later are sent.
    pub(super) confirmed: Lsn,
    active: bool,
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

/// How long a slot may be in use by somebody who is about to be found gone.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(250);
/// How often a slot is looked for again.
const LOOKS: u128 = PATIENCE.as_millis() / PAUSE.as_millis();

/// Which server, and which database of it.
pub(super) async fn identify(replicating: &mut Connection) -> Result<String> {
    let row: Row = replicating
        .query("IDENTIFY_SYSTEM")
        .await?
        .pop()
        .unwrap_or_default();
    let field = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
    Ok(format!("{}/{}", field(0), field(3)))
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
        return Err(lost(message).hint(
            "Changes are missing. Run sportlake cdc --new-generation to load every table again; \
             raise max_slot_wal_keep_size of PostgreSQL so that it does not happen again.",
        ));
    }
    Ok(Some(Slot {
        confirmed: field(3).parse()?,
        active: field(2) == "t",
    }))
}

fn lost(message: String) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

/// Refuses to go on without the slot, or on another server, than the topics were written from.
pub(super) fn check_continuity(
    state: &State,
    config: &CdcConfig,
    source: &str,
    slot: Option<&Slot>,
) -> Result<()> {
    let again = "Run sportlake cdc --new-generation: it loads every table again, above everything written before.";
    match state.source() {
        Some(known) if known != source => Err(lost(
            "this is another server, or another database, than the one captured so far".to_owned(),
        )
        .hint(format!("If that is right (a restore, a new server): {again}"))),
        Some(_) if slot.is_none() && state.knows_slot(&config.slot) => Err(lost(format!(
            "slot \"{}\" is gone: the server failed over to a standby, was restored, or somebody dropped it",
            config.slot
        ))
        .hint(format!("Changes may be missing. {again}"))),
        _ => Ok(()),
    }
}

/// Waits while somebody else reads from the slot, as a process that was killed just before still seems to do.
pub(super) async fn wait_until_free(connection: &mut Connection, slot: &str) -> Result<()> {
    for _ in 0..LOOKS {
        match find(connection, slot).await? {
            Some(Slot { active: true, .. }) => tokio::time::sleep(PAUSE).await,
            _ => return Ok(()),
        }
    }
    Err(in_use(slot))
}

pub(super) fn in_use(slot: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("slot \"{slot}\" is in use by another process"))
        .hint("Stop the other sportlake cdc, or name another slot in cdc.slot; SELECT * FROM pg_stat_replication shows who it is.")
}

pub(super) async fn drop_slot(connection: &mut Connection, slot: &str) -> Result<()> {
    wait_until_free(connection, slot)
        .await
        .or_else(|error| match error.kind() {
            ErrorKind::Corrupt => Ok(()),
            _ => Err(error),
        })?;
    let sql = format!(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = {}",
        literal(slot)
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
    let below = position(control).await?;
    let sql = format!(
        "CREATE_REPLICATION_SLOT {} LOGICAL pgoutput EXPORT_SNAPSHOT",
        quoted(slot)
    );
    let row = replicating.query(&sql).await?.pop();
    snapshot(replicating, row, below)
}

/// A snapshot of its own, for tables that came later.
pub(super) async fn export(
    control: &mut Connection,
    mut replicating: Connection,
    slot: &str,
) -> Result<Snapshot> {
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
    let row = replicating.query(&sql).await?.pop();
    snapshot(replicating, row, below)
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
