//! Changes as they are committed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use changes::{Clock, Error, ErrorKind, Op, Result};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::capture::may_pass;
use super::catalogue::{self, Published};
use super::choice::Skipped;
use super::config::CdcConfig;
use super::envelope::{Change, Image, Origin, Writer};
use super::pgoutput::{Field, Message, Old, Relation, Tuple};
use super::reread::reread;
use super::sink::{Outgoing, Sink};
use super::state::State;
use super::table::Table;
use super::{description, metrics};
use crate::postgres::{Connection, Lsn, Replication, Update};

/// Why a stream ended, other than by an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Stopped,
    /// Tables joined or left the publication, or can be captured now or no longer.
    TablesChanged,
}

/// Reads the slot's changes and writes them.
pub(super) struct Stream<'a> {
    pub(super) replication: Replication,
    /// For the catalogue.
    pub(super) control: Connection,
    pub(super) config: &'a CdcConfig,
    pub(super) prefix: &'a str,
    pub(super) clock: &'a Clock,
    pub(super) sink: &'a Sink,
    pub(super) state: &'a mut State,
    /// The publication as it was when the session began.
    pub(super) published: Vec<Published>,
    /// Those of it that cannot be captured as they are.
    pub(super) skipped: Vec<Skipped>,
    /// By oid, the position as of which a table is loaded.
    pub(super) loaded: BTreeMap<u32, Lsn>,
    /// Everything before it is acknowledged to PostgreSQL.
    pub(super) safe: Lsn,
    pub(super) shutdown: CancellationToken,
    pub(super) written: u64,
}

/// How often PostgreSQL hears how far Kafka is.
const WORD_EVERY: Duration = Duration::from_millis(200);
/// PostgreSQL hears of us at least this often, whatever there is to say.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// Updates handled between two looks at the clock.
const BURST: u32 = 256;
/// How long a shutdown waits for Kafka.
const GRACE: Duration = Duration::from_secs(3);
/// How long the state may say that more was reached than was, while nothing is on its way.
const SETTLE_EVERY: Duration = Duration::from_secs(60);
/// Looks at the publication before a table is tried again that nothing tells to be mended.
const TRY_AGAIN: u64 = 30;

struct Known {
    table: Table,
    /// What a consumer has seen of the table's positions is at least this.
    as_of: Lsn,
}

#[derive(Default)]
struct Transaction {
    commit: Lsn,
    committed_us: i64,
    id: u32,
}

/// What is known of the stream so far.
struct Position {
    /// None for a table that has left the publication since.
    relations: HashMap<u32, Option<Known>>,
    /// Those that cannot be described any more; the load of their table has what came before it.
    before_load: HashMap<u32, (Relation, Lsn)>,
    transaction: Option<Transaction>,
    after_commit: Lsn,
    writer: Writer,
    events: HashMap<u32, u64>,
    began: Instant,
    said: Instant,
    looked: Instant,
    settled: Instant,
}

impl Position {
    /// Whether the transaction at hand was committed before, so that a load as of then has its changes.
    fn is_before(&self, as_of: Lsn) -> bool {
        let transaction = self.transaction.as_ref();
        transaction.is_some_and(|transaction| transaction.commit < as_of)
    }
}

