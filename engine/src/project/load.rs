use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind as IoKind, Read};
use std::path::Path;

use sql_files::depth::with_deep_stack;
use sql_files::{DEFAULT_SCHEMA, Diagnostic, SqlFile, TableName};

use super::Project;
use super::lock::LOCK_FILE;
use crate::error::{Error, ErrorKind, Result};
use crate::nearest;

const MAX_FILE_BYTES: u64 = 1 << 20;
const MAX_FILES: usize = 2_000;

/// Folders whose files make tables.
pub(super) const LAYERS: [&str; 2] = ["silver", "gold"];

/// Names of a project's folder that make no table and are read elsewhere.
const ELSEWHERE: [&str; 2] = ["tests", "policies.sql"];

impl Project {
    /// Reads a project's folder. A file that cannot be read or parsed is a problem of the project;
    /// an error means that the folder as a whole cannot be read.
    pub fn load(folder: &Path) -> Result<Self> {
        let mut project = Self::default();
        let shown = folder.display().to_string();
        for entry in entries(folder, folder)? {
            match entry.kind {
                Kind::Folder if LAYERS.contains(&entry.name.as_str()) => {
                    let layer = entry.name;
                    for file in entries(folder, &folder.join(&layer))? {
                        let path = format!("{layer}/{}", file.name);
                        match file.kind {
                            Kind::File if file.is_sql() => project.read(folder, &shown, &path)?,
                            Kind::Folder => project.stray(&shown, &path, "a layer has no folders"),
                            Kind::File => {}
                        }
                    }
                }
                _ if ELSEWHERE.contains(&entry.name.as_str()) => {}
                Kind::File if entry.is_sql() => project.read(folder, &shown, &entry.name)?,
                // Whether it is a good one is told by whoever parses it.
                Kind::File if entry.name == LOCK_FILE => {
                    let bytes = read_bounded(&folder.join(LOCK_FILE)).unwrap_or_default();
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    project.texts.insert(LOCK_FILE.to_owned(), text);
                }
                Kind::Folder if holds_sql(&folder.join(&entry.name)) => {
                    project.stray(&shown, &entry.name, "the folder is no layer of the lake");
                }
                Kind::File | Kind::Folder => {}
            }
        }
        Ok(project)
    }

    /// A project from texts by path (`gold/eligibilites.sql`), such as those kept in the lake.
    pub fn from_texts(texts: BTreeMap<String, String>) -> Self {
        let mut project = Self::default();
        for (path, text) in texts {
            if path == LOCK_FILE {
                project.texts.insert(path, text);
            } else {
                project.add("sql", &path, text);
            }
        }
        project
    }

    fn read(&mut self, folder: &Path, shown: &str, path: &str) -> Result<()> {
        if self.texts.len() >= MAX_FILES {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                format!("\"{shown}\" has more than {MAX_FILES} SQL files"),
            )
            .hint("Split the project into several lakes."));
        }
        match read_text(folder, path, &format!("{shown}/{path}")) {
            TextFile::Text(text) => self.add(shown, path, text),
            TextFile::Broken(problem) => self.broken(path, problem),
            TextFile::Gone => {}
        }
        Ok(())
    }

    fn add(&mut self, shown: &str, path: &str, text: String) {
        let shown_path = format!("{shown}/{path}");
        match table_name(path) {
            Ok(name) => match parse(name.clone(), path, &shown_path, &text) {
                Ok(file) => self.files.push(file),
                Err(problems) => {
                    self.broken.insert(name);
                    self.problems.extend(problems);
                }
            },
            Err((message, hint)) => self
                .problems
                .push(Diagnostic::of_file(&shown_path, message).hint(hint)),
        }
        self.texts.insert(path.to_owned(), text);
    }

    fn broken(&mut self, path: &str, problem: Diagnostic) {
        self.broken.extend(table_name(path));
        self.problems.push(problem);
    }

    fn stray(&mut self, shown: &str, path: &str, message: &str) {
        let hint = match nearest::name(path, LAYERS) {
            Some(layer) => format!("Did you mean \"{layer}\"?"),
            None => "Tables come from silver/*.sql, gold/*.sql and parameters.sql.".to_owned(),
        };
        let shown_path = format!("{shown}/{path}");
        self.problems
            .push(Diagnostic::of_file(&shown_path, message).hint(hint));
    }
}

fn parse(
    name: TableName,
    path: &str,
    shown_path: &str,
    text: &str,
) -> Result<SqlFile, Vec<Diagnostic>> {
    with_deep_stack(|| SqlFile::parse(name, path, shown_path, text)).unwrap_or_else(|| {
        let message = "the file cannot be parsed: no thread for it";
        Err(vec![Diagnostic::of_file(shown_path, message)])
    })
}

/// The table that a file of the project makes.
pub(crate) fn table_of(path: &str) -> Option<TableName> {
    table_name(path).ok()
}

