//! A store that reads through to another one and keeps every write to itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::{Path, PathPart};
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};
use parking_lot::Mutex;

/// The folder of a table's log.
const LOG: &str = "_delta_log";

/// A folder that stands for another one: what is not in it is read from the other, of which no more is seen than was
/// there once.
#[derive(Debug, Clone)]
pub(crate) struct OverlayStore {
    above: Arc<LocalFileSystem>,
    below: Arc<dyn ObjectStore>,
    /// The folder written to.
    folder: Path,
    /// The folder it stands for, in `below`.
    original: Path,
    /// Deleted here; it may still be there below.
    gone: Arc<Mutex<BTreeSet<Path>>>,
    /// Tables below that are seen, and until which version.
    until: Arc<BTreeMap<Path, u64>>,
}

impl OverlayStore {
    pub(crate) fn new(
        folder: &FilePath,
        below: Arc<dyn ObjectStore>,
        original: &FilePath,
        until: &BTreeMap<String, u64>,
    ) -> Result<Self> {
        let original = Path::from_absolute_path(original)?;
        let until = until.iter().map(|(table, version)| {
            let folders = table.split('/').map(PathPart::from);
            (original.parts().chain(folders).collect(), *version)
        });
        Ok(Self {
            above: Arc::new(LocalFileSystem::new()),
            below,
            folder: Path::from_absolute_path(folder)?,
            until: Arc::new(until.collect()),
            original,
            gone: Arc::default(),
        })
    }

    /// Where a file is in `below`.
    fn beneath(&self, location: &Path) -> Path {
        moved(location, &self.folder, &self.original)
    }

    /// Entries of `below` by the names they have here.
    fn raised(&self, mut metas: Vec<ObjectMeta>) -> Vec<ObjectMeta> {
        for meta in &mut metas {
            meta.location = moved(&meta.location, &self.original, &self.folder);
        }
        metas
    }

    /// Whether a file below is not seen here.
    fn is_gone(&self, location: &Path) -> bool {
        self.gone.lock().contains(location) || self.is_later(&self.beneath(location))
    }

    /// Whether a file below is an entry of a log that is not seen, or says which is its last.
    fn is_later(&self, beneath: &Path) -> bool {
        let parts: Vec<PathPart<'_>> = beneath.parts().collect();
        let [folders @ .., log, name] = parts.as_slice() else {
            return false;
        };
        if log.as_ref() != LOG {
            return false;
        }
        let version = name
            .as_ref()
            .get(..20)
            .and_then(|digits| digits.parse().ok());
        match (self.until.get(&folders.iter().cloned().collect()), version) {
            (Some(until), Some(version)) => *until < version,
            (Some(_), None) => name.as_ref() == "_last_checkpoint",
            (None, _) => true,
        }
    }

    async fn has(&self, location: &Path) -> Result<bool> {
        match self.head(location).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn must_be_new(&self, location: &Path) -> Result<()> {
        if self.has(location).await? {
            return Err(Error::AlreadyExists {
                path: location.to_string(),
                source: "a file of this name is there".into(),
            });
        }
        Ok(())
    }

    async fn delete_one(&self, location: Path) -> Result<Path> {
        match self.above.delete(&location).await {
            Ok(()) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        self.gone.lock().insert(location.clone());
        Ok(location)
    }

    /// Both stores' entries, by name; those above win.
    fn merged(&self, above: Vec<ObjectMeta>, below: Vec<ObjectMeta>) -> Vec<ObjectMeta> {
        let below = below
            .into_iter()
            .filter(|meta| !self.is_gone(&meta.location));
        let entries: BTreeMap<Path, ObjectMeta> = below
            .chain(above)
            .map(|meta| (meta.location.clone(), meta))
            .collect();
        entries.into_values().collect()
    }
}

/// A path below one folder as the same path below another.
fn moved(path: &Path, from: &Path, to: &Path) -> Path {
    match path.prefix_match(from) {
        Some(rest) => to.parts().chain(rest).collect(),
        None => path.clone(),
    }
}

impl fmt::Display for OverlayStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OverlayStore({})", self.below)
    }
}