impl Stream<'_> {
    pub(super) async fn run(&mut self) -> Result<End> {
        let mut position = Position {
            relations: HashMap::new(),
            before_load: HashMap::new(),
            transaction: None,
            after_commit: self.safe,
            writer: Writer::default(),
            events: HashMap::new(),
            began: Instant::now(),
            said: Instant::now(),
            looked: Instant::now(),
            settled: Instant::now(),
        };
        let mut ticker = tokio::time::interval(WORD_EVERY);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shutdown = self.shutdown.clone();
        let mut burst = 0;
        loop {
            let ready = if burst < BURST {
                self.replication.buffered()?
            } else {
                None
            };
            let update = match ready {
                Some(update) => {
                    burst += 1;
                    Some(update)
                }
                None if burst >= BURST && !shutdown.is_cancelled() => {
                    burst = 0;
                    None
                }
                None => {
                    burst = 0;
                    tokio::select! {
                        biased;
                        () = shutdown.cancelled() => return self.stop().await,
                        _ = ticker.tick() => None,
                        update = self.replication.next() => Some(update?),
                    }
                }
            };
            let end = match update {
                Some(update) => self.take(update, &mut position).await?,
                None => self.tick(&mut position).await?,
            };
            if let Some(end) = end {
                return Ok(end);
            }
        }
    }

    /// What Kafka acknowledges in time, PostgreSQL need not send again.
    async fn stop(&mut self) -> Result<End> {
        if let Ok(Ok(Some(safe))) = tokio::time::timeout(GRACE, self.sink.drain()).await {
            self.is_safe(safe)?;
        }
        self.replication.acknowledge(self.safe).await?;
        Ok(End::Stopped)
    }

    /// Everything before the position is acknowledged by Kafka, or was nothing of ours.
    fn is_safe(&mut self, position: Lsn) -> Result<()> {
        if position > self.safe {
            self.state.reach(position)?;
            self.safe = position;
        }
        Ok(())
    }

    async fn tick(&mut self, position: &mut Position) -> Result<Option<End>> {
        let moved = self.sink.safe()?;
        if let Some(safe) = moved {
            self.is_safe(safe)?;
        }
        if moved.is_some() || position.said.elapsed() > SIGN_OF_LIFE {
            self.say(position).await?;
        }
        for (relation, events) in position.events.drain() {
            if let Some(Some(known)) = position.relations.get(&relation) {
                metrics::wrote(events, &known.table.name());
            }
        }
        if position.transaction.is_none()
            && self.sink.is_idle()
            && position.settled.elapsed() > SETTLE_EVERY
        {
            position.settled = Instant::now();
            self.state.settle()?;
        }
        if position.transaction.is_none()
            && position.looked.elapsed() > Duration::from_secs(self.config.look_seconds)
        {
            position.looked = Instant::now();
            let published =
                catalogue::published(&mut self.control, &self.config.publication).await?;
            if published != self.published
                || self.is_time_to_try_again(position)
                || self.is_one_mended().await?
            {
                return Ok(Some(End::TablesChanged));
            }
        }
        Ok(None)
    }

    fn is_time_to_try_again(&self, position: &Position) -> bool {
        let pause = Duration::from_secs(self.config.look_seconds.saturating_mul(TRY_AGAIN));
        position.began.elapsed() > pause && self.skipped.iter().any(|skipped| !skipped.is_told)
    }

    /// Whether a table that was passed over can be captured now.
    async fn is_one_mended(&mut self) -> Result<bool> {
        for Skipped { table, .. } in self.skipped.iter().filter(|skipped| skipped.is_told) {
            let to_load = true;
            match catalogue::usable(&mut self.control, table, self.prefix, self.config, to_load)
                .await
            {
                Ok(_) => return Ok(true),
                Err(error) if may_pass(&error) => return Err(error),
                Err(_) => {}
            }
        }
        Ok(false)
    }

    async fn say(&mut self, position: &mut Position) -> Result<()> {
        position.said = Instant::now();
        self.replication.acknowledge(self.safe).await
    }

    async fn take(&mut self, update: Update, position: &mut Position) -> Result<Option<End>> {
        let (at, data) = match update {
            Update::KeepAlive { end, answer } => {
                // Nothing of ours is in what was passed over, so that an idle slot keeps no log.
                if position.transaction.is_none() && self.sink.is_idle() {
                    let safe = self.sink.safe()?;
                    self.is_safe(safe.map_or(end, |safe| safe.max(end)))?;
                }
                if answer {
                    self.say(position).await?;
                }
                return Ok(None);
            }
            Update::Data { at, data } => (at, data),
        };
        let message = Message::decode(data)?;
        if let Some(end) = self.after_load(&message, position).await? {
            return Ok(Some(end));
        }
        match message {
            Message::Begin {
                commit,
                committed_us,
                transaction,
            } => {
                self.state.reach(commit)?;
                position.transaction = Some(Transaction {
                    commit,
                    committed_us,
                    id: transaction,
                });
            }
            Message::Commit { end } => {
                position.transaction = None;
                position.after_commit = end;
                self.sink.reach(end);
            }
            Message::Relation(relation) => return self.announced(position, relation).await,
            Message::Insert { relation, new } => {
                self.inserted(position, at, relation, &new).await?
            }
            Message::Update { relation, old, new } => {
                self.updated(position, at, relation, old.as_ref(), &new)
                    .await?;
            }
            Message::Delete { relation, old } => self.deleted(position, at, relation, &old).await?,
            Message::Truncate { relations } => {
                for relation in relations {
                    let change = Change {
                        op: Op::Truncate,
                        before: None,
                        after: None,
                    };
                    self.write(position, at, relation, None, &change, None)
                        .await?;
                }
            }
            Message::Other => {}
        }
        Ok(None)
    }

    async fn announced(
        &mut self,
        position: &mut Position,
        relation: Relation,
    ) -> Result<Option<End>> {
        let id = relation.id;
        position.before_load.remove(&id);
        let known = match self.loaded.get(&id).copied() {
            Some(as_of) => {
                let (control, prefix) = (&mut self.control, self.prefix);
                match description::describe(control, relation.clone(), prefix, self.config).await {
                    Ok(table) => Some(Known { table, as_of }),
                    Err(error) if may_pass(&error) => return Err(error),
                    Err(_) if position.is_before(as_of) => {
                        position.before_load.insert(id, (relation, as_of));
                        None
                    }
                    Err(error) => return self.unusable(id, error).await,
                }
            }
            None if self.skipped.iter().any(|skipped| skipped.table.oid == id) => None,
            None => {
                let published =
                    catalogue::published(&mut self.control, &self.config.publication).await?;
                if published.iter().any(|table| table.oid == id) {
                    // It joined the publication since the last look; what it has must be loaded first.
                    return Ok(Some(End::TablesChanged));
                }
                None
            }
        };
        position.relations.insert(id, known);
        Ok(None)
    }

    /// Announces a table again that is changed after its load, where what was announced before told no key.
    async fn after_load(
        &mut self,
        message: &Message,
        position: &mut Position,
    ) -> Result<Option<End>> {
        for id in message.relations() {
            let before = position.before_load.get(id);
            if let Some((relation, _)) = before.filter(|(_, as_of)| !position.is_before(*as_of)) {
                let relation = relation.clone();
                let ended = self.announced(position, relation).await?;
                if ended.is_some() {
                    return Ok(ended);
                }
            }
        }
        Ok(None)
    }

    /// A table that can no longer be captured is passed over by the session that begins then. One that can be, but not
    /// from what the log has of it, is loaded again.
    async fn unusable(&mut self, oid: u32, error: Error) -> Result<Option<End>> {
        let Some(table) = self.published.iter().find(|table| table.oid == oid) else {
            return Err(error);
        };
        let to_load = false;
        match catalogue::usable(&mut self.control, table, self.prefix, self.config, to_load).await {
            Ok(_) => {
                warn!(table = table.name(), error = %error, "the table is loaded again");
                self.state.leave(table)?;
            }
            Err(now) if may_pass(&now) => return Err(now),
            Err(_) => {}
        }
        Ok(Some(End::TablesChanged))
    }

    async fn inserted(
        &mut self,
        position: &mut Position,
        at: Lsn,
        relation: u32,
        new: &Tuple,
    ) -> Result<()> {
        let change = Change {
            op: Op::Create,
            before: None,
            after: Some(Image::Whole(new)),
        };
        self.write(position, at, relation, Some(new), &change, None)
            .await
    }

    async fn updated(
        &mut self,
        position: &mut Position,
        at: Lsn,
        relation: u32,
        old: Option<&Old>,
        new: &Tuple,
    ) -> Result<()> {
        let Some(known) = position.relations.get(&relation).ok_or_else(unannounced)? else {
            return Ok(());
        };
        let filled = old.and_then(|old| with_key_of(&old.tuple, new, &known.table.key));
        let new = filled.as_ref().unwrap_or(new);
        let whole = old.filter(|old| old.whole).map(|old| &old.tuple);
        let has_moved = |old: &&Old| {
            known
                .table
                .key
                .iter()
                .any(|at| old.tuple.get(*at) != new.get(*at))
        };
        let Some(from) = old.filter(has_moved) else {
            let change = Change {
                op: Op::Update,
                before: whole.map(Image::Whole),
                after: Some(Image::Over { new, old: whole }),
            };
            return self
                .write(position, at, relation, Some(new), &change, None)
                .await;
        };
        let reread = match whole {
            Some(_) => None,
            None => reread(&mut self.control, &known.table, new).await?,
        };
        let new = reread.as_ref().unwrap_or(new);
        // Another key is another row: the old one goes, the new one comes.
        let [new_key, old_key] =
            [new, &from.tuple].map(|tuple| Writer::default().bare_key(&known.table, tuple));
        let gone = Change {
            op: Op::Delete,
            before: Some(before(from)),
            after: None,
        };
        let header = Some(("__debezium.newkey", new_key.as_slice()));
        self.write(position, at, relation, Some(&from.tuple), &gone, header)
            .await?;
        let come = Change {
            op: Op::Create,
            before: None,
            after: Some(Image::Over { new, old: whole }),
        };
        let header = Some(("__debezium.oldkey", old_key.as_slice()));
        self.write(position, at, relation, Some(new), &come, header)
            .await
    }

    async fn deleted(
        &mut self,
        position: &mut Position,
        at: Lsn,
        relation: u32,
        old: &Old,
    ) -> Result<()> {
        let change = Change {
            op: Op::Delete,
            before: Some(before(old)),
            after: None,
        };
        self.write(position, at, relation, Some(&old.tuple), &change, None)
            .await
    }

    /// Writes the change, and after a delete its tombstone. What the table's load has as well is written again: an earlier
    /// load that was cut off may have written rows that only these deletes take away.
    async fn write(
        &mut self,
        position: &mut Position,
        at: Lsn,
        relation: u32,
        key: Option<&Tuple>,
        change: &Change<'_>,
        header: Option<(&'static str, &[u8])>,
    ) -> Result<()> {
        let Position {
            relations,
            transaction,
            writer,
            events,
            after_commit,
            said,
            ..
        } = position;
        let Some(known) = relations.get(&relation).ok_or_else(unannounced)? else {
            return Ok(());
        };
        let transaction = transaction.as_ref().ok_or_else(unannounced)?;
        let origin = Origin {
            at,
            // Never below what the table's load said, which would be another life of the source.
            after_commit: Some((*after_commit).max(known.as_of)),
            transaction: i64::from(transaction.id),
            committed_us: transaction.committed_us,
            snapshot: "false",
        };
        writer.write_value(
            &known.table,
            change,
            &origin,
            (self.clock)().timestamp_micros(),
        );
        match key {
            Some(key) => writer.write_key(&known.table, key),
            None => writer.write_no_key(&known.table),
        }
        let message = Outgoing {
            topic: &known.table.topic,
            key: &writer.key,
            value: Some(&writer.value),
            header,
        };
        send(self.sink, &mut self.replication, &message, self.safe, said).await?;
        if change.op == Op::Delete && self.config.tombstones {
            let tombstone = Outgoing {
                value: None,
                ..message
            };
            send(
                self.sink,
                &mut self.replication,
                &tombstone,
                self.safe,
                said,
            )
            .await?;
        }
        *events.entry(relation).or_default() += 1;
        self.written += 1;
        if !writer.unreadable.is_empty() {
            tell_unreadable(&known.table, &mut writer.unreadable);
        }
        Ok(())
    }
}

