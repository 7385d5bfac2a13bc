use arrow::array::{Array, BooleanArray, Int32Array, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, Rows, SortField};
use std::collections::HashMap;

use super::columns::{FoldColumns, TRUNCATES, UNAVAILABLE, column};
use crate::error::Result;
use crate::hidden::{OFFSET, PARTITION};

/// Begins the key of an event that has none: it is known by its place. No encoded column begins so.
const LOOSE: u8 = 0xff;

/// Bytes of one part of a place.
const PART: usize = 9;

/// Where an event stands among those of its key, so that bytes compare as places do: most significant part first, NULL
/// lowest; the coordinates decide between events whose sequence is the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place(Box<[u8]>);

impl Place {
    pub(super) fn of(parts: &[Option<i64>]) -> Self {
        let mut bytes = Vec::with_capacity(parts.len() * PART);
        parts.iter().for_each(|part| push_part(&mut bytes, *part));
        Self(bytes.into())
    }

    pub(super) fn parts(&self) -> Vec<Option<i64>> {
        self.0
            .chunks_exact(PART)
            .map(|part| {
                let number = part[1..].try_into().map_or(0, u64::from_be_bytes);
                (part[0] == 1).then_some((number ^ (1 << 63)).cast_signed())
            })
            .collect()
    }

    /// Partition and offset. They do not tell a message: another cluster, or a topic that was made again, has the same.
    pub(super) fn coordinates(&self) -> (i32, i64) {
        let parts = self.parts();
        let from_end = |nth: usize| parts.iter().rev().nth(nth).copied().flatten();
        let partition = from_end(0).and_then(|partition| i32::try_from(partition).ok());
        (partition.unwrap_or(0), from_end(1).unwrap_or(0))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Place {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

fn push_part(bytes: &mut Vec<u8>, part: Option<i64>) {
    bytes.push(u8::from(part.is_some()));
    let ordered = part.map_or(0, |part| part.cast_unsigned() ^ (1 << 63));
    bytes.extend_from_slice(&ordered.to_be_bytes());
}

/// Reads keys and places out of batches.
pub(super) struct KeyReader {
    columns: FoldColumns,
    converter: RowConverter,
}

impl KeyReader {
    pub(super) fn new(columns: FoldColumns) -> Result<Self> {
        let fields = columns
            .key
            .iter()
            .map(|index| SortField::new(columns.stored.field(*index).data_type().clone()))
            .collect();
        Ok(Self {
            converter: RowConverter::new(fields)?,
            columns,
        })
    }

    pub(super) fn columns(&self) -> &FoldColumns {
        &self.columns
    }

    /// Key and place of each row, of events and of stored rows.
    pub(super) fn read(&self, batch: &RecordBatch) -> Result<Keys> {
        let keys: Vec<_> = self
            .columns
            .key
            .iter()
            .map(|index| batch.column(*index).clone())
            .collect();
        let partitions: &Int32Array = column(batch, PARTITION)?;
        let offsets: &Int64Array = column(batch, OFFSET)?;
        let mut sequences = Vec::with_capacity(self.columns.sequence.len());
        for index in &self.columns.sequence {
            let name = self.columns.stored.field(*index).name();
            sequences.push(column::<Int64Array>(batch, name)?);
        }
        let stride = (sequences.len() + 2) * PART;
        let mut places = Vec::with_capacity(batch.num_rows() * stride);
        let mut loose = HashMap::new();
        let part = |column: &Int64Array, row| column.is_valid(row).then(|| column.value(row));
        for row in 0..batch.num_rows() {
            let from = places.len();
            for sequence in &sequences {
                push_part(&mut places, part(sequence, row));
            }
            push_part(&mut places, part(offsets, row));
            let partition = partitions
                .is_valid(row)
                .then(|| i64::from(partitions.value(row)));
            push_part(&mut places, partition);
            if !keys.iter().all(|column| column.is_valid(row)) {
                let key = [&[LOOSE], &places[from..]].concat();
                loose.insert(row, key.into_boxed_slice());
            }
        }
        let absent = |name| batch.schema_ref().index_of(name).is_err();
        Ok(Keys {
            rows: self.converter.convert_columns(&keys)?,
            loose,
            places,
            stride,
            truncates: match absent(TRUNCATES) {
                true => None,
                false => Some(column::<BooleanArray>(batch, TRUNCATES)?.clone()),
            },
            unavailable: match absent(UNAVAILABLE) {
                true => None,
                false => Some(column::<StringArray>(batch, UNAVAILABLE)?.clone()),
            },
        })
    }
}

/// What a batch's rows are about and where they stand.
pub(super) struct Keys {
    rows: Rows,
    loose: HashMap<usize, Box<[u8]>>,
    places: Vec<u8>,
    stride: usize,
    truncates: Option<BooleanArray>,
    unavailable: Option<StringArray>,
}

impl Keys {
    pub(super) fn key(&self, row: usize) -> &[u8] {
        match self.loose.get(&row) {
            Some(key) => key,
            None => self.rows.row(row).data(),
        }
    }

    pub(super) fn has_key(&self, row: usize) -> bool {
        !self.loose.contains_key(&row)
    }

    pub(super) fn place(&self, row: usize) -> &[u8] {
        &self.places[row * self.stride..(row + 1) * self.stride]
    }

    pub(super) fn truncates(&self, row: usize) -> bool {
        let truncates = self.truncates.as_ref();
        truncates.is_some_and(|column| column.is_valid(row) && column.value(row))
    }

    /// The fields that an event left out, as JSON; none where it has all.
    pub(super) fn unavailable(&self, row: usize) -> Option<&str> {
        let unavailable = self.unavailable.as_ref()?;
        unavailable.is_valid(row).then(|| unavailable.value(row))
    }
}
