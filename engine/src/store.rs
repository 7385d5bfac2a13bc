//! The local object store with the durability that Delta commits need.
//!
//! `object_store`'s own local store never syncs: after a power cut an acknowledged commit could be gone, or be there
//! under its name with no content. Here a file is synced before it gets its name, and the directory after.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use disk::File;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    RenameTargetMode, Result, UploadPart,
};
use parking_lot::Mutex;

/// Files in the middle of being written end in `#N`, which listings leave out.
const STAGING_MARK: char = '#';

/// Files removed at a time.
const REMOVALS: usize = 8;

/// Whether a file of this name was left in the middle of being written.
pub(crate) fn is_staged(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let number = name.rsplit_once(STAGING_MARK).map(|(_, number)| number);
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A store whose paths begin at `/` and whose writes below a directory survive power loss once they are acknowledged.
#[derive(Debug)]
pub(crate) struct DurableStore {
    inner: Arc<LocalFileSystem>,
    directories: Arc<Directories>,
    staged: AtomicU64,
    /// Differs from process to process, also where two machines give them the same id.
    mark: u64,
}

/// The directories below a root, made and synced as they are needed.
#[derive(Debug)]
struct Directories {
    root: PathBuf,
    /// Whose names last, up to the root.
    lasting: Mutex<HashSet<PathBuf>>,
}

impl Directories {
    /// Makes sure that what is written into a directory, and synced there, is found again.
    fn ensure(&self, directory: &FilePath) -> io::Result<()> {
        if self.lasting.lock().contains(directory) && directory.is_dir() {
            return Ok(());
        }
        disk::create_directory(directory)?;
        // Directories that are there may be of somebody who died, or is about to sync them.
        let mut below = directory;
        while below != self.root
            && below.starts_with(&self.root)
            && let Some(above) = below.parent()
        {
            if !self.lasting.lock().contains(below) {
                disk::sync_directory(above)?;
                self.lasting.lock().insert(below.to_owned());
            }
            below = above;
        }
        Ok(())
    }
}

impl DurableStore {
    /// `root` is there already.
    pub(crate) fn new(root: &FilePath) -> Self {
        Self {
            inner: Arc::new(LocalFileSystem::new()),
            directories: Arc::new(Directories {
                root: root.to_owned(),
                lasting: Mutex::default(),
            }),
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
        let (location, directories) = (location.clone(), self.directories.clone());
        blocking(move || {
            parent(&target)
                .and_then(|directory| directories.ensure(directory))
                .and_then(|()| put_file(&staging, &target, &payload, create))
                .map_err(|source| {
                    disk::remove_file(&staging).ok();
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
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let target = self.inner.path_to_filesystem(location)?;
        let staging = self.staging_path(&target);
        let opened = location.clone();
        let name = staging.clone();
        let directories = self.directories.clone();
        let file = blocking(move || {
            parent(&name)
                .and_then(|directory| directories.ensure(directory))
                .and_then(|()| File::create(&name))
                .map_err(|source| named(&opened, source))
        })
        .await?;
        Ok(Box::new(Upload {
            file: Arc::new(file),
            written: 0,
            staging: Some(staging),
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
        let inner = self.inner.clone();
        let removals = locations.map(move |location| {
            let inner = inner.clone();
            async move {
                let location = location?;
                let path = inner.path_to_filesystem(&location)?;
                let removed = location.clone();
                blocking(move || {
                    disk::remove_file(&path).map_err(|source| named(&removed, source))
                })
                .await?;
                Ok(location)
            }
        });
        removals.buffered(REMOVALS).boxed()
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
        let create = options.mode == CopyMode::Create;
        self.name_anew(from, to, move |from, staging, to| match create {
            true => disk::hard_link(from, to),
            false => disk::hard_link(from, staging).and_then(|()| disk::rename(staging, to)),
        })
        .await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let create = options.target_mode == RenameTargetMode::Create;
        self.name_anew(from, to, move |from, _, to| match create {
            true => disk::hard_link(from, to).and_then(|()| disk::remove_file(from)),
            false => disk::rename(from, to),
        })
        .await
    }
}

impl DurableStore {
    /// Gives a file another name, which lasts when this returns.
    async fn name_anew(
        &self,
        from: &Path,
        to: &Path,
        step: impl FnOnce(&FilePath, &FilePath, &FilePath) -> io::Result<()> + Send + 'static,
    ) -> Result<()> {
        let source = self.inner.path_to_filesystem(from)?;
        let target = self.inner.path_to_filesystem(to)?;
        let staging = self.staging_path(&target);
        let (location, directories) = (to.clone(), self.directories.clone());
        blocking(move || {
            parent(&target)
                .and_then(|directory| directories.ensure(directory))
                .and_then(|()| step(&source, &staging, &target))
                .and_then(|()| disk::sync_directory(parent(&target)?))
                .map_err(|source| named(&location, source))
        })
        .await
    }
}

/// A large file on its way: its parts are written beside its name, which it gets when all of it is synced.
#[derive(Debug)]
struct Upload {
    file: Arc<File>,
    written: u64,
    /// None once it has its name or is given up.
    staging: Option<PathBuf>,
    target: PathBuf,
    location: Path,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let mut at = self.written;
        self.written += data.content_length() as u64;
        let (file, location) = (self.file.clone(), self.location.clone());
        Box::pin(blocking(move || {
            for chunk in data.iter() {
                file.write_all_at(chunk, at)
                    .map_err(|source| named(&location, source))?;
                at += chunk.len() as u64;
            }
            Ok(())
        }))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let Some(staging) = self.staging.clone() else {
            return Err(named(&self.location, io::ErrorKind::NotFound.into()));
        };
        let (file, target, location) = (
            self.file.clone(),
            self.target.clone(),
            self.location.clone(),
        );
        blocking(move || {
            file.sync_all()
                .and_then(|()| disk::rename(&staging, &target))
                .and_then(|()| disk::sync_directory(parent(&target)?))
                .map_err(|source| named(&location, source))
        })
        .await?;
        self.staging = None;
        Ok(PutResult {
            e_tag: None,
            version: None,
        })
    }

    async fn abort(&mut self) -> Result<()> {
        let Some(staging) = self.staging.take() else {
            return Ok(());
        };
        let location = self.location.clone();
        blocking(move || disk::remove_file(&staging).map_err(|source| named(&location, source)))
            .await
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(staging) = &self.staging {
            disk::remove_file(staging).ok();
        }
    }
}

fn put_file(
    staging: &FilePath,
    target: &FilePath,
    payload: &PutPayload,
    create: bool,
) -> io::Result<()> {
    let directory = parent(target)?;
    // What a killed process of the same id left under this name is nobody's.
    let file = File::create(staging)?;
    let mut written = 0;
    for chunk in payload.iter() {
        file.write_all_at(chunk, written)?;
        written += chunk.len() as u64;
    }
    file.sync_all()?;
    if create {
        let linked = disk::hard_link(staging, target);
        disk::remove_file(staging).ok();
        if let Err(error) = linked {
            if error.kind() == io::ErrorKind::AlreadyExists {
                // Who finds it there goes by it.
                disk::sync_directory(directory)?;
            }
            return Err(error);
        }
    } else {
        disk::rename(staging, target)?;
    }
    disk::sync_directory(directory)
}

fn parent(path: &FilePath) -> io::Result<&FilePath> {
    path.parent()
        .ok_or_else(|| io::ErrorKind::InvalidInput.into())
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
        let store = DurableStore::new(directory.path());
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
        let store = DurableStore::new(directory.path());
        let path = at(directory.path(), "file");
        for text in ["first", "second"] {
            store.put(&path, text.into()).await.expect("written");
        }
        let names: Vec<_> = std::fs::read_dir(directory.path())
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(names, ["file"]);
    }
}