/// Waits for room, and keeps PostgreSQL from giving up on us meanwhile.
async fn send(
    sink: &Sink,
    replication: &mut Replication,
    message: &Outgoing<'_>,
    safe: Lsn,
    said: &mut Instant,
) -> Result<()> {
    while !sink.try_send(message)? {
        sink.room().await;
        if said.elapsed() > SIGN_OF_LIFE {
            *said = Instant::now();
            replication.acknowledge(safe).await?;
        }
    }
    Ok(())
}

/// The new row with the parts of its key that the log has under the old one alone: they are large, and stayed.
fn with_key_of(old: &Tuple, new: &Tuple, key: &[usize]) -> Option<Tuple> {
    let is_left = |at: &&usize| new.get(**at) == Some(&Field::Unchanged);
    let mut filled: Option<Tuple> = None;
    for at in key.iter().filter(is_left) {
        if let Some(Field::Text(text)) = old.get(*at) {
            filled.get_or_insert_with(|| new.clone())[*at] = Field::Text(text.clone());
        }
    }
    filled
}

fn before(old: &Old) -> Image<'_> {
    if old.whole {
        Image::Whole(&old.tuple)
    } else {
        Image::Key(&old.tuple)
    }
}

fn tell_unreadable(table: &Table, unreadable: &mut Vec<usize>) {
    metrics::could_not_read(unreadable.len() as u64, &table.name());
    let columns: BTreeSet<usize> = unreadable.drain(..).collect();
    for column in columns {
        // The value stays out of the log.
        warn!(
            table = table.name(),
            column = table.columns[column].name(),
            "a value of no known form is written as null"
        );
    }
}

fn unannounced() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "PostgreSQL sent a change of a table that it did not announce",
    )
}
