use std::collections::BTreeMap;
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use serde::Deserialize;
use sql_files::TableName;
use url::Url;

use crate::error::{Error, ErrorKind, Result};
use crate::overlay::OverlayStore;
use crate::store::{DurableStore, is_staged};
use crate::width::Widths;

/// Version of the layout below the lake's root; another one is refused.
const FORMAT: &str = "sportlake lake format 1\n";
const FORMAT_FILE: &str = "_format";

/// `[lake]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LakeConfig {
    /// Directory that holds the Delta tables and the epochs.
    pub uri: String,
}

impl Default for LakeConfig {
    fn default() -> Self {
        Self {
            uri: "./data/lake".to_owned(),
        }
    }
}

/// The lake's storage: where tables, epochs, leases and project texts are. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lake {
    root: PathBuf,
    store: Arc<dyn ObjectStore>,
    /// The root of the lake that this one stands for, where it only tries something out.
    original: Option<PathBuf>,
    widths: Widths,
}

impl Lake {
    /// Opens the lake, creating an empty one where there is none.
    ///
    /// # Errors
    /// `Conflict` when the directory holds another format version or something that is no lake; `Unsupported` for a
    /// URI that is no local directory.
    pub async fn open(config: &LakeConfig) -> Result<Self> {
        let path = match config.uri.split_once("://") {
            None => config.uri.as_str(),
            Some(("file", path)) => path,
            Some((scheme, _)) => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("lake.uri has the scheme \"{scheme}\", which is not supported"),
                )
                .hint("Give a local directory, such as ./data/lake."));
            }
        };
        let root = create_root(FilePath::new(path)).map_err(|source| {
            let kind = match source.kind() {
                io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
                _ => ErrorKind::InvalidRequest,
            };
            Error::new(kind, format!("could not open the lake \"{path}\""))
                .hint("lake.uri must name a directory that this user may write.")
                .caused_by(source)
        })?;
        let lake = Self {
            store: Arc::new(DurableStore::new(&root)),
            root,
            original: None,
            widths: Widths::default(),
        };
        lake.check_format().await?;
        Ok(lake)
    }

    /// A lake in `folder` that begins as this one and leaves it as it is, to try something out.
    pub(crate) fn over(&self, folder: &FilePath, until: &BTreeMap<String, u64>) -> Result<Self> {
        let root = folder.canonicalize().map_err(storage)?;
        let store = OverlayStore::new(&root, self.store.clone(), &self.root, until)?;
        Ok(Self {
            root,
            store: Arc::new(store),
            original: Some(self.root.clone()),
            widths: Widths::default(),
        })
    }

    /// Whether the directory `relative` is there.
    pub(crate) fn has_directory(&self, relative: &str) -> bool {
        self.roots().any(|root| root.join(relative).is_dir())
    }

    /// Whether the file `relative` is there. One look at one name.
    pub(crate) fn has_file(&self, relative: &str) -> bool {
        self.roots().any(|root| root.join(relative).is_file())
    }

    /// Where files of the lake are: those of an overlay also in the lake that it stands for.
    fn roots(&self) -> impl Iterator<Item = &PathBuf> {
        [Some(&self.root), self.original.as_ref()]
            .into_iter()
            .flatten()
    }

    /// Makes the names in a directory last that somebody may have given and not synced: who died, or is about to.
    pub(crate) async fn settle(&self, relative: &str) -> Result<()> {
        if self.original.is_some() {
            return Ok(());
        }
        let directory = self.root.join(relative);
        tokio::task::spawn_blocking(move || disk::sync_directory(&directory))
            .await
            .map_err(|source| {
                Error::new(ErrorKind::Internal, "a sync of a directory broke off").caused_by(source)
            })?
            .map_err(storage)
    }

    /// Where what arrives from outside is: an overlay has none of its own.
    pub(crate) fn arrivals(&self) -> &FilePath {
        self.original.as_ref().unwrap_or(&self.root)
    }

    /// The directory of the lake, absolute.
    pub fn root(&self) -> &FilePath {
        &self.root
    }

    pub(crate) fn widths(&self) -> Widths {
        self.widths.clone()
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Where a file of the lake is in its store.
    pub(crate) fn path(&self, relative: &str) -> Result<Path> {
        Path::from_absolute_path(self.root.join(relative))
            .map_err(|source| Error::invalid("the lake's path cannot be used").caused_by(source))
    }

    /// The URL of the directory `relative`, with a final slash.
    pub(crate) fn url(&self, relative: &str) -> Result<Url> {
        let directory = self.root.join(relative);
        if self.original.is_some() {
            // Delta looks for the directory itself on a local disk.
            std::fs::create_dir_all(&directory).map_err(storage)?;
        }
        Url::from_directory_path(directory)
            .map_err(|()| Error::invalid("the lake's path cannot be used"))
    }

    /// Directory of a table, relative to the root.
    pub(crate) fn table_path(table: &TableName) -> String {
        format!("{}/{}", table.schema(), table.name())
    }

    /// Reads a small file; `None` when it is not there.
    pub(crate) async fn read(&self, relative: &str) -> Result<Option<Bytes>> {
        match self.store.get(&self.path(relative)?).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a file that must not be there yet; `false` when it is.
    pub(crate) async fn create(&self, relative: &str, content: Vec<u8>) -> Result<bool> {
        self.check_presence().await?;
        self.put_absent(relative, content).await
    }

    async fn put_absent(&self, relative: &str, content: Vec<u8>) -> Result<bool> {
        let options = PutOptions::from(PutMode::Create);
        let path = self.path(relative)?;
        match self.store.put_opts(&path, content.into(), options).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn replace(&self, relative: &str, content: Vec<u8>) -> Result<()> {
        self.check_presence().await?;
        self.store
            .put(&self.path(relative)?, content.into())
            .await?;
        Ok(())
    }

    pub(crate) async fn remove(&self, relative: &str) -> Result<()> {
        match self.store.delete(&self.path(relative)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Files in the directory `relative` itself, at most `limit`; none when it is not there.
    pub(crate) async fn list(&self, relative: &str, limit: usize) -> Result<Vec<ListedFile>> {
        let directories: Vec<PathBuf> = self.roots().map(|root| root.join(relative)).collect();
        let listed = blocking(move || {
            let mut files = BTreeMap::new();
            for directory in directories {
                for file in list_files(&directory, limit)? {
                    files.entry(file.name.clone()).or_insert(file);
                }
            }
            Ok(files.into_values().take(limit).collect())
        });
        listed.await
    }

    /// Directories in the directory `relative`; none when it is not there.
    pub(crate) async fn directories(&self, relative: &str) -> Result<Vec<String>> {
        let directory = self.root.join(relative);
        let listed = blocking(move || {
            let entries = match std::fs::read_dir(directory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                entries => entries?,
            };
            let mut names = Vec::new();
            for entry in entries {
                let entry = entry?;
                if let (true, Ok(name)) =
                    (entry.file_type()?.is_dir(), entry.file_name().into_string())
                {
                    names.push(name);
                }
            }
            Ok(names)
        });
        listed.await
    }

    /// Data files below the directory of a table, named relative to it: without its log.
    pub(crate) async fn walk(&self, table: &str) -> Result<Vec<ListedFile>> {
        let directory = self.root.join(table);
        let walked = blocking(move || {
            let mut files = Vec::new();
            walk(&directory, "", &mut files).map(|()| files)
        });
        walked.await
    }

    /// Removes a listed file, also one that was left in the middle of being written.
    pub(crate) async fn remove_listed(&self, directory: &str, name: &str) -> Result<()> {
        let path = format!("{directory}/{name}");
        if !name.contains('#') {
            return self.remove(&path).await;
        }
        match tokio::fs::remove_file(self.root.join(path)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(storage(error)),
            _ => Ok(()),
        }
    }

    async fn check_format(&self) -> Result<()> {
        if let Some(found) = self.read(FORMAT_FILE).await? {
            return self.accept_format(&found);
        }
        if self.holds_something().await? && self.read(FORMAT_FILE).await?.is_none() {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("\"{}\" is not empty and holds no lake", self.root.display()),
            )
            .hint("Point lake.uri at an empty directory, or at a lake that sportlake made."));
        }
        if self.put_absent(FORMAT_FILE, FORMAT.into()).await? {
            return Ok(());
        }
        match self.read(FORMAT_FILE).await? {
            Some(found) => self.accept_format(&found),
            None => Err(Error::new(
                ErrorKind::Unavailable,
                "the lake is being removed",
            )),
        }
    }

    /// Whether the directory holds more than what a start that was cut short leaves.
    async fn holds_something(&self) -> Result<bool> {
        let mut entries = tokio::fs::read_dir(&self.root).await.map_err(storage)?;
        while let Some(entry) = entries.next_entry().await.map_err(storage)? {
            if !is_staged(&entry.file_name()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// # Errors
    /// `Unavailable` when the lake's directory is not there, or is another: writing would make a second lake.
    /// # Errors
    /// `Unavailable` when the lake's directory is away.
    pub(crate) async fn check_presence(&self) -> Result<()> {
        if self.read(FORMAT_FILE).await?.is_some() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("the lake \"{}\" is away", self.root.display()),
        )
        .hint("Work goes on when its directory is back."))
    }

    fn accept_format(&self, found: &Bytes) -> Result<()> {
        if found.as_ref() == FORMAT.as_bytes() {
            return Ok(());
        }
        let found = String::from_utf8_lossy(&found[..found.len().min(80)]);
        Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "the lake \"{}\" has another format: \"{}\", this program writes \"{}\"",
                self.root.display(),
                found.trim(),
                FORMAT.trim()
            ),
        )
        .hint(
            "Use the version of sportlake that wrote it, or point lake.uri at another directory.",
        ))
    }
}

