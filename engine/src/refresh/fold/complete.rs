use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array, StringArray, UInt32Array};
use arrow::compute::{cast, concat_batches, take_record_batch};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use datafusion::logical_expr::{Expr, ident, lit};
use debezium::merged;
use futures::StreamExt;

use super::columns::{FoldColumns, column, with_columns};
use super::events::{Events, Folding};
use super::kept::{Kept, Telling, add, resolve};
use super::keys::{KeyReader, Place};
use super::winners::{Key, Winners};
use crate::delta::DataFile;
use crate::error::{Error, ErrorKind, Result};
use crate::hidden::KEPT;
use crate::lake::Lake;
use crate::refresh::Refresher;
use crate::width::bytes_of;

/// Keys whose messages are fetched from bronze together.
const KEYS_A_FETCH: usize = 2_048;

/// Bytes of messages that are fetched together, unless it is for one key.
const BYTES_A_FETCH: usize = 64 << 20;

/// A stored row whose key has events that left fields out, or that took fields from older events itself.
pub(super) struct StoredRow {
    /// Path of the file it is in.
    pub(super) file: String,
    pub(super) place: Box<[u8]>,
    pub(super) kept: Kept,
}

/// A row to be made from several events.
pub(super) struct Patched {
    pub(super) last: Telling,
    pub(super) kept: Kept,
}

impl Refresher {
    /// Decides the keys whose events left fields out: each such field is taken from the newest older event that has it.
    /// The stored rows that are replaced are named in `rewritten`. Whether the rows fit into memory.
    pub(super) async fn complete(
        &self,
        folding: &Folding<'_>,
        winners: &mut Winners,
        stored: HashMap<Key, StoredRow>,
        rewritten: &mut BTreeSet<String>,
    ) -> Result<bool> {
        let mut tellings: HashMap<Key, Vec<Telling>> = HashMap::new();
        for key in winners.incomplete() {
            tellings.insert(key.clone(), Vec::new());
        }
        for (key, row) in &stored {
            tellings.insert(key.clone(), row.kept.tellings(&row.place));
        }
        if tellings.is_empty() {
            return Ok(true);
        }
        let reader = KeyReader::new(folding.columns.clone())?;
        self.each_event(folding, None, |events| {
            listen(&reader, &events, &mut tellings)
        })
        .await?;
        let mut patched = Vec::new();
        for (key, tellings) in tellings {
            let row = stored.get(&key);
            let Some((last, kept)) = resolve(tellings, winners.emptied()) else {
                winners.forget(&key);
                continue;
            };
            let stands = row.filter(|row| *row.place == *last.place.bytes());
            if stands.is_some_and(|row| row.kept == kept) {
                winners.forget(&key);
                continue;
            }
            rewritten.extend(row.map(|row| row.file.clone()));
            if !kept.is_empty() {
                patched.push(Patched { last, kept });
            }
        }
        let limit = self.fold_limit();
        self.patch_all(folding, winners, &patched, limit).await
    }

