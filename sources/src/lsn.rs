use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use changes::{Error, ErrorKind, Result};
use disk::File;
use parking_lot::Mutex;

/// Hands out `source.lsn` to every embedded source of a lake.
///
/// A number is on disk before it is handed out, so no number comes twice, whatever is killed, and numbers rise in the order
/// in which they were asked for, across all processes that open the same file.
#[derive(Clone, Debug)]
pub struct LsnAllocator {
    file: Arc<Mutex<File>>,
}

/// The last number handed out, stored twice. The older copy is overwritten, so a torn write costs none.
const SLOTS: [u64; 2] = [0, 512];
const SLOT_BYTES: usize = 12;

impl LsnAllocator {
    /// Opens the file, which is created when absent. Its directory must exist.
    pub fn open(path: &Path) -> Result<Self> {
        let file = match File::open(path) {
            // There as a whole or not at all: one that a crash left without a number would count as damaged.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                disk::create_file(path, &slot(0)).and_then(|()| File::open(path))
            }
            opened => opened,
        };
        let file = file.map_err(|error| at(path, error))?;
        sync_directory(path)?;
        Ok(Self {
            file: Arc::new(Mutex::new(file)),
        })
    }

    /// Reserves `count` numbers and returns the first of them.
    pub async fn reserve(&self, count: u32) -> Result<i64> {
        self.advance(move |last| {
            (
                last.saturating_add(1),
                last.saturating_add(i64::from(count)),
            )
        })
        .await
    }

    /// Makes every later number larger than `seen`, which heals a lost file when the topics are still there.
    pub async fn rise_above(&self, seen: i64) -> Result<()> {
        self.advance(move |last| (0, last.max(seen))).await?;
        Ok(())
    }

    async fn advance(&self, step: impl FnOnce(i64) -> (i64, i64) + Send + 'static) -> Result<i64> {
        let file = self.file.clone();
        tokio::task::spawn_blocking(move || {
            let file = file.lock();
            file.lock().map_err(unusable)?;
            let result = advance_locked(&file, step);
            file.unlock().map_err(unusable)?;
            result
        })
        .await
        .map_err(|error| Error::new(ErrorKind::Internal, "lsn task failed").caused_by(error))?
    }
}

fn advance_locked(file: &File, step: impl FnOnce(i64) -> (i64, i64)) -> Result<i64> {
    let [first, second] = [read_slot(file, SLOTS[0])?, read_slot(file, SLOTS[1])?];
    let last = match (first, second) {
        (None, None) if file.metadata().map_err(unusable)?.len() > 0 => {
            return Err(
                Error::new(ErrorKind::Corrupt, "the file of source.lsn is damaged")
                    .hint("Delete it: numbering goes on above what the topics hold."),
            );
        }
        (first, second) => first.max(second).unwrap_or(0),
    };
    let (answer, next) = step(last);
    if next > last {
        let older = if first < second { SLOTS[0] } else { SLOTS[1] };
        write_slot(file, older, next)?;
    }
    Ok(answer)
}

fn read_slot(file: &File, at: u64) -> Result<Option<i64>> {
    let mut slot = [0; SLOT_BYTES];
    match file.read_exact_at(&mut slot, at) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(unusable(error)),
    }
    let (number, checksum) = slot.split_at(8);
    let valid = crc32c::crc32c(number).to_le_bytes() == checksum;
    let number = <[u8; 8]>::try_from(number).map(i64::from_le_bytes).ok();
    Ok(number.filter(|_| valid))
}

fn write_slot(file: &File, at: u64, number: i64) -> Result<()> {
    file.write_all_at(&slot(number), at).map_err(unusable)?;
    file.sync_all().map_err(unusable)
}

fn slot(number: i64) -> Vec<u8> {
    let number = number.to_le_bytes();
    [&number[..], &crc32c::crc32c(&number).to_le_bytes()].concat()
}

fn sync_directory(path: &Path) -> Result<()> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    disk::sync_directory(directory).map_err(|error| at(directory, error))
}

fn at(path: &Path, error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("could not open \"{}\"", path.display())).caused_by(error)
}

fn unusable(error: std::io::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "could not use the file of source.lsn",
    )
    .caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn numbers_rise_over_restarts_and_processes() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("lsn");
        let one = LsnAllocator::open(&path).expect("opens");
        assert_eq!(one.reserve(10).await.expect("reserved"), 1);
        let other = LsnAllocator::open(&path).expect("opens again");
        assert_eq!(other.reserve(1).await.expect("reserved"), 11);
        assert_eq!(one.reserve(2).await.expect("reserved"), 12);
        drop((one, other));
        let again = LsnAllocator::open(&path).expect("opens");
        assert_eq!(again.reserve(1).await.expect("reserved"), 14);
    }

    #[tokio::test]
    async fn concurrent_reservations_never_overlap() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("lsn");
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let allocator = LsnAllocator::open(&path).expect("opens");
            tasks.spawn(async move {
                let mut firsts = Vec::new();
                for _ in 0..20 {
                    firsts.push(allocator.reserve(3).await.expect("reserved"));
                }
                firsts
            });
        }
        let mut firsts = tasks.join_all().await.concat();
        firsts.sort_unstable();
        let expected: Vec<i64> = (0..160).map(|n| 1 + 3 * n).collect();
        assert_eq!(firsts, expected);
    }

    #[tokio::test]
    async fn a_torn_write_loses_no_more_than_itself() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("lsn");
        let allocator = LsnAllocator::open(&path).expect("opens");
        for _ in 0..3 {
            allocator.reserve(5).await.expect("reserved");
        }
        let file = File::open(&path).expect("opens");
        file.write_all_at(&[9, 9, 9], 0).expect("written");
        assert!(allocator.reserve(1).await.expect("reserved") > 10);
        file.write_all_at(&[9, 9, 9], 0).expect("written");
        file.write_all_at(&[9, 9, 9], 512).expect("written");
        let error = allocator.reserve(1).await.expect_err("damaged");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    #[tokio::test]
    async fn rises_above_what_the_topics_hold() {
        let directory = tempfile::tempdir().expect("a directory");
        let allocator = LsnAllocator::open(&directory.path().join("lsn")).expect("opens");
        allocator.rise_above(500).await.expect("raised");
        allocator.rise_above(3).await.expect("no change");
        assert_eq!(allocator.reserve(1).await.expect("reserved"), 501);
    }
}
