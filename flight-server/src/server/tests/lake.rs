//! A small lake: one bronze table of three messages, at epoch 1 with two of them and epoch 2 with all.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    BinaryArray, Date32Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, new_null_array,
};
use chrono::{DateTime, Utc};
use engine::bronze::{BronzeTable, PartitionOffset};
use engine::{
    Clock, Lake, LakeConfig, Lease, Manifest, Reader, ReaderConfig, Role, SourceConfig, TableName,
    TableState, bronze,
};

const TOPIC: &str = "sportsdata.public.employees";

pub(super) async fn reader(directory: &Path) -> Reader {
    let uri = directory.join("lake").display().to_string();
    let config = LakeConfig { uri };
    let lake = Lake::open(&config).await.expect("an empty lake");
    let lease = Lease::acquire(&lake, Role::Ingest).expect("nobody else");
    let clock: Clock = Arc::new(|| DateTime::<Utc>::UNIX_EPOCH);
    let table = BronzeTable::open_or_create(&lake, &lease, "employees", clock).await;
    let mut table = table.expect("a table");
    let first = table
        .append(vec![messages(0, 2)], &[offsets(None, 2)])
        .await;
    publish(&lake, 1, first.expect("appends").version);
    let second = table
        .append(vec![messages(2, 1)], &[offsets(Some(2), 3)])
        .await;
    publish(&lake, 2, second.expect("appends").version);
    Reader::new(lake, &ReaderConfig::default(), &SourceConfig::default()).expect("a reader")
}

/// The same lake, for a server that is started again.
pub(super) async fn again(directory: &Path) -> Reader {
    within(directory, &ReaderConfig::default()).await
}

/// The same lake, read within other limits.
pub(super) async fn within(directory: &Path, config: &ReaderConfig) -> Reader {
    let uri = directory.join("lake").display().to_string();
    let lake = Lake::open(&LakeConfig { uri }).await.expect("a lake");
    Reader::new(lake, config, &SourceConfig::default()).expect("a reader")
}

fn offsets(from: Option<i64>, next: i64) -> PartitionOffset {
    PartitionOffset {
        topic: TOPIC.to_owned(),
        partition: 0,
        from,
        next,
    }
}

fn messages(first: i64, count: usize) -> RecordBatch {
    let schema = bronze::schema();
    let columns = schema.fields().iter().map(|field| {
        let column: arrow::array::ArrayRef = match field.name().as_str() {
            "_partition" => Arc::new(Int32Array::from(vec![0; count])),
            "_offset" => Arc::new(Int64Array::from_iter_values((first..).take(count))),
            "_ingested_at" => {
                Arc::new(TimestampMicrosecondArray::from(vec![0; count]).with_timezone("UTC"))
            }
            "_date" => Arc::new(Date32Array::from(vec![0; count])),
            "value" => Arc::new(BinaryArray::from_iter_values(
                (first..)
                    .take(count)
                    .map(|id| format!("{{\"after\":{{\"id\":{id}}}}}")),
            )),
            "op" => Arc::new(StringArray::from(vec!["c"; count])),
            "generation" => Arc::new(Int64Array::from(vec![1; count])),
            _ => new_null_array(field.data_type(), count),
        };
        column
    });
    RecordBatch::try_new(schema.clone(), columns.collect()).expect("bronze rows")
}

fn publish(lake: &Lake, epoch: u64, version: u64) {
    let name: TableName = "bronze.employees".parse().expect("a name");
    let state = TableState {
        key: vec!["_partition".to_owned(), "_offset".to_owned()],
        ..TableState::new(
            "bronze/employees".to_owned(),
            version,
            bronze::schema(),
            epoch,
        )
    };
    let manifest = Manifest {
        unbuilt: BTreeMap::new(),
        replaced: None,
        refused: None,
        epoch,
        term: 1,
        now: DateTime::<Utc>::UNIX_EPOCH,
        project: "none".to_owned(),
        tables: BTreeMap::from([(name, state)]),
    };
    let epochs = lake.root().join("_epochs");
    std::fs::create_dir_all(&epochs).expect("a directory");
    let json = serde_json::to_vec(&manifest).expect("json");
    std::fs::write(epochs.join(format!("{epoch:020}.json")), json).expect("writes");
}
