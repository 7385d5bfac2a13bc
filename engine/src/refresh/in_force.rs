use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{info, warn};

use crate::epoch::Manifest;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;
use crate::project::{CheckedProject, LOCK_FILE, Project, SourcesLock, check_project};
use crate::session::Sessions;

/// Where the lake says what is wrong with the project as it is on disk.
pub(crate) const PROBLEMS: &str = "_project/_problems";

/// The project whose tables are served: the last one that was whole.
pub(super) struct InForce {
    folder: PathBuf,
    current: Option<Arc<CheckedProject>>,
    /// Texts on disk when last looked at, good or not.
    seen: Option<BTreeMap<String, String>>,
}

/// The files that an accepted edit touched.
#[derive(Debug, Clone)]
pub(super) struct Edit {
    paths: Vec<String>,
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.paths.join(", "))
    }
}

impl InForce {
    /// The project of the newest epoch, as the lake keeps it; none on a new lake.
    pub(super) async fn open(
        lake: &Lake,
        folder: &Path,
        newest: Option<&Manifest>,
        sessions: &Sessions,
    ) -> Result<Self> {
        let mut project = Self {
            folder: folder.to_owned(),
            current: None,
            seen: None,
        };
        if let Some(newest) = newest {
            project.current = Some(project.stored(lake, &newest.project, sessions).await?);
        }
        Ok(project)
    }

    pub(super) fn current(&self) -> Option<Arc<CheckedProject>> {
        self.current.clone()
    }

    /// Looks at the folder. An edit that is whole comes into force; a broken one is told once and the last good
    /// project stays.
    pub(super) async fn look(&mut self, lake: &Lake, sessions: &Sessions) -> Result<Option<Edit>> {
        let read = match Project::load(&self.folder) {
            Ok(project) => project,
            Err(error) if self.current.is_some() && self.seen.is_none() => {
                warn!(error = %error, "the SQL project cannot be read; still serving the last good one");
                self.seen = Some(BTreeMap::new());
                return Ok(None);
            }
            Err(_) if self.current.is_some() => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut texts = read.texts().clone();
        let lock = SourcesLock::load(&self.folder);
        let lock_text = lock.as_ref().ok().and_then(|lock| lock.render().ok());
        texts.extend(lock_text.map(|text| (LOCK_FILE.to_owned(), text)));
        if self.seen.as_ref() == Some(&texts) {
            return Ok(None);
        }
        let before = self.seen.replace(texts);
        let taken = self.take(lake, sessions, read, lock, before.clone()).await;
        if taken.is_err() {
            // It was not taken, so it is looked at again.
            self.seen = before;
        }
        taken
    }

    async fn take(
        &mut self,
        lake: &Lake,
        sessions: &Sessions,
        read: Project,
        lock: Result<SourcesLock>,
        before: Option<BTreeMap<String, String>>,
    ) -> Result<Option<Edit>> {
        let checked = match lock {
            Ok(lock) => check_project(read, &lock, sessions).await?,
            Err(error) => {
                self.refuse(lake, &error.to_string()).await?;
                return Ok(None);
            }
        };
        if !checked.is_sound() {
            let problems: Vec<String> = checked.problems.iter().map(ToString::to_string).collect();
            self.refuse(lake, problems.join("\n").trim_end()).await?;
            return Ok(None);
        }
        lake.replace(PROBLEMS, Vec::new()).await?;
        self.store(lake, &checked).await?;
        let fingerprint = checked.project.fingerprint();
        let served = self.current.as_ref().map(|current| &current.project);
        if served.is_some_and(|served| served.fingerprint() == fingerprint) {
            let paths = before.map(|before| differing(&before, checked.project.texts()));
            if let Some(paths) = paths.filter(|paths| !paths.is_empty()) {
                info!(
                    "{} repaired: the SQL project is the one that is served",
                    paths.join(", ")
                );
            }
            return Ok(None);
        }
        let edit = served.map(|served| Edit {
            paths: differing(served.texts(), checked.project.texts()),
        });
        self.current = Some(Arc::new(checked));
        Ok(edit)
    }

    /// The project that an epoch or an intent names.
    pub(super) async fn stored(
        &self,
        lake: &Lake,
        fingerprint: &str,
        sessions: &Sessions,
    ) -> Result<Arc<CheckedProject>> {
        if let Some(current) = &self.current
            && current.project.fingerprint() == fingerprint
        {
            return Ok(current.clone());
        }
        let (project, _) = stored_project(lake, fingerprint, sessions).await?;
        Ok(Arc::new(project))
    }

    async fn store(&self, lake: &Lake, checked: &CheckedProject) -> Result<()> {
        let texts = self.seen.clone().unwrap_or_default();
        let json = serde_json::to_vec_pretty(&texts).map_err(|source| {
            Error::new(ErrorKind::Internal, "could not write a project").caused_by(source)
        })?;
        lake.create(&stored_path(&checked.project.fingerprint()), json)
            .await?;
        Ok(())
    }

    async fn refuse(&self, lake: &Lake, problems: &str) -> Result<()> {
        lake.replace(PROBLEMS, problems.as_bytes().to_vec()).await?;
        match self.current {
            Some(_) => warn!(
                "the SQL project cannot be taken:\n{problems}\nstill serving the last good one"
            ),
            None => warn!(
                "the SQL project cannot be taken:\n{problems}\nnothing is served until it is repaired"
            ),
        }
        Ok(())
    }
}

/// The project that the lake keeps under a fingerprint, and its lock.
pub(crate) async fn stored_project(
    lake: &Lake,
    fingerprint: &str,
    sessions: &Sessions,
) -> Result<(CheckedProject, SourcesLock)> {
    let missing = || {
        Error::new(
            ErrorKind::Corrupt,
            format!("the lake holds no project \"{fingerprint}\""),
        )
    };
    let bytes = lake
        .read(&stored_path(fingerprint))
        .await?
        .ok_or_else(missing)?;
    let mut texts: BTreeMap<String, String> =
        serde_json::from_slice(&bytes).map_err(|source| missing().caused_by(source))?;
    let lock = texts.remove(LOCK_FILE).unwrap_or_default();
    let lock = SourcesLock::parse(&lock)?;
    let checked = check_project(Project::from_texts(texts), &lock, sessions).await?;
    Ok((checked, lock))
}

fn stored_path(fingerprint: &str) -> String {
    format!("_project/{fingerprint}")
}

fn differing(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let mut paths: Vec<String> = after
        .iter()
        .filter(|(path, text)| before.get(*path) != Some(text))
        .map(|(path, _)| path.clone())
        .collect();
    paths.extend(
        before
            .keys()
            .filter(|path| !after.contains_key(*path))
            .cloned(),
    );
    paths.sort();
    paths
}
