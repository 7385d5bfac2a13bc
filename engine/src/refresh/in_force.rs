use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sql_files::TableName;
use tracing::{info, warn};

use super::rebuilds::Rebuild;
use super::standing::Standing;
use crate::epoch::Manifest;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;
use crate::project::{CheckedProject, LOCK_FILE, Project, SourcesLock, check_project, table_of};
use crate::session::Sessions;

/// How long an edit stays as it is before it is taken: editors and deployments save several files one after the other.
const SETTLES: Duration = Duration::from_millis(200);

/// The project whose tables are served: the last one that was whole.
pub(super) struct InForce {
    folder: PathBuf,
    current: Option<Arc<CheckedProject>>,
    /// The project of the newest epoch; an accepted edit is ahead of it until its epoch is published.
    published: Option<Arc<CheckedProject>>,
    /// Texts on disk when last looked at, good or not.
    seen: Option<BTreeMap<String, String>>,
    /// Whether an edit waits until nothing more is saved.
    settles: bool,
    /// Texts on disk that may still change, and since when they are so.
    unsettled: Option<(BTreeMap<String, String>, Instant)>,
    /// Fingerprint of the texts on disk that a rollback put out of force.
    refused: Option<String>,
    /// As this process last wrote it to the lake.
    standing: Option<Standing>,
    is_unreadable: bool,
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

/// A sound project that is not in force.
pub(super) struct Proposal {
    pub(super) checked: CheckedProject,
    /// Tables of it whose file is gone from disk.
    retiring: Vec<TableName>,
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
            published: None,
            seen: None,
            settles: false,
            unsettled: None,
            refused: newest.and_then(|newest| newest.refused.clone()),
            standing: None,
            is_unreadable: false,
        };
        if let Some(newest) = newest {
            project.current = Some(project.stored(lake, &newest.project, sessions).await?);
            project.published.clone_from(&project.current);
        }
        Ok(project)
    }

    pub(super) fn current(&self) -> Option<Arc<CheckedProject>> {
        self.current.clone()
    }

    pub(super) fn folder(&self) -> &PathBuf {
        &self.folder
    }

    pub(super) fn published(&self) -> Option<Arc<CheckedProject>> {
        self.published.clone()
    }

    /// The project is the one of the newest epoch from here on.
    pub(super) fn publish(&mut self, project: Arc<CheckedProject>) {
        self.published = Some(project);
    }

    /// Goes back to the project of the newest epoch; what is on disk is weighed anew.
    pub(super) fn return_to_published(&mut self, refused: Option<String>) {
        self.current.clone_from(&self.published);
        self.refused = refused;
        self.seen = None;
    }

    pub(super) fn refused(&self) -> Option<String> {
        self.refused.clone()
    }

    /// Looks at the folder. A whole edit is proposed, with the files that are gone from disk as they are in force; a
    /// broken one is told once.
    pub(super) async fn look(
        &mut self,
        lake: &Lake,
        sessions: &Sessions,
    ) -> Result<Option<Proposal>> {
        let read = match Project::load(&self.folder) {
            Ok(project) => project,
            Err(error) if self.current.is_some() => {
                if !self.is_unreadable {
                    warn!(error = %error.with_causes(), "the SQL project cannot be read; still serving the last good one");
                    let problems = Some(error.to_string());
                    self.stand(
                        lake,
                        Standing {
                            problems,
                            ..Standing::default()
                        },
                    )
                    .await?;
                    self.is_unreadable = true;
                }
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if self.seen.as_ref() == Some(read.texts()) && !self.is_unreadable {
            self.unsettled = None;
            return Ok(None);
        }
        if !self.is_settled(read.texts()) {
            return Ok(None);
        }
        let before = self.seen.replace(read.texts().clone());
        let weighed = self.weigh(lake, sessions, read, before.as_ref()).await;
        match weighed {
            Ok(_) => self.is_unreadable = false,
            // It was not weighed to the end, so it is looked at again.
            Err(_) => self.seen = before,
        }
        weighed
    }

    /// From here on an edit is taken when it has stayed as it is for a moment.
    pub(super) fn let_edits_settle(&mut self) {
        self.settles = true;
    }

    /// When to look again at an edit that may still change.
    pub(super) fn settles_in(&self) -> Option<Duration> {
        let (_, since) = self.unsettled.as_ref()?;
        Some(SETTLES.saturating_sub(since.elapsed()))
    }

    fn is_settled(&mut self, texts: &BTreeMap<String, String>) -> bool {
        if !self.settles || self.current.is_none() {
            return true;
        }
        match &self.unsettled {
            Some((last, since)) if last == texts => {
                if since.elapsed() < SETTLES {
                    return false;
                }
                self.unsettled = None;
                true
            }
            _ => {
                self.unsettled = Some((texts.clone(), Instant::now()));
                false
            }
        }
    }

    async fn weigh(
        &mut self,
        lake: &Lake,
        sessions: &Sessions,
        read: Project,
        before: Option<&BTreeMap<String, String>>,
    ) -> Result<Option<Proposal>> {
        let fingerprint = read.fingerprint();
        if self.refused.as_ref() == Some(&fingerprint) {
            let rolled_back = Standing {
                rolled_back: true,
                ..Standing::default()
            };
            self.stand(lake, rolled_back).await?;
            return Ok(None);
        }
        self.refused = None;
        let lock = match SourcesLock::load(&self.folder) {
            Ok(lock) => lock,
            Err(error) => {
                self.refuse(lake, &error.to_string()).await?;
                return Ok(None);
            }
        };
        let texts = read.texts().clone();
        let edited = before
            .map(|before| differing(before, &texts))
            .unwrap_or_default();
        let mut checked = check_project(read, &lock, sessions).await?;
        if !checked.is_sound() {
            self.refuse(lake, &problems(&checked)).await?;
            return Ok(None);
        }
        let gone = gone(self.current.as_deref(), &texts);
        if !gone.is_empty() {
            let paths: Vec<&str> = gone.keys().map(String::as_str).collect();
            let paths = paths.join(", ");
            checked = check_project(with_gone(texts, &gone), &lock, sessions).await?;
            if !checked.is_sound() {
                let text = format!(
                    "{paths} is gone from disk and in force until `sportlake apply`, and the edit does not fit it:\n{}",
                    problems(&checked)
                );
                self.refuse(lake, &text).await?;
                return Ok(None);
            }
        }
        let retiring = gone.keys().filter_map(|path| table_of(path)).collect();
        let served = self.current.as_ref().map(|current| &current.project);
        if served.is_some_and(|served| served.fingerprint() == checked.project.fingerprint()) {
            let was_broken = self
                .standing
                .as_ref()
                .is_some_and(|last| last.problems.is_some());
            self.stand(
                lake,
                Standing {
                    retiring,
                    ..Standing::default()
                },
            )
            .await?;
            if was_broken {
                let edited = edited.join(", ");
                info!("{edited} repaired: the SQL project is the one that is served");
            }
            return Ok(None);
        }
        Ok(Some(Proposal { checked, retiring }))
    }

    /// The project on disk as it stands, to be put in force in whole.
    ///
    /// # Errors
    /// `InvalidRequest` when it is broken.
    pub(super) async fn on_disk(&mut self, sessions: &Sessions) -> Result<Proposal> {
        let read = Project::load(&self.folder)?;
        let lock = SourcesLock::load(&self.folder)?;
        let texts = read.texts().clone();
        let checked = check_project(read, &lock, sessions).await?;
        if !checked.is_sound() {
            let problems = problems(&checked);
            return Err(Error::invalid(format!(
                "the SQL project on disk cannot be taken\n{problems}"
            ))
            .hint("`sportlake check` shows every problem at its place."));
        }
        let served = self.current.as_ref().map(|current| &current.tables);
        if checked.tables.is_empty() && served.is_some_and(|served| !served.is_empty()) {
            return Err(Error::invalid("the SQL project on disk has no table, and all that are served would be retired")
                .hint("Check sql.path: its folder may be another one, or not be mounted. A lake that shall be empty is a new one."));
        }
        self.seen = Some(texts);
        Ok(Proposal {
            checked,
            retiring: Vec::new(),
        })
    }

    /// Puts a proposal in force; what it changed, unless it is the first.
    pub(super) async fn accept(&mut self, lake: &Lake, proposal: Proposal) -> Result<Option<Edit>> {
        let Proposal { checked, retiring } = proposal;
        let texts = checked.project.texts();
        let json = serde_json::to_vec_pretty(texts).map_err(|source| {
            Error::new(ErrorKind::Internal, "could not write a project").caused_by(source)
        })?;
        lake.create(&stored_path(&checked.project.fingerprint()), json)
            .await?;
        self.stand(
            lake,
            Standing {
                retiring,
                ..Standing::default()
            },
        )
        .await?;
        let served = self.current.as_ref().map(|current| current.project.texts());
        let edit = served.map(|served| Edit {
            paths: differing(served, texts),
        });
        self.refused = None;
        self.current = Some(Arc::new(checked));
        Ok(edit.filter(|edit| !edit.paths.is_empty()))
    }

    /// Makes the next look weigh what is on disk anew.
    pub(super) fn forget(&mut self) {
        self.seen = None;
    }

    /// Leaves a proposal until somebody applies it.
    pub(super) async fn wait(&mut self, lake: &Lake, waiting: Vec<Rebuild>) -> Result<()> {
        self.stand(
            lake,
            Standing {
                waiting,
                ..Standing::default()
            },
        )
        .await
    }

    /// Goes on with a project of another epoch. The texts on disk are not taken until they change.
    pub(super) async fn settle(
        &mut self,
        lake: &Lake,
        project: Arc<CheckedProject>,
        refused: Option<String>,
    ) -> Result<()> {
        self.publish(project.clone());
        self.current = Some(project);
        let is_refused = refused.is_some();
        self.refused = refused;
        if is_refused {
            let rolled_back = Standing {
                rolled_back: true,
                ..Standing::default()
            };
            self.stand(lake, rolled_back).await?;
        }
        // What was said of the texts on disk was said beside another project.
        self.forget();
        Ok(())
    }

    /// Fingerprint of the texts on disk, when they can be read.
    pub(super) fn fingerprint_on_disk(&self) -> Option<String> {
        let read = Project::load(&self.folder).ok()?;
        Some(read.fingerprint())
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

    async fn refuse(&mut self, lake: &Lake, problems: &str) -> Result<()> {
        let standing = Standing {
            problems: Some(problems.to_owned()),
            ..Standing::default()
        };
        standing.write(lake).await?;
        self.standing = Some(standing);
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

    /// Says in the lake how disk and service stand to each other, and in the log what is new about it.
    async fn stand(&mut self, lake: &Lake, standing: Standing) -> Result<()> {
        if self.standing.as_ref() == Some(&standing) {
            return Ok(());
        }
        standing.write(lake).await?;
        if standing.problems.is_none() {
            for note in standing.notes() {
                warn!("{note}");
            }
        }
        self.standing = Some(standing);
        Ok(())
    }
}

/// Files in force that are gone from disk.
pub(super) fn gone(
    in_force: Option<&CheckedProject>,
    on_disk: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let texts = in_force
        .into_iter()
        .flat_map(|checked| checked.project.texts());
    texts
        .filter(|(path, _)| *path != LOCK_FILE && !on_disk.contains_key(*path))
        .map(|(path, text)| (path.clone(), text.clone()))
        .collect()
}

/// The project on disk with the files that are gone from it.
pub(super) fn with_gone(
    on_disk: BTreeMap<String, String>,
    gone: &BTreeMap<String, String>,
) -> Project {
    Project::from_texts(on_disk.into_iter().chain(gone.clone()).collect())
}

/// The project that the lake keeps under a fingerprint, and its lock.
pub(crate) async fn stored_project(
    lake: &Lake,
    fingerprint: &str,
    sessions: &Sessions,
) -> Result<(CheckedProject, SourcesLock)> {
    let (project, lock) = stored_texts(lake, fingerprint).await?;
    let checked = check_project(project, &lock, sessions).await?;
    Ok((checked, lock))
}

/// The same, parsed and not checked.
pub(crate) async fn stored_texts(lake: &Lake, fingerprint: &str) -> Result<(Project, SourcesLock)> {
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
    let texts: BTreeMap<String, String> =
        serde_json::from_slice(&bytes).map_err(|source| missing().caused_by(source))?;
    let lock = match texts.get(LOCK_FILE) {
        Some(text) => SourcesLock::parse(text)?,
        None => SourcesLock::default(),
    };
    Ok((Project::from_texts(texts), lock))
}

fn stored_path(fingerprint: &str) -> String {
    format!("_project/{fingerprint}")
}

fn problems(checked: &CheckedProject) -> String {
    let problems: Vec<String> = checked.problems.iter().map(ToString::to_string).collect();
    problems.join("\n").trim_end().to_owned()
}

/// Paths whose text is another one, or there on one side only.
pub(crate) fn differing(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<String> {
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
