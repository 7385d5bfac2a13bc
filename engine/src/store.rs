//! The local object store with the durability that Delta commits need.
//!
//! `object_store`'s own local store never syncs: after a power cut an acknowledged commit could be gone, or be there
//! under its name with no content. Here a file is synced before it gets its name, and the directory after.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result, UploadPart,
};

/// Files in the middle of being written end in `#N`, which listings leave out.
const STAGING_MARK: char = '#';

/// A store rooted at `/` whose writes survive power loss once they are acknowledged.
#[derive(Debug)]
pub(crate) struct DurableStore {
    inner: Arc<LocalFileSystem>,
    staged: AtomicU64,
    /// Differs from process to process, also where two machines give them the same id.
    mark: u64,
}

impl DurableStore {
    pub(crate) fn new() -> Self {
        Self {
            inner: Arc::new(LocalFileSystem::new()),
            staged: AtomicU64::new(0),
            mark: RandomState::new().hash_one(std::process::id()),
        }
    }

    fn staging_path(&self, target: &FilePath) -> PathBuf {
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        let mut name = target.as_os_str().to_owned();
        name.push(format!("{STAGING_MARK}{}0{number}", self.mark));
        PathBuf::from(name)
    }
}

impl fmt::Display for DurableStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DurableStore")
    }
}

#[async_trait]
impl ObjectStore for DurableStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        if matches!(options.mode, PutMode::Update(_)) {
            return self.inner.put_opts(location, payload, options).await;
        }
        let create = options.mode == PutMode::Create;
        let target = self.inner.path_to_filesystem(location)?;
        let staging = self.staging_path(&target);
        let location = location.clone();
        blocking(move || {
            put_file(&staging, &target, &payload, create).map_err(|source| {
                fs::remove_file(&staging).ok();
                named(&location, source)
            })
        })
        .await?;
        Ok(PutResult {
            e_tag: None,
            version: None,
        })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let target = self.inner.path_to_filesystem(location)?;
        if let Some(parent) = target.parent().map(FilePath::to_owned) {
            let location = location.clone();
            blocking(move || create_directory(&parent).map_err(|source| named(&location, source)))
                .await?;
        }
        let upload = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(DurableUpload {
            inner: upload,
            target,
            location: location.clone(),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(
        &self,
        location: &Path,
        ranges: &[std::ops::Range<u64>],
    ) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await?;
        self.sync(to).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await?;
        self.sync(to).await
    }
}

impl DurableStore {
    async fn sync(&self, location: &Path) -> Result<()> {
        let target = self.inner.path_to_filesystem(location)?;
        let location = location.clone();
        blocking(move || sync_named(&target).map_err(|source| named(&location, source))).await
    }
}

#[derive(Debug)]
struct DurableUpload {
    inner: Box<dyn MultipartUpload>,
    target: PathBuf,
    location: Path,
}

#[async_trait]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.inner.complete().await?;
        let (target, location) = (self.target.clone(), self.location.clone());
        blocking(move || sync_named(&target).map_err(|source| named(&location, source))).await?;
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

fn put_file(
    staging: &FilePath,
    target: &FilePath,
    payload: &PutPayload,
    create: bool,
) -> io::Result<()> {
    let parent = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
    create_directory(parent)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(staging)?;
    for chunk in payload.iter() {
        file.write_all(chunk)?;
    }
    file.sync_all()?;
    if create {
        fs::hard_link(staging, target)?;
        fs::remove_file(staging)?;
    } else {
        fs::rename(staging, target)?;
    }
    sync_directory(parent)
}

/// Creates a directory and its parents, each entry synced into the one above.
pub(crate) fn create_directory(directory: &FilePath) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent() {
        create_directory(parent)?;
        match fs::create_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => sync_directory(parent)?,
        }
    }
    Ok(())
}

fn sync_named(target: &FilePath) -> io::Result<()> {
    File::open(target)?.sync_all()?;
    match target.parent() {
        Some(parent) => sync_directory(parent),
        None => Ok(()),
    }
}

fn sync_directory(directory: &FilePath) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn named(location: &Path, source: io::Error) -> Error {
    let path = location.to_string();
    match source.kind() {
        io::ErrorKind::AlreadyExists => Error::AlreadyExists {
            path,
            source: source.into(),
        },
        io::ErrorKind::NotFound => Error::NotFound {
            path,
            source: source.into(),
        },
        io::ErrorKind::PermissionDenied => Error::PermissionDenied {
            path,
            source: source.into(),
        },
        _ => Error::Generic {
            store: "DurableStore",
            source: source.into(),
        },
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::JoinError { source: error }),
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;

    use super::*;

    fn at(directory: &FilePath, name: &str) -> Path {
        Path::from_absolute_path(directory.join(name)).expect("an absolute path")
    }

    #[tokio::test]
    async fn create_keeps_what_is_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = DurableStore::new();
        let path = at(directory.path(), "deep/er/file");
        let create = PutOptions::from(PutMode::Create);
        let put = |text: &'static str| store.put_opts(&path, text.into(), create.clone());
        put("first").await.expect("a new file");
        let second = put("second").await.expect_err("it exists");
        assert!(matches!(second, Error::AlreadyExists { .. }), "{second}");
        let read = store.get(&path).await.expect("there");
        assert_eq!(read.bytes().await.expect("readable"), "first");
    }

    #[tokio::test]
    async fn overwrite_replaces_and_leaves_no_staging_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = DurableStore::new();
        let path = at(directory.path(), "file");
        for text in ["first", "second"] {
            store.put(&path, text.into()).await.expect("written");
        }
        let names: Vec<_> = fs::read_dir(directory.path())
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(names, ["file"]);
    }
}
