use std::collections::{HashMap, HashSet};

use arrow::array::{Array, ArrayRef, BooleanArray, StringArray};
use arrow::compute::interleave_record_batch;
use arrow::record_batch::RecordBatch;

use super::columns::{FoldColumns, column, kept_out};
use super::keys::{KeyReader, Place};
use crate::error::Result;
use crate::hidden::{DELETED, KEPT, RULE, WITHOUT_KEY};
use crate::width::rows_of;

/// Rows kept in memory may outnumber the winners by this factor before the losers are dropped.
const SLACK: usize = 2;

/// Losers that are always tolerated.
const LOSERS: usize = 65_536;

/// Bytes around a winner in the map.
const WINNER_BYTES: usize = 160;

/// Bytes that deciding a key with left-out fields takes.
const INCOMPLETE_BYTES: usize = 2_048;

/// Key of a row, encoded.
pub(super) type Key = Box<[u8]>;

struct Winner {
    place: Place,
    batch: usize,
    row: usize,
}

/// The last word on each key among the events seen so far, whatever their order and batch cuts.
pub(super) struct Winners {
    reader: KeyReader,
    batches: Vec<RecordBatch>,
    held_rows: usize,
    held_bytes: usize,
    winners: HashMap<Key, Winner>,
    /// Place of the last event that emptied the table: what sorts before it is gone.
    emptied: Option<Place>,
    /// Keys with an event that left fields out, or a row made from several.
    incomplete: HashSet<Key>,
}

impl Winners {
    pub(super) fn new(columns: FoldColumns) -> Result<Self> {
        Ok(Self {
            reader: KeyReader::new(columns)?,
            batches: Vec::new(),
            held_rows: 0,
            held_bytes: 0,
            winners: HashMap::new(),
            emptied: None,
            incomplete: HashSet::new(),
        })
    }

    /// Takes in events.
    pub(super) fn push(&mut self, events: &RecordBatch) -> Result<()> {
        let index = self.batches.len();
        let keys = self.reader.read(events)?;
        let deleted: BooleanArray = column::<BooleanArray>(events, DELETED)?.clone();
        let kept: StringArray = column::<StringArray>(events, KEPT)?.clone();
        let is_deleted = |row| deleted.is_valid(row) && deleted.value(row);
        let mut loose = false;
        let mut wins = false;
        for row in 0..events.num_rows() {
            if keys.truncates(row) {
                self.empty_before(keys.place(row).into());
                continue;
            }
            // A delete of nothing known deletes nothing.
            if !keys.has_key(row) && is_deleted(row) {
                continue;
            }
            loose |= !keys.has_key(row);
            let key = keys.key(row);
            let has_all = keys.unavailable(row).is_none() && kept.is_null(row);
            if !has_all && !self.incomplete.contains(key) {
                self.incomplete.insert(key.into());
            }
            wins |= self.offer(key, keys.place(row), index, row);
        }
        if !wins {
            return Ok(());
        }
        let rows = self.reader.columns().stored_part(events)?;
        let rows = match loose {
            true => name_keyless(&rows, |row| !keys.has_key(row))?,
            false => rows,
        };
        self.keep(rows);
        if self.held_rows > SLACK * self.winners.len() + LOSERS {
            self.drop_losers()?;
        }
        Ok(())
    }

    fn offer(&mut self, key: &[u8], place: &[u8], batch: usize, row: usize) -> bool {
        match self.winners.get_mut(key) {
            Some(winner) if winner.place.bytes() >= place => return false,
            Some(winner) => {
                *winner = Winner {
                    place: place.into(),
                    batch,
                    row,
                };
            }
            None => {
                let place = place.into();
                self.winners
                    .insert(key.into(), Winner { place, batch, row });
            }
        }
        true
    }

    fn keep(&mut self, rows: RecordBatch) {
        self.held_rows += rows.num_rows();
        self.held_bytes += rows.get_array_memory_size();
        self.batches.push(rows);
    }

    /// Everything before `place` is gone, whenever it comes.
    pub(super) fn empty_before(&mut self, place: Place) {
        if self.emptied.as_ref() < Some(&place) {
            self.emptied = Some(place);
        }
    }

    pub(super) fn emptied(&self) -> Option<&Place> {
        self.emptied.as_ref()
    }

    /// Drops the events that sort before the one that emptied the table.
    pub(super) fn drop_emptied(&mut self) {
        if let Some(emptied) = &self.emptied {
            self.winners.retain(|_, winner| winner.place > *emptied);
        }
    }