/// A file as its directory lists it.
#[derive(Debug, Clone)]
pub(crate) struct ListedFile {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) modified: Option<DateTime<Utc>>,
}

async fn blocking<T: Send + 'static>(
    look: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(look)
        .await
        .map_err(|source| {
            Error::new(ErrorKind::Internal, "a look into a directory broke off").caused_by(source)
        })?
        .map_err(storage)
}

fn list_files(directory: &FilePath, limit: usize) -> io::Result<Vec<ListedFile>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries.take(limit) {
        let entry = entry?;
        // A file may go while its directory is read.
        let (Ok(metadata), Ok(name)) = (entry.metadata(), entry.file_name().into_string()) else {
            continue;
        };
        if metadata.is_file() {
            files.push(ListedFile {
                name,
                bytes: metadata.len(),
                modified: metadata.modified().ok().map(DateTime::from),
            });
        }
    }
    Ok(files)
}

/// Directories that hold no data files of their table begin with `_`; partitions have an `=`.
fn walk(directory: &FilePath, prefix: &str, files: &mut Vec<ListedFile>) -> io::Result<()> {
    for mut file in list_files(directory, usize::MAX)? {
        file.name.insert_str(0, prefix);
        files.push(file);
    }
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let is_log = name.starts_with('_') && !name.contains('=');
        if !is_log && entry.file_type()?.is_dir() {
            walk(&entry.path(), &format!("{prefix}{name}/"), files)?;
        }
    }
    Ok(())
}

