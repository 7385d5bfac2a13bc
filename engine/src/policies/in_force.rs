use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tracing::{info, warn};

use super::check::Names;
use super::{POLICY_FILE, Policies};
use crate::epoch::Manifest;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;
use crate::project::{TextFile, check_project, read_text};
use crate::refresh::stored_texts;
use crate::session::Sessions;

/// An edit takes effect this long after the file is saved, at the latest.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Projects whose names are kept: the newest, and those of the epochs that people travel to.
const PROJECTS_KEPT: usize = 4;

/// The policies of a project's folder as they are in force: the last whole text that the file held since the start.
#[derive(Clone)]
pub(crate) struct PolicyFile {
    folder: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    looked: Option<Instant>,
    /// The text and the project that were judged last.
    judged: Option<(Option<String>, String)>,
    in_force: Option<Arc<Policies>>,
    /// Rises with every text that comes into force.
    generation: u64,
    projects: VecDeque<(String, Arc<Names>)>,
}

/// Policies, and the names of the epoch that they are asked about.
pub(crate) struct InForce {
    pub(crate) policies: Arc<Policies>,
    pub(crate) names: Arc<Names>,
    pub(crate) generation: u64,
}

impl PolicyFile {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            state: Arc::default(),
        }
    }

    /// The policies for an epoch. A broken file leaves the last whole one in force; before there was one, nothing is.
    ///
    /// # Errors
    /// `Unavailable` while no policies are in force.
    pub(crate) async fn in_force(
        &self,
        lake: &Lake,
        sessions: &Sessions,
        newest: &Manifest,
        asked: &Manifest,
    ) -> Result<InForce> {
        let mut state = self.state.lock().await;
        let due = state.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY);
        if due || state.in_force.is_none() {
            let names = state.names(lake, sessions, &newest.project).await?;
            self.look(&mut state, &names, &newest.project).await?;
            state.looked = Some(Instant::now());
        }
        let names = state.names(lake, sessions, &asked.project).await?;
        let policies = state.in_force.clone().ok_or_else(|| {
            let message =
                format!("there are no policies in force: \"{POLICY_FILE}\" is missing or broken");
            Error::new(ErrorKind::Unavailable, message).hint(
                "`sportlake check` says what is wrong; until then only operators see anything.",
            )
        })?;
        Ok(InForce {
            policies,
            names,
            generation: state.generation,
        })
    }

    async fn look(&self, state: &mut State, names: &Names, project: &str) -> Result<()> {
        let shown = format!("{}/{POLICY_FILE}", self.folder.display());
        let read = read_text(&self.folder, POLICY_FILE, &shown);
        let (text, broken) = match read {
            TextFile::Text(text) => (Some(text), None),
            TextFile::Broken(problem) => (None, Some(problem.to_string())),
            TextFile::Gone => (None, Some(format!("\"{shown}\" is not there"))),
        };
        let judged = Some((text.clone(), project.to_owned()));
        if state.judged == judged {
            return Ok(());
        }
        let problems = match (&text, broken) {
            (_, Some(broken)) => broken,
            (None, None) => String::new(),
            (Some(text), None) => {
                let (policies, problems) = Policies::read(&shown, text, names).await?;
                if problems.is_empty() {
                    let before = state.judged.as_ref().and_then(|(text, _)| text.as_ref());
                    if state.in_force.is_none() || before != Some(text) {
                        info!(file = shown, "the policies are in force");
                    }
                    state.in_force = Some(Arc::new(policies));
                    state.generation += 1;
                }
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                problems.join("\n")
            }
        };
        if !problems.is_empty() {
            match state.in_force {
                Some(_) => warn!(
                    "the policies cannot be used; the last good ones stay in force\n{problems}"
                ),
                None => warn!("the policies cannot be used, and no role sees anything\n{problems}"),
            }
        }
        state.judged = judged;
        Ok(())
    }
}

impl State {
    async fn names(
        &mut self,
        lake: &Lake,
        sessions: &Sessions,
        project: &str,
    ) -> Result<Arc<Names>> {
        if let Some((_, names)) = self.projects.iter().find(|(kept, _)| kept == project) {
            return Ok(names.clone());
        }
        let (texts, lock) = stored_texts(lake, project).await?;
        let checked = Box::pin(check_project(texts, &lock, sessions)).await?;
        let names = Arc::new(Names::of_project(&checked, sessions)?);
        self.projects
            .push_front((project.to_owned(), names.clone()));
        self.projects.truncate(PROJECTS_KEPT);
        Ok(names)
    }
}