    /// Makes rows from several events the winners of their keys. Whether they fit into so many bytes.
    pub(super) async fn patch_all(
        &self,
        folding: &Folding<'_>,
        winners: &mut Winners,
        patched: &[Patched],
        limit: usize,
    ) -> Result<bool> {
        let keys = match &folding.events {
            Some(events) if !patched.is_empty() => {
                let path = Lake::table_path(&events.table);
                let files = self.snapshots.files(&path, events.version).await?;
                self.lake.batch_rows(&path, &files).await
            }
            _ => KEYS_A_FETCH,
        };
        let mut pending: Vec<&[Patched]> = patched.chunks(keys.min(KEYS_A_FETCH)).collect();
        while let Some(patched) = pending.pop() {
            let Some(rows) = self.patch(folding, patched).await? else {
                let (first, rest) = patched.split_at(patched.len() / 2);
                pending.extend([first, rest]);
                continue;
            };
            for rows in rows {
                winners.settle(rows)?;
                if winners.bytes() > limit {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The rows of merged events; none where the messages of so many keys are too large.
    async fn patch(
        &self,
        folding: &Folding<'_>,
        patched: &[Patched],
    ) -> Result<Option<Vec<RecordBatch>>> {
        let Some(events) = &folding.events else {
            return Ok(Some(Vec::new()));
        };
        let mut evaluator = self.evaluator(folding, events).await?;
        let mut wanted: BTreeMap<i32, BTreeSet<i64>> = BTreeMap::new();
        for row in patched {
            let sources = row.kept.sources().map(|(place, _)| place.coordinates());
            for (partition, offset) in sources.chain([row.last.place.coordinates()]) {
                wanted.entry(partition).or_default().insert(offset);
            }
        }
        let sequence = folding.sequence();
        let limit = match patched.len() {
            ..=1 => usize::MAX,
            _ => BYTES_A_FETCH,
        };
        let columns = evaluator.columns_read();
        let Some(found) = self
            .fetch(events, &wanted, &sequence, columns, limit)
            .await?
        else {
            return Ok(None);
        };
        let at = positions(&found, &sequence)?;
        let values: &BinaryArray = column(&found, "value")?;
        let position = |place: &Place| {
            at.get(place).copied().ok_or_else(|| {
                let table = &events.table;
                Error::new(
                    ErrorKind::Corrupt,
                    format!("a message that a row rests on is gone from \"{table}\""),
                )
            })
        };
        let mut rows = Vec::with_capacity(patched.len());
        let mut merges = Vec::with_capacity(patched.len());
        let mut kept = HashMap::new();
        for row in patched {
            let last = position(&row.last.place)?;
            let mut sources = Vec::new();
            for (place, fields) in row.kept.sources() {
                sources.push((fields, values.value(position(&place)? as usize)));
            }
            let value = values.value(last as usize);
            merges.push(merged(value, &sources).unwrap_or_else(|| value.to_vec()));
            rows.push(last);
            kept.insert(row.last.place.bytes(), row.kept.json()?);
        }
        let messages = take_record_batch(&found, &UInt32Array::from(rows))?;
        let merges: ArrayRef = Arc::new(BinaryArray::from_iter_values(merges));
        let messages = with_columns(&messages, vec![("value", merges)])?;
        let reader = KeyReader::new(folding.columns.clone())?;
        let mut settled = Vec::new();
        for events in evaluator.messages(&messages).await? {
            let keys = reader.read(&events)?;
            let kept: StringArray = (0..events.num_rows())
                .map(|row| kept.get(keys.place(row)).cloned().flatten())
                .collect();
            let rows = folding.columns.stored_part(&events)?;
            settled.push(with_columns(&rows, vec![(KEPT, Arc::new(kept))])?);
        }
        Ok(Some(settled))
    }

    /// Messages by their coordinates, from the files whose statistics allow them; none where they take more bytes.
    async fn fetch(
        &self,
        events: &Events,
        wanted: &BTreeMap<i32, BTreeSet<i64>>,
        sequence: &[&str],
        mut columns: Vec<usize>,
        limit: usize,
    ) -> Result<Option<RecordBatch>> {
        let schema = self.bronze_files(events, Vec::new()).columns();
        for name in ["_partition", "_offset", "value"].iter().chain(sequence) {
            columns.push(schema.index_of(name)?);
        }
        columns.sort_unstable();
        columns.dedup();
        let path = Lake::table_path(&events.table);
        let all = self.snapshots.files(&path, events.version).await?;
        let files: Vec<DataFile> = all
            .iter()
            .filter(|file| may_hold(file, wanted))
            .cloned()
            .collect();
        let mut only: Option<Expr> = None;
        for (partition, offsets) in wanted {
            let offsets = offsets.iter().map(|offset| lit(*offset)).collect();
            let of_partition = ident("_partition")
                .eq(lit(*partition))
                .and(ident("_offset").in_list(offsets, false));
            only = Some(match only {
                None => of_partition,
                Some(only) => only.or(of_partition),
            });
        }
        // A dead letter that was taken in again has the coordinates of the event that it became.
        let only = only.map(|only| only.and(ident("error").is_null()));
        let mut stream = self.messages(events, files, only, &columns).await?;
        let mut batches = Vec::new();
        let mut bytes = 0;
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            bytes += bytes_of(&batch);
            if bytes > limit {
                return Ok(None);
            }
            batches.push(FoldColumns::widened(&batch, &schema)?);
        }
        Ok(Some(concat_batches(&schema, &batches)?))
    }
}

/// Adds what the events tell about the keys that are asked for.
fn listen(
    reader: &KeyReader,
    events: &RecordBatch,
    tellings: &mut HashMap<Key, Vec<Telling>>,
) -> Result<()> {
    let keys = reader.read(events)?;
    for row in 0..events.num_rows() {
        if keys.truncates(row) {
            continue;
        }
        if let Some(tellings) = tellings.get_mut(keys.key(row)) {
            add(
                tellings,
                Telling::new(keys.place(row), keys.unavailable(row))?,
            );
        }
    }
    Ok(())
}

/// Where in a batch the message of each place stands.
fn positions(messages: &RecordBatch, sequence: &[&str]) -> Result<HashMap<Place, u32>> {
    let mut parts = Vec::with_capacity(sequence.len() + 2);
    for name in sequence.iter().chain(&["_offset", "_partition"]) {
        let column = messages.column(messages.schema_ref().index_of(name)?);
        parts.push(cast(column, &DataType::Int64)?);
    }
    let parts: Vec<&Int64Array> = parts.iter().map(|part| part.as_primitive()).collect();
    let place = |row: usize| {
        let parts = parts.iter();
        let parts = parts.map(|part| part.is_valid(row).then(|| part.value(row)));
        Place::of(&parts.collect::<Vec<_>>())
    };
    let rows = (0..messages.num_rows()).zip(0u32..);
    Ok(rows.map(|(row, at)| (place(row), at)).collect())
}

/// Whether a file's statistics allow it to hold one of the messages.
fn may_hold(file: &DataFile, wanted: &BTreeMap<i32, BTreeSet<i64>>) -> bool {
    let Some(stats) = &file.stats else {
        return true;
    };
    let stats: serde_json::Value = serde_json::from_str(stats).unwrap_or_default();
    let bounds = |name: &str| {
        let bound = |side: &str| stats.get(side)?.get(name)?.as_i64();
        Some(bound("minValues")?..=bound("maxValues")?)
    };
    let (Some(partitions), Some(offsets)) = (bounds("_partition"), bounds("_offset")) else {
        return true;
    };
    wanted.iter().any(|(partition, wanted)| {
        partitions.contains(&i64::from(*partition))
            && wanted.range(offsets.clone()).next().is_some()
    })
}