fn create_root(path: &FilePath) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    disk::create_directory(&absolute)?;
    absolute.canonicalize()
}

fn storage(source: io::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "could not read the lake's directory",
    )
    .caused_by(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(directory: &tempfile::TempDir) -> LakeConfig {
        LakeConfig {
            uri: directory.path().join("lake").display().to_string(),
        }
    }

    #[tokio::test]
    async fn a_lake_opens_twice() {
        let directory = tempfile::tempdir().expect("a directory");
        for _ in 0..2 {
            Lake::open(&config(&directory)).await.expect("a lake");
        }
    }

    #[tokio::test]
    async fn a_first_start_that_was_cut_short_is_made_good() {
        let directory = tempfile::tempdir().expect("a directory");
        let lake = directory.path().join("lake");
        std::fs::create_dir(&lake).expect("created");
        std::fs::write(lake.join("_format#12300"), "sport").expect("written");
        Lake::open(&config(&directory)).await.expect("a lake");
    }

    #[tokio::test]
    async fn nothing_is_written_where_the_lake_is_away() {
        let directory = tempfile::tempdir().expect("a directory");
        let lake = Lake::open(&config(&directory)).await.expect("a lake");
        std::fs::rename(lake.root(), directory.path().join("away")).expect("moved");
        let refused = lake.create("_epochs/1", Vec::new()).await;
        assert_eq!(
            refused.map_err(|error| error.kind()),
            Err(ErrorKind::Unavailable)
        );
        assert!(!lake.root().exists());
    }

    #[tokio::test]
    async fn another_format_and_a_strange_directory_are_conflicts() {
        let directory = tempfile::tempdir().expect("a directory");
        let lake = directory.path().join("lake");
        std::fs::create_dir(&lake).expect("created");
        std::fs::write(lake.join("holiday.jpg"), "").expect("written");
        let strange = Lake::open(&config(&directory)).await.expect_err("no lake");
        assert_eq!(strange.kind(), ErrorKind::Conflict);
        std::fs::write(lake.join("_format"), "sportlake lake format 9\n").expect("written");
        let other = Lake::open(&config(&directory)).await.expect_err("format 9");
        assert_eq!(other.kind(), ErrorKind::Conflict);
        assert!(other.to_string().contains("format 9"), "{other}");
    }
}
