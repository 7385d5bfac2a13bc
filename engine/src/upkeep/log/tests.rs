use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};

use super::*;
use crate::delta::{Change, Table, TableLayout};
use crate::error::{Error, ErrorKind};
use crate::lake::LakeConfig;
use crate::upkeep::{Census, vacuum};

const PATH: &str = "silver/t";

fn layout() -> TableLayout {
    let field = Field::new("n", DataType::Int64, true);
    TableLayout {
        schema: Arc::new(Schema::new(vec![field])),
        partition_columns: Vec::new(),
        stats_columns: vec!["n".to_owned()],
    }
}

fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp(1_900_000_000, 0).expect("a time")
}

async fn files_of(lake: &Lake, version: u64) -> Result<BTreeSet<String>> {
    let table = Table::open(lake, PATH, Some(version)).await?;
    let gone = || Error::new(ErrorKind::Corrupt, "no table at this version");
    let files = table.ok_or_else(gone)?.files()?;
    Ok(files.into_iter().map(|file| file.path).collect())
}

/// A table whose commits each add a file and remove the one of ten commits ago; the files of every version.
async fn history(lake: &Lake, commits: u64) -> BTreeMap<u64, BTreeSet<String>> {
    let layout = layout();
    let mut table = Table::create(lake, PATH, &layout).await.expect("created");
    let mut all = BTreeMap::new();
    let mut names: Vec<String> = Vec::new();
    for number in 0..commits {
        let value = Int64Array::from(vec![i64::try_from(number).expect("small")]);
        let batch = RecordBatch::try_new(layout.schema.clone(), vec![Arc::new(value)]);
        let mut staged = table.stage(&layout);
        staged.write(&batch.expect("a row")).await.expect("staged");
        let adds = staged.finish().await.expect("written");
        let oldest = names.iter().rev().nth(9).cloned();
        names.push(adds[0].path.clone());
        let removes = table.removes(|path| Some(path) == oldest.as_deref());
        let change = Change {
            adds,
            removes: removes.expect("removed"),
            ..Change::default()
        };
        let version = table
            .commit(change, &layout, noon())
            .await
            .expect("committed");
        let files = table.files().expect("files");
        all.insert(version, files.into_iter().map(|file| file.path).collect());
    }
    all
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("created");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

async fn lake(directory: &tempfile::TempDir) -> Lake {
    let uri = directory.path().join("lake").display().to_string();
    Lake::open(&LakeConfig { uri }).await.expect("a lake")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_read_in_whole_or_not_at_all_wherever_cleaning_stops() {
    let directory = tempfile::tempdir().expect("a directory");
    let lake = lake(&directory).await;
    let all = history(&lake, 230).await;
    let needs = Needs {
        from: 215,
        apart: BTreeSet::from([3, 57, 99, 150]),
        consumed: 215,
    };
    let log = lake.root().join(PATH).join("_delta_log");
    let listed = lake.list(&format!("{PATH}/_delta_log"), 10_000).await;
    let listed = listed.expect("listed");
    let entries = Entries::of(&listed);
    let base = entries.base(&needs).expect("a checkpoint");
    assert_eq!(base, 214);
    let alone = entries.without_checkpoint(base, &needs);
    assert_eq!(alone, [3, 57, 150], "version 99 has one");
    checkpoint_each(&lake, PATH, &alone).await.expect("made");
    let order = entries.unneeded(base, &needs);
    let checkpoints = (4..214).step_by(5).filter(|v| !needs.apart.contains(v));
    assert_eq!(
        order.len(),
        214 - 4 + checkpoints.count(),
        "every commit before the base but four, and every checkpoint but one"
    );

    let needed = |version: &u64| *version >= 214 || needs.apart.contains(version);
    for (step, file) in order.iter().enumerate() {
        std::fs::remove_file(log.join(&file.name)).expect("removed");
        let is_looked_at = step < 3 || step % 37 == 0 || step + 1 == order.len();
        if !is_looked_at {
            continue;
        }
        for (version, files) in &all {
            match files_of(&lake, *version).await {
                Ok(found) => assert_eq!(found, *files, "version {version} after step {step}"),
                Err(error) => assert!(!needed(version), "version {version}: {error}"),
            }
        }
        let newest = Table::open(&lake, PATH, None).await.expect("readable");
        assert_eq!(newest.expect("a table").version(), 230);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_needed_stays_and_the_rest_goes() {
    let directory = tempfile::tempdir().expect("a directory");
    let lake = lake(&directory).await;
    let all = history(&lake, 230).await;
    let strangers = ["readme.txt", "notes.parquet.bak", "a b.parquet"];
    for name in strangers {
        std::fs::write(lake.root().join(PATH).join(name), "mine").expect("written");
    }
    let left = ["part-0000-dead.zstd.parquet", "part-1.parquet#7"];
    for name in left {
        std::fs::write(lake.root().join(PATH).join(name), "half").expect("written");
    }
    let needs = Needs {
        from: 215,
        apart: BTreeSet::from([57]),
        consumed: 215,
    };
    let mut census = Census::default();
    let grace = Duration::minutes(10);
    let told = clean_log(&lake, PATH, &needs, noon(), grace, true).await;
    let told = told.expect("told").expect("something");
    let young = noon() - Duration::days(10_000);
    let none = vacuum(&lake, PATH, &needs, &mut census, young, grace, false).await;
    assert_eq!(
        none.expect("looked at"),
        None,
        "no file is older than the grace"
    );
    let done = clean_log(&lake, PATH, &needs, noon(), grace, false).await;
    assert_eq!(done.expect("cleaned"), Some(told));
    let told = vacuum(&lake, PATH, &needs, &mut census, noon(), grace, true).await;
    let told = told.expect("told").expect("something");
    let done = vacuum(&lake, PATH, &needs, &mut census, noon(), grace, false).await;
    assert_eq!(done.expect("removed"), Some(told));

    let mut kept: BTreeSet<String> = all[&57].clone();
    for version in 215..=230 {
        kept.extend(all[&version].iter().cloned());
        assert_eq!(
            files_of(&lake, version).await.expect("readable"),
            all[&version]
        );
    }
    assert_eq!(files_of(&lake, 57).await.expect("readable"), all[&57]);
    files_of(&lake, 56).await.expect_err("it was cleaned");
    let mut names: BTreeSet<String> = lake
        .walk(PATH)
        .await
        .expect("walked")
        .into_iter()
        .map(|file| file.name)
        .collect();
    for stranger in strangers {
        assert!(names.remove(stranger), "{stranger} is not ours");
    }
    assert_eq!(names, kept);

    let done = clean_log(&lake, PATH, &needs, noon(), grace, false).await;
    assert_eq!(done.expect("cleaned"), None, "nothing is left to do");
    let mut table = Table::open(&lake, PATH, None)
        .await
        .expect("readable")
        .expect("a table");
    let version = table.commit(Change::default(), &layout(), noon()).await;
    assert_eq!(version.expect("committed"), 231, "its writer goes on");
}

/// The lake as a process that stopped between two checkpoints of single versions leaves it.
#[tokio::test(flavor = "multi_thread")]
async fn a_hint_to_an_old_checkpoint_misleads_nobody() {
    let directory = tempfile::tempdir().expect("a directory");
    let lake = lake(&directory).await;
    let all = history(&lake, 230).await;
    let old = Table::open(&lake, PATH, Some(57)).await.expect("readable");
    old.expect("a table").checkpoint().await.expect("made");
    let needs = |apart: &[u64]| Needs {
        from: 215,
        apart: apart.iter().copied().collect(),
        consumed: 215,
    };
    let grace = Duration::minutes(10);
    for apart in [&[57_u64][..], &[]] {
        let copied = directory.path().join(format!("copy{}", apart.len()));
        copy(lake.root(), &copied);
        let uri = copied.display().to_string();
        let lake = Lake::open(&LakeConfig { uri }).await.expect("a lake");
        clean_log(&lake, PATH, &needs(apart), noon(), grace, false)
            .await
            .expect("cleaned");
        let newest = Table::open(&lake, PATH, None).await.expect("readable");
        assert_eq!(newest.expect("a table").version(), 230);
        assert_eq!(files_of(&lake, 216).await.expect("readable"), all[&216]);
    }
}
