use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::Path;
use std::thread::ThreadId;

use super::{Event, EventKind, Survival};

/// The directory that stands for the root.
const ROOT: usize = 0;

type Entries = BTreeMap<OsString, Node>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    File(usize),
    Directory(usize),
}

/// A disk with a cache before it.
#[derive(Debug)]
pub(super) struct Disk {
    files: Vec<Content>,
    directories: Vec<Directory>,
    /// Changes of names that no sync has covered, oldest first.
    unsynced: Vec<Renaming>,
    /// What a sync that has begun covers, by who syncs.
    syncing: HashMap<ThreadId, Covered>,
    /// Events so far.
    events: usize,
}

#[derive(Debug, Default)]
struct Content {
    cached: Vec<u8>,
    synced: Vec<u8>,
    /// The shortest it was since then: what it was cut off is synced no more.
    shortest: usize,
    /// The event at which its newest sync began.
    synced_at: usize,
}

#[derive(Debug, Default)]
struct Directory {
    cached: Entries,
    synced: Entries,
}

/// Names given and taken by one change, which happen together.
#[derive(Debug, Clone)]
struct Renaming {
    /// The event that did it.
    at: usize,
    names: Vec<Naming>,
}

#[derive(Debug, Clone)]
struct Naming {
    directory: usize,
    name: OsString,
    node: Option<Node>,
}

/// What a sync that began at an event covers.
#[derive(Debug)]
enum Covered {
    Content {
        file: usize,
        content: Vec<u8>,
        shortest: usize,
        at: usize,
    },
    Names {
        directory: usize,
        at: usize,
    },
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            directories: vec![Directory::default()],
            unsynced: Vec::new(),
            syncing: HashMap::new(),
            events: 0,
        }
    }
}

impl Disk {
    /// Something that was there from the beginning; a directory when it has no content.
    pub(super) fn put(&mut self, path: &Path, content: Option<&[u8]>) {
        let node = match content {
            Some(content) => {
                self.files.push(Content {
                    cached: content.to_vec(),
                    synced: content.to_vec(),
                    shortest: content.len(),
                    synced_at: 0,
                });
                Node::File(self.files.len() - 1)
            }
            None => self.new_directory(),
        };
        if let Some((directory, name)) = self.place(path) {
            let directory = &mut self.directories[directory];
            directory.cached.insert(name.to_owned(), node);
            directory.synced.insert(name.to_owned(), node);
        }
    }

    pub(super) fn apply(&mut self, event: &Event) {
        self.events += 1;
        let path = &event.path;
        match &event.kind {
            EventKind::Mark(_) => {}
            EventKind::Forgotten => {
                self.syncing.remove(&event.thread);
            }
            EventKind::MakeDirectory => {
                let node = self.new_directory();
                self.rename([(path.as_path(), Some(node))]);
            }
            EventKind::Create => match self.file(path) {
                Some(file) => self.set_length(file, 0),
                None => {
                    self.files.push(Content::default());
                    let node = Node::File(self.files.len() - 1);
                    self.rename([(path.as_path(), Some(node))]);
                }
            },
            EventKind::Write { at, bytes } => {
                if let Some(file) = self.file(path) {
                    let at = usize::try_from(*at).unwrap_or(usize::MAX);
                    let cached = &mut self.files[file].cached;
                    let end = at + bytes.len();
                    if cached.len() < end {
                        cached.resize(end, 0);
                    }
                    cached[at..end].copy_from_slice(bytes);
                }
            }
            EventKind::SetLength(length) => {
                if let Some(file) = self.file(path) {
                    self.set_length(file, usize::try_from(*length).unwrap_or(usize::MAX));
                }
            }
            EventKind::Link { to } => {
                let node = self.node(path);
                self.rename([(to.as_path(), node)]);
            }
            EventKind::Rename { to } => {
                let node = self.node(path);
                self.rename([(path.as_path(), None), (to.as_path(), node)]);
            }
            EventKind::Remove => self.rename([(path.as_path(), None)]),
            EventKind::RemoveDirectory => self.remove_directory(path),
            EventKind::SyncBegins => {
                if let Some(file) = self.file(path) {
                    let content = self.files[file].cached.clone();
                    let covered = Covered::Content {
                        file,
                        shortest: content.len(),
                        content,
                        at: self.events,
                    };
                    self.syncing.insert(event.thread, covered);
                }
            }
            EventKind::DirectorySyncBegins => {
                if let Some(directory) = self.directory(path) {
                    let at = self.events;
                    let covered = Covered::Names { directory, at };
                    self.syncing.insert(event.thread, covered);
                }
            }
            EventKind::SyncEnds | EventKind::DirectorySyncEnds => self.end_sync(event.thread),
        }
    }

    pub(super) fn lay_out(mut self, survival: Survival, into: &Path) -> io::Result<()> {
        let mut chance = Chance(match survival {
            Survival::Chance(seed) => seed,
            _ => 0,
        });
        let survive: HashSet<usize> = self
            .unsynced
            .iter()
            .filter(|_| match survival {
                Survival::Synced => false,
                Survival::Everything => true,
                Survival::Chance(_) => chance.below(2) == 0,
            })
            .map(|renaming| renaming.at)
            .collect();
        self.make_last(|renaming| survive.contains(&renaming.at));
        for content in &mut self.files {
            content.synced = match survival {
                Survival::Synced => std::mem::take(&mut content.synced),
                Survival::Everything => std::mem::take(&mut content.cached),
                Survival::Chance(_) => chance.torn(content),
            };
        }
        self.lay_out_directory(ROOT, into)
    }

