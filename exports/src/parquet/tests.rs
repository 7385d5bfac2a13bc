use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, StringArray};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

fn batch(rows: usize) -> RecordBatch {
    let money = Decimal128Array::from_iter_values((0..rows).map(|row| row as i128));
    let money = money.with_precision_and_scale(12, 2).expect("cents");
    // Hardly to be compressed.
    let texts = (0..rows).map(|row| {
        format!(
            "{:x}{:x}",
            (row as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15),
            (row as u64 + 7).wrapping_mul(0xBF58_476D_1CE4_E5B9)
        )
    });
    let columns: [(&str, ArrayRef); 2] = [
        ("montant", Arc::new(money)),
        ("texte", Arc::new(StringArray::from_iter_values(texts))),
    ];
    RecordBatch::try_from_iter(columns).expect("a batch")
}

#[test]
fn rows_come_back_as_they_were_and_leave_memory_by_the_row_group() {
    let rows = batch(200_000);
    let mut parquet = Parquet::new(&rows.schema()).expect("a writer");
    let mut file = Vec::new();
    let (mut written, mut most_kept) = (0, 0);
    while written < 8 {
        file.extend(parquet.write(&rows).expect("written"));
        most_kept = most_kept.max(parquet.0.memory_size());
        written += 1;
    }
    assert!(
        most_kept < 3 * GROUP_BYTES,
        "{most_kept} bytes are kept of a file of {}",
        file.len()
    );
    assert!(
        !file.is_empty(),
        "the first row groups are sent before the last row comes"
    );
    file.extend(parquet.finish().expect("finished"));
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).expect("Parquet");
    let groups = reader.metadata().row_groups();
    assert!(groups.len() > 1, "{} row groups", groups.len());
    assert!(
        groups
            .iter()
            .all(|group| matches!(group.column(0).compression(), Compression::ZSTD(_)))
    );
    let mut read = 0;
    for found in reader
        .with_batch_size(rows.num_rows())
        .build()
        .expect("a reader")
    {
        let found = found.expect("rows");
        assert_eq!(found, rows);
        read += found.num_rows();
    }
    assert_eq!(read, 8 * rows.num_rows());
}

#[test]
fn a_result_without_rows_is_a_file() {
    let parquet = Parquet::new(&batch(0).schema()).expect("a writer");
    let file = parquet.finish().expect("finished");
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).expect("Parquet");
    assert_eq!(reader.schema().fields().len(), 2);
}
