use std::path::Path;

use sql_files::depth::with_deep_stack;
use sql_files::{Diagnostic, suggest};

use super::{Trial, Trials};
use crate::error::{Error, ErrorKind, Result};
use crate::project::load::{Entry, Kind, LAYERS, TextFile, entries, read_text, table_name};
use crate::project::{CheckedProject, Project};

/// The folder of the trials in a project's folder.
const FOLDER: &str = "tests";

/// Files beyond this number are refused.
const MAX_FILES: usize = 2_000;

impl Trials {
    /// Reads the trials of a project. A file that cannot be read or parsed is a problem; an error means that there is
    /// no folder of them.
    pub(crate) fn load(folder: &Path, checked: &CheckedProject) -> Result<Self> {
        let tests = folder.join(FOLDER);
        if !tests.is_dir() {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("there is no folder \"{}\"", tests.display()),
            )
            .hint("A test is a file such as sql/tests/gold/eligibilites.sql; docs/sql-tests.md has an example."));
        }
        let mut trials = Self::default();
        let shown = tests.display().to_string();
        for entry in entries(folder, &tests)? {
            if !matches!(entry.kind, Kind::Folder) {
                trials.entry(&tests, &shown, &entry, &entry.name, checked)?;
            } else if LAYERS.contains(&entry.name.as_str()) {
                for file in entries(folder, &tests.join(&entry.name))? {
                    let path = format!("{}/{}", entry.name, file.name);
                    trials.entry(&tests, &shown, &file, &path, checked)?;
                }
            } else {
                let problem = Diagnostic::of_file(
                    &format!("{shown}/{}", entry.name),
                    "the folder is no layer of the lake",
                );
                let hint = suggest(&entry.name, "Tests stand in", LAYERS);
                trials.problems.push(problem.maybe_hint(hint));
            }
        }
        Ok(trials)
    }

    fn entry(
        &mut self,
        tests: &Path,
        shown: &str,
        entry: &Entry,
        path: &str,
        checked: &CheckedProject,
    ) -> Result<()> {
        let shown_path = format!("{shown}/{path}");
        if matches!(entry.kind, Kind::Folder) {
            let problem = Diagnostic::of_file(&shown_path, "a layer's tests have no folders");
            self.problems
                .push(problem.hint("A test is one file, named as its table."));
            return Ok(());
        }
        if !entry.is_sql() {
            return Ok(());
        }
        if self.files.len() + self.problems.len() >= MAX_FILES {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                format!("\"{shown}\" has more than {MAX_FILES} tests"),
            )
            .hint("Put the cases of a table into one file."));
        }
        match read_text(tests, path, &shown_path) {
            TextFile::Text(text) => match read(path, &shown_path, &text, &checked.project) {
                Ok(trial) => self.files.push(trial),
                Err(problems) => self.problems.extend(problems),
            },
            TextFile::Broken(problem) => self.problems.push(problem),
            TextFile::Gone => {}
        }
        Ok(())
    }
}

fn read(
    path: &str,
    shown_path: &str,
    text: &str,
    project: &Project,
) -> Result<Trial, Vec<Diagnostic>> {
    let about = |message: String| Diagnostic::of_file(shown_path, message);
    let table = table_name(path).map_err(|(message, hint)| vec![about(message).hint(hint)])?;
    if project.file(&table).is_none() {
        let names: Vec<String> = project.names().map(ToString::to_string).collect();
        let hint = suggest(
            &table.to_string(),
            "Tables are",
            names.iter().map(String::as_str),
        );
        let message = format!("there is no table \"{table}\" to test");
        return Err(vec![about(message).maybe_hint(hint)]);
    }
    with_deep_stack(|| Trial::parse(table, shown_path, text)).unwrap_or_else(|| {
        Err(vec![about(
            "the file cannot be parsed: no thread for it".to_owned(),
        )])
    })
}