    /// Memory held, bytes.
    pub(super) fn bytes(&self) -> usize {
        let keys = self.winners.len() * WINNER_BYTES;
        self.held_bytes + keys + self.incomplete.len() * INCOMPLETE_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.winners.is_empty()
    }

    pub(super) fn reader(&self) -> &KeyReader {
        &self.reader
    }

    /// The first column of the key, in a batch of this fold.
    pub(super) fn first_key_of<'a>(&self, batch: &'a RecordBatch) -> &'a ArrayRef {
        let key = &self.reader.columns().key;
        batch.column(key.first().copied().unwrap_or(0))
    }

    pub(super) fn holds(&self, key: &[u8]) -> bool {
        self.winners.contains_key(key)
    }

    /// Whether an event of this key left fields out.
    pub(super) fn is_incomplete(&self, key: &[u8]) -> bool {
        self.incomplete.contains(key)
    }

    pub(super) fn incomplete(&self) -> impl Iterator<Item = &Key> {
        self.incomplete.iter()
    }

    pub(super) fn forget(&mut self, key: &[u8]) {
        self.winners.remove(key);
    }

    /// Takes back the win of a key whose stored row is at least as new. Whether the stored row must go.
    pub(super) fn meets_stored(&mut self, key: &[u8], stored: &[u8]) -> bool {
        match self.winners.get(key) {
            None => false,
            Some(winner) if winner.place.bytes() > stored => true,
            Some(_) => {
                self.winners.remove(key);
                false
            }
        }
    }

    /// Puts rows in the place of what is held for their keys.
    pub(super) fn settle(&mut self, rows: RecordBatch) -> Result<()> {
        let index = self.batches.len();
        let keys = self.reader.read(&rows)?;
        for row in 0..rows.num_rows() {
            let winner = Winner {
                place: keys.place(row).into(),
                batch: index,
                row,
            };
            self.winners.insert(keys.key(row).into(), winner);
        }
        self.keep(rows);
        Ok(())
    }

    /// The winning rows in key order, in batches.
    pub(super) fn rows(&self) -> impl Iterator<Item = Result<RecordBatch>> + Send {
        let mut keys: Vec<_> = self.winners.iter().collect();
        keys.sort_unstable_by(|a, b| a.0.cmp(b.0));
        let winners = keys.into_iter().map(|(_, winner)| winner);
        self.rows_of(winners.map(|winner| (winner.batch, winner.row)).collect())
    }

    fn rows_of(
        &self,
        indices: Vec<(usize, usize)>,
    ) -> impl Iterator<Item = Result<RecordBatch>> + Send {
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let mut from = 0;
        let rows = rows_of((self.held_bytes / self.held_rows.max(1)) as u64);
        std::iter::from_fn(move || {
            let chunk = &indices[from..indices.len().min(from + rows)];
            from += chunk.len();
            let interleaved = || Ok(interleave_record_batch(&batches, chunk)?);
            (!chunk.is_empty()).then(interleaved)
        })
    }

    fn drop_losers(&mut self) -> Result<()> {
        let winners = self.winners.values();
        let winners = winners.map(|winner| (winner.batch, winner.row)).collect();
        let kept: Vec<RecordBatch> = self.rows_of(winners).collect::<Result<_>>()?;
        let mut winners = HashMap::with_capacity(self.winners.len());
        for (index, batch) in kept.iter().enumerate() {
            let keys = self.reader.read(batch)?;
            for row in 0..batch.num_rows() {
                let winner = Winner {
                    place: keys.place(row).into(),
                    batch: index,
                    row,
                };
                winners.insert(keys.key(row).into(), winner);
            }
        }
        self.held_rows = kept.iter().map(RecordBatch::num_rows).sum();
        self.held_bytes = kept.iter().map(RecordBatch::get_array_memory_size).sum();
        self.batches = kept;
        self.winners = winners;
        Ok(())
    }
}

/// The rows with those that have no key kept out for that, unless they are kept out already.
fn name_keyless(rows: &RecordBatch, keyless: impl Fn(usize) -> bool) -> Result<RecordBatch> {
    let reason = "a part of the key is NULL";
    let named = kept_out(rows, WITHOUT_KEY, reason)?;
    let known: &StringArray = column(rows, RULE)?;
    let chosen: Vec<(usize, usize)> = (0..rows.num_rows())
        .map(|row| (usize::from(keyless(row) && known.is_null(row)), row))
        .collect();
    Ok(interleave_record_batch(&[rows, &named], &chosen)?)
}

#[cfg(test)]
mod tests;
