use std::hash::Hasher;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};

use crate::error::Result;

/// A digest of rows as a multiset: the same rows in any order and any batches give the same text.
pub(super) struct RowsDigest {
    converter: RowConverter,
    sum: u128,
    rows: u64,
}

impl RowsDigest {
    pub(super) fn new(schema: &SchemaRef) -> Result<Self> {
        let fields = schema
            .fields()
            .iter()
            .map(|field| SortField::new(field.data_type().clone()))
            .collect();
        Ok(Self {
            converter: RowConverter::new(fields)?,
            sum: 0,
            rows: 0,
        })
    }

    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let rows = self.converter.convert_columns(batch.columns())?;
        for row in &rows {
            let half = |salt: u8| {
                // A new hasher has fixed keys, so equal rows agree between processes.
                let mut hasher = std::hash::DefaultHasher::new();
                hasher.write_u8(salt);
                hasher.write(row.as_ref());
                u128::from(hasher.finish())
            };
            self.sum = self.sum.wrapping_add(half(0) << 64 | half(1));
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    pub(super) fn finish(self) -> String {
        format!("{}:{:032x}", self.rows, self.sum)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn digest(batches: &[&[i64]]) -> String {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let mut digest = RowsDigest::new(&schema).expect("sortable");
        for values in batches {
            let column = Arc::new(Int64Array::from(values.to_vec()));
            let batch = RecordBatch::try_new(schema.clone(), vec![column]).expect("a batch");
            digest.add(&batch).expect("added");
        }
        digest.finish()
    }

    #[test]
    fn order_and_cuts_do_not_matter_but_rows_do() {
        assert_eq!(digest(&[&[1, 2], &[3]]), digest(&[&[3, 1, 2]]));
        assert_ne!(digest(&[&[1, 2]]), digest(&[&[1, 2, 2]]));
        assert_ne!(digest(&[&[1, 2]]), digest(&[&[1, 3]]));
    }
}