/// The table that a path stands for, or what is wrong with the path and how to mend it.
pub(super) fn table_name(path: &str) -> Result<TableName, (String, String)> {
    let stem = path.strip_suffix(".sql").unwrap_or(path);
    let (layer, name) = match stem.split_once('/') {
        Some((layer, name)) if LAYERS.contains(&layer) => (layer, name),
        None if stem == "parameters" => (DEFAULT_SCHEMA, stem),
        _ => {
            let hint = match nearest::name(stem, ["parameters", "policies"]) {
                Some(near) => format!("Did you mean \"{near}.sql\"?"),
                None => "Put it into silver/ or gold/.".to_owned(),
            };
            return Err(("the file stands in no layer".to_owned(), hint));
        }
    };
    let name = TableName::new(layer, name).map_err(|error| {
        let hint = error.hint.clone();
        (error.to_string(), hint)
    })?;
    match name.quarantine_of() {
        None => Ok(name),
        Some(table) => Err((
            format!("\"{name}\" is the name of the rows kept out of {table}"),
            "Choose a name that does not end in __quarantine.".to_owned(),
        )),
    }
}

pub(super) enum Kind {
    File,
    Folder,
}

pub(super) struct Entry {
    pub(super) name: String,
    pub(super) kind: Kind,
}

impl Entry {
    pub(super) fn is_sql(&self) -> bool {
        Path::new(&self.name)
            .extension()
            .is_some_and(|extension| extension == "sql")
    }
}

/// What a folder holds, sorted; hidden files are the editors' own.
pub(super) fn entries(project: &Path, folder: &Path) -> Result<Vec<Entry>> {
    let unreadable = |error: io::Error| {
        let kind = match error.kind() {
            IoKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Unavailable,
        };
        Error::new(kind, format!("could not read \"{}\"", folder.display()))
            .hint(format!(
                "The SQL project is the folder \"{}\", set by [sql] path.",
                project.display()
            ))
            .caused_by(error)
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let Ok(name) = entry.file_name().into_string() else {
            let ends = entry.path().extension().is_some_and(|ends| ends == "sql");
            match ends {
                true => {
                    return Err(unreadable(io::Error::new(
                        IoKind::InvalidData,
                        "the name of a file is not UTF-8",
                    )));
                }
                false => continue,
            }
        };
        if name.starts_with('.') {
            continue;
        }
        // Follows links: a project may be assembled of them.
        let kind = match fs::metadata(entry.path()) {
            Ok(metadata) if metadata.is_dir() => Kind::Folder,
            Ok(metadata) if metadata.is_file() => Kind::File,
            // Reading a pipe or a device would not end.
            Ok(_) => continue,
            // Deleted since it was listed.
            Err(_) if fs::symlink_metadata(entry.path()).is_err() => continue,
            // A link to what is away, or a file that nobody may look at, is not a file that is gone.
            Err(error) if name.ends_with(".sql") || !name.contains('.') => {
                return Err(unreadable(error));
            }
            Err(_) => continue,
        };
        found.push(Entry { name, kind });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn holds_sql(folder: &Path) -> bool {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files
        .take(MAX_FILES)
        .any(|file| file.path().extension().is_some_and(|e| e == "sql"))
}

/// What a file of the project turned out to be.
pub(crate) enum TextFile {
    Text(String),
    Broken(Diagnostic),
    /// Deleted between the listing and the reading.
    Gone,
}

pub(crate) fn read_text(folder: &Path, path: &str, shown_path: &str) -> TextFile {
    match read_bounded(&folder.join(path)) {
        Ok(bytes) if bytes.len() as u64 > MAX_FILE_BYTES => {
            let message = "the file is larger than 1 MiB";
            TextFile::Broken(Diagnostic::of_file(shown_path, message))
        }
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => match text.find('\0') {
                Some(at) => {
                    let mut problem = Diagnostic::of_file(shown_path, "the file has a NUL byte")
                        .hint("Save it as plain text with the encoding UTF-8.");
                    problem.line = line_of(text.as_bytes(), at);
                    TextFile::Broken(problem)
                }
                None => TextFile::Text(text),
            },
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let mut problem = Diagnostic::of_file(shown_path, "the file is not UTF-8")
                    .hint("Save it with the encoding UTF-8.");
                problem.line = line_of(error.as_bytes(), at);
                TextFile::Broken(problem)
            }
        },
        Err(error) if error.kind() == IoKind::NotFound => TextFile::Gone,
        Err(error) => {
            let message = format!("the file cannot be read: {error}");
            TextFile::Broken(Diagnostic::of_file(shown_path, message))
        }
    }
}

fn line_of(bytes: &[u8], at: usize) -> u32 {
    let lines = bytes[..at].iter().filter(|byte| **byte == b'\n');
    u32::try_from(lines.count() + 1).unwrap_or(u32::MAX)
}

/// At most one byte more than a file may have.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}
