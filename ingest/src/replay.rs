//! Dead letters come again: read by the program as it is, under the coordinates that they have.

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};
use engine::bronze::{self, BronzeTable, Lineage};
use engine::{
    Clock, DeadLetter, Error, ErrorKind, Lake, Lease, Outcome, Replayed, Request, Result,
    TableName, dead_letters,
};
use serde_json::json;

use crate::rows::{Message, MessageHeaders, RowBuilder};

/// Another attempt at the dead letters of one table.
pub(crate) struct Again {
    pub(crate) batch: RecordBatch,
    pub(crate) bytes: usize,
    pub(crate) replayed: Replayed,
}

/// Appends to a table that nobody else writes.
pub(crate) async fn append(lake: &Lake, lease: &Lease, clock: &Clock, again: &Again) -> Result<()> {
    let name = again.replayed.table.name();
    let mut table = BronzeTable::open_or_create(lake, lease, name, clock.clone()).await?;
    table.append(vec![again.batch.clone()], &[]).await?;
    Ok(())
}

/// The bronze tables that a request is about.
pub(crate) fn asked(lake: &Lake, request: &Request) -> Result<Vec<TableName>> {
    match request {
        Request::ReplayDeadLetters { tables } if tables.is_empty() => bronze::names(lake),
        Request::ReplayDeadLetters { tables } => Ok(tables.clone()),
        _ => Err(Error::new(
            ErrorKind::Unsupported,
            "the ingest role does not do this",
        )),
    }
}

pub(crate) fn outcome(replayed: Vec<Replayed>) -> Outcome {
    let lines: Vec<String> = replayed
        .iter()
        .map(|one| {
            let more = if one.more {
                "; more are left, replay again"
            } else {
                ""
            };
            format!(
                "{}: {} messages replayed, {} are dead letters still{more}",
                one.table, one.messages, one.still_dead
            )
        })
        .collect();
    Outcome {
        summary: match lines.is_empty() {
            true => "there are no dead letters".to_owned(),
            false => lines.join("\n"),
        },
        details: json!({ "replayed": replayed }),
        ..Outcome::default()
    }
}

impl Again {
    /// None where the table has no dead letters.
    pub(crate) async fn read(
        lake: &Lake,
        table: &TableName,
        now: DateTime<Utc>,
    ) -> Result<Option<Self>> {
        let found = dead_letters(lake, table).await?;
        if found.letters.is_empty() {
            return Ok(None);
        }
        let mut rows = RowBuilder::with_capacity(found.letters.len(), 0);
        for letter in &found.letters {
            // The life of the source that it came in, not the one that goes on meanwhile.
            let mut lineage = Lineage {
                generation: letter.generation,
                ..Lineage::default()
            };
            rows.push(&message(letter), &mut lineage, None, now);
        }
        let (bytes, still_dead) = (rows.weight(), rows.poison());
        let batch = rows.finish().map_err(|error| {
            Error::new(
                ErrorKind::Internal,
                format!("could not build rows of \"{table}\""),
            )
            .caused_by(error)
        })?;
        Ok(Some(Self {
            bytes,
            replayed: Replayed {
                table: table.clone(),
                messages: batch.num_rows() as u64,
                still_dead: still_dead as u64,
                more: found.more,
            },
            batch,
        }))
    }
}

fn message(letter: &DeadLetter) -> Message<'_> {
    Message {
        partition: letter.partition,
        offset: letter.offset,
        timestamp_ms: letter.timestamp_us.map(|us| us.div_euclid(1_000)),
        key: letter.key.as_deref(),
        value: letter.value.as_deref(),
        headers: MessageHeaders::of_attempt(letter.headers.as_deref(), letter.attempt + 1),
    }
}