    fn lay_out_directory(&self, directory: usize, into: &Path) -> io::Result<()> {
        for (name, node) in &self.directories[directory].synced {
            let path = into.join(name);
            match *node {
                Node::File(file) => fs::write(path, &self.files[file].synced)?,
                Node::Directory(directory) => {
                    fs::create_dir(&path)?;
                    self.lay_out_directory(directory, &path)?;
                }
            }
        }
        Ok(())
    }

    fn new_directory(&mut self) -> Node {
        self.directories.push(Directory::default());
        Node::Directory(self.directories.len() - 1)
    }

    /// Gives and takes names, in the cache.
    fn rename<'a>(&mut self, names: impl IntoIterator<Item = (&'a Path, Option<Node>)>) {
        let mut changed = Vec::new();
        for (path, node) in names {
            let Some((directory, name)) = self.place(path) else {
                continue;
            };
            let cached = &mut self.directories[directory].cached;
            match node {
                Some(node) => cached.insert(name.to_owned(), node),
                None => cached.remove(name),
            };
            changed.push(Naming {
                directory,
                name: name.to_owned(),
                node,
            });
        }
        self.unsynced.push(Renaming {
            at: self.events,
            names: changed,
        });
    }

    fn remove_directory(&mut self, path: &Path) {
        if let Some(directory) = self.directory(path) {
            let names: Vec<OsString> = self.directories[directory].cached.keys().cloned().collect();
            for name in names {
                self.remove_directory(&path.join(name));
            }
        }
        self.rename([(path, None)]);
    }

    fn set_length(&mut self, file: usize, length: usize) {
        let content = &mut self.files[file];
        content.cached.resize(length, 0);
        content.shortest = content.shortest.min(length);
        for covered in self.syncing.values_mut() {
            match covered {
                Covered::Content {
                    file: other,
                    shortest,
                    ..
                } if *other == file => *shortest = (*shortest).min(length),
                _ => {}
            }
        }
    }

    fn end_sync(&mut self, thread: ThreadId) {
        match self.syncing.remove(&thread) {
            None => {}
            Some(Covered::Content {
                file,
                content,
                shortest,
                at,
            }) => {
                let synced = &mut self.files[file];
                if at >= synced.synced_at {
                    synced.synced = content;
                    synced.shortest = shortest;
                    synced.synced_at = at;
                }
            }
            Some(Covered::Names { directory, at }) => self.make_last(|renaming| {
                let mut names = renaming.names.iter();
                renaming.at < at && names.any(|naming| naming.directory == directory)
            }),
        }
    }

    /// Makes some changes of names last, and with them what was done to the same names before.
    fn make_last(&mut self, chosen: impl Fn(&Renaming) -> bool) {
        let mut touched: HashSet<(usize, OsString)> = HashSet::new();
        let mut lasting = Vec::new();
        let mut left = Vec::new();
        for renaming in std::mem::take(&mut self.unsynced).into_iter().rev() {
            let names = || {
                let names = renaming.names.iter();
                names.map(|naming| (naming.directory, naming.name.clone()))
            };
            if chosen(&renaming) || names().any(|name| touched.contains(&name)) {
                touched.extend(names());
                lasting.push(renaming);
            } else {
                left.push(renaming);
            }
        }
        left.reverse();
        self.unsynced = left;
        for naming in lasting.iter().rev().flat_map(|renaming| &renaming.names) {
            let synced = &mut self.directories[naming.directory].synced;
            match naming.node {
                Some(node) => synced.insert(naming.name.clone(), node),
                None => synced.remove(&naming.name),
            };
        }
    }

    fn node(&self, path: &Path) -> Option<Node> {
        let mut node = Node::Directory(ROOT);
        for name in path {
            let Node::Directory(directory) = node else {
                return None;
            };
            node = *self.directories[directory].cached.get(name)?;
        }
        Some(node)
    }

    fn file(&self, path: &Path) -> Option<usize> {
        match self.node(path)? {
            Node::File(file) => Some(file),
            Node::Directory(_) => None,
        }
    }

    fn directory(&self, path: &Path) -> Option<usize> {
        match self.node(path)? {
            Node::Directory(directory) => Some(directory),
            Node::File(_) => None,
        }
    }

    /// Directory and name of a path.
    fn place<'a>(&self, path: &'a Path) -> Option<(usize, &'a OsStr)> {
        let name = path.file_name()?;
        Some((self.directory(path.parent()?)?, name))
    }
}

/// Chances that come again with the same seed (Steele, Lea and Flood's SplitMix).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// The old content, the new, or some of each. Every stretch of it may be as old or as new as it likes; what was
    /// never synced, or was cut off since, may also be nothing but zeros where the length came before the bytes.
    fn torn(&mut self, content: &Content) -> Vec<u8> {
        let (old, new) = (&content.synced, &content.cached);
        if old == new && content.shortest == old.len() {
            return new.clone();
        }
        match self.below(4) {
            0 => return old.clone(),
            1 => return new.clone(),
            _ => {}
        }
        let lengths = [old.len(), new.len(), content.shortest];
        let (least, most) = (content.shortest, old.len().max(new.len()));
        let length = match lengths.get(self.below(lengths.len() + 1)) {
            Some(length) => *length,
            None => least + self.below(most - least + 1),
        };
        let mut torn = Vec::with_capacity(length);
        while torn.len() < length {
            let stretch = 1 + self.below(length - torn.len());
            let age = self.below(3);
            torn.extend((torn.len()..torn.len() + stretch).map(|at| {
                let (old, new) = (old.get(at).copied(), new.get(at).copied());
                let byte = match age {
                    0 => new.or(old),
                    1 => old,
                    _ => old.filter(|_| at < content.shortest),
                };
                byte.unwrap_or(0)
            }));
        }
        torn
    }
}
