use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};

use crate::error::{Error, ErrorKind, Result};

/// Rows kept in memory may outnumber the winners by this factor before the losers are dropped.
const SLACK: usize = 2;

/// Where an event stands among those of its key: most significant first, NULL lowest.
pub(super) type Sequence = Vec<Option<i64>>;

/// What an event is about, and its place among those of that key; no key where a part of it is NULL.
pub(super) type Keyed = (Option<Box<[u8]>>, Sequence);

/// Which columns of a folded batch say what it is about.
#[derive(Debug, Clone)]
pub(super) struct FoldColumns {
    pub(super) schema: SchemaRef,
    pub(super) key: Vec<usize>,
    pub(super) sequence: Vec<usize>,
}

/// Reads keys and sequences out of batches.
pub(super) struct KeyReader {
    columns: FoldColumns,
    converter: RowConverter,
}

impl KeyReader {
    pub(super) fn new(columns: FoldColumns) -> Result<Self> {
        let fields = columns
            .key
            .iter()
            .map(|index| SortField::new(columns.schema.field(*index).data_type().clone()))
            .collect();
        Ok(Self {
            converter: RowConverter::new(fields)?,
            columns,
        })
    }

    /// Key and sequence of each row.
    pub(super) fn read(&self, batch: &RecordBatch) -> Result<Vec<Keyed>> {
        let keys: Vec<_> = self
            .columns
            .key
            .iter()
            .map(|index| batch.column(*index).clone())
            .collect();
        let rows = self.converter.convert_columns(&keys)?;
        let mut sequences = Vec::with_capacity(self.columns.sequence.len());
        for index in &self.columns.sequence {
            let column = batch.column(*index).as_primitive_opt::<Int64Type>();
            sequences.push(column.ok_or_else(|| {
                Error::new(ErrorKind::Internal, "a sequence column is not BIGINT")
            })?);
        }
        Ok((0..batch.num_rows())
            .map(|row| {
                let has_key = keys.iter().all(|column| column.is_valid(row));
                let key = has_key.then(|| Box::from(rows.row(row).as_ref()));
                let sequence = sequences
                    .iter()
                    .map(|column| column.is_valid(row).then(|| column.value(row)))
                    .collect();
                (key, sequence)
            })
            .collect())
    }
}

struct Winner {
    sequence: Sequence,
    batch: usize,
    row: usize,
}

/// The last word on each key among the events seen so far, whatever their order and batch cuts.
pub(super) struct Winners {
    reader: KeyReader,
    batches: Vec<RecordBatch>,
    held_rows: usize,
    winners: HashMap<Box<[u8]>, Winner>,
    without_key: u64,
}

impl Winners {
    pub(super) fn new(columns: FoldColumns) -> Result<Self> {
        Ok(Self {
            reader: KeyReader::new(columns)?,
            batches: Vec::new(),
            held_rows: 0,
            winners: HashMap::new(),
            without_key: 0,
        })
    }

    pub(super) fn push(&mut self, batch: RecordBatch) -> Result<()> {
        let index = self.batches.len();
        for (row, (key, sequence)) in self.reader.read(&batch)?.into_iter().enumerate() {
            let Some(key) = key else {
                self.without_key += 1;
                continue;
            };
            let wins = self
                .winners
                .get(&key)
                .is_none_or(|winner| winner.sequence < sequence);
            if wins {
                let winner = Winner {
                    sequence,
                    batch: index,
                    row,
                };
                self.winners.insert(key, winner);
            }
        }
        self.held_rows += batch.num_rows();
        self.batches.push(batch);
        if self.held_rows > SLACK * self.winners.len() + 65_536 {
            self.drop_losers()?;
        }
        Ok(())
    }

    pub(super) fn schema(&self) -> SchemaRef {
        self.reader.columns.schema.clone()
    }

    /// The first column of the key, in a batch of this fold.
    pub(super) fn first_key_of<'a>(&self, batch: &'a RecordBatch) -> &'a ArrayRef {
        batch.column(self.reader.columns.key.first().copied().unwrap_or(0))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.winners.is_empty()
    }

    /// Events left out because a part of their key is NULL.
    pub(super) fn without_key(&self) -> u64 {
        self.without_key
    }

    pub(super) fn reader(&self) -> &KeyReader {
        &self.reader
    }

    pub(super) fn holds(&self, key: &[u8]) -> bool {
        self.winners.contains_key(key)
    }

    /// Takes back the win of a key whose stored row is at least as new. Whether the stored row must go.
    pub(super) fn meets_stored(&mut self, key: &[u8], stored: &Sequence) -> bool {
        match self.winners.get(key) {
            None => false,
            Some(winner) if winner.sequence > *stored => true,
            Some(_) => {
                self.winners.remove(key);
                false
            }
        }
    }

    /// The winning rows in key order, in batches.
    pub(super) fn rows(&self) -> Result<Vec<RecordBatch>> {
        let mut keys: Vec<_> = self.winners.iter().collect();
        keys.sort_unstable_by(|a, b| a.0.cmp(b.0));
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        keys.chunks(8192)
            .map(|chunk| {
                let indices: Vec<_> = chunk
                    .iter()
                    .map(|(_, winner)| (winner.batch, winner.row))
                    .collect();
                Ok(interleave_record_batch(&batches, &indices)?)
            })
            .collect()
    }

    fn drop_losers(&mut self) -> Result<()> {
        let kept = self.rows()?;
        let mut winners = HashMap::with_capacity(self.winners.len());
        for (index, batch) in kept.iter().enumerate() {
            for (row, (key, sequence)) in self.reader.read(batch)?.into_iter().enumerate() {
                if let Some(key) = key {
                    let winner = Winner {
                        sequence,
                        batch: index,
                        row,
                    };
                    winners.insert(key, winner);
                }
            }
        }
        self.held_rows = kept.iter().map(RecordBatch::num_rows).sum();
        self.batches = kept;
        self.winners = winners;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