#[async_trait]
impl ObjectStore for OverlayStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        if options.mode == PutMode::Create {
            self.must_be_new(location).await?;
        }
        self.gone.lock().remove(location);
        self.above.put(location, payload).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.gone.lock().remove(location);
        self.above.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match self.above.get_opts(location, options.clone()).await {
            Err(Error::NotFound { .. }) if !self.is_gone(location) => {
                self.below.get_opts(&self.beneath(location), options).await
            }
            found => found,
        }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        match self.above.get_ranges(location, ranges).await {
            Err(Error::NotFound { .. }) if !self.is_gone(location) => {
                self.below.get_ranges(&self.beneath(location), ranges).await
            }
            found => found,
        }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let deleted = locations.and_then(move |location| {
            let store = store.clone();
            async move { store.delete_one(location).await }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let beneath = prefix.map(|prefix| self.beneath(prefix));
        let (above, below) = (self.above.list(prefix), self.below.list(beneath.as_ref()));
        let store = self.clone();
        let merged = async move {
            let above = above.try_collect().await?;
            let below = store.raised(below.try_collect().await?);
            let entries = store.merged(above, below).into_iter().map(Ok);
            Ok::<_, Error>(stream::iter(entries))
        };
        stream::once(merged).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let above = self.above.list_with_delimiter(prefix).await?;
        let beneath = prefix.map(|prefix| self.beneath(prefix));
        let below = self.below.list_with_delimiter(beneath.as_ref()).await?;
        let others = below.common_prefixes.iter();
        let others = others.map(|path| moved(path, &self.original, &self.folder));
        let folders: BTreeSet<Path> = above.common_prefixes.into_iter().chain(others).collect();
        Ok(ListResult {
            common_prefixes: folders.into_iter().collect(),
            objects: self.merged(above.objects, self.raised(below.objects)),
        })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        if options.mode == CopyMode::Create {
            self.must_be_new(to).await?;
        }
        let bytes = self.get(from).await?.bytes().await?;
        self.gone.lock().remove(to);
        self.above.put(to, bytes.into()).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_below_is_read_and_never_changed() {
        let (lower, upper) = (tempfile::tempdir(), tempfile::tempdir());
        let (lower, upper) = (lower.expect("a folder"), upper.expect("a folder"));
        let below: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new());
        let at = |folder: &tempfile::TempDir, name: &str| {
            Path::from_absolute_path(folder.path().join("t").join(name)).expect("a path")
        };
        for name in ["a", "b"] {
            let written = below.put(&at(&lower, name), name.into()).await;
            written.expect("written");
        }
        let log = lower.path().join("t/_delta_log");
        std::fs::create_dir_all(&log).expect("a log");
        let entries = [1, 2, 3].map(|version| format!("{version:020}.json"));
        for name in entries
            .iter()
            .map(String::as_str)
            .chain(["_last_checkpoint"])
        {
            std::fs::write(log.join(name), name).expect("written");
        }
        let until = BTreeMap::from([("t".to_owned(), 2)]);
        let store = OverlayStore::new(upper.path(), below.clone(), lower.path(), &until);
        let store = store.expect("a store");
        let create = PutOptions::from(PutMode::Create);
        let put = |name: &str, text: &'static str| {
            let (store, path, create) = (&store, at(&upper, name), create.clone());
            async move { store.put_opts(&path, text.into(), create).await }
        };
        let refused = put("a", "x").await;
        assert!(matches!(refused, Err(Error::AlreadyExists { .. })));
        put("c", "c").await.expect("new");
        let changed = store.put(&at(&upper, "a"), "changed".into()).await;
        changed.expect("written");
        store.delete(&at(&upper, "b")).await.expect("deleted");

        let text = async |store: &dyn ObjectStore, path: Path| {
            let bytes = store.get(&path).await.ok()?.bytes().await.ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        assert_eq!(
            text(&store, at(&upper, "a")).await.as_deref(),
            Some("changed")
        );
        assert_eq!(text(&store, at(&upper, "b")).await, None);
        let entries = entries.map(|name| at(&upper, &format!("_delta_log/{name}")));
        let hidden = at(&upper, "_delta_log/_last_checkpoint");
        for path in [&entries[2], &hidden] {
            assert_eq!(text(&store, path.clone()).await, None, "{path}");
        }
        let next = store
            .put_opts(&entries[2], "3".into(), create.clone())
            .await;
        next.expect("as if there were none");
        let lists = store.list(Some(&at(&upper, "")));
        let listed: Vec<ObjectMeta> = lists.try_collect().await.expect("listed");
        let paths: Vec<Path> = listed.iter().map(|meta| meta.location.clone()).collect();
        let [first, second, third] = entries;
        let expected = [
            first,
            second,
            third.clone(),
            at(&upper, "a"),
            at(&upper, "c"),
        ];
        assert_eq!(paths, expected);
        assert_eq!(text(&store, third).await.as_deref(), Some("3"));
        for (name, expected) in [("a", Some("a")), ("b", Some("b")), ("c", None)] {
            let found = text(below.as_ref(), at(&lower, name)).await;
            assert_eq!(found.as_deref(), expected, "{name} below");
        }
    }
}
